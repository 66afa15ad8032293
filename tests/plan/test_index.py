"""Index transforms: constructors, values, printing, JSON, composition laws, engine questions."""

from __future__ import annotations

import copy
import itertools
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lazytensor.errors import (
    DimensionError,
    DTypeError,
    LazyTensorError,
    OutOfBoundsError,
    SerializationError,
    ShapeError,
)
from lazytensor.plan.compose import (
    compose,
    output_box,
    restrict,
    translate_output,
    with_input_origin,
)
from lazytensor.plan.dimexpr import DimExpression, d
from lazytensor.plan.domain import Dim, IndexDomain, inf
from lazytensor.plan.index import (
    IndexTransform,
    OutputIndexMap,
    OutputIndexMaps,
    OutputIndexMethod,
)
from tests.plan.index_chains import apply, operation
from tests.plan.test_index_peer import Ours

ts = pytest.importorskip("tensorstore")

SAME_AS_PEER = """
M()
M(5)
M(offset=5)
M(5, 2)
M(input_dimension=1)
M(1, 2, 3)
M(1, 2, 0)
M(0, stride=3)
M([1, 2])
M([1, 2], 0, 0)
M(index_array=[[1, 2]], offset=1, stride=2, index_range=Dim(0, 5))
M([])
M([True])
M([5, 6], index_range=Dim(inclusive_min=3)).index_range
M([1, 2]).index_array
M(1).method
[int(m.method) for m in (M(1), M(1, 2), M([1, 2]))]
str(M(1, 1).method)
(M(1).stride, M(1).input_dimension, M(1).index_array, M(1).index_range, M(1, 2).index_array)
M([1, 2]) == M([1, 2])
M([1, 2]) == M([1, 3])
X([Dim(5)], [M(0, 2)])
X([Dim(5)], [M(input_dimension=0, offset=1, stride=0)])
X([Dim(5)], [M([1, 2, 3, 4, 5])])
X([Dim(5)], [M([7])])
X([Dim(5)], [M([7, 1, 2, 3, 4], 2, 0)])
X([Dim(5)], [M([7], index_range=Dim(3))])
X([Dim(0)], [M([7])])
X([Dim(1, implicit_upper=True)], [M([7], 2, 1)])
X([Dim()], [M([7], 2, 1)])
X([Dim(2), Dim(3)], [M([[7, 8, 9]], 2, 1), M([[7], [8]], 2, 1)])
X([Dim(2, 4), Dim(3, label="x")], [M([[7, 8, 9]], 2, 1), M(input_dimension=1)])
X([Dim(2), Dim(3)], [])
X([], [M(3)])
X([Dim(2)]).output[0]
X([Dim(2)]).output.rank
len(X([Dim(2)]).output)
X([Dim(2)], X([Dim(2)]).output) == X([Dim(2)])
X([Dim(2)]) == X([Dim(2, label="x")])
IndexTransform(2)
IndexTransform(input_shape=[2, 3], input_labels=["x", ""])
IndexTransform(input_shape=[2, 3], output=[M(0, 1)])
IndexTransform(input_inclusive_min=[1], input_inclusive_max=[3])
IndexTransform(input_exclusive_max=[3], implicit_upper_bounds=[True])
IndexTransform(domain=[Dim(2)], output=[M(1)])
IndexTransform(json={"input_rank": 2})
IndexTransform(json={"input_shape": [2], "output": []})
IndexTransform(json={"input_shape": [2], "output": [{}]})
IndexTransform(json={"input_shape": [2], "output": [{"input_dimension": 0, "stride": 0}]})
IndexTransform(json={"input_shape": [2], "output": [{"index_array": [1, 2]}]})
IndexTransform(json={"input_rank": 0, "output": [{"index_array": 5, "index_array_bounds": [0, 1]}]})
X([Dim(2)], [M([1, 2], index_range=Dim(5))]).to_json()
X([Dim(2)], [M([1, 2], index_range=Dim(2))]).to_json()
X([Dim(2)], [M([1, 2], index_range=Dim(inclusive_min=2))]).to_json()
X([Dim(2)], [M([1, 2], index_range=Dim(0))]).to_json()
X([], []).to_json()
X([Dim(3)], []).to_json()
X([Dim(3), Dim(2)], [M(input_dimension=1), M(input_dimension=0)]).to_json()
X([Dim(2)])([1])
X([Dim(2, 4)], [M([7, 8], 1, 2), M(3)])([3])
X([Dim(2, implicit_upper=True)])([5])
(X([Dim(2, 5)]).shape, X([Dim(2, 5)]).origin, X([Dim(2, 5)]).size, X([Dim(2, 5)]).ndim)
(X([Dim(2, 5)]).input_shape, X([Dim(2, 5)]).input_origin, X([Dim(2, 5)]).input_labels)
(X([Dim(2, 5)]).input_inclusive_min, X([Dim(2, 5)]).input_inclusive_max)
(X([Dim(2, 5)]).input_exclusive_max, X([Dim(2, 5)]).implicit_lower_bounds)
(X([Dim(2, 5)]).implicit_upper_bounds, X([Dim(2, 5)]).input_rank, X([Dim(2, 5)], []).output_rank)
X([Dim(2, label="x"), Dim(3)]).T
X([Dim(2, label="x"), Dim(3)]).transpose([1, "x"])
X([Dim(2), Dim(3)]).label["a", "b"]
X([Dim(2), Dim(3)]).translate_to[5]
X([Dim(2), Dim(3)]).translate_by[5, None]
X([Dim(2), Dim(3)]).translate_backward_by[1]
X([Dim(2), Dim(3)]).mark_bounds_implicit[:True]
X([Dim(2), Dim(3)])[IndexTransform(2)]
""".strip().splitlines()


