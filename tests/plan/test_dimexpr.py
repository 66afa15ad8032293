"""Dimension expressions: written, printed, compared and applied as the peer's."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from lazytensor.errors import DimensionError, OutOfBoundsError, ShapeError
from lazytensor.plan.dimexpr import DimExpression, d
from lazytensor.plan.domain import Dim, IndexDomain
from lazytensor.plan.index import IndexTransform
from tests.plan.test_index_peer import Ours

ts = pytest.importorskip("tensorstore")

PRINTED = """
d[0]
d[0,'x',1:3,::2]
d[[0,1],['x']]
d[()]
d[:]
d[d[0,1],2]
d[0][1]
d[0][1:3,None,...,[1,2]]
d[0].oindex[[1,2]]
d[0,1].vindex[[1,2],3]
d[0,1][(0,1):(2,None):2]
d[0].translate_to[1].translate_by[2,None].translate_backward_by[-3]
d[0].translate_by[[1,2]]
d[0].translate_by[()]
d[0].translate_by[2,]
d[0].stride[2,]
d[0].label['x']
d[0].label['x','y']
d[0].stride[2]
d[0].stride[2,None]
d[0].diagonal
d[0].transpose[1]
d[0].transpose[1,2]
d[0].transpose[::-1]
d[0].mark_bounds_implicit[True]
d[0].mark_bounds_implicit[:False]
d[0].mark_bounds_implicit[False:True]
d[0].mark_bounds_implicit[None]
d[0].label
d[0].transpose
""".strip().splitlines()


@pytest.mark.parametrize("expression", PRINTED)
def test_printed_as_the_peer_does(expression: str) -> None:
    assert repr(eval(expression, {"d": d})) == repr(eval(expression, {"d": ts.d}))


APPLIED = """
d['a','b'].translate_to[0]
d[-1].translate_to[0]
d[1:3].translate_to[0]
d[::-2].translate_to[0,10]
d[:].stride[2]
d[0,1].stride[2,-3]
d['a','b'].diagonal.label['q']
d[()].diagonal
d[3].diagonal
d['d','a'].transpose[0]
d['d','a'].transpose[-1]
d['d','a'].transpose[1]
d['d','a'].transpose[-2]
d['d','a'].transpose[1,]
d['d','a'].transpose[0,2]
d['d','a'].transpose[0,-1]
d['d','a'].transpose[1:3]
d[:].transpose[::-1]
d[()].transpose[0]
d[()].transpose[()]
d['d','a'].transpose[0].translate_by[10,20]
d['a','b'].label['b','a']
d['a','b'].label['z','']
d['a'][1]
d['a','b'][1]
d['a','b'][1,2]
d['a','b','d'][1,...]
d['a','b','d'][...,4]
d['a','b'][...,1,1]
d['a','b'][1,2:3].translate_by[5]
d['a','b'][1,[2,3]].translate_by[5]
d['b','a'][[2,3],[1,2]].translate_by[5]
d['a','d'][[1,2],[3,4]].label['p']
d['d','b'][4:5,[1,2]].label['p','q']
d['d','b'].vindex[4:5,[1,2]].label['p','q']
d['a','b'][(1,2):(2,4)]
d['a','b'][(1,2):3]
d['a','b'][(1,None):(2,None)]
d['a','b'][1:3:(1,2)]
d['a','b','d'][(1,2):3,4:5]
d['a','b','d'][(1,2):3,...]
d[0,2][None]
d[0,2][None,None]
d[0,2][None,3]
d[0,-1][None]
d[0,1][None].translate_by[1]
d[0,1][None].label['n','m']
d[0:2][None]
d[:2][None]
d[-1:][None]
d[0,1,2][None,...]
d[0,1,2][None,2:3,3:4]
d['a',0][2,None]
d[1,'b'][None,[2,3]].label['n','m']
d[0,1][[[True,False],[True,True]]]
d[1,0].oindex[[2,3],[1,2]]
d[1,0].oindex[[[2,3]],[1,2]].translate_by[10]
d[3,0].vindex[3,[1,2]].translate_by[10]
d[3,0].vindex[3,:].translate_by[10]
d[3].vindex[[3,4],].translate_by[10]
d[3,1][...].translate_by[10]
d['a','b'].mark_bounds_implicit[True]
d['a','b'].mark_bounds_implicit[1:0]
d['a'].label['q'][1:2].translate_to[0]
d['a','b'].diagonal[2]
d['a','b'].translate_to[None]
""".strip().splitlines()

SPACE = [(0, 4, "a"), (1, 5, "b"), (2, 6, ""), (3, 7, "d")]


def _space(lib: Any) -> Any:
    return lib.IndexTransform(
        lib.IndexDomain([lib.Dim(lo, hi, label=label) for lo, hi, label in SPACE])
    )


@pytest.mark.parametrize("expression", APPLIED)
def test_applied_as_the_peer_does(expression: str) -> None:
    ours = _space(Ours)[eval(expression, {"d": d})]
    theirs = _space(ts)[eval(expression, {"d": ts.d})]
    assert ours.to_json() == theirs.to_json()
    assert repr(ours) == repr(theirs).rstrip("\n")
    assert _space(Ours).domain[eval(expression, {"d": d})] == ours.domain


W = _space(Ours)

REFUSED: list[tuple[Any, type[Exception]]] = [
    (lambda: d[...], TypeError),
    (lambda: d[None], TypeError),
    (lambda: d[0.5], TypeError),
    (lambda: d["a":"c"], TypeError),
    (lambda: d[d[0].translate_by[1]], TypeError),
    (lambda: DimExpression(), TypeError),
    (lambda: iter(d), TypeError),
    (lambda: iter(d[0]), TypeError),
    (lambda: d[0].translate_by["a"], TypeError),
    (lambda: d[0].translate_by[1.5], TypeError),
    (lambda: d[0].translate_by[:], TypeError),
    (lambda: d[0].label[1], TypeError),
    (lambda: d[0].label["x", None], TypeError),
    (lambda: d[0].translate_by[1][None], OutOfBoundsError),
    (lambda: d[0]["q"], OutOfBoundsError),
    (lambda: W[d], OutOfBoundsError),
    (lambda: W[d["a"]], DimensionError),
    (lambda: W[d["q"].translate_to[0]], DimensionError),
    (lambda: W[d[""].translate_to[0]], DimensionError),
    (lambda: W[d[0, "a"].translate_to[0]], DimensionError),
    (lambda: W[d[4].translate_to[0]], DimensionError),
    (lambda: W[d[0, 1].translate_to[1, 2, 3]], ShapeError),
    (lambda: W[d[0].stride[0]], OutOfBoundsError),
    (lambda: W[d[0, 1].stride[2, 1, 1]], ShapeError),
    (lambda: W[d["d", "a"].transpose[3]], DimensionError),
    (lambda: W[d["d", "a"].transpose[-4]], DimensionError),
    (lambda: W[d["d", "a"].transpose[0, 0]], DimensionError),
    (lambda: W[d["d", "a"].transpose["a", "b"]], DimensionError),
    (lambda: W[d["d", "a"].transpose[:]], DimensionError),
    (lambda: W[d["a", "b"].label["b", "d"]], DimensionError),
    (lambda: W[d["a", "b"].label["z"]], DimensionError),
    (lambda: W[d["a", "b"][1, 2, 3]], OutOfBoundsError),
    (lambda: W[d["a", "b", "d"][1, 2]], OutOfBoundsError),
    (lambda: W[d["a", "b"][[1, 2]]], OutOfBoundsError),
    (lambda: W[d["a", "b"][1, 9]], OutOfBoundsError),
    (lambda: W[d["a"][None]], DimensionError),
    (lambda: W[d[:][None]], DimensionError),
    (lambda: W[d[1:][None]], DimensionError),
    (lambda: W[d[:-1][None]], DimensionError),
    (lambda: W[d[-1:2][None]], DimensionError),
    (lambda: W[d[0, 0][None]], DimensionError),
    (lambda: W[d[5, 0][None, 2:3]], DimensionError),
    (lambda: W[d["a", "b"].diagonal.label["q", "r"]], DimensionError),
    (lambda: W[d["a"].translate_by[2**62]], OutOfBoundsError),
    (lambda: W[[1, 2], 1:3, 2][d[0].mark_bounds_implicit[True]], OutOfBoundsError),
]


@pytest.mark.parametrize(("attempt", "error"), REFUSED)
def test_refused(attempt: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        attempt()
    assert str(caught.value)


def test_a_stride_of_none_leaves_a_dimension_alone() -> None:
    assert W[d[0, 1].stride[2, None]] == W[d[0].stride[2]]


def test_expressions_are_values() -> None:
    made = [
        d[0],
        d[0:2],
        d["x"],
        d[0][1],
        d[0][1:2],
        d[0][[1, 2]],
        d[0][[2, 1]],
        d[0].oindex[[1, 2]],
        d[0][1,],
        d[0].label["x"],
        d[0].stride[2],
        d[0].translate_by[2],
        d[0].translate_by[2,],
    ]
    assert len(set(made)) == len(made)
    assert d[0][[1, 2]] == d[0][np.array([1, 2], np.int8)]
    assert d[0] != 0
    for expression in made:
        assert pickle.loads(pickle.dumps(expression)) == expression
        assert hash(pickle.loads(pickle.dumps(expression))) == hash(expression)
        assert copy.copy(expression) is expression
        assert copy.deepcopy(expression) is expression
    assert pickle.loads(pickle.dumps(d)) is d
    with pytest.raises(AttributeError):
        d[0].name = 3  # type: ignore[attr-defined]


def test_steps_compose_to_the_whole() -> None:
    domain = IndexDomain([Dim(2, 6, label="y"), Dim(0, 5, label="x")])
    expression = d["x", "y"].translate_by[1, 2].diagonal[4:6]
    stepwise = IndexTransform.identity(domain)
    for step in expression.steps(domain):
        inner = IndexTransform(step.domain, step.maps)
        stepwise = stepwise[inner]
    assert stepwise == IndexTransform.identity(domain)[expression]
