"""Objects that are one chunk each, decoded together as they come.

Reading them one by one and decoding them in portions keeps both cheap: a portion is small enough to
be in the cache still, and large enough that setting up a compiled call does not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from lazytensor.io.codec.compiled import Cells, units_in_memory
from lazytensor.io.scratch import Arena, Scratch
from lazytensor.io.store import Buffer
from lazytensor.native.addresses import address_of_bytes
from lazytensor.plan.counters import count

__all__ = ["decode_objects"]

_PORTION = 512 << 10
"""Encoded bytes that are decoded together."""

_Object = tuple[str, Buffer | None]


def decode_objects(
    cells: Cells, objects: Iterable[_Object], arena: Arena, scratch: Scratch
) -> Iterator[tuple[int, str, Buffer]]:
    """Decode the chunks of a box from their objects (key and bytes), which come in C order.

    Objects that do not exist are the fill value. Yields number, key and bytes of those that were
    left alone; the bytes are valid until the next one is asked for. ``arena``: where the objects'
    bytes may be; it is reset whenever a portion is done.
    """
    first, held, pending = 0, list[_Object](), 0
    arena.reset()
    for key, data in objects:
        held.append((key, data))
        pending += 0 if data is None else len(data)
        if pending >= _PORTION:
            yield from _decode(cells, first, held, scratch)
            first += len(held)
            held, pending = [], 0
            arena.reset()
    if held:
        yield from _decode(cells, first, held, scratch)


def _decode(
    cells: Cells, first: int, held: list[_Object], scratch: Scratch
) -> Iterator[tuple[int, str, Buffer]]:
    table = np.array(
        [(0, -1) if data is None else (address_of_bytes(data), len(data)) for _, data in held],
        np.int64,
    )
    numbers = np.arange(first, first + len(held))
    addresses, sizes = np.ascontiguousarray(table.T)
    units = units_in_memory(numbers, addresses, sizes)
    left = [] if cells.decode(units, scratch) else units.odd()
    stored = sizes[sizes >= 0]
    done = len(stored) - len(left)
    count("bytes_read", int(stored.sum()))
    count("units_read", done)
    count("bytes_decoded", done * cells.recipe.nbytes)
    for at in left:
        key, data = held[at]
        assert data is not None
        yield first + at, key, data