def _names(lib: Any) -> dict[str, Any]:
    def make(dims: Any, *output: Any) -> Any:
        return lib.IndexTransform(lib.IndexDomain(dims), *output)

    return {
        "Dim": lib.Dim,
        "M": lib.OutputIndexMap,
        "X": make,
        "IndexTransform": lib.IndexTransform,
    }


@pytest.mark.parametrize("expression", SAME_AS_PEER)
def test_same_as_the_peer(expression: str) -> None:
    ours, theirs = eval(expression, _names(Ours)), eval(expression, _names(ts))
    assert repr(ours) == repr(theirs).rstrip("\n")


def test_a_table_is_printed_in_full_up_to_ten_and_shortened_after() -> None:
    shown = repr(OutputIndexMap(np.arange(100)))
    assert "{0, 1, 2, 3, 4, ..., 95, 96, 97, 98, 99}" in shown


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Dim, ts.Dim),
        (IndexDomain, ts.IndexDomain),
        (IndexTransform, ts.IndexTransform),
        (OutputIndexMap, ts.OutputIndexMap),
        (OutputIndexMaps, ts.OutputIndexMaps),
        (OutputIndexMethod, ts.OutputIndexMethod),
        (DimExpression, ts.DimExpression),
    ],
)
def test_no_member_is_missing(ours: type, theirs: type) -> None:
    public = {name for name in vars(theirs) if not name.startswith("_")}
    subject = OutputIndexMethod.array if ours is OutputIndexMethod else ours
    assert [name for name in public if not hasattr(subject, name)] == []


I = IndexTransform(input_shape=[10])  # noqa: E741 - short in the tables below
T = IndexTransform(input_shape=[3, 4, 5], input_labels=["x", "y", "z"])
M = OutputIndexMap

