"""Starts the AWS emulator with additions for what it lacks and the app uses.

The emulator's own interpreter runs this file, so it can import only packages in requirements/emulator.txt.
The templates stay as they are for AWS: the additions do what AWS's CloudFormation does with a resource type,
by means of the emulator's services.
"""

import asyncio
import collections
import contextlib
import fnmatch
import gzip
import hashlib
import io
import json
import mimetypes
import os
import re
import shutil
import string
import threading
import uuid
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import boto3
from ministack import app
from ministack.core import iam_evaluator, lambda_runtime
from ministack.services import apigateway, cloudfront, cognito, lambda_svc, secretsmanager
from ministack.services.cloudformation import provisioners

Properties = Mapping[str, Any]
# What a handler returns: the physical id and the attributes for Fn::GetAtt.
Resource = tuple[str, dict[str, Any]]


class AwsRefusedError(Exception):
    """A service of the emulator refused a call. CloudFormation shows the text as the status reason."""


def _answer(response: tuple[int, Any, bytes]) -> dict[str, Any]:
    status, _, body = response
    if status >= 400:
        raise AwsRefusedError(body.decode())
    return json.loads(body) if body else {}


def _with_properties(change: Callable[[Properties], Properties], handler: Callable[..., Any]) -> Any:
    """One of the emulator's handlers, which gets changed properties."""
    return lambda *given: handler(*(change(each) if isinstance(each, Mapping) else each for each in given))


# -- AWS::Cognito::UserPoolIdentityProvider --------------------------------------------------------


def create_identity_provider(_logical_id: str, properties: Properties, _stack_name: str) -> Resource:
    """Dynamic references to secrets are already resolved, as in every resource."""
    _answer(cognito._create_identity_provider(dict(properties)))
    return properties["ProviderName"], {}


def update_identity_provider(
    physical_id: str, _old: Properties, new: Properties, _stack_name: str
) -> Resource:
    """Change the details of the provider."""
    _answer(cognito._update_identity_provider(dict(new)))
    return physical_id, {}


def delete_identity_provider(physical_id: str, properties: Properties) -> None:
    """Delete the provider, unless its pool is already deleted."""
    if properties["UserPoolId"] in cognito._user_pools:
        request = {"UserPoolId": properties["UserPoolId"], "ProviderName": physical_id}
        _answer(cognito._delete_identity_provider(request))


# -- AWS::SecretsManager::Secret ----------------------------------------------------------------------

# The emulator has this type, with two differences: its Ref is the secret's name instead of the ARN, so that
# grants on the Ref match nothing; and it ignores ExcludePunctuation.
_secret = dict(provisioners._RESOURCE_HANDLERS["AWS::SecretsManager::Secret"])


def create_secret(logical_id: str, properties: Properties, stack_name: str) -> Resource:
    """Create the secret with its ARN as the physical id."""
    _, attributes = _secret["create"](logical_id, _without_punctuation(properties), stack_name)
    return attributes["Arn"], attributes


def update_secret(
    physical_id: str, old: Properties, new: Properties, stack_name: str, logical_id: str
) -> Resource:
    """Update the secret, which the emulator finds by its name."""
    before, after = _without_punctuation(old), _without_punctuation(new)
    _, attributes = _secret["update"](_secret_name(physical_id), before, after, stack_name, logical_id)
    return attributes["Arn"], attributes


def delete_secret(physical_id: str, properties: Properties) -> None:
    """Delete the secret, which the emulator finds by its name."""
    _secret["delete"](_secret_name(physical_id), properties)


def _secret_name(arn: str) -> str:
    return next((name for name, secret in secretsmanager._secrets.items() if secret["ARN"] == arn), arn)


def _without_punctuation(properties: Properties) -> dict[str, Any]:
    generate = dict(properties.get("GenerateSecretString") or {})
    if generate and _flag(generate, "ExcludePunctuation", default="false"):
        generate["ExcludeCharacters"] = generate.get("ExcludeCharacters", "") + string.punctuation
        return {**properties, "GenerateSecretString": generate}
    return dict(properties)


