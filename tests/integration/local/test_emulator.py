"""The launcher's additions to the emulator, tested through AWS's APIs.

These tests fail when an addition does not work with a new version of the emulator.
"""

import asyncio
import base64
import hashlib
import io
import json
import os
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp
import boto3
import pytest
import urllib3
from botocore.exceptions import ClientError

from local import emulator
from local.environment import ACCESS_KEY, REGION, SECRET_KEY
from local.ports import any_free_port
from tests.integration.subscriptions.servers import CLIENT_ID, CLIENT_SECRET, simulated_twitch

ARCHIVES = "archives"


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("emulator")


@pytest.fixture(scope="module")
def endpoint(state: Path) -> Iterator[str]:
    port = any_free_port()
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        runner.run(stack.enter_async_context(emulator.run(port, state, state)))
        yield emulator.endpoint(port)
        runner.run(stack.aclose())


def client(endpoint: str, service: str, **credentials: str) -> Any:
    who = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY, **credentials}
    return boto3.client(service, endpoint_url=endpoint, region_name=REGION, **who)  # type: ignore[call-overload]


class Stack:
    """A CloudFormation stack that can be deployed several times."""

    def __init__(self, endpoint: str, name: str) -> None:
        self._api = client(endpoint, "cloudformation")
        self._name = name
        self._exists = False

    def deploy(self, resources: dict[str, Any], **outputs: Any) -> dict[str, str]:
        """Create or update the stack; return its outputs."""
        body = json.dumps({"Resources": resources, "Outputs": {k: {"Value": v} for k, v in outputs.items()}})
        call = self._api.update_stack if self._exists else self._api.create_stack
        call(StackName=self._name, TemplateBody=body, Capabilities=["CAPABILITY_IAM"])
        self._exists = True
        stack = self._finished()
        assert stack["StackStatus"] in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}, self._reasons()
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}

    def delete(self) -> None:
        self._api.delete_stack(StackName=self._name)
        stack = self._finished()
        assert stack is None or stack["StackStatus"] == "DELETE_COMPLETE", self._reasons()

    def _finished(self) -> Any:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            try:
                (stack,) = self._api.describe_stacks(StackName=self._name)["Stacks"]
            except ClientError:
                return None
            if not stack["StackStatus"].endswith("_IN_PROGRESS"):
                return stack
            time.sleep(0.05)
        raise AssertionError(f"{self._name} is still {stack['StackStatus']}")

    def _reasons(self) -> list[str]:
        events = self._api.describe_stack_events(StackName=self._name)["StackEvents"]
        return [event.get("ResourceStatusReason", "") for event in events]


def archive(endpoint: str, **files: str) -> str:
    """Put a zip archive into a bucket, as the CDK command line does; return its key."""
    s3 = client(endpoint, "s3")
    s3.create_bucket(Bucket=ARCHIVES)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as zipped:
        for name, text in files.items():
            zipped.writestr(name, text)
    key = f"{time.monotonic_ns()}.zip"
    s3.put_object(Bucket=ARCHIVES, Key=key, Body=content.getvalue())
    return key


