"""What the work of ``engine.py`` must return, by NumPy on the whole volume."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from data import digest
from engine_peers import crop_of
from engine_tiles import batch_corners, mosaic_of, pasted

__all__ = ["truth_of"]

_FILE = "engine.json"


def truth_of(home: Path, kind: str, n: int) -> dict[str, Any]:
    """Shape and digest of a result; computed once and kept beside the stores."""
    file = home / _FILE
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if kind not in known:
        known[kind] = _computed(home, kind, n)
        file.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    found: dict[str, Any] = known[kind]
    return found


def _computed(home: Path, kind: str, n: int) -> dict[str, Any]:
    if kind.endswith("-build"):
        return {"shape": list(mosaic_of(kind.removesuffix("-build"), n).shape)}
    name = kind.removesuffix("-window")
    if name in ("tiles-random", "tiles-apart", "mosaic"):
        values = pasted(mosaic_of(name, n))
        if kind != name:
            lo = [extent * 2 // 5 for extent in values.shape]
            values = values[tuple(slice(a, a + 200) for a in lo)]
        return _described(values)
    import zarr

    volume = zarr.open_array(str(home / "raw"), mode="r")[...]
    return _described(_MADE[kind](np.asarray(volume)))


def _described(values: np.ndarray) -> dict[str, Any]:
    if values.dtype.kind == "f" and values.size < 100:
        return {"values": [f"{value:.6e}" for value in values.reshape(-1).tolist()]}
    if values.dtype.kind in "iu" and values.dtype.itemsize > 2:
        values = values.astype(np.int64)
    return {"shape": list(values.shape), "digest": digest(values)}


def _chain(x: np.ndarray) -> np.ndarray:
    scaled = (x.astype(np.float32) - 100) * np.float32(0.5)
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _windows(x: np.ndarray) -> Iterator[np.ndarray]:
    """The eight elements of each window of 2 x 2 x 2, plane by plane."""
    z, y, w = (extent // 2 for extent in x.shape)
    for k in range(z):
        blocks = x[2 * k : 2 * k + 2].reshape(2, y, 2, w, 2)
        yield blocks.transpose(1, 3, 0, 2, 4).reshape(y, w, 8)


def _by_window(f: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: np.stack([f(part) for part in _windows(x)]).astype(x.dtype)


def _mean(part: np.ndarray) -> np.ndarray:
    rounded: np.ndarray = np.rint(part.sum(axis=-1, dtype=np.uint32) / 8.0)
    return rounded


def _mode(part: np.ndarray) -> np.ndarray:
    """The most frequent value, of several the smallest."""
    ordered = np.sort(part, axis=-1)
    count = (ordered[..., :, None] == ordered[..., None, :]).sum(axis=-1)
    best = count.argmax(axis=-1)
    found: np.ndarray = np.take_along_axis(ordered, best[..., None], axis=-1)[..., 0]
    return found


def _batches(x: np.ndarray) -> np.ndarray:
    sums = [
        x[z : z + 64, y : y + 64, w : w + 64][::17, ::13, ::11].sum(dtype=np.uint64)
        for z, y, w in batch_corners(len(x))
    ]
    return np.array(sums, np.uint64).reshape(-1, 16).sum(axis=1)


_MADE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "read": lambda x: x,
    "crop": lambda x: x[crop_of(len(x))],
    "strided": lambda x: x[::2, ::2, ::2],
    "cast": lambda x: x.astype(np.float32),
    "mean": _by_window(_mean),
    "max": _by_window(lambda part: part.max(axis=-1)),
    "median": _by_window(lambda part: np.partition(part, 3, axis=-1)[..., 3]),
    "mode": _by_window(_mode),
    "chain": _chain,
    "spread": lambda x: np.array([x.mean(dtype=np.float64), x.std(dtype=np.float64)]),
    "counts": lambda x: np.bincount(x.reshape(-1), minlength=65536),
    "projection": lambda x: x.max(axis=0),
    "batches": _batches,
}
