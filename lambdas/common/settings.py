"""A function's settings: its environment variables, read once at start into a typed object."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class SettingsError(Exception):
    """A setting is missing or malformed; the message names the environment variable."""


def from_environment(settings: type[T], environment: Mapping[str, str] = os.environ) -> T:
    """Build the dataclass ``settings`` from environment variables named like its fields, in capitals.

    Fields are ``str`` or ``int``; one with a default may be left out.
    Raises SettingsError, naming the variable, so that a misconfigured function stops at its start.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        variable = field.name.upper()
        text = environment.get(variable, "")
        if text:
            values[field.name] = _parse(variable, text, field.type)
        elif field.default is dataclasses.MISSING:
            raise SettingsError(f"The environment variable {variable} is not set.")
    return settings(**values)


def _parse(variable: str, text: str, kind: Any) -> str | int:
    if kind is not int:
        return text
    try:
        return int(text)
    except ValueError:
        raise SettingsError(
            f"The environment variable {variable} must be a whole number, not {text!r}."
        ) from None
