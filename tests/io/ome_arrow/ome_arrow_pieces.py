"""Images in pieces that are made of NumPy arrays; their units tell how often they were read."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.ome_arrow.model import DIMS, Image, ImageMeta, Pieces
from lazytensor.plan.spec import Axis

SHAPE = (2, 3, 5, 11, 13)
PLANE = (1, 1, 1, 11, 13)
CHUNK = (1, 1, 2, 4, 8)

AXES = tuple(
    Axis(name, kind)
    for name, kind in zip(DIMS, ("time", "channel", "space", "space", "space"), strict=True)
)


class MadeUnit:
    """Elements that are arrays; those that are None are null."""

    def __init__(
        self, elements: Sequence[np.ndarray | None], masks: dict[int, np.ndarray] | None = None
    ) -> None:
        self.elements = list(elements)
        self.masks = masks or {}

    @property
    def nbytes(self) -> int:
        return sum(0 if element is None else element.nbytes for element in self.elements)

    def __len__(self) -> int:
        return len(self.elements)

    def element(self, number: int, scratch: Any) -> np.ndarray:
        found = self.elements[number]
        if found is None:
            raise FormatError(f"element {number} is null")
        return found

    def nulls(self, number: int) -> np.ndarray | None:
        return self.masks.get(number)

    def is_null(self, number: int) -> bool:
        return self.elements[number] is None


class FlatUnit(MadeUnit):
    """Elements that follow each other in one array, as those of an Arrow column do."""

    def __init__(self, elements: Sequence[np.ndarray]) -> None:
        super().__init__(elements)
        self.flat = np.concatenate(list(elements))
        self.flat.flags.writeable = False
        self.ends = np.cumsum([0, *[len(element) for element in elements]])
        self.elements = [self.flat[a:b] for a, b in zip(self.ends[:-1], self.ends[1:], strict=True)]

    def several(self, number: int, many: int) -> tuple[np.ndarray, np.ndarray] | None:
        ends = self.ends[number : number + many + 1]
        return self.flat[ends[0] : ends[-1]], np.diff(ends)


class MadeUnits:
    """Units by number; ``reads`` lists those that were read, a kept one once."""

    remote = False
    label = "made.parquet['image.planes.pixels']"

    def __init__(
        self,
        units: Sequence[MadeUnit],
        *,
        encoded: bool,
        zero_copy: bool = False,
        keeps: bool = True,
        identity: Hashable = None,
    ) -> None:
        self.units = list(units)
        self.encoded = encoded
        self.zero_copy = zero_copy
        self.keeps = keeps
        self.identity = ("made", id(self)) if identity is None else identity
        self.reads: list[int] = []

    def unit(self, number: int) -> MadeUnit:
        if not self.keeps or number not in self.reads:
            self.reads.append(number)
        return self.units[number]

    def kept(self, number: int) -> bool:
        return self.zero_copy or (self.keeps and number in self.reads)

    def stored_nbytes(self, number: int) -> int:
        return 0 if self.zero_copy else 1000 + number

    def decoded_nbytes(self, number: int) -> int:
        return 0 if self.zero_copy else self.units[number].nbytes

    def check(self) -> None:
        return


def meta_of(array: np.ndarray) -> ImageMeta:
    """What a record would say of an array of five dims."""
    return ImageMeta(array.dtype, array.shape, AXES)  # type: ignore[arg-type]


def as_bytes(values: np.ndarray) -> np.ndarray:
    """Little-endian values in C order."""
    data = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes()
    return np.frombuffer(data, np.uint8)


def regular_boxes(shape: Sequence[int], sizes: Sequence[int]) -> list[tuple[slice, ...]]:
    """The cells of a grid, in C order, cut off by the shape."""
    counts = [-(-n // size) for n, size in zip(shape, sizes, strict=True)]
    return [
        tuple(
            slice(i * size, min(n, i * size + size))
            for i, size, n in zip(index, sizes, shape, strict=True)
        )
        for index in np.ndindex(*counts)
    ]


def irregular_boxes(rng: np.random.Generator, shape: Sequence[int]) -> list[tuple[slice, ...]]:
    """A tiling that no grid has: boxes cut in two again and again."""
    todo, done = [tuple((0, n) for n in shape)], []
    while todo:
        box = todo.pop()
        d = int(rng.integers(len(shape)))
        lo, hi = box[d]
        if hi - lo < 2 or len(done) > 40 or rng.random() < 0.15:
            done.append(tuple(slice(a, b) for a, b in box))
            continue
        at = int(rng.integers(lo + 1, hi))
        todo += [(*box[:d], (lo, at), *box[d + 1 :]), (*box[:d], (at, hi), *box[d + 1 :])]
    return done


def made_image(
    array: np.ndarray,
    boxes: Sequence[tuple[slice, ...]],
    *,
    encoded: bool = False,
    stored: Any = None,
    codecs: Sequence[str | None] = (None,),
    per_unit: int = 10**9,
    flat: bool = False,
    zero_copy: bool = False,
    keeps: bool = True,
    where: str = "made.parquet[0, 'image']",
    row: int = 0,
    odd: dict[int, str] | None = None,
) -> Image:
    """An image in pieces, in this order. ``stored``: dtype of the numbers in lists; ``codecs`` take
    turns; ``per_unit`` pieces are in a unit."""
    import pyarrow as pa

    elements, codec = [], np.arange(len(boxes)) % len(codecs)
    for box, which in zip(boxes, codec.tolist(), strict=True):
        values = array[box]
        if not encoded:
            elements.append(values.reshape(-1).astype(stored or values.dtype))
            continue
        data = as_bytes(values)
        if codecs[which] is not None:
            data = np.frombuffer(compressed(pa, data.tobytes(), codecs[which]), np.uint8)
        elements.append(data)
    kind = FlatUnit if flat else MadeUnit
    units = [kind(elements[i : i + per_unit]) for i in range(0, len(elements), per_unit)]
    numbers = np.arange(len(boxes))
    pieces = Pieces(
        np.array([[s.start for s in box] for box in boxes], np.int64).reshape(-1, 5),
        np.array([[s.stop - s.start for s in box] for box in boxes], np.int64).reshape(-1, 5),
        numbers // per_unit,
        numbers % per_unit,
        tuple(codecs),
        codec.astype(np.int8) if len(codecs) > 1 else None,
        odd or {},
    )
    holder = MadeUnits(units, encoded=encoded, zero_copy=zero_copy, keeps=keeps)
    return Image(meta_of(array), pieces, holder, where, {"row": row, "column": "image"})


def compressed(pa: Any, data: bytes, codec: str) -> bytes:
    """By any compression that is read."""
    if codec == "bz2":
        import bz2

        return bz2.compress(data)
    if codec == "zstd-unsized":
        import zstandard

        return zstandard.ZstdCompressor(write_content_size=False).compress(data)
    found: bytes = pa.Codec(codec).compress(data, asbytes=True)
    return found


def distinct(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """Values that are as different as the dtype allows."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape))
    if dtype == np.bool_:
        return (np.arange(count) * 7 % 3 == 0).reshape(shape)
    rng = np.random.default_rng(count)
    if dtype.kind in "iu":
        bits = np.iinfo(dtype)
        return rng.integers(bits.min, bits.max, count, dtype, endpoint=True).reshape(shape)
    values = rng.normal(0, 100, count)
    if dtype.kind == "c":
        return (values + 1j * rng.normal(0, 1, count)).astype(dtype).reshape(shape)
    return values.astype(dtype).reshape(shape)