REFUSED: list[tuple[Any, type[Exception]]] = [
    (lambda: IndexTransform(), ShapeError),
    (lambda: IndexTransform(3, input_shape=[2]), ShapeError),
    (lambda: IndexTransform(I), TypeError),
    (lambda: IndexTransform(I.domain, input_shape=[2]), TypeError),
    (lambda: IndexTransform(I.domain, domain=I.domain), TypeError),
    (lambda: IndexTransform(json={"input_rank": 1}, input_rank=1), TypeError),
    (lambda: IndexTransform(I.domain, [3]), TypeError),
    (lambda: IndexTransform(I.domain, [M(1, 2)]), OutOfBoundsError),
    (lambda: IndexTransform(I.domain, [M(-1, 2)]), OutOfBoundsError),
    (lambda: IndexTransform(I.domain, [M([1, 2, 3])]), ShapeError),
    (lambda: IndexTransform(I.domain, [M([[1, 2, 3]])]), ShapeError),
    (lambda: IndexTransform(1, [M([1, 2, 3])]), LazyTensorError),
    (lambda: IndexTransform(I.domain, [M(0)] * 65), ShapeError),
    (
        lambda: IndexTransform([Dim(5, implicit_upper=True)], [M(range(5))]),
        OutOfBoundsError,
    ),
    (lambda: M("a"), DTypeError),
    (lambda: M([1.5]), DTypeError),
    (lambda: M([1, 2], input_dimension=1), TypeError),
    (lambda: M(1, 2, input_dimension=1), TypeError),
    (lambda: M(1, 2, offset=1), TypeError),
    (lambda: M(1, 2, 3, Dim(3)), TypeError),
    (lambda: M(1, 2, 3, 4, 5), TypeError),
    (lambda: M([1], index_range=5), TypeError),
    (lambda: M(offset=3, stride=1), TypeError),
    (lambda: M(2**63), OutOfBoundsError),
    (lambda: I.output[1], OutOfBoundsError),
    (lambda: I([5, 5]), ShapeError),
    (lambda: I([10]), OutOfBoundsError),
    (lambda: I([-1]), OutOfBoundsError),
    (lambda: IndexTransform(1)([inf]), OutOfBoundsError),
    (lambda: I(5), TypeError),
    (lambda: I[0, 0], OutOfBoundsError),
    (lambda: I[3.5], OutOfBoundsError),
    (lambda: I["x"], OutOfBoundsError),
    (lambda: I[[1.5]], OutOfBoundsError),
    (lambda: I[[[1], [2, 3]]], OutOfBoundsError),
    (lambda: I[..., ...], OutOfBoundsError),
    (lambda: T[..., 0, ...], OutOfBoundsError),
    (lambda: I[::0], OutOfBoundsError),
    (lambda: I[2**62 :], OutOfBoundsError),
    (lambda: I[2**64], OutOfBoundsError),
    (lambda: I[np.array([2**63], np.uint64)], OutOfBoundsError),
    (lambda: T[[0, 1], [1, 2, 3]], OutOfBoundsError),
    (lambda: T[np.ones((1, 1, 1, 1), bool)], OutOfBoundsError),
    (lambda: T[(0, 1) : (2, 3, 4)], OutOfBoundsError),
    (lambda: T[[0, 1]][[0, 5]], OutOfBoundsError),
    (lambda: T[[0]][[0, 99]], OutOfBoundsError),
    (lambda: T[[0, 9]][1], OutOfBoundsError),
    (lambda: T[I], ShapeError),
    (lambda: IndexTransform(1)[::2], OutOfBoundsError),
    (lambda: T[IndexDomain([Dim(1, label="q")])], DimensionError),
    (lambda: T[IndexDomain([Dim(1), Dim(1)])], DimensionError),
    (lambda: T[IndexDomain([Dim(9, label="x")])], OutOfBoundsError),
    (lambda: T.transpose([0, 1]), DimensionError),
    (lambda: IndexTransform(I.domain, [M(0, 0, 2**62)])[2], OutOfBoundsError),
    (lambda: IndexTransform(I.domain, [M(0, 0, 2**62)])[::4], OutOfBoundsError),
    (lambda: IndexTransform(I.domain, [M(0, 2**63 - 1)])[1], OutOfBoundsError),
    (lambda: I[None, ...][(None,) * 64], ShapeError),
    (lambda: iter(I), TypeError),
    (lambda: len(I), TypeError),
]


