"""How quantized arrays and strings travel between processes: as packets, in buffers of their own.

Two ways lead here. ``pickle`` from protocol 5 on takes buffers out of band; arrays inside tuples
do so by themselves, and what is left is to send values of 4 bits two a byte (``packed_nibbles``).
That works wherever lazytensor is installed, and is all that most programs need.

``distributed`` has serializers of its own, which ``register`` adds ours to: the parts of a packet,
as they lie in memory, become the frames of a message. What arrives refers to the frames and copies
nothing: it is read-only where they are. Both sides of a connection have to ``register``; nothing is
registered by itself, and neither package is imported for the other's sake.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pickle import PickleBuffer
from typing import Any

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.tenso.decode import Decoded, decode_packet, unpack_nibbles
from lazytensor.io.tenso.encode import Options, encode, pack_nibbles
from lazytensor.io.tenso.outline import drive, outline
from lazytensor.io.tenso.strings import StringTensor
from lazytensor.plan.quantization import QTYPES, QuantizedArray

__all__ = ["REDUCERS", "from_frames", "packed_nibbles", "register", "to_frames"]

Buffer = bytes | bytearray | memoryview


def packed_nibbles(q: QuantizedArray) -> tuple[Any, ...] | None:
    """What pickle makes a quantized array of 4 bits from, its values two a byte and out of band.

    None where the values are not those of 4 bits: they would not come back.

    >>> import pickle
    >>> q = QuantizedArray(np.array([[1, -8, 7]], np.int8), np.ones(1, "f4"), np.zeros(1, "f4"),
    ...     "qint4")
    >>> buffers = []
    >>> small = pickle.dumps(q, protocol=5, buffer_callback=buffers.append)
    >>> buffers[0].raw().nbytes, pickle.loads(small, buffers=buffers).data
    (2, array([[ 1, -8,  7]], dtype=int8))
    """
    qtype, data = QTYPES[q.dtype], q.data
    if data.dtype != qtype.storage or not data.size:
        return None
    if data.min() < qtype.lowest or data.max() > qtype.highest:
        return None
    packed = np.empty(-(-data.size // 2), np.uint8)
    pack_nibbles(np.ascontiguousarray(data).reshape(-1), packed)
    return _from_nibbles, (PickleBuffer(packed.data), data.shape, *q[1:])


def _from_nibbles(
    packed: Any, shape: tuple[int, ...], scales: Any, zero_points: Any, dtype: str, *rest: Any
) -> QuantizedArray:
    """The values of 4 bits, one an element again, in writable memory of their own."""
    qtype = QTYPES[dtype]
    data = np.empty(shape, qtype.storage)
    stored = np.frombuffer(packed, np.uint8)
    unpack_nibbles(stored, 0, data.size, qtype.signed, data.reshape(-1))
    return QuantizedArray(data, scales, zero_points, dtype, *rest)


REDUCERS = {"packed_nibbles": packed_nibbles}
"""Those that plans ask for by name, since they cannot import them."""


def to_frames(value: QuantizedArray | StringTensor) -> tuple[dict[str, Any], list[memoryview]]:
    """A small header, and the parts of the packet; values of 8 bits and texts are not copied.

    >>> header, frames = to_frames(StringTensor(["hi", "there"]))
    >>> [len(frame) for frame in frames]
    [64, 24, 7]
    """
    parts = encode(value, Options()).parts
    return {"format": "tenso"}, [memoryview(part).cast("B") for part in parts]


def from_frames(header: dict[str, Any], frames: Sequence[Buffer]) -> Decoded:
    """What ``to_frames`` was given; it refers to the frames, and is read-only where they are.

    Raises ``FormatError`` for frames that are none of a packet.

    >>> list(from_frames(*to_frames(StringTensor(["hi", "there"]))))
    ['hi', 'there']
    """
    views = [memoryview(frame).cast("B") for frame in frames]
    sizes = [view.nbytes for view in views]
    starts = [sum(sizes[:number]) for number in range(len(sizes))]

    def read(at: int, nbytes: int) -> Buffer:
        for start, view in zip(starts, views, strict=True):
            if start <= at and at + nbytes <= start + view.nbytes:
                return view[at - start : at - start + nbytes]
        return b"".join(views)[at : at + nbytes]

    where = "a message"
    packet = drive(outline(sum(sizes), where=where), read)
    if packet.stop != sum(sizes):
        raise FormatError(f"{where}: {sum(sizes) - packet.stop} bytes too many behind a packet")
    if len(views) == 3 and sizes[1] == getattr(packet, "payload", (0, 0))[0] - starts[1]:
        # Offsets and text, each in a frame; together they would be copied.
        return StringTensor.packed(np.frombuffer(views[1], "<u8"), views[2], where)
    return decode_packet(packet, read, where=where)


def register() -> bool:
    """Have ``distributed``, if it is imported, send quantized arrays and strings as packets.

    False, and nothing done, if it is not. May be called again and again; both the process that
    sends and the one that receives must have called it.

    >>> register() == ("distributed" in sys.modules)
    True
    """
    if "distributed" not in sys.modules:
        return False
    from distributed.protocol.serialize import dask_deserialize, dask_serialize

    tables: list[tuple[Any, Any]] = [(dask_serialize, to_frames), (dask_deserialize, from_frames)]
    for table, function in tables:
        for kind in (QuantizedArray, StringTensor):
            table.register(kind, function)
    return True
