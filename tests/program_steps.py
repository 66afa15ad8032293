"""Steps of random programs: views, joins, elementwise operations and casts.

A step is drawn against the tensors there are and gives one more, or None where it does not apply.
Most are written once, for ``lt`` and for NumPy alike: ``f(xp, a)``. Views move the bounds of float
sums along with the values; operations that compute need operands that are exact.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import lazytensor as lt
from tests.programs import BFLOAT16, DTYPES, Pick, Value, is_float, leaf

__all__ = ["LARGEST", "POINTWISE", "VIEWS", "index_key", "made", "pair", "quiet", "seen"]

Function = Callable[..., Any]
LARGEST = 2000
"""Elements of the largest tensor in a program."""


def quiet(f: Callable[[], Any]) -> Any:
    """A result of NumPy without its warnings."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return f()


def seen(pick: Pick, v: Value, text: str, f: Function) -> Value | None:
    """A view: what happens to values happens to their bounds."""
    values = np.asarray(f(np, v.values))
    if values.size > LARGEST or values.ndim > 5:
        return None
    bound = None if v.bound is None else np.asarray(f(np, v.bound))
    x = f(_namespace(pick), v.x)
    assert isinstance(x, lt.LazyTensor), f"{text} computed {type(x).__name__}"
    return Value(x, values, text.format(v.text), bound, v.functions)


def made(pick: Pick, text: str, f: Function, *of: Value) -> Value | None:
    """A computation on exact operands, as NumPy does it."""
    if any(v.bound is not None for v in of):
        return None
    try:
        values = quiet(lambda: np.asarray(f(np, *(v.values for v in of))))
    except TypeError:
        return None  # not for these dtypes
    if values.size > LARGEST or values.ndim > 5:
        return None
    x = f(_namespace(pick), *(v.x for v in of))
    assert isinstance(x, lt.LazyTensor), f"{text} computed {type(x).__name__}"
    functions = {k: g for v in of for k, g in v.functions.items()}
    return Value(x, values, text.format(*(v.text for v in of)), None, functions)


def _namespace(pick: Pick) -> Any:
    """``lt``, or NumPy itself, whose functions stay lazy on tensors."""
    return np if pick.integer(0, 3) == 0 else lt


def _slice(pick: Pick, n: int) -> slice:
    ends = [None, *range(-n - 2, n + 3)]
    return slice(pick.one(ends), pick.one(ends), pick.one((None, None, 1, 2, 3, -1, -2)))


def index_key(pick: Pick, shape: tuple[int, ...]) -> Any:
    """A key of NumPy's: integers, slices, new axes, an ellipsis, index arrays, a mask."""
    kind = pick.integer(0, 9)
    if kind == 9 and shape:
        return np.array([pick.integer(0, 1) for _ in range(shape[0])], bool)
    key: list[Any] = []
    length = pick.integer(1, 4)
    for n in shape:
        what = pick.integer(0, 9)
        if what == 0:
            key.append(None)
        if what <= 2 and n:
            key.append(pick.integer(-n, n - 1))
        elif kind >= 7 and what <= 6 and n:
            many = pick.one(((length,), (length, 1), (1,), ()))
            count = int(np.prod(many))
            positions = [pick.integer(-n, n - 1) for _ in range(count)]
            key.append(np.array(positions, np.int64).reshape(many))
        else:
            key.append(_slice(pick, n))
    if key and pick.integer(0, 5) == 0:
        key[pick.integer(0, len(key) - 1)] = ...
    return tuple(key)


def _index(pick: Pick, v: Value) -> Value | None:
    key = index_key(pick, v.values.shape)
    return seen(pick, v, f"({{}})[{key!r}]", lambda xp, a: a[key])


def _outer(pick: Pick, v: Value) -> Value | None:
    if not v.values.ndim:
        return None
    key = [
        [pick.integer(-n, n - 1) for _ in range(pick.integer(1, 4))]
        if n and pick.integer(0, 1)
        else _slice(pick, n)
        for n in v.values.shape
    ]

    def outer(xp: Any, a: Any) -> Any:
        if isinstance(a, lt.LazyTensor):
            return a.oindex[tuple(key)]
        for d, one in enumerate(key):
            a = a[(*[slice(None)] * d, one)]
        return a

    return seen(pick, v, f"({{}}).oindex[{key}]", outer)


