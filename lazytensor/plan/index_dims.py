"""Which dimensions are meant: numbers, names and ranges of dimensions resolved to positions.

Domains, transforms and dimension expressions all accept the same *dimension selections* (an integer
counted from either end, a label, a slice of dimension numbers, or nested sequences of them), so the
rules stand here once, below all of them. The rules are TensorStore's "dimension selections".
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from lazytensor.errors import DimensionError, ShapeError

__all__ = [
    "DimSpec",
    "Subscript",
    "check_distinct_dims",
    "check_labels",
    "count_new_dims",
    "find_dim",
    "flatten_selection",
    "format_selection",
    "numbers_per_dim",
    "resolve_dims",
    "resolve_implicit",
]

DimSpec = int | str | slice
"""One term of a dimension selection."""

_T = TypeVar("_T")


class Subscript(Generic[_T]):
    """Something written ``x.name[argument]``: a method called with square brackets.

    >>> Subscript(lambda argument: argument, "x.echo")[1:3]
    slice(1, 3, None)
    """

    __slots__ = ("_call", "_shown")

    def __init__(self, call: Callable[[Any], _T], shown: str) -> None:
        self._call = call
        self._shown = shown

    def __getitem__(self, argument: Any) -> _T:
        return self._call(argument)

    def __iter__(self) -> Iterator[_T]:
        raise TypeError(f"{self._shown} is not iterable; it takes an argument in square brackets")

    def __repr__(self) -> str:
        return self._shown


def check_labels(labels: Iterable[str | None], rank: int | None = None) -> tuple[str, ...]:
    """Normalise labels to a tuple (None becomes ``""``) and check number and uniqueness.

    >>> check_labels(["x", None, ""])
    ('x', '', '')
    """
    if isinstance(labels, str):
        raise TypeError(f"labels must be a sequence of strings, got the string {labels!r}")
    out = tuple("" if label is None else label for label in labels)
    for label in out:
        if not isinstance(label, str):
            raise TypeError(f"a dimension label must be a string, got {label!r}")
    if rank is not None and len(out) != rank:
        raise DimensionError(
            f"number of dimensions ({rank}) does not match number of labels ({len(out)})"
        )
    named = [label for label in out if label]
    if len(set(named)) != len(named):
        twice = sorted({label for label in named if named.count(label) > 1})
        raise DimensionError(f"dimension labels {twice} are not unique in {list(out)}")
    return out


def find_dim(spec: int | str, labels: Sequence[str]) -> int:
    """Position of one dimension given by number or label.

    Raises `DimensionError` if there is none.

    >>> find_dim(-1, ("y", "x")), find_dim("y", ("y", "x"))
    (1, 0)
    """
    if isinstance(spec, str):
        if not spec:
            raise DimensionError("a dimension cannot be selected by the empty label")
        if spec not in labels:
            raise DimensionError(f"label {spec!r} does not match one of {list(labels)}")
        return labels.index(spec)
    rank = len(labels)
    if not -rank <= spec < rank:
        raise DimensionError(f"dimension {spec} is outside the valid range [{-rank}, {rank})")
    return spec + rank if spec < 0 else spec


def flatten_selection(selection: Any) -> tuple[DimSpec, ...]:
    """Flatten a dimension selection (nested sequences, other selections) to its terms.

    >>> flatten_selection((0, ["x", [slice(1, 3)]]))
    (0, 'x', slice(1, 3, None))
    """
    terms = getattr(selection, "_selected_dims", None)
    if terms is not None:
        return tuple(terms)
    if isinstance(selection, str):
        return (selection,)
    if isinstance(selection, slice):
        return (_integer_slice(selection),)
    if isinstance(selection, Iterable):
        return tuple(term for part in selection for term in flatten_selection(part))
    try:
        return (operator.index(selection),)
    except TypeError:
        raise TypeError(
            f"dimensions are selected by integers, labels, slices of integers or sequences of "
            f"these, got {selection!r}"
        ) from None


def resolve_dims(terms: Iterable[DimSpec], labels: Sequence[str]) -> tuple[int, ...]:
    """Resolve the terms of a selection against the labels of a domain; no dimension twice.

    >>> resolve_dims((slice(None, None, -1),), ("z", "y", "x"))
    (2, 1, 0)
    """
    dims: list[int] = []
    for term in terms:
        if isinstance(term, slice):
            dims.extend(_dim_range(term, len(labels)))
        else:
            dims.append(find_dim(term, labels))
    check_distinct_dims(dims)
    return tuple(dims)


def check_distinct_dims(dims: Sequence[int]) -> None:
    """Raise `DimensionError` if a dimension occurs twice."""
    if len(set(dims)) != len(dims):
        twice = sorted({dim for dim in dims if dims.count(dim) > 1})
        raise DimensionError(f"dimensions {twice} are selected more than once")


def count_new_dims(terms: Iterable[DimSpec]) -> int:
    """How many new dimensions a selection stands for, when all of it is new.

    A label cannot name a new dimension, and a range must have its length without knowing the rank.

    >>> count_new_dims((0, slice(2, 5), slice(-2, None)))
    6
    """
    total = 0
    for term in terms:
        if isinstance(term, str):
            raise DimensionError(f"a new dimension cannot be selected by label, got {term!r}")
        total += len(_new_dim_range(term)) if isinstance(term, slice) else 1
    return total


def format_selection(terms: Iterable[DimSpec]) -> str:
    """Write a selection the way it is typed: ``0,'x',1:3``.

    >>> format_selection((0, "x", slice(1, 3)))
    "0,'x',1:3"
    """
    shown = ",".join(
        _format_range(term) if isinstance(term, slice) else repr(term) for term in terms
    )
    return shown or "()"


def numbers_per_dim(value: Any, count: int | None, what: str) -> tuple[int | None, ...]:
    """One integer or None per dimension, from a scalar (used for all) or a sequence.

    With ``count=None`` a scalar stays a 1-tuple.

    >>> numbers_per_dim(5, 2, "offsets"), numbers_per_dim([1, None], 2, "offsets")
    ((5, 5), (1, None))
    """
    if value is None or hasattr(value, "__index__"):
        number = None if value is None else operator.index(value)
        return (number,) * (1 if count is None else count)
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError(f"{what} must be an integer, None or a sequence of these, got {value!r}")
    numbers = tuple(None if v is None else operator.index(v) for v in value)
    if count is not None and len(numbers) != count:
        raise ShapeError(
            f"number of dimensions ({count}) does not match number of {what} ({len(numbers)})"
        )
    return numbers


def resolve_implicit(value: Any) -> tuple[bool | None, bool | None]:
    """New (lower, upper) implicit flags from the argument of ``mark_bounds_implicit``.

    None means "leave as it is".

    >>> resolve_implicit(True), resolve_implicit(slice(None, False))
    ((True, True), (None, False))
    """
    if not isinstance(value, slice):
        flag = _flag(value)
        return flag, flag
    if value.step is not None:
        raise TypeError(f"mark_bounds_implicit takes a slice without a step, got {value!r}")
    return _flag(value.start), _flag(value.stop)


def _flag(value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    if hasattr(value, "__index__") and operator.index(value) in (0, 1):
        return bool(value)
    raise TypeError(f"an implicit flag must be True, False or None, got {value!r}")


def _integer_slice(s: slice) -> slice:
    parts = [None if v is None else operator.index(v) for v in (s.start, s.stop, s.step)]
    return slice(*parts)


def _dim_range(s: slice, rank: int) -> range:
    step = 1 if s.step is None else s.step
    if step == 0:
        raise DimensionError(f"step of the dimension range {_format_range(s)} must not be zero")
    start = s.start
    if start is None:
        start = 0 if step > 0 else rank - 1
    elif -rank <= start < rank:
        start += rank if start < 0 else 0
    else:
        raise DimensionError(f"dimension {start} is outside the valid range [{-rank}, {rank})")
    stop = s.stop
    if stop is None:
        stop = rank if step > 0 else -1
    elif -rank - 1 <= stop <= rank:
        stop += rank if stop < 0 else 0
    else:
        raise DimensionError(
            f"exclusive stop {stop} of a dimension range is outside [{-rank - 1}, {rank}]"
        )
    if (stop - start) * step < 0:
        raise DimensionError(f"{_format_range(s)} is not a valid range of {rank} dimensions")
    return range(start, stop, step)


def _new_dim_range(s: slice) -> range:
    step = 1 if s.step is None else s.step
    start, stop = s.start, s.stop
    if step > 0:
        start = 0 if start is None and stop is not None and stop >= 0 else start
        stop = 0 if stop is None and start is not None and start < 0 else stop
        ends = (start, stop)
    else:
        start = -1 if start is None and stop is not None and stop < 0 else start
        stop = -1 if stop is None and start is not None and start >= 0 else stop
        ends = (start, stop)
    if step == 0 or None in ends:
        raise DimensionError(f"{_format_range(s)!r} is not a valid range of new dimensions")
    given = (s.start, s.stop)
    mixed = None not in given and (s.start < 0) != (s.stop < 0)
    if mixed or (stop - start) * step < 0:
        raise DimensionError(f"{_format_range(s)!r} is not a valid range of new dimensions")
    return range(start, stop, step)


def _format_range(s: slice) -> str:
    text = f"{'' if s.start is None else s.start}:{'' if s.stop is None else s.stop}"
    return text if s.step is None else f"{text}:{s.step}"
