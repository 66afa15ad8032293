"""Steps of random programs that few plans have: coordinates, joins of domains, NumPy's own names.

NumPy functions that have no twin in ``lt`` are called on tensors as they are, and have to stay
lazy; what looks at coordinates is mirrored with the origin that the tensor says it has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

import lazytensor as lt
from tests.program_steps import LARGEST, made, quiet, seen
from tests.program_wholes import moment
from tests.programs import BFLOAT16, Pick, Value, is_float

__all__ = ["OTHERS"]

NUMPY_VIEWS: dict[str, tuple[int, Callable[[Any], Any]]] = {
    "diagonal": (2, lambda a: np.diagonal(a, 1)),
    "rot90": (2, lambda a: np.rot90(a, 3)),
    "hstack": (1, lambda a: np.hstack([a, a])),
    "vstack": (1, lambda a: np.vstack([a, a])),
    "dstack": (1, lambda a: np.dstack([a, a])),
    "atleast_3d": (0, np.atleast_3d),
    "array_split": (1, lambda a: np.array_split(a, 3)[1]),
    "append": (0, lambda a: np.append(a, a)),
    "rollaxis": (2, lambda a: np.rollaxis(a, 1)),
    "swapaxes": (2, lambda a: np.swapaxes(a, 0, -1)),
    "ravel": (0, np.ravel),
    "fliplr": (2, np.fliplr),
    "copy": (0, np.copy),
    "transpose": (0, np.transpose),
    "column_stack": (1, lambda a: np.column_stack([a, a])),
}
"""Views by NumPy's names, and the least dims they take."""

NUMPY_VALUES: dict[str, tuple[int, Callable[[Any], Any]]] = {
    "ptp": (1, lambda a: np.ptp(a, axis=0)),
    "outer": (1, lambda a: np.outer(a, a)),
    "isclose": (0, lambda a: np.isclose(a, 3)),
    "reduce": (1, lambda a: np.maximum.reduce(a, axis=-1)),
    "divmod": (0, lambda a: np.divmod(a, 7)[1]),
    "isposinf": (0, lambda a: np.isposinf(a * 1.0)),
    "median": (1, lambda a: np.median(a, axis=0)),
    "percentile": (1, lambda a: np.percentile(a, [5, 50], axis=-1)),
    "sort": (1, lambda a: np.sort(a, axis=None, kind="stable")),
    "cumsum": (0, lambda a: np.cumsum(a)),
    "diff": (1, lambda a: np.diff(a, axis=0, append=a[-1:])),
    "where": (0, lambda a: np.where(a == 3, a, -a)),
    "clip": (0, lambda a: a.clip(2, 9)),
    "round": (0, lambda a: np.round(a)),
    "trace": (2, lambda a: np.trace(a, 1)),
    "any": (1, lambda a: np.any(a, axis=0)),
    "full_like": (0, lambda a: np.full_like(a, 7)),
}


def _numpy_view(pick: Pick, v: Value) -> Value | None:
    name = pick.one(sorted(NUMPY_VIEWS))
    least, f = NUMPY_VIEWS[name]
    if v.values.ndim < least:
        return None
    return seen(pick, v, f"np.{name}({{}})", lambda xp, a: f(a))


def _numpy_values(pick: Pick, v: Value) -> Value | None:
    name = pick.one(sorted(NUMPY_VALUES))
    least, f = NUMPY_VALUES[name]
    kind = v.values.dtype.kind
    if v.values.ndim < least or 0 in v.values.shape or kind in "bc" or v.values.dtype == BFLOAT16:
        return None
    if kind == "f" and name in ("cumsum", "trace"):
        return None  # sums, which may differ in the last bits
    if name in ("median", "percentile") and (kind == "i" or not np.isfinite(v.values).all()):
        return None
    if name == "median" and kind != "u":
        return None  # the mean of two, with a rounding of its own
    return made(pick, f"np.{name}({{}})", lambda xp, a: f(a), v)


def _strided(pick: Pick, v: Value) -> Value | None:
    """Multiples of a step in coordinates."""
    if not v.values.ndim:
        return None
    steps = tuple(pick.one((1, 2, 3)) for _ in v.values.shape)
    key = tuple(slice(-lo % k, None, k) for lo, k in zip(v.x.domain.origin, steps, strict=True))
    bound = None if v.bound is None else v.bound[key]
    x = v.x[lt.d[:].stride[steps]]
    return Value(x, v.values[key], f"({v.text})[lt.d[:].stride[{steps}]]", bound, v.functions)


def _diagonal(pick: Pick, v: Value) -> Value | None:
    """Elements whose first two coordinates are equal."""
    if v.values.ndim < 2:
        return None
    (a, b), (n, m) = v.x.domain.origin[:2], v.values.shape[:2]
    lo, hi = max(a, b), min(a + n, b + m)
    if lo >= hi:
        return None
    at = np.arange(lo, hi)
    bound = None if v.bound is None else v.bound[at - a, at - b]
    x = v.x[lt.d[0, 1].diagonal]
    return Value(
        x, v.values[at - a, at - b], f"({v.text})[lt.d[0, 1].diagonal]", bound, v.functions
    )


def _placed(
    values: np.ndarray, places: list[tuple[int, ...]], lo: list[int], hi: list[int], fill: Any
) -> np.ndarray:
    """Copies of values painted at places into a box."""
    out = np.full([b - a for a, b in zip(lo, hi, strict=True)], fill, values.dtype)
    for place in places:
        target, part = [], []
        for p, n, a, b in zip(place, values.shape, lo, hi, strict=True):
            first, last = max(p, a), max(max(p, a), min(p + n, b))
            target.append(slice(first - a, last - a))
            part.append(slice(first - p, last - p))
        out[tuple(target)] = values[tuple(part)]
    return out


