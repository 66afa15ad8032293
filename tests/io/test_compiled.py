"""The compiled way of decoding gives what NumPy gives, or leaves a chunk alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import prod
from typing import Any

import numcodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lazytensor import native
from lazytensor.io.codec.bytecodec import BloscCodec, ByteCodec, Lz4Codec
from lazytensor.io.codec.compiled import Cells, recipe_of, units_in_memory
from lazytensor.io.codec.filters import ShuffleCodec
from lazytensor.io.codec.pipeline import ByteChain, ChunkDecoder
from lazytensor.io.codec.zstd import ZstdCodec
from lazytensor.io.scratch import Scratch
from lazytensor.io.zarr.layout import cell_of, pieces
from lazytensor.native.addresses import address_of_bytes
from tests.io.zarr_cases import distinct

DTYPES = ["u1", "?", "i2", ">u2", "f4", ">i4", "f8", ">f8", "c8", ">c16", ">m8[s]", "S3", "V5"]
Encode = Callable[[np.ndarray], bytes]


def _blosc(name: str, shuffle: int) -> Encode:
    return numcodecs.Blosc(name, 5, shuffle).encode


CODECS: dict[str, tuple[tuple[ByteCodec, ...], Encode]] = {
    "raw": ((), lambda chunk: chunk.tobytes()),
    "blosc lz4": ((BloscCodec(),), _blosc("lz4", 1)),
    "blosc zstd": ((BloscCodec(),), _blosc("zstd", 2)),
    "blosclz": ((BloscCodec(),), _blosc("blosclz", 0)),
    "zstd": ((ZstdCodec(),), numcodecs.Zstd(1).encode),
    "zstd checksum": ((ZstdCodec(),), numcodecs.Zstd(1, checksum=True).encode),
    "lz4": ((Lz4Codec(),), numcodecs.LZ4().encode),
    "shuffle zstd": (
        (ZstdCodec(), ShuffleCodec(2)),
        lambda chunk: numcodecs.Zstd().encode(numcodecs.Shuffle(2).encode(chunk.view("u1"))),
    ),
    "shuffle raw": ((ShuffleCodec(4),), lambda c: numcodecs.Shuffle(4).encode(c.view("u1"))),
}


@pytest.fixture(scope="module")
def kernel() -> native.Kernel:
    found = native.wait("chunks", timeout=100)
    assert found is not None, native.reason("chunks")
    return found


class Case:
    """A stored array, a box of it with steps, and a destination."""

    def __init__(self, draw: Any, codec: str) -> None:
        rank = draw(st.integers(0, 4))
        self.stored = np.dtype(draw(st.sampled_from(DTYPES)))
        self.dtype = self.stored.newbyteorder("=")
        per_dim = st.lists(st.integers(1, 9), min_size=rank, max_size=rank)
        self.chunk = tuple(draw(per_dim))
        self.counts = tuple(min(n, 3) for n in draw(per_dim))
        shape = tuple(n * c for n, c in zip(self.counts, self.chunk, strict=True))
        if self.stored.kind in "SVm":
            raw = np.arange(prod(shape) * self.stored.itemsize, dtype="i8").astype("u1")
            self.values = raw.view(self.stored).reshape(shape)
        else:
            self.values = distinct(shape, self.stored)
        self.axes = tuple(draw(st.permutations(range(rank))))
        self.decoders, self.encode = CODECS[codec]
        lo = [draw(st.integers(0, n - 1)) for n in shape]
        self.box = [(a, draw(st.integers(a + 1, n))) for a, n in zip(lo, shape, strict=True)]
        self.steps = [draw(st.sampled_from([1, 1, 1, 2, 5])) for _ in shape]
        self.order = draw(st.permutations(range(rank)))
        self.flips = [draw(st.booleans()) for _ in shape]
        self.aligned = draw(st.booleans())

    @property
    def expected(self) -> np.ndarray:
        part = tuple(slice(a, b, s) for (a, b), s in zip(self.box, self.steps, strict=True))
        wanted = self.values[part]
        return np.asarray(wanted).astype(self.dtype)

    def destination(self, shape: tuple[int, ...]) -> np.ndarray:
        """Memory in any order of axes and in either direction, with other memory around."""
        turned = tuple(shape[a] for a in self.order)
        nbytes = prod(turned) * self.dtype.itemsize
        block = np.full(nbytes + 200, 0xA5, np.uint8)
        start = -address_of_bytes(block.data) % 64 if self.aligned else 3
        out = block[start : start + nbytes].view(self.dtype).reshape(turned)
        out = out.transpose(np.argsort(self.order).astype(int))
        return out[(*(slice(None, None, -1 if flip else None) for flip in self.flips), ...)]

    def decoder(self) -> ChunkDecoder:
        dtype = self.dtype
        stored = dtype if self.stored == dtype else self.stored
        return ChunkDecoder(self.chunk, dtype, stored, self.axes, ByteChain(self.decoders))

    def encoded(self, index: tuple[int, ...]) -> bytes:
        part = tuple(slice(i * c, (i + 1) * c) for i, c in zip(index, self.chunk, strict=True))
        turned = np.ascontiguousarray(self.values[(*part, ...)].transpose(self.axes))
        return bytes(self.encode(turned.reshape(-1)))


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_box_of_any_array_into_any_destination(
    kernel: native.Kernel, codec: str, data: st.DataObject
) -> None:
    case = Case(data.draw, codec)
    recipe = recipe_of(case.decoder())
    if recipe is None:  # a shuffle that does not divide the chunk
        assert "shuffle" in codec
        return
    cells = [
        pieces(lo, hi, size, step)
        for (lo, hi), size, step in zip(case.box, case.chunk, case.steps, strict=True)
    ]
    expected = case.expected
    out = case.destination(expected.shape)
    fill = np.frombuffer(b"7" * case.dtype.itemsize, case.dtype)[0]
    fill = np.array(True) if case.dtype == bool else np.asarray(fill)
    indices = list(product(*[[piece[0] for piece in dim] for dim in cells]))
    missing = data.draw(st.sets(st.integers(0, len(indices) - 1), max_size=2))
    broken = data.draw(st.sets(st.integers(0, len(indices) - 1), max_size=1)) - missing
    stored = [case.encoded(index) for index in indices]
    stored = [text[:-1] if n in broken else text for n, text in enumerate(stored)]
    numbers = np.array(data.draw(st.permutations(range(len(indices)))))
    if data.draw(st.booleans()):
        numbers = np.arange(len(indices))
    where = np.array([address_of_bytes(stored[n]) for n in numbers])
    sizes = np.array([-1 if n in missing else len(stored[n]) for n in numbers])
    units = units_in_memory(numbers, where, sizes)
    went_well = Cells(kernel, recipe, cells, out, fill).decode(units, Scratch())
    assert {int(numbers[at]) for at in units.odd()} == broken
    assert went_well == (not broken)
    for number in range(len(indices)):
        _, spot = cell_of(cells, number)
        if number in missing:
            assert (out[(*spot, ...)] == fill).all()
        elif number not in broken:
            assert out[(*spot, ...)].tobytes() == expected[(*spot, ...)].tobytes()


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_chunks_are_left_alone_or_have_the_right_size(
    kernel: native.Kernel, codec: str, data: st.DataObject
) -> None:
    chunk = distinct((16, 64), "u2")
    decoders, encode = CODECS[codec]
    decoder = ChunkDecoder(chunk.shape, chunk.dtype, chunk.dtype, (0, 1), ByteChain(decoders))
    text = bytearray(encode(chunk.reshape(-1)))
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, min(40, len(text) - 1)))] = data.draw(st.integers(0, 255))
    text = text[: data.draw(st.integers(1, len(text)))]
    recipe = recipe_of(decoder)
    assert recipe is not None
    block = np.full(chunk.nbytes + 128, 0xA5, np.uint8)
    out = block[64:-64].view("u2").reshape(chunk.shape)
    cells = [pieces(0, 16, 16), pieces(0, 64, 64)]
    one = np.array([0]), np.array([address_of_bytes(text)]), np.array([len(text)])
    Cells(kernel, recipe, cells, out, np.array(0, "u2")).decode(units_in_memory(*one), Scratch())
    assert (block[:64] == 0xA5).all() and (block[-64:] == 0xA5).all()


def test_what_has_no_recipe() -> None:
    def recipe(dtype: Any, *codecs: ByteCodec, shape: tuple[int, ...] = (4,)) -> Any:
        dtype = np.dtype(dtype)
        return recipe_of(ChunkDecoder(shape, dtype, dtype, (0,), ByteChain(codecs)))

    assert recipe("u2", BloscCodec()) is not None
    assert recipe("u2", BloscCodec(), ZstdCodec()) is None
    assert recipe("T", BloscCodec()) is None
    assert recipe([("a", "u1"), ("b", "O")]) is None
    assert recipe("u1", shape=(0,)) is None
    assert recipe("u1", shape=(1 << 30,)) is None


@pytest.mark.parametrize("shuffle", [0, 1, 2])
@pytest.mark.parametrize("name", ["lz4", "lz4hc", "zstd", "zlib", "blosclz"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4", "f8", "c16", "V3"])
def test_blosc_containers_of_all_sizes(
    kernel: native.Kernel, name: str, shuffle: int, dtype: str
) -> None:
    """One block and many, split or not, with and without a rest."""
    rng = np.random.default_rng(7)
    item = np.dtype(dtype).itemsize
    for count, span in ((1, 0), (130, 0), (2056, 0), (4096, 4096), (5001, 8192), (70_000, 0)):
        raw = rng.integers(0, 9, count * item, dtype="u1").cumsum(dtype="u1")
        values = raw.view(dtype)
        text = numcodecs.Blosc(name, 5, shuffle, blocksize=span).encode(values)
        decoder = ChunkDecoder(
            values.shape, values.dtype, values.dtype, (0,), ByteChain((BloscCodec(),))
        )
        recipe = recipe_of(decoder)
        assert recipe is not None
        for lo, hi in ((0, count), (count // 3, count // 2 + 1)):
            out = np.zeros(hi - lo, dtype)
            cells = Cells(kernel, recipe, [pieces(lo, hi, count)], out, np.zeros((), dtype))
            one = np.array([0]), np.array([address_of_bytes(text)]), np.array([len(text)])
            assert cells.decode(units_in_memory(*one), Scratch())
            assert out.tobytes() == values[lo:hi].tobytes()


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4", "f8", "c16", "V3"])
def test_every_nth_item_of_rows_of_all_lengths(kernel: native.Kernel, dtype: str) -> None:
    item = np.dtype(dtype).itemsize
    for n in (*range(1, 140), 1000):
        values = np.arange(n * item, dtype="u4").astype("u1").view(dtype)
        recipe = recipe_of(
            ChunkDecoder(values.shape, values.dtype, values.dtype, (0,), ByteChain(()))
        )
        assert recipe is not None
        text = values.tobytes()
        for step, first in ((2, 0), (2, 1), (3, 0)):
            expected = values[first::step]
            if not len(expected):
                continue
            around = np.full((len(expected) + 2) * item, 0xA5, "u1")
            out = around[item:-item].view(dtype)
            cells = Cells(
                kernel, recipe, [pieces(first, n, n, step)], out, np.zeros((), values.dtype)
            )
            one = np.array([0]), np.array([address_of_bytes(text)]), np.array([len(text)])
            assert cells.decode(units_in_memory(*one), Scratch())
            assert out.tobytes() == expected.tobytes()
            assert (around[:item] == 0xA5).all() and (around[-item:] == 0xA5).all()
