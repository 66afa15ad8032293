"""Steps of random programs that look at many elements: reductions, axes, products, statistics.

Exact ones are NumPy's results bit for bit. Sums of floats are computed here in extended precision,
with a bound of 4 sqrt(n) eps sum|x| around them.
"""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np

import lazytensor as lt
from lazytensor.exec.kernels.downsample import downsample_into
from tests.program_steps import LARGEST, made, quiet
from tests.programs import BFLOAT16, Pick, Value, is_float

__all__ = ["WHOLES", "doubled", "smoothed"]


def _axes(pick: Pick, v: Value) -> Any:
    ndim = v.values.ndim
    if not ndim or pick.integer(0, 4) == 0:
        return None
    if pick.integer(0, 2):
        return pick.integer(-ndim, ndim - 1)
    return tuple(d for d in range(ndim) if pick.integer(0, 1))


def _count(values: np.ndarray, axis: Any) -> int:
    if axis is None:
        return values.size
    axes = axis if isinstance(axis, tuple) else (axis,)
    return math.prod(values.shape[d] for d in axes)


def _reduced(pick: Pick, v: Value) -> Value | None:
    """Exact reductions."""
    names = ["any", "all", "count_nonzero"]
    axis, keep = _axes(pick, v), bool(pick.integer(0, 1))
    if v.values.dtype.kind in "biu":
        names += ["sum", "prod"]
    if v.values.dtype.kind != "c" and _count(v.values, axis):
        names += ["max", "min"]
        if not isinstance(axis, tuple):
            names += ["argmax", "argmin"]
    name = pick.one(names)
    if 0 in v.values.shape and name in ("max", "min", "argmax", "argmin"):
        return None
    if v.values.dtype == BFLOAT16 and name in ("count_nonzero", "any", "all"):
        return None
    text = f"lt.{name}({{}}, axis={axis}, keepdims={keep})"
    found = made(pick, text, lambda xp, a: getattr(xp, name)(a, axis=axis, keepdims=keep), v)
    if found is not None and name in ("max", "min") and is_float(v.values.dtype):
        # Of zeros of both signs the minimum is -0.0 and the maximum 0.0; NumPy gives either.
        signs = np.signbit(v.values.astype(np.float64)) & (v.values == 0)
        join = np.any if name == "min" else np.min
        below = join(signs | (v.values != 0) & (name == "max"), axis=axis, keepdims=keep)
        zeros = np.where(below, -0.0, 0.0).astype(v.values.dtype)
        found.values = np.asarray(np.where(found.values == 0, zeros, found.values))
    return found


def _summed(pick: Pick, v: Value) -> Value | None:
    """Sums, products and moments of floats, and means of integers."""
    if v.bound is not None or v.values.dtype.kind == "c" or 0 in v.values.shape:
        return None
    axis, keep = _axes(pick, v), bool(pick.integer(0, 1))
    names = ("sum", "mean", "var", "std", "prod") if is_float(v.values.dtype) else ("mean", "std")
    name = pick.one(names)
    n = _count(v.values, axis)
    x = getattr(lt, name)(v.x, axis=axis, keepdims=keep)
    values, bound = quiet(lambda: moment(name, v.values, axis, keep, n, x.dtype))
    text = f"lt.{name}({v.text}, axis={axis}, keepdims={keep})"
    return Value(x, values, text, bound, v.functions)


