"""Where a codec stands in the metadata: its settings, and what it is given to encode."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lazytensor.errors import FormatError

__all__ = ["Site"]

_NUMBER = (
    r"[<>|=]?(?:b1|[iu][1248]|f[248]|c8|c16)|\?|bool|u?int(?:8|16|32|64)|float(?:16|32|64)"
    r"|complex(?:64|128)"
)


def _no_types(*found: object) -> Any:
    raise FormatError(f"{found[-1]}: data types have no names here")


class Site(NamedTuple):
    """The settings of one codec.

    ``where`` names file and key in errors. ``dtype``: of the values that it encodes, where that is
    known. ``zarr_format``: 2 or 3, which differ in what they leave out. ``parse_type(value,
    where)`` and ``parse_scalar(value, dtype, where)`` read a data type and a scalar of zarr v3.
    """

    settings: Mapping[str, Any]
    where: str
    dtype: np.dtype | None = None
    zarr_format: int = 3
    parse_type: Callable[[Any, str], np.dtype] = _no_types
    parse_scalar: Callable[[Any, np.dtype, str], np.ndarray] = _no_types

    def wrong(self, key: str, expected: str) -> FormatError:
        """The error for a setting that is not what it should be."""
        found = reprlib.repr(self.settings[key]) if key in self.settings else "nothing"
        return FormatError(f"{self.where}: {key}: expected {expected}, found {found}")

    def integer(self, key: str, least: int, most: int, default: int) -> int:
        """An integer setting within bounds; the default if it is absent or null."""
        value = self.settings.get(key)
        if value is None:
            return default
        if type(value) is not int or not least <= value <= most:
            raise self.wrong(key, f"an integer from {least} to {most}")
        return value

    def choice(self, key: str, choices: tuple[str, ...], default: str) -> str:
        """One of a few strings; the default if it is absent or null."""
        value = self.settings.get(key)
        if value is None:
            return default
        if not isinstance(value, str) or value not in choices:
            raise self.wrong(key, f"one of {list(choices)}")
        return value

    def number_type(self, key: str, default: np.dtype | None) -> np.dtype:
        """A setting that names a NumPy dtype of numbers.

        In v3 values have no byte order; there the dtype is in that of the machine.
        """
        text = self.settings.get(key)
        if text is None and default is not None and default.kind in "biufc":
            return default
        if not isinstance(text, str) or not re.fullmatch(_NUMBER, text):
            raise self.wrong(key, "the dtype of a number")
        dtype = np.dtype(text)
        return dtype.newbyteorder("=") if self.zarr_format == 3 else dtype

    def only(self, *known: str) -> None:
        """``FormatError`` if there are settings beside these: they would change the meaning."""
        for key in self.settings:
            if key not in known:
                raise FormatError(f"{self.where}: {key}: this setting is unknown")
