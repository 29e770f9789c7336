"""Starts the AWS emulator, with what it lacks and the app uses.

Run by the emulator's own interpreter, which has nothing of this project: only what requirements/emulator.txt
names may be imported here. The app's templates stay those that AWS gets; what AWS's own CloudFormation does
with a type is done here with the emulator's services.
"""

import fnmatch
import gzip
import hashlib
import io
import json
import mimetypes
import os
import shutil
import string
import uuid
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
from ministack.app import main
from ministack.core import iam_evaluator, lambda_runtime
from ministack.services import apigateway, cloudfront, cognito, secretsmanager
from ministack.services.cloudformation import provisioners

Properties = Mapping[str, Any]
# What a handler answers: the physical id and the attributes that Fn::GetAtt reads.
Resource = tuple[str, dict[str, Any]]


class AwsRefusedError(Exception):
    """The emulator's service refused the call; CloudFormation reports the text as the resource's reason."""


def _answer(response: tuple[int, Any, bytes]) -> dict[str, Any]:
    status, _, body = response
    if status >= 400:
        raise AwsRefusedError(body.decode())
    return json.loads(body) if body else {}


# -- AWS::Cognito::UserPoolIdentityProvider --------------------------------------------------------


def create_identity_provider(_logical_id: str, properties: Properties, _stack_name: str) -> Resource:
    """Its dynamic references to secrets arrive resolved, as in every resource."""
    _answer(cognito._create_identity_provider(dict(properties)))
    return properties["ProviderName"], {}


def update_identity_provider(
    physical_id: str, old: Properties, new: Properties, stack_name: str, logical_id: str
) -> Resource:
    """The pool, the name and the type cannot be changed in place: changing one makes another provider."""
    if any(old.get(name) != new.get(name) for name in ("UserPoolId", "ProviderName", "ProviderType")):
        delete_identity_provider(physical_id, old)
        return create_identity_provider(logical_id, new, stack_name)
    _answer(cognito._update_identity_provider(dict(new)))
    return physical_id, {}


def delete_identity_provider(physical_id: str, properties: Properties) -> None:
    """A pool that is gone has taken its providers along."""
    if properties["UserPoolId"] in cognito._user_pools:
        request = {"UserPoolId": properties["UserPoolId"], "ProviderName": physical_id}
        _answer(cognito._delete_identity_provider(request))


# -- AWS::SecretsManager::Secret ----------------------------------------------------------------------

# The emulator knows the type, but its Ref is the secret's name, so that grants on "the Ref", which is the ARN
# in AWS, would match nothing; and it generates passwords with punctuation whatever the template says.
_secret = dict(provisioners._RESOURCE_HANDLERS["AWS::SecretsManager::Secret"])


def create_secret(logical_id: str, properties: Properties, stack_name: str) -> Resource:
    """The emulator's secret, with its ARN as the physical id."""
    _, attributes = _secret["create"](logical_id, _without_punctuation(properties), stack_name)
    return attributes["Arn"], attributes


def update_secret(
    physical_id: str, old: Properties, new: Properties, stack_name: str, logical_id: str
) -> Resource:
    """The emulator's update, which finds the secret by its name."""
    before, after = _without_punctuation(old), _without_punctuation(new)
    _, attributes = _secret["update"](_secret_name(physical_id), before, after, stack_name, logical_id)
    return attributes["Arn"], attributes


def delete_secret(physical_id: str, properties: Properties) -> None:
    """The emulator's deletion, which finds the secret by its name."""
    _secret["delete"](_secret_name(physical_id), properties)


def _secret_name(arn: str) -> str:
    return next((name for name, secret in secretsmanager._secrets.items() if secret["ARN"] == arn), arn)


def _without_punctuation(properties: Properties) -> dict[str, Any]:
    generate = dict(properties.get("GenerateSecretString") or {})
    if generate and _flag(generate, "ExcludePunctuation", default="false"):
        generate["ExcludeCharacters"] = generate.get("ExcludeCharacters", "") + string.punctuation
        return {**properties, "GenerateSecretString": generate}
    return dict(properties)


# -- AWS::ApiGatewayV2::RouteResponse --------------------------------------------------------------


