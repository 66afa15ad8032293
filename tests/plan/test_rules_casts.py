"""Casts: every detour that is skipped is tried on every value it may meet."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest
from ml_dtypes import bfloat16

from lazytensor.config import QueryOptFlags
from lazytensor.exec.interpret import interpret
from lazytensor.exec.kernels.cast import cast_into
from lazytensor.plan.memory import array_node
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Cast
from lazytensor.plan.nodes_block import Downsample
from lazytensor.plan.optimize import Trace, optimize
from lazytensor.plan.rules.casts import _commutes, _is_detour
from tests.plan.random_plans import leaf

NUMBERS = tuple(np.dtype(code) for code in "?bBhHiIqQefdFD")
REAL = tuple(dtype for dtype in NUMBERS if dtype.kind != "c")
SPECIAL = (0.0, -0.0, 1.5, -1.5, np.inf, -np.inf, np.nan, 255.5, 65504, 65520, 6e-8, 3.5e38, 1e300)


def signalling(dtype: np.dtype) -> np.ndarray:
    """NaNs of both kinds and signs, by their bits."""
    infinity = int(np.array(np.inf, dtype).view(f"u{dtype.itemsize}"))
    sign = 1 << (8 * dtype.itemsize - 1)
    top = np.finfo(dtype).nmant - 1
    bits = [infinity + 1, infinity + 5, infinity + (1 << top), sign + infinity + 1]
    return np.array(bits, f"u{dtype.itemsize}").view(dtype)


@cache
def values(dtype: np.dtype) -> np.ndarray:
    """All values of up to 16 bits; of wider dtypes the special ones, and random bits."""
    if dtype.kind == "b":
        return np.array([False, True])
    if dtype.kind == "c":
        parts = values(np.dtype(f"f{dtype.itemsize // 2}"))[:2000]
        out = np.empty(len(parts), dtype)
        out.real, out.imag = parts, parts[::-1]
        return out
    unsigned = np.dtype(f"u{dtype.itemsize}")
    if dtype.itemsize <= 2:
        return np.arange(1 << (8 * dtype.itemsize), dtype=unsigned).view(dtype)
    bits = np.random.default_rng(1).integers(0, 1 << 63, 4000, np.uint64) * 2 + 1
    random = bits.astype(unsigned).view(dtype)
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return np.concatenate([np.array(SPECIAL).astype(dtype), signalling(dtype), random])
    near = [s * 2**p + e for p in range(64) for e in (-2, -1, 0, 1, 2) for s in (1, -1)]
    bounds = np.iinfo(dtype)
    edges = sorted({n for n in near if bounds.min <= n <= bounds.max} | {bounds.min, bounds.max})
    shifted = [random >> dtype.type(by) for by in (5, 11, 20, 29)]
    return np.concatenate([np.array(edges, dtype), random, *shifted])


def cast(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    out = np.empty(x.shape, dtype)
    cast_into(x, out)
    return out


def test_no_detour_that_is_skipped_changes_a_bit() -> None:
    skipped = 0
    for start, way, end in itertools.product(NUMBERS, repeat=3):
        if _is_detour(start, way, end):
            skipped += 1
            x = values(start)
            assert cast(cast(x, way), end).tobytes() == cast(x, end).tobytes(), (start, way, end)
    assert skipped > 700


@pytest.mark.parametrize(
    ("start", "way", "end"),
    [
        ("i8", "f8", "i8"),  # 2**53 + 1
        ("f4", "f8", "f4"),  # a signalling NaN becomes quiet
        ("f4", "f8", "u1"),  # out of range, it depends on where one comes from
        ("i2", "f4", "u1"),
        ("i2", "u1", "i4"),
        ("i2", "u1", "?"),  # 256
        ("f8", "f4", "f8"),
        ("c8", "f4", "?"),  # what is not real is not zero
        ("u2", "bfloat16", "u2"),
        ("longdouble", "f8", "f4"),
    ],
)
def test_a_detour_that_may_matter_stays(start: str, way: str, end: str) -> None:
    kinds = [np.dtype(bfloat16) if name == "bfloat16" else np.dtype(name) for name in (way, end)]
    plan = Cast(Cast(leaf((4,), start), kinds[0]), kinds[1])
    assert optimize(plan, QueryOptFlags(lookup_tables=False)) is plan


X = leaf((6, 8), "u2")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Cast(Cast(X, np.dtype("f4")), np.dtype("f8")), Cast(X, np.dtype("f8"))),
        (Cast(Cast(X, np.dtype("i8")), np.dtype("u1")), Cast(X, np.dtype("u1"))),
        (Cast(Cast(X, np.dtype("f4")), X.dtype), X),
        (
            Cast(Cast(Cast(X, np.dtype("f8")), np.dtype("f4")), np.dtype("f8")),
            Cast(X, np.dtype("f8")),
        ),
        (Cast(Cast(X, np.dtype(">u2")), np.dtype("f8")), Cast(X, np.dtype("f8"))),
        (
            Downsample(Cast(X, np.dtype("f4")), (2, 2), "max"),
            Cast(Downsample(X, (2, 2), "max"), np.dtype("f4")),
        ),
        (
            Downsample(Cast(Cast(X, np.dtype("i4")), np.dtype("f4")), (2, 3), "mode"),
            Cast(Downsample(X, (2, 3), "mode"), np.dtype("f4")),
        ),
    ],
)
def test_before_and_after(before: Node, after: Node) -> None:
    flags = QueryOptFlags(lookup_tables=False)
    assert optimize(before, flags) is after
    assert interpret(after).tobytes() == interpret(before).tobytes()
    assert optimize(before, flags.update(cast_pushdown=False)) is not after


@pytest.mark.parametrize(
    ("start", "to", "method"),
    [
        ("u2", "u1", "max"),  # wraps
        ("f4", "i4", "min"),
        ("u2", "f4", "mean"),
        ("f8", "f4", "mode"),  # two values may become one
        ("i8", "f8", "mode"),
        ("u2", "c8", "mode"),
    ],
)
def test_a_cast_that_changes_what_is_picked_stays_below(start: str, to: str, method: str) -> None:
    plan = Downsample(Cast(leaf((5,), start), np.dtype(to)), (2,), method)
    assert optimize(plan) is plan


@pytest.mark.parametrize("method", ["min", "max", "median", "mode"])
def test_what_is_picked_is_the_same_before_and_after_the_cast(method: str) -> None:
    """In windows of one to six elements of all sorts of values, NaN and zeros of both signs."""
    rng = np.random.default_rng(2)
    commuting = 0
    for start, to in itertools.product(REAL, repeat=2):
        if not _commutes(method, start, to):
            continue
        commuting += 1
        pool = values(start)
        edge = np.concatenate([pool[:40], pool[-40:], cast(np.array(SPECIAL), start)])
        picked = np.concatenate([rng.choice(pool, 120), rng.choice(edge, 120), np.repeat(edge, 2)])
        x = array_node(picked[: len(picked) // 4 * 4].reshape(4, -1))
        for factors in ((2, 3), (1, 2), (1, 1), (3, 1)):
            above = interpret(Cast(Downsample(x, factors, method), to))
            below = interpret(Downsample(Cast(x, to), factors, method))
            assert above.tobytes() == below.tobytes(), (start, to, factors)
    assert commuting > 50


def test_ten_thousand_casts_become_one() -> None:
    plan: Node = leaf((4,), "u1")
    for i in range(10_000):
        plan = Cast(plan, np.dtype("i4" if i % 2 else "i8"))
    trace = Trace()
    after = optimize(plan, QueryOptFlags(lookup_tables=False), trace)
    assert len(list(walk(after))) == 2
    assert len(trace.firings) < 10_100
