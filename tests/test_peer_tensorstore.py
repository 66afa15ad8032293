"""Random chains of views agree with TensorStore: values, domain, labels, and where both refuse.

Each step is drawn for the tensor as it stands, so that most are valid and the interesting ones are
near a border. What TensorStore is known to get wrong is not drawn:

- P0: a block cut by the domain at both ends is read past the source;
- P1, P2, P6: indexing a downsampled tensor with anything but unit slices, or an integer when it
  was downsampled twice;
- P3: an overlay of nothing crashes;
- P4: an index array without elements, or anything else that is empty, may fail when read;
- P5: indices of a dim no source depends on are not checked;
- P7: an index array and an empty new axis crash.

One difference is meant: a new axis can be sliced to any interval only while it is a view. What is
computed (a cast, a region downsample) has settled bounds here, and implicit ones in TensorStore.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

import lazytensor as lt
from tests.engines import ENGINES, SETTINGS
from tests.tensor_adapters import Peer, Tensors

ts = pytest.importorskip("tensorstore")

OURS, PEER = Tensors(), Peer(ts)
DTYPES = ("bool", "uint8", "int16", "uint16", "int32", "uint64", "float16", "float32", "float64")
MORE_DTYPES = (*DTYPES, "int8", "int64", "complex64", "bfloat16")
METHODS = ("mean", "median", "mode", "min", "max", "stride")
LARGEST = 4000


@dataclass(frozen=True)
class Pair:
    """The same tensor in both libraries, and what may not be drawn for it any more."""

    ours: Any
    theirs: Any
    blocks: int = 0
    """How often it was downsampled by regions."""
    widened: bool = False
    """It had a new axis, so nothing empty may follow (P7)."""

    @property
    def rank(self) -> int:
        return int(self.ours.ndim)

    @property
    def bounds(self) -> list[tuple[int, int]]:
        domain = self.ours.domain
        return list(zip(domain.inclusive_min, domain.exclusive_max, strict=True))


Step = tuple[str, dict[str, Any]]


@st.composite
def leaves(draw: Any) -> Pair:
    """A source of distinct values, with any origin and maybe names; ours maybe in chunks."""
    rank = draw(st.integers(1, 4))
    shape = draw(st.lists(st.integers(1, 7 if rank < 4 else 4), min_size=rank, max_size=rank))
    dtype = draw(st.sampled_from(DTYPES))
    origin = draw(st.lists(st.integers(-7, 7), min_size=rank, max_size=rank))
    values = ((np.arange(int(np.prod(shape))) * 7 + 3) % 251).reshape(shape)
    values = values % 2 if dtype == "bool" else values - (100 if dtype[0] in "if" else 0)
    names = [name if draw(st.booleans()) else "" for name in "tzyx"[:rank]]
    given: dict[str, Any] = {
        "dtype": dtype,
        "data": values.tolist(),
        "origin": origin,
        "labels": names,
    }
    ours = dict(given)
    if draw(st.booleans()):
        ours["chunks"] = draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
    return Pair(OURS.array(**ours), PEER.array(**given))


def draw_step(draw: Any, pair: Pair) -> Step:
    """A step that TensorStore is not known to get wrong for this tensor."""
    names = ["cast", "stack", "downsample"]
    if pair.rank < 5 and 0 not in pair.ours.shape:
        names.append("newaxis")
    if pair.rank:
        names += ["slices", "slices", "translate", "transpose", "label", "concat", "overlay"]
        names += ["downsample", "overlay"]
        names += ["integer"] if pair.blocks < 2 and 0 not in pair.ours.shape else []
    if pair.rank and not pair.blocks:
        names += ["steps", "stride"]
        if 0 not in pair.ours.shape:
            names += ["arrays", "arrays", "some dims", "diagonal"]
    return _DRAW[draw(st.sampled_from(names))](draw, pair)


def _near(draw: Any, lo: int, hi: int, slack: int = 0) -> int:
    return int(draw(st.integers(lo - slack, max(lo, hi - 1) + slack)))


def _slack(draw: Any) -> int:
    """How far outside an index may be: mostly not at all."""
    return int(draw(st.sampled_from([0] * 12 + [1])))


def _interval(draw: Any, pair: Pair, lo: int, hi: int) -> slice:
    """A unit slice within the bounds, rarely a little outside."""
    slack = _slack(draw) if _flags(pair.ours.domain) == _flags(pair.theirs.domain) else 0
    a = draw(st.integers(lo - slack, hi))
    least = a + 1 if pair.widened and a < hi else a
    b = draw(st.integers(least, max(least, hi + slack)))
    return slice(draw(st.sampled_from([a, a, None])) if a == lo else a, b)


def _slices(draw: Any, pair: Pair) -> Step:
    key = [
        _interval(draw, pair, lo, hi) if draw(st.booleans()) else slice(None)
        for lo, hi in pair.bounds
    ]
    return "index", {"mode": "default", "key": tuple(key)}


def _steps(draw: Any, pair: Pair) -> Step:
    key: list[Any] = []
    for lo, hi in pair.bounds:
        step = draw(st.sampled_from([1, 2, 3, -1, -2, -3]))
        a, b = draw(st.none() | st.integers(lo, hi)), None
        if step < 0:
            a = a if a is None or a < hi else None
        if hi == lo or pair.widened:
            a = None
        key.append(slice(a, b, step))
    return "index", {"mode": "default", "key": tuple(key)}


def _integer(draw: Any, pair: Pair) -> Step:
    d = draw(st.integers(0, pair.rank - 1))
    at = _near(draw, *pair.bounds[d], _slack(draw))
    return "index", {"mode": "default", "key": (*[slice(None)] * d, at)}


def _array(draw: Any, lo: int, hi: int) -> Any:
    shape = draw(st.sampled_from([(1,), (2,), (3,), (5,), (2, 2), (1, 3)]))
    values = [_near(draw, lo, hi) for _ in range(int(np.prod(shape)))]
    return np.array(values).reshape(shape)


def _arrays(draw: Any, pair: Pair) -> Step:
    """Index arrays, broadcast to each other unless outer, between slices and integers."""
    mode = draw(st.sampled_from(["default", "vindex", "oindex"]))
    shape = draw(st.sampled_from([(1,), (2,), (3,), (2, 2)]))
    key: list[Any] = []
    for lo, hi in pair.bounds:
        kind = draw(st.sampled_from(["array", "array", "slice", "integer"]))
        if kind == "array" and mode == "oindex":
            key.append(_array(draw, lo, hi))
        elif kind == "array":
            values = [_near(draw, lo, hi) for _ in range(int(np.prod(shape)))]
            key.append(np.array(values).reshape(shape))
        elif kind == "integer":
            key.append(_near(draw, lo, hi))
        else:
            key.append(slice(None))
    return "index", {"mode": mode, "key": tuple(key)}


def _pick(draw: Any, pair: Pair, least: int = 1) -> list[int]:
    dims = st.lists(
        st.integers(0, pair.rank - 1), min_size=min(least, pair.rank), max_size=3, unique=True
    )
    return list(draw(dims))


def _some_dims(draw: Any, pair: Pair) -> Step:
    mode = draw(st.sampled_from(["default", "vindex", "oindex"]))
    dims = _pick(draw, pair)
    key = []
    for d in dims:
        lo, hi = pair.bounds[d]
        values = [_near(draw, lo, hi) for _ in range(3)]
        key.append(np.array(values) if draw(st.booleans()) else slice(lo, hi))
    named = [pair.ours.dims[d] or d for d in dims]
    return "dindex", {"mode": mode, "dims": named, "key": tuple(key)}


def _translate(draw: Any, pair: Pair) -> Step:
    name = draw(st.sampled_from(["translate_to", "translate_by", "translate_backward_by"]))
    dims = _pick(draw, pair)
    return name, {"dims": dims, "value": [draw(st.integers(-6, 6)) for _ in dims]}


def _stride(draw: Any, pair: Pair) -> Step:
    dims = _pick(draw, pair)
    values = [1, 2, 3, -1, -2]
    if pair.widened:
        values = [1, -1]
    return "stride", {"dims": dims, "value": [draw(st.sampled_from(values)) for _ in dims]}


def _transpose(draw: Any, pair: Pair) -> Step:
    return "transpose", {"perm": list(draw(st.permutations(range(pair.rank))))}


def _diagonal(draw: Any, pair: Pair) -> Step:
    dims = _pick(draw, pair)
    lo = max(pair.bounds[d][0] for d in dims)
    hi = min(pair.bounds[d][1] for d in dims)
    if pair.widened and hi <= lo:
        dims = dims[:1]
    return "diagonal", {"dims": dims}


def _label(draw: Any, pair: Pair) -> Step:
    names = draw(st.permutations(["", "", "", "", "", "x", "y", "z", "t"]))
    return "label", {"labels": list(names[: pair.rank])}


def _rename(draw: Any, pair: Pair) -> Step:
    """Names of a layer: its own, none, or others; the peer lets one name stand on two dims."""
    names = [draw(st.sampled_from([x, x, "", f"n{d}"])) for d, x in enumerate(pair.ours.dims)]
    return "label", {"labels": names}


def _newaxis(draw: Any, pair: Pair) -> Step:
    at = draw(st.integers(0, pair.rank))
    return "index", {"mode": "default", "key": (*[slice(None)] * at, None)}


def _cast(draw: Any, pair: Pair) -> Step:
    names = [x for x in MORE_DTYPES if x != "bool" or pair.ours.dtype.kind != "c"]
    return "cast", {"dtype": draw(st.sampled_from(names))}


def _downsample(draw: Any, pair: Pair) -> Step:
    methods = METHODS if not pair.blocks else METHODS[:-1]
    method = draw(st.sampled_from(methods))
    factors = []
    for lo, hi in pair.bounds:
        f = draw(st.sampled_from([1, 1, 2, 2, 3, 4]))
        both_cut = lo < hi and lo // f == (hi - 1) // f and lo % f and hi % f
        factors.append(1 if both_cut and method != "stride" else f)
    if pair.widened and method == "stride":
        factors = [1] * pair.rank
    return "downsample", {"factors": factors, "method": method}


def _layers(draw: Any, pair: Pair) -> list[tuple[str, dict[str, Any]] | None]:
    """How each layer differs from the tensor; None is the tensor itself."""
    changes: list[Step | None] = [None]
    for _ in range(draw(st.integers(0, 2))):
        kind = draw(st.sampled_from(["same", "moved", "moved", "crop", "crop", "rarely"]))
        if kind == "moved" and pair.rank:
            changes.append(_translate(draw, pair))
        elif kind == "crop" and pair.rank:
            changes.append(_slices(draw, pair))
        elif kind == "rarely" and pair.rank and draw(st.integers(0, 3)) == 0:
            changes.append(draw(st.sampled_from([_rename, _cast]))(draw, pair))
        else:
            changes.append(None)
    return list(draw(st.permutations(changes)))


def _stack(draw: Any, pair: Pair) -> Step:
    return "stack", {"layers": _layers(draw, pair), "axis": draw(st.integers(0, pair.rank))}


def _concat(draw: Any, pair: Pair) -> Step:
    return "concat", {"layers": _layers(draw, pair), "axis": draw(st.integers(0, pair.rank - 1))}


def _overlay(draw: Any, pair: Pair) -> Step:
    return "overlay", {"layers": _layers(draw, pair)}


_DRAW = {
    "slices": _slices,
    "steps": _steps,
    "integer": _integer,
    "arrays": _arrays,
    "some dims": _some_dims,
    "translate": _translate,
    "stride": _stride,
    "transpose": _transpose,
    "diagonal": _diagonal,
    "label": _label,
    "newaxis": _newaxis,
    "cast": _cast,
    "downsample": _downsample,
    "stack": _stack,
    "concat": _concat,
    "overlay": _overlay,
}


def _apply(adapter: Any, base: Any, step: Step) -> Any:
    name, arguments = step
    if "layers" not in arguments:
        return getattr(adapter, name)(base, **arguments)
    rest = {key: value for key, value in arguments.items() if key != "layers"}
    layers = [
        base if change is None else _apply(adapter, base, change) for change in arguments["layers"]
    ]
    return getattr(adapter, name)(layers, **rest)


def _attempt(adapter: Any, base: Any, step: Step) -> tuple[Any, Exception | None]:
    try:
        return _apply(adapter, base, step), None
    except (IndexError, ValueError, TypeError, NotImplementedError) as error:
        return None, error


def _next(pair: Pair, step: Step) -> Pair | None:
    """Both tensors after a step; None if both refuse it. One refusing alone is a failure."""
    ours, failure = _attempt(OURS, pair.ours, step)
    theirs, complaint = _attempt(PEER, pair.theirs, step)
    assert (failure is None) == (complaint is None), f"{step}\nours: {failure}\npeer: {complaint}"
    if failure is not None:
        return None
    name, arguments = step
    region = name == "downsample" and arguments["method"] != "stride"
    cut = region and any(f > 1 for f in arguments["factors"])
    new = name == "index" and None in [k for k in arguments["key"] if k is None]
    return replace(
        pair, ours=ours, theirs=theirs, blocks=pair.blocks + cut, widened=pair.widened or new
    )


def _flags(domain: Any) -> list[bool]:
    return [*domain.implicit_lower_bounds, *domain.implicit_upper_bounds]


def _same_domain(pair: Pair) -> None:
    domain = pair.theirs.domain
    assert pair.ours.shape == tuple(domain.shape)
    assert pair.ours.origin == tuple(domain.origin)
    assert pair.ours.dims == tuple(domain.labels)
    implied = zip(_flags(pair.ours.domain), _flags(domain), strict=True)
    assert all(theirs or not mine for mine, theirs in implied)
    assert pair.ours.dtype == pair.theirs.dtype.numpy_dtype


def _read(pair: Pair) -> tuple[np.ndarray | None, Exception | None]:
    if not pair.ours.size:
        return np.empty(pair.ours.shape, pair.ours.dtype), None
    try:
        return np.asarray(pair.theirs.read().result()), None
    except ValueError as error:
        return None, error


@settings(
    max_examples=300,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(leaves(), st.data(), st.sampled_from(sorted(ENGINES)), st.sampled_from(SETTINGS))
def test_random_chains_agree(
    pair: Pair, data: st.DataObject, engine: str, flags: lt.QueryOptFlags
) -> None:
    for _ in range(data.draw(st.integers(1, 6))):
        step = draw_step(data.draw, pair)
        following = _next(pair, step)
        if following is None or following.ours.size > LARGEST:
            break
        pair = following
        _same_domain(pair)
    expected, complaint = _read(pair)
    if complaint is not None:
        note(f"the peer cannot read this: {complaint}")
        with pytest.raises(lt.LazyTensorError):
            pair.ours.collect(engine=ENGINES[engine], optimizations=flags)
        return
    found = pair.ours.collect(engine=ENGINES[engine], optimizations=flags)
    np.testing.assert_array_equal(found, expected)
