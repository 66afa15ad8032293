"""What people get wrong with functions: the line that builds the plan raises, and says the way out.

Every error of a tensor is one of ``lazytensor.errors`` and the builtin that NumPy code catches; a
wrong value of an option is a plain ``ValueError`` or ``TypeError``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazytensor as lt

X = lt.asarray(np.arange(24.0).reshape(2, 3, 4), dims=("c", "y", "x"))
LINE = lt.asarray(np.arange(5.0))
SCALAR = lt.asarray(3.0)
COMPLEX = lt.asarray([1 + 2j, 3])
TEXT = lt.asarray(np.array(["b", "a"], np.dtypes.StringDType()))
RECORDS = lt.asarray(np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]))
INDICES = lt.zeros((2, 3, 1), dtype=np.int64)

Attempt = Callable[[], object]

OF_TENSORS: dict[str, tuple[Attempt, type[Exception], str]] = {
    # Along an axis.
    "sort an axis that is not there": (
        lambda: lt.sort(X, axis=3), lt.DimensionError, r"axis 3 .*\(c: 2, y: 3, x: 4\)",
    ),
    "sort a name that is not there": (
        lambda: lt.sort(X, axis="z"), lt.DimensionError, "no dim 'z'.* 'c', 'y', 'x'",
    ),
    "sort several axes": (
        lambda: lt.sort(X, axis=(0, 1)), lt.DimensionError, "a number or a name",  # type: ignore[arg-type]
    ),
    "sort a scalar": (lambda: lt.sort(SCALAR), lt.DimensionError, "reshape it to one dim"),
    "sort records": (lambda: lt.sort(RECORDS), lt.DTypeError, "sort one field of it"),
    "argsort records": (lambda: lt.argsort(RECORDS), lt.DTypeError, "sort one field of it"),
    "cumulate several dims": (
        lambda: lt.cumulative_sum(X), lt.DimensionError, "has 3 dims, say along which: axis=",
    ),
    "cumulate text": (lambda: lt.cumulative_sum(TEXT), lt.DTypeError, "it takes numbers"),
    "cumulate complex numbers as real ones": (
        lambda: lt.cumulative_prod(COMPLEX, dtype="f8"), lt.DTypeError, "dtype=float64",
    ),
    "cumulate as no dtype": (
        lambda: lt.cumulative_sum(LINE, dtype="no"), lt.DTypeError, "'no' is not a dtype",
    ),
    "diff backwards": (lambda: lt.diff(LINE, n=-1), lt.ShapeError, "not be negative, not -1"),
    "diff half a time": (
        lambda: lt.diff(LINE, n=0.5), lt.DTypeError, "a whole number, not 0.5",  # type: ignore[arg-type]
    ),
    "diff after an edge of other extents": (
        lambda: lt.diff(X, axis=1, prepend=lt.zeros((2, 1, 3))), lt.ShapeError,
        r"prepend \(2, 1, 3\) does not fit \(c: 2, y: 3, x: 4\): it takes one value",
    ),
    "diff before an edge of other dims": (
        lambda: lt.diff(X, axis=1, append=LINE), lt.ShapeError, r"append \(5\) does not fit",
    ),
    "take along an axis with fewer dims": (
        lambda: lt.take_along_axis(X, lt.asarray([0])), lt.ShapeError, "as many dims as",
    ),
    "take along an axis by floats": (
        lambda: lt.take_along_axis(X, X), lt.DTypeError, "integers, not float64",
    ),
    "take along an axis by a mask": (
        lambda: lt.take_along_axis(LINE, LINE > 2), lt.DTypeError, "integers, not bool",
    ),
    "take along an axis with other extents": (
        lambda: lt.take_along_axis(X, lt.zeros((3, 3, 1), dtype=int)), lt.ShapeError,
        "on dim 'c': 3 != 2",
    ),
    "take along an axis that is not there": (
        lambda: lt.take_along_axis(X, INDICES, axis=5), lt.DimensionError, "axis 5 is out of range",
    ),
    "take without an axis": (lambda: lt.take(X, lt.asarray([0])), lt.ShapeError, "needs an axis"),
    "take a position that is not there": (
        lambda: lt.take(LINE, np.asarray([9])), lt.OutOfBoundsError, r"index 9 .*\[-5, 5\)",
    ),
    # Sorted values and sets.
    "search in a matrix": (
        lambda: lt.searchsorted(X, LINE), lt.ShapeError, "x1 must have one dim",
    ),
    "search with a short sorter": (
        lambda: lt.searchsorted(LINE, LINE, sorter=lt.asarray([0, 1])), lt.ShapeError,
        r"sorter \(2\) must be as long as x1 \(5\)",
    ),
    "search with floats as a sorter": (
        lambda: lt.searchsorted(LINE, LINE, sorter=LINE), lt.DTypeError, "integers, not float64",
    ),
    "search numbers for text": (
        lambda: lt.searchsorted(LINE, TEXT), lt.DTypeError, "cannot compare .*: cast one of them",
    ),
    "numbers among text": (lambda: lt.isin(LINE, ["a"]), lt.DTypeError, "cast one of them"),
    "unique values": (
        lambda: lt.unique_values(LINE), lt.DataDependentShapeError, r"np.unique_values\(x.collect",
    ),
    "positions of what is not zero": (
        lambda: lt.nonzero(LINE), lt.DataDependentShapeError, "lt.count_nonzero",
    ),
    "a lazy mask as an index": (
        lambda: X[X > 3], lt.DataDependentShapeError, "lt.where",
    ),
    # Products.
    "matrices that do not match": (
        lambda: X @ X, lt.ShapeError, "4 along 'x' of the first, 3 along 'y' of the second",
    ),
    "a matrix times a scalar": (lambda: X @ 3, lt.ShapeError, r"multiply with \* instead"),
    "stacks of matrices that do not match": (
        lambda: lt.zeros((2, 3, 4)) @ lt.zeros((3, 4, 5)), lt.ShapeError,
        r"stacks \(2,\) and \(3,\)",
    ),
    "a product of text": (lambda: TEXT @ TEXT, lt.DTypeError, "it takes numbers"),
    "tensordot of what does not match": (
        lambda: lt.tensordot(X, X, axes=1), lt.ShapeError,
        "4 along 'x' of the first, 2 along 'c' of the second",
    ),
    "tensordot over more axes than there are": (
        lambda: lt.tensordot(X, X, axes=4), lt.DimensionError, "between 0 and the dims",
    ),
    "tensordot over a negative axis": (
        lambda: lt.tensordot(X, X, axes=-1), lt.DimensionError, r"axes=\(\(-1,\), \(-1,\)\)",
    ),
    "tensordot over axes without a partner": (
        lambda: lt.tensordot(X, X, axes=((0, 1), (0,))), lt.DimensionError,
        "do not pair up: 2 of the first tensor, 1 of the second",
    ),
    "tensordot over one axis twice": (
        lambda: lt.tensordot(X, X, axes=((0, 0), (0, 0))), lt.DimensionError, "twice",
    ),
    "vecdot of other lengths": (
        lambda: lt.vecdot(LINE, lt.zeros(4)), lt.ShapeError, "5 along axis 0 of the first",
    ),
    "vecdot of a scalar": (lambda: lt.vecdot(LINE, 3.0), lt.ShapeError, "no vector"),
    # Shapes.
    "two unknown extents": (lambda: X.reshape(-1, -1), lt.ShapeError, "may have one -1"),
    "another number of elements": (
        lambda: X.reshape(5, 5), lt.ShapeError, r"24 elements into \(5, 5\) with 25",
    ),
    "an extent that does not divide": (
        lambda: X.reshape(-1, 5), lt.ShapeError, "do not divide evenly",
    ),
    "repeats that are an array": (
        lambda: lt.repeat(LINE, lt.asarray([1, 2, 3, 4, 5])),  # type: ignore[arg-type]
        lt.DataDependentShapeError, r"lt.take\(x, np.repeat",
    ),
    # Statistics.
    "a quantile along an axis that is not there": (
        lambda: lt.quantile(X, 0.5, axis="z"), lt.DimensionError, "no dim 'z'",
    ),
    "a quantile that is no number": (
        lambda: lt.quantile(X, "0.5"), lt.DTypeError, "numbers between 0 and 1",
    ),
    "a quantile of complex numbers": (
        lambda: lt.quantile(COMPLEX, 0.5), lt.DTypeError, "they take real numbers",
    ),
    "a histogram of complex numbers": (
        lambda: lt.histogram(COMPLEX, 3), lt.DTypeError, "they take real numbers",
    ),
    "statistics by a dim that is not there": (
        lambda: lt.stats(X, by="t"), lt.DimensionError, "no dim 't'",
    ),
    "a mask of numbers": (
        lambda: lt.stats(X, mask=np.ones((3, 4))), lt.DTypeError, "compare it with something",
    ),
    "a mask of another shape": (
        lambda: lt.stats(X, mask=np.ones(5, bool)), lt.ShapeError, "on dim 'x': 4 != 5",
    ),
    "a mask of more dims": (
        lambda: lt.stats(X, mask=np.ones((1, 2, 3, 4), bool)), lt.ShapeError, "more dims than",
    ),
    "the least integer of none": (
        lambda: lt.stats(np.zeros(0, int)).min, lt.ShapeError, "no value along axis 0",
    ),
    "extremes along an axis that is not there": (
        lambda: lt.minmax(X, axis="q"), lt.DimensionError, "no dim 'q'",
    ),
    "a window of one limit a position of others": (
        lambda: lt.normalize(X, window=(np.zeros(5), np.ones(5))), lt.ShapeError,
        r"a limit of shape \(5\) .* kept positions \(2,\)",
    ),
    "a window of text": (
        lambda: lt.normalize(X, window=("a", "b")), lt.DTypeError, "real numbers",
    ),
    "normalised to integers": (
        lambda: lt.normalize(X, zscore=True, dtype="u1"), lt.DTypeError, "floats, not uint8",
    ),
    "normalised complex numbers": (
        lambda: lt.normalize(COMPLEX, zscore=True), lt.DTypeError, "it takes real numbers",
    ),
}  # fmt: skip

OPTIONS: dict[str, tuple[Attempt, type[Exception], str]] = {
    "a side that is none": (
        lambda: lt.searchsorted(LINE, LINE, side="middle"),  # type: ignore[arg-type]
        ValueError, "'left' or 'right'",
    ),
    "percentiles as quantiles": (
        lambda: lt.quantile(X, [5, 95]), ValueError, "percentiles are 100 times that",
    ),
    "a quantile that is NaN": (
        lambda: lt.quantile(X, float("nan")), ValueError, "between 0 and 1, not nan",
    ),
    "a quantile of statistics": (
        lambda: lt.stats(X).quantile(2), ValueError, "between 0 and 1, not 2",
    ),
    "no bins": (lambda: lt.histogram(X, 0), ValueError, "at least one bin, not 0"),
    "two and a half bins": (lambda: lt.histogram(X, 2.5), TypeError, "whole number or edges"),
    "bins by name": (lambda: lt.histogram(X, "auto"), TypeError, "a number or edges, not 'auto'"),
    "no bins of statistics": (lambda: lt.stats(X, bins=0), ValueError, "at least one bin"),
    "edges that fall": (lambda: lt.histogram(X, [3, 2, 1]), ValueError, "must ascend"),
    "one edge": (lambda: lt.histogram(X, [3]), ValueError, "at least two"),
    "a range that falls": (
        lambda: lt.histogram(X, 4, (5, 1)), ValueError, r"ascends, unlike \(5, 1\)",
    ),
    "a range of statistics that falls": (
        lambda: lt.stats(X, range=(5, 1)), ValueError, "ascends",
    ),
    "a range of one number": (
        lambda: lt.histogram(X, 4, 5), ValueError, "range is two numbers, .* not 5",
    ),
    "a range of text": (lambda: lt.histogram(X, 4, "ab"), ValueError, "two numbers"),
    "a range that is not finite": (
        lambda: lt.histogram(X, 4, (0, float("inf"))), ValueError, r"not finite; say range=\(low",
    ),
    "both axis and by": (
        lambda: lt.stats(X, axis=0, by=1), TypeError, "what is reduced and by=1 what is kept",
    ),
    "normalised by nothing": (lambda: lt.normalize(X), TypeError, "one of percentiles="),
    "normalised by two things": (
        lambda: lt.normalize(X, window=(0, 1), zscore=True), TypeError, "one of percentiles=",
    ),
    "percentiles that fall": (
        lambda: lt.normalize(X, percentiles=(99, 1)), ValueError, "ascend between 0 and 100",
    ),
    "percentiles beyond 100": (
        lambda: lt.normalize(X, percentiles=(1, 101)), ValueError, "between 0 and 100",
    ),
    "one percentile": (
        lambda: lt.normalize(X, percentiles=99),  # type: ignore[arg-type]
        ValueError, "percentiles is two numbers, .* not 99",
    ),
    "one limit": (lambda: lt.normalize(X, window=(1,)), ValueError, r"two limits, .* not \(1,\)"),
    "an engine that is none": (
        lambda: X.explain(engine="spark"), ValueError, "engines are 'auto', 'local'",
    ),
    "a format that is none": (
        lambda: X.explain(format="yaml"),  # type: ignore[arg-type]
        ValueError, "formats are plain, tree, dot, json, html",
    ),
    "a stage that is none": (
        lambda: X.explain(stage="phys"),  # type: ignore[arg-type]
        ValueError, "neither 'logical' nor 'physical'",
    ),
    "a picture of another kind": (
        lambda: X.show_graph(output_path="plan.png"), ValueError, "written as .svg, .html, .dot",
    ),
    "a flag that is none": (
        lambda: lt.QueryOptFlags().update(slices=False), TypeError, "flags are simplify_expression",
    ),
    "a flag that is neither on nor off": (
        lambda: lt.QueryOptFlags(slice_pushdown="no"),  # type: ignore[arg-type]
        TypeError, "slice_pushdown is True or False",
    ),
    "False for flags": (
        lambda: X.explain(optimizations=False),  # type: ignore[arg-type]
        TypeError, "optimizations are lt.QueryOptFlags",
    ),
    "None for flags": (
        lambda: X.estimate(optimizations=None),  # type: ignore[arg-type]
        TypeError, "optimizations are lt.QueryOptFlags",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_TENSORS)
def test_a_mistake_with_tensors_is_a_typed_error(name: str) -> None:
    attempt, kind, said = OF_TENSORS[name]
    with lt.testing.raise_if_collects(), pytest.raises(kind, match=said) as caught:
        attempt()
    assert isinstance(caught.value, lt.LazyTensorError)
    assert isinstance(caught.value, (ValueError, TypeError, IndexError, NotImplementedError))


@pytest.mark.parametrize("name", OPTIONS)
def test_a_wrong_option_is_named(name: str) -> None:
    attempt, kind, said = OPTIONS[name]
    with lt.testing.raise_if_collects(), pytest.raises(kind, match=said):
        attempt()


AT_COLLECT: dict[str, tuple[Attempt, type[Exception], str]] = {
    "an index outside": (
        lambda: lt.take_along_axis(LINE, lt.asarray([9])).collect(), lt.OutOfBoundsError,
        "index 9 .* axis 0 with size 5; indices run from -5 to 4",
    ),
    "the least integer under a mask of nothing": (
        lambda: lt.stats(np.arange(3), mask=np.zeros(3, bool)).min.collect(), lt.ShapeError,
        "the mask selects no element, .* cast to a float dtype",
    ),
    "a range to be found in NaN": (
        lambda: lt.collect_all(lt.histogram([1.0, float("nan")], 3)), ValueError,
        r"not finite; say range=\(low, high\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", AT_COLLECT)
def test_what_only_values_tell(name: str) -> None:
    attempt, kind, said = AT_COLLECT[name]
    with pytest.raises(kind, match=said):
        attempt()


VALUES = np.asarray(X.collect())

WITHOUT_A_LAZY_MEANING: dict[str, Callable[[Any], Any]] = {
    "sum(where=)": lambda x: np.sum(x, where=VALUES > 3),
    "sum(initial=)": lambda x: np.sum(x, initial=5),
    "add(dtype=)": lambda x: np.add(x, 1, dtype="f4"),
    "cumsum(out=)": lambda x: np.cumsum(x, out=np.empty(24)),
    "quantile(method=)": lambda x: np.quantile(x, 0.3, method="nearest"),
    "quantile(out=)": lambda x: np.quantile(x, 0.3, out=np.empty(())),
    "quantile by position": lambda x: np.quantile(x, 0.3, None, None, False, "linear"),
    "median(overwrite_input=)": lambda x: np.median(x, overwrite_input=True),
    "histogram(weights=)": lambda x: np.histogram(x, 3, weights=VALUES)[0],
    "histogram(density=)": lambda x: np.histogram(x, 3, density=True)[0],
    "take(mode=)": lambda x: np.take(x, [99], mode="clip"),
    "reshape(order=)": lambda x: np.reshape(x, (4, 6), order="F"),
    "concatenate(out=)": lambda x: np.concatenate([x, x], out=np.empty((4, 3, 4))),
    "matmul(out=)": lambda x: np.matmul(x, VALUES.mT, out=np.empty((2, 3, 3))),
}


@pytest.mark.parametrize("name", WITHOUT_A_LAZY_MEANING)
def test_numpy_arguments_without_a_lazy_meaning_work_on_values(name: str) -> None:
    """As NumPy functions without a twin do; ``implicit_collect`` has a say in both."""
    call = WITHOUT_A_LAZY_MEANING[name]
    np.testing.assert_array_equal(call(X), call(VALUES.copy()))
    with lt.Config(implicit_collect="raise"), pytest.raises(RuntimeError, match="implicitly"):
        call(X)


def test_numpy_arguments_by_name_stay_lazy() -> None:
    with lt.testing.raise_if_collects():
        for call in (
            lambda: np.reshape(X, (4, 6), order="C"),
            lambda: np.concatenate([X, X], axis=1, out=None, dtype=None, casting="same_kind"),
            lambda: np.sum(X, axis=0, dtype=None, out=None),
            lambda: np.mean(X, axis=1, out=None),
            lambda: np.median(X, axis=1, out=None, overwrite_input=False),
            lambda: np.sort(X, axis=1, kind=None, order=None),
        ):
            assert isinstance(call(), lt.LazyTensor)
        moved: Any = np.moveaxis(X, source=0, destination=-1)  # type: ignore[type-var]
        tiled: Any = np.tile(A=X, reps=(1, 1, 2))
        assert np.size(X, axis=1) == 3
        assert np.size(X) == 24
    np.testing.assert_array_equal(moved.collect(), np.moveaxis(VALUES, 0, -1))
    np.testing.assert_array_equal(tiled.collect(), np.tile(VALUES, (1, 1, 2)))


def test_a_picture_is_not_written_for_a_wrong_suffix(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has the suffix ''"):
        X.show_graph(output_path=tmp_path / "plan")
    assert not list(tmp_path.iterdir())


def test_a_format_is_for_one_value() -> None:
    assert f"{lt.max(X):.1f} {lt.asarray(3):04d}" == "23.0 0003"
    assert f"{X}" == repr(X)
    with pytest.raises(TypeError, match="a format takes a 0-d tensor"):
        f"{X:.1f}"
