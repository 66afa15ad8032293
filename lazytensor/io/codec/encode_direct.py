"""Blosc, LZ4 and Zstandard encoded by the C functions themselves, into memory that is there.

As ``direct`` does for decoding: the same shared object that numcodecs calls, without importing
numcodecs, without the GIL, and without a ``bytes`` that somebody copies. Where the functions are
not found, numcodecs is asked.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from lazytensor.errors import SinkError
from lazytensor.io.codec.encode import Take
from lazytensor.io.store import Buffer
from lazytensor.native import symbol
from lazytensor.native.addresses import address_of_bytes

__all__ = ["BLOSC_OVERHEAD", "BloscSettings", "encode_blosc", "encode_lz4", "encode_zstd",
           "lz4_bound", "zstd_bound"]  # fmt: skip

BLOSC_OVERHEAD = 16
_LZ4_HEADER = 4
_LEVEL, _CHECKSUM = 100, 201  # of ZSTD_cParameter
_LARGEST_CONTEXT = 32 << 20
_pointer, _size, _int = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
_Call = Callable[..., int]


class BloscSettings(NamedTuple):
    """``shuffle``: 0 none, 1 of bytes, 2 of bits. ``block``: bytes, 0 for Blosc to choose.

    ``item``: bytes of the elements that are shuffled.
    """

    name: str
    level: int
    shuffle: int
    block: int
    item: int


def _function(name: str, result: type, *parameters: type) -> _Call | None:
    address = symbol(name)
    return None if address is None else ctypes.CFUNCTYPE(result, *parameters)(address)


@cache
def _blosc() -> _Call | None:
    return _function(
        "blosc_compress_ctx",
        _int, _int, _int, _size, _size, _pointer, _pointer, _size, ctypes.c_char_p, _size, _int,
    )  # fmt: skip


@cache
def _lz4() -> _Call | None:
    return _function("LZ4_compress_fast", _int, _pointer, _pointer, _int, _int, _int)


def encode_blosc(data: memoryview, take: Take, settings: BloscSettings) -> Buffer:
    """A container of Blosc 1; ``SinkError`` if the library fails."""
    call = _blosc()
    if call is None:
        return _numcodecs_blosc(data, settings)
    out = take(len(data) + BLOSC_OVERHEAD)
    written = call(
        settings.level, settings.shuffle, settings.item, len(data), address_of_bytes(data),
        address_of_bytes(out), len(out), settings.name.encode(), settings.block, 1,
    )  # fmt: skip
    if written <= 0:
        raise SinkError(f"blosc: error {written} while encoding {len(data)} bytes")
    return out[:written]


def _numcodecs_blosc(data: memoryview, settings: BloscSettings) -> Buffer:
    from numcodecs import blosc

    # blosc's own threads serialise on one lock, and do not survive a fork.
    blosc.use_threads = False
    packed: bytes = blosc.compress(
        data, settings.name.encode(), settings.level, settings.shuffle, settings.block,
        typesize=settings.item,
    )  # fmt: skip
    return packed


def lz4_bound(size: int) -> int:
    """No ``size`` bytes become more than this, with their header."""
    return _LZ4_HEADER + size + size // 255 + 16


def encode_lz4(data: memoryview, take: Take, acceleration: int) -> Buffer:
    """A 32-bit size and one block; ``SinkError`` if the library fails."""
    call = _lz4()
    if call is None:
        from numcodecs import lz4

        packed: bytes = lz4.compress(data, acceleration)
        return packed
    out = take(lz4_bound(len(data)))
    out[:_LZ4_HEADER] = len(data).to_bytes(_LZ4_HEADER, "little")
    to = address_of_bytes(out) + _LZ4_HEADER
    written = call(address_of_bytes(data), to, len(data), len(out) - _LZ4_HEADER, acceleration)
    if written <= 0:
        raise SinkError(f"lz4: error {written} while encoding {len(data)} bytes")
    return out[: _LZ4_HEADER + written]


class _Zstd(NamedTuple):
    make: _Call
    free: _Call
    set: _Call
    encode: _Call
    sizeof: _Call


@cache
def _zstd() -> _Zstd | None:
    found = (
        _function("ZSTD_createCCtx", _pointer),
        _function("ZSTD_freeCCtx", _size, _pointer),
        _function("ZSTD_CCtx_setParameter", _size, _pointer, _int, _int),
        _function("ZSTD_compress2", _size, _pointer, _pointer, _size, _pointer, _size),
        _function("ZSTD_sizeof_CCtx", _size, _pointer),
    )
    calls = [call for call in found if call is not None]
    return _Zstd(*calls) if len(calls) == len(found) else None


class _Context:
    """A compression context: it serves one thread, and is given back with it.

    ``settings``: level and checksum that it was told last.
    """

    def __init__(self, zstd: _Zstd) -> None:
        self._free = zstd.free
        self.address: int = zstd.make() or 0
        self.settings: tuple[int, int] | None = None

    def __del__(self) -> None:
        self._free(self.address)


class _PerThread(threading.local):
    context: _Context | None = None


_per_thread = _PerThread()


def zstd_bound(size: int) -> int:
    """As the library has it: then it never has to say that there is no room."""
    return size + (size >> 8) + ((max(0, (128 << 10) - size)) >> 11) + 64


def encode_zstd(data: memoryview, take: Take, level: int, *, checksum: bool) -> Buffer:
    """One frame with its content size; ``SinkError`` if the library fails."""
    zstd = _zstd()
    if zstd is None:
        return _library_zstd(data, level, checksum=checksum)
    context = _per_thread.context
    if context is None:
        context = _per_thread.context = _Context(zstd)
    if not context.address:
        _per_thread.context = None
        raise SinkError("zstd: there is no memory to encode with")
    settings = level, int(checksum)
    if context.settings != settings:
        zstd.set(context.address, _LEVEL, level)
        zstd.set(context.address, _CHECKSUM, int(checksum))
        context.settings = settings
    out = take(zstd_bound(len(data)))
    written = zstd.encode(
        context.address, address_of_bytes(out), len(out), address_of_bytes(data), len(data)
    )
    # High levels work in hundreds of megabytes, which no thread may keep for later.
    if zstd.sizeof(context.address) > _LARGEST_CONTEXT:
        _per_thread.context = None
    if written > len(out):  # errors are numbers larger than any output
        raise SinkError(f"zstd: error {(1 << 64) - written} while encoding {len(data)} bytes")
    return out[:written]


def _library_zstd(data: memoryview, level: int, *, checksum: bool) -> Buffer:
    import zstandard

    return zstandard.ZstdCompressor(level, write_checksum=checksum).compress(data)
