"""What a record says of an image as a whole: shape, dtype, axes, and where it comes from.

Sizes and the dtype decide where values are, so anything doubtful about them is an error. All else
is for people: what makes no sense there (a pixel that is 0 micrometers wide) is as if it were not
said. Whether something *is* said matters as well: a unit without a size is none, and a size
without a unit is in micrometers, which is what OME says and what the files of that package mean.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

import numpy as np

from lazytensor.errors import FormatError, SerializationError
from lazytensor.io.ome_arrow.model import DIMS, ImageMeta
from lazytensor.io.zarr.document import describe
from lazytensor.plan.registry import scalar_type
from lazytensor.plan.spec import Axis

__all__ = [
    "TAG", "dtype_of", "meta_of", "moment_text", "shortest", "unit_name", "unit_symbol",
]  # fmt: skip

TAG = "ome.arrow"
"""What ``type`` of a record is."""

_LIMIT = 1 << 63
_DEFAULT_UNIT = "micrometer"
_NUMPY = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "complex64", "complex128",
)  # fmt: skip
# Of OME, where "float" is single precision, and names that NumPy has had for its own.
_OTHERS = {
    "bit": "bool",
    "float": "float32",
    "double": "float64",
    "complex": "complex64",
    "double-complex": "complex128",
    "bool_": "bool",
    "half": "float16",
    "single": "float32",
}
_EXTENDED = re.compile(r"bfloat16|float8_\w+")
# "<u2", "|u1", "=f4": little-endian, of no order, and of the order of the machine that wrote it,
# all of which are little-endian. ">u2" contradicts the format.
_LETTERS = re.compile(r"[<|=]?([biufc]\d+|\?)")

_PREFIXES = {
    "Y": "yotta", "Z": "zetta", "E": "exa", "P": "peta", "T": "tera", "G": "giga", "M": "mega",
    "k": "kilo", "h": "hecto", "da": "deca", "": "", "d": "deci", "c": "centi", "m": "milli",
    "\u00b5": "micro", "n": "nano", "p": "pico", "f": "femto", "a": "atto", "z": "zepto",
    "y": "yocto",
}  # fmt: skip
_SYMBOLS = {f"{prefix}meter": f"{symbol}m" for symbol, prefix in _PREFIXES.items()} | {
    "angstrom": "\u00c5",
    "inch": "in",
    "foot": "ft",
    "yard": "yd",
    "mile": "mi",
    "parsec": "pc",
    "light_year": "ly",
    "astronomical_unit": "ua",
}
_NO_UNIT = frozenset({"pixel", "pixels", "px", "voxel", "voxels", "reference frame", "none"})


def _same(text: str) -> str:
    """Micro and angstrom are two characters each in Unicode."""
    return unicodedata.normalize("NFKC", text).strip()


_NAMES = {_same(symbol): name for name, symbol in _SYMBOLS.items()} | {
    "um": "micrometer",
    "micron": "micrometer",
    "feet": "foot",
    "light year": "light_year",
    "astronomical unit": "astronomical_unit",
}


def unit_name(text: str | None) -> str | None:
    """The UDUNITS name of a unit of length, whatever it is called; None if it is no unit.

    Pixels are no unit. Names that are not known are kept as they are.

    >>> unit_name("\u00b5m"), unit_name("microns"), unit_name("Nanometre"), unit_name("pixel")
    ('micrometer', 'micrometer', 'nanometer', None)
    """
    text = (text or "").strip()
    if not text or text.lower() in _NO_UNIT:
        return None
    same = _same(text)
    if same in _NAMES:
        return _NAMES[same]
    word = same.lower().replace("metre", "meter")
    for name in (word, word.removesuffix("s"), word.removesuffix("es")):
        if name in _SYMBOLS:
            return name
        if len(name) > 2 and name in _NAMES:
            return _NAMES[name]
    return text


def unit_symbol(name: str | None) -> str:
    """What OME calls a unit of length: the inverse of ``unit_name``. No unit: "pixel".

    >>> unit_symbol("micrometer"), unit_symbol("furlong"), unit_symbol(None)
    ('\u00b5m', 'furlong', 'pixel')
    """
    return "pixel" if name is None else _SYMBOLS.get(name, name)


def dtype_of(name: object, where: str) -> np.dtype:
    """The dtype that a record means by a name, in the byte order of this machine.

    Names are those of NumPy ("uint16") and of OME ("float" is single precision), upper or lower
    case, and NumPy's letters ("u2", "<u2"). Stored bytes are little-endian whatever a name says,
    so one that says otherwise (">u2") is refused. ``where``: names file and key in the
    ``FormatError``.

    >>> dtype_of("uint16", "a.parquet"), dtype_of("double-complex", "a.parquet")
    (dtype('uint16'), dtype('complex128'))
    """
    if isinstance(name, str) and len(name) < 64:
        found = _dtype(name.strip())
        if found is not None:
            return found
    raise FormatError(
        f"{where}: expected the name of a dtype (NumPy's {', '.join(_NUMPY)}; OME's bit, float, "
        f"double, complex, double-complex; bfloat16, float8_*), found {describe(name)}"
    )


@lru_cache(512)
def _dtype(name: str) -> np.dtype | None:
    letters = _LETTERS.fullmatch(name)  # of which an upper case one is another dtype
    name = name.lower()
    name = _OTHERS.get(name, name)
    if letters:
        try:
            name = np.dtype(letters[1]).name
        except TypeError:
            return None
    if name in _NUMPY:
        return np.dtype(name)
    if not _EXTENDED.fullmatch(name):
        return None
    try:
        return scalar_type(name)
    except SerializationError:
        return None


def meta_of(record: Mapping[str, Any], where: str) -> ImageMeta:
    """What a record says of its image; ``record`` is a dict of it, with or without its pixels.

    Raises ``FormatError``, naming ``where``, key, expected and found, for a record of another kind,
    sizes that are not positive integers or multiply to 2^63 and more, and dtypes that are not
    known. Channels name the positions of their axis if there are as many as ``size_c`` and one has
    a name; those without one go by their id, or by "C" and number. A physical size that is not
    positive and finite means that the axis has no scale; with scale and without unit it is in
    micrometers. A NumPy scalar as physical size stands for the shortest decimal number that is
    stored as it: 0.1 in single precision is 0.1. An acquisition time that is no ISO 8601 is left
    out.

    >>> sizes = {f"size_{d}": n for d, n in zip("tczyx", (1, 2, 3, 4, 5))}
    >>> meta = meta_of({"pixels_meta": sizes | {"type": "float"}, "id": "a"}, "a.parquet[0]")
    >>> meta.shape, meta.dtype, meta.attrs
    ((1, 2, 3, 4, 5), dtype('float32'), {'id': 'a'})
    """
    tag = record.get("type")
    if tag is not None and tag != TAG:
        raise FormatError(f"{where}: type: expected {TAG!r}, found {describe(tag)}")
    pixels = record.get("pixels_meta")
    if not isinstance(pixels, Mapping):
        raise FormatError(f"{where}: pixels_meta: expected a struct, found {_found(pixels)}")
    shape = cast(
        "tuple[int, int, int, int, int]",
        tuple(_size(pixels.get(f"size_{dim}"), dim, where) for dim in DIMS),
    )
    if math.prod(shape) >= _LIMIT:
        raise FormatError(
            f"{where}: pixels_meta: expected sizes that multiply to less than 2^63, found {shape}"
        )
    dtype = dtype_of(pixels.get("type"), f"{where}: pixels_meta.type")
    channels = _channels(pixels.get("channels"))
    axes = _axes(
        tuple(_positive(pixels.get(f"physical_size_{dim}")) for dim in "zyx"),
        tuple(_text(pixels.get(f"physical_size_{dim}_unit")) for dim in "zyx"),
        _labels(channels, shape[1]),
    )
    return ImageMeta(dtype, shape, axes, _attrs(record, channels))


def _size(value: object, dim: str, where: str) -> int:
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value > 0:
        return int(value)
    raise FormatError(
        f"{where}: pixels_meta.size_{dim}: expected a positive integer, found {_found(value)}"
    )


def _found(value: object) -> str:
    return "null" if value is None else describe(value)


@lru_cache(1024)
def _axes(
    scales: tuple[float | None, ...], units: tuple[str | None, ...], labels: tuple[str, ...] | None
) -> tuple[Axis, ...]:
    space = [
        Axis(dim, "space") if scale is None else Axis(dim, "space", _unit(unit), scale)
        for dim, scale, unit in zip("zyx", scales, units, strict=True)
    ]
    return (Axis("t", "time"), Axis("c", "channel", labels=labels), *space)


def _unit(text: str | None) -> str | None:
    return unit_name(text) if text and text.strip() else _DEFAULT_UNIT


def _positive(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        return None
    try:
        size = shortest(value) if isinstance(value, np.floating) else float(cast(float, value))
    except (OverflowError, TypeError):
        return None
    return size if 0 < size < math.inf else None


def shortest(value: float | np.floating[Any]) -> float:
    """The shortest decimal number that a float of its precision is stored as.

    >>> float(np.float32(0.1)), shortest(np.float32(0.1))
    (0.10000000149011612, 0.1)
    """
    return float(str(value))


def _text(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, np.integer)):
        return None
    return str(value)


def _channels(found: object) -> tuple[Mapping[str, Any], ...]:
    """Channels as they are in the file, as JSON; () if there are none, {} for what is null."""
    if isinstance(found, tuple):  # prepared by someone who has many records to read
        return found
    if not isinstance(found, Sequence) or isinstance(found, (str, bytes)):
        return ()
    return tuple(_json(item) if isinstance(item, Mapping) else {} for item in found)


def _json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(item) for item in value]
    if isinstance(value, np.floating):
        value = shortest(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _labels(channels: Sequence[Mapping[str, Any]], count: int) -> tuple[str, ...] | None:
    if len(channels) != count or not any(_text(channel.get("name")) for channel in channels):
        return None
    return tuple(
        _text(channel.get("name")) or _text(channel.get("id")) or f"C{number}"
        for number, channel in enumerate(channels)
    )


def _attrs(record: Mapping[str, Any], channels: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    attrs: dict[str, Any] = {}
    for key in ("id", "name", "image_type"):
        text = _text(record.get(key))
        if text is not None:
            attrs[key] = text
    moment = moment_text(record.get("acquisition_datetime"))
    if moment is not None:
        attrs["acquisition_datetime"] = moment
    listed = list(channels)
    if listed:
        attrs["channels"] = listed
    return attrs


def moment_text(value: object) -> str | None:
    """A point in time as ISO 8601; None for what is none.

    >>> moment_text(np.datetime64(1_000_000_000_000_000_001, "ns"))
    '2001-09-09T01:46:40.000000001'
    """
    if isinstance(value, np.datetime64):
        value = _as_python_writes_it(str(value))
    if isinstance(value, dt.date):  # which a datetime is
        return value.isoformat()
    if not isinstance(value, str):
        return None
    text = value.strip()
    try:
        dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return text


def _as_python_writes_it(text: str) -> str:
    """With 6 digits of a second, or 9, or none: whatever the precision it was stored with."""
    seconds, point, digits = text.partition(".")
    digits = digits.rstrip("0")
    return (
        f"{seconds}{point}{digits.ljust(6 if len(digits) <= 6 else 9, '0')}" if digits else seconds
    )
