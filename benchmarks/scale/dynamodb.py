"""DynamoDB: tables whose keys have a capacity. TTL removes nothing: in DynamoDB that may take days."""

import bisect
import functools
import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from benchmarks.scale import constants, expressions
from benchmarks.scale.clock import Bucket, Clock
from benchmarks.scale.expressions import Item, Names, comparable

Parameters = dict[str, Any]

_KEY_CONDITION = re.compile(
    r"#?\w+ ?= ?(:\w+)"
    r"(?: (?i:and) (?:#?\w+ ?(<=|>=|[=<>]) ?(:\w+)"
    r"|#?\w+ (?i:between) (:\w+) (?i:and) (:\w+)"
    r"|begins_with ?\(#?\w+, ?(:\w+)\)))?"
)


class ServiceError(Exception):
    """What a service answers instead: a code of its own, with status 400."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.message = message or code


class _Key:
    """The items of one partition key in the order of their sort keys, and the key's capacity."""

    __slots__ = ("items", "order", "reads", "sizes", "writes")

    def __init__(self, clock: Clock) -> None:
        self.items: dict[Any, Item] = {}
        self.order: list[Any] = []
        self.sizes: dict[Any, int] = {}
        self.reads = Bucket(clock, constants.KEY_READS, constants.KEY_READS)
        self.writes = Bucket(clock, constants.KEY_WRITES, constants.KEY_WRITES)