# -- Custom::CDKBucketDeployment -------------------------------------------------------------------

# In AWS a function does this with the AWS command line from a Lambda layer, which the emulator's Python
# functions cannot use. Here it is done in the emulator's process, with the options that the app uses.
# https://github.com/aws/aws-cdk/tree/main/packages/@aws-cdk/custom-resource-handlers (aws-s3-deployment)


def deploy_to_bucket(physical_id: str, properties: Properties) -> Resource:
    """Copy the files of the source archives into the bucket."""
    if not _flag(properties, "Extract") or properties.keys() & {"DestinationBucketKeyPrefix", "UserMetadata"}:
        raise AwsRefusedError(
            "The local cloud has no extract=False, key prefix or metadata of bucket deployments."
        )
    s3, bucket = _s3(), properties["DestinationBucketName"]
    # Such as cache-control: S3's parameter is CacheControl.
    metadata = {
        "".join(part.capitalize() for part in name.split("-")): value
        for name, value in (properties.get("SystemMetadata") or {}).items()
    }
    selected = {
        name: content for name, content in _contents(s3, properties).items() if _selected(name, properties)
    }
    for name, content in selected.items():
        content_type = mimetypes.guess_type(name)[0] or "binary/octet-stream"
        s3.put_object(Bucket=bucket, Key=name, Body=content, **{"ContentType": content_type, **metadata})
    if _flag(properties, "Prune"):
        for key in _keys(s3, bucket):
            if key not in selected and _selected(key, properties):
                s3.delete_object(Bucket=bucket, Key=key)
    return physical_id, {}


def _contents(s3: Any, properties: Properties) -> dict[str, bytes]:
    """The files of all sources by name, with the markers replaced; later sources win."""
    buckets, keys = properties["SourceBucketNames"], properties["SourceObjectKeys"]
    markers = properties.get("SourceMarkers") or [{} for _ in keys]
    configs = properties.get("SourceMarkersConfig") or [{} for _ in keys]
    files = {}
    for bucket, key, replaced, config in zip(buckets, keys, markers, configs, strict=True):
        archive = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        with zipfile.ZipFile(io.BytesIO(archive)) as archived:
            for entry in archived.infolist():
                if not entry.is_dir():
                    files[entry.filename] = _replace(archived.read(entry), replaced, config)
    return files


def _replace(content: bytes, markers: Mapping[str, str], config: Mapping[str, Any]) -> bytes:
    for marker, value in markers.items():
        # With jsonEscape the marker is inside a JSON string.
        text = json.dumps(value)[1:-1] if config and _flag(config, "jsonEscape", default="false") else value
        content = content.replace(marker.encode(), text.encode())
    return content


def _selected(name: str, properties: Properties) -> bool:
    """Whether the filters select a file: it is not excluded, or included again."""
    excluded = _matches(name, properties.get("Exclude") or ())
    return not excluded or _matches(name, properties.get("Include") or ())


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _flag(properties: Properties, name: str, default: str = "true") -> bool:
    return str(properties.get(name, default)).lower() == "true"


def _s3() -> Any:
    # The endpoint is this process; custom resources run in another thread than the one that answers requests.
    return boto3.client("s3", endpoint_url=f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}")


