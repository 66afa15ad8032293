"""The operations of a dimension expression, one class each.

An operation holds its (already normalised) arguments and turns a domain and the selected dimensions
into a `Step`. It knows nothing of transforms: which maps lie below is the business of whoever
applies the steps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import Any, Self

import numpy as np

from lazytensor.errors import DimensionError, OutOfBoundsError
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index_array import IndexArray
from lazytensor.plan.index_bounds import mark_implicit, move_by, move_to, relabel
from lazytensor.plan.index_build import Step, index_domain
from lazytensor.plan.index_dims import (
    DimSpec,
    check_distinct_dims,
    count_new_dims,
    flatten_selection,
    format_selection,
    numbers_per_dim,
    resolve_dims,
    resolve_implicit,
)
from lazytensor.plan.index_interval import INF, UNBOUNDED, affine_domain
from lazytensor.plan.index_key import slice_box
from lazytensor.plan.index_propagate import propagate
from lazytensor.plan.index_terms import (
    Term,
    consumed_dims,
    fill_ellipsis,
    format_terms,
    parse_terms,
    place_terms,
)
from lazytensor.plan.output_map import IDENTITY, SINGLE, OutputIndexMap, single_map

__all__ = [
    "Diagonal",
    "Index",
    "Label",
    "MarkBoundsImplicit",
    "Operation",
    "Stride",
    "Translate",
    "Transpose",
]

Dims = tuple[int, ...]

_SIMPLE = frozenset((int, slice))


class Operation(ABC):
    """One operation of a dimension expression: a name, arguments, and what it does to a domain."""

    __slots__ = ("arguments",)
    name = ""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def start(self, domain: IndexDomain, selection: tuple[DimSpec, ...]) -> Step:
        """Apply as the first operation, to dimensions that are not yet resolved."""
        return self.apply(domain, resolve_dims(selection, domain.labels))

    @abstractmethod
    def apply(self, domain: IndexDomain, dims: Dims) -> Step:
        """Apply to dimensions given by position."""

    def key(self) -> Hashable:
        """What makes two operations equal: kind and arguments (as printed: slices do not hash)."""
        return type(self).__name__, str(self.arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.arguments

    def __str__(self) -> str:
        return f".{self.name}"


def _same_dims(domain: IndexDomain, dims: Dims) -> Step:
    """A step that changes bounds or labels but no map."""
    return Step(domain, IDENTITY[: domain.rank], dims)


def _format_numbers(numbers: Sequence[int | None], *, scalar: bool) -> str:
    if scalar or not numbers:
        return str(numbers[0]) if scalar else "()"
    return ",".join(map(str, numbers)) + "," * (len(numbers) == 1)


class Translate(Operation):
    """``translate_to``, ``translate_by`` and ``translate_backward_by``."""

    __slots__ = ()

    @classmethod
    def parse(cls, name: str, value: Any) -> Self:
        """From what stood in the brackets."""
        scalar = value is None or hasattr(value, "__index__")
        return cls(name, numbers_per_dim(value, None, "offsets"), scalar)

    def apply(self, domain: IndexDomain, dims: Dims) -> Step:
        """Move the bounds; the maps move back by as much."""
        name, numbers, scalar = self.arguments
        given = numbers_per_dim(numbers[0] if scalar else numbers, len(dims), "offsets")
        before = domain._values()
        after = (
            move_to(before, dims, given)
            if name == "translate_to"
            else move_by(before, dims, given, -1 if name == "translate_backward_by" else 1)
        )
        maps = list(IDENTITY[: domain.rank])
        for i, dim in enumerate(dims):
            by = _moved(name, given[i], before[0][dim])
            maps[dim] = single_map(dim, -by, 1)
        return Step(IndexDomain._make(*after), tuple(maps), dims)

    def __str__(self) -> str:
        name, numbers, scalar = self.arguments
        return f".{name}[{_format_numbers(numbers, scalar=scalar)}]"


def _moved(name: str, given: int | None, lo: int) -> int:
    if given is None:
        return 0
    return {"translate_to": given - lo, "translate_by": given}.get(name, -given)


class Stride(Operation):
    """``stride``: the coordinates that are multiples, divided."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: Any) -> Self:
        """From what stood in the brackets."""
        scalar = value is None or hasattr(value, "__index__")
        return cls(numbers_per_dim(value, None, "strides"), scalar)

    def apply(self, domain: IndexDomain, dims: Dims) -> Step:
        """Divide the bounds inwards; a negative stride swaps the implicit flags."""
        numbers, scalar = self.arguments
        given = numbers_per_dim(numbers[0] if scalar else numbers, len(dims), "strides")
        lo, hi = list(domain.inclusive_min), list(domain.exclusive_max)
        lower, upper = list(domain.implicit_lower_bounds), list(domain.implicit_upper_bounds)
        maps = list(IDENTITY[: domain.rank])
        for dim, stride in zip(dims, given, strict=True):
            if stride == 0:
                raise OutOfBoundsError(f"the stride of dimension {dim} must not be zero")
            if stride is None or stride == 1:
                continue
            lo[dim], hi[dim] = affine_domain(lo[dim], hi[dim], 0, stride)
            if stride < 0:
                lower[dim], upper[dim] = upper[dim], lower[dim]
            maps[dim] = single_map(dim, 0, stride)
        flags = tuple(lower), tuple(upper)
        divided = IndexDomain._make(tuple(lo), tuple(hi), domain.labels, *flags)
        return Step(divided, tuple(maps), dims)

    def __str__(self) -> str:
        numbers, scalar = self.arguments
        return f".stride[{_format_numbers(numbers, scalar=scalar)}]"