def role(endpoint: str, name: str) -> str:
    """Make a role for functions; return its ARN."""
    may_assume = {
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
    made = client(endpoint, "iam").create_role(
        RoleName=name, AssumeRolePolicyDocument=json.dumps({"Statement": may_assume})
    )
    return str(made["Role"]["Arn"])


def function(endpoint: str, name: str, source: str) -> str:
    """Make a function with the handler ``handler``; return its ARN."""
    made = client(endpoint, "lambda").create_function(
        FunctionName=name,
        Runtime="python3.12",
        Handler="app.handler",
        Timeout=120,
        Role=role(endpoint, name),
        Code={"S3Bucket": ARCHIVES, "S3Key": archive(endpoint, **{"app.py": source})},
    )
    return str(made["FunctionArn"])


def api(endpoint: str, arn: str, protocol: str, route: str) -> str:
    """Make an API with one route, which a function serves; return its address."""
    gateway = client(endpoint, "apigatewayv2")
    made = gateway.create_api(
        Name="api", ProtocolType=protocol, RouteSelectionExpression="$request.body.action"
    )["ApiId"]
    integration = gateway.create_integration(
        ApiId=made, IntegrationType="AWS_PROXY", IntegrationUri=arn, PayloadFormatVersion="2.0"
    )["IntegrationId"]
    gateway.create_route(ApiId=made, RouteKey=route, Target=f"integrations/{integration}")
    gateway.create_stage(ApiId=made, StageName="$default", AutoDeploy=True)
    return f"{endpoint}/_aws/execute-api/{made}/anything"


def deployment(*keys: str, **properties: Any) -> dict[str, Any]:
    return {
        "Type": "Custom::CDKBucketDeployment",
        "Properties": {
            "ServiceToken": "arn:aws:lambda:us-east-1:000000000000:function:never-called",
            "SourceBucketNames": [ARCHIVES] * len(keys),
            "SourceObjectKeys": [*keys],
            "DestinationBucketName": {"Ref": "Bucket"},
            **properties,
        },
    }


def test_a_secrets_ref_is_its_arn_and_its_password_has_no_punctuation(endpoint: str) -> None:
    generate = {"PasswordLength": 64, "ExcludePunctuation": True}
    secret = {"Type": "AWS::SecretsManager::Secret", "Properties": {"GenerateSecretString": generate}}
    stack = Stack(endpoint, "secret")
    outputs = stack.deploy({"Secret": secret}, Ref={"Ref": "Secret"}, Id={"Fn::GetAtt": ["Secret", "Id"]})
    assert outputs["Ref"].startswith("arn:aws:secretsmanager:us-east-1:000000000000:secret:")
    manager = client(endpoint, "secretsmanager")
    value = manager.get_secret_value(SecretId=outputs["Ref"])["SecretString"]
    assert (len(value), value.isalnum()) == (64, True)

    secret["Properties"] = {**secret["Properties"], "Description": "a description"}  # type: ignore[dict-item]
    assert stack.deploy({"Secret": secret}, Ref={"Ref": "Secret"})["Ref"] == outputs["Ref"]
    assert manager.describe_secret(SecretId=outputs["Ref"])["Description"] == "a description"
    assert manager.get_secret_value(SecretId=outputs["Ref"])["SecretString"] == value

    stack.delete()
    with pytest.raises(ClientError, match="ResourceNotFound"):
        manager.get_secret_value(SecretId=outputs["Ref"])


def test_an_identity_provider_gets_its_secret_by_reference(endpoint: str) -> None:
    manager, cognito = client(endpoint, "secretsmanager"), client(endpoint, "cognito-idp")
    manager.create_secret(Name="twitch", SecretString='{"client_secret": "swordfish"}')

    def resources(scopes: str) -> dict[str, Any]:
        details = {
            "client_id": "fanfare",
            "client_secret": "{{resolve:secretsmanager:twitch:SecretString:client_secret::}}",
            "authorize_scopes": scopes,
        }
        provider = {"UserPoolId": {"Ref": "Pool"}, "ProviderName": "Twitch", "ProviderType": "OIDC"}
        return {
            "Pool": {"Type": "AWS::Cognito::UserPool", "Properties": {}},
            "Provider": {
                "Type": "AWS::Cognito::UserPoolIdentityProvider",
                "Properties": {**provider, "ProviderDetails": details},
            },
        }

    def details(pool: str) -> Any:
        found = cognito.describe_identity_provider(UserPoolId=pool, ProviderName="Twitch")
        return found["IdentityProvider"]["ProviderDetails"]

    stack = Stack(endpoint, "provider")
    pool = stack.deploy(resources("openid"), Pool={"Ref": "Pool"})["Pool"]
    assert details(pool)["client_secret"] == "swordfish"
    stack.deploy(resources("openid bits:read"))
    assert details(pool)["authorize_scopes"] == "openid bits:read"
    stack.delete()


def test_a_code_gives_tokens_to_the_browser_that_began_only(endpoint: str) -> None:
    """PKCE, of a sign-in that leads through an identity provider."""
    redirect_uri = "http://localhost:9/callback"
    with simulated_twitch() as twitch:
        cognito = client(endpoint, "cognito-idp")
        pool = cognito.create_user_pool(PoolName="pkce")["UserPool"]["Id"]
        cognito.create_user_pool_domain(UserPoolId=pool, Domain="pkce")
        cognito.create_identity_provider(
            UserPoolId=pool,
            ProviderName="Twitch",
            ProviderType="OIDC",
            ProviderDetails={
                "client_id": CLIENT_ID,
                "client_secret": CLIENT_SECRET,
                "authorize_scopes": "openid",
                "oidc_issuer": twitch.auth_url,
                "authorize_url": f"{twitch.auth_url}/authorize",
                "token_url": f"{twitch.auth_url}/token",
            },
        )
        app = cognito.create_user_pool_client(
            UserPoolId=pool,
            ClientName="site",
            SupportedIdentityProviders=["Twitch"],
            AllowedOAuthFlows=["code"],
            AllowedOAuthScopes=["openid"],
            AllowedOAuthFlowsUserPoolClient=True,
            CallbackURLs=[redirect_uri],
        )["UserPoolClient"]["ClientId"]

        def redirected(url: str, **query: str) -> str:
            answer = urllib3.request("GET", url, fields=query, redirect=False, timeout=60)
            assert answer.status == 302, answer.data
            return str(answer.headers["Location"])

        def begin(**pkce: str) -> str:
            query = {"client_id": app, "redirect_uri": redirect_uri, "response_type": "code"}
            url = f"{endpoint}/oauth2/authorize"
            return redirected(url, **query, **pkce, scope="openid", identity_provider="Twitch", state="s")

        def code(**pkce: str) -> str:
            back = urlsplit(redirected(f"{begin(**pkce)}&auto=alice"))
            done = redirected(f"{endpoint}/oauth2/idpresponse?{back.query}")
            return parse_qs(urlsplit(done).query)["code"][0]

        def tokens(code: str, **verifier: str) -> int:
            query = {"client_id": app, "redirect_uri": redirect_uri, "grant_type": "authorization_code"}
            answer = urllib3.request(
                "POST",
                f"{endpoint}/oauth2/token",
                body=urlencode({**query, "code": code, **verifier}),
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                timeout=60,
            )
            return int(answer.status)

        challenge = base64.urlsafe_b64encode(hashlib.sha256(b"secret").digest()).rstrip(b"=").decode()
        pkce = {"code_challenge": challenge, "code_challenge_method": "S256"}
        for wrong in ({}, {"code_verifier": "guessed"}, {"code_verifier": "é"}):
            assert tokens(code(**pkce), **wrong) == 400
        assert tokens(code(**pkce), code_verifier="secret") == 200
        assert tokens(code()) == 200
        assert "error=invalid_request" in begin(code_challenge="secret", code_challenge_method="plain")


def test_a_function_gets_a_requests_cookies_as_a_list(endpoint: str) -> None:
    source = "import json\ndef handler(event, _): return {'statusCode': 200, 'body': json.dumps(event)}"
    url = api(endpoint, function(endpoint, "cookies", source), "HTTP", "$default")
    answer = urllib3.request("GET", url, headers={"Cookie": "a=1; b=2", "Accept": "*/*"}, timeout=60)
    event = answer.json()
    assert event["cookies"] == ["a=1", "b=2"]
    assert "cookie" not in event["headers"]
    assert "cookies" not in urllib3.request("GET", url, timeout=60).json()


@pytest.mark.parametrize(("protocol", "route"), [("HTTP", "$default"), ("WEBSOCKET", "$connect")])
async def test_what_is_too_much_at_once_is_refused(
    endpoint: str, tmp_path: Path, protocol: str, route: str
) -> None:
    refused, enough = 0, tmp_path / "enough"
    source = f"""
import time
from pathlib import Path
while not Path({str(enough)!r}).exists():
    time.sleep(0.01)
def handler(event, _): return {{"statusCode": 200}}
"""
    url = api(endpoint, function(endpoint, f"throttled-{protocol}", source), protocol, route)

    async def call(session: aiohttp.ClientSession) -> int:
        nonlocal refused
        try:
            async with session.ws_connect(url) if protocol == "WEBSOCKET" else session.get(url):
                return 200
        except aiohttp.ClientResponseError as error:
            refused += 1
            if refused == 20:
                enough.touch()
            return error.status

    async with aiohttp.ClientSession(
        raise_for_status=True, connector=aiohttp.TCPConnector(limit=0)
    ) as session:
        statuses = Counter(await asyncio.gather(*(call(session) for _ in range(70))))
        assert statuses == {200: 50, 429: 20}
        assert await call(session) == 200, "another one, later"


BUCKET = {
    "Bucket": {"Type": "AWS::S3::Bucket"},
    "Emptier": {
        "Type": "Custom::S3AutoDeleteObjects",
        "Properties": {"ServiceToken": "never-called", "BucketName": {"Ref": "Bucket"}},
    },
}


def test_a_bucket_deployment_copies_replaces_markers_and_prunes(endpoint: str) -> None:
    site = archive(endpoint, **{"index.html": "<title>", "assets/app.js": "run()", "old.txt": "old"})
    config = archive(endpoint, **{"config.json": '{"pool": "<<marker>>"}'})
    markers: list[dict[str, Any]] = [{}, {"<<marker>>": {"Ref": "Bucket"}}]
    stack = Stack(endpoint, "site")
    bucket = stack.deploy(
        {
            **BUCKET,
            "Files": deployment(
                site, config, SourceMarkers=markers, SystemMetadata={"cache-control": "no-cache"}
            ),
        },
        Bucket={"Ref": "Bucket"},
    )["Bucket"]

    s3 = client(endpoint, "s3")
    page = s3.get_object(Bucket=bucket, Key="index.html")
    assert (page["ContentType"], page["CacheControl"]) == ("text/html", "no-cache")
    assert s3.get_object(Bucket=bucket, Key="assets/app.js")["ContentType"] == "text/javascript"
    settings = s3.get_object(Bucket=bucket, Key="config.json")
    assert json.loads(settings["Body"].read()) == {"pool": bucket}
    assert settings["ContentType"] == "application/json"

    newer = archive(endpoint, **{"index.html": "<title>new", "assets/new.js": "walk()"})
    stack.deploy({**BUCKET, "Files": deployment(newer, Exclude=["assets/*"])})
    keys = [found["Key"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert keys == ["assets/app.js", "index.html"], "old.txt is pruned, excluded files are kept"
    assert s3.get_object(Bucket=bucket, Key="index.html")["Body"].read() == b"<title>new"

    stack.delete()
    assert bucket not in [found["Name"] for found in s3.list_buckets()["Buckets"]]


def test_only_what_the_filters_select_is_copied(endpoint: str) -> None:
    site = archive(endpoint, **{"index.html": "<title>", "assets/app.js": "run()"})
    stack = Stack(endpoint, "filtered")
    selection = {"Exclude": ["*"], "Include": ["assets/*"], "Prune": False}
    bucket = stack.deploy({**BUCKET, "Files": deployment(site, **selection)}, Bucket={"Ref": "Bucket"})
    contents = client(endpoint, "s3").list_objects_v2(Bucket=bucket["Bucket"])["Contents"]
    assert [found["Key"] for found in contents] == ["assets/app.js"]
    stack.delete()


def test_cloudfront_reads_a_bucket_that_refuses_unencrypted_requests(endpoint: str) -> None:
    everything = {"Fn::Sub": "${Bucket.Arn}/*"}
    arn = {"Fn::Sub": "arn:aws:cloudfront::${AWS::AccountId}:distribution/${Distribution}"}
    policy = [
        {
            "Effect": "Deny",
            "Principal": {"AWS": "*"},
            "Action": "s3:*",
            "Resource": everything,
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
        {
            "Effect": "Allow",
            "Principal": {"Service": "cloudfront.amazonaws.com"},
            "Action": "s3:GetObject",
            "Resource": everything,
            "Condition": {"StringEquals": {"AWS:SourceArn": arn}},
        },
    ]
    distribution = {
        "Enabled": True,
        "DefaultRootObject": "index.html",
        "Origins": [
            {
                "Id": "bucket",
                "DomainName": {"Fn::GetAtt": ["Bucket", "RegionalDomainName"]},
                "OriginAccessControlId": {"Ref": "Access"},
                "S3OriginConfig": {"OriginAccessIdentity": ""},
            }
        ],
        "DefaultCacheBehavior": {
            "TargetOriginId": "bucket",
            "ViewerProtocolPolicy": "allow-all",
            "CachePolicyId": "658327ea-f89d-4fab-a63d-7e88639e58f6",
        },
    }
    access = {
        "Name": "access",
        "OriginAccessControlOriginType": "s3",
        "SigningBehavior": "always",
        "SigningProtocol": "sigv4",
    }
    stack = Stack(endpoint, "distribution")
    outputs = stack.deploy(
        {
            **BUCKET,
            "Files": deployment(archive(endpoint, **{"index.html": "<title>Fanfare"})),
            "Access": {
                "Type": "AWS::CloudFront::OriginAccessControl",
                "Properties": {"OriginAccessControlConfig": access},
            },
            "Distribution": {
                "Type": "AWS::CloudFront::Distribution",
                "Properties": {"DistributionConfig": distribution},
            },
            "Policy": {
                "Type": "AWS::S3::BucketPolicy",
                "Properties": {"Bucket": {"Ref": "Bucket"}, "PolicyDocument": {"Statement": policy}},
            },
        },
        Domain={"Fn::GetAtt": ["Distribution", "DomainName"]},
    )
    label = outputs["Domain"].partition(".")[0]
    host = f"{label}.cloudfront.localhost:{endpoint.rpartition(':')[2]}"
    answer = urllib3.request("GET", f"{endpoint}/", headers={"Host": host}, timeout=60)
    assert (answer.status, answer.data) == (200, b"<title>Fanfare")
    by_path = f"{endpoint}/_aws/cloudfront/{label}"
    for path, status in (("/", 200), ("/index.html", 200), ("/no%20such", 403)):
        assert urllib3.request("GET", by_path + path, timeout=60).status == status
    localhost = {"Host": f"localhost:{endpoint.rpartition(':')[2]}"}
    for url in (f"{endpoint}/", f"{endpoint}/_aws/cloudfront/localhost/"):
        answer = urllib3.request("GET", url, headers=localhost, timeout=60)
        assert (answer.status, answer.data) == (200, b"<title>Fanfare")
    stack.delete()


def test_iam_is_enforced(endpoint: str) -> None:
    iam = client(endpoint, "iam")
    iam.create_user(UserName="nobody")
    key = iam.create_access_key(UserName="nobody")["AccessKey"]
    nobody = client(
        endpoint,
        "s3",
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
    )
    with pytest.raises(ClientError, match="AccessDenied"):
        nobody.list_buckets()


def test_a_batch_of_sqs_calls_needs_the_permission_for_one(endpoint: str) -> None:
    url = client(endpoint, "sqs").create_queue(QueueName="batches")["QueueUrl"]
    iam = client(endpoint, "iam")
    iam.create_user(UserName="sender")
    statement = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "*"}
    iam.put_user_policy(
        UserName="sender",
        PolicyName="send",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )
    key = iam.create_access_key(UserName="sender")["AccessKey"]
    sender = client(
        endpoint,
        "sqs",
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
    )
    answer = sender.send_message_batch(QueueUrl=url, Entries=[{"Id": "1", "MessageBody": "1"}])
    assert [sent["Id"] for sent in answer["Successful"]] == ["1"]
    with pytest.raises(ClientError, match="AccessDenied"):
        sender.receive_message(QueueUrl=url)


def test_functions_with_the_same_package_share_one_copy_of_it(endpoint: str, state: Path) -> None:
    code = {
        "S3Bucket": ARCHIVES,
        "S3Key": archive(endpoint, **{"app.py": "def handler(event, _): return event"}),
    }

    def unpacked() -> set[Path]:
        return {path.resolve() for path in (state / "tmp").glob("*/code")}

    functions, before = client(endpoint, "lambda"), unpacked()
    options = {"Runtime": "python3.12", "Handler": "app.handler", "Role": role(endpoint, "functions")}
    for name in ("one", "other"):
        functions.create_function(FunctionName=name, Code=code, **options)
        answer = functions.invoke(FunctionName=name, Payload=f'"{name}"')
        assert json.load(answer["Payload"]) == name
    (folder,) = unpacked() - before
    assert not folder.is_relative_to(state), "it is kept for the next run"


def test_functions_run_at_once_but_take_turns_to_start(endpoint: str, tmp_path: Path) -> None:
    source = f"""
import os, time
from pathlib import Path
folder = Path({str(tmp_path)!r})
me = folder / f"starting-{{os.getpid()}}"
me.touch()
time.sleep(0.2)
starting = len(list(folder.glob("starting-*")))
me.unlink()
def handler(event, _):
    (folder / f"running-{{os.getpid()}}").touch()
    while len(list(folder.glob("running-*"))) < event["wanted"]:
        time.sleep(0.01)
    return {{"starting": starting, "niceness": os.nice(0)}}
"""
    function(endpoint, "turns", source)

    def invoke(wanted: int) -> Any:
        return json.load(
            client(endpoint, "lambda").invoke(FunctionName="turns", Payload=json.dumps({"wanted": wanted}))[
                "Payload"
            ]
        )

    invoke(1)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(invoke, [8] * 8))
    assert max(answer["starting"] for answer in answers) <= (os.cpu_count() or 1)
    assert {answer["niceness"] for answer in answers} == {min(os.nice(0) + 5, 19)}


def test_functions_can_import_boto3_but_not_the_packages_of_this_project(endpoint: str) -> None:
    packages = {path.name for path in Path(emulator.VENV).glob("lib/*/site-packages/*")}
    assert {"boto3", "ministack"} <= packages
    assert packages.isdisjoint({"aws_lambda_powertools", "psycopg", "pydantic", "aws_cdk"})
