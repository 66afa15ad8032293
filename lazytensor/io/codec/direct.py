"""Blosc, LZ4 and Zstandard decoded by the C functions themselves.

The same code that numcodecs calls, in the same shared object, without importing numcodecs: its
registry takes longer to import than a small array takes to open, read and show. Where the functions
are not found, numcodecs is asked. Callers have checked what the headers say, and check what is
returned; nothing is written beyond the target.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from functools import cache

from lazytensor.io.store import Buffer
from lazytensor.native import symbol
from lazytensor.native.addresses import address_of_bytes

__all__ = ["decode_blosc", "decode_lz4", "decode_zstd"]

_pointer, _size, _int = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
_Call = Callable[..., int]


def decode_blosc(data: Buffer, target: memoryview) -> None:
    """Fill the target; ``ValueError`` or ``RuntimeError`` unless that comes out.

    ``data`` is as long as its header says.
    """
    call = _blosc()
    if call is None:
        _numcodecs_blosc(data, target)
        return
    written = call(address_of_bytes(data), address_of_bytes(target), len(target), 1)
    if written != len(target):
        raise RuntimeError(f"error {written} while decoding {len(data)} bytes")


def decode_lz4(data: Buffer, target: memoryview) -> int:
    """Decode a block, without a header, into the target: how many bytes came out.

    ``RuntimeError`` or ``ValueError`` if it is damaged, or more would come out.
    """
    call = _lz4()
    if call is None:
        return _library_lz4(data, target)
    written = call(address_of_bytes(data), address_of_bytes(target), len(data), len(target))
    if written < 0:
        raise RuntimeError(f"error {written} while decoding {len(data)} bytes")
    return written


def decode_zstd(data: Buffer, target: memoryview) -> bool:
    """Fill the target with all that the frames hold; False if that is not what comes out."""
    mine = _per_thread.context()
    if mine is None:
        return _numcodecs_zstd(data, target)
    return mine.decode(data, target) == len(target)


def _function(name: str, result: type, *parameters: type) -> _Call | None:
    address = symbol(name)
    return None if address is None else ctypes.CFUNCTYPE(result, *parameters)(address)


@cache
def _blosc() -> _Call | None:
    return _function("blosc_decompress_ctx", _int, _pointer, _pointer, _size, _int)


@cache
def _lz4() -> _Call | None:
    return _function("LZ4_decompress_safe", _int, _pointer, _pointer, _int, _int)


class _Zstd:
    """A decompression context: costly to make, for one thread at a time, given back with it."""

    def __init__(self, decode: _Call, make: _Call, free: _Call) -> None:
        self._decode, self._free = decode, free
        self._context = make()

    def decode(self, data: Buffer, target: memoryview) -> int:
        """Bytes written; errors are numbers larger than any target."""
        return self._decode(
            self._context, address_of_bytes(target), len(target), address_of_bytes(data), len(data)
        )

    def __del__(self) -> None:
        self._free(self._context)


class _PerThread(threading.local):
    def __init__(self) -> None:
        self._context: _Zstd | None = None

    def context(self) -> _Zstd | None:
        if self._context is None:
            self._context = _new_context()
        return self._context


_per_thread = _PerThread()


def _new_context() -> _Zstd | None:
    calls = (
        _function("ZSTD_decompressDCtx", _size, _pointer, _pointer, _size, _pointer, _size),
        _function("ZSTD_createDCtx", _pointer),
        _function("ZSTD_freeDCtx", _size, _pointer),
    )
    decode, make, free = calls
    return None if decode is None or make is None or free is None else _Zstd(decode, make, free)


def _numcodecs_blosc(data: Buffer, target: memoryview) -> None:
    from numcodecs import blosc

    # blosc's own threads serialise on one lock, and do not survive a fork.
    blosc.use_threads = False
    blosc.decompress(data, target)


def _numcodecs_zstd(data: Buffer, target: memoryview) -> bool:
    from numcodecs import zstd

    try:
        return len(zstd.decompress(data, target)) == len(target)
    except (RuntimeError, ValueError):  # damaged, or further frames follow
        return False


def _library_lz4(data: Buffer, target: memoryview) -> int:
    import lz4.block

    decoded = lz4.block.decompress(data, uncompressed_size=len(target))
    target[: len(decoded)] = decoded
    return len(decoded)
