"""Sparse matrices in packets: boxes made dense, indices that are looked at first, memory."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.io import tenso
from lazytensor.io.tenso.header import Flag, make_header
from tests.engines import ENGINES
from tests.io.tenso.lazily import ONE, counted, read

VECTORS = Path(__file__).parents[2] / "vectors" / "tenso"
FLAGS = {"coo": Flag.COO, "csr": Flag.CSR, "csc": Flag.CSC}
RNG = np.random.default_rng(8)


def packet(kind: str, shape: tuple[int, int], *parts: np.ndarray, **options: Any) -> bytes:
    """A sparse packet of parts, which need not make sense."""
    out = make_header(FLAGS[kind], 0, shape)
    for part in parts:
        inner = bytes(tenso.dumps(part, **options))
        out += len(inner).to_bytes(4, "little") + inner
    return out


def triples(
    shape: tuple[int, int], count: int, dtype: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Elements in no order, several in one place."""
    rows, columns = (RNG.integers(0, n, count) for n in shape)
    return RNG.integers(-9, 9, count).astype(dtype), rows, columns


def dense(
    shape: tuple[int, int], values: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    out = np.zeros(shape, values.dtype)
    with np.errstate(over="ignore"):
        for value, row, column in zip(values, rows, columns, strict=True):
            out[row, column] += value
    return out


def made(kind: str, shape: tuple[int, int], count: int, dtype: str) -> tuple[bytes, np.ndarray]:
    values, rows, columns = triples(shape, count, dtype)
    want = dense(shape, values, rows, columns)
    if kind == "coo":
        return packet(kind, shape, values, rows.astype("i4"), columns.astype("i4")), want
    line, cross, n = (rows, columns, shape[0]) if kind == "csr" else (columns, rows, shape[1])
    order = np.argsort(line, kind="stable")
    cuts = np.searchsorted(line[order], np.arange(n + 1)).astype("i4")
    return packet(kind, shape, values[order], cross[order].astype("i4"), cuts), want


@pytest.mark.parametrize("kind", FLAGS)
@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "u1", "?", "c16", "f2", "bfloat16"])
def test_boxes(kind: str, dtype: str) -> None:
    data, want = made(kind, (23, 31), 150, "f4" if dtype == "bfloat16" else dtype)
    if dtype == "bfloat16":
        data, want = made(kind, (23, 31), 150, lt.bfloat16)
    x = lt.scan_tenso(({"a": data}, "a"))
    assert x.shape == want.shape and x.dtype == want.dtype
    keys = (np.s_[:], np.s_[5:9], np.s_[:, 3:7], np.s_[::-2, 1::3], np.s_[4], np.s_[..., -1])
    for key in (*keys, np.s_[7, 8], np.s_[3:3]):
        for engine in ENGINES.values():
            assert np.array_equal(x[key].collect(engine=engine), want[key])
    assert np.array_equal(x.mT[3:5].collect(), want.T[3:5])


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(sorted(FLAGS)),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.integers(0, 40),
    st.data(),
)
def test_any_box(kind: str, shape: tuple[int, int], count: int, data: st.DataObject) -> None:
    stored, want = made(kind, shape, count, "i4")
    x = lt.scan_tenso(({"a": stored}, "a"))
    key = tuple(
        data.draw(st.slices(n) | st.integers(-n, n - 1), label=f"dim of {n}") for n in shape
    )
    assert np.array_equal(x[key].collect(), want[key])


def test_scipy_agrees() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    values, rows, columns = triples((50, 70), 400, "f4")
    coo = sparse.coo_matrix((values, (rows, columns)), shape=(50, 70))
    for matrix in (coo, coo.tocsr(), coo.tocsc()):
        x = lt.scan_tenso(bytes(tenso.dumps(matrix)))
        assert np.array_equal(x.collect(), matrix.toarray())
    found = lt.open_tenso(tenso.dumps({"m": coo.tocsr(), "d": values}))
    assert np.array_equal(found["m"][3].collect(), coo.toarray()[3])
    assert found.info("m")["kind"] == "csr"


