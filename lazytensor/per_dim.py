"""Arguments that have one value per dimension.

Wherever one is taken, it may be a sequence of as many values as there are dims, a mapping by dim
name or number in which absent dims get the neutral value, or, for methods, keywords by dim name.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lazytensor.errors import DimensionError, ShapeError
from lazytensor.plan.align import describe_shape
from lazytensor.plan.domain import IndexDomain

__all__ = ["by_dim", "check_names", "dim_number", "per_dim", "unique_dims"]


def check_names(dims: Sequence[str | None] | None) -> None:
    """``DimensionError`` for a name that is given to two dims."""
    names = [name for name in dims or () if name]
    if len(set(names)) != len(names):
        raise DimensionError(f"dims {tuple(dims or ())} name two dims alike")


def dim_number(domain: IndexDomain, dim: int | str, *, rank: int | None = None) -> int:
    """Number of a dim given by name or (possibly negative) number.

    ``rank``: count numbers in this rank instead of the domain's, for dims to be inserted. Raises
    ``DimensionError`` naming the dims there are.
    """
    if isinstance(dim, str):
        if dim and dim in domain.labels:
            return domain.labels.index(dim)
        named = ", ".join(repr(name) for name in domain.labels if name) or "none has a name"
        raise DimensionError(f"no dim {dim!r} in {describe_shape(domain)}; dims: {named}")
    try:
        number = operator.index(dim)
    except TypeError:
        raise DimensionError(f"a dim is a number or a name, not {dim!r}") from None
    rank = domain.rank if rank is None else rank
    if not -rank <= number < rank:
        raise DimensionError(
            f"axis {number} is out of range for {rank} dims of {describe_shape(domain)}"
        )
    return number % rank


def unique_dims(
    domain: IndexDomain, dims: int | str | Iterable[int | str], *, rank: int | None = None
) -> tuple[int, ...]:
    """Numbers of one dim or several, in the order given; ``DimensionError`` if one comes twice."""
    if type(dims) is tuple and rank is None and _are_numbers(dims, domain.rank):
        return dims
    given = (dims,) if isinstance(dims, str) or not isinstance(dims, Iterable) else tuple(dims)
    numbers = tuple(dim_number(domain, dim, rank=rank) for dim in given)
    if len(set(numbers)) != len(numbers):
        raise DimensionError(f"axes {given} name a dim of {describe_shape(domain)} twice")
    return numbers


def _are_numbers(dims: tuple[Any, ...], rank: int) -> bool:
    """Whether these are different dim numbers as they are; the way most callers write them."""
    for dim in dims:
        if type(dim) is not int or not 0 <= dim < rank:
            return False
    return len(set(dims)) == len(dims)


def by_dim(domain: IndexDomain, values: Mapping[Any, Any]) -> dict[int, Any]:
    """The mapping keyed by dim numbers."""
    dims = unique_dims(domain, values.keys())
    return dict(zip(dims, values.values(), strict=True))


def per_dim(
    domain: IndexDomain,
    values: Any,
    neutral: Iterable[Any],
    what: str,
    named: Mapping[str, Any] | None = None,
) -> list[Any]:
    """One value per dim from a sequence, a mapping, or keywords (``named``) alone.

    Raises ``ShapeError`` for a wrong number of values, ``DimensionError`` for unknown dims,
    ``TypeError`` when both forms are used or neither fits.

    >>> per_dim(lt.zeros((2, 3))._node.domain, {1: 5}, (1, 1), "factors")
    [1, 5]
    """
    if type(values) is tuple and not named and len(values) == domain.rank:
        return list(values)
    if named:
        if values is not None:
            raise TypeError(f"give {what} either positionally or by dim name, not both")
        values = named
    if values is None:
        raise TypeError(f"{what} are missing: give one per dim, or a mapping by dim name")
    if isinstance(values, Mapping):
        out = list(neutral)
        for dim, value in by_dim(domain, values).items():
            out[dim] = value
        return out
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ShapeError(
            f"{what} must be one per dim of {describe_shape(domain)} or a mapping by dim name, "
            f"not {values!r}"
        )
    out = list(values)
    if len(out) != domain.rank:
        raise ShapeError(f"{len(out)} {what} for {domain.rank} dims of {describe_shape(domain)}")
    return out
