"""Exports: events that are too old for the database are kept in S3, as compressed lines of JSON.

A sealed partition goes to ``events/<partition>.ndjson.gz``, is read back and compared, and described by
``events/<partition>.json``; only what is described may be dropped. To list and to read exports::

    python -m lambdas.history.exports <bucket>
    python -m lambdas.history.exports <bucket> <partition> > events.ndjson
"""

import argparse
import dataclasses
import gzip
import hashlib
import io
import json
import sys
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

FOLDER: Final = "events/"

# zlib then writes a gzip file: https://docs.python.org/3/library/zlib.html#zlib.compressobj
_GZIP: Final = 16 + zlib.MAX_WBITS
# The lines are read in this thread, which has the database's connection.
_TRANSFER: Final = TransferConfig(use_threads=False)


class ExportError(Exception):
    """What is in S3 is not what was exported; the message says how it differs."""


@dataclasses.dataclass(frozen=True)
class Contents:
    """How many events an export holds, and the SHA-256 of its lines, uncompressed, in hexadecimal."""

    rows: int
    sha256: str


def write_export(s3: Any, bucket: str, partition: str, lines: Iterable[bytes]) -> Contents:
    """Upload the lines as the export of ``partition``, read it back, and describe it.

    The lines are taken one by one, in this thread, and never held all at once.
    Raises ExportError if what is read back differs.
    """
    written = _Digest()
    source = io.BufferedReader(_Compressed(written.passing(lines)))
    content_type = {"ContentType": "application/gzip"}
    s3.upload_fileobj(source, bucket, _data(partition), ExtraArgs=content_type, Config=_TRANSFER)

    found = _Digest()
    for _ in found.passing(_stored_lines(s3, bucket, partition)):
        pass
    _compare(partition, expected=written.contents, found=found.contents)
    description = json.dumps(dataclasses.asdict(written.contents))
    s3.put_object(
        Bucket=bucket,
        Key=_description(partition),
        Body=description.encode(),
        ContentType="application/json",
    )
    return written.contents


def read_export(s3: Any, bucket: str, partition: str) -> Iterator[bytes]:
    """The lines of an export: each is an event as a JSON object with the columns of the table.

    Raises ExportError at the end if they are not what the description says.
    """
    description = s3.get_object(Bucket=bucket, Key=_description(partition))["Body"].read()
    found = _Digest()
    yield from found.passing(_stored_lines(s3, bucket, partition))
    _compare(partition, expected=Contents(**json.loads(description)), found=found.contents)


def list_exports(s3: Any, bucket: str) -> Iterator[str]:
    """The partitions whose export is complete, the oldest first."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=FOLDER):
        for item in page.get("Contents", []):
            if item["Key"].endswith(".json"):
                yield item["Key"].removeprefix(FOLDER).removesuffix(".json")


def _data(partition: str) -> str:
    return f"{FOLDER}{partition}.ndjson.gz"


def _description(partition: str) -> str:
    return f"{FOLDER}{partition}.json"


def _stored_lines(s3: Any, bucket: str, partition: str) -> Iterator[bytes]:
    body = s3.get_object(Bucket=bucket, Key=_data(partition))["Body"]
    try:
        with gzip.open(body) as lines:
            yield from lines
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ExportError(f"The export of {partition} is damaged: {error}") from error


def _compare(partition: str, *, expected: Contents, found: Contents) -> None:
    if found != expected:
        raise ExportError(f"The export of {partition} should hold {expected}, and holds {found}.")


class _Digest:
    """Computes the Contents of the lines that pass."""

    def __init__(self) -> None:
        self._rows = 0
        self._sha256 = hashlib.sha256()

    def passing(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        for line in lines:
            self._rows += 1
            self._sha256.update(line)
            yield line

    @property
    def contents(self) -> Contents:
        return Contents(self._rows, self._sha256.hexdigest())


class _Compressed(io.RawIOBase):
    """The lines as a gzip file that can be read once."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._chunks = _compressed(lines)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = next(self._chunks, b"")
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def _compressed(lines: Iterable[bytes]) -> Iterator[bytes]:
    compressor = zlib.compressobj(wbits=_GZIP)
    for line in lines:
        if chunk := compressor.compress(line):
            yield chunk
    yield compressor.flush()


def main(arguments: list[str] | None = None) -> None:
    """List the exports of a bucket, or write the events of one to the standard output."""
    parser = argparse.ArgumentParser(prog="python -m lambdas.history.exports", description=main.__doc__)
    parser.add_argument("bucket", help="the output ExportsBucketName of the stage's stack")
    parser.add_argument("partition", nargs="?", help="such as events_1764028800; lists the exports if absent")
    options = parser.parse_args(arguments)
    s3 = boto3.client("s3")
    if options.partition is None:
        for name in list_exports(s3, options.bucket):
            print(name)
        return
    try:
        for line in read_export(s3, options.bucket, options.partition):
            sys.stdout.buffer.write(line)
    except (ClientError, ExportError) as error:
        sys.exit(f"{options.partition}: {error}")


if __name__ == "__main__":
    main()