def create_route_response(_logical_id: str, properties: Properties, _stack_name: str) -> Resource:
    """The emulator sends a route's answer with or without a route response; this puts it on record."""
    request = {"routeResponseKey": properties["RouteResponseKey"]}
    route = _route_id(properties)
    response = _answer(apigateway._create_route_response(properties["ApiId"], route, request))
    return response["routeResponseId"], {}


def update_route_response(
    physical_id: str, old: Properties, new: Properties, stack_name: str, logical_id: str
) -> Resource:
    """Replace it: nothing else refers to one."""
    delete_route_response(physical_id, old)
    return create_route_response(logical_id, new, stack_name)


def delete_route_response(physical_id: str, properties: Properties) -> None:
    """A route that is gone has taken its responses along."""
    apigateway._route_responses.get(properties["ApiId"], {}).get(_route_id(properties), {}).pop(
        physical_id, None
    )


def _route_id(properties: Properties) -> str:
    # In the emulator a route's Ref is "<api id>/<route id>"; in AWS it is the route id.
    return str(properties["RouteId"]).rpartition("/")[2]


# -- Custom::CDKBucketDeployment -------------------------------------------------------------------

# The function behind this type runs the AWS command line from a Lambda layer, which the emulator's Python
# functions cannot reach. What the function does is done here, in the emulator's process, through S3's API.
# https://github.com/aws/aws-cdk/tree/main/packages/@aws-cdk/custom-resource-handlers (aws-s3-deployment)


def create_bucket_deployment(_logical_id: str, properties: Properties, _stack_name: str) -> Resource:
    """Copy the contents of the source archives into the bucket."""
    return _deploy(f"aws.cdk.s3deployment.{uuid.uuid4()}", properties)


def update_bucket_deployment(
    physical_id: str, _old: Properties, new: Properties, _stack_name: str, _logical_id: str
) -> Resource:
    """Copy again, as every update does."""
    return _deploy(physical_id, new)


def delete_bucket_deployment(physical_id: str, properties: Properties) -> None:
    """Leave the files: the bucket's own deletion policy decides about them."""


def _deploy(physical_id: str, properties: Properties) -> Resource:
    s3 = _s3()
    bucket = properties["DestinationBucketName"]
    prefix = properties.get("DestinationBucketKeyPrefix", "").strip("/")
    headers = _put_arguments(properties)
    kept = set()
    for name, content in _contents(s3, properties).items():
        if not _selected(name, properties):
            continue
        key = f"{prefix}/{name}" if prefix else name
        content_type = mimetypes.guess_type(name)[0] or "binary/octet-stream"
        s3.put_object(Bucket=bucket, Key=key, Body=content, **{"ContentType": content_type, **headers})
        kept.add(key)
    if _flag(properties, "Prune"):
        _prune(s3, bucket, prefix, kept, properties)
    sources = properties["SourceObjectKeys"] if _flag(properties, "OutputObjectKeys") else []
    return physical_id, {
        "DestinationBucketArn": properties.get("DestinationBucketArn", ""),
        "SourceObjectKeys": sources,
    }


def _contents(s3: Any, properties: Properties) -> dict[str, bytes]:
    """The files of all sources by name, later sources over earlier ones, with the markers replaced."""
    buckets, keys = properties["SourceBucketNames"], properties["SourceObjectKeys"]
    markers = properties.get("SourceMarkers") or [{} for _ in keys]
    configs = properties.get("SourceMarkersConfig") or [{} for _ in keys]
    if not _flag(properties, "Extract"):
        raise AwsRefusedError("The local cloud deploys extracted archives only (extract=False was given).")
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
        # The value lands inside a JSON string.
        text = json.dumps(value)[1:-1] if config and _flag(config, "jsonEscape", default="false") else value
        content = content.replace(marker.encode(), text.encode())
    return content


def _put_arguments(properties: Properties) -> dict[str, Any]:
    """``cache-control`` becomes ``CacheControl``: its options are named as S3's parameters are."""
    system = properties.get("SystemMetadata") or {}
    arguments: dict[str, Any] = {
        "".join(part.capitalize() for part in name.split("-")): value for name, value in system.items()
    }
    if user := properties.get("UserMetadata"):
        arguments["Metadata"] = dict(user)
    return arguments