def _flip(pick: Pick, v: Value) -> Value | None:
    axis = pick.one((None, *range(v.values.ndim)))
    return seen(pick, v, f"lt.flip({{}}, axis={axis})", lambda xp, a: xp.flip(a, axis=axis))


def _permute(pick: Pick, v: Value) -> Value | None:
    axes = list(range(v.values.ndim))
    for i in range(len(axes) - 1, 0, -1):
        j = pick.integer(0, i)
        axes[i], axes[j] = axes[j], axes[i]
    return seen(
        pick, v, f"lt.permute_dims({{}}, {axes})", lambda xp, a: xp.permute_dims(a, tuple(axes))
    )


def _moved(pick: Pick, v: Value) -> Value | None:
    if v.values.ndim < 2:
        return None
    a, b = (pick.integer(-v.values.ndim, v.values.ndim - 1) for _ in range(2))
    return seen(pick, v, f"lt.moveaxis({{}}, {a}, {b})", lambda xp, x: xp.moveaxis(x, a, b))


def _expand(pick: Pick, v: Value) -> Value | None:
    axis = pick.integer(-v.values.ndim - 1, v.values.ndim)
    return seen(
        pick, v, f"lt.expand_dims({{}}, axis={axis})", lambda xp, a: xp.expand_dims(a, axis=axis)
    )


def _broadcast(pick: Pick, v: Value) -> Value | None:
    shape = tuple(pick.integer(0, 3) if n == 1 else n for n in v.values.shape)
    shape = (*(pick.integer(1, 3) for _ in range(pick.integer(0, 1))), *shape)
    return seen(pick, v, f"lt.broadcast_to({{}}, {shape})", lambda xp, a: xp.broadcast_to(a, shape))


def _roll(pick: Pick, v: Value) -> Value | None:
    axis = pick.one((None, *range(v.values.ndim)))
    by = pick.integer(-12, 12)
    return seen(
        pick, v, f"lt.roll({{}}, {by}, axis={axis})", lambda xp, a: xp.roll(a, by, axis=axis)
    )


def _repeat(pick: Pick, v: Value) -> Value | None:
    axis = pick.one((None, *range(v.values.ndim)))
    n = pick.integer(0, 3)
    return seen(
        pick, v, f"lt.repeat({{}}, {n}, axis={axis})", lambda xp, a: xp.repeat(a, n, axis=axis)
    )


def _tile(pick: Pick, v: Value) -> Value | None:
    times = tuple(pick.one((1, 1, 2, 3, 0)) for _ in range(pick.integer(1, v.values.ndim + 1)))
    return seen(pick, v, f"lt.tile({{}}, {times})", lambda xp, a: xp.tile(a, times))


def _take(pick: Pick, v: Value) -> Value | None:
    dims = [d for d, n in enumerate(v.values.shape) if n]
    if not dims:
        return None
    d = pick.one(dims)
    n = v.values.shape[d]
    where = np.array([pick.integer(-n, n - 1) for _ in range(pick.integer(0, 6))], np.int64)
    return seen(
        pick, v, f"lt.take({{}}, {where!r}, axis={d})", lambda xp, a: xp.take(a, where, axis=d)
    )


def _reshape(pick: Pick, v: Value) -> Value | None:
    left, shape = v.values.size, []
    if left == 0:
        return None
    for _ in range(pick.integer(0, 3)):
        divisors = [k for k in range(1, min(left, 60) + 1) if left % k == 0]
        shape.append(pick.one(divisors))
        left //= shape[-1]
    shape.insert(pick.integer(0, len(shape)), left)
    wanted = tuple(shape)
    return seen(pick, v, f"lt.reshape({{}}, {wanted})", lambda xp, a: xp.reshape(a, wanted))


def _pad(pick: Pick, v: Value) -> Value | None:
    if 0 in v.values.shape or not v.values.ndim:
        return None
    widths = [(pick.integer(0, 4), pick.integer(0, 4)) for _ in v.values.shape]
    mode = pick.one(("constant", "edge", "reflect", "symmetric", "wrap"))
    return seen(pick, v, f"lt.pad({{}}, {widths}, {mode!r})", lambda xp, a: xp.pad(a, widths, mode))


