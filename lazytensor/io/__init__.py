"""Byte stores, codecs, and one driver for each file format.

Nothing here knows of plans or engines beyond the ``Source`` protocol, and nothing is imported
until a source of the format is opened.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lazytensor.io import tenso

__all__ = ["tenso"]


def __getattr__(name: str) -> ModuleType:
    """``lt.io.tenso`` is imported when it is first used."""
    if name == "tenso":
        return import_module("lazytensor.io.tenso")
    raise AttributeError(f"module 'lazytensor.io' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
