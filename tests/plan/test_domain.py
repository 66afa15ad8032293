"""Dimensions and domains: constructors, printing, sets of coordinates, JSON, values."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from lazytensor.errors import (
    DimensionError,
    LazyTensorError,
    OutOfBoundsError,
    SerializationError,
    ShapeError,
)
from lazytensor.plan.dimexpr import d
from lazytensor.plan.domain import Dim, IndexDomain, inf
from lazytensor.plan.index import IndexTransform, OutputIndexMap

ts = pytest.importorskip("tensorstore")

# Expressions whose result must print as the peer's does, for both `Dim` and `IndexDomain`.
SAME_AS_PEER = """
Dim(5,5)
Dim(5,6)
Dim(size=5, inclusive_min=None)
Dim(None)
Dim(None, "x")
Dim("x")
Dim(5, "x")
Dim(size=None, inclusive_min=4)
Dim(-inf, 5)
Dim(inclusive_min=3)
Dim(3, 7, label="x", implicit_upper=True)
Dim(exclusive_max=2**62-1)
Dim(inclusive_max=2**62-2)
Dim(inclusive_min=3, inclusive_max=3)
Dim(inclusive_min=3, size=2)
Dim(5, implicit_lower=True)
Dim(implicit_lower=False)
str(Dim(5, label="x", implicit_upper=True))
str(Dim(inclusive_min=3))
str(Dim())
(Dim(5).exclusive_min, Dim(5).inclusive_max, Dim(5).size, Dim(5).empty, Dim(5).finite)
(Dim().exclusive_min, Dim().exclusive_max, Dim().inclusive_max, Dim().size, Dim().finite)
Dim(5).hull(Dim(7, 9))
Dim(3, 3).hull(Dim(7, 9))
Dim(7, 9).hull(Dim(0))
Dim(3, 7, implicit_upper=True).hull(Dim(3, 7))
Dim(3, 7, implicit_lower=True).hull(Dim(2, 7, implicit_upper=True))
Dim(5, label="x").hull(Dim(7, 9))
Dim(3, 7).intersect(Dim(9, 10))
Dim(3, 7, implicit_upper=True).intersect(Dim(0, 5))
Dim(3, 7, implicit_lower=True).intersect(Dim(3, 7, implicit_upper=True))
Dim().intersect(Dim(3))
(Dim(5) in Dim(5), Dim(0) in Dim(3, 4), Dim(5) in Dim(4), 4 in Dim(5), 5 in Dim(5), inf in Dim())
list(Dim(-1, 3))
IndexDomain([Dim(3), Dim(4, label="y")])
IndexDomain(2)
IndexDomain(rank=0)
IndexDomain(shape=[2, 3], labels=["x", None])
IndexDomain(inclusive_min=[1, 2], shape=[3, 4])
IndexDomain(inclusive_min=[1, 2])
IndexDomain(inclusive_max=[1, 2])
IndexDomain(labels=["x", "y"])
IndexDomain(shape=[2, 3], implicit_lower_bounds=[True, False])
IndexDomain(rank=2, implicit_upper_bounds=[False, True])
IndexDomain(json={"rank": 2})
IndexDomain(json={"shape": [2, [3]], "labels": ["x", ""]})
IndexDomain(json={"inclusive_min": ["-inf", 7], "exclusive_max": [["+inf"], 10]})
IndexDomain(json={"inclusive_max": ["+inf", 5]})
IndexDomain(json={"inclusive_min": [3], "shape": ["+inf"]})
IndexDomain(rank=2).to_json()
IndexDomain(shape=[2, 3]).to_json()
IndexDomain(inclusive_min=[-inf, 3], labels=["a", ""]).to_json()
IndexDomain([Dim(3), Dim("x")]).to_json()
IndexDomain([]).to_json()
IndexDomain(shape=[2, 3]).size
IndexDomain(2).size
IndexDomain([Dim(0), Dim()]).size
IndexDomain([Dim(-1, 2), Dim()]).origin
IndexDomain([Dim(-1, 2), Dim()]).shape
IndexDomain([Dim(-1, 2), Dim()]).inclusive_max
IndexDomain([Dim(-1, 2), Dim()]).exclusive_max
IndexDomain([Dim(1, 2), Dim()]).index_exp
list(IndexDomain([Dim(3), Dim(4, label="y")]))
IndexDomain([Dim(3), Dim(4, label="y")])["y"]
IndexDomain([Dim(3), Dim(4, label="y")])[-2]
IndexDomain([Dim(3), Dim(4, label="y")])[::-1]
IndexDomain([Dim(3), Dim(4, label="y")])[[0, "y"]]
IndexDomain([Dim(3), Dim(4, label="y")])[()]
IndexDomain([Dim(3), Dim(4, label="y")])[d[1, 0]]
IndexDomain([Dim(3), Dim(4, label="y")])[d["y"][2:3]]
IndexDomain([Dim(3), Dim(4, label="y")]).T
IndexDomain([Dim(3), Dim(4, label="y")]).transpose(["y", 0])
IndexDomain([Dim(3), Dim()]).translate_to[1, None]
IndexDomain([Dim(3), Dim()]).translate_by[1]
IndexDomain([Dim(3), Dim()]).translate_backward_by[1, 2]
IndexDomain([Dim(3), Dim()]).label["x", "y"]
IndexDomain([Dim(3)]).label["x"]
IndexDomain([Dim(3), Dim()]).mark_bounds_implicit[True]
IndexDomain([Dim(3), Dim()]).mark_bounds_implicit[False:]
IndexDomain([Dim(3), Dim()]).mark_bounds_implicit[None]
IndexDomain([Dim(3), Dim(4, label="y")]).hull(IndexDomain([Dim(2, 9, label="x"), Dim(3)]))
IndexDomain([Dim(3), Dim(4, label="y")]).intersect(IndexDomain([Dim(2, 9, label="x"), Dim(3)]))
IndexDomain([Dim(3), Dim(4, label="y")])[IndexDomain([Dim(1, 2), Dim(2, 3)])]
IndexDomain([Dim(3), Dim(4, label="y")])[IndexDomain([Dim(2, 3, label="y"), Dim(1, 2)])]
IndexDomain([Dim(3), Dim(4)])[IndexDomain([Dim(1, 2, label="a"), Dim(1, 2, label="b")])]
IndexDomain([Dim(3, implicit_upper=True)])[IndexDomain([Dim(1, 7, implicit_lower=True)])]
len(IndexDomain([Dim(3), Dim(4)]))
(Dim(3) in IndexDomain([Dim(3)]), Dim(4) in IndexDomain([Dim(3)]))
""".strip().splitlines()


@pytest.mark.parametrize("expression", SAME_AS_PEER)
def test_same_as_the_peer(expression: str) -> None:
    ours = {"Dim": Dim, "IndexDomain": IndexDomain, "d": d, "inf": inf}
    theirs = {"Dim": ts.Dim, "IndexDomain": ts.IndexDomain, "d": ts.d, "inf": ts.inf}
    assert repr(eval(expression, ours)) == repr(eval(expression, theirs))


X4 = IndexDomain([Dim(3), Dim(4, label="y")])

REFUSED: list[tuple[Any, type[Exception]]] = [
    (lambda: Dim(5, 3), ShapeError),
    (lambda: Dim(inclusive_min=3, size=-1), ShapeError),
    (lambda: Dim(inclusive_min=-(2**62), exclusive_max=4), ShapeError),
    (lambda: Dim(inclusive_min=inf), ShapeError),
    (lambda: Dim(5, size=3), TypeError),
    (lambda: Dim(5, 7, size=2), TypeError),
    (lambda: Dim(3, inclusive_max=7), TypeError),
    (lambda: Dim(exclusive_max=3, inclusive_max=7), TypeError),
    (lambda: Dim(1, 2, 3), TypeError),
    (lambda: Dim(3.0), TypeError),
    (lambda: Dim(3, label=5), TypeError),
    (lambda: Dim("x", label="y"), TypeError),
    (lambda: list(Dim()), ShapeError),
    (lambda: "a" in Dim(5), TypeError),
    (lambda: Dim(5, label="x").hull(Dim(5, label="y")), DimensionError),
    (lambda: Dim(5, label="x").intersect(Dim(5, label="y")), DimensionError),
    (lambda: IndexDomain(), ShapeError),
    (lambda: IndexDomain(shape=[2, 3], labels=["x", "x"]), DimensionError),
    (lambda: IndexDomain(shape=[2, 3], labels=["x"]), ShapeError),
    (lambda: IndexDomain(shape=[2, 3], labels="xy"), TypeError),
    (lambda: IndexDomain(shape=[2, 3], rank=3), ShapeError),
    (lambda: IndexDomain(shape=[2, -3]), ShapeError),
    (lambda: IndexDomain(exclusive_max=[3], shape=[3]), ShapeError),
    (lambda: IndexDomain(shape=[2.5]), TypeError),
    (lambda: IndexDomain(65), ShapeError),
    (lambda: IndexDomain(-1), ShapeError),
    (lambda: IndexDomain([Dim(1)] * 65), ShapeError),
    (lambda: IndexDomain([Dim(3), 5]), TypeError),
    (lambda: IndexDomain([Dim(3)], shape=[3]), TypeError),
    (lambda: IndexDomain(json={"rank": 1}, shape=[3]), TypeError),
    (lambda: IndexDomain([Dim(-1, 2)]).index_exp, ShapeError),
    (lambda: X4[2], DimensionError),
    (lambda: X4["z"], DimensionError),
    (lambda: X4[""], DimensionError),
    (lambda: X4[1:5], DimensionError),
    (lambda: X4[5:], DimensionError),
    (lambda: X4[::0], DimensionError),
    (lambda: X4[0, 1, 0], DimensionError),
    (lambda: X4[0, "y", 1], DimensionError),
    (lambda: X4[None], TypeError),
    (lambda: X4[...], TypeError),
    (lambda: X4[3.5], TypeError),
    (lambda: X4[d["y"][7]], OutOfBoundsError),
    (lambda: X4.transpose([1]), DimensionError),
    (lambda: X4.transpose([1, 1]), DimensionError),
    (lambda: X4.translate_to[1, 2, 3], ShapeError),
    (lambda: X4.translate_by["a"], TypeError),
    (lambda: X4.translate_by[2**62], OutOfBoundsError),
    (lambda: X4.translate_to[inf], OutOfBoundsError),
    (lambda: IndexDomain(1).translate_to[1], OutOfBoundsError),
    (lambda: X4.label["x"], DimensionError),
    (lambda: X4.label["x", "x"], DimensionError),
    (lambda: X4.label[1, 2], TypeError),
    (lambda: X4.mark_bounds_implicit[True:False:1], TypeError),
    (lambda: X4.mark_bounds_implicit["no"], TypeError),
    (lambda: X4.hull(IndexDomain(1)), ShapeError),
    (lambda: X4.hull(X4.label["", "q"]), DimensionError),
    (lambda: X4.intersect(X4.label["", "q"]), DimensionError),
    (lambda: X4.hull(X4.label["y", ""]), DimensionError),
    (lambda: X4[IndexDomain([Dim(2, 3, label="z")])], DimensionError),
    (lambda: X4[IndexDomain([Dim(2, 3)])], DimensionError),
    (lambda: X4[IndexDomain([Dim(2), Dim(2)]).label["", ""][:1]], DimensionError),
    (lambda: X4[IndexDomain([Dim(7), Dim(2)])], OutOfBoundsError),
    (lambda: iter(X4.label), TypeError),
]


@pytest.mark.parametrize(("attempt", "error"), REFUSED)
def test_refused(attempt: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        attempt()
    assert str(caught.value)
    assert isinstance(caught.value, (LazyTensorError, TypeError))


@pytest.mark.parametrize(
    "json",
    [
        5,
        {"rank": 2, "foo": 1},
        {"rank": "2"},
        {"rank": True},
        {"rank": 65},
        {"shape": [2.5]},
        {"shape": 3},
        {"shape": [2], "exclusive_max": [2]},
        {"shape": [2], "rank": 3},
        {"inclusive_min": [5], "exclusive_max": [3]},
        {"inclusive_min": [[1, 2]], "shape": [2]},
        {"inclusive_min": ["+inf"], "shape": [2]},
        {"shape": [2**64]},
        {"labels": ["x", "x"]},
        {"labels": [1]},
        {},
    ],
)
def test_damaged_json_is_refused(json: Any) -> None:
    with pytest.raises(SerializationError):
        IndexDomain(json=json)


DOMAINS = [
    IndexDomain(0),
    IndexDomain(3),
    IndexDomain(shape=[2, 3], labels=["y", "x"]),
    IndexDomain([Dim(-5, 6), Dim(inclusive_min=3), Dim("z", implicit_upper=False)]),
    IndexDomain([Dim(4, implicit_lower=True), Dim(exclusive_max=7, label="t")]),
]


@pytest.mark.parametrize("domain", DOMAINS, ids=repr)
def test_values_survive_json_pickle_and_copy(domain: IndexDomain) -> None:
    for again in (
        IndexDomain(json=domain.to_json()),
        pickle.loads(pickle.dumps(domain)),
        copy.copy(domain),
        copy.deepcopy(domain),
        IndexDomain(list(domain)),
        IndexDomain(dimensions=list(domain)),
    ):
        assert again == domain
        assert hash(again) == hash(domain)
        assert repr(again) == repr(domain)
    for dim in domain:
        again_dim = pickle.loads(pickle.dumps(dim))
        assert again_dim == dim and hash(again_dim) == hash(dim)
        assert copy.copy(dim) is dim and copy.deepcopy(dim) is dim
        assert eval(repr(dim)) == dim


def test_equality_looks_at_everything() -> None:
    others = [Dim(5), Dim(5, label="x"), Dim(5, implicit_lower=True), Dim(5, implicit_upper=True)]
    assert len({*others, Dim(6), Dim(-1, 5)}) == 6
    assert Dim(5) != 5
    assert len({IndexDomain([dim]) for dim in others}) == 4
    assert IndexDomain(1) != "IndexDomain"


def test_they_are_immutable() -> None:
    for value, name in ((Dim(5), "label"), (X4, "rank"), (X4, "inclusive_min")):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(value, name, None)
        with pytest.raises(AttributeError, match="immutable"):
            delattr(value, name)


def test_numpy_integers_are_integers() -> None:
    assert Dim(np.int32(4)) == Dim(4)
    assert IndexDomain(shape=np.array([2, 3])) == IndexDomain(shape=[2, 3])
    assert type(IndexDomain(shape=np.array([2, 3])).shape[0]) is int
    assert X4[np.int64(-1)] == X4["y"]


def test_size_is_exact() -> None:
    assert IndexDomain(shape=[10**15, 10**15]).size == 10**30


def test_a_transform_maps_a_domain() -> None:
    domain = IndexDomain(inclusive_min=[1, 2, 3], exclusive_max=[4, 5, 6])
    maps = [
        OutputIndexMap(offset=5, input_dimension=3),
        OutputIndexMap(offset=-7, input_dimension=0),
        OutputIndexMap(offset=3, input_dimension=1),
    ]
    result = domain[IndexTransform(input_rank=4, output=maps)]
    assert repr(result) == "{ [9, 12), [0, 3), (-inf*, +inf*), [-4, -1) }"


def test_64_dimensions() -> None:
    domain = IndexDomain(shape=range(1, 65))
    assert domain.rank == 64
    assert domain.T.shape == tuple(range(64, 0, -1))
