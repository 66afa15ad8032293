"""Who may compute: what NumPy, DLPack and Python ask for by themselves, and what stays a plan."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lazytensor as lt

VALUES = np.arange(24.0).reshape(2, 3, 4)
X = lt.asarray(VALUES, dims=("c", "y", "x"))

LAZY: dict[str, Callable[[Any], Any]] = {
    "sin": np.sin, "add": lambda a: np.add(a, 1), "sum": lambda a: np.sum(a, axis=0),
    "mean": lambda a: np.mean(a, axis=(0, 1), keepdims=True), "std": lambda a: np.std(a, ddof=1),
    "concatenate": lambda a: np.concatenate([a, VALUES], axis=1), "stack": lambda a: np.stack([a]),
    "where": lambda a: np.where(a > 3, a, 0), "clip": lambda a: np.clip(a, 1, 5),
    "transpose": lambda a: np.transpose(a, (2, 0, 1)), "reshape": lambda a: np.reshape(a, (6, 4)),
    "flip": np.flip, "roll": lambda a: np.roll(a, 1), "pad": lambda a: np.pad(a, 1),
    "take": lambda a: np.take(a, [0, 1], axis=2), "max": np.max, "argmax": np.argmax,
    "any": lambda a: np.any(a > 1), "count": np.count_nonzero, "tril": np.tril, "round": np.round,
    "astype": lambda a: np.astype(a, np.dtype("f4")), "swapaxes": lambda a: np.swapaxes(a, 0, 1),
    "zeros_like": np.zeros_like, "add.reduce": lambda a: np.add.reduce(a, axis=0),
    "array + lazy": lambda a: VALUES + a, "scalar * lazy": lambda a: np.float32(2) * a,
    "array == lazy": lambda a: a == VALUES, "divide": lambda a: 1 / (a + 1),
}  # fmt: skip


@pytest.mark.parametrize("function", LAZY.values(), ids=LAZY.keys())
def test_numpy_functions_with_a_twin_stay_lazy(function: Callable[[Any], Any]) -> None:
    with lt.testing.raise_if_collects():
        result = function(X)
    assert isinstance(result, lt.LazyTensor)
    expected = function(VALUES)
    # Some NumPy releases count in Python integers.
    assert result.dtype == np.asarray(expected).dtype
    np.testing.assert_allclose(result.collect(), expected, rtol=1e-15)


def test_questions_about_dtypes_compute_nothing() -> None:
    with lt.testing.raise_if_collects():
        assert np.result_type(X, np.float32) == np.float64
        assert np.can_cast(X, np.float64) and not np.can_cast(X, np.int8)
        assert (np.shape(X), np.ndim(X), np.size(X)) == ((2, 3, 4), 3, 24)


ASKS: dict[str, Callable[[], Any]] = {
    "bool": lambda: bool(X[0, 0, 1]), "int": lambda: int(X[0, 0, 1]),
    "float": lambda: float(X[0, 0, 1]), "complex": lambda: complex(X[0, 0, 1]),
    "index": lambda: [0, 1, 2][lt.asarray(1)], "asarray": lambda: np.asarray(X),
    "from_dlpack": lambda: np.from_dlpack(X), "a tensor as index": lambda: X[lt.asarray([0])],
    "oindex": lambda: X.oindex[lt.asarray([0])], "isel": lambda: X.isel(c=lt.asarray([0])),
    "no twin": lambda: np.unwrap(X),
}  # fmt: skip


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS.keys())
def test_implicit_collects_follow_the_policy(ask: Callable[[], Any]) -> None:
    ask()
    with lt.Config(implicit_collect="warn"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ask()
    assert [warning.filename for warning in caught] == [__file__]
    with lt.Config(implicit_collect="raise"), pytest.raises(RuntimeError, match="implicit"):
        ask()


def test_what_is_said_is_not_implicit() -> None:
    with lt.Config(implicit_collect="raise"):
        assert X.collect().shape == X.to_numpy().shape == (2, 3, 4)
        assert repr(X) and X._repr_html_() and X.explain()


def test_an_array_of_a_tensor_is_always_a_copy() -> None:
    with pytest.raises(ValueError, match="copy=False"):
        np.asarray(X, copy=False)
    assert np.asarray(X, dtype="i4").dtype == np.dtype("i4")
    assert not np.shares_memory(np.asarray(X), VALUES)


def test_flags_must_be_flags() -> None:
    with pytest.raises(TypeError, match="QueryOptFlags"):
        X.collect(optimizations=True)  # type: ignore[arg-type]


def test_functions_take_axes_where_the_standard_has_them() -> None:
    assert lt.expand_dims(X, 1).shape == lt.expand_dims(X, axis=1).shape == (2, 1, 3, 4)


def test_verbose_tells_plans_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with lt.Config(verbose=True):
        (X + 1).collect()
    said = capsys.readouterr().err.splitlines()
    assert said[1].startswith("add") and said[-1].startswith("reads 0 of 0 chunks")


@pytest.mark.parametrize("name", ["plain", "tree", "dot", "json", "html"])
@pytest.mark.parametrize("optimized", [True, False])
def test_explain_says_what_will_be_read(name: Any, optimized: bool) -> None:
    text = (X[1:] + 1).explain(format=name, optimized=optimized)
    assert "peak" in text
    if name == "plain":
        assert text.splitlines()[-1].startswith("reads 0 of 0 chunks, ~0 B · peak memory ≤ ")
    if name == "html":
        assert text.startswith('<div class="lazytensor-plan"') and text.endswith("</div>")


def test_explain_of_tasks_ends_the_same_way() -> None:
    assert (X + 1).explain(stage="physical").splitlines()[-1].startswith("reads ")


def test_kernels_are_an_option_and_an_argument() -> None:
    for kernels in ("auto", "numba", "numpy"):
        assert lt.LocalEngine(kernels=kernels).kernels == kernels
        with lt.Config(kernels=kernels):
            assert lt.LocalEngine().kernels == kernels
    for refused in (lt.Config, lt.LocalEngine, lt.set_config):
        with pytest.raises(ValueError, match="not one of auto, numba, numpy"):
            refused(kernels="fortran")


def test_other_libraries_get_the_byte_order_they_have() -> None:
    x = lt.asarray(np.arange(3, dtype=">i4"))
    assert x.collect().dtype == np.dtype(">i4")
    assert np.from_dlpack(x.to_dlpack()).tolist() == np.from_dlpack(x).tolist() == [0, 1, 2]
    torch = pytest.importorskip("torch")
    assert torch.equal(x.to_torch(), torch.arange(3, dtype=torch.int32))
