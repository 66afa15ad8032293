"""Random chains of indexing operations as plain data, applicable to any library with our surface.

An operation is a tuple ``(name, *arguments)`` that both this library and the peer can be given, and
its arguments are drawn looking at the transform it will be applied to, so that most of them are
valid and the interesting ones are near a border.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from lazytensor.plan.dimexpr import d
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.index_interval import INF, UNBOUNDED

Op = tuple[Any, ...]
MODES = ("default", "default", "oindex", "vindex")


def near(draw: Any, lo: int, hi: int, slack: int = 1) -> int:
    """An integer of ``[lo, hi)`` or a little outside; any small one if the interval is infinite."""
    low = -4 if lo == -INF else lo
    high = low + 9 if hi >= INF else hi
    return draw(st.integers(min(low, high - 1) - slack, max(high, low)))


@st.composite
def slices(draw: Any, lo: int, hi: int) -> slice:
    """A slice of a dimension; most are inside."""
    a = draw(st.one_of(st.none(), st.just(near(draw, lo, hi, 0))))
    b = draw(st.one_of(st.none(), st.just(near(draw, lo, hi, 0) + draw(st.integers(0, 1)))))
    step = draw(st.sampled_from([None, None, None, 1, 2, 3, -1, -1, -2]))
    if a == b and draw(st.integers(0, 9)):
        a = b = None
    if a is not None and b is not None and (a > b) != ((step or 1) < 0):
        a, b = b, a
    return slice(a, b, step)


@st.composite
def index_arrays(draw: Any, lo: int, hi: int) -> np.ndarray:
    """A small array of coordinates; rarely one outside."""
    shape = draw(
        st.sampled_from([(2,), (3,), (2,), (3,), (4,), (1,), (2, 1), (1, 3), (2, 3), (0,)])
    )
    slack = draw(st.sampled_from([0] * 9 + [1]))
    values = [near(draw, lo, hi - 1, slack) for _ in range(int(np.prod(shape)))]
    return np.array(values, np.int64).reshape(shape)


@st.composite
def term(draw: Any, lo: int, hi: int, kinds: list[str]) -> Any:
    """One term for one dimension."""
    kind = draw(st.sampled_from(kinds))
    if kind == "int":
        return near(draw, lo, hi - 1, draw(st.sampled_from([0, 0, 0, 1])))
    if kind == "slice":
        return draw(slices(lo, hi))
    if kind == "full":
        return slice(None)
    if kind == "mask":
        size = max(0, min(hi, 6))
        return np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)), bool)
    return draw(index_arrays(lo, hi))


KINDS = ["array", "slice", "slice", "full", "full", "int", "array", "mask"]


@st.composite
def keys(draw: Any, domain: IndexDomain) -> tuple[Any, ...]:
    """A NumPy-style key for a prefix of the dimensions, maybe with new axes and an ellipsis."""
    count = draw(st.integers(0, domain.rank))
    bounds = list(zip(domain.inclusive_min, domain.exclusive_max, strict=True))
    tail = draw(st.booleans())
    used = bounds[domain.rank - count :] if tail else bounds[:count]
    key = [draw(term(*pair, KINDS)) for pair in used]
    if tail:
        key.insert(0, ...)
    elif draw(st.sampled_from([False] * 9 + [True])):
        key.append(slice(None))
    if domain.rank < 5:
        for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
            key.insert(draw(st.integers(0, len(key))), None)
    return tuple(key)


def pick_dims(draw: Any, domain: IndexDomain, least: int = 1) -> list[Any]:
    """Distinct dimensions by number, negative number or label."""
    dims = draw(
        st.lists(st.integers(0, domain.rank - 1), min_size=least, max_size=3, unique=True)
        if domain.rank
        else st.just([])
    )
    named = [x if draw(st.booleans()) or not domain.labels[x] else domain.labels[x] for x in dims]
    return [x - domain.rank if isinstance(x, int) and draw(st.booleans()) else x for x in named]


def operation(draw: Any, transform: IndexTransform) -> Op:
    """An operation for a transform as it is now."""
    domain = transform.domain
    names = ["key", "key", "key", "domain"]
    if domain.rank:
        names += ["dkey", "dkey", "translate_by", "translate_backward_by", "translate_to"]
        names += ["stride", "label", "diagonal", "transpose", "mark", "perm"]
    names += ["dnew"] if domain.rank < 5 else []
    name = draw(st.sampled_from(names))
    if name == "key":
        return "key", draw(st.sampled_from(MODES)), draw(keys(domain))
    if name == "domain":
        pairs = [
            sorted((near(draw, lo, hi, 0), near(draw, lo, hi, 0)))
            for lo, hi in zip(domain.inclusive_min, domain.exclusive_max, strict=True)
        ]
        labels = domain.labels if draw(st.booleans()) else ("",) * domain.rank
        return "domain", pairs, labels
    if name == "perm":
        return "perm", draw(st.permutations(range(domain.rank)))
    if name == "dnew":
        at = draw(st.lists(st.integers(0, domain.rank), min_size=1, max_size=2, unique=True))
        return "dnew", at
    dims = pick_dims(draw, domain)
    where = [domain.labels.index(x) if isinstance(x, str) else x for x in dims]
    if name == "dkey":
        kinds = [k for k in KINDS if k != "mask"]
        key = [draw(term(domain.inclusive_min[w], domain.exclusive_max[w], kinds)) for w in where]
        mode = draw(st.sampled_from(MODES))
        if draw(st.booleans()):
            return "dkey", dims, mode, tuple(key)
        count = _selected_after(domain, dims, mode, tuple(key))
        return "dchain", dims, mode, tuple(key), list(range(1, count + 1))
    if name == "diagonal":
        return "diagonal", dims
    if name == "transpose":
        return "transpose", dims, draw(st.integers(-domain.rank, domain.rank - 1))
    if name == "label":
        return "label", dims, [draw(st.sampled_from(["", "", "p", "q", "r"])) for _ in dims]
    if name == "mark":
        flags = st.sampled_from([None, True, False])
        return "mark", dims, slice(draw(flags), draw(flags))
    numbers = st.integers(-5, 5)
    if name == "stride":
        numbers = st.sampled_from([1, 2, 3, -1, -2, 0])
    return name, dims, [draw(numbers) for _ in dims]


def _selected_after(domain: IndexDomain, dims: list[Any], mode: str, key: Any) -> int:
    """How many dimensions a chained operation will speak of; 1 if the key is not valid."""
    start: Any = d[dims]
    try:
        expression = (start if mode == "default" else getattr(start, mode))[key]
        return len(list(expression.steps(domain))[-1].selected)
    except (IndexError, ValueError):
        return 1


def then(lib: Any, name: str, dims: list[Any], argument: Any) -> Any:
    """``d[dims].name[argument]``."""
    return getattr(lib.d[dims], name)[argument]


def apply(lib: Any, base: Any, op: Op) -> Any:
    """Apply an operation with the classes of ``lib`` (this library or the peer)."""
    match op:
        case ("key", mode, key):
            target = base if mode == "default" else getattr(base, mode)
            return target[key]
        case ("domain", pairs, labels):
            dims = [lib.Dim(lo, hi, label=x) for (lo, hi), x in zip(pairs, labels, strict=True)]
            return base[lib.IndexDomain(dims)]
        case ("perm", perm):
            return base.transpose(list(perm))
        case ("dnew", at):
            return base[lib.d[at][None]]
        case ("dkey", dims, mode, key):
            start = lib.d[dims]
            expression = (start if mode == "default" else getattr(start, mode))[key]
            return base[expression]
        case ("dchain", dims, mode, key, offsets):
            start = lib.d[dims]
            expression = (start if mode == "default" else getattr(start, mode))[key]
            return base[expression.translate_by[offsets]]
        case ("diagonal", dims):
            return base[lib.d[dims].diagonal]
        case ("mark", dims, flags):
            return base[then(lib, "mark_bounds_implicit", dims, flags)]
        case (name, dims, argument):
            return base[then(lib, name, dims, argument)]
    raise AssertionError(op)


@st.composite
def start_domains(draw: Any) -> list[tuple[int, int, bool, bool, str]]:
    """``(lo, hi, implicit lower, implicit upper, label)`` of up to four dimensions."""
    rank = draw(st.integers(1, 4))
    out = []
    for label in ["x", "y", "z", "w"][:rank]:
        lo = draw(st.sampled_from([0, 0, 0, -3, 2, -INF]))
        size = draw(st.sampled_from([4, 3, 1, 5, 6, 7, 4, 3, 5, 0]))
        hi = size if lo == -INF else lo + size
        hi = draw(st.sampled_from([hi] * 6 + [UNBOUNDED]))
        loose = [draw(st.sampled_from([False] * 6 + [True])) for _ in range(2)]
        named = draw(st.booleans())
        out.append((lo, hi, loose[0], loose[1], label if named else ""))
    return out


def identity(lib: Any, dims: list[tuple[int, int, bool, bool, str]]) -> Any:
    """The identity transform over such a domain."""
    return lib.IndexTransform(
        lib.IndexDomain(
            [
                lib.Dim(
                    inclusive_min=lo,
                    exclusive_max=hi,
                    implicit_lower=a,
                    implicit_upper=b,
                    label=label,
                )
                for lo, hi, a, b, label in dims
            ]
        )
    )