def _part(pick: Pick, v: Value) -> Value | None:
    if not v.values.ndim:
        return None
    d = pick.integer(0, v.values.ndim - 1)
    n = v.values.shape[d]
    if not n:
        return None
    i = pick.integer(0, n - 1)
    return seen(pick, v, f"lt.unstack({{}}, axis={d})[{i}]", lambda xp, a: xp.unstack(a, axis=d)[i])


def _hint(pick: Pick, v: Value) -> Value | None:
    kind = pick.integer(0, 3)
    if kind == 0 or not v.values.ndim:
        return Value(v.x.cache(), v.values, f"({v.text}).cache()", v.bound, v.functions)
    if kind == 1:
        chunks = tuple(pick.integer(1, 5) for _ in v.values.shape)
        return Value(
            v.x.rechunk(chunks), v.values, f"({v.text}).rechunk({chunks})", v.bound, v.functions
        )
    if kind == 2:
        names = tuple(pick.one(("", f"d{d}")) for d in range(v.values.ndim))
        return Value(v.x.label[names], v.values, f"({v.text}).label[{names}]", v.bound, v.functions)
    by = tuple(pick.integer(-9, 9) for _ in v.values.shape)
    x = v.x.translate_by[by]
    return Value(x, v.values, f"({v.text}).translate_by[{by}]", v.bound, v.functions)


def _crop(pick: Pick, v: Value) -> Value | None:
    """A box in coordinates."""
    box, part = [], []
    for n, lo in zip(v.values.shape, v.x.domain.inclusive_min, strict=True):
        a = pick.integer(0, n)
        b = pick.integer(a, n)
        box.append(slice(lo + a, lo + b))
        part.append(slice(a, b))
    bound = None if v.bound is None else v.bound[tuple(part)]
    x = v.x.coord[tuple(box)]
    return Value(x, v.values[tuple(part)], f"({v.text}).coord[{box}]", bound, v.functions)


def _joined(pick: Pick, v: Value) -> Value | None:
    """The tensor beside a part of itself, in another dtype perhaps."""
    if not v.values.ndim:
        return None
    d = pick.integer(0, v.values.ndim - 1)
    key = (*[slice(None)] * d, _slice(pick, v.values.shape[d]))
    if v.bound is None and pick.integer(0, 2) == 0:
        dtype = pick.one(DTYPES[:8])
        if not _fits(v.values, dtype):
            return None
        return made(
            pick,
            f"(lambda a: lt.concat([a[{key}].astype({dtype.str!r}), a], axis={d}))({{}})",
            lambda xp, a: xp.concat([_cast(a[key], dtype), a], axis=d),
            v,
        )
    return seen(
        pick,
        v,
        f"(lambda a: lt.concat([a, a[{key}], a], axis={d}))({{}})",
        lambda xp, a: xp.concat([a, a[key], a], axis=d),
    )


def _stacked(pick: Pick, v: Value) -> Value | None:
    axis = pick.integer(-v.values.ndim - 1, v.values.ndim)
    return seen(
        pick,
        v,
        f"(lambda a: lt.stack([a, lt.flip(a)], axis={axis}))({{}})",
        lambda xp, a: xp.stack([a, xp.flip(a)], axis=axis),
    )


def _overlaid(pick: Pick, v: Value) -> Value | None:
    """Copies of the tensor laid over each other, with holes filled."""
    if not v.values.ndim or not v.values.size or v.bound is not None:
        return None
    layers, places = [], []
    for _ in range(pick.integer(1, 4)):
        by = tuple(pick.integer(-6, 6) for _ in v.values.shape)
        layers.append(v.x.translate_to[by])
        places.append(by)
    fill = v.values.dtype.type(pick.integer(0, 1))
    lo = [min(p[d] for p in places) for d in range(v.values.ndim)]
    hi = [max(p[d] for p in places) + n for d, n in enumerate(v.values.shape)]
    values = np.full([b - a for a, b in zip(lo, hi, strict=True)], fill, v.values.dtype)
    if values.size > LARGEST:
        return None
    for place in places:
        where = zip(place, lo, v.values.shape, strict=True)
        values[tuple(slice(p - o, p - o + n) for p, o, n in where)] = v.values
    text = f"(lambda a: lt.overlay([a.translate_to[p] for p in {places}], fill_value={fill!r}))"
    return Value(
        lt.overlay(layers, fill_value=fill), values, f"{text}({v.text})", None, v.functions
    )