def moment(
    name: str, values: np.ndarray, axis: Any, keep: bool, n: int, dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray]:
    """A float reduction in extended precision, and how far a result in a dtype may be from it."""
    wide = values.astype(np.longdouble)
    limits = ml_dtypes.finfo(dtype)
    eps, largest = float(limits.eps), float(limits.max)
    found = np.asarray(getattr(np, name)(wide, axis=axis, keepdims=keep))
    size = np.asarray(np.sum(np.abs(wide), axis=axis, keepdims=keep))
    top = np.asarray(np.max(np.abs(wide), axis=axis, keepdims=keep))
    root = 4 * math.sqrt(n) * eps
    tiny = float(limits.smallest_subnormal) * 4
    if name == "sum":
        bound, risk = root * size, size
    elif name == "mean":
        bound, risk = root * size / n, size
    elif name == "prod":
        logs = np.abs(np.log2(np.abs(np.where(wide == 0, 1, wide))))
        spread = np.sum(logs, axis=axis, keepdims=keep)
        bound, risk = 4 * n * eps * np.abs(found), np.exp2(np.asarray(spread))
        risk = np.maximum(risk, 1 / np.maximum(np.abs(found), 1e-4000))
    else:
        spread = found if name == "var" else found**2
        noise = 4 * root * spread + n * (4 * eps * top) ** 2
        bound = noise if name == "var" else np.minimum(np.sqrt(noise), noise / found)
        bound, risk = np.where(np.isnan(bound), np.sqrt(noise), bound), top**2 * n
    bound = bound + eps * np.abs(found) + tiny
    # What may overflow on the way has no bound, what is not finite from the start is what it is.
    bound = np.where(np.isfinite(top), np.where(risk < largest / 4, bound, np.inf), 0)
    if name in ("prod", "var", "std"):
        bound = np.where(np.isfinite(top), bound, np.inf)
    return found.astype(dtype), np.asarray(bound, np.float64)


def _scanned(pick: Pick, v: Value) -> Value | None:
    if not v.values.ndim or v.bound is not None:
        return None
    d = pick.integer(-v.values.ndim, v.values.ndim - 1)
    name, first = pick.one(("cumulative_sum", "cumulative_prod")), bool(pick.integer(0, 1))
    if v.values.dtype.kind in "biu":
        text = f"lt.{name}({{}}, axis={d}, include_initial={first})"
        return made(
            pick,
            text,
            lambda xp, a: (lt if xp is np and isinstance(a, lt.LazyTensor) else xp).__dict__.get(
                name, getattr(xp, name)
            )(a, axis=d, include_initial=first),
            v,
        )
    if name == "cumulative_prod" or v.values.dtype.kind == "c":
        return None
    x = lt.cumulative_sum(v.x, axis=d, include_initial=first)
    wide = v.values.astype(np.longdouble)
    values = quiet(lambda: np.cumulative_sum(wide, axis=d, include_initial=first))
    size = quiet(lambda: np.cumulative_sum(np.abs(wide), axis=d, include_initial=first))
    limits = ml_dtypes.finfo(x.dtype)
    eps = float(limits.eps)
    bound = quiet(
        lambda: np.where(
            np.isfinite(size),
            np.where(
                size < float(limits.max) / 4,
                4 * math.sqrt(v.values.shape[d]) * eps * size + eps * np.abs(values),
                np.inf,
            ),
            0,
        )
    )
    text = f"lt.cumulative_sum({v.text}, axis={d}, include_initial={first})"
    found = quiet(lambda: values.astype(x.dtype))
    return Value(x, found, text, np.asarray(bound, np.float64), v.functions)


def _sorted(pick: Pick, v: Value) -> Value | None:
    if not v.values.ndim or v.values.dtype == BFLOAT16:
        return None
    d, down = pick.integer(-v.values.ndim, v.values.ndim - 1), bool(pick.integer(0, 1))
    name = pick.one(("sort", "argsort"))

    def ordered(xp: Any, a: Any) -> Any:
        if isinstance(a, lt.LazyTensor):
            if xp is np and not down:
                return getattr(np, name)(a, axis=d, stable=True)
            return getattr(lt, name)(a, axis=d, descending=down)
        if not down:
            return getattr(np, name)(a, axis=d, stable=True)
        order = np.flip(np.argsort(np.flip(a, axis=d), axis=d, stable=True), axis=d)
        order = a.shape[d] - 1 - order
        return order if name == "argsort" else np.take_along_axis(a, order, axis=d)

    return made(pick, f"lt.{name}({{}}, axis={d}, descending={down})", ordered, v)


def _differences(pick: Pick, v: Value) -> Value | None:
    if not v.values.ndim:
        return None
    d, n = pick.integer(-v.values.ndim, v.values.ndim - 1), pick.integer(0, 3)
    return made(pick, f"lt.diff({{}}, axis={d}, n={n})", lambda xp, a: xp.diff(a, axis=d, n=n), v)


