"""Exports: events that are too old for the database are kept in S3, as compressed lines of JSON.

A sealed partition goes there in parts, ``events/<partition>/<first page>.ndjson.gz``, each of which is read
back and compared. When all of them are there, ``events/<partition>.json`` describes them; only what is
described may be dropped. To list and to read exports::

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
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

FOLDER: Final = "events/"

# zlib then writes a gzip file: https://docs.python.org/3/library/zlib.html#zlib.compressobj
_GZIP: Final = 16 + zlib.MAX_WBITS
# Half again as fast as the default, for a tenth more bytes.
_LEVEL: Final = 4
_BLOCK_BYTES: Final = 256 * 1024
# The lines are read in this thread, which has the database's connection.
_TRANSFER: Final = TransferConfig(use_threads=False)


class ExportError(Exception):
    """What is in S3 is not what was exported; the message says how it differs."""


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of an export: the first page of the partition's table that it holds, and how many events.

    ``sha256`` is that of its lines, uncompressed, in hexadecimal.
    """

    first_page: int
    rows: int
    sha256: str


def write_part(s3: Any, bucket: str, partition: str, first_page: int, lines: Iterable[bytes]) -> Part:
    """Upload the lines as a part of the export of ``partition``, and read it back.

    The lines are taken one by one, in this thread, and never held all at once.
    Raises ExportError if what is read back differs.
    """
    written = _Digest()
    source = io.BufferedReader(_Compressed(written.passing(_blocks(lines))))
    key = _data(partition, first_page)
    content_type = {"ContentType": "application/gzip"}
    s3.upload_fileobj(source, bucket, key, ExtraArgs=content_type, Config=_TRANSFER)
    part = written.part(first_page)
    for _ in _stored_blocks(s3, bucket, partition, part):
        pass
    return part


def describe(s3: Any, bucket: str, partition: str, parts: Sequence[Part]) -> None:
    """Say that the export of ``partition`` is complete, and what its parts are."""
    description = {
        "rows": sum(part.rows for part in parts),
        "parts": [dataclasses.asdict(part) for part in parts],
    }
    s3.put_object(
        Bucket=bucket,
        Key=_description(partition),
        Body=json.dumps(description).encode(),
        ContentType="application/json",
    )


def read_export(s3: Any, bucket: str, partition: str) -> Iterator[bytes]:
    """The lines of an export: each is an event as a JSON object with the columns of the table.

    Raises ExportError at the end of a part if it is not what the description says.
    """
    description = json.loads(s3.get_object(Bucket=bucket, Key=_description(partition))["Body"].read())
    for part in description["parts"]:
        rest = b""
        for block in _stored_blocks(s3, bucket, partition, Part(**part)):
            lines = (rest + block).splitlines(keepends=True)
            rest = lines.pop() if not lines[-1].endswith(b"\n") else b""
            yield from lines


def list_exports(s3: Any, bucket: str) -> Iterator[str]:
    """The partitions whose export is complete, the oldest first."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=FOLDER, Delimiter="/"):
        for item in page.get("Contents", []):
            yield item["Key"].removeprefix(FOLDER).removesuffix(".json")


def _data(partition: str, first_page: int) -> str:
    return f"{FOLDER}{partition}/{first_page:010}.ndjson.gz"


def _description(partition: str) -> str:
    return f"{FOLDER}{partition}.json"


def _blocks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines put together: hashing and compressing a block takes little more time than a line."""
    block = bytearray()
    for line in lines:
        block += line
        if len(block) > _BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    yield bytes(block)


def _stored_blocks(s3: Any, bucket: str, partition: str, part: Part) -> Iterator[bytes]:
    """What is stored of a part. Raises ExportError at its end if it differs."""
    body = s3.get_object(Bucket=bucket, Key=_data(partition, part.first_page))["Body"]
    found = _Digest()
    try:
        with gzip.open(body) as stored:
            while block := stored.read(_BLOCK_BYTES):
                found.add(block)
                yield block
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ExportError(f"The export of {partition} is damaged: {error}") from error
    if (found_part := found.part(part.first_page)) != part:
        raise ExportError(f"The export of {partition} should hold {part}, and holds {found_part}.")


class _Digest:
    """Computes what describes a part from its blocks."""

    def __init__(self) -> None:
        self._rows = 0
        self._sha256 = hashlib.sha256()

    def add(self, block: bytes) -> None:
        self._rows += block.count(b"\n")
        self._sha256.update(block)

    def passing(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self.add(block)
            yield block

    def part(self, first_page: int) -> Part:
        return Part(first_page, self._rows, self._sha256.hexdigest())


class _Compressed(io.RawIOBase):
    """The blocks as a gzip file that can be read once."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._chunks = _compressed(blocks)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def _compressed(blocks: Iterable[bytes]) -> Iterator[bytes]:
    compressor = zlib.compressobj(_LEVEL, wbits=_GZIP)
    for block in blocks:
        if chunk := compressor.compress(block):
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