def _selected(name: str, properties: Properties) -> bool:
    """Includes are applied after excludes, and the last that matches decides; no filter selects all."""
    excluded = _matches(name, properties.get("Exclude") or ())
    return not excluded or _matches(name, properties.get("Include") or ())


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _prune(s3: Any, bucket: str, prefix: str, kept: set[str], properties: Properties) -> None:
    """Delete what no source has any more, except files that the filters leave alone."""
    folder = f"{prefix}/" if prefix else ""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=folder):
        for found in page.get("Contents", ()):
            if found["Key"] not in kept and _selected(found["Key"].removeprefix(folder), properties):
                s3.delete_object(Bucket=bucket, Key=found["Key"])


def _flag(properties: Properties, name: str, default: str = "true") -> bool:
    return str(properties.get(name, default)).lower() == "true"


def _s3() -> Any:
    # The endpoint is this very process: custom resources run beside the thread that answers requests.
    return boto3.client("s3", endpoint_url=f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}")


# -- Custom::S3AutoDeleteObjects -------------------------------------------------------------------

# The function behind this type needs the AWS SDK for JavaScript, which the emulator does not bring.


def create_bucket_emptier(logical_id: str, _properties: Properties, _stack_name: str) -> Resource:
    """Nothing to do until the stack is deleted."""
    return logical_id, {}


def delete_bucket_emptier(_physical_id: str, properties: Properties) -> None:
    """Empty the bucket, so that it can be deleted."""
    s3, bucket = _s3(), properties["BucketName"]
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for found in page.get("Contents", ()):
            s3.delete_object(Bucket=bucket, Key=found["Key"])


# -- AWS::CloudWatch::Alarm ------------------------------------------------------------------------

_alarm = dict(provisioners._RESOURCE_HANDLERS["AWS::CloudWatch::Alarm"])


def create_alarm(logical_id: str, properties: Properties, stack_name: str) -> Resource:
    """The emulator's alarm, which does no arithmetic: one over several metrics is put on record over one."""
    created: Resource = _alarm["create"](logical_id, _over_one_metric(properties), stack_name)
    return created


def update_alarm(
    physical_id: str, old: Properties, new: Properties, stack_name: str, logical_id: str
) -> Resource:
    """The emulator's update, likewise."""
    updated: Resource = _alarm["update"](
        physical_id, _over_one_metric(old), _over_one_metric(new), stack_name, logical_id
    )
    return updated


def _over_one_metric(properties: Properties) -> dict[str, Any]:
    stats = [metric["MetricStat"] for metric in properties.get("Metrics", ()) if "MetricStat" in metric]
    if not stats:
        return dict(properties)
    rest = {name: value for name, value in properties.items() if name != "Metrics"}
    stat = stats[0]
    return {**rest, **stat["Metric"], "Statistic": stat["Stat"], "Period": stat["Period"]}


HANDLERS: dict[str, dict[str, Any]] = {
    "AWS::CloudWatch::Alarm": {
        "create": create_alarm,
        "update": update_alarm,
        "update_with_logical_id": True,
        "delete": _alarm["delete"],
    },
    "AWS::Cognito::UserPoolIdentityProvider": {
        "create": create_identity_provider,
        "update": update_identity_provider,
        "update_with_logical_id": True,
        "delete": delete_identity_provider,
    },
    "AWS::SecretsManager::Secret": {
        "create": create_secret,
        "update": update_secret,
        "update_with_logical_id": True,
        "delete": delete_secret,
    },
    "AWS::ApiGatewayV2::RouteResponse": {
        "create": create_route_response,
        "update": update_route_response,
        "update_with_logical_id": True,
        "delete": delete_route_response,
    },
    "Custom::CDKBucketDeployment": {
        "create": create_bucket_deployment,
        "update": update_bucket_deployment,
        "update_with_logical_id": True,
        "delete": delete_bucket_deployment,
    },
    "Custom::S3AutoDeleteObjects": {
        "create": create_bucket_emptier,
        "update": lambda physical_id, _old, _new, _stack_name: (physical_id, {}),
        "delete": delete_bucket_emptier,
    },
}