def _gathered(pick: Pick, v: Value) -> Value | None:
    """The values in the order of another sort, lazily or by known positions."""
    if not v.values.ndim or v.bound is not None or v.values.dtype == BFLOAT16:
        return None
    d = pick.integer(0, v.values.ndim - 1)
    n = v.values.shape[d]
    if not n:
        return None
    if pick.integer(0, 1):
        return made(
            pick,
            f"(lambda a: lt.take_along_axis(a, lt.argsort(lt.flip(a), axis={d}), axis={d}))({{}})",
            lambda xp, a: xp.take_along_axis(
                a,
                xp.argsort(xp.flip(a), axis=d, stable=True),
                axis=d,
            ),
            v,
        )
    shape = [1 if pick.integer(0, 3) == 0 else m for m in v.values.shape]
    shape[d] = pick.integer(0, 5)
    count = math.prod(shape)
    if count > LARGEST:
        return None
    positions = np.array([pick.integer(-n, n - 1) for _ in range(count)], np.int64)
    indices = positions.reshape(shape)
    return made(
        pick,
        f"lt.take_along_axis({{}}, np.array({indices.tolist()}).reshape({shape}), axis={d})",
        lambda xp, a: xp.take_along_axis(a, indices, axis=d),
        v,
    )


def _searched(pick: Pick, v: Value) -> Value | None:
    if v.values.dtype.kind == "c" or v.values.dtype == BFLOAT16 or v.bound is not None:
        return None
    if pick.integer(0, 1):
        among = v.values.reshape(-1)[:: pick.integer(2, 3)].copy()
        if v.values.dtype.kind == "f":
            among = among[~np.isnan(among)]
        invert = bool(pick.integer(0, 1))
        return made(
            pick,
            f"lt.isin({{}}, {among!r}, invert={invert})",
            lambda xp, a: xp.isin(a, among, invert=invert),
            v,
        )
    side = pick.one(("left", "right"))
    d = pick.integer(-1, 0)

    def search(xp: Any, a: Any) -> Any:
        return xp.searchsorted(xp.sort(xp.reshape(a, (-1,))), xp.flip(a) if d else a, side=side)

    return made(
        pick,
        f"(lambda a: lt.searchsorted(lt.sort(lt.reshape(a, (-1,))), a, side={side!r}))({{}})",
        search,
        v,
    )


def _product(pick: Pick, v: Value) -> Value | None:
    """The tensor against its transpose, or against itself."""
    if v.values.ndim < 1 or v.bound is not None or v.values.dtype.kind in "bc":
        return None
    kind = pick.one(("matmul", "tensordot", "vecdot"))
    text, f = _product_of(pick, kind, v.values.ndim)
    x = f(lt, v.x)
    if not is_float(v.values.dtype):
        values = quiet(lambda: np.asarray(f(np, v.values)))
        bound = None
    else:
        wide = v.values.astype(np.float64)
        exact = quiet(lambda: np.asarray(f(np, wide)))
        size = quiet(lambda: np.asarray(f(np, np.abs(wide))))
        limits = ml_dtypes.finfo(x.dtype)
        eps = float(limits.eps)
        bound = np.where(
            size < float(limits.max) / 4,
            (4 * math.sqrt(max(v.values.shape)) + 2) * eps * size
            + float(limits.smallest_subnormal) * max(v.values.shape),
            np.inf,
        )
        values = quiet(lambda: exact.astype(x.dtype))
    if values.size > LARGEST or values.ndim > 5:
        return None
    return Value(x, values, text.format(v.text), bound, v.functions)


def _product_of(pick: Pick, kind: str, ndim: int) -> tuple[str, Any]:
    if kind == "matmul" and ndim >= 2:
        if pick.integer(0, 1):
            return "(lambda a: a @ a.mT)({})", lambda xp, a: xp.matmul(a, xp.matrix_transpose(a))
        return "(lambda a: a.mT @ a)({})", lambda xp, a: xp.matrix_transpose(a) @ a
    if kind == "tensordot":
        axes = sorted({pick.integer(0, ndim - 1) for _ in range(2)})
        return (
            f"(lambda a: lt.tensordot(a, a, axes=({axes}, {axes})))({{}})",
            lambda xp, a: xp.tensordot(a, a, axes=(axes, axes)),
        )
    d = pick.integer(-ndim, -1)
    return (
        f"(lambda a: lt.vecdot(a, a, axis={d}))({{}})",
        lambda xp, a: xp.vecdot(a, a, axis=d),
    )


