"""Whether something looks like tenso packets: by name or first bytes, without reading more."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from lazytensor.io.place import is_buffer

__all__ = ["is_tenso"]

_MAGIC = b"TNSO"
_DOCUMENT = "tenso.json"
_NAMES = (".tenso", ".tnsa")


def is_tenso(source: Any) -> bool:
    """Whether a path, URL, bytes or store look like tenso packets, by name or first bytes."""
    if is_buffer(source):
        return bytes(memoryview(source)[:4]) == _MAGIC
    if isinstance(source, Mapping):
        return _DOCUMENT in source
    if not isinstance(source, (str, os.PathLike)):
        return False
    text = os.fsdecode(source)
    if os.path.isdir(text):
        return os.path.isfile(os.path.join(text, _DOCUMENT))
    if not os.path.isfile(text):
        return text.partition("?")[0].partition("::")[0].rstrip("/").endswith(_NAMES)
    with open(text, "rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC
