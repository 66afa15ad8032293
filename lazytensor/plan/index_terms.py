"""NumPy-style keys taken apart into terms, whatever they will be applied to.

An index expression is a sequence of terms: integer, slice, ``...``, `newaxis`, integer array,
boolean array. Which term speaks of which dimension, and what it does, is decided elsewhere; here
only types are checked and spellings unified (lists become arrays, NumPy scalars integers, slices
with vector bounds several slices, a bare term a 1-tuple).
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from types import EllipsisType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from lazytensor.errors import OutOfBoundsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Placed",
    "Term",
    "consumed_dims",
    "fill_ellipsis",
    "format_terms",
    "joint_shape",
    "parse_terms",
    "place_terms",
]

Term: TypeAlias = "int | slice | EllipsisType | NDArray[Any] | None"
"""Integer, slice of integers, new axis, ellipsis, int64 or bool array."""


class Placed(NamedTuple):
    """A term and the dimensions it speaks of; ``at`` is where it stands if it speaks of none."""

    term: Term
    dims: tuple[int, ...]
    at: int


_KINDS = "integers, slices, ellipsis (...), newaxis (None) and integer or boolean arrays"


def parse_terms(key: Any) -> tuple[tuple[Term, ...], bool]:
    """The terms of a key, and whether it was a single scalar term (not a tuple, not an array).

    Raises `OutOfBoundsError` (an `IndexError`, as NumPy) for anything that is no index.

    >>> parse_terms((1, slice(None), None, ...))
    ((1, slice(None, None, None), None, Ellipsis), False)
    >>> parse_terms(np.int8(3)), parse_terms(slice((0, 1), 4))[0]
    (((3,), True), (slice(0, 4, None), slice(1, 4, None)))
    """
    if not isinstance(key, tuple):
        terms = _parse_term(key)
        scalar = len(terms) == 1 and not isinstance(terms[0], (np.ndarray, EllipsisType))
        return terms, scalar
    terms = tuple(term for part in key for term in _parse_term(part))
    if sum(term is Ellipsis for term in terms) > 1:
        raise OutOfBoundsError("an index can only have a single ellipsis (...)")
    return terms, False


def _parse_term(part: Any) -> tuple[Term, ...]:
    if part is None or part is Ellipsis:
        return (part,)
    if isinstance(part, slice):
        return _parse_slice(part)
    if isinstance(part, (bool, np.bool_)):
        return (np.asarray(part),)
    array = part
    if not isinstance(part, np.ndarray):
        try:
            return (operator.index(part),)
        except TypeError:
            array = _as_array(part)
    return (_index_array(array),)


def _as_array(part: Any) -> NDArray[Any]:
    if isinstance(part, (str, bytes, float, complex, np.generic)):
        way = "; x.field(name) takes a field, x.sel(dim=label) a label"
        hint = way if isinstance(part, str) else ""
        raise OutOfBoundsError(f"only {_KINDS} are valid indices, got {part!r}{hint}")
    try:
        return np.asarray(part)
    except ValueError as error:
        raise OutOfBoundsError(f"an index array must be rectangular: {error}") from error


def _index_array(array: NDArray[Any]) -> int | NDArray[Any]:
    if array.dtype == bool:
        return array
    if array.size == 0 and array.dtype.kind == "f":
        return array.astype(np.int64)  # the dtype of np.asarray([])
    if array.dtype.kind not in "iu":
        raise OutOfBoundsError(
            f"only {_KINDS} are valid indices, got an array of dtype {array.dtype}"
        )
    if array.ndim == 0:
        return int(array)
    if array.size and array.dtype == np.uint64 and int(array.max()) >= 2**63:
        raise OutOfBoundsError(f"index {int(array.max())} of an index array exceeds 64 bits")
    return array.astype(np.int64)


def _parse_slice(part: slice) -> tuple[slice, ...]:
    values = (part.start, part.stop, part.step)
    if all(v is None or type(v) is int for v in values):
        return (part,)
    vectors = [_vector(v) for v in values]
    lengths = {len(v) for v in vectors if isinstance(v, list)}
    if len(lengths) > 1:
        raise OutOfBoundsError(f"vector bounds of {part!r} have different lengths")
    if not lengths:
        return (slice(*vectors),)
    columns = [v if isinstance(v, list) else [v] * max(lengths) for v in vectors]
    return tuple(slice(*bounds) for bounds in zip(*columns, strict=True))


def _vector(value: Any) -> Any:
    if isinstance(value, Sequence) or (isinstance(value, np.ndarray) and value.ndim == 1):
        return [_vector(v) for v in value]
    if value is None:
        return None
    try:
        return operator.index(value)
    except TypeError:
        raise OutOfBoundsError(
            f"slice bounds must be integers, None or sequences of these, got {value!r}"
        ) from None


def consumed_dims(term: Term) -> int:
    """How many dimensions a term uses up.

    >>> consumed_dims(3), consumed_dims(None), consumed_dims(np.ones((2, 2), bool))
    (1, 0, 2)
    """
    if term is None or term is Ellipsis:
        return 0
    return term.ndim if isinstance(term, np.ndarray) and term.dtype == bool else 1


def fill_ellipsis(terms: Sequence[Term], rank: int, *, exact: bool = False) -> tuple[Term, ...]:
    """Replace the ellipsis by as many full slices as make the terms consume ``rank`` dimensions.

    Without an ellipsis they are appended, or with ``exact`` the number must agree. An ellipsis that
    stands for no dimension stays: it still separates index arrays, in NumPy as in TensorStore.
    Raises `OutOfBoundsError` if the terms need more dimensions.

    >>> fill_ellipsis((Ellipsis, 2), 3)
    (slice(None, None, None), slice(None, None, None), 2)
    """
    needed = sum(map(consumed_dims, terms))
    place = next((i for i, term in enumerate(terms) if term is Ellipsis), -1)
    if needed > rank or (exact and place < 0 and needed != rank):
        raise OutOfBoundsError(
            f"the index expression needs {needed} dimensions, but there are {rank}"
        )
    full = (slice(None),) * (rank - needed)
    if place < 0:
        return (*terms, *full)
    return (*terms[:place], *(full or (Ellipsis,)), *terms[place + 1 :])


def place_terms(terms: Sequence[Term], dims: Sequence[int]) -> list[Placed]:
    """Hand out dimensions to terms, in order; a new axis takes the one where it will stand.

    >>> [p.dims for p in place_terms((3, None, np.ones((2, 2), bool)), range(4))]
    [(0,), (1,), (2, 3)]
    """
    placed = []
    at = 0
    for term in terms:
        used = 1 if term is None else consumed_dims(term)
        after_all = dims[-1] + 1 if dims else 0
        anchor = dims[at] if at < len(dims) else after_all
        placed.append(Placed(term, tuple(dims[at : at + used]), anchor))
        at += used
    return placed


def joint_shape(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Common shape of index arrays that are used together, from their shapes.

    Raises `OutOfBoundsError` (an `IndexError`, as NumPy) if they do not broadcast.

    >>> joint_shape([(2, 1), (3,)])
    (2, 3)
    """
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise OutOfBoundsError(
            f"index arrays of shapes {list(shapes)} do not broadcast together"
        ) from None


def format_terms(terms: Sequence[Term], *, scalar: bool) -> str:
    """Write terms as they are typed between the brackets.

    >>> format_terms((slice(1, 3), None, Ellipsis), scalar=False), format_terms((5,), scalar=False)
    ('1:3,None,...', '5,')
    """
    shown = ",".join(map(_format_term, terms))
    if not terms:
        return "()"
    return shown if scalar or len(terms) > 1 or terms[0] is Ellipsis else shown + ","


def _format_term(term: Term) -> str:
    if term is Ellipsis:
        return "..."
    if isinstance(term, slice):
        ends = ["" if end is None else str(end) for end in (term.start, term.stop)]
        return ":".join(ends if term.step is None else [*ends, str(term.step)])
    return repr(term)