def _downsampled(pick: Pick, v: Value) -> Value | None:
    if not v.values.ndim or v.bound is not None or v.values.dtype.kind == "c":
        return None
    factors = tuple(pick.integer(1, 4) for _ in v.values.shape)
    method: Any = pick.one(("mean", "median", "mode", "min", "max", "stride"))
    if v.values.dtype.kind == "b" and method == "mean":
        return None
    align: Any = pick.one(("domain", "position"))
    origin = v.x.domain.origin if align == "domain" else (0,) * v.values.ndim
    x = lt.downsample(v.x, factors, method, align=align)
    if method == "stride":
        key = tuple(slice(-lo % f, None, f) for lo, f in zip(origin, factors, strict=True))
        values = v.values[key]
    else:
        values = np.empty(x.shape, v.values.dtype)
        lo = tuple(a // f for a, f in zip(origin, factors, strict=True))
        if values.size:
            quiet(lambda: downsample_into(v.values, origin, factors, method, values, lo))
    text = f"lt.downsample({v.text}, {factors}, {method!r}, align={align!r})"
    return Value(x, values, text, None, v.functions)


def doubled(block: np.ndarray) -> np.ndarray:
    """For ``map_blocks``: looks at its element alone."""
    return np.asarray(quiet(lambda: block + block), dtype=block.dtype)


def smoothed(block: np.ndarray) -> np.ndarray:
    """For ``map_blocks``: the sum with both neighbours along the last dim."""
    return np.asarray(block[..., :-2] + block[..., 1:-1] + block[..., 2:], dtype=block.dtype)


def _mapped(pick: Pick, v: Value) -> Value | None:
    if v.bound is not None:
        return None
    name = f"{__name__}:doubled"
    if pick.integer(0, 1) or not v.values.size or v.values.dtype.kind not in "iu":
        x = lt.map_blocks(
            doubled, v.x, dtype=v.values.dtype, slice_pushdown=bool(pick.integer(0, 1))
        )
        return Value(
            x, doubled(v.values), f"lt.map_blocks(doubled, {v.text})", None,
            {**v.functions, name: doubled},
        )  # fmt: skip
    if not v.values.ndim:
        return None
    halo = (0,) * (v.values.ndim - 1) + (1,)
    boundary: Any = pick.one(("reflect", "nearest", "constant"))
    mode: Any = {"reflect": "symmetric", "nearest": "edge", "constant": "constant"}[boundary]
    padded = np.pad(v.values, [(h, h) for h in halo], mode=mode)
    x = lt.map_blocks(
        smoothed, v.x, dtype=v.values.dtype, halo=halo, boundary=boundary,
        slice_pushdown=bool(pick.integer(0, 1)),
    )  # fmt: skip
    text = f"lt.map_blocks(smoothed, {v.text}, halo={halo}, boundary={boundary!r})"
    functions = {**v.functions, f"{__name__}:smoothed": smoothed}
    return Value(x, smoothed(padded), text, None, functions)


def _quantiles(pick: Pick, v: Value) -> Value | None:
    if v.values.dtype.kind == "c" or v.values.dtype == BFLOAT16 or 0 in v.values.shape:
        return None
    axis = _axes(pick, v)
    if v.values.dtype.kind in "bi" or axis == ():
        return None  # NumPy interpolates signed integers with overflow, which is no witness
    q: Any = pick.one((0.5, 0.25, [0.1, 0.9], 0.0, 1.0))
    values = np.asarray(v.values)
    if values.dtype.kind == "f" and values.size and not np.isfinite(values).all():
        return None
    return made(
        pick, f"lt.quantile({{}}, {q}, axis={axis})",
        lambda xp, a: xp.quantile(a, q, axis=axis), v,
    )  # fmt: skip


def _counted(pick: Pick, v: Value) -> Value | None:
    """A histogram, its counts or its edges."""
    if v.values.dtype.kind in "bc" or v.values.dtype == BFLOAT16 or not v.values.size:
        return None
    if v.bound is not None:
        return None
    span: Any = pick.one(((0, 50), (-10.5, 33.25), None))
    if span is None and v.values.dtype.kind == "f" and not np.isfinite(v.values).all():
        return None
    which = pick.integer(0, 1)
    bins = pick.one((1, 5, 16))
    values = v.values
    try:
        want = quiet(lambda: np.histogram(values, bins, span)[which])
    except (IndexError, ValueError):
        return None  # too many bins for the range, or values far outside of it
    x = (np if pick.integer(0, 3) == 0 else lt).histogram(v.x, bins, span)[which]
    text = f"lt.histogram({v.text}, {bins}, {span})[{which}]"
    return Value(x, want, text, None, v.functions)


def _statistic(pick: Pick, v: Value) -> Value | None:
    """One of ``lt.stats``, perhaps of the elements under a mask."""
    if v.bound is not None or v.values.dtype.kind in "bc" or 0 in v.values.shape:
        return None
    if v.values.dtype == BFLOAT16:
        return None
    name = pick.one(("count", "sum", "mean", "min", "max"))
    if not pick.integer(0, 1) or name in ("min", "max", "mean"):
        axis = _axes(pick, v)
        x = getattr(lt.stats(v.x, axis=axis), name)
        text = f"lt.stats({v.text}, axis={axis}).{name}"
        if name in ("min", "max"):
            return Value(
                x, np.asarray(getattr(np, name)(v.values, axis=axis)), text, None, v.functions
            )
        n = _count(v.values, axis)
        if name == "count":
            kept = np.zeros_like(v.values, np.int64).sum(axis=axis)
            return Value(x, np.asarray(kept + n), text, None, v.functions)
        if name == "sum" and v.values.dtype.kind in "iu":
            return Value(x, np.asarray(np.sum(v.values, axis=axis)), text, None, v.functions)
        found, bound = quiet(lambda: moment(name, v.values, axis, False, n, x.dtype))
        return Value(x, found, text, bound, v.functions)
    x = getattr(lt.stats(v.x, mask=v.x > 20), name)
    chosen = v.values[quiet(lambda: v.values > 20)]
    text = f"(lambda a: lt.stats(a, mask=a > 20).{name})({v.text})"
    if name == "count":
        return Value(x, np.asarray(chosen.size), text, None, v.functions)
    if v.values.dtype.kind in "iu":
        return Value(x, np.asarray(chosen.sum()), text, None, v.functions)
    if not chosen.size:
        return None
    found, bound = quiet(lambda: moment("sum", chosen, None, False, chosen.size, x.dtype))
    return Value(x, found, text, bound, v.functions)


def _normalized(pick: Pick, v: Value) -> Value | None:
    if v.bound is not None or v.values.dtype.kind in "bc" or v.values.dtype == BFLOAT16:
        return None
    if any(name == "c" for name in v.x.dims):
        return None
    low, high = pick.one(((0, 50), (10, 10), (-3.5, 90)))
    x = lt.normalize(v.x, window=(low, high))
    a, b = np.float32(low), np.float32(high)

    def scaled() -> np.ndarray:
        if a == b:
            return np.zeros(v.values.shape, np.float32)
        found = (v.values.astype(np.float32) - a) / (b - a)
        return np.asarray(np.clip(found, np.float32(0), np.float32(1)))

    text = f"lt.normalize({v.text}, window=({low}, {high}))"
    if a == b and v.values.dtype.kind == "f" and np.isnan(v.values).any():
        return None
    return Value(x, np.asarray(quiet(scaled)), text, None, v.functions)


WHOLES = (
    _reduced, _reduced, _reduced, _summed, _summed, _scanned, _sorted, _sorted, _differences,
    _gathered, _searched, _product, _downsampled, _downsampled, _mapped, _quantiles, _counted,
    _statistic, _normalized,
)  # fmt: skip
"""Steps ``(pick, value)`` of which an element looks at many."""
