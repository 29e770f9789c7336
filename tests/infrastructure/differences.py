"""What differs between two stages, property by property."""

import re
from collections.abc import Iterator
from typing import Any

from tests.infrastructure.template import Resource, Stage

# Names that CDK derives from the stack's.
DERIVED = re.compile(r"Fanfare(?:prod|local)(\w*?)(?:[0-9A-F]{8})?\b|aws-cdk:cr-owned:\w+")
STAGE = re.compile(r"(?<=fanfare[-/])(?:prod|local)\b")


def differences(one: Stage, other: Stage) -> Iterator[tuple[str, str, Any, Any]]:
    """Each property that differs in a resource of both: resource, property, the two values (None: absent)."""
    ours, theirs = _by_path(one), _by_path(other)
    for path in sorted(ours.keys() & theirs.keys()):
        left = dict(_leaves(ours[path].properties))
        right = dict(_leaves(theirs[path].properties))
        left["DeletionPolicy"], right["DeletionPolicy"] = (
            ours[path].deletion_policy,
            theirs[path].deletion_policy,
        )
        for name in sorted(left.keys() | right.keys()):
            if left.get(name) != right.get(name):
                yield f"{path} {ours[path].type}", name, left.get(name), right.get(name)


def only_in(one: Stage, other: Stage) -> dict[str, str]:
    """Path and type of each resource that ``one`` has and ``other`` has not."""
    ours, theirs = _by_path(one), _by_path(other)
    return {path: ours[path].type for path in ours.keys() - theirs.keys()}


def _by_path(stage: Stage) -> dict[str, Resource]:
    return {_neutral(path): resource for path, resource in stage.resources.items()}


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{_name(item, index)}]")
    elif isinstance(value, list):
        yield _neutral(path), [_neutral(item) if isinstance(item, str) else item for item in value]
    else:
        yield _neutral(path), _neutral(value) if isinstance(value, str) else value


def _name(item: Any, index: int) -> str:
    """What tells an item of a list from its neighbours: a name of its own rather than its place."""
    names = (item[key] for key in ("Key", "PathPattern", "Header", "Action") if key in item)
    name = next(names, index)
    return "+".join(name) if isinstance(name, list) else str(name)


def _neutral(text: str) -> str:
    return DERIVED.sub(r"…\1", STAGE.sub("<stage>", text))
