"""The state of equal elements is that of a block of them."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from lazytensor.plan.ops import REDUCTIONS
from lazytensor.plan.ops_reduce import Reduction

VALUES: dict[str, list[Any]] = {
    "?": [False, True],
    "u1": [0, 3, 255],
    "i1": [-128, -1, 0, 127],
    "u2": [0, 65535],
    "i4": [-(2**31), 7],
    "u8": [0, 2**64 - 1],
    "i8": [-(2**63), -3, 2**63 - 1],
    "f2": [0.0, -0.0, 1.5, np.inf, np.nan, 65504.0],
    "f4": [0.0, -0.0, 0.1, -0.1, 3.4e38, np.inf, -np.inf, np.nan],
    "f8": [0.0, -0.0, 0.1, -1e-310, 1e200, -np.inf, np.nan, 1 / 3],
    "c8": [0j, 1 - 2j, 0.1j, complex(np.inf, 1), complex(np.nan, 0)],
    "c16": [0.1 + 0.3j, complex(0, -np.inf)],
}
CASES = [
    (row, np.array(value, dtype))
    for row in REDUCTIONS.values()
    for dtype, values in VALUES.items()
    for value in values
] + [(row, np.array(1.5, ml_dtypes.bfloat16)) for row in REDUCTIONS.values()]


def takes(row: Reduction, value: np.ndarray) -> bool:
    complex_order = value.dtype.kind == "c" and row.name in ("argmin", "argmax", "min", "max")
    return not complex_order


def agree(row: Reduction, ours: np.ndarray, theirs: np.ndarray, value: np.ndarray, n: int) -> bool:
    if ours.dtype.kind not in "fcV":
        return bool((ours == theirs).all())
    a, b = ours.astype(np.complex128), theirs.astype(np.complex128)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    eps = float(np.finfo(np.float64 if ours.dtype.itemsize >= 8 else np.float32).eps)
    if ours.dtype.itemsize <= 2:
        eps = 2.0**-7
    with np.errstate(all="ignore"):
        scale = abs(value.astype(np.complex128)) * (n if row.name == "sum" else 1)
        if row.name == "var":
            # No spread is the true answer; that of a block may be off by its rounding.
            scale = scale * scale
        if row.name == "prod":
            scale, eps = abs(b), eps * n
        near = abs(a - b) <= 8 * math.sqrt(n) * eps * scale
    return bool((same | near).all())


@pytest.mark.parametrize(("row", "value"), CASES, ids=lambda x: getattr(x, "name", str(x)))
@pytest.mark.parametrize(
    ("shape", "axes"), [((3, 4), (1,)), ((5, 2, 3), (0, 2)), ((7,), (0,)), ((2, 3), ())]
)
def test_a_block_of_equal_elements(
    row: Reduction, value: np.ndarray, shape: tuple[int, ...], axes: tuple[int, ...]
) -> None:
    if not takes(row, value) or (row.one_axis and not axes):
        return
    block = np.full(shape, value)
    place = {"offsets": (4,) * len(shape), "shape": (20,) * len(shape)}
    kept = tuple(1 if d in axes else n for d, n in enumerate(shape))
    count = math.prod(shape[d] for d in axes)
    direct = row.partial(block, axes, **place)
    ours = row.repeated(value, count, kept, axes, **place)
    assert ours is not None
    assert [part.shape for part in ours] == [part.shape for part in direct]
    ends = [row.finish(state, dtype=value.dtype, count=count) for state in (ours, direct)]
    huge = row.name in ("var", "std") and not np.isfinite(ends[1]).all()
    assert huge or agree(row, *ends, value, count)


@pytest.mark.parametrize(("row", "value"), CASES, ids=lambda x: getattr(x, "name", str(x)))
def test_it_merges_with_blocks(row: Reduction, value: np.ndarray) -> None:
    if not takes(row, value):
        return
    rest = np.arange(5).astype(value.dtype)
    whole = np.concatenate([np.full(6, value), rest])
    ours = row.repeated(value, 6, (1,), (0,), offsets=(0,), shape=(11,))
    assert ours is not None
    ours = row.merge(ours, row.partial(rest, (0,), offsets=(6,), shape=(11,)))
    blocks = row.partial(whole[:6], (0,), offsets=(0,), shape=(11,))
    blocks = row.merge(blocks, row.partial(rest, (0,), offsets=(6,), shape=(11,)))
    ends = [row.finish(state, dtype=value.dtype, count=11) for state in (ours, blocks)]
    limit = np.maximum(abs(value.astype(np.complex128)), 4.0)
    if row.name in ("var", "std") and not np.isfinite(ends[1]).all():
        return
    assert agree(row, *ends, limit, 11)


@pytest.mark.parametrize("count", [2**31, 2**40 + 1, 2**62, 2**63 - 1, 10**21])
def test_no_count_is_too_large(count: int) -> None:
    value = np.uint16(65535)[()]
    array = np.asarray(value)

    def end(name: str) -> Any:
        row = REDUCTIONS[name]
        state = row.repeated(array, count, (1,), (0,))
        assert state is not None
        # Twice the same merged: what a run does with stretches.
        return row.finish(row.merge(state, state), dtype=array.dtype, count=2 * count).item()

    assert end("sum") == 65535 * 2 * count % 2**64
    assert end("mean") == 65535.0
    assert end("std") == 0.0
    assert end("max") == end("min") == 65535
    assert end("prod") == pow(65535, 2 * count, 2**64)
    assert end("any") is True
    assert end("argmax") == 0


def test_means_of_small_integers_keep_what_64_bits_would_lose() -> None:
    row = REDUCTIONS["mean"]
    few = row.partial(np.array([1, 2, 3], np.uint8), (0,))
    many = row.repeated(np.array(200, np.uint8), 10**18, (1,), (0,))
    assert many is not None
    for state in (row.merge(few, many), row.merge(many, few)):
        assert row.finish(state, dtype=np.dtype("u1"), count=10**18 + 3)[0] == pytest.approx(200)


def test_signs_of_powers() -> None:
    row = REDUCTIONS["prod"]
    for count, sign in ((2**62, 1.0), (2**62 + 1, -1.0)):
        state = row.repeated(np.array(-1.0), count, (1,), (0,))
        assert state is not None
        assert state[0][0] == sign
    zero = row.repeated(np.array(-0.0), 3, (1,), (0,))
    assert zero is not None
    assert np.signbit(zero[0][0])
