"""NumPy functions with a twin stay lazy, take NumPy's arguments and give NumPy's values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.numpy_twins import twin_of
from tests.plans import distinct

CUBE = distinct((4, 6, 4), np.dtype("i8"))
FLAT = distinct((12,), np.dtype("f8"))
ODD = np.array([np.nan, np.inf, -np.inf, 1.0, 1.0 + 1e-9, -0.0])

CALLS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "append": lambda x, v, o: (np.append(x, x, axis=1), np.append(x, [1, 2])),
    "array_split": lambda x, v, o: np.array_split(v, 5) + np.array_split(x, [1, 3], axis=1),
    "atleast": lambda x, v, o: (np.atleast_1d(v), np.atleast_2d(v), np.atleast_3d(v),
                                np.atleast_3d(x[0]), *np.atleast_2d(v, x)),
    "column_stack": lambda x, v, o: np.column_stack([v, v * 2]),
    "concat": lambda x, v, o: (np.concatenate([x, x], axis=2), np.concat([v, v])),
    "copy": lambda x, v, o: np.copy(x),
    "diagonal": lambda x, v, o: (np.diagonal(x), np.diagonal(x, 2), np.diagonal(x, -3, 1, 2),
                                 np.diagonal(x, 1, 2, 0), np.diagonal(x, 9)),
    "divmod": lambda x, v, o: (*np.divmod(x, 3), *np.divmod(v, -2.5)),
    "dot": lambda x, v, o: (np.dot(x[0], x[1].T), np.dot(v, v), np.dot(v, 2), np.dot(x, x[0, :4])),
    "dsplit": lambda x, v, o: np.dsplit(x, 2),
    "dstack": lambda x, v, o: (np.dstack([v, v]), np.dstack([x[0], x[1]])),
    "flips": lambda x, v, o: (np.fliplr(x), np.flipud(x), np.flip(x, 1)),
    "hsplit": lambda x, v, o: np.hsplit(x, 3) + np.hsplit(v, [2, 5]),
    "hstack": lambda x, v, o: (np.hstack([v, v]), np.hstack([x, x])),
    "inner": lambda x, v, o: (np.inner(v, v), np.inner(x, x[0]), np.inner(x, 2)),
    "isclose": lambda x, v, o: (np.isclose(o, 1.0), np.isclose(o, o, equal_nan=True),
                                np.isclose(x, x + 1), np.isclose(o, o[::-1], rtol=0.5)),
    "infinite": lambda x, v, o: (np.isneginf(o), np.isposinf(o)),
    "linalg": lambda x, v, o: (np.linalg.diagonal(x, offset=1), np.linalg.trace(x, offset=-1),
                               np.linalg.matmul(x, x[0, :4]), np.linalg.matrix_transpose(x),
                               np.linalg.outer(v, v), np.linalg.tensordot(x, x, axes=3),
                               np.linalg.vecdot(x, x, axis=1)),
    "matmul": lambda x, v, o: (np.matmul(x, x[0, :4]), np.matvec(x, x[0, 0]),
                               np.vecmat(x[0, :4], x[:, :4])) if hasattr(np, "vecmat") else (),
    "outer": lambda x, v, o: np.outer(v, x),
    "ptp": lambda x, v, o: (np.ptp(x), np.ptp(x, axis=1), np.ptp(x, axis=(0, 2), keepdims=True)),
    "rollaxis": lambda x, v, o: (np.rollaxis(x, 2), np.rollaxis(x, 0, 3), np.rollaxis(x, 1, -1)),
    "rot90": lambda x, v, o: [np.rot90(x, k, axes) for k in range(-2, 5)
                              for axes in ((0, 1), (2, 0))],
    "split": lambda x, v, o: np.split(x, 2, axis=1) + np.split(v, [3, 7, 20]),
    "tensordot": lambda x, v, o: (np.tensordot(x, x, 3), np.tensordot(x, x, ([0, 1], [2, 1]))),
    "trace": lambda x, v, o: (np.trace(x), np.trace(x, 1, 2, 0, dtype="f4")),
    "vdot": lambda x, v, o: (np.vdot(x, x), np.vdot(v * 1j, v)),
    "vecdot": lambda x, v, o: (np.vecdot(x, x), np.vecdot(x, x, axis=0)),
    "vsplit": lambda x, v, o: np.vsplit(x, 2),
    "vstack": lambda x, v, o: (np.vstack([v, v]), np.vstack([x, x])),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_a_function_stays_lazy_and_gives_numpys_values(name: str) -> None:
    with lt.testing.raise_if_collects():
        found = CALLS[name](lt.asarray(CUBE), lt.asarray(FLAT), lt.asarray(ODD))
    with np.errstate(all="ignore"):
        expected = CALLS[name](CUBE, FLAT, ODD)
    if isinstance(found, lt.LazyTensor):
        found, expected = (found,), (expected,)
    assert len(found) == len(expected)
    for lazy, values in zip(found, expected, strict=True):
        assert isinstance(lazy, lt.LazyTensor)
        assert (lazy.dtype, lazy.shape) == (values.dtype, values.shape)
        np.testing.assert_array_equal(lazy.collect(), values)


def test_questions_about_dtypes_compute_nothing() -> None:
    x = lt.asarray(FLAT)
    with lt.testing.raise_if_collects():
        assert not np.iscomplexobj(x)
        assert np.isrealobj(x)
        assert np.ndim(x) == 1
        assert np.size(x) == 12
        assert np.shape(x) == (12,)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: np.add(x, 1, out=x),
        lambda x: np.matmul(x, x, out=x),
        lambda x: np.sum(x, out=x),
        lambda x: np.add.at(x, 0, 1),
    ],
)
def test_nothing_is_written_into_a_tensor(call: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match=r"immutable|out"):
        call(lt.asarray(FLAT))


def test_a_ufunc_with_where_works_on_values() -> None:
    x = lt.asarray(FLAT)
    out = np.zeros(12)
    mask = FLAT > 50
    result = np.add(x, 1, out=out, where=mask)
    assert result is out
    np.testing.assert_array_equal(out, np.where(mask, FLAT + 1, 0))


def test_what_does_not_divide_is_refused() -> None:
    x = lt.asarray(FLAT)
    with pytest.raises(lt.ShapeError, match="do not divide"):
        np.split(x, 5)
    with pytest.raises(lt.ShapeError, match="must be positive"):
        np.array_split(x, 0)
    with pytest.raises(lt.ShapeError, match="takes two dims"):
        np.diagonal(x)
    with pytest.raises(lt.ShapeError, match="two different axes"):
        np.diagonal(lt.asarray(CUBE), 0, 1, -2)
    with pytest.raises(lt.ShapeError, match="are the same"):
        np.rot90(lt.asarray(CUBE), 1, (0, 0))


def test_a_diagonal_keeps_to_what_it_looks_at() -> None:
    x = lt.asarray(CUBE, dims=("z", "y", "x"))[1:, 2:]
    assert np.diagonal(x, axis1=0, axis2=2).dims == ("y", "")
    np.testing.assert_array_equal(np.diagonal(x, 1).collect(), np.diagonal(CUBE[1:, 2:], 1))


def test_functions_without_a_twin_work_on_values() -> None:
    x = lt.asarray(FLAT)
    assert twin_of(np.convolve) is None
    np.testing.assert_array_equal(np.convolve(x, [1, 2]), np.convolve(FLAT, [1, 2]))
