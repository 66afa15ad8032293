"""The kinds along one axis: domains, axes, grids, dtypes, errors, serialising, phrases."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.errors import DTypeError, ShapeError
from lazytensor.plan import nodes_axis
from lazytensor.plan.explain_labels import describe
from lazytensor.plan.memory import array_node
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Constant
from lazytensor.plan.nodes_axis import (
    BlockTotals,
    Cumulate,
    Gather,
    Lookup,
    Search,
    Sort,
    cumulate,
    lookup_size,
    tables_of,
)
from lazytensor.plan.ops_scan import CUMULATIONS
from tests.sources import ChunkedArray

X = lt.scan_source(
    ChunkedArray(
        np.arange(48).reshape(6, 8),
        (2, 3),
        origin=(5, -1),
        dims=("y", "x"),
        axes=[
            lt.Axis("y", "space", "um", 0.5, 3.0),
            lt.Axis("x", "space", labels=tuple("abcdefgh")),
        ],
    )
)
TABLE = array_node(np.arange(256))


def kinds() -> dict[str, Node]:
    x = X._node
    totals = BlockTotals("cumulative_sum", x, 1, None, 3)
    carries = Cumulate("cumulative_sum", totals, 1, None, 0, None)
    return {
        "cumulative_sum along x": Cumulate("cumulative_sum", x, 1, None, 0, None),
        "cumulative_prod along y dtype=int8": Cumulate(
            "cumulative_prod", x, 0, np.dtype("i1"), 0, None
        ),
        "cumulative_sum along x in blocks of 3": Cumulate("cumulative_sum", x, 1, None, 3, carries),
        "cumulative_sum of blocks of 3 along x": totals,
        "sort along x": Sort(x, 1, False, False),
        "argsort along y descending": Sort(x, 0, True, True),
        "take along x": Gather(x, lt.argsort(X)._node, 1),
        "look up in 256 values": Lookup(TABLE, X.astype("u1")._node),
        "search sorted 256 values (left)": Search("left", TABLE, x),
    }


@pytest.mark.parametrize("label", kinds())
def test_labels_serialising_and_pickling(label: str) -> None:
    node = kinds()[label]
    assert describe(node) == label
    # Sources of tests are not written; what lies in memory is.
    plain = lt.asarray(np.arange(48).reshape(6, 8), dims=("y", "x"))
    again = {
        "sort along x": lt.sort(plain),
        "argsort along y descending": lt.argsort(plain, axis=0, descending=True),
        "take along x": lt.take_along_axis(plain, lt.argsort(plain)),
        "search sorted 256 values (left)": lt.searchsorted(np.arange(256), plain),
        "cumulative_prod along y dtype=int8": lt.cumulative_prod(plain, axis=0, dtype="i1"),
        "look up in 256 values": lt.LazyTensor._wrap(Lookup(TABLE, plain.astype("u1")._node)),
        "cumulative_sum along x": lt.cumulative_sum(plain, axis="x"),
    }.get(label)
    if again is not None:
        read = lt.LazyTensor.deserialize(again.serialize())
        assert describe(read._node) == label
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(read)).collect(), again.collect())
        np.testing.assert_array_equal(read.collect(), again.collect())


def test_two_passes_are_serialised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes_axis, "_WHOLE_AXIS", 0)
    monkeypatch.setattr(nodes_axis, "_BLOCK", 16)
    y = lt.cumulative_sum(lt.asarray(np.arange(20)))
    read = lt.LazyTensor.deserialize(y.serialize())
    assert isinstance(read._node, Cumulate)
    assert read._node.block == 2
    np.testing.assert_array_equal(read.collect(), np.cumsum(np.arange(20)))


@pytest.mark.parametrize("label", kinds())
def test_domain_and_names_stay(label: str) -> None:
    node = kinds()[label]
    if not isinstance(node, BlockTotals):
        assert node.domain == X.domain
    else:
        assert node.shape == (6, 2)
        assert node.domain.inclusive_min == (5, 0)
    assert node.domain.labels == ("y", "x")
    assert [axis.name for axis in node.axes] == ["y", "x"]


def test_positions_along_a_sorted_axis_mean_nothing() -> None:
    y, x = lt.sort(X, axis="x").axes
    assert y == X.axes[0]
    assert x == lt.Axis("x", "space")
    assert lt.cumulative_sum(X, axis="x").axes == X.axes


def test_the_axis_is_one_cell() -> None:
    assert lt.sort(X, axis=1).chunks == (2, 8)
    assert lt.cumulative_sum(X, axis=0).chunks == (6, 3)
    assert lt.take_along_axis(X, lt.argsort(X), axis=1).chunks == (2, 8)


def test_gathering_takes_the_coordinates_of_the_indices() -> None:
    indices = lt.asarray(np.zeros((1, 3), "i8")).translate_to[5, 70]
    y = lt.take_along_axis(X, indices, axis=1)
    assert y.shape == (6, 3)
    assert y.origin == (5, 70)
    assert y.dims == ("y", "x")


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Gather(X._node, TABLE, 0), ShapeError, "as many dims"),
        (lambda: Gather(X._node, X.astype("f4")._node, 0), DTypeError, "integers"),
        (lambda: Lookup(TABLE, X._node), ShapeError, "no value for every int64"),
        (lambda: Lookup(TABLE, X.astype("u2")._node), ShapeError, "no value for every uint16"),
        (lambda: Search("left", X._node, X._node), ShapeError, "one dim"),
        (lambda: Search("left", TABLE, X.astype("f4")._node), DTypeError, "int64 for float32"),
        (lambda: Sort(array_node(np.zeros(2, "i4,i4")), 0, False, False), DTypeError, "no order"),
    ],
)
def test_what_does_not_fit_is_said_when_built(make: Any, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def test_lookup_size_counts_bit_patterns() -> None:
    sizes = {"?": 2, "u1": 256, "i1": 256, "u2": 65536, ">i2": 65536, "f2": 65536, "f4": 0}
    assert {code: lookup_size(np.dtype(code)) for code in sizes} == sizes
    assert lookup_size(np.dtype(lt.bfloat16)) == 65536
    assert lookup_size(np.dtype("S1")) == lookup_size(np.dtype("M8[s]")) == 0


def test_tables_in_memory_need_no_stage() -> None:
    assert tables_of(Search("left", TABLE, X._node)) is None
    stored = Sort(X._node.inputs[0] if X._node.inputs else X.reshape(-1)._node, 0, False, False)
    assert tables_of(Search("left", stored, X._node)) is stored
    assert tables_of(X._node) is None
    assert tables_of(Constant.of(1, np.dtype("i4"))) is None


@pytest.mark.parametrize(
    ("shape", "chunks", "axis", "block"),
    [
        ((1000,), (100,), 0, 0),  # short: whole
        ((1 << 24,), (1 << 16,), 0, 1 << 20),  # about 8 MiB of float64
        ((4000, 512, 512), (1, 512, 512), 0, 4),  # a plane is 2 MiB of them
        ((4000, 512, 512), (16, 512, 512), 0, 16),  # never less than a cell
        ((4000, 512, 512), (1, 512, 512), 2, 0),
        ((20, 4096, 4096), (20, 4096, 4096), 0, 0),  # one cell: nothing to be won
    ],
)
def test_blocks_are_whole_cells(
    shape: tuple[int, ...], chunks: tuple[int, ...], axis: int, block: int
) -> None:
    values = np.broadcast_to(np.float32(0), shape)
    node = cumulate("cumulative_sum", lt.scan_source(ChunkedArray(values, chunks))._node, axis)
    assert node.block == block
    assert (node.carries is None) == (block == 0)
    if block:
        assert node.carries is not None
        assert node.carries.shape[axis] == (shape[axis] - 1) // block


@pytest.mark.parametrize("name", CUMULATIONS)
@pytest.mark.parametrize("dtype", ["?", "i1", "u2", "i8", "u8", "f2", "f4", "f8", "c8", "c16"])
def test_dtypes_are_those_of_sums(name: str, dtype: str) -> None:
    expected = getattr(lt, name.removeprefix("cumulative_"))(lt.asarray(np.zeros(3, dtype))).dtype
    assert CUMULATIONS[name].result_dtype(np.dtype(dtype)) == expected


def test_what_is_no_number_is_refused() -> None:
    for dtype in ("S3", "M8[s]"):
        with pytest.raises(DTypeError, match="cumulative_sum is not defined"):
            CUMULATIONS["cumulative_sum"].result_dtype(np.dtype(dtype))
    with pytest.raises(DTypeError, match="dtype=float32"):
        CUMULATIONS["cumulative_sum"].result_dtype(np.dtype("c8"), np.dtype("f4"))
