"""The arrays that are timed, made once and kept.

Speed on noise or on a formula says little: the one does not compress, the other compresses
thirtyfold. The volume here looks like a light-sheet recording, blobs on a background under shot
noise, uint16, and halves under the usual codecs. Every plane is a function of its number alone, so
the same size gives the same bytes on every machine.

There are three scales. Published comparisons of zarr readers use 1024³ arrays of 256³ chunks with
64³ inner chunks, too large to repeat often; ``count`` keeps their number of chunks and inner chunks
and so shows what a chunk costs beyond its bytes, ``bytes`` keeps the size of an inner chunk and so
shows the speed of decoding. ``large`` is an array that is larger than any cache.

Beside the stores lie the digests of what each workload must return, computed with NumPy from the
volume itself: no contender is checked against another one.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "SCALES", "Key", "Scale", "Store", "Truth", "digest", "key_slices", "keys_of", "make_data",
    "stored_bytes", "truths", "volume",
]  # fmt: skip

_VERSION = 2
_SEED = 20250101
_TRUTH = "truth.json"
_MOST_INNER = 512
"""Inner chunks that one run of the inner chunk by inner chunk workload reads."""

Truth = dict[str, Any]
"""Shape, dtype and digest of an array."""

Key = list[list[int]]
"""Start, stop and step of every dimension: a box, as JSON has it."""


@dataclass(frozen=True)
class Store:
    """How one copy of the volume is stored.

    ``chunk`` and ``shard`` are edge lengths (``shard`` 0: none); a volume smaller than the shard
    has one shard of its own size. ``codec`` is a key of the table in ``_compressor``.
    """

    codec: str
    chunk: int = 64
    shard: int = 0

    def inner(self, n: int) -> int:
        """Edge length of what is decoded at once."""
        return min(self.chunk, n)

    def outer(self, n: int) -> int:
        """Edge length of what one file holds."""
        return min(self.shard or self.chunk, n)

    def decoded_bytes(self, n: int) -> int:
        """Size of what is decoded at once."""
        return self.inner(n) ** 3 * 2


@dataclass(frozen=True)
class Scale:
    """A volume of ``n``³ (``quick``³ for a quick look), its stores, what is computed of it."""

    n: int
    quick: int
    stores: dict[str, Store]
    actions: tuple[str, ...]

    def edge(self, *, quick: bool) -> int:
        """Edge length of the volume."""
        return self.quick if quick else self.n


def _encodings(chunk: int, inner: int) -> dict[str, Store]:
    plain = ("raw", "lz4", "bitshuffle", "zstd", "gzip")
    sharded = ("raw", "lz4", "zstd")
    return {
        **{codec: Store(codec, chunk) for codec in plain},
        **{f"shard-{codec}": Store(codec, inner, chunk) for codec in sharded},
    }


_VIEWS = ("read", "strided", "crop")

SCALES = {
    "count": Scale(
        256,
        128,
        _encodings(64, 16),
        (*_VIEWS, "chunks", "inner"),
    ),
    "bytes": Scale(
        256,
        128,
        _encodings(128, 64),
        (*_VIEWS, "chunks", "inner"),
    ),
    "large": Scale(
        512,
        128,
        {
            "raw": Store("raw"),
            "lz4": Store("lz4"),
            "zstd": Store("zstd-1"),
            "bitshuffle": Store("bitshuffle"),
            "small": Store("lz4", chunk=32),
            "sharded": Store("bitshuffle", chunk=32, shard=256),
        },
        ("read", "crop", "halve"),
    ),
}


def make_data(folder: Path, scale: str, *, quick: bool = False) -> Path:
    """The folder below ``folder`` with every store of a scale; made if it is not there."""
    made = SCALES[scale]
    n = made.edge(quick=quick)
    home = folder / f"v{_VERSION}-{scale}-{n}"
    if (home / _TRUTH).exists():
        return home
    home.mkdir(parents=True, exist_ok=True)
    values = volume(n)
    for name, store in made.stores.items():
        _write(home / name, store, values)
    wanted = sorted(
        {(action, _edge_of(action, store, n)) for action in made.actions
         for store in made.stores.values()}
    )  # fmt: skip
    truth = {_name(action, edge): _describe(_act(values, action, edge)) for action, edge in wanted}
    # Written last: a folder without it was interrupted and is made again.
    (home / _TRUTH).write_text(json.dumps(truth, indent=2) + "\n", encoding="utf-8")
    return home


def truths(home: Path, action: str, store: Store, n: int) -> Truth:
    """What an action must return on a store below ``home``."""
    found = json.loads((home / _TRUTH).read_text(encoding="utf-8"))
    truth: Truth = found[_name(action, _edge_of(action, store, n))]
    return truth


def stored_bytes(home: Path, names: Sequence[str]) -> dict[str, int]:
    """Bytes on disk of each store."""
    return {
        name: sum(file.stat().st_size for file in (home / name).rglob("*") if file.is_file())
        for name in names
    }


def keys_of(action: str, store: Store, n: int) -> list[Key]:
    """The boxes that an action asks for, one call each; none: the array as it is."""
    return _keys(action, _edge_of(action, store, n), n)


def key_slices(key: Key) -> tuple[slice, ...]:
    """A key as what arrays are indexed with."""
    return tuple(slice(*side) for side in key)


def _edge_of(action: str, store: Store, n: int) -> int:
    """Edge of the boxes of the workloads that go box by box, else 0."""
    return {"chunks": store.outer(n), "inner": store.inner(n)}.get(action, 0)


def _name(action: str, edge: int) -> str:
    return f"{action}-{edge}" if edge else action


def _keys(action: str, edge: int, n: int) -> list[Key]:
    if action == "strided":
        return [[[0, n, 2]] * 3]
    if action == "crop":
        # 200 of 512 voxels, off the chunk grid on every side.
        starts = (n * 37 // 512, n * 101 // 512, n * 203 // 512)
        return [[[start, start + n * 200 // 512, 1] for start in starts]]
    if not edge:
        return []
    places = list(itertools.product(range(0, n, edge), repeat=3))
    if action == "inner":
        # In any order, as a loader asks: no reader knows what comes next.
        order = np.random.Generator(np.random.Philox(key=_SEED)).permutation(len(places))
        places = [places[i] for i in order[:_MOST_INNER]]
    return [[[start, start + edge, 1] for start in place] for place in places]


def _act(values: np.ndarray, action: str, edge: int) -> np.ndarray:
    """What an action returns; the parts of one that goes box by box lie behind each other."""
    if action == "halve":
        return _halved(values)
    parts = [values[key_slices(key)] for key in _keys(action, edge, len(values))]
    if not parts:
        return values
    return np.stack(parts) if edge else parts[0]


def volume(n: int) -> np.ndarray:
    """The volume: ``(n, n, n)`` uint16."""
    rng = np.random.Generator(np.random.Philox(key=_SEED))
    count = max(12, n * n // 1500)
    centers = rng.uniform(0, n, (count, 3))
    radii = rng.uniform(3, n / 14 + 4, count)
    peaks = rng.uniform(300, 3000, count)
    values = np.empty((n, n, n), np.uint16)
    for z in range(n):
        values[z] = _plane(z, n, centers, radii, peaks)
    return values


def _plane(z: int, n: int, centers: np.ndarray, radii: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    image = np.full((n, n), 110.0)
    weights = np.exp(-((z - centers[:, 0]) ** 2) / (2 * radii**2))
    for k in np.flatnonzero(weights > 0.02):
        reach = int(3 * radii[k]) + 1
        ys, xs = (
            slice(max(0, int(c) - reach), min(n, int(c) + reach)) for c in centers[k, 1:]
        )  # fmt: skip
        down, across = (
            np.exp(-((np.arange(side.start, side.stop) - c) ** 2) / (2 * radii[k] ** 2))
            for side, c in ((ys, centers[k, 1]), (xs, centers[k, 2]))
        )
        image[ys, xs] += peaks[k] * weights[k] * down[:, None] * across[None, :]
    rng = np.random.Generator(np.random.Philox(key=_SEED + 1 + z))
    noise = rng.standard_normal((n, n), dtype=np.float32) * np.sqrt(image * 0.25)
    return np.clip(np.rint(image + noise), 0, 65535).astype(np.uint16)


def _write(path: Path, store: Store, values: np.ndarray) -> None:
    import zarr

    n = len(values)
    array = zarr.create_array(
        str(path),
        shape=values.shape,
        dtype=values.dtype,
        chunks=(store.inner(n),) * 3,
        shards=(store.outer(n),) * 3 if store.shard else None,
        compressors=_compressor(store.codec),
        filters=None,
        fill_value=0,
        zarr_format=3,
        overwrite=True,
    )
    array[...] = values


def _compressor(codec: str) -> Any:
    from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

    made: dict[str, Callable[[], Any]] = {
        "raw": lambda: None,
        "lz4": lambda: BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", typesize=2),
        "bitshuffle": lambda: BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle", typesize=2),
        "zstd": lambda: ZstdCodec(level=0),
        "zstd-1": lambda: ZstdCodec(level=1),
        "gzip": lambda: GzipCodec(level=1),
    }
    return made[codec]()


def _halved(values: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 x 2 voxels; ties go to the even integer, as TensorStore has it."""
    z, y, x = (extent // 2 for extent in values.shape)
    out = np.empty((z, y, x), values.dtype)
    for k in range(z):
        blocks = values[2 * k : 2 * k + 2].reshape(2, y, 2, x, 2)
        out[k] = np.rint(blocks.sum(axis=(0, 2, 4), dtype=np.uint32) / 8.0)
    return out


def _describe(values: np.ndarray) -> Truth:
    return {"shape": list(values.shape), "dtype": values.dtype.str, "digest": digest(values)}


def digest(values: np.ndarray) -> str:
    """Digest of the elements in C order."""
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()
