"""Blosc, LZ4 and Zstandard decoded by the C functions themselves.

The same code that numcodecs calls, in the same shared object, without importing numcodecs: its
registry takes longer to import than a small array takes to open, read and show. Where the functions
are not found, numcodecs is asked. Callers have checked what the headers say, and check what is
returned; nothing is written beyond the target.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

from lazytensor.io.codec.zstd_context import zstd_context
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
    call, context = _zstd(), zstd_context()
    if call is None or not context:
        return _numcodecs_zstd(data, target)
    written = call(
        context, address_of_bytes(target), len(target), address_of_bytes(data), len(data)
    )
    # Errors are numbers larger than any target.
    return written == len(target)


def _function(name: str, result: type, *parameters: type) -> _Call | None:
    address = symbol(name)
    return None if address is None else ctypes.CFUNCTYPE(result, *parameters)(address)


@cache
def _blosc() -> _Call | None:
    return _function("blosc_decompress_ctx", _int, _pointer, _pointer, _size, _int)


@cache
def _lz4() -> _Call | None:
    return _function("LZ4_decompress_safe", _int, _pointer, _pointer, _int, _int)


@cache
def _zstd() -> _Call | None:
    return _function("ZSTD_decompressDCtx", _size, _pointer, _pointer, _size, _pointer, _size)


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