@pytest.mark.parametrize(("attempt", "error"), REFUSED)
def test_refused(attempt: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        attempt()
    assert str(caught.value)


@pytest.mark.parametrize(
    "member",
    [
        {"output": [{"stride": 2}]},
        {"output": [{"input_dimension": 1}]},
        {"output": [{"input_dimension": -1}]},
        {"output": [{"input_dimension": 0, "index_array": [1, 2]}]},
        {"output": [{"input_dimension": 0, "index_array_bounds": [1, 2]}]},
        {"output": [{"index_array": [1, 2.5]}]},
        {"output": [{"index_array": ["a", "b"]}]},
        {"output": [{"index_array": 1}]},
        {"output": [{"index_array": [[1], [2]]}]},
        {"output": [{"index_array": [1, [2]]}]},
        {"output": [{"index_array": [1, 2, 3]}]},
        {"output": [{"index_array": [1, 2**63]}]},
        {"output": [{"index_array": [1, 2], "index_array_bounds": [1]}]},
        {"output": [{"foo": 1}]},
        {"output": [5]},
        {"output": {}},
        {"output": [{"offset": 2**63}]},
        {"foo": 1},
    ],
)
def test_damaged_json_is_refused(member: Any) -> None:
    with pytest.raises(SerializationError):
        IndexTransform(json={"input_shape": [2], **member})


@pytest.mark.parametrize("json", [5, {}, {"output": []}, {"input_shape": [[2, 3]]}])
def test_json_without_a_domain_is_refused(json: Any) -> None:
    with pytest.raises(SerializationError):
        IndexTransform(json=json)


TRANSFORMS = [
    I,
    T[1, ::-2, None],
    T[[1, 0], :, [1, 1]],
    T[:, [[1, 0]], [[1], [1]]].validate(),
    IndexTransform(3)[d[0].mark_bounds_implicit[False]],
    I[[0, 10]],
]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=range(len(TRANSFORMS)))
def test_values_survive_pickle_copy_and_json(transform: IndexTransform) -> None:
    for again in (
        pickle.loads(pickle.dumps(transform)),
        copy.copy(transform),
        copy.deepcopy(transform),
        IndexTransform(transform.domain, transform.output),
    ):
        assert again == transform
        assert again.key == transform.key
        assert hash(again) == hash(transform)
        assert again.has_arrays == transform.has_arrays
    assert IndexTransform(json=transform.to_json()).to_json() == transform.to_json()


def test_keys_tell_transforms_apart() -> None:
    keys = {t.key for t in TRANSFORMS}
    assert len(keys) == len(TRANSFORMS)
    a, b = T[[1, 0]], T[np.array([1, 0], np.int8)]
    assert a.key == b.key and a is not b
    assert T[[1, 0]].key != T[[0, 1]].key
    assert T[[1, 0]].key != T[[[1, 0]]].key


def test_index_arrays_are_owned_and_read_only() -> None:
    given = np.array([1, 0])
    for transform in (T[given], IndexTransform(input_shape=[2], output=[M(given)])):
        before = transform.output[0].index_array.copy()
        given[:] = 2
        np.testing.assert_array_equal(transform.output[0].index_array, before)
        with pytest.raises(ValueError, match="read-only"):
            transform.output[0].index_array[...] = 5
        given[:] = 1, 0


def test_it_is_immutable() -> None:
    for name in ("domain", "maps", "other"):
        with pytest.raises(AttributeError):
            setattr(T, name, None)
    with pytest.raises(AttributeError):
        del T.domain
    with pytest.raises(AttributeError):
        T.output[0].offset = 3  # type: ignore[misc]


def test_maps_are_a_sequence_that_compares_by_value() -> None:
    assert T.output == [M(input_dimension=i) for i in range(3)]
    assert T.output != [M(input_dimension=0)]
    assert list(T.output[1:]) == [M(input_dimension=1), M(input_dimension=2)]
    assert hash(T.output) == hash(T.T.T.output)


def test_validate_gives_one_form_to_equal_views() -> None:
    base = IndexTransform(input_inclusive_min=[5], input_shape=[6])
    wide = IndexTransform(1)[[7, 9]].validate()
    narrow = base[[7, 9]].validate()
    assert wide == narrow and wide.key == narrow.key
    assert I.validate() is I


def points(transform: IndexTransform) -> list[tuple[int, ...]]:
    """The image of every point of a small finite domain, in order."""
    ranges = [
        range(lo, hi)
        for lo, hi in zip(
            transform.domain.inclusive_min, transform.domain.exclusive_max, strict=True
        )
    ]
    return [transform(point) for point in itertools.product(*ranges)]


