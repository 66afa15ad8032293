"""Sparse matrices and strings: checked before anybody follows their indices."""

from __future__ import annotations

import builtins
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import lazytensor as lt
from lazytensor.errors import DTypeError, FormatError, ShapeError
from lazytensor.io.tenso.encode import begin
from lazytensor.io.tenso.header import STRINGS, Flag
from tests.io.tenso.packets import MALFORMED, VECTORS

tenso = lt.io.tenso
scipy_sparse = pytest.importorskip("scipy.sparse", reason="scipy is an extra")


def matrix(kind: str, dtype: Any = np.float32) -> Any:
    dense = np.arange(54).reshape(6, 9) % 5
    return getattr(scipy_sparse, f"{kind}_matrix")(dense.astype(dtype))


@pytest.mark.parametrize("kind", ["coo", "csr", "csc"])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "u8", "?", "c8"])
def test_matrices(kind: str, dtype: str) -> None:
    expected = matrix(kind, dtype)
    for data in (tenso.dumps(expected), tenso.dumps({"m": expected}, check_integrity=True)):
        for copy in (False, True):
            found = tenso.loads(data, copy=copy)
            found = found["m"] if isinstance(found, dict) else found
            assert (found.format, found.dtype) == (kind, expected.dtype)
            np.testing.assert_array_equal(found.toarray(), expected.toarray())
    info = tenso.packet_info(tenso.dumps(expected))
    assert (info["kind"], info["shape"], info["elements"]) == (kind, (6, 9), expected.nnz)
    assert info["dtype"] == expected.dtype.name


def test_sparse_arrays_and_wide_indices() -> None:
    wide = scipy_sparse.coo_array((np.ones(1), (np.array([2**33 % 7]), np.array([5]))), (7, 9))
    wide.row = wide.row.astype(np.int64)
    found = tenso.loads(tenso.dumps(wide))
    np.testing.assert_array_equal(found.toarray(), wide.toarray())
    empty = scipy_sparse.csr_matrix((0, 5), dtype=np.float32)
    assert tenso.loads(tenso.dumps(empty)).shape == (0, 5)


@pytest.mark.parametrize("kind", ["bsr", "lil", "dia", "dok"])
def test_kinds_that_packets_do_not_hold(kind: str) -> None:
    with pytest.raises(DTypeError, match="tocsr"):
        tenso.dumps(matrix("csr").asformat(kind))


def test_matrices_have_two_dims() -> None:
    with pytest.raises(ShapeError, match="2 dims"):
        tenso.dumps(scipy_sparse.coo_array(np.arange(3)))


def replaced(kind: str, name: str, values: Any) -> bytes:
    """A packet of a matrix one of whose parts is something else."""
    parts = {"coo": ("data", "row", "col")}.get(kind, ("data", "indices", "indptr"))
    found = matrix(kind)
    out = bytes(tenso.dumps(found))[:18]
    for part in parts:
        inner = bytes(tenso.dumps(values if part == name else np.asarray(getattr(found, part))))
        out += len(inner).to_bytes(4, "little") + inner
    return out


def without_last(kind: str, name: str) -> Any:
    return np.asarray(getattr(matrix(kind), name))[:-1]


def with_value(kind: str, name: str, at: int, value: int) -> np.ndarray:
    part = np.array(getattr(matrix(kind), name), np.int64)
    part[at] = value
    return part


@pytest.mark.parametrize(
    ("kind", "name", "values", "why"),
    [
        ("coo", "row", with_value("coo", "row", 3, 6), "row 6 at element 3"),
        ("coo", "col", with_value("coo", "col", 0, -1), "col -1 at element 0"),
        ("csr", "indices", with_value("csr", "indices", 5, 9), "indices 9 at element 5"),
        ("csc", "indices", with_value("csc", "indices", 5, 6), "indices 6 at element 5"),
        ("csr", "indptr", with_value("csr", "indptr", 2, 1), "does not rise"),
        ("csr", "indptr", with_value("csr", "indptr", 0, 1), "does not rise"),
        ("csr", "indptr", with_value("csr", "indptr", -1, 10**9), "does not rise"),
        ("csc", "indptr", with_value("csc", "indptr", 3, 2**62), "does not rise"),
        ("csr", "indptr", without_last("csr", "indptr"), "expected 7 in indptr"),
        ("csr", "indptr", np.zeros(0, np.int32), "expected 7 in indptr"),
        ("coo", "row", without_last("coo", "row"), "in row, but"),
        ("coo", "col", np.array([1.5, 2]), "expected integers as col"),
        ("csr", "indptr", np.ones(7, bool), "expected integers as indptr"),
        ("coo", "data", np.ones((2, 3)), "one dim"),
        ("csr", "data", {"a": np.ones(1)}, "one dim"),
    ],
)
def test_indices_that_lead_elsewhere(kind: str, name: str, values: Any, why: str) -> None:
    data = replaced(kind, name, values)
    with pytest.raises(FormatError, match=why):
        tenso.loads(data)


