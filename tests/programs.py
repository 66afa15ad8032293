"""Random programs over the public API, with what NumPy makes of them.

A program is a handful of leaves (arrays in memory, stored arrays of several kinds, functions,
constants) and steps that each make one more tensor of those there are. Beside every tensor stands
its mirror: the array that plain NumPy computes, and how far a float sum may be from it. Whatever
draws numbers can write programs: hypothesis, which shrinks them, or ``random.Random``, which is
fast enough for tens of thousands.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Protocol, TypeVar

import ml_dtypes
import numpy as np
from hypothesis import strategies as st

import lazytensor as lt
from tests.io.zarr_cases import array_v3, shard, sharding, v3
from tests.sources import ChunkedArray

__all__ = ["DTYPES", "Drawn", "Pick", "Rolled", "Value", "leaf", "values_of"]

T = TypeVar("T")


class Pick(Protocol):
    """Where the decisions of a program come from."""

    def integer(self, lo: int, hi: int) -> int:
        """From ``lo`` to ``hi``, both included."""

    def one(self, of: Sequence[T]) -> T:
        """One of several."""


class Drawn:
    """Decisions that hypothesis draws, and shrinks."""

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self._draw = draw

    def integer(self, lo: int, hi: int) -> int:
        return int(self._draw(st.integers(lo, hi)))

    def one(self, of: Sequence[T]) -> T:
        return of[self.integer(0, len(of) - 1)]


class Rolled:
    """Decisions that follow from a seed."""

    def __init__(self, seed: Any) -> None:
        self._random = Random(seed)

    def integer(self, lo: int, hi: int) -> int:
        return self._random.randint(lo, hi)

    def one(self, of: Sequence[T]) -> T:
        return self._random.choice(of)


@dataclass
class Value:
    """A tensor, its mirror, and how it was written.

    ``bound``: how far each value may be from the mirror; None where it is that value, bit for bit.
    """

    x: lt.LazyTensor
    values: np.ndarray
    text: str
    bound: np.ndarray | None = None
    functions: dict[str, Any] = field(default_factory=dict)


BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = (*map(np.dtype, ("?", "u1", "u2", "i4", "i8", "f2", "f4", "f8", "c8")), BFLOAT16)


EXTENT, CHUNK = 9, 4
"""The longest dims of leaves and of their chunks."""


def is_float(dtype: np.dtype) -> bool:
    """Whether it is a real floating dtype, bfloat16 included."""
    return dtype.kind == "f" or dtype == BFLOAT16


def values_of(pick: Pick, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Values that differ as far as the dtype allows; in one of three arrays some are special."""
    n = math.prod(shape)
    order = (np.arange(n) * 7 + 11 * pick.integer(0, 5) + 3) % (max(n, 251))
    if dtype.kind == "b":
        return (order % 3 == 1).reshape(shape)
    if dtype.kind == "u":
        flat = order.astype(dtype)
    elif dtype == BFLOAT16 or dtype.itemsize == 2:
        flat = ((order - 60) / 4).astype(dtype)
    else:
        flat = ((order - 90) * (0.25 if dtype.kind in "fc" else 3)).astype(dtype)
    if dtype.kind == "c":
        flat = (flat + 1j * flat[::-1]).astype(dtype)
    if n and pick.integer(0, 2) == 0:
        special = _specials(dtype)
        for _ in range(pick.integer(1, 4)):
            flat[pick.integer(0, n - 1)] = pick.one(special)
    return flat.reshape(shape)


def _specials(dtype: np.dtype) -> list[Any]:
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return [limits.min, limits.max, limits.max - 1, 0]
    if dtype.kind == "c":
        return [complex(np.nan, 1), complex(np.inf, -0.0), complex(-0.0, 0), complex(1, np.inf)]
    limits = ml_dtypes.finfo(dtype)
    tiny = float(limits.smallest_subnormal)
    return [np.nan, np.inf, -np.inf, -0.0, 0.0, float(limits.max), float(limits.min), tiny]


def leaf(pick: Pick) -> Value:
    """A source of any kind."""
    ndim = pick.one((1, 2, 2, 3, 3, 0))
    least = 0 if pick.integer(0, 15) == 0 else 1
    shape = tuple(pick.integer(least, EXTENT) for _ in range(ndim))
    dtype = pick.one(DTYPES)
    values = values_of(pick, shape, dtype)
    made = pick.one(_LEAVES)(pick, values)
    if made.x.ndim and pick.integer(0, 3) == 0:
        by = tuple(pick.integer(-9, 9) for _ in shape)
        made.x, made.text = made.x.translate_by[by], f"{made.text}.translate_by[{by}]"
    return made


def _memory(pick: Pick, values: np.ndarray) -> Value:
    dims = _names(pick, values.ndim)
    if pick.integer(0, 3) == 0 and values.ndim:
        chunks = tuple(pick.integer(1, CHUNK) for _ in values.shape)
        x = lt.asarray(values, chunks=chunks, dims=dims)
    else:
        x = lt.asarray(values, dims=dims)
    return Value(x, values, f"lt.asarray({_shown(values)}, dims={dims}, chunks={x.chunks})")


def _chunked(pick: Pick, values: np.ndarray) -> Value:
    chunks = [pick.integer(1, CHUNK) for _ in values.shape]
    x = lt.scan_source(ChunkedArray(values, chunks, dims=_names(pick, values.ndim)))
    return Value(x, values, f"lt.scan_source(ChunkedArray({_shown(values)}, {chunks}))")


