"""Dimension expressions: ``d["y", "x"][10:20, 5:9].translate_to[0]``.

Operations on dimensions named by number or label, written before there is anything to apply them
to. An expression is a value: a selection of dimensions and a chain of operations, each of which
turns a domain into a `Step` (new domain, maps of the old dimensions, selected dimensions) and hands
its selection on to the next. Transforms, domains and tensors all apply the same steps.

Semantics and printed form are TensorStore's, with its documentation followed where the two
disagree on ``stride[None]`` (leaves a dimension alone).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any, NoReturn

from lazytensor.errors import DimensionError
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index_build import Step
from lazytensor.plan.index_dims import (
    DimSpec,
    Subscript,
    flatten_selection,
    format_selection,
    resolve_dims,
)
from lazytensor.plan.index_ops import (
    Diagonal,
    Index,
    Label,
    MarkBoundsImplicit,
    Operation,
    Stride,
    Translate,
    Transpose,
)

__all__ = ["DimExpression", "DimSelection", "d"]


class DimExpression:
    """Dimensions, and operations to apply to them; immutable, hashable.

    Start one with `d`; each operation returns a longer expression, and an operation acts on what
    the one before it left of the selected dimensions.

    >>> d["x"][5:10].translate_to[0]
    d['x'][5:10].translate_to[0]
    >>> IndexDomain(shape=[3, 20], labels=["y", "x"])[d["x"][5:10].translate_to[0]]
    { "y": [0, 3), "x": [0, 5) }
    """

    __slots__ = ("_operations", "_selection")
    _selection: tuple[DimSpec, ...]
    _operations: tuple[Operation, ...]

    def __init__(self, *args: Any) -> None:
        raise TypeError("dimension expressions are written d[dims], see lazytensor.d")

    @staticmethod
    def _make(selection: tuple[DimSpec, ...], operations: tuple[Operation, ...]) -> DimExpression:
        self = object.__new__(DimExpression if operations else DimSelection)
        object.__setattr__(self, "_selection", selection)
        object.__setattr__(self, "_operations", operations)
        return self

    def _then(self, operation: Operation) -> DimExpression:
        return DimExpression._make(self._selection, (*self._operations, operation))

    def _subscript(
        self, name: str, operation: Callable[[Any], Operation]
    ) -> Subscript[DimExpression]:
        return Subscript(lambda value: self._then(operation(value)), f"{self!r}.{name}")

    def __getitem__(self, key: Any) -> DimExpression:
        """NumPy-style indexing in coordinates, one term per selected dimension.

        A single scalar, slice or `newaxis` applies to every selected dimension. New axes only come
        first in an expression and stand where their numbers say they stand in the result. Several
        index arrays go jointly: where the first of their dimensions is if the terms are
        consecutive, else first.

        >>> IndexDomain(shape=[3, 4], labels=["y", "x"])[d["x", "y"][2, 1:3]]
        { "y": [1, 3) }
        """
        return self._then(Index.parse(key, "default", first=not self._operations))

    @property
    def oindex(self) -> Subscript[DimExpression]:
        """``expr.oindex[key]``: every index array has dimensions of its own, in place.

        >>> d[0, 1].oindex[[1, 2], [3]].translate_by[5]
        d[0,1].oindex[array([1, 2]),array([3])].translate_by[5]
        """
        first = not self._operations
        return self._subscript("oindex", lambda key: Index.parse(key, "oindex", first=first))

    @property
    def vindex(self) -> Subscript[DimExpression]:
        """``expr.vindex[key]``: the joint dimensions of the index arrays come first."""
        first = not self._operations
        return self._subscript("vindex", lambda key: Index.parse(key, "vindex", first=first))

    @property
    def translate_to(self) -> Subscript[DimExpression]:
        """``expr.translate_to[origins]``: move the selected dimensions to new first coordinates.

        One integer for all or one per dimension; None leaves a dimension alone. Applying it raises
        `OutOfBoundsError` where a dimension is unbounded below.

        >>> IndexDomain(shape=[3, 4])[d[0, 1].translate_to[10, None]]
        { [10, 13), [0, 4) }
        """
        return self._subscript("translate_to", lambda v: Translate.parse("translate_to", v))

    @property
    def translate_by(self) -> Subscript[DimExpression]:
        """``expr.translate_by[offsets]``: add offsets to the coordinates.

        >>> IndexDomain(shape=[3, 4])[d[:].translate_by[1, 2]]
        { [1, 4), [2, 6) }
        """
        return self._subscript("translate_by", lambda v: Translate.parse("translate_by", v))

    @property
    def translate_backward_by(self) -> Subscript[DimExpression]:
        """``expr.translate_backward_by[offsets]``: subtract offsets from the coordinates.

        >>> IndexDomain(shape=[3, 4])[d[0].translate_backward_by[1]]
        { [-1, 2), [0, 4) }
        """
        return self._subscript(
            "translate_backward_by", lambda v: Translate.parse("translate_backward_by", v)
        )

    @property
    def stride(self) -> Subscript[DimExpression]:
        """``expr.stride[k]``: keep coordinates that are multiples of ``k``, and divide them by it.

        The new domain holds every ``n`` with ``k * n`` in the old one (a slice ``::k`` instead
        starts from the first coordinate). None or 1 leaves a dimension alone; applying 0 raises
        `OutOfBoundsError`.

        >>> IndexDomain(inclusive_min=[-5], exclusive_max=[6])[d[0].stride[2]]
        { [-2, 3) }
        """
        return self._subscript("stride", Stride.parse)

    @property
    def label(self) -> Subscript[DimExpression]:
        """``expr.label["y", "x"]``: label the selected dimensions.

        >>> IndexDomain(shape=[3, 4])[d[0].label["y"]]
        { "y": [0, 3), [0, 4) }
        """
        return self._subscript("label", Label.parse)

    @property
    def diagonal(self) -> DimExpression:
        """The selected dimensions as one, over their common coordinates; it comes first, unlabeled.

        >>> IndexDomain(shape=[3, 4], labels=["y", "x"])[d["y", "x"].diagonal]
        { [0, 3) }
        """
        return self._then(Diagonal())

    @property
    def transpose(self) -> Subscript[DimExpression]:
        """``expr.transpose[target]``: put the selected dimensions at the target positions.

        ``target`` is a selection by number of as many dimensions; a single number is where the
        first of them goes, or, counted from the end, the last. The others keep their order.

        >>> IndexDomain(shape=[2, 3, 4])[d[2].transpose[0]]
        { [0, 4), [0, 2), [0, 3) }
        """
        return self._subscript("transpose", Transpose.parse)

    @property
    def mark_bounds_implicit(self) -> Subscript[DimExpression]:
        """``expr.mark_bounds_implicit[lower:upper]``: make bounds implicit (True) or explicit.

        One value is for both bounds; None leaves a bound alone. Applying it raises
        `OutOfBoundsError` for a dimension that an index array depends on.

        >>> IndexDomain(shape=[3])[d[0].mark_bounds_implicit[:True]]
        { [0, 3*) }
        """
        return self._subscript("mark_bounds_implicit", MarkBoundsImplicit.parse)

    def steps(self, domain: IndexDomain) -> Iterator[Step]:
        """Apply to a domain, one `Step` for each operation.

        Raises `DimensionError` where a dimension does not exist or is selected twice, and the
        errors of the single operations.

        >>> [step.domain for step in d[0].translate_by[1].label["x"].steps(IndexDomain(shape=[2]))]
        [{ [1, 3) }, { "x": [1, 3) }]
        """
        if not self._operations:
            raise DimensionError(
                f"{self!r} selects dimensions but does nothing with them; add an operation"
            )
        first, *others = self._operations
        step = first.start(domain, self._selection)
        yield step
        for operation in others:
            step = operation.apply(step.domain, step.selected)
            yield step

    def _transform_domain(self, domain: IndexDomain) -> IndexDomain:
        """``domain[self]``."""
        for step in self.steps(domain):
            domain = step.domain
        return domain

    def _key(self) -> tuple[Hashable, ...]:
        # slices hash only from Python 3.12 on
        return format_selection(self._selection), *(o.key() for o in self._operations)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DimExpression):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"d[{format_selection(self._selection)}]" + "".join(map(str, self._operations))

    def __iter__(self) -> NoReturn:
        raise TypeError("a dimension expression is not iterable")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("dimension expressions are immutable")

    def __copy__(self) -> DimExpression:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> DimExpression:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return DimExpression._make, (self._selection, self._operations)


class DimSelection(DimExpression):
    """A dimension expression without an operation yet; it may stand inside another selection.

    >>> d[d[0, 1], "x"]
    d[0,1,'x']
    """

    __slots__ = ()

    @property
    def _selected_dims(self) -> tuple[DimSpec, ...]:
        return self._selection

    def _transform_domain(self, domain: IndexDomain) -> IndexDomain:
        """``domain[d[dims]]``: the domain of these dimensions."""
        return domain._permuted(resolve_dims(self._selection, domain.labels))


class _Start:
    """The type of `d`: subscripting it selects dimensions.

    Terms are integers (counted from either end), labels, slices of integers, other selections and
    sequences of these.

    >>> d[0, "x", 1:3], d[[0, 1], [2]]
    (d[0,'x',1:3], d[0,1,2])
    """

    __slots__ = ()

    def __getitem__(self, selection: Any) -> DimExpression:
        if isinstance(selection, DimExpression) and not isinstance(selection, DimSelection):
            raise TypeError(f"dimensions cannot be selected by {selection!r}, which has operations")
        return DimExpression._make(flatten_selection(selection), ())

    def __iter__(self) -> NoReturn:
        raise TypeError("d is not iterable; select dimensions with d[...]")

    def __repr__(self) -> str:
        return "d"

    def __reduce__(self) -> str:
        return "d"


d = _Start()
"""Start of a dimension expression: ``d[0]``, ``d["y", "x"]``, ``d[:]``."""