def test_what_is_stored_is_read_once() -> None:
    data, want = made("csr", (200, 300), 5000, "f4")
    store, x = counted(data)
    assert not store.log
    assert x[3].estimate(exact=True).bytes_read == 5000 * 8 + 201 * 4
    assert np.array_equal(x[3].collect(), want[3])
    assert read(store) == 5000 * 8 + 201 * 4
    assert np.array_equal(x.collect(engine=ONE), want) and read(store) == 0
    assert x[3].estimate(exact=True).bytes_read == 0
    y = pickle.loads(pickle.dumps(x))
    assert np.array_equal(y[7].collect(), want[7])


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "u4", "i8", "u8", ">i4"])
@pytest.mark.parametrize("kind", FLAGS)
def test_dtypes_of_indices(kind: str, dtype: str) -> None:
    values, rows, columns = triples((90, 100), 60, "f4")
    want = dense((90, 100), values, rows, columns)
    line, cross, n = (columns, rows, 100) if kind == "csc" else (rows, columns, 90)
    if kind != "coo":
        order = np.argsort(line, kind="stable")
        values, cross = values[order], cross[order]
        parts = cross, np.searchsorted(line[order], np.arange(n + 1))
    else:
        parts = rows, columns
    x = lt.scan_tenso(packet(kind, (90, 100), values, *[part.astype(dtype) for part in parts]))
    assert np.array_equal(x.collect(), want)
    assert np.array_equal(x[40:, 7:50:3].collect(), want[40:, 7:50:3])


def test_parts_may_be_compressed_and_checked() -> None:
    parts = np.arange(3.0), np.array([0, 2, 1]), np.array([0, 2, 3])
    data = packet("csr", (2, 3), *parts, compress=True, check_integrity=True)
    assert np.array_equal(lt.scan_tenso(data).collect(), [[0, 0, 1], [0, 2, 0]])
    damaged = bytearray(packet("csr", (2, 3), *parts, check_integrity=True))
    damaged[90] ^= 1
    with pytest.raises(lt.ChecksumError, match="data"):
        lt.scan_tenso(bytes(damaged)).collect()


ONES = np.ones(2, "f4")


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("coo", (ONES, np.array([0, 3]), np.array([0, 0]))),
        ("coo", (ONES, np.array([0, -1]), np.array([0, 0]))),
        ("coo", (ONES, np.array([0, 1]), np.array([0, 4]))),
        ("coo", (ONES, np.array([0]), np.array([0, 1]))),
        ("coo", (ONES, np.array([0.0, 1.0]), np.array([0, 1]))),
        ("csr", (ONES, np.array([0, 4]), np.array([0, 1, 2, 2]))),
        ("csr", (ONES, np.array([0, 1]), np.array([0, 2, 1, 2]))),
        ("csr", (ONES, np.array([0, 1]), np.array([1, 1, 2, 2]))),
        ("csr", (ONES, np.array([0, 1]), np.array([0, 1, 2, 3]))),
        ("csr", (ONES, np.array([0, 1]), np.array([0, 1, 2]))),
        ("csr", (ONES, np.array([0, 1]), np.array([0, -5, 2, 2]))),
        ("csc", (ONES, np.array([0, 3]), np.array([0, 1, 2, 2, 2]))),
        ("csc", (ONES, np.array([0, 1]), np.array([0, 1, 2, 2]))),
    ],
    ids=str,
)
def test_indices_are_checked_before_they_are_followed(kind: str, parts: Any) -> None:
    x = lt.scan_tenso(packet(kind, (3, 4), *parts))
    for _ in range(2):
        with pytest.raises(lt.FormatError, match="tenso bytes"):
            x[0].collect()


class TestHuge:
    """2^64 places, one element."""

    X = VECTORS / "malformed" / "coo_huge_shape_ok.tenso"

    def test_a_slice_is_fine(self) -> None:
        x = lt.scan_tenso(self.X)
        assert x.shape == (2**32 - 1, 2**32 - 1)
        entries = tenso.loads(self.X.read_bytes()).tocoo()
        row, column, value = int(entries.row[0]), int(entries.col[0]), entries.data[0]
        window = x[max(0, row - 3) : row + 3, max(0, column - 5) : column + 5].collect()
        assert window.sum() == value
        assert x[-5:, -5:].collect().shape == (5, 5)
        assert x[row, column].collect() == value

    def test_all_of_it_is_refused(self) -> None:
        x = lt.scan_tenso(self.X)
        with pytest.raises(lt.MemoryLimitError):
            x.collect()
        with pytest.raises(lt.MemoryLimitError):
            (x[:, : 2**20] + 1).collect()

    def test_a_row_in_blocks(self) -> None:
        row = lt.scan_tenso(self.X)[5, : 1 << 26]
        engine = lt.LocalEngine(max_memory="64 MiB")
        assert row.astype("f4").max().collect(engine=engine) >= 0
