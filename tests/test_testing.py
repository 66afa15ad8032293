"""The helpers that tests of other code use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.testing import CountingStore, assert_equal, raise_if_collects
from tests.io.zarr_cases import array_v3


class TestAssertEqual:
    @pytest.mark.parametrize(
        "value",
        [[1, 2], [1.5, float("nan"), -0.0], [1j, complex("nan")], ["a", "bc"], True, []],
    )
    def test_equal(self, value: object) -> None:
        assert_equal(lt.asarray(value), np.asarray(value))
        assert_equal(value, lt.asarray(value))

    @pytest.mark.parametrize(
        ("a", "b", "message"),
        [
            ([1, 2], [1, 3], r"1 of 2 values differ\n  at \[1\]: .*2.* and .*3"),
            ([1, 2], [1.0, 2.0], "dtypes differ: int64 and float64"),
            ([1, 2], [[1, 2]], r"shapes differ: \(2,\) and \(1, 2\)"),
            ([0.0], [-0.0], "1 of 1"),
            (list(range(9)), list(range(1, 10)), "… and 4 more"),
        ],
    )
    def test_different(self, a: list[object], b: list[object], message: str) -> None:
        with pytest.raises(AssertionError, match=message):
            assert_equal(lt.asarray(a), b)

    def test_domains_count_between_tensors(self) -> None:
        x = lt.arange(4)
        assert_equal(x[1:], np.arange(1, 4))
        with pytest.raises(AssertionError, match="domains differ"):
            assert_equal(x[1:], lt.arange(1, 4))
        with pytest.raises(AssertionError, match="domains differ"):
            assert_equal(x, x.label["x"])

    def test_structures_and_small_floats(self) -> None:
        a = np.array([(1, -0.0)], [("a", "i4"), ("b", "f8")])
        assert_equal(a, a.copy())
        b = a.copy()
        b["b"] = 0.0
        with pytest.raises(AssertionError):
            assert_equal(a, b)
        f = np.array([1.5, np.nan], lt.bfloat16)
        assert_equal(f, f.copy())


def test_raise_if_collects_closes_every_way() -> None:
    x = lt.arange(3)
    with raise_if_collects():
        y = x + 1
        for computes in (
            y.collect,
            y.to_numpy,
            lambda: np.asarray(y),
            lambda: float(y[0]),
            lambda: y.collect(background=True),
            lambda: lt.collect_all([y]),
            lambda: y[y],
        ):
            with pytest.raises(RuntimeError, match="raise_if_collects"):
                computes()  # type: ignore[operator]
    assert y.collect().tolist() == [1, 2, 3]


def test_counting_store_tells_what_was_read() -> None:
    metadata = {
        "zarr_format": 2, "shape": [8], "chunks": [2], "dtype": "|u1",
        "compressor": None, "fill_value": 0, "order": "C", "filters": None,
    }  # fmt: skip
    chunks = {str(i): bytes([2 * i, 2 * i + 1]) for i in range(4)}
    store = CountingStore({".zarray": json.dumps(metadata).encode(), **chunks})
    assert CountingStore is lt.testing.CountingStore
    x = lt.scan_zarr(store)
    store.reset()
    assert x[3:5].collect().tolist() == [3, 4]
    assert store.requests == 2 and store.bytes == 4
    with pytest.raises(AttributeError):
        _ = lt.testing.Nothing


def test_a_counting_store_counts_also_when_the_store_is_known_already(tmp_path: Path) -> None:
    (tmp_path / "zarr.json").write_text(json.dumps(array_v3((4,), (2,))))
    plain = lt.scan_zarr(tmp_path)
    store = lt.testing.CountingStore(tmp_path)
    counted = lt.scan_zarr(store)
    assert counted._node is not plain._node and counted._node is lt.scan_zarr(store)._node
    plain.collect()
    before = store.requests
    counted[:2].collect()
    assert store.requests == before + 1