class Table:
    """One table on demand."""

    def __init__(self, clock: Clock, partition_key: str, sort_key: str | None = None) -> None:
        self._clock = clock
        self._partition_key, self._sort_key = partition_key, sort_key
        self._keys: dict[Any, _Key] = {}
        self._reads = Bucket(clock, constants.TABLE_READS, constants.TABLE_READS)
        self._writes = Bucket(clock, constants.TABLE_WRITES, constants.TABLE_WRITES)
        # Units by partition key and second.
        self.read_units: Counter[tuple[Any, int]] = Counter()
        self.written_units: Counter[tuple[Any, int]] = Counter()
        self.throttled = 0

    def __len__(self) -> int:
        """How many items there are."""
        return sum(len(key.items) for key in self._keys.values())

    def place(self, item: Item) -> None:
        """Put the item there without any cost: how it is when a scenario begins."""
        partition, sort = self._of(item)
        self._put(self._key(partition), sort, item)

    def get(self, call: Parameters) -> Parameters:
        """GetItem."""
        partition, sort = self._of(call["Key"])
        key = self._key(partition)
        self._admit(key.reads, self._reads)
        found = key.items.get(sort)
        self._read(partition, key, key.sizes.get(sort, 0), call)
        return {} if found is None else {"Item": _projected(found, call)}

    def put(self, call: Parameters) -> Parameters:
        """PutItem."""
        return self._change(call, call["Item"], lambda _: dict(call["Item"]))

    def delete(self, call: Parameters) -> Parameters:
        """DeleteItem."""
        return self._change(call, call["Key"], lambda _: None)

    def update(self, call: Parameters) -> Parameters:
        """UpdateItem."""

        def updated(old: Item | None) -> Item:
            item = dict(old if old is not None else call["Key"])
            expressions.update(call["UpdateExpression"], _names(call))(item, _values(call))
            return item

        return self._change(call, call["Key"], updated)

    def write(self, request: Parameters) -> bool:
        """One request of BatchWriteItem; whether there was capacity for it."""
        try:
            if "PutRequest" in request:
                self.put(request["PutRequest"])
            else:
                self.delete(request["DeleteRequest"])
        except ServiceError:
            return False
        return True

    def query(self, call: Parameters) -> Parameters:
        """Query."""
        values, names = _values(call), _names(call)
        partition_token, comparator, tokens = _key_condition(call["KeyConditionExpression"])
        partition = comparable(values[partition_token])
        key = self._key(partition)
        self._admit(key.reads, self._reads)
        begin, end = _range(key.order, comparator, [comparable(values[token]) for token in tokens])
        forward = call.get("ScanIndexForward", True)
        if start := call.get("ExclusiveStartKey"):
            sort = self._of(start)[1]
            if forward:
                begin = max(begin, bisect.bisect_right(key.order, sort))
            else:
                end = min(end, bisect.bisect_left(key.order, sort))
        keep = expressions.condition(call["FilterExpression"], names) if "FilterExpression" in call else None
        items, evaluated, size, last = [], 0, 0, None
        limit = call.get("Limit", math.inf)
        for at in range(begin, end) if forward else range(end - 1, begin - 1, -1):
            sort = key.order[at]
            item = key.items[sort]
            evaluated += 1
            size += key.sizes[sort]
            if keep is None or keep(item, values):
                items.append(_projected(item, call))
            if evaluated >= limit or size >= constants.MAX_PAGE_BYTES:
                last = item
                break
        self._read(partition, key, size, call)
        answer: Parameters = {"Count": len(items), "ScannedCount": evaluated}
        if call.get("Select") != "COUNT":
            answer["Items"] = items
        if last is not None:
            answer["LastEvaluatedKey"] = self._key_of(last)
        return answer

    def _change(
        self, call: Parameters, of: Item, changed: Callable[[Item | None], Item | None]
    ) -> Parameters:
        partition, sort = self._of(of)
        key = self._key(partition)
        self._admit(key.writes, self._writes)
        old = key.items.get(sort)
        size = key.sizes.get(sort, 0)
        if text := call.get("ConditionExpression"):
            holds = expressions.condition(text, _names(call))
            if not holds(old or {}, _values(call)):
                self._wrote(partition, key, size)
                error = ServiceError("ConditionalCheckFailedException", "The conditional request failed")
                raise error
        new = changed(old)
        if new is not None:
            self._put(key, sort, new)
            size = max(size, key.sizes[sort])
        elif old is not None:
            del key.items[sort], key.sizes[sort]
            del key.order[bisect.bisect_left(key.order, sort)]
        self._wrote(partition, key, size)
        match call.get("ReturnValues", "NONE"):
            case "ALL_OLD" if old is not None:
                return {"Attributes": old}
            case "ALL_NEW":
                return {"Attributes": new}
        return {}

    def _put(self, key: _Key, sort: Any, item: Item) -> None:
        if sort not in key.items:
            bisect.insort(key.order, sort)
        key.items[sort] = item
        size = sum(len(name) + _size(value) for name, value in item.items())
        if size > constants.MAX_ITEM_BYTES:
            raise ServiceError("ValidationException", "Item size has exceeded the maximum allowed size")
        key.sizes[sort] = size

    def _admit(self, *buckets: Bucket) -> None:
        if not all(bucket.has_any() for bucket in buckets):
            self.throttled += 1
            raise ServiceError("ThrottlingException", "Throughput exceeds the current capacity")

    def _read(self, partition: Any, key: _Key, size: int, call: Parameters) -> None:
        units = max(1, math.ceil(size / constants.READ_UNIT_BYTES)) * (
            1 if call.get("ConsistentRead") else 0.5
        )
        key.reads.spend(units)
        self._reads.spend(units)
        # A counter of whole units is enough for halves: they are rounded up.
        self.read_units[partition, int(self._clock.now)] += math.ceil(units)

    def _wrote(self, partition: Any, key: _Key, size: int) -> None:
        units = max(1, math.ceil(size / constants.WRITE_UNIT_BYTES))
        key.writes.spend(units)
        self._writes.spend(units)
        self.written_units[partition, int(self._clock.now)] += units

    def _key(self, partition: Any) -> _Key:
        if partition not in self._keys:
            self._keys[partition] = _Key(self._clock)
        return self._keys[partition]

    def _of(self, item: Item) -> tuple[Any, Any]:
        return comparable(item[self._partition_key]), comparable(
            item[self._sort_key]
        ) if self._sort_key else ""

    def _key_of(self, item: Item) -> Item:
        return {name: item[name] for name in (self._partition_key, self._sort_key) if name}