class Label(Operation):
    """``label``: new names."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: Any) -> Self:
        """From what stood in the brackets."""
        names = (value,) if isinstance(value, str) else tuple(value)
        for name in names:
            if not isinstance(name, str):
                raise TypeError(f"a dimension label must be a string, got {name!r}")
        return cls(*names)

    def apply(self, domain: IndexDomain, dims: Dims) -> Step:
        """Replace the labels."""
        named = relabel(domain._values(), dims, self.arguments)
        return _same_dims(IndexDomain._make(*named), dims)

    def __str__(self) -> str:
        return f".label[{','.join(map(repr, self.arguments))}]"


class MarkBoundsImplicit(Operation):
    """``mark_bounds_implicit``: bounds that indexing enforces, or not."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: Any) -> Self:
        """From what stood in the brackets."""
        return cls(*resolve_implicit(value))

    def apply(self, domain: IndexDomain, dims: Dims) -> Step:
        """Set the flags."""
        marked = mark_implicit(domain._values(), dims, slice(*self.arguments))
        return _same_dims(IndexDomain._make(*marked), dims)

    def __str__(self) -> str:
        lower, upper = self.arguments
        shown = ["" if flag is None else str(flag) for flag in (lower, upper)]
        text = shown[0] if lower == upper and lower is not None else ":".join(shown)
        return f".mark_bounds_implicit[{text}]"


class Diagonal(Operation):
    """``diagonal``: several dimensions as one."""

    __slots__ = ()
    name = "diagonal"

    def apply(self, domain: IndexDomain, dims: Dims) -> Step:
        """Intersect the selected intervals; a bound is implicit only if all of them are."""
        kept = [dim for dim in range(domain.rank) if dim not in dims]
        lo, hi, labels, lower, upper = domain._values()
        low = max((lo[dim] for dim in dims), default=-INF)
        high = max(low, min((hi[dim] for dim in dims), default=UNBOUNDED))
        result = IndexDomain._make(
            (low, *(lo[dim] for dim in kept)),
            (high, *(hi[dim] for dim in kept)),
            ("", *(labels[dim] for dim in kept)),
            (all(lower[dim] for dim in dims), *(lower[dim] for dim in kept)),
            (all(upper[dim] for dim in dims), *(upper[dim] for dim in kept)),
        )
        place = {dim: 1 + i for i, dim in enumerate(kept)}
        maps = tuple(IDENTITY[place.get(dim, 0)] for dim in range(domain.rank))
        return Step(propagate(domain, result, maps), maps, (0,))


