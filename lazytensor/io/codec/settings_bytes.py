"""Settings of codecs from bytes to bytes, checked once when the metadata is read."""

from __future__ import annotations

import zlib
from typing import Any

from lazytensor.io.codec.bytecodec import ByteCodec
from lazytensor.io.codec.checksums import Checksum32Codec, Crc32cCodec, jenkins
from lazytensor.io.codec.filters import ShuffleCodec
from lazytensor.io.codec.site import Site
from lazytensor.io.codec.streams import MOST_DICTIONARY, Base64Codec, LzmaCodec

__all__ = ["adler32", "base64", "crc32", "crc32c", "jenkins_lookup3", "lzma", "shuffle"]

_LOCATIONS = ("start", "end")
_LZMA_RAW = 3
_MOST_FILTERS = 4
_MOST_ELEMENT = 256


def _at_start(site: Site, default: str) -> bool:
    return site.choice("location", _LOCATIONS, default) == "start"


def crc32(site: Site) -> ByteCodec:
    """In front of the data unless it says otherwise."""
    return Checksum32Codec("crc32", zlib.crc32, at_start=_at_start(site, "start"))


def adler32(site: Site) -> ByteCodec:
    """In front of the data unless it says otherwise."""
    return Checksum32Codec("adler32", zlib.adler32, at_start=_at_start(site, "start"))


def crc32c(site: Site) -> ByteCodec:
    """Behind the data unless it says otherwise."""
    return Crc32cCodec(at_start=_at_start(site, "end"))


def jenkins_lookup3(site: Site) -> ByteCodec:
    """Always behind the data. numcodecs cannot write a ``prefix`` to JSON, so there is none."""
    if site.settings.get("prefix") is not None:
        raise site.wrong("prefix", "null")
    initial = site.integer("initval", 0, (1 << 32) - 1, 0)
    return Checksum32Codec("jenkins_lookup3", jenkins(initial), at_start=False)


def base64(site: Site) -> ByteCodec:
    """No settings."""
    return Base64Codec()


def shuffle(site: Site) -> ByteCodec:
    """In v3 an element is one of the array unless it says otherwise; in v2, four bytes."""
    item = 4 if site.dtype is None or site.zarr_format == 2 else site.dtype.itemsize
    return ShuffleCodec(site.integer("elementsize", 1, _MOST_ELEMENT, item))


def lzma(site: Site) -> ByteCodec:
    """The format; and for raw streams the filters, which say how much memory they need."""
    format = site.integer("format", 0, _LZMA_RAW, 1)
    if format != _LZMA_RAW:
        return LzmaCodec(format, None)
    filters = site.settings.get("filters")
    if not isinstance(filters, list) or not 0 < len(filters) <= _MOST_FILTERS:
        raise site.wrong("filters", f"a list of 1 to {_MOST_FILTERS} filters")
    codec = LzmaCodec(format, [_lzma_filter(site, entry) for entry in filters])
    if not codec.is_valid():
        raise site.wrong("filters", "filters of a raw stream")
    return codec


def _lzma_filter(site: Site, entry: Any) -> dict[str, int]:
    """A filter as the standard library takes it: names and small integers."""
    if not isinstance(entry, dict) or not all(
        type(value) is int and 0 <= value < 1 << 63 for value in entry.values()
    ):
        raise site.wrong("filters", "filters with integer settings")
    if entry.get("dict_size", 0) > MOST_DICTIONARY:
        raise site.wrong("filters", f"dictionaries of at most {MOST_DICTIONARY} bytes")
    return entry
