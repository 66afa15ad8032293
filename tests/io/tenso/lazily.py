"""Packets for the tests of lazy sources, and one that is read in a place that counts."""

from __future__ import annotations

from typing import Any

import numpy as np

import lazytensor as lt
from lazytensor.io import tenso
from lazytensor.io.store_counting import CountingStore
from lazytensor.io.tenso.encode import dense_parts

__all__ = ["ONE", "counted", "frame", "linked", "read", "seekable"]

ONE = lt.LocalEngine(threads=1)


def counted(packet: Any, **options: Any) -> tuple[CountingStore, lt.LazyTensor]:
    """A store that counts and the tensor of a packet in it; scanning is not counted."""
    store = CountingStore({"a.tenso": bytes(packet)})
    x = lt.scan_tenso((store, "a.tenso"), **options)
    store.reset()
    return store, x


def read(store: CountingStore) -> int:
    """How many bytes were read since the last time."""
    nbytes = store.bytes
    store.reset()
    return nbytes


def seekable(values: np.ndarray, *, integrity: bool = True) -> bytes:
    """A compressed packet with a table of its blocks."""
    return b"".join(
        map(bytes, dense_parts(values, integrity=integrity, compress=True, seekable=True))
    )


def frame(values: np.ndarray, body: bytes, *, integrity: bool = False) -> bytes:
    """A compressed packet with a frame of somebody else's making."""
    import xxhash

    packet = bytes(tenso.dumps(values[:0] if values.ndim else values, compress=True))
    header = bytearray(packet[:64])
    header[5] |= 2 * integrity
    header[10 : 10 + 4 * values.ndim] = np.array(values.shape, "<u4").tobytes()
    footer = xxhash.xxh3_64_intdigest(body).to_bytes(8, "little") if integrity else b""
    return bytes(header) + body + footer


def linked(values: np.ndarray, **options: Any) -> bytes:
    """A packet whose frame is that of python-lz4, which links its blocks unless told not to."""
    import lz4.frame

    return frame(values, lz4.frame.compress(values.tobytes(), **options))