_condition_value = iam_evaluator._resolve_condition_key


def condition_value(key: str, context: Any) -> Any:
    """What a policy's condition is compared with, where every request counts as sent over TLS.

    The emulator speaks plain HTTP, on the loopback interface only; in AWS the same requests (CloudFront's
    to the bucket, the SDKs') are encrypted, and policies refuse those that are not.
    """
    return "true" if key.lower() == "aws:securetransport" else _condition_value(key, context)


_token = cognito._oauth2_token


def token(*arguments: Any, **options: Any) -> tuple[int, dict[str, str], bytes]:
    """The answer of ``/oauth2/token`` as JSON, which OAuth clients insist on.

    After a federated sign-in the emulator labels it with the content type of AWS's own protocol.
    """
    status, headers, body = _token(*arguments, **options)
    return status, {**headers, "Content-Type": "application/json;charset=UTF-8"}, body


_behavior = cloudfront._dataplane_behavior
_viewer_request = cloudfront.handle_viewer_request

# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/ServingCompressedFiles.html
COMPRESSED_SIZES = range(1_000, 10_000_001)
COMPRESSED_STATUSES = {200, 403, 404}
COMPRESSED_TYPES = {
    "application/javascript",
    "application/json",
    "application/xml",
    "image/svg+xml",
    "text/css",
    "text/html",
    "text/javascript",
    "text/plain",
}


def behavior(element: Any, path_pattern: str | None = None) -> dict[str, Any]:
    """A distribution's behaviour, and whether it compresses."""
    return {**_behavior(element, path_pattern), "compress": cloudfront._text(element, "Compress") == "true"}


async def viewer_request(
    distribution: dict[str, Any], method: str, path: str, *request: Any
) -> tuple[int, dict[str, Any], bytes]:
    """CloudFront's answer, compressed as CloudFront does: a page that is measured weighs what it will."""
    status, answered, body = await _viewer_request(distribution, method, path, *request)
    _uri, _query, headers, *_ = request
    config = cloudfront.parse_distribution_dataplane_config(distribution)
    matched = cloudfront._match_behavior(config, path)
    names = {name.lower(): name for name in answered}
    if (
        matched is None
        or not matched["compress"]
        or "gzip" not in headers.get("accept-encoding", "")
        or "content-encoding" in names
        or status not in COMPRESSED_STATUSES
        or len(body) not in COMPRESSED_SIZES
        or str(answered.get(names.get("content-type", ""))).partition(";")[0] not in COMPRESSED_TYPES
    ):
        return status, answered, body
    compressed = gzip.compress(body, mtime=0)
    kept = {name: value for name, value in answered.items() if name.lower() != "content-length"}
    return status, {**kept, "Content-Encoding": "gzip", "Vary": "Accept-Encoding"}, compressed


class SharedArchive(zipfile.ZipFile):
    """A function's package, unpacked once: where the emulator would do it for each process.

    Functions cannot write to their code's folder in AWS, so that they can share it here.
    """

    folder: Path

    def extractall(self, path: Any = None, members: Any = None, pwd: Any = None) -> None:
        """Make ``path``, an empty folder, a link to the unpacked package, and delete the archive."""
        archive = Path(str(self.filename))
        shared = self.folder / hashlib.sha256(archive.read_bytes()).hexdigest()
        if not shared.exists():
            half = shared.with_name(f"{shared.name}.{uuid.uuid4()}")
            super().extractall(half, members, pwd)
            try:
                half.rename(shared)
            except OSError:  # another process was quicker
                shutil.rmtree(half)
        os.utime(shared)
        archive.unlink()
        Path(path).rmdir()
        Path(path).symlink_to(shared)


if __name__ == "__main__":
    SharedArchive.folder = Path(os.environ.pop("FANFARE_UNPACKED"))
    lambda_runtime.zipfile = SimpleNamespace(**{**vars(zipfile), "ZipFile": SharedArchive})
    cloudfront._dataplane_behavior = behavior
    cloudfront.handle_viewer_request = viewer_request
    provisioners._RESOURCE_HANDLERS.update(HANDLERS)
    iam_evaluator._resolve_condition_key = condition_value
    cognito._oauth2_token = token
    main()
