"""How domains meet, where empty ones are among them."""

from __future__ import annotations

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazytensor.errors import DimensionError, ShapeError
from lazytensor.plan.align import hull_domain
from lazytensor.plan.domain import Dim, IndexDomain

intervals = st.tuples(st.integers(-5, 5), st.integers(0, 3)).map(lambda t: Dim(t[0], t[0] + t[1]))


@given(st.lists(st.lists(intervals, min_size=2, max_size=2).map(IndexDomain), min_size=1))
def test_hull_is_the_hull_of_two_again_and_again(domains: list[IndexDomain]) -> None:
    assert hull_domain(domains) == reduce(IndexDomain.hull, domains)


def test_an_empty_interval_has_no_say_in_the_hull() -> None:
    empty, filled = IndexDomain([Dim(7, 7)]), IndexDomain([Dim(2, 4)])
    assert hull_domain([empty, filled]) == hull_domain([filled, empty]) == filled
    assert hull_domain([filled, empty, IndexDomain([Dim(0, 1)])]) == IndexDomain([Dim(0, 4)])
    assert hull_domain([empty, IndexDomain([Dim(3, 3)])]) == IndexDomain([Dim(3, 3)])


def test_hull_of_no_dims() -> None:
    assert hull_domain([IndexDomain([]), IndexDomain([])]) == IndexDomain([])


def test_hull_names_the_layer_that_does_not_fit() -> None:
    with pytest.raises(ShapeError, match="layer 1 has 2 dimensions"):
        hull_domain([IndexDomain(shape=[3]), IndexDomain(shape=[3, 4])])
    with pytest.raises(DimensionError, match="'x' in one layer and 'y'"):
        hull_domain([IndexDomain([Dim(3, label="x")]), IndexDomain([Dim(3, label="y")])])
