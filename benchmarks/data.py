"""The arrays that are timed, made once and kept.

Speed on noise or on a formula says little: the one does not compress, the other compresses
thirtyfold. The volume here looks like a light-sheet recording, blobs on a background under shot
noise, uint16, and halves under the usual codecs. Every plane is a function of its number alone, so
the same size gives the same bytes on every machine.

Beside the stores lie the digests of what each workload must return, computed with NumPy from the
volume itself: no contender is checked against another one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

__all__ = ["STORES", "Store", "Truth", "crop_box", "digest", "make_data", "volume"]

_VERSION = 1
_SEED = 7
_TRUTH = "truth.json"

Truth = dict[str, Any]
"""Shape, dtype and digest of an array."""


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


STORES = {
    "raw": Store("raw"),
    "lz4": Store("lz4"),
    "zstd": Store("zstd"),
    "bitshuffle": Store("bitshuffle"),
    "small": Store("lz4", chunk=32),
    "sharded": Store("bitshuffle", chunk=32, shard=256),
}


def make_data(folder: Path, n: int) -> Path:
    """The folder below ``folder`` with every store of edge length ``n``; made if not there.

    ``n`` must be a multiple of 64, and of 256 above 256, so that no unit is cut by an edge.
    """
    if n % 64 or (n > 256 and n % 256):
        raise ValueError(f"n must be a multiple of 64, above 256 one of 256, not {n}")
    home = folder / f"v{_VERSION}-n{n}"
    if (home / _TRUTH).exists():
        return home
    home.mkdir(parents=True, exist_ok=True)
    values = volume(n)
    for name, store in STORES.items():
        _write(home / name, store, values)
    truth = {action: _describe(act(values)) for action, act in _ACTIONS.items()}
    # Written last: a folder without it was interrupted and is made again.
    (home / _TRUTH).write_text(json.dumps(truth, indent=2) + "\n", encoding="utf-8")
    return home


def truths(home: Path) -> dict[str, Truth]:
    """What each action must return on the volume stored below ``home``."""
    found: dict[str, Truth] = json.loads((home / _TRUTH).read_text(encoding="utf-8"))
    return found


def stored_bytes(home: Path) -> dict[str, int]:
    """Bytes on disk of each store."""
    return {
        name: sum(file.stat().st_size for file in (home / name).rglob("*") if file.is_file())
        for name in STORES
    }


def volume(n: int) -> np.ndarray:
    """The volume: ``(n, n, n)`` uint16."""
    rng = np.random.default_rng(_SEED)
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
        (y0, x0), spread = centers[k, 1:], 2 * radii[k] ** 2
        y, x = (np.arange(max(0, int(c) - reach), min(n, int(c) + reach)) for c in (y0, x0))
        profile = np.outer(np.exp(-((y - y0) ** 2) / spread), np.exp(-((x - x0) ** 2) / spread))
        image[y[0] : y[-1] + 1, x[0] : x[-1] + 1] += peaks[k] * weights[k] * profile
    rng = np.random.default_rng((_SEED, z))
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
    from zarr.codecs import BloscCodec, ZstdCodec

    made: dict[str, Callable[[], Any]] = {
        "raw": lambda: None,
        "lz4": lambda: BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", typesize=2),
        "zstd": lambda: ZstdCodec(level=1),
        "bitshuffle": lambda: BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle", typesize=2),
    }
    return made[codec]()


def crop_box(n: int) -> tuple[slice, slice, slice]:
    """The box that the crop workload reads: 200 of 512 voxels, off the chunk grid on every side."""
    size = n * 200 // 512
    starts = (n * 37 // 512, n * 101 // 512, n * 203 // 512)
    z, y, x = (slice(start, start + size) for start in starts)
    return z, y, x


def _halved(values: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 x 2 voxels; ties go to the even integer, as TensorStore has it."""
    z, y, x = (extent // 2 for extent in values.shape)
    out = np.empty((z, y, x), values.dtype)
    for k in range(z):
        blocks = values[2 * k : 2 * k + 2].reshape(2, y, 2, x, 2)
        out[k] = np.rint(blocks.sum(axis=(0, 2, 4), dtype=np.uint32) / 8.0)
    return out


_ACTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "read": lambda values: values,
    "crop": lambda values: values[crop_box(len(values))],
    "halve": _halved,
}


def _describe(values: np.ndarray) -> Truth:
    return {"shape": list(values.shape), "dtype": values.dtype.str, "digest": digest(values)}


def digest(values: np.ndarray) -> str:
    """Digest of the elements in C order."""
    return xxhash.xxh3_128_hexdigest(np.ascontiguousarray(values).data)