VIEWS = (
    _index, _index, _index, _outer, _flip, _permute, _moved, _expand, _broadcast, _roll, _repeat,
    _tile, _take, _reshape, _pad, _part, _hint, _hint, _crop, _joined, _stacked, _overlaid,
)  # fmt: skip
"""Steps ``(pick, value)`` that move values."""


def _cast(a: Any, dtype: np.dtype) -> Any:
    if isinstance(a, np.ndarray) and a.dtype.kind == "c" and dtype.kind not in "cb":
        a = a.real
    return quiet(lambda: a.astype(dtype))


def _fits(values: np.ndarray, to: np.dtype) -> bool:
    """False where C leaves open what a cast gives: floats outside an integer dtype."""
    if to.kind not in "iu" or values.dtype.kind in "biu":
        return True
    limits = np.iinfo(to)
    cut = np.trunc(quiet(lambda: values.real.astype(np.float64)))
    return bool(((cut >= limits.min) & (cut < float(limits.max))).all())


def _casted(pick: Pick, v: Value) -> Value | None:
    dtype = pick.one(DTYPES)
    if not _fits(v.values, dtype):
        return None
    return made(pick, f"({{}}).astype(np.dtype({dtype.name!r}))", lambda xp, a: _cast(a, dtype), v)


UNARY = (
    "negative", "positive", "abs", "sign", "square", "sqrt", "floor", "ceil", "trunc", "isnan",
    "isinf", "isfinite", "logical_not", "signbit", "conj", "real", "imag", "bitwise_invert",
    "reciprocal", "round",
)  # fmt: skip
BINARY = (
    "add", "subtract", "multiply", "divide", "maximum", "minimum", "less", "less_equal", "greater",
    "greater_equal", "equal", "not_equal", "logical_and", "logical_or", "logical_xor",
    "floor_divide", "remainder", "bitwise_and", "bitwise_or", "bitwise_xor", "copysign", "hypot",
    "nextafter",
)  # fmt: skip


def _unary(pick: Pick, v: Value) -> Value | None:
    name = pick.one(UNARY)
    if name == "reciprocal" and v.values.dtype.kind in "iu":
        return None  # of 0 it is anything to NumPy
    if name == "round" and v.values.dtype.kind == "b":
        return None  # a float16 to NumPy
    found = made(pick, f"lt.{name}({{}})", lambda xp, a: getattr(xp, name)(a), v)
    if found is not None and name == "abs" and v.values.dtype.kind == "c":
        # A root of squares, at most 4 ulp from NumPy.
        eps = float(np.finfo(found.values.dtype).eps)
        found.bound = np.nan_to_num(found.values * 4.0 * eps, nan=0, posinf=0)
    return found


def _scalar(pick: Pick, v: Value) -> Value | None:
    name = pick.one(BINARY[:12])
    kind = v.values.dtype.kind
    if kind == "b" and name in ("add", "subtract", "multiply", "divide"):
        return None
    other = pick.one((1, 2, 3, 0)) if kind in "biu" else pick.one((1, 2.5, -0.0, 4, float("inf")))
    if kind == "c" and name[0] in "lgm":
        return None
    if v.values.dtype == BFLOAT16:
        other = v.values.dtype.type(other)
    if pick.integer(0, 1):
        return made(pick, f"lt.{name}({other}, {{}})", lambda xp, a: getattr(xp, name)(other, a), v)
    return made(pick, f"lt.{name}({{}}, {other})", lambda xp, a: getattr(xp, name)(a, other), v)


