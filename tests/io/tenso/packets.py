"""Packets for tests: the vectors that the real package made, and values to write."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "tenso"

DTYPES: list[Any] = [
    "?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16",
    ml_dtypes.bfloat16,
]  # fmt: skip
"""Every dtype of dense packets."""

SHAPES: list[tuple[int, ...]] = [(), (0,), (1,), (7,), (3, 0, 2), (3, 4), (2, 3, 4), (1,) * 32]


def manifest(name: str, key: str) -> list[dict[str, Any]]:
    """The entries of a manifest."""
    found: list[dict[str, Any]] = json.loads((VECTORS / name).read_text(encoding="utf-8"))[key]
    return found


VALID = manifest("manifest.json", "vectors")
MALFORMED = manifest("malformed_manifest.json", "malformed")


def distinct(dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Values of a dtype that differ from each other, as far as it has so many."""
    kind = np.dtype(dtype)
    count = int(np.prod(shape))
    if kind == np.bool_:
        return (np.arange(count) % 3 == 0).reshape(shape)
    values = np.arange(1, count + 1)
    if kind.kind == "c":
        return (values + 1j * values[::-1]).astype(kind).reshape(shape)
    return values.astype(kind).reshape(shape)


def same(found: Any, expected: np.ndarray) -> bool:
    """Whether an array is another one, dtype, shape and bit for bit."""
    return (
        isinstance(found, np.ndarray)
        and (found.dtype, found.shape) == (expected.dtype, expected.shape)
        and found.tobytes() == expected.tobytes()
    )


def digest(array: np.ndarray) -> str:
    """What the manifest says of values."""
    return hashlib.sha256(array.tobytes()).hexdigest()