def test_unsigned_indices_beyond_int64_are_outside() -> None:
    row = np.array(matrix("coo").row, np.uint64)
    row[1] = 2**64 - 1
    with pytest.raises(FormatError, match="lies outside"):
        tenso.loads(replaced("coo", "row", row))


@pytest.mark.parametrize("kind", ["coo", "csr", "csc"])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_what_scipy_has_no_matrix_of(kind: str, dtype: Any) -> None:
    data = replaced(kind, "data", matrix(kind).data.astype(dtype))
    with pytest.raises(FormatError, match=f"no matrix of {np.dtype(dtype).name}"):
        tenso.loads(data)


def test_matrices_can_be_refused() -> None:
    data = tenso.dumps({"a": np.ones(1), "m": matrix("csr")})
    with pytest.raises(FormatError, match=r"\['m'\].*scan_tenso"):
        tenso.loads(data, sparse="raise")


def test_without_scipy_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    data = tenso.dumps(matrix("coo"))
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("scipy"):
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"lazytensor-engine\[sparse\]"):
        tenso.loads(data)


def test_a_huge_matrix_stays_sparse() -> None:
    name = next(v["file"] for v in MALFORMED if v["file"] == "coo_huge_shape_ok.tenso")
    found = tenso.loads((VECTORS / "malformed" / name).read_bytes())
    assert (found.shape, found.nnz) == ((2**32 - 1, 2**32 - 1), 1)


TEXT = ["hi", "", "world", "ñ", "日本" * 100]


@pytest.mark.parametrize(
    "strings",
    [tenso.StringTensor(TEXT), np.array(TEXT), np.array(TEXT, np.dtypes.StringDType())],
    ids=["tensor", "U", "StringDType"],
)
def test_strings(strings: Any) -> None:
    for options in ({}, {"check_integrity": True}, {"compress": True}):
        data = tenso.dumps(strings, **options)
        for copy in (False, True):
            found = tenso.loads(data, copy=copy)
            assert list(found) == TEXT and found == tenso.StringTensor(TEXT)
            array = np.asarray(found)
            assert array.dtype == np.dtypes.StringDType() and array.tolist() == TEXT
            assert np.asarray(found, dtype="U200").tolist() == TEXT
    assert tenso.packet_info(data)["shape"] == (5,)
    assert tenso.dumps(found) == tenso.dumps(strings)


def test_strings_are_a_sequence() -> None:
    found = tenso.loads(tenso.dumps({"s": tenso.StringTensor(TEXT)}))["s"]
    assert (len(found), found[-1], found[1]) == (5, TEXT[-1], "")
    assert list(found[::-2]) == TEXT[::-2] and list(found[9:]) == []
    assert "world" in found and found.index("ñ") == 3
    assert found.nbytes == len("".join(TEXT).encode()) and found.shape == (5,)
    assert repr(found) == "StringTensor(['hi', '', 'world', ...], 5 strings)"
    assert found != TEXT and tenso.StringTensor() == tenso.StringTensor([])
    for wrong in (5, -6):
        with pytest.raises(IndexError):
            found[wrong]
    with pytest.raises(ValueError, match="copy"):
        np.asarray(found, copy=False)


def test_what_are_no_strings() -> None:
    with pytest.raises(DTypeError, match="found int at 1"):
        tenso.StringTensor(["a", 1])  # type: ignore[list-item]
    with pytest.raises(ShapeError, match="ravel"):
        tenso.dumps(np.array([["a"]]))


def packed(offsets: list[int], payload: bytes) -> bytes:
    head = begin(Flag.STRING, STRINGS, (len(offsets) - 1,), 64)
    return head + np.array(offsets, "<u8").tobytes() + payload


def test_text_that_is_no_utf8_is_found_when_it_is_read() -> None:
    found = tenso.loads(packed([0, 2, 3, 5], b"ok\xffok"))
    assert (found[0], found[2]) == ("ok", "ok")
    with pytest.raises(FormatError, match="string 1 of 3 is no UTF-8"):
        found[1]
    with pytest.raises(FormatError, match="UTF-8"):
        np.asarray(found)


@pytest.mark.parametrize(
    "offsets", [[0, 2, 1, 5], [1, 2, 3, 5], [0, 6, 6, 5], [0, 2**63, 2**64 - 1, 5]]
)
def test_offsets_rise(offsets: list[int]) -> None:
    with pytest.raises(FormatError, match="do not rise"):
        tenso.loads(packed(offsets, b"abcde"))


def test_offsets_end_within_the_packet() -> None:
    for wrong in (6, 2**63, 2**64 - 1):
        with pytest.raises(FormatError, match="truncated"):
            tenso.loads(packed([0, wrong], b"abcde"))