class DynamoDB:
    """The service: actions by name."""

    def __init__(self, tables: dict[str, Table]) -> None:
        self.tables = tables

    def call(self, action: str, parameters: Parameters) -> tuple[Parameters, int]:
        """What the action answers, and how many items that are. Raises ServiceError."""
        if action == "BatchWriteItem":
            return self._batch_write(parameters["RequestItems"])
        if action == "TransactWriteItems":
            raise ValueError("the model knows no transactions")
        table = self.tables[parameters["TableName"]]
        do = {
            "GetItem": table.get,
            "PutItem": table.put,
            "DeleteItem": table.delete,
            "UpdateItem": table.update,
            "Query": table.query,
        }[action]
        answer = do(parameters)
        return answer, answer.get("ScannedCount", 1)

    def _batch_write(self, requests: dict[str, list[Parameters]]) -> tuple[Parameters, int]:
        count = sum(map(len, requests.values()))
        if not 0 < count <= constants.MAX_BATCH_WRITES:
            raise ServiceError("ValidationException", "Too many items requested for the BatchWriteItem call")
        left = {
            name: undone
            for name, each in requests.items()
            if (undone := [request for request in each if not self.tables[name].write(request)])
        }
        if sum(map(len, left.values())) == count:
            raise ServiceError("ProvisionedThroughputExceededException")
        return {"UnprocessedItems": left}, count


def _projected(item: Item, call: Parameters) -> Item:
    if "ProjectionExpression" not in call:
        return item
    names = dict(_names(call))
    wanted = [name.strip() for name in call["ProjectionExpression"].split(",")]
    return {real: item[real] for name in wanted if (real := names.get(name, name)) in item}


def _size(value: dict[str, Any]) -> int:
    ((kind, content),) = value.items()
    if kind in {"S", "B"}:
        return len(content) if content.isascii() else len(content.encode())
    if kind == "N":
        return len(content) // 2 + 1
    if kind == "L":
        return 3 + sum(1 + _size(each) for each in content)
    if kind == "M":
        return 3 + sum(1 + len(name) + _size(each) for name, each in content.items())
    return 1 if kind in {"BOOL", "NULL"} else sum(map(len, content))


def _names(call: Parameters) -> Names:
    return tuple(call.get("ExpressionAttributeNames", {}).items())


@functools.cache
def _key_condition(text: str) -> tuple[str, str, list[str]]:
    """The partition key's value; how the sort key compares ("" for any), and with which values."""
    match = _KEY_CONDITION.fullmatch(" ".join(text.split()))
    if not match:
        raise ValueError(f"the model does not understand the key condition {text!r}")
    partition, comparator, value, low, high, prefix = match.groups()
    if low:
        return partition, "BETWEEN", [low, high]
    if prefix:
        return partition, "begins_with", [prefix]
    return partition, comparator or "", [value] if value else []


def _range(order: list[Any], comparator: str, values: list[Any]) -> tuple[int, int]:
    """Where the sort keys that compare so begin and end."""
    begin, end = 0, len(order)
    match comparator:
        case "=":
            begin, end = bisect.bisect_left(order, values[0]), bisect.bisect_right(order, values[0])
        case ">":
            begin = bisect.bisect_right(order, values[0])
        case ">=":
            begin = bisect.bisect_left(order, values[0])
        case "<":
            end = bisect.bisect_left(order, values[0])
        case "<=":
            end = bisect.bisect_right(order, values[0])
        case "BETWEEN":
            begin, end = bisect.bisect_left(order, values[0]), bisect.bisect_right(order, values[1])
        case "begins_with":
            begin = bisect.bisect_left(order, values[0])
            end = bisect.bisect_left(order, values[0] + "\U0010ffff")
    return begin, end


def _values(call: Parameters) -> dict[str, dict[str, Any]]:
    values: dict[str, dict[str, Any]] = call.get("ExpressionAttributeValues", {})
    return values
