"""The rough measures that laws compare plans by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.plan.cost import reads, work
from lazytensor.plan.optimize import optimize
from tests.sources import ChunkedArray

CELL = 100 * 100 * 8


@pytest.fixture
def x() -> lt.LazyTensor:
    return lt.scan_source(ChunkedArray(np.zeros((1000, 1000)), (100, 100)))


@pytest.mark.parametrize(
    ("view", "cells"),
    [
        (np.s_[:], 100),
        (np.s_[5:10], 10),
        (np.s_[95:105, 3], 2),
        (np.s_[::300], 40),
        (np.s_[::-1, ::-50], 100),
        (np.s_[[3, 500]], 20),
        (np.s_[7, 9], 1),
        (np.s_[3:3], 0),
    ],
)
def test_reads_are_the_cells_that_a_view_touches(x: lt.LazyTensor, view: Any, cells: int) -> None:
    y = x[view]
    assert reads(y._node) == cells * CELL
    assert reads(y._node) >= y.estimate().bytes_decoded


def test_what_is_shared_counts_once(x: lt.LazyTensor) -> None:
    y = lt.sqrt(x)
    assert work((y + y[::-1])._node) == work(y._node) + x.size
    assert reads((x[:500] + x[500:])._node) == x.nbytes
    assert reads((x[:600] + x[400:])._node) == x.nbytes


def test_arrays_in_memory_and_views_cost_nothing(x: lt.LazyTensor) -> None:
    assert work(x[::2].T._node) == 0
    assert reads((lt.ones((30, 30)) + 1)._node) == 0
    assert work(lt.ones((30, 30))[[1, 2]]._node) == 60


def test_a_reduction_costs_what_it_looks_at(x: lt.LazyTensor) -> None:
    assert work(lt.sum(x)._node) == x.size


PLANS: dict[str, Any] = {
    "crop": lambda x: x[3:207],
    "difference": lambda x: x[1:] - x[:-1],
    "concat": lambda x: lt.concat([x[:300], x[700:]]),
    "mosaic": lambda x: lt.overlay([x[:300], x[200:450]], fill_value=0),
    "downsample": lambda x: lt.downsample(x[:99, 100:290], (3, 3)),
    "gather": lambda x: x[[1, 2, 999]],
    "points": lambda x: x[[1, 2, 999], [4, 5, 6]],
    "mean": lambda x: x[:50] - lt.mean(x[:50]),
}


@pytest.mark.parametrize("name", PLANS)
def test_never_less_than_the_estimate(x: lt.LazyTensor, name: str) -> None:
    node = optimize(PLANS[name](x)._node)
    assert reads(node) >= PLANS[name](x).estimate().bytes_decoded > 0


def test_plans_are_ordered_as_the_estimate_orders_them(x: lt.LazyTensor) -> None:
    crops = [x[:n] * 2 for n in (1, 150, 350, 1000)]
    told = [reads(optimize(y._node)) for y in crops]
    assert told == sorted(told) == [y.estimate().bytes_decoded for y in crops]


def test_chains_of_any_length_and_shape(x: lt.LazyTensor) -> None:
    chain = diamonds = x
    for _ in range(3000):
        chain = chain + 1
        diamonds = lt.sqrt(diamonds) + diamonds
    assert work(chain._node) == 3000 * x.size
    assert work(diamonds._node) >= 6000 * x.size