@st.composite
def chains(draw: Any, length: int = 3) -> list[IndexTransform]:
    """A finite transform, and transforms that can be composed with it one after the other."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    origin = [draw(st.integers(-3, 3)) for _ in shape]
    current = IndexTransform(input_inclusive_min=origin, input_shape=shape)
    out = [current]
    for _ in range(length):
        base = IndexTransform.identity(out[-1].domain)
        found = base
        for _ in range(2):
            try:
                found = apply(Ours, found, operation(draw, found)).validate()
            except LazyTensorError:
                continue
        if not found.domain.finite or found.domain.size > 500 or not found.domain.explicit:
            found = base
        out.append(found)
    return out[1:]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(chains())
def test_composition_is_associative_and_means_one_after_the_other(
    chain: list[IndexTransform],
) -> None:
    a, b, c = chain
    try:
        left, right = compose(compose(a, b), c), compose(a, compose(b, c))
    except OutOfBoundsError:
        return
    assert left.domain == right.domain
    image = points(left)
    assert image == points(right)
    assert image == [a(b(point)) for point in points(c)]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(chains(length=1))
def test_the_identity_is_neutral(chain: list[IndexTransform]) -> None:
    (a,) = chain
    assert compose(a, IndexTransform.identity(a.domain)) == a
    if a.domain.size == 0:
        return
    reach = output_box(a, tuple(zip(a.domain.inclusive_min, a.domain.exclusive_max, strict=True)))
    around = IndexDomain([Dim(lo, hi) for lo, hi in reach])
    assert compose(IndexTransform.identity(around), a).validate() == a


@settings(max_examples=200, deadline=None, derandomize=True)
@given(chains(length=1), st.data())
def test_parts_boxes_and_translations(chain: list[IndexTransform], data: Any) -> None:
    (a,) = chain
    domain = a.domain
    box = []
    for lo, hi in zip(domain.inclusive_min, domain.exclusive_max, strict=True):
        start = data.draw(st.integers(lo, hi))
        box.append((start, data.draw(st.integers(start, hi))))
    part = restrict(a, tuple(box))
    assert part.domain.shape == tuple(hi - lo for lo, hi in box)
    assert part.domain.labels == domain.labels
    hit = points(part)
    ranges = [range(*pair) for pair in box]
    assert hit == [a(point) for point in itertools.product(*ranges)]
    reach = output_box(a, tuple(box))
    if not hit:
        assert all(lo == hi for lo, hi in reach)
    for (lo, hi), column in zip(reach, zip(*hit, strict=True), strict=False):
        assert (lo, hi) == (min(column), max(column) + 1)
    offsets = [data.draw(st.integers(-5, 5)) for _ in a.maps]
    shifted = points(translate_output(part, offsets))
    assert shifted == [tuple(x + y for x, y in zip(p, offsets, strict=True)) for p in hit]
    origin = tuple(data.draw(st.integers(-5, 5)) for _ in box)
    moved = with_input_origin(part, origin)
    assert moved.domain.origin == origin
    assert points(moved) == hit


def test_boxes_of_huge_and_infinite_domains() -> None:
    huge = IndexTransform(input_shape=[10**15, 10**15])[::3, 5]
    assert output_box(huge, ((0, 10),)) == ((0, 28), (5, 6))
    assert output_box(IndexTransform(1), ((-inf, 5),)) == ((-inf, 5),)


def test_the_engine_questions_check_their_arguments() -> None:
    with pytest.raises(ShapeError):
        restrict(T, ((0, 1),))
    with pytest.raises(OutOfBoundsError):
        restrict(T, ((0, 4), (0, 1), (0, 1)))
    with pytest.raises(ShapeError):
        translate_output(T, (1, 2))
    with pytest.raises(OutOfBoundsError):
        with_input_origin(IndexTransform(1), (0,))
    with pytest.raises(ShapeError):
        compose(T, I)


def test_64_dimensions() -> None:
    t = IndexTransform(input_shape=[2] * 64)
    assert t[(slice(None, None, -1),) * 64].T([0] * 64) == (0,) * 64