def _overlaid(pick: Pick, v: Value) -> Value | None:
    """Layers seen through a window that may be smaller or larger than they are."""
    if not v.values.ndim or not v.values.size or v.bound is not None:
        return None
    places = [tuple(pick.integer(-5, 5) for _ in v.values.shape) for _ in range(3)]
    lo = [pick.integer(-8, 8) for _ in v.values.shape]
    hi = [a + pick.integer(0, 12) for a in lo]
    fill = v.values.dtype.type(1)
    values = _placed(v.values, places, lo, hi, fill)
    if values.size > LARGEST:
        return None
    labels = v.x.dims
    window = lt.IndexDomain(inclusive_min=lo, exclusive_max=hi, labels=labels)
    x = lt.overlay([v.x.translate_to[p] for p in places], domain=window, fill_value=fill)
    return Value(x, values, f"window({v.text}, {places}, {lo}, {hi})", None, v.functions)


def _joined(pick: Pick, v: Value) -> Value | None:
    """``concat`` and ``stack`` where coordinates meet, on the hull of the other dims."""
    if not v.values.ndim or not v.values.size or v.bound is not None:
        return None
    fill = v.values.dtype.type(1)
    by = tuple(pick.integer(-3, 3) for _ in v.values.shape)
    origin = v.x.domain.origin
    moved = tuple(a + b for a, b in zip(origin, by, strict=True))
    lo = [min(a, b) for a, b in zip(origin, moved, strict=True)]
    hi = [max(a, b) + n for a, b, n in zip(origin, moved, v.values.shape, strict=True)]
    other = v.x.translate_by[by]
    if pick.integer(0, 1):
        layers = [_placed(v.values, [place], lo, hi, fill) for place in (origin, moved)]
        values = np.stack(layers)
        x = lt.stack([v.x, other], align="domain", fill_value=fill)
        text = f"(lambda a: lt.stack([a, a.translate_by[{by}]], align='domain', fill_value=1))"
    else:
        d = pick.integer(0, v.values.ndim - 1)
        parts = []
        for place in (origin, moved):
            low, high = list(lo), list(hi)
            low[d], high[d] = place[d], place[d] + v.values.shape[d]
            parts.append(_placed(v.values, [place], low, high, fill))
        values = np.concatenate(parts, axis=d)
        x = lt.concat([v.x, other], axis=d, align="domain", fill_value=fill)
        text = f"(lambda a: lt.concat([a, a.translate_by[{by}]], axis={d}, align='domain'))"
    if values.size > LARGEST or values.ndim > 5:
        return None
    return Value(x, values, f"{text}({v.text})", None, v.functions)


def _scored(pick: Pick, v: Value) -> Value | None:
    """``normalize`` by percentiles, in float32 as it says."""
    if v.bound is not None or v.values.dtype.kind != "u" or 0 in v.values.shape:
        return None
    if v.values.dtype.itemsize > 2 or "c" in v.x.dims:
        return None
    low, high = quiet(lambda: np.quantile(v.values, [0.1, 0.9]).astype(np.float32))
    x = lt.normalize(v.x, percentiles=(10, 90))
    if low == high:
        values = np.zeros(v.values.shape, np.float32)
    else:
        scaled = (v.values.astype(np.float32) - low) / (high - low)
        values = np.clip(scaled, np.float32(0), np.float32(1))
    text = f"lt.normalize({v.text}, percentiles=(10, 90))"
    return Value(x, np.asarray(values), text, None, v.functions)


def _totals(pick: Pick, v: Value) -> Value | None:
    """A sum over a mask by broadcasting: statistics that keep dims."""
    if v.bound is not None or v.values.ndim < 2 or v.values.dtype.kind in "bc":
        return None
    if v.values.dtype == BFLOAT16 or 0 in v.values.shape:
        return None
    kept = pick.integer(0, v.values.ndim - 1)
    axes = tuple(d for d in range(v.values.ndim) if d != kept)
    name = pick.one(("mean", "std", "sum", "max", "count"))
    x = getattr(lt.stats(v.x, by=kept), name)
    text = f"lt.stats({v.text}, by={kept}).{name}"
    if name == "max":
        return Value(x, np.asarray(v.values.max(axis=axes)), text, None, v.functions)
    n = v.values.size // v.values.shape[kept]
    if name == "count":
        return Value(x, np.full(v.values.shape[kept], n), text, None, v.functions)
    if name == "sum" and not is_float(v.values.dtype):
        return Value(x, np.asarray(v.values.sum(axis=axes)), text, None, v.functions)
    found, bound = quiet(lambda: moment(name, v.values, axes, False, n, x.dtype))
    return Value(x, found, text, bound, v.functions)


def _complex_sum(pick: Pick, v: Value) -> Value | None:
    """Sums of complex numbers, part by part."""
    if v.bound is not None or v.values.dtype.kind != "c" or not np.isfinite(v.values).all():
        return None
    d = pick.one((None, *range(v.values.ndim)))
    x = lt.real(lt.sum(v.x, axis=d))
    values = np.sum(v.values.real.astype("f8"), axis=d)
    size = np.sum(np.abs(v.values.real).astype("f8"), axis=d)
    eps = float(ml_dtypes.finfo(x.dtype).eps)
    bound = np.asarray(4 * max(1, v.values.size) ** 0.5 * eps * size)
    found = np.asarray(values).astype(x.dtype)
    return Value(x, found, f"lt.real(lt.sum({v.text}, axis={d}))", bound, v.functions)


OTHERS = (
    _numpy_view, _numpy_view, _numpy_values, _numpy_values, _strided, _diagonal, _overlaid,
    _joined, _scored, _totals, _complex_sum,
)  # fmt: skip
"""Steps ``(pick, value)`` beside the common ones."""