def pair(pick: Pick, v: Value, w: Value) -> Value | None:
    """Two tensors, cut to shapes that broadcast."""
    name = pick.one(BINARY)
    if "c" in (v.values.dtype.kind, w.values.dtype.kind) and name not in BINARY[:3]:
        return None
    if name == "hypot":
        return None
    v, w = _fitted(pick, v, w)
    both = [a.values.dtype for a in (v, w)]
    if name == "subtract" and all(t.kind == "b" for t in both):
        return None
    try:
        return made(pick, f"lt.{name}({{}}, {{}})", lambda xp, a, b: getattr(xp, name)(a, b), v, w)
    except lt.DimensionError:
        if not (any(v.x.dims) and any(w.x.dims)):
            raise
        return None  # two names for one dim


def _fitted(pick: Pick, v: Value, w: Value) -> tuple[Value, Value]:
    """Both cropped at the end of the dims they share, so that they broadcast."""
    shared = min(v.values.ndim, w.values.ndim)
    if not shared:
        return v, w
    ends = zip(v.values.shape[-shared:], w.values.shape[-shared:], strict=True)
    key = (..., *(slice(None) if 1 in (n, m) else slice(0, min(n, m)) for n, m in ends))
    cropped = [seen(pick, a, f"({{}})[{key}]", lambda xp, x: x[key]) for a in (v, w)]
    assert cropped[0] is not None
    assert cropped[1] is not None
    return cropped[0], cropped[1]


def _where(pick: Pick, v: Value) -> Value | None:
    if v.values.dtype.kind == "c":
        return None
    limit = pick.integer(0, 60)
    if v.values.dtype.kind == "b":
        return made(pick, "lt.where({0}, {0}, False)", lambda xp, a: xp.where(a, a, ~a), v)
    return made(
        pick,
        f"(lambda a: lt.where(a > {limit}, a, a * 2))({{}})",
        lambda xp, a: xp.where(a > limit, a, a * 2),
        v,
    )


def _clip(pick: Pick, v: Value) -> Value | None:
    if v.values.dtype.kind in "bc":
        return None
    lo, hi = pick.one(((3, 60), (None, 9), (20, None), (50, 10)))
    if v.values.dtype == BFLOAT16:
        return None  # which NumPy clips as float32
    return made(pick, f"lt.clip({{}}, {lo}, {hi})", lambda xp, a: xp.clip(a, lo, hi), v)


def _triangle(pick: Pick, v: Value) -> Value | None:
    if v.values.ndim < 2:
        return None
    name, k = pick.one(("tril", "triu")), pick.integer(-4, 4)
    return made(pick, f"lt.{name}({{}}, k={k})", lambda xp, a: getattr(xp, name)(a, k=k), v)


def _transcendental(pick: Pick, v: Value) -> Value | None:
    """At most 4 ulp from NumPy."""
    if not is_float(v.values.dtype):
        return None
    name = pick.one(("exp", "sin", "log1p", "tanh", "atan"))
    found = made(pick, f"lt.{name}({{}})", lambda xp, a: getattr(xp, name)(a), v)
    if found is not None:
        spacing = quiet(lambda: np.abs(np.spacing(found.values.astype("f4"))))
        if found.values.dtype.itemsize != 4:
            eps = float(np.finfo("f8").eps) if found.values.dtype.itemsize == 8 else 2.0**-7
            spacing = quiet(lambda: np.abs(found.values.astype("f8")) * eps)
        found.bound = np.asarray(np.nan_to_num(4 * spacing.astype("f8"), nan=0, posinf=0))
    return found


def _neighbours(pick: Pick, v: Value) -> Value | None:
    """A diamond along one dim."""
    dims = [d for d, n in enumerate(v.values.shape) if n > 1]
    if not dims or v.values.dtype.kind == "b":
        return None
    d = pick.one(dims)
    left, right = (*[slice(None)] * d, slice(1, None)), (*[slice(None)] * d, slice(None, -1))
    return made(
        pick,
        f"(lambda a: a[{left}] - a[{right}])({{}})",
        lambda xp, a: a[left] - a[right],
        v,
    )


def _another(pick: Pick, v: Value) -> Value | None:
    """A new leaf, with the tensor or by itself."""
    other = leaf(pick)
    return pair(pick, v, other) if pick.integer(0, 2) else other


POINTWISE = (
    _casted, _casted, _unary, _unary, _scalar, _scalar, _where, _clip, _triangle, _transcendental,
    _neighbours, _another, _another,
)  # fmt: skip
"""Steps ``(pick, value)`` that compute element by element."""
