"""Names and settings in metadata to byte decoders: one table for zarr v2 ids and v3 names.

Encoder settings (levels, compressor of blosc, ...) do not matter for decoding and are not looked
at. ``pickle`` is refused like every codec that is not in the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.codec.bytecodec import (
    BloscCodec,
    ByteCodec,
    Crc32cCodec,
    DeflateCodec,
    Lz4Codec,
)
from lazytensor.io.codec.filters import DeltaCodec, ShuffleCodec
from lazytensor.io.codec.zstd import ZstdCodec

__all__ = ["BYTE_CODECS", "FILTERS_V2", "byte_codec"]

Settings = Mapping[str, Any]


def _shuffle(settings: Settings, where: str) -> ByteCodec:
    size = settings.get("elementsize", 4)
    if type(size) is not int or not 0 < size <= 256:
        raise FormatError(f"{where}: elementsize: expected 1 to 256, found {size!r}")
    return ShuffleCodec(size)


def _delta(settings: Settings, where: str) -> ByteCodec:
    decoded = _number_type(settings.get("dtype"), f"{where}: dtype")
    stored = settings.get("astype")
    return DeltaCodec(decoded, decoded if stored is None else _number_type(stored, where))


def _number_type(text: object, where: str) -> np.dtype:
    """A dtype string of numbers (a delta of anything else has no meaning)."""
    try:
        dtype = np.dtype(text) if isinstance(text, str) else None
    except TypeError:
        dtype = None
    if dtype is None or dtype.kind not in "biufc":
        raise FormatError(f"{where}: expected the dtype of a number, found {text!r}")
    return dtype


BYTE_CODECS: dict[str, Callable[[Settings, str], ByteCodec]] = {
    "blosc": lambda settings, where: BloscCodec(),
    "zstd": lambda settings, where: ZstdCodec(),
    "gzip": lambda settings, where: DeflateCodec("gzip", gzip=True),
    "zlib": lambda settings, where: DeflateCodec("zlib", gzip=False),
    "lz4": lambda settings, where: Lz4Codec(),
    "crc32c": lambda settings, where: Crc32cCodec(),
    "shuffle": _shuffle,
}
# In v2 a filter sees a flat run of values; in v3 delta is a codec of arrays.
FILTERS_V2: dict[str, Callable[[Settings, str], ByteCodec]] = {"delta": _delta}


def byte_codec(name: str, settings: Settings, where: str, *, zarr_format: int) -> ByteCodec:
    """The decoder called ``name``; ``FormatError`` naming ``where`` if there is none.

    Names of numcodecs carry their prefix in v3 (``"numcodecs.zstd"``).

    >>> byte_codec("numcodecs.zlib", {}, "a/zarr.json", zarr_format=3)
    zlib
    """
    known = BYTE_CODECS | (FILTERS_V2 if zarr_format == 2 else {})
    make = known.get(name if zarr_format == 2 else name.removeprefix("numcodecs."))
    if make is None:
        raise FormatError(
            f"{where}: codec {name!r} is not supported; known are {', '.join(sorted(known))}"
        )
    return make(settings, where)
