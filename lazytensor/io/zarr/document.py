"""Reading JSON metadata with errors that say which key was wrong, and how.

A ``Fields`` wraps one JSON object and knows the file and the path inside it, so that the parsers
state only what they expect.
"""

from __future__ import annotations

import json
import math
import reprlib
import sys
from collections.abc import Mapping
from typing import Any

from lazytensor.errors import FormatError
from lazytensor.io.store import Buffer

__all__ = ["MAX_EXTENT", "Fields", "describe", "extension", "parse_json"]

MAX_EXTENT = 1 << 62
"""Larger extents are refused: positions must stay far from the end of a 64-bit integer."""

_MAX_NDIM = 64
_MAX_NUMBER = sys.float_info.max
_SHOWN = 60
# What a file holds may be long, deep, or a number whose digits take minutes; reprlib stops early.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHOWN


def describe(value: object) -> str:
    """A short text of a JSON value for an error message.

    >>> describe({"a": 1})
    "an object with the keys ['a']"
    >>> describe([1] * 100)
    '[1, 1, 1, 1, 1, 1, ...]'
    """
    if isinstance(value, dict):
        return f"an object with the keys {_SHORT.repr(list(value)[:8])}"
    huge = isinstance(value, int) and value.bit_length() > 64
    text = "a huge number" if huge else _SHORT.repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def parse_json(data: Buffer, where: str) -> dict[str, Any]:
    """The JSON object in a file; ``FormatError`` naming ``where`` if it is none.

    >>> parse_json(b'{"shape": [1]}', "zarr.json")
    {'shape': [1]}
    """
    try:
        document = json.loads(bytes(data))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}: expected JSON: {error}") from error
    if not isinstance(document, dict):
        raise FormatError(f"{where}: expected a JSON object, found {describe(document)}")
    return document


class Fields:
    """One JSON object and where it stands.

    >>> Fields({"a": {"b": 3}}, "zarr.json").fields("a").integer("b")
    3
    >>> Fields({"a": "x"}, "zarr.json").integer("a")
    Traceback (most recent call last):
    lazytensor.errors.FormatError: zarr.json: a: expected a non-negative integer, found 'x'
    """

    __slots__ = ("document", "where")

    def __init__(self, document: Mapping[str, Any], where: str) -> None:
        self.document = document
        self.where = where

    def at(self, key: str) -> str:
        """Where a key stands, for messages."""
        return f"{self.where}: {key}"

    def wrong(self, key: str, expected: str) -> FormatError:
        """The error for a key that does not hold what is expected."""
        found = describe(self.document[key]) if key in self.document else "nothing"
        return FormatError(f"{self.at(key)}: expected {expected}, found {found}")

    def get(self, key: str) -> Any:
        """The value of a key that must be there."""
        if key not in self.document:
            raise self.wrong(key, "a value")
        return self.document[key]

    def fields(self, key: str, *, optional: bool = False) -> Fields:
        """The object under a key; an empty one if it is absent or null and ``optional``."""
        value = self.document.get(key)
        if value is None and optional:
            value = {}
        if not isinstance(value, dict):
            raise self.wrong(key, "an object")
        return Fields(value, self.at(key))

    def items(self, key: str, *, optional: bool = False) -> list[Any]:
        """The list under a key; an empty one if it is absent or null and ``optional``."""
        value = self.document.get(key)
        if value is None and optional:
            return []
        if not isinstance(value, list):
            raise self.wrong(key, "a list")
        return value

    def objects(self, key: str, *, optional: bool = False) -> list[Fields]:
        """The list of objects under a key."""
        items = self.items(key, optional=optional)
        if not all(isinstance(item, dict) for item in items):
            raise self.wrong(key, "a list of objects")
        return [Fields(item, f"{self.at(key)}[{i}]") for i, item in enumerate(items)]

    def text(self, key: str) -> str:
        """The string under a key."""
        value = self.document.get(key)
        if not isinstance(value, str):
            raise self.wrong(key, "a string")
        return value

    def choice(self, key: str, choices: tuple[str, ...], default: str) -> str:
        """One of a few strings under a key, or the default if the key is absent."""
        value = self.document.get(key, default)
        if value not in choices:
            raise self.wrong(key, f"one of {list(choices)}")
        return str(value)

    def integer(self, key: str) -> int:
        """The non-negative integer below 2^62 under a key."""
        value = self.document.get(key)
        if type(value) is not int or not 0 <= value < MAX_EXTENT:
            raise self.wrong(key, "a non-negative integer")
        return value

    def extents(self, key: str, *, rank: int | None = None, least: int = 0) -> tuple[int, ...]:
        """The list of integers under a key, one per dimension, each at least ``least``."""
        value = self.items(key)
        if len(value) > _MAX_NDIM:
            raise FormatError(f"{self.at(key)}: {len(value)} dimensions; at most {_MAX_NDIM}")
        if not all(type(n) is int and least <= n < MAX_EXTENT for n in value):
            raise self.wrong(key, f"integers from {least} to 2^62")
        if rank is not None and len(value) != rank:
            raise self.wrong(key, f"{rank} integers, one per dimension")
        return tuple(value)

    def number(self, key: str) -> float:
        """The finite number under a key."""
        value: Any = self.document.get(key)
        if type(value) not in (int, float) or abs(value) > _MAX_NUMBER or math.isnan(value):
            raise self.wrong(key, "a finite number")
        return float(value)


def extension(value: Any, where: str) -> tuple[str, Fields, bool]:
    """Name, configuration and "may be skipped" of an extension point in the metadata.

    Since v3.1 of the format an extension without configuration may be written as its bare name.

    >>> name, settings, skippable = extension("crc32c", "zarr.json: codecs[1]")
    >>> name, dict(settings.document), skippable
    ('crc32c', {}, False)
    """
    if isinstance(value, str):
        return value, Fields({}, where), False
    if not isinstance(value, dict):
        raise FormatError(
            f"{where}: expected a name or an object with a name, found {describe(value)}"
        )
    fields = Fields(value, where)
    skippable = value.get("must_understand") is False
    return fields.text("name"), fields.fields("configuration", optional=True), skippable