def _keys(s3: Any, bucket: str) -> list[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return [found["Key"] for page in pages for found in page.get("Contents", ())]


# -- Custom::S3AutoDeleteObjects -------------------------------------------------------------------

# In AWS a function does this with the AWS SDK for JavaScript, which the emulator does not have.


def delete_bucket_emptier(_physical_id: str, properties: Properties) -> None:
    """Empty the bucket, so that it can be deleted."""
    s3, bucket = _s3(), properties["BucketName"]
    for key in _keys(s3, bucket):
        s3.delete_object(Bucket=bucket, Key=key)


# -- AWS::CloudWatch::Alarm ------------------------------------------------------------------------

_alarm = dict(provisioners._RESOURCE_HANDLERS["AWS::CloudWatch::Alarm"])


def _over_one_metric(properties: Properties) -> dict[str, Any]:
    """An alarm over its first metric only: the emulator has no metric math."""
    stats = [metric["MetricStat"] for metric in properties.get("Metrics", ()) if "MetricStat" in metric]
    if not stats:
        return dict(properties)
    rest = {name: value for name, value in properties.items() if name != "Metrics"}
    stat = stats[0]
    return {**rest, **stat["Metric"], "Statistic": stat["Stat"], "Period": stat["Period"]}


_NOTHING: dict[str, Any] = {
    "create": lambda logical_id, *_: (logical_id, {}),
    "update": lambda physical_id, *_: (physical_id, {}),
    "delete": lambda *_: None,
}
HANDLERS: dict[str, dict[str, Any]] = {
    "AWS::CloudWatch::Alarm": {
        **_alarm,
        "create": _with_properties(_over_one_metric, _alarm["create"]),
        "update": _with_properties(_over_one_metric, _alarm["update"]),
    },
    "AWS::Cognito::UserPoolIdentityProvider": {
        "create": create_identity_provider,
        "update": update_identity_provider,
        "delete": delete_identity_provider,
    },
    "AWS::SecretsManager::Secret": {
        **_secret,
        "create": create_secret,
        "update": update_secret,
        "delete": delete_secret,
    },
    # The emulator sends a route's answer with or without one.
    "AWS::ApiGatewayV2::RouteResponse": _NOTHING,
    # What happens to the files at the end is up to the bucket's deletion policy.
    "Custom::CDKBucketDeployment": {
        **_NOTHING,
        "create": lambda logical_id, new, _stack_name: deploy_to_bucket(logical_id, new),
        "update": lambda physical_id, _old, new, _stack_name: deploy_to_bucket(physical_id, new),
    },
    "Custom::S3AutoDeleteObjects": {**_NOTHING, "delete": delete_bucket_emptier},
}

_condition_value = iam_evaluator._resolve_condition_key


def condition_value(key: str, context: Any) -> Any:
    """The value of a condition key, with every request taken as sent over TLS.

    The emulator serves plain HTTP on the loopback interface. In AWS the same requests are encrypted, and
    policies deny those that are not.
    """
    return "true" if key.lower() == "aws:securetransport" else _condition_value(key, context)


_action_matches = iam_evaluator._action_matches


def action_matches(action: str, *given: Any) -> bool:
    """Whether an action is among those of a statement: a batch of SQS calls needs the permission for one.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html
    """
    if action.startswith("sqs:"):
        action = action.removesuffix("Batch")
    return bool(_action_matches(action, *given))


# The emulator's own sign-in page has PKCE; a sign-in that leads to an identity provider has not.
_authorize = cognito._oauth2_authorize_federation
_idp_response = cognito._oauth2_idp_response
_token = cognito._oauth2_token
Answer = tuple[int, dict[str, str], bytes]


def authorize(query: Mapping[str, Any]) -> Answer:
    """Lead to the identity provider, and remember the code challenge."""
    answer: Answer = _authorize(query)
    challenge, method = cognito._qp(query, "code_challenge"), cognito._qp(query, "code_challenge_method")
    redirect_uri, state = cognito._qp(query, "redirect_uri"), cognito._qp(query, "state")
    if answer[0] == 302:
        _pending(answer, "state")["code_challenge"] = challenge
        answer = cognito._pkce_error_redirect(redirect_uri, challenge, method, state) or answer
    return answer


def idp_response(method: str, body: bytes, query: Mapping[str, Any]) -> Answer:
    """Lead back from the identity provider with a code, which the code challenge goes with."""
    began = cognito._auth_codes.get(cognito._qp(query, "state"), {})
    answer: Answer = _idp_response(method, body, query)
    if answer[0] == 302:
        _pending(answer, "code")["code_challenge"] = began.get("code_challenge")
    return answer


def token(data: Any, query: Any, body: bytes = b"", headers: Any = None) -> Answer:
    """The answer of ``/oauth2/token``, if the code challenge is met.

    It has the content type of JSON, which OAuth clients require. After a federated sign-in the emulator sends
    the content type of AWS's own protocol.
    """
    given = dict(parse_qsl(body.decode(errors="replace")))
    challenge = cognito._auth_codes.get(given.get("code"), {}).get("code_challenge")
    verifier = given.get("code_verifier", "")
    if challenge and not (verifier.isascii() and cognito._verify_pkce(verifier, challenge, "S256")):
        status, answered, content = cognito._oauth2_error("invalid_grant", "PKCE verification failed.")
    else:
        status, answered, content = _token(data, query, body, headers)
    return status, {**answered, "Content-Type": "application/json;charset=UTF-8"}, content


def _pending(answer: Answer, parameter: str) -> dict[str, Any]:
    """What the emulator remembers under the code, or the state, in the address that an answer leads to."""
    query = dict(parse_qsl(urlsplit(answer[1]["Location"]).query))
    pending: dict[str, Any] = cognito._auth_codes.get(query.get(parameter), {})
    return pending


_execute = lambda_svc._execute_function_with_config_scope


def execute(function: Any, event: Any) -> Any:
    """Run a function; a request to an HTTP API has its cookies in a list, not among the headers.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    """
    if isinstance(event, dict) and event.get("version") == "2.0" and "cookie" in event.get("headers", ()):
        headers = dict(event["headers"])
        event = {**event, "cookies": headers.pop("cookie").split("; "), "headers": headers}
    return _execute(function, event)


_behavior = cloudfront._dataplane_behavior
_match_behavior = cloudfront._match_behavior
_viewer_request = cloudfront.handle_viewer_request

# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/ServingCompressedFiles.html
COMPRESSED_SIZES = range(1_000, 10_000_001)
COMPRESSED_STATUSES = {200, 403, 404}
COMPRESSED_TYPES = re.compile(
    r"text/(css|html|javascript|plain)|application/(javascript|json|xml)|image/svg\+xml"
)


def behavior(element: Any, path_pattern: str | None = None) -> dict[str, Any]:
    """A distribution's behaviour, with its setting ``Compress``."""
    return {**_behavior(element, path_pattern), "compress": cloudfront._text(element, "Compress") == "true"}


def match_behavior(config: dict[str, Any], path: str) -> Any:
    """The behaviour for a path; a pattern's ``*`` takes a line feed, too, as for CloudFront's ``%0A``."""
    return _match_behavior(config, path.replace("\n", " "))


async def viewer_request(
    distribution: dict[str, Any], method: str, path: str, *request: Any
) -> tuple[int, dict[str, Any], bytes]:
    """The emulator's answer, compressed as CloudFront does, so that page sizes can be measured."""
    status, answered, body = await _viewer_request(distribution, method, path, *request)
    _uri, _query, headers, *_ = request
    config = cloudfront.parse_distribution_dataplane_config(distribution)
    matched = cloudfront._match_behavior(config, path)
    names = {name.lower(): name for name in answered}
    content_type = str(answered.get(names.get("content-type", "")))
    if (
        matched is None
        or not matched["compress"]
        or "gzip" not in headers.get("accept-encoding", "")
        or "content-encoding" in names
        or status not in COMPRESSED_STATUSES
        or len(body) not in COMPRESSED_SIZES
        or not COMPRESSED_TYPES.fullmatch(content_type.partition(";")[0])
    ):
        return status, answered, body
    compressed = gzip.compress(body, mtime=0)
    kept = {name: value for name, value in answered.items() if name.lower() != "content-length"}
    return status, {**kept, "Content-Encoding": "gzip", "Vary": "Accept-Encoding"}, compressed


_connections_api = apigateway.handle_connections_api

# So many frames may wait for a client that does not read, beside those in its socket's buffers.
MOST_UNSENT_FRAMES = 16


async def connections_api(method: str, api_id: str, stage: str, connection_id: str, *request: Any) -> Answer:
    """The emulator's answer; as in AWS a post is refused while the client's buffer is full.

    https://docs.aws.amazon.com/apigatewaymanagementapi/latest/APIReference/API_PostToConnection.html
    """
    connection = apigateway._ws_connections.get(connection_id)
    if method == "POST" and connection and connection["outbox"].qsize() >= MOST_UNSENT_FRAMES:
        headers = {"Content-Type": "application/json", "x-amzn-ErrorType": "LimitExceededException"}
        return 429, headers, b'{"message": "The client does not read."}'
    answer: Answer = await _connections_api(method, api_id, stage, connection_id, *request)
    return answer


_serve_request = apigateway.handle_execute
_serve_websocket = apigateway.handle_websocket

# So many requests, and so many handshakes of WebSockets, are served at once: the last of them within its
# client's patience. In AWS, too, what is too much is refused; there it is counted by the second.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-throttling.html
MOST_AT_ONCE = 50
_requests, _handshakes = asyncio.Semaphore(MOST_AT_ONCE), asyncio.Semaphore(MOST_AT_ONCE)
TOO_MANY = "Too Many Requests"


async def request(*given: Any, **options: Any) -> Answer:
    """The answer of an HTTP API, or 429."""
    if _requests.locked():
        return 429, {"Content-Type": "application/json"}, json.dumps({"message": TOO_MANY}).encode()
    async with _requests:
        answer: Answer = await _serve_request(*given, **options)
        return answer


async def websocket(scope: Any, receive: Any, send: Any, *api: Any, **options: Any) -> None:
    """A connection to a WebSocket API, or 429."""
    if _handshakes.locked():
        await receive()
        await apigateway._refuse_ws_handshake(scope, send, 429, TOO_MANY, "", str(uuid.uuid4()))
        return
    async with contextlib.AsyncExitStack() as handshake:
        await handshake.enter_async_context(_handshakes)

        async def send_answer(message: Any) -> None:
            await handshake.aclose()
            await send(message)

        await _serve_websocket(scope, receive, send_answer, *api, **options)


# The path-based form that the emulator has for APIs, for clients that do not resolve *.localhost.
_DISTRIBUTION_PATH = re.compile(r"/_aws/cloudfront/(\w+)(?=/)")


def with_distributions_by_path(serve: Callable[..., Any]) -> Callable[..., Any]:
    """The emulator's application, in which ``/_aws/cloudfront/<label>/…`` is the distribution's ``/…``.

    The label or the host ``localhost``, which no AWS client calls, means the only distribution.
    """

    async def application(scope: dict[str, Any], *channels: Any) -> None:
        path, port = scope.get("path", ""), os.environ["GATEWAY_PORT"]
        at_localhost = (b"host", f"localhost:{port}".encode()) in scope.get("headers", ())
        found = _DISTRIBUTION_PATH.match(path)
        if found or (at_localhost and not path.startswith("/_")):
            domain = f"{found[1] if found else 'localhost'}.cloudfront.net"
            if domain.startswith("localhost."):
                domain = next((each["DomainName"] for each in cloudfront._distributions.values()), domain)
            headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
            host = f"{domain.removesuffix('.net')}.localhost:{port}"
            start = found.end() if found else 0
            scope = {
                **scope,
                "path": path[start:],
                "raw_path": scope["raw_path"][start:],
                "headers": [*headers, (b"host", host.encode())],
            }
        await serve(scope, *channels)

    return application


class SharedArchive(zipfile.ZipFile):
    """A function's package that is unpacked once; the emulator would unpack it for each process.

    Functions can share the folder, because in AWS they cannot write to their code's folder.
    """

    folder: Path

    def extractall(self, path: Any = None, members: Any = None, pwd: Any = None) -> None:
        """Replace ``path``, an empty folder, by a link to the unpacked package, and delete the archive."""
        archive = Path(str(self.filename))
        shared = self.folder / hashlib.sha256(archive.read_bytes()).hexdigest()
        if not shared.exists():
            half = shared.with_name(f"{shared.name}.{uuid.uuid4()}")
            super().extractall(half, members, pwd)
            try:
                half.rename(shared)
            except OSError:  # another process has just unpacked it
                shutil.rmtree(half)
        os.utime(shared)
        archive.unlink()
        Path(path).rmdir()
        Path(path).symlink_to(shared)


class Processes:
    """The functions' processes: each invocation gets an idle one, or a new one when it is its turn to start.

    In AWS functions start on processors of their own. Here, twenty starts at once would keep the services
    from answering for seconds. An invocation that waits for its turn takes a process that becomes idle.
    """

    def __init__(self) -> None:
        self._lease, self._release = lambda_runtime.acquire_worker, lambda_runtime.release_worker
        lock = threading.Lock()
        self._changed = collections.defaultdict[str, threading.Condition](lambda: threading.Condition(lock))
        self._turns = os.cpu_count() or 1

    def acquire(self, name: str, *function: Any, **options: Any) -> Any:
        """Lease a process: the emulator's ``acquire_worker``."""

        def lease(**limit: int) -> Any:
            return self._lease(name, *function, **options, **limit)

        changed = self._changed[name]
        with changed:
            # With the limit 1: an idle one, the function's first, or none.
            while (leased := lease(max_concurrency=1))[0] is None and not self._turns:
                changed.wait()
            if leased[0] is not None:
                return leased
            self._turns -= 1
            leased = lease()
        try:
            if leased[1] == "spawn":
                # The invocation tries again to start it, and reports why it cannot.
                with contextlib.suppress(RuntimeError):
                    leased[0]._spawn()
        finally:
            with changed:
                self._turns += 1
                for waiting in list(self._changed.values()):
                    waiting.notify()
        return leased

    def release(self, worker: Any) -> None:
        """Return a process: the emulator's ``release_worker``."""
        self._release(worker)
        with (changed := self._changed[worker.func_name]):
            changed.notify()


if __name__ == "__main__":
    SharedArchive.folder = Path(os.environ.pop("FANFARE_UNPACKED"))
    # They leave the processor to the services, too.
    lambda_runtime._PYTHON_WORKER_SCRIPT = f"import os\nos.nice(5)\n{lambda_runtime._PYTHON_WORKER_SCRIPT}"
    lambda_runtime.zipfile = SimpleNamespace(**{**vars(zipfile), "ZipFile": SharedArchive})
    cloudfront._dataplane_behavior = behavior
    cloudfront._match_behavior = match_behavior
    cloudfront.handle_viewer_request = viewer_request
    provisioners._RESOURCE_HANDLERS.update(HANDLERS)
    iam_evaluator._resolve_condition_key = condition_value
    cognito._oauth2_authorize_federation = authorize
    cognito._oauth2_idp_response = idp_response
    iam_evaluator._action_matches = action_matches
    cognito._oauth2_token = token
    lambda_svc._execute_function_with_config_scope = execute
    processes = Processes()
    lambda_svc.acquire_worker, lambda_svc.release_worker = processes.acquire, processes.release
    apigateway.handle_connections_api = connections_api
    apigateway.handle_execute = request
    apigateway.handle_websocket = websocket
    app.app = with_distributions_by_path(app.app)
    app.main()
