"""Addresses of C decoders and encoders that other packages' shared objects export.

numcodecs' module for Blosc carries Blosc, Zstandard and LZ4 in one object and hides none of their
functions; python-deflate's does so with libdeflate. A kernel calls them by address. The objects are
opened as plain libraries, because importing numcodecs costs 45 ms for its registry.

No version of these packages promises the exports, so each library must decode a known message, or
one that it encoded itself, before any of its functions is given away, and a symbol that is missing
is ``None``. (python-isal exports ``isal_inflate`` as well, but its state is a struct whose layout
only its headers tell.)
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Callable, Mapping
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from typing import NamedTuple

__all__ = ["symbol"]

_PLAIN = bytes(range(16)) * 16
_BLOSC = bytes.fromhex(
    "02012102000100000001000052000000140000001b000000ff0100020406080a0c0e00020406080a0c0e1000"
    "585006080a0c0e1b000000ff0101030507090b0d0f01030507090b0d0f1000585007090b0d0f"
)
_ZSTD = bytes.fromhex("28b52ffd600000bd000080000102030405060708090a0b0c0d0e0f0100da43cd25")
_LZ4 = bytes.fromhex("ff01000102030405060708090a0b0c0d0e0f1000d8500b0c0d0e0f")
_ZLIB = bytes.fromhex("789c6360646266616563e7e0e4e2e6e1e5e36718617c00afad0781")

_pointer, _size, _int = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
Addresses = Mapping[str, int]


def _function(address: int, result: type | None, *parameters: type) -> Callable[..., int]:
    call: Callable[..., int] = ctypes.CFUNCTYPE(result, *parameters)(address)
    return call


def _blosc_works(found: Addresses) -> bool:
    out = ctypes.create_string_buffer(len(_PLAIN))
    decode = _function(found["blosc_decompress_ctx"], _int, ctypes.c_char_p, _pointer, _size, _int)
    return decode(_BLOSC, out, len(_PLAIN), 1) == len(_PLAIN) and out.raw == _PLAIN


def _lz4_works(found: Addresses) -> bool:
    out = ctypes.create_string_buffer(len(_PLAIN))
    decode = _function(found["LZ4_decompress_safe"], _int, ctypes.c_char_p, _pointer, _int, _int)
    return decode(_LZ4, out, len(_LZ4), len(_PLAIN)) == len(_PLAIN) and out.raw == _PLAIN


def _zstd_works(found: Addresses) -> bool:
    out = ctypes.create_string_buffer(len(_PLAIN))
    size = _function(found["ZSTD_getFrameContentSize"], ctypes.c_uint64, ctypes.c_char_p, _size)
    failed = _function(found["ZSTD_isError"], ctypes.c_uint, _size)
    decode = _function(
        found["ZSTD_decompressDCtx"], _size, _pointer, _pointer, _size, ctypes.c_char_p, _size
    )
    context = _function(found["ZSTD_createDCtx"], _pointer)()
    if not context:
        return False
    try:
        good = decode(context, out, len(_PLAIN), _ZSTD, len(_ZSTD))
        bad = decode(context, ctypes.create_string_buffer(9), 9, _ZSTD, len(_ZSTD))
    finally:
        _function(found["ZSTD_freeDCtx"], _size, _pointer)(context)
    sizes_agree = size(_ZSTD, len(_ZSTD)) == good == len(_PLAIN)
    return sizes_agree and out.raw == _PLAIN and bool(failed(bad)) and not failed(good)


def _blosc_compresses(found: Addresses) -> bool:
    packed, out = ctypes.create_string_buffer(512), ctypes.create_string_buffer(len(_PLAIN))
    encode = _function(
        found["blosc_compress_ctx"],
        _int, _int, _int, _size, _size, ctypes.c_char_p, _pointer, _size, ctypes.c_char_p, _size,
        _int,
    )  # fmt: skip
    decode = _function(found["blosc_decompress_ctx"], _int, _pointer, _pointer, _size, _int)
    size = encode(5, 1, 2, len(_PLAIN), _PLAIN, packed, 512, b"lz4", 0, 1)
    return 0 < size < len(_PLAIN) and decode(packed, out, 256, 1) == 256 and out.raw == _PLAIN


def _lz4_compresses(found: Addresses) -> bool:
    packed, out = ctypes.create_string_buffer(512), ctypes.create_string_buffer(len(_PLAIN))
    encode = _function(
        found["LZ4_compress_fast"], _int, ctypes.c_char_p, _pointer, _int, _int, _int
    )
    decode = _function(found["LZ4_decompress_safe"], _int, _pointer, _pointer, _int, _int)
    size = encode(_PLAIN, packed, len(_PLAIN), 512, 1)
    return 0 < size < len(_PLAIN) and decode(packed, out, size, 256) == 256 and out.raw == _PLAIN


def _zstd_compresses(found: Addresses) -> bool:
    packed, out = ctypes.create_string_buffer(512), ctypes.create_string_buffer(len(_PLAIN))
    set_parameter = _function(found["ZSTD_CCtx_setParameter"], _size, _pointer, _int, _int)
    encode = _function(
        found["ZSTD_compress2"], _size, _pointer, _pointer, _size, ctypes.c_char_p, _size
    )
    decode = _function(found["ZSTD_decompress"], _size, _pointer, _size, _pointer, _size)
    context = _function(found["ZSTD_createCCtx"], _pointer)()
    if not context:
        return False
    try:
        told = [set_parameter(context, *setting) for setting in ((100, 1), (201, 1))]
        size = encode(context, packed, 512, _PLAIN, len(_PLAIN))
        bad = encode(context, packed, 9, _PLAIN, len(_PLAIN))
        held = _function(found["ZSTD_sizeof_CCtx"], _size, _pointer)(context)
    finally:
        _function(found["ZSTD_freeCCtx"], _size, _pointer)(context)
    sound = max(told) < 1 << 32 and size < len(_PLAIN) < held < 1 << 32 < bad
    return sound and decode(out, 256, packed, size) == 256 and out.raw == _PLAIN


def _deflate_works(found: Addresses) -> bool:
    out = ctypes.create_string_buffer(len(_PLAIN))
    used, made = ctypes.c_size_t(), ctypes.c_size_t()
    decode = _function(
        found["libdeflate_zlib_decompress_ex"],
        _int, _pointer, ctypes.c_char_p, _size, _pointer, _size, _pointer, _pointer,
    )  # fmt: skip
    decoder = _function(found["libdeflate_alloc_decompressor"], _pointer)()
    if not decoder:
        return False
    ends = ctypes.byref(used), ctypes.byref(made)
    try:
        status = decode(decoder, _ZLIB, len(_ZLIB), out, len(_PLAIN), *ends)
    finally:
        _function(found["libdeflate_free_decompressor"], None, _pointer)(decoder)
    return (status, used.value, made.value, out.raw) == (0, len(_ZLIB), len(_PLAIN), _PLAIN)


class _Library(NamedTuple):
    package: str
    module: str
    works: Callable[[Addresses], bool]
    names: tuple[str, ...]


_LIBRARIES = (
    _Library("numcodecs", "blosc", _blosc_works, ("blosc_decompress_ctx",)),
    _Library("numcodecs", "blosc", _lz4_works, ("LZ4_decompress_safe",)),
    _Library(
        "numcodecs",
        "blosc",
        _zstd_works,
        (
            "ZSTD_createDCtx",
            "ZSTD_decompressDCtx",
            "ZSTD_freeDCtx",
            "ZSTD_getFrameContentSize",
            "ZSTD_isError",
        ),
    ),
    _Library(
        "numcodecs", "blosc", _blosc_compresses, ("blosc_compress_ctx", "blosc_decompress_ctx")
    ),
    _Library("numcodecs", "blosc", _lz4_compresses, ("LZ4_compress_fast", "LZ4_decompress_safe")),
    _Library(
        "numcodecs",
        "blosc",
        _zstd_compresses,
        (
            "ZSTD_CCtx_setParameter",
            "ZSTD_compress2",
            "ZSTD_createCCtx",
            "ZSTD_decompress",
            "ZSTD_freeCCtx",
            "ZSTD_sizeof_CCtx",
        ),
    ),
    _Library(
        "deflate",
        "_deflate",
        _deflate_works,
        (
            "libdeflate_alloc_decompressor",
            "libdeflate_deflate_decompress_ex",
            "libdeflate_free_decompressor",
            "libdeflate_gzip_decompress_ex",
            "libdeflate_zlib_decompress_ex",
        ),
    ),
)


def symbol(name: str) -> int | None:
    """Address of a C function of one of the libraries above; ``None`` if this system has it not.

    The address holds for the life of the process, in forked children too. ``KeyError`` for a name
    that no library is asked for.

    - ``int blosc_decompress_ctx(src, dest, destsize, threads)``: bytes written, or below 1. It
      trusts the length in its header: check ``len(src)`` first.
    - ``int LZ4_decompress_safe(src, dst, srcsize, capacity)``: bytes written, or negative.
    - ``size_t ZSTD_decompressDCtx(context, dst, capacity, src, srcsize)``: bytes written, or an
      error by ``ZSTD_isError``. A context serves one thread.
    - ``int blosc_compress_ctx(level, shuffle, itemsize, nbytes, src, dest, destsize, name,
      blocksize, threads)``: bytes written, 0 if they do not fit, or negative. 16 bytes more than
      there are always do.
    - ``int LZ4_compress_fast(src, dst, srcsize, capacity, acceleration)``: bytes written, or 0.
    - ``size_t ZSTD_compress2(context, dst, capacity, src, srcsize)``: bytes written, or an error as
      above. A context serves one thread.
    - ``int libdeflate_gzip_decompress_ex(decompressor, in, insize, out, capacity, &used, &made)``:
      0 if good. It decodes one member.

    >>> symbol("ZSTD_isError") is None or symbol("ZSTD_isError") > 0
    True
    """
    for library in _LIBRARIES:
        if name in library.names:
            return _addresses(library).get(name)
    raise KeyError(f"{name} is not among the functions asked of {[x.module for x in _LIBRARIES]}")


@cache
def _addresses(library: _Library) -> Addresses:
    """All functions of a library, or none."""
    handle = _open(library.package, library.module)
    found: dict[str, int] = {}
    for name in library.names:
        try:
            found[name] = ctypes.cast(getattr(handle, name), _pointer).value or 0
        except AttributeError:
            return {}
    return found if library.works(found) else {}


@cache
def _open(package: str, module: str) -> ctypes.CDLL | None:
    """The extension module as a plain library, kept open; ``None`` if there is none."""
    spec = importlib.util.find_spec(package)  # of a top-level package: nothing is imported
    folders = (spec and spec.submodule_search_locations) or ()
    for folder in folders:
        for suffix in EXTENSION_SUFFIXES:
            path = os.path.join(folder, module + suffix)
            if os.path.isfile(path):
                try:
                    return ctypes.CDLL(path)
                except OSError:  # built for something this process lacks
                    return None
    return None