def _virtual(pick: Pick, values: np.ndarray) -> Value:
    chunks = tuple(pick.integer(1, CHUNK) for _ in values.shape)

    def read(domain: lt.IndexDomain, out: np.ndarray) -> None:
        where = zip(domain.inclusive_min, domain.exclusive_max, strict=True)
        out[...] = values[tuple(slice(a, b) for a, b in where)]

    x = lt.virtual_chunked(read, shape=values.shape, dtype=values.dtype, chunks=chunks)
    return Value(x, values, f"virtual({_shown(values)}, {chunks})")


def _constant(pick: Pick, values: np.ndarray) -> Value:
    value = values.flat[0] if values.size else values.dtype.type(1)
    x = lt.full(values.shape, value, dtype=values.dtype)
    filled = np.full(values.shape, value, values.dtype)
    return Value(x, filled, f"lt.full({values.shape}, {value!r}, dtype={values.dtype})")


def _shown(values: np.ndarray) -> str:
    return repr(values) if values.size < 6 else f"<{values.dtype} {values.shape}>"


def _names(pick: Pick, ndim: int) -> tuple[str, ...] | None:
    return ("z", "y", "x")[3 - ndim :] if pick.integer(0, 2) == 0 else None


def stored(pick: Pick, values: np.ndarray) -> tuple[dict[str, bytes], np.ndarray, str]:
    """A zarr v3 array of these values, some chunks of which are missing and read as the fill."""
    chunks = tuple(pick.integer(1, CHUNK) for _ in values.shape)
    missing = pick.one((0, 0, 3, 9))
    kind = pick.one(("raw", "sharded", "zstd")) if values.ndim else "raw"
    fill = pick.one((0, 1)) if values.dtype.kind != "b" else False
    values = values.copy()
    pieces: dict[tuple[int, ...], bytes | None] = {}
    for cell in np.ndindex(*(-(-n // c) for n, c in zip(values.shape, chunks, strict=True))):
        where = tuple(slice(i * c, i * c + c) for i, c in zip(cell, chunks, strict=True))
        if pick.integer(1, 10) <= missing:
            values[where] = fill
            pieces[cell] = None
            continue
        block = np.full(chunks, fill, values.dtype)
        part = values[where]
        block[tuple(slice(0, n) for n in part.shape)] = part
        pieces[cell] = block.tobytes()
    name = "bfloat16" if values.dtype == BFLOAT16 else values.dtype.name
    options: dict[str, Any] = {"fill_value": _fill_json(fill, values.dtype)}
    if pick.integer(0, 1) and values.ndim:
        options["dimension_names"] = ["z", "y", "x"][3 - values.ndim :]
    if kind == "sharded":
        return _sharded(values, chunks, pieces, name, options), values, f"sharded {chunks}"
    codecs = [_bytes_codec(values.dtype)]
    if kind == "zstd":
        from numcodecs import Zstd

        codecs.append({"name": "zstd", "configuration": {"level": 1, "checksum": False}})
        pieces = {k: None if p is None else Zstd(1).encode(p) for k, p in pieces.items()}
    document = array_v3(values.shape, chunks, name, codecs, **options)
    objects = {
        "/".join(["c", *map(str, cell)]): piece
        for cell, piece in pieces.items()
        if piece is not None
    }
    return v3(document, objects), values, f"{kind} {chunks}"


def _sharded(
    values: np.ndarray,
    chunks: tuple[int, ...],
    pieces: dict[tuple[int, ...], bytes | None],
    name: str,
    options: dict[str, Any],
) -> dict[str, bytes]:
    """Two chunks a shard along each dim."""
    objects = {}
    for cell in np.ndindex(*(-(-n // (2 * c)) for n, c in zip(values.shape, chunks, strict=True))):
        inner = [
            pieces.get(tuple(2 * i + j for i, j in zip(cell, part, strict=True)))
            for part in np.ndindex(*(2,) * values.ndim)
        ]
        if any(piece is not None for piece in inner):
            objects["/".join(["c", *map(str, cell)])] = shard(inner)
    codecs = [sharding(chunks, [_bytes_codec(values.dtype)])]
    document = array_v3(values.shape, tuple(2 * c for c in chunks), name, codecs, **options)
    return v3(document, objects)


def _bytes_codec(dtype: np.dtype) -> dict[str, Any]:
    if dtype.itemsize == 1:
        return {"name": "bytes"}
    return {"name": "bytes", "configuration": {"endian": "little"}}


def _fill_json(fill: Any, dtype: np.dtype) -> Any:
    if dtype.kind == "c":
        return [float(fill), 0.0]
    return float(fill) if is_float(dtype) else fill


def _zarr(pick: Pick, values: np.ndarray) -> Value:
    store, values, kind = stored(pick, values)
    return Value(
        lt.scan_zarr(lt.testing.CountingStore(store)), values, f"zarr({_shown(values)}, {kind})"
    )


def _filed(pick: Pick, values: np.ndarray) -> Value:
    """The same in a folder, which a document can name."""
    store, values, kind = stored(pick, values)
    root = Path(tempfile.mkdtemp(dir=_FOLDER.name))
    for key, data in store.items():
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return Value(lt.scan_zarr(root), values, f"filed({_shown(values)}, {kind})")


_FOLDER = tempfile.TemporaryDirectory()
_LEAVES = (
    _memory, _memory, _chunked, _chunked, _zarr, _zarr, _zarr, _filed, _virtual, _constant,
)  # fmt: skip
