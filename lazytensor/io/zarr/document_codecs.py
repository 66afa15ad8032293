"""Compressors and filters as users name them, to the codecs that metadata lists.

A name, a name and its level, the document of either version of zarr, or an object of numcodecs or
zarr-python: all become one form, ``(name, settings)`` in the words of numcodecs, and from that what
the wanted version writes. Settings are written in full, so that a file tells how it was made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.codec.site import Site
from lazytensor.io.codec.table import codec_kind

__all__ = ["Codec", "codecs_of", "codecs_v2", "codecs_v3"]

_LEVELS = {
    "blosc": "clevel",
    "bz2": "level",
    "gzip": "level",
    "lz4": "acceleration",
    "lzma": "preset",
    "pcodec": "level",
    "zlib": "level",
    "zstd": "level",
}
# What a name without settings means. Levels are those that are nearly as fast as lower ones.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "blosc": {"cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0},
    "bz2": {"level": 1},
    "gzip": {"level": 3},
    "lz4": {"acceleration": 1},
    "lzma": {"format": 1, "check": -1, "preset": None, "filters": None},
    "pcodec": {"level": 8},
    "zlib": {"level": 3},
    "zstd": {"level": 1, "checksum": False},
}
_SIZE = "elementsize"
_TYPE_KEYS = {
    "astype": "decode_dtype",
    "delta": "dtype",
    "fixedscaleoffset": "dtype",
    "quantize": "dtype",
    "shuffle": _SIZE,
}
_SHUFFLES = ("noshuffle", "shuffle", "bitshuffle")
# Of the codecs that both versions have, those that v3 has under the same name.
_OWN_NAMES = frozenset(("blosc", "crc32c", "gzip", "zstd"))
# What v3 alone has, by names that numcodecs does not use or uses for something else.
_V3_ONLY = frozenset(("cast_value", "scale_offset", "transpose", "reshape"))
_MADE_BY_US = frozenset(("bytes", "sharding_indexed", "transpose", "reshape", "vlen-utf8"))


class Codec(NamedTuple):
    """``name`` and ``settings`` as numcodecs has them; ``is_v3``: as zarr v3 has them.

    ``argument``: whose argument it was.
    """

    name: str
    settings: Mapping[str, Any]
    is_v3: bool
    argument: str


def codecs_of(given: Any, argument: str) -> list[Codec]:
    """What was given, one after the other: nothing, one, or several in the order of encoding.

    >>> [(codec.name, codec.settings) for codec in codecs_of(["delta", "gzip:5"], "compressor")]
    [('delta', {}), ('gzip', {'level': 5})]
    """
    if given is None:
        return []
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        return [_one(given, argument)]
    return [_one(item, argument) for item in given]


def _one(given: Any, argument: str) -> Codec:
    if isinstance(given, str):
        return _named(given, argument)
    document = given if isinstance(given, Mapping) else _document_of(given)
    if document is not None and isinstance(document.get("id"), str):
        settings = {key: value for key, value in document.items() if key != "id"}
        return Codec(document["id"], settings, False, argument)
    if document is not None and isinstance(document.get("name"), str):
        settings = document.get("configuration") or {}
        if isinstance(settings, Mapping):
            return Codec(document["name"], settings, True, argument)
    raise FormatError(
        f"{argument}: expected a name, 'name:level', a mapping with an 'id' or a 'name', or a "
        f"codec of numcodecs or zarr-python; found {given!r}"
    )


def _document_of(given: object) -> Mapping[str, Any] | None:
    """numcodecs' codecs have ``get_config``, zarr-python's ``to_dict``."""
    for method in ("to_dict", "get_config"):
        if callable(make := getattr(given, method, None)):
            found = make()
            return found if isinstance(found, Mapping) else None
    return None


def _named(text: str, argument: str) -> Codec:
    name, colon, level = text.partition(":")
    settings = dict(_DEFAULTS.get(name, {}))
    if colon:
        if name not in _LEVELS or not level.lstrip("-").isdecimal():
            raise FormatError(
                f"{argument}: {text!r}: expected a level, such as 'zstd:5', behind one of "
                f"{', '.join(sorted(_LEVELS))}"
            )
        settings[_LEVELS[name]] = int(level)
    return Codec(name, settings, False, argument)


def _complete(codecs: Iterable[Codec], dtype: np.dtype) -> list[Codec]:
    """With the dtype of the array where the first of them works on that and does not name it."""
    found: list[Codec] = []
    for codec in codecs:
        key = _TYPE_KEYS.get(codec.name.removeprefix("numcodecs."))
        own: dict[str, Any] = {}
        if key == _SIZE:
            own = {key: dtype.itemsize}
        elif key is not None and not found and dtype.kind in "biufc":
            own = {key: dtype.newbyteorder("<").str}
        found.append(codec._replace(settings={**own, **codec.settings}))
    return found


def codecs_v2(codecs: Iterable[Codec], dtype: np.dtype) -> list[dict[str, Any]]:
    """The documents of filters and compressor of v2, in the order of encoding.

    ``dtype``: of the values.

    >>> codecs_v2(codecs_of(["delta", "zstd:3"], "compressor"), np.dtype("u2"))
    [{'id': 'delta', 'dtype': '<u2'}, {'id': 'zstd', 'level': 3}]
    """
    return [_v2(codec) for codec in _complete(codecs, dtype)]


def _v2(codec: Codec) -> dict[str, Any]:
    name = codec.name.removeprefix("numcodecs.")
    settings = dict(codec.settings)
    if codec.is_v3 and name == codec.name and name in (_V3_ONLY | {"packbits"} | _MADE_BY_US):
        raise FormatError(f"{codec.argument}: codec {name!r} is of zarr v3; v2 has none like it")
    if name == "blosc":
        settings.pop("typesize", None)
        if isinstance(shuffle := settings.get("shuffle"), str) and shuffle in _SHUFFLES:
            settings["shuffle"] = _SHUFFLES.index(shuffle)
    if name == "zstd" and settings.get("checksum") is False:
        del settings["checksum"]  # unknown to several readers, and what they take for granted
    return {"id": name, **settings}


def codecs_v3(codecs: Iterable[Codec], dtype: np.dtype) -> list[dict[str, Any]]:
    """The documents of codecs of v3, in the order of encoding.

    ``dtype``: of the values. ``FormatError`` for those that say how an array is laid out, which
    other arguments are for.

    >>> codecs_v3(codecs_of("blosc:9", "compressor"), np.dtype("u2"))[0]["configuration"]
    {'cname': 'lz4', 'clevel': 9, 'shuffle': 'shuffle', 'blocksize': 0, 'typesize': 2}
    """
    return [_v3(codec, dtype) for codec in _complete(codecs, dtype)]


def _v3(codec: Codec, dtype: np.dtype) -> dict[str, Any]:
    if codec.name in _MADE_BY_US:
        raise FormatError(
            f"{codec.argument}: codec {codec.name!r} is part of the layout, which dtype, shards "
            "and order say"
        )
    name, settings = codec.name, dict(codec.settings)
    plain = name.removeprefix("numcodecs.")
    if plain in _OWN_NAMES:
        # numcodecs' own spelling is kept where only that has the setting.
        name = plain if plain != "crc32c" or not settings else "numcodecs.crc32c"
    elif not codec.is_v3 and _is_known(f"numcodecs.{plain}"):
        name = f"numcodecs.{plain}"
    if name == "blosc":
        settings = _blosc_v3(settings, dtype)
    if name == "zstd":
        settings.setdefault("checksum", False)
    if not settings and not name.startswith("numcodecs."):
        return {"name": name}
    return {"name": name, "configuration": settings}  # without which zarr-python refuses its own


def _is_known(name: str) -> bool:
    try:
        codec_kind(name, Site({}, ""))
    except FormatError:
        return False
    return True


def _blosc_v3(settings: dict[str, Any], dtype: np.dtype) -> dict[str, Any]:
    """v3 names the shuffle and the size of what is shuffled, which all must be there."""
    found = dict(_DEFAULTS["blosc"]) | settings
    if found.get("typesize") is None:
        found["typesize"] = dtype.itemsize if 0 < dtype.itemsize < 1 << 8 else 1
    shuffle = found["shuffle"]
    if shuffle is None or shuffle == -1:
        shuffle = 2 if found["typesize"] == 1 else 1
    if type(shuffle) is int and 0 <= shuffle < len(_SHUFFLES):
        shuffle = _SHUFFLES[shuffle]
    return found | {"shuffle": shuffle}
