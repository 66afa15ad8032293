"""Quantized values in packets, one an element; 4-bit ones are unpacked as they are read.

A quantized packet is three arrays: the values, their scales and their zero points. Each is a source
of its own, so that whoever puts them together (a ``dequantize`` in a plan) reads of each what it
needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from lazytensor.errors import SourceError
from lazytensor.io.runs import PIECE, Piece, bytes_of, held_nbytes
from lazytensor.io.scratch import STAGE_A, thread_scratch
from lazytensor.io.store import StoredObject
from lazytensor.io.stored import Stored
from lazytensor.io.tenso.checking import Session
from lazytensor.io.tenso.decode import unpack_nibbles
from lazytensor.io.tenso.dense_source import ArrayBody, RunsBody
from lazytensor.io.tenso.outline import Quantized
from lazytensor.plan.clock import decoding
from lazytensor.plan.counters import count
from lazytensor.plan.quantization import QTYPES

__all__ = ["PARTS", "NibbleBody", "quantized_body"]

PARTS = ("values", "scales", "zero_points")
"""The arrays of a quantized packet."""


class NibbleBody(RunsBody):
    """Values of 4 bits, two in a byte, as int8 or uint8; pieces are counted in elements."""

    align = 2
    cell = PIECE
    __slots__ = ("_signed",)

    def __init__(self, shape: tuple[int, ...], signed: bool, start: int, stored: Stored) -> None:
        dtype = np.dtype(np.int8 if signed else np.uint8)
        super().__init__(shape, dtype, start, -(-prod(shape) // 2), stored)
        self._gap *= 2
        self._signed = signed

    def _span(self, piece: Piece) -> tuple[int, int]:
        first, stop = piece.start, piece.start + piece.nbytes
        return self.start + first // 2, self.start + -(-stop // 2)

    def _read(
        self, whole: StoredObject, pieces: Sequence[Piece], out: np.ndarray, session: Session | None
    ) -> None:
        scratch = thread_scratch()
        spans = [self._span(piece) for piece in pieces]
        buffers = whole.read_many(spans, scratch)
        for piece, (start, stop), data in zip(pieces, spans, buffers, strict=True):
            if len(data) != stop - start:
                raise SourceError(f"asked for {stop - start} bytes at {start}, got {len(data)}")
            count("bytes_read", stop - start)
            if session is not None:
                session.take(whole, start, memoryview(data))
            target = out[(*piece.place, ...)]
            view = bytes_of(target) if target.size == piece.nbytes else None
            room = scratch.take(STAGE_A, piece.nbytes) if view is None else view
            values = np.frombuffer(room, self.dtype)
            packed = np.frombuffer(data, np.uint8)
            with decoding():
                unpack_nibbles(packed, piece.start % 2, piece.nbytes, self._signed, values)
            if view is None:
                target[...] = np.ndarray(target.shape, self.dtype, room, 0, piece.strides)
            count("bytes_decoded", target.nbytes)

    def nbytes_between(self, lo: int, hi: int) -> int:
        """Half as many as there are elements."""
        return -(-hi // 2) - lo // 2

    def beside(self, nbytes: int) -> int:
        """A piece as it is stored, and unpacked."""
        packed = self.stop - self.start
        return held_nbytes(packed, far=self._remote) + min(2 * packed, PIECE)


def quantized_body(packet: Quantized, part: str, stored: Stored) -> ArrayBody | NibbleBody:
    """The body of a part of a quantized packet."""
    if part != "values":
        start = packet.scales if part == "scales" else packet.zero_points
        return ArrayBody((packet.parameters,), np.dtype("<f4"), start, stored)
    qtype = QTYPES[packet.qdtype]
    if qtype.bits == 4:
        return NibbleBody(packet.shape, qtype.signed, packet.body[0], stored)
    return ArrayBody(packet.shape, qtype.storage, packet.body[0], stored)
