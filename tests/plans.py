"""Random plans with a NumPy mirror.

``plans()`` draws a tensor built by a chain of operations together with the array (and the origin
of its coordinates) that NumPy computes for the same chain, step by step, on distinct values. The
mirror knows nothing of plans: each step is written out with plain NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
import numpy as np

import lazytensor as lt
from lazytensor.exec.kernels.downsample import downsample_into
from tests.sources import ChunkedArray

DTYPES = ("u1", "i2", "u2", "i4", "f4", "f8", "?", "u8", "f2", "c8")
Draw = Callable[[Any], Any]


@dataclass
class Mirror:
    """What a tensor should be: its values and the coordinate of its first element."""

    values: np.ndarray
    origin: tuple[int, ...]


Pair = tuple[lt.LazyTensor, Mirror]


@st.composite
def plans(draw: Draw, max_steps: int = 5, min_ndim: int = 0) -> Pair:
    """A tensor of at least ``min_ndim`` dims and its mirror."""
    pair = draw(leaves(min_ndim=min_ndim))
    for _ in range(draw(st.integers(0, max_steps))):
        following = draw(st.sampled_from(STEPS))(draw, pair)
        if following[1].values.ndim >= min_ndim:
            pair = following
    return pair


@st.composite
def leaves(draw: Draw, min_ndim: int = 0) -> Pair:
    """A source: in memory, or chunked and read by box, with any origin."""
    ndim = draw(st.integers(min_ndim, 3))
    shape = tuple(
        draw(st.lists(st.integers(0 if ndim > 1 else 1, 7), min_size=ndim, max_size=ndim))
    )
    values = distinct(shape, np.dtype(draw(st.sampled_from(DTYPES))), draw(st.integers(0, 3)))
    kind = draw(st.sampled_from(("memory", "chunked", "placed")))
    if kind == "memory":
        return lt.asarray(values), Mirror(values, (0,) * ndim)
    chunks = [draw(st.integers(1, 4)) for _ in shape]
    if kind == "chunked":
        return lt.scan_source(ChunkedArray(values, chunks)), Mirror(values, (0,) * ndim)
    origin = tuple(draw(st.integers(-9, 9)) for _ in shape)
    return lt.scan_source(ChunkedArray(values, chunks, origin=origin)), Mirror(values, origin)


def distinct(shape: tuple[int, ...], dtype: np.dtype, seed: int = 0) -> np.ndarray:
    """Values that differ from each other as far as the dtype allows, not in order."""
    n = int(np.prod(shape))
    values = (np.arange(n) * 7 + 11 * seed + 3) % (251 if dtype.kind != "b" else 3)
    return values.reshape(shape).astype(dtype)


def index_positions(draw: Draw, pair: Pair) -> Pair:
    """NumPy indexing with integers, slices and new axes."""
    x, m = pair
    key: list[Any] = []
    origin: list[int] = []
    for n, lo in zip(m.values.shape, m.origin, strict=True):
        what = draw(st.integers(0, 7))
        if what == 0 and n:
            key.append(draw(st.integers(-n, n - 1)))
        elif what == 1:
            key.extend([None, slice(None)])
            origin.extend([0, lo])
        else:
            one = slice(
                draw(st.none() | st.integers(-n - 2, n + 2)),
                draw(st.none() | st.integers(-n - 2, n + 2)),
                draw(st.sampled_from((None, 1, 1, 2, 3, -1, -2))),
            )
            key.append(one)
            start, _, step = one.indices(n)
            origin.append(lo + start if step == 1 else int((lo + start) / step))
    values = np.asarray(m.values[tuple(key)])
    return x[tuple(key)], Mirror(values, tuple(origin))


def index_array(draw: Draw, pair: Pair) -> Pair:
    """An integer array on one dim."""
    x, m = pair
    dims = [d for d, n in enumerate(m.values.shape) if n]
    if not dims:
        return pair
    d = draw(st.sampled_from(dims))
    n = m.values.shape[d]
    where = np.array(draw(st.lists(st.integers(-n, n - 1), min_size=1, max_size=5)))
    key = (*[slice(None)] * d, where)
    return x[key], Mirror(m.values[key], (*m.origin[:d], 0, *m.origin[d + 1 :]))


def index_joint(draw: Draw, pair: Pair) -> Pair:
    """``vindex`` on the first two dims."""
    x, m = pair
    if m.values.ndim < 2 or 0 in m.values.shape[:2]:
        return pair
    count = draw(st.integers(1, 4))
    where = tuple(
        np.array(draw(st.lists(st.integers(0, n - 1), min_size=count, max_size=count)))
        for n in m.values.shape[:2]
    )
    return x.vindex[where], Mirror(m.values[where], (0, *m.origin[2:]))


def crop_coordinates(draw: Draw, pair: Pair) -> Pair:
    """A box in coordinates."""
    x, m = pair
    bounds = []
    for n, lo in zip(m.values.shape, m.origin, strict=True):
        a = draw(st.integers(0, n))
        bounds.append((lo + a, lo + draw(st.integers(a, n))))
    key = tuple(slice(a, b) for a, b in bounds)
    part = tuple(slice(a - lo, b - lo) for (a, b), lo in zip(bounds, m.origin, strict=True))
    return x.coord[key], Mirror(m.values[part], tuple(a for a, _ in bounds))


def translate(draw: Draw, pair: Pair) -> Pair:
    """Move the domain."""
    x, m = pair
    if not m.origin:
        return pair
    by = tuple(draw(st.integers(-5, 5)) for _ in m.origin)
    origin = tuple(a + b for a, b in zip(m.origin, by, strict=True))
    return x.translate_by[by], Mirror(m.values, origin)


def permute(draw: Draw, pair: Pair) -> Pair:
    """Another order of dims."""
    x, m = pair
    axes = tuple(draw(st.permutations(range(m.values.ndim))))
    return lt.permute_dims(x, axes), Mirror(
        m.values.transpose(axes), tuple(m.origin[a] for a in axes)
    )


def cast(draw: Draw, pair: Pair) -> Pair:
    """Another dtype."""
    x, m = pair
    to = np.dtype(draw(st.sampled_from(DTYPES)))
    if not _fits(m.values, to):
        return pair
    values = m.values.real if m.values.dtype.kind == "c" and to.kind not in "bc" else m.values
    with np.errstate(all="ignore"):
        return x.astype(to), Mirror(values.astype(to), m.origin)


def _fits(values: np.ndarray, to: np.dtype) -> bool:
    """False where C leaves open what a cast gives: floats outside an integer dtype."""
    if to.kind not in "iu" or values.dtype.kind not in "fc":
        return True
    limits = np.iinfo(to)
    with np.errstate(all="ignore"):
        cut = np.trunc(values.real.astype(np.float64))
    return bool(((cut >= limits.min) & (cut < float(limits.max))).all())


def scalar_arithmetic(draw: Draw, pair: Pair) -> Pair:
    """An operator with a Python scalar."""
    x, m = pair
    if m.values.dtype.kind == "b":
        return pair
    which = draw(st.integers(0, 4))
    return _apply(which, x), Mirror(_apply(which, m.values), m.origin)


def _apply(which: int, a: Any) -> Any:
    with np.errstate(all="ignore"):
        result = (a + 1, a * 2, a - 3, -a, a / 4)[which]
    return result if isinstance(result, lt.LazyTensor) else np.asarray(result)


def with_itself(draw: Draw, pair: Pair) -> Pair:
    """A diamond: neighbours along one dim, subtracted."""
    x, m = pair
    dims = [d for d, n in enumerate(m.values.shape) if n > 1]
    if not dims:
        return pair
    if m.values.dtype.kind == "b":
        return pair
    d = draw(st.sampled_from(dims))
    left, right = (*[slice(None)] * d, slice(1, None)), (*[slice(None)] * d, slice(None, -1))
    # The two crops disagree on where they start, so the result counts from 0 on that dim.
    origin = (*m.origin[:d], 0, *m.origin[d + 1 :])
    return x[left] - x[right], Mirror(m.values[left] - m.values[right], origin)


def broadcast_with_reduction(draw: Draw, pair: Pair) -> Pair:
    """``x - max(x, axis, keepdims)``: a reduction that is broadcast back."""
    x, m = pair
    dims = [d for d, n in enumerate(m.values.shape) if n]
    if not dims or 0 in m.values.shape or m.values.dtype.kind in "bc":
        return pair
    d = draw(st.sampled_from(dims))
    origin = list(m.origin)
    if m.values.shape[d] == 1:
        # Both have extent 1 here: the kept dim starts at 0, the operand where it was.
        origin[d] = m.origin[d] if m.origin[d] == 0 else 0
    lazy = x - lt.max(x, axis=d, keepdims=True)
    return lazy, Mirror(m.values - m.values.max(axis=d, keepdims=True), tuple(origin))


def reduce(draw: Draw, pair: Pair) -> Pair:
    """An exact reduction over one axis."""
    x, m = pair
    dims = [d for d, n in enumerate(m.values.shape) if n]
    if not dims:
        return pair
    d = draw(st.sampled_from(dims))
    names = ("any", "all", "count_nonzero")
    if m.values.dtype.kind in "iuf":
        names = (*names, "max", "min", "argmax", "argmin")
    name = draw(st.sampled_from(names))
    values = np.asarray(getattr(np, name)(m.values, axis=d))
    return getattr(lt, name)(x, axis=d), Mirror(values, m.origin[:d] + m.origin[d + 1 :])


def stack(draw: Draw, pair: Pair) -> Pair:
    """Positions of two tensors side by side along a new dim."""
    x, m = pair
    axis = draw(st.integers(0, m.values.ndim))
    other = x + 1
    with np.errstate(all="ignore"):
        values = np.stack([m.values, m.values + 1], axis=axis)
    return lt.stack([x, other], axis=axis), Mirror(values, (*m.origin[:axis], 0, *m.origin[axis:]))


def concat(draw: Draw, pair: Pair) -> Pair:
    """A tensor and a part of it, joined along one dim."""
    x, m = pair
    if m.values.ndim == 0:
        return pair
    d = draw(st.integers(0, m.values.ndim - 1))
    part = (*[slice(None)] * d, slice(draw(st.integers(0, 2)), None))
    values = np.concatenate([m.values[part], m.values, m.values[part]], axis=d)
    return lt.concat([x[part], x, x[part]], axis=d), Mirror(
        values, (*m.origin[:d], 0, *m.origin[d + 1 :])
    )


def overlay(draw: Draw, pair: Pair) -> Pair:
    """A tensor under a moved copy of itself, holes filled."""
    x, m = pair
    by = tuple(draw(st.integers(-4, 4)) for _ in m.origin)
    if not by:
        return pair
    over = x.translate_by[by]
    # Of two empty intervals the hull is the later one.
    bounds = [
        (min(a, a + b), max(a, a + b) + n) if n else (a + b, a + b)
        for a, b, n in zip(m.origin, by, m.values.shape, strict=True)
    ]
    lo, hi = zip(*bounds, strict=True)
    values = np.full([b - a for a, b in zip(lo, hi, strict=True)], 5, m.values.dtype)
    for start in (m.origin, over.origin) if values.size else ():
        place = tuple(
            slice(a - o, a - o + n) for a, o, n in zip(start, lo, m.values.shape, strict=True)
        )
        values[place] = m.values
    return lt.overlay([x, over], fill_value=m.values.dtype.type(5)), Mirror(values, lo)


def pad(draw: Draw, pair: Pair) -> Pair:
    """``numpy.pad``."""
    x, m = pair
    if 0 in m.values.shape or m.values.ndim == 0:
        return pair
    widths = [(draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in m.values.shape]
    mode = draw(st.sampled_from(("constant", "edge", "reflect", "symmetric", "wrap")))
    values = np.pad(m.values, widths, mode=mode)
    origin = tuple(o - before for o, (before, _) in zip(m.origin, widths, strict=True))
    return lt.pad(x, widths, mode=mode), Mirror(values, origin)


def downsample(draw: Draw, pair: Pair) -> Pair:
    """Blocks of coordinates, all methods; the block kernel has an oracle of its own."""
    x, m = pair
    factors = tuple(draw(st.integers(1, 3)) for _ in m.origin)
    method = draw(st.sampled_from(("mean", "median", "mode", "min", "max", "stride")))
    if m.values.dtype.kind not in "uif" or not factors:
        return pair
    return lt.downsample(x, factors, method), _downsampled(m, factors, method)


def _downsampled(m: Mirror, factors: tuple[int, ...], method: str) -> Mirror:
    if method == "stride":
        starts = tuple(-(-lo // f) for lo, f in zip(m.origin, factors, strict=True))
        key = tuple(
            slice(a * f - lo, None, f) for a, f, lo in zip(starts, factors, m.origin, strict=True)
        )
        return Mirror(m.values[key], starts)
    lo = tuple(a // f for a, f in zip(m.origin, factors, strict=True))
    hi = tuple(
        -(-(a + n) // f) if n else a // f
        for a, n, f in zip(m.origin, m.values.shape, factors, strict=True)
    )
    out = np.empty([b - a for a, b in zip(lo, hi, strict=True)], m.values.dtype)
    if out.size:
        downsample_into(m.values, m.origin, factors, method, out, lo)
    return Mirror(out, lo)


def reshape(draw: Draw, pair: Pair) -> Pair:
    """Flatten, or split what divides."""
    x, m = pair
    n = m.values.size
    shape = (n // 2, 2) if n and n % 2 == 0 and draw(st.booleans()) else (n,)
    origin = m.origin if shape == m.values.shape else (0,) * len(shape)
    return lt.reshape(x, shape), Mirror(m.values.reshape(shape), origin)


def hints(draw: Draw, pair: Pair) -> Pair:
    """``cache`` and ``rechunk`` change nothing."""
    x, m = pair
    if draw(st.booleans()) or not m.values.ndim:
        return x.cache(), m
    return x.rechunk(tuple(draw(st.integers(1, 4)) for _ in m.origin)), m


def user_function(draw: Draw, pair: Pair) -> Pair:
    """``map_blocks`` with a function that does not look beyond its element."""
    x, m = pair
    return lt.map_blocks(_doubled, x, dtype=x.dtype), Mirror(_doubled(m.values), m.origin)


BOUNDARIES = {"reflect": "symmetric", "nearest": "edge", "constant": "constant"}


def neighbours(draw: Draw, pair: Pair) -> Pair:
    """``map_blocks`` with a function that adds up the elements around its own."""
    x, m = pair
    if 0 in m.values.shape or m.values.ndim == 0 or m.values.dtype.kind not in "iu":
        return pair
    halo = tuple(draw(st.integers(0, 2)) for _ in m.origin)
    boundary: Any = draw(st.sampled_from(sorted(BOUNDARIES)))

    def around(block: np.ndarray) -> np.ndarray:
        for d, h in enumerate(halo):
            n = block.shape[d] - 2 * h
            parts = [block.take(range(k, k + n), axis=d) for k in range(2 * h + 1)]
            block = sum(parts[1:], start=parts[0])
        return block

    padded = np.pad(m.values, [(h, h) for h in halo], mode=BOUNDARIES[boundary])
    lazy = lt.map_blocks(
        around, x, dtype=x.dtype, halo=halo, boundary=boundary, slice_pushdown=draw(st.booleans())
    )
    return lazy, Mirror(around(padded), m.origin)


def select(draw: Draw, pair: Pair) -> Pair:
    """``where`` with a condition on the tensor itself, and ``clip``."""
    x, m = pair
    if m.values.dtype.kind not in "iuf":
        return pair
    if draw(st.booleans()):
        return lt.clip(x, 5, 60), Mirror(np.clip(m.values, 5, 60), m.origin)
    values = np.where(m.values > 40, m.values, np.zeros((), m.values.dtype))
    return lt.where(x > 40, x, lt.zeros((), dtype=x.dtype)), Mirror(values, m.origin)


def broadcast_pair(draw: Draw, pair: Pair) -> Pair:
    """A column and a row of the tensor against each other, and against the tensor."""
    x, m = pair
    if m.values.ndim < 2 or 0 in m.values.shape or m.values.dtype.kind == "b":
        return pair
    a, b = (draw(st.integers(0, n - 1)) for n in m.values.shape[-2:])
    column, row = (..., slice(None), slice(b, b + 1)), (..., slice(a, a + 1), slice(None))
    origin = list(m.origin)
    for d, at in ((-2, a), (-1, b)):
        # Where the extent is 1, the crop and the tensor have the same opinion only if they agree.
        if m.values.shape[d] == 1 and at:
            origin[d] = 0
    with np.errstate(all="ignore"):
        values = m.values * m.values[column] - m.values[row]
    return x * x[column] - x[row], Mirror(values, tuple(origin))


def _doubled(block: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(block + block, dtype=block.dtype)


def along_an_axis(draw: Draw, pair: Pair) -> Pair:
    """Sorted values, their order, or running totals along one dim."""
    x, m = pair
    if not m.values.ndim:
        return pair
    axis = draw(st.integers(0, m.values.ndim - 1))
    what = draw(st.sampled_from(("sort", "argsort", "sum", "gather")))
    if what == "sort":
        return lt.sort(x, axis=axis), Mirror(np.sort(m.values, axis=axis, kind="stable"), m.origin)
    order = np.argsort(m.values, axis=axis, kind="stable")
    if what == "argsort":
        return lt.argsort(x, axis=axis), Mirror(order, m.origin)
    if what == "gather":
        values = np.take_along_axis(m.values, order, axis)
        origin = (*m.origin[:axis], 0, *m.origin[axis + 1 :])
        return lt.take_along_axis(x, order, axis=axis), Mirror(values, origin)
    y = lt.cumulative_sum(x, axis=axis)
    wide = {"f": "f8", "c": "c16"}.get(m.values.dtype.kind, y.dtype)
    with np.errstate(all="ignore"):
        total = np.cumsum(m.values, axis=axis, dtype=wide).astype(y.dtype)
    return y, Mirror(total, m.origin)


STEPS = (
    index_positions,
    index_positions,
    index_array,
    index_joint,
    crop_coordinates,
    translate,
    permute,
    cast,
    scalar_arithmetic,
    with_itself,
    broadcast_with_reduction,
    reduce,
    stack,
    concat,
    overlay,
    pad,
    downsample,
    reshape,
    hints,
    user_function,
    neighbours,
    select,
    broadcast_pair,
    along_an_axis,
)