class Transpose(Operation):
    """``transpose``: selected dimensions at given positions."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: Any) -> Self:
        """From what stood in the brackets."""
        return cls(*flatten_selection(value))

    def apply(self, domain: IndexDomain, dims: Dims) -> Step:
        """Put the selected dimensions at their targets and the others into the gaps, in order."""
        targets = self._targets(domain.rank, len(dims))
        source = dict(zip(targets, dims, strict=True))
        others = iter([dim for dim in range(domain.rank) if dim not in dims])
        perm = [source[i] if i in source else next(others) for i in range(domain.rank)]
        maps: list[OutputIndexMap] = [IDENTITY[0]] * len(perm)
        for new, old in enumerate(perm):
            maps[old] = IDENTITY[new]
        return Step(domain._permuted(perm), tuple(maps), targets)

    def _targets(self, rank: int, count: int) -> Dims:
        terms = self.arguments
        if any(isinstance(term, str) for term in terms):
            raise DimensionError("the target dimensions of a transpose cannot be given by label")
        if len(terms) == 1 and isinstance(terms[0], int):
            last = rank - count
            target = terms[0] if terms[0] >= 0 else terms[0] + 1 + last
            if count and not 0 <= target <= last:
                raise DimensionError(
                    f"transpose target {terms[0]} is outside the valid range {-last - 1, last}"
                )
            return tuple(range(target, target + count))
        targets = resolve_dims(terms, ("",) * rank)
        if len(targets) != count:
            raise DimensionError(
                f"number of selected dimensions ({count}) must equal the number of target "
                f"dimensions ({len(targets)})"
            )
        return targets

    def __str__(self) -> str:
        return f".transpose[{format_selection(self.arguments)}]"


class Index(Operation):
    """NumPy-style indexing of the selected dimensions."""

    __slots__ = ()

    @classmethod
    def parse(cls, key: Any, mode: str, *, first: bool) -> Self:
        """From what stood in the brackets; ``first`` says whether new axes are allowed."""
        terms, scalar = parse_terms(key)
        if not first and any(term is None for term in terms):
            raise OutOfBoundsError(
                "newaxis (None) is only valid in the first operation of a dimension expression"
            )
        return cls(mode, terms, scalar)

    def start(self, domain: IndexDomain, selection: tuple[DimSpec, ...]) -> Step:
        """Apply to a selection that may name dimensions which come into being here."""
        mode, terms, scalar = self.arguments
        if not any(term is None for term in terms):
            return self.apply(domain, resolve_dims(selection, domain.labels))
        if scalar:
            terms = (None,) * count_new_dims(selection)
        fresh = sum(term is None for term in terms)
        dims, terms = _resolve_with_new(domain, selection, terms, fresh)
        return index_domain(domain, place_terms(terms, dims), mode)

    def apply(self, domain: IndexDomain, dims: Dims) -> Step:
        """Apply to existing dimensions."""
        mode, terms, scalar = self.arguments
        if scalar:
            terms = terms * len(dims)
        filled = fill_ellipsis(terms, len(dims), exact=True)
        quick = _slice_dims(domain, filled, dims) if domain.explicit else None
        if quick is not None:
            return quick
        return index_domain(domain, place_terms(filled, dims), mode)

    def key(self) -> Hashable:
        """Terms by value, arrays by content."""
        mode, terms, scalar = self.arguments
        return mode, scalar, *(_term_key(term) for term in terms)

    def __str__(self) -> str:
        mode, terms, scalar = self.arguments
        name = "" if mode == "default" else f".{mode}"
        return f"{name}[{format_terms(terms, scalar=scalar)}]"


def _slice_dims(domain: IndexDomain, terms: tuple[Term, ...], dims: Dims) -> Step | None:
    """Integers and slices by the fast way of plain keys; None if there is anything else."""
    if not _SIMPLE.issuperset(map(type, terms)):
        return None
    key: list[Term] = [slice(None)] * domain.rank
    for dim, term in zip(dims, terms, strict=True):
        key[dim] = term
    step = slice_box(domain, tuple(key))
    if step is None:
        return None
    kept = [step.maps[dim] for dim in dims]
    selected = tuple([m.input_dimension for m in kept if m.kind == SINGLE])
    return step._replace(selected=selected)


def _resolve_with_new(
    domain: IndexDomain, selection: tuple[DimSpec, ...], terms: tuple[Term, ...], fresh: int
) -> tuple[Dims, tuple[Term, ...]]:
    """Intermediate dimensions and terms of a key with new axes.

    Numbers count in the intermediate space, which has the new axes in it; labels name old
    dimensions, whose place there depends on where the new ones are.
    """
    unnamed = ("",) * (domain.rank + fresh)
    flat: list[int | str] = []
    for spec in selection:
        if isinstance(spec, str):
            flat.append(domain.labels[resolve_dims((spec,), domain.labels)[0]])
        else:
            flat.extend(resolve_dims((spec,), unnamed))
    filled = fill_ellipsis(terms, len(flat) - fresh, exact=True)
    users = [term for term in filled for _ in range(1 if term is None else consumed_dims(term))]
    new: set[int] = set()
    for dim, term in zip(flat, users, strict=True):
        if term is None and isinstance(dim, str):
            raise DimensionError(f"a new dimension cannot be selected by label, got {dim!r}")
        if term is None:
            assert isinstance(dim, int)
            new.add(dim)
    old = [dim for dim in range(len(unnamed)) if dim not in new]
    dims = tuple(old[domain.labels.index(dim)] if isinstance(dim, str) else dim for dim in flat)
    check_distinct_dims(dims)
    return dims, filled


def _term_key(term: Term) -> Hashable:
    if isinstance(term, np.ndarray):
        return str(term.dtype), IndexArray(term)
    if isinstance(term, slice):
        return "slice", term.start, term.stop, term.step
    return term