def random_box(
    rng: np.random.Generator, shape: tuple[int, ...], *, steps: bool = True
) -> tuple[tuple[tuple[int, int], ...], tuple[int, ...]]:
    """A box that begins and ends with a wanted element."""
    box, by = [], []
    for n in shape:
        step = int(rng.integers(1, 5)) if steps else 1
        lo = int(rng.integers(n))
        count = int(rng.integers(1, -(-(n - lo) // step) + 1))
        box.append((lo, lo + (count - 1) * step + 1))
        by.append(step)
    return tuple(box), tuple(by)


def read(source: Any, box: Any, steps: Any = None) -> np.ndarray:
    """What a source fills a box with."""
    steps = steps or (1,) * len(box)
    counts = [-(-(hi - lo) // step) for (lo, hi), step in zip(box, steps, strict=True)]
    # Not contiguous, so that places are strided.
    out = np.zeros((*counts[:-1], counts[-1], 2), source.spec.dtype)[..., 1]
    source.read_strided(box, steps, out)
    return out


def of_numpy(array: np.ndarray, box: Any, steps: Any) -> np.ndarray:
    parts = zip(box, steps, strict=True)
    return array[tuple(slice(lo, hi, step) for (lo, hi), step in parts)]


def whole(source: Any) -> np.ndarray:
    """All values."""
    return read(source, tuple((0, n) for n in source.spec.shape))


def shuffled(rng: np.random.Generator, boxes: list[Any]) -> list[Any]:
    """In another order."""
    return [boxes[i] for i in rng.permutation(len(boxes))]


def _cuts(rng: np.random.Generator) -> dict[str, list[Any]]:
    ragged = [
        (slice(t, t + 1), slice(c, c + 1), slice(*z), slice(*y), slice(*x))
        for t in range(2)
        for c in range(3)
        for z in ((0, 1), (1, 4), (4, 5))
        for y in ((0, 6), (6, 11))
        for x in ((0, 2), (2, 9), (9, 13))
    ]
    return {
        "planes": regular_boxes(SHAPE, PLANE),
        "planes in any order": shuffled(rng, regular_boxes(SHAPE, PLANE)),
        "chunks": regular_boxes(SHAPE, CHUNK),
        "chunks in any order": shuffled(rng, regular_boxes(SHAPE, CHUNK)),
        "chunks across t and c": shuffled(rng, regular_boxes(SHAPE, (2, 2, 3, 11, 5))),
        "one": regular_boxes(SHAPE, SHAPE),
        "ragged": shuffled(rng, ragged),
        "irregular": irregular_boxes(rng, SHAPE),
    }


CUTS = _cuts(np.random.default_rng(0))
