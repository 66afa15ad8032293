"""``x[...]`` in its two dialects: from a key to a view.

What a key *means* is decided by what it is: plain Python and NumPy keys are positions (NumPy's
rules), objects of the index algebra are coordinates (TensorStore's rules); ``x.coord`` reads plain
keys as coordinates too. Both end as one index transform. Worked out here and not in ``plan``: keys
that are tensors themselves, which have to be collected before they can say anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lazytensor.build_views import view
from lazytensor.collecting import collect_implicitly
from lazytensor.errors import DataDependentShapeError, ShapeError
from lazytensor.per_dim import by_dim
from lazytensor.plan.dimexpr import DimExpression
from lazytensor.plan.domain import IndexDomain, inf
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import View
from lazytensor.plan.selection import isel, positional, positional_oindex, positional_vindex

__all__ = [
    "at_coordinates",
    "at_positions",
    "finite_view",
    "getitem",
    "isel_node",
    "keyed",
    "relabel",
]

_PLAIN = frozenset({int, slice, type(None), type(Ellipsis)})
_ALGEBRA = (IndexDomain, IndexTransform, DimExpression)
_POSITIONAL = {"": positional, "oindex": positional_oindex, "vindex": positional_vindex}


def getitem(node: Node, key: Any) -> Node:
    """``x[key]``: coordinates for objects of the index algebra, positions for all else."""
    kind = type(key)
    if kind is tuple:
        for term in key:
            if type(term) not in _PLAIN:
                break
        else:
            return view(node, positional(node.domain, key))
    elif kind in _PLAIN:
        return view(node, positional(node.domain, key))
    elif isinstance(key, _ALGEBRA):
        return at_coordinates(node, key)
    return at_positions(node, key)


def at_positions(node: Node, key: Any, mode: str = "") -> Node:
    """A view by positions; ``mode`` is ``""`` (NumPy's joint rule), ``"oindex"`` or ``"vindex"``.

    Raises ``OutOfBoundsError`` naming the dim and its size, ``DataDependentShapeError`` for a lazy
    boolean mask, whose number of True elements nobody knows yet.
    """
    return view(node, _POSITIONAL[mode](node.domain, keyed(key)))


def at_coordinates(node: Node, key: Any, mode: str = "") -> Node:
    """A view by coordinates (TensorStore's rules), which neither wrap nor clip.

    Raises ``OutOfBoundsError`` for coordinates outside the domain, ``ShapeError`` when the result
    would be unbounded.
    """
    base, seen = _indexable(node)
    if not isinstance(key, _ALGEBRA):
        key = keyed(key)
    return finite_view(base, (seen if not mode else getattr(seen, mode))[key])


def keyed(key: Any) -> Any:
    """The key with tensors in it replaced by their values."""
    if type(key) is tuple:
        return tuple([_valued(term) for term in key])
    return _valued(key)


def _valued(term: Any) -> Any:
    node = getattr(term, "_node", None)
    if not isinstance(node, Node):
        return term
    if node.dtype.kind == "b":
        raise DataDependentShapeError(
            "a lazy boolean mask selects a number of elements that is known only once it is "
            "computed; lt.where(mask, x, fill) keeps the shape, x[mask.collect()] decides now"
        )
    values = collect_implicitly(node, "an index that is a tensor")
    return values[()] if values.ndim == 0 else values


def _indexable(node: Node) -> tuple[Node, IndexTransform]:
    """A node and the transform by which its coordinates are indexed.

    A new axis made by coordinates has implicit bounds and may be stretched beyond them, so that
    view is looked through; any other implicit bound of a tensor is firm.
    """
    domain = node.domain
    if not any(domain.implicit_lower_bounds) and not any(domain.implicit_upper_bounds):
        return node, IndexTransform.identity(domain)
    if isinstance(node, View):
        return node.x, node.transform
    firm = IndexDomain._make(domain.inclusive_min, domain.exclusive_max, domain.labels)
    return node, IndexTransform.identity(firm)


def finite_view(node: Node, transform: IndexTransform) -> Node:
    """The view, if its domain is finite and its index arrays hold what they may."""
    if transform.has_arrays:
        transform = transform.validate()
    domain = transform.domain
    for d, (lo, hi) in enumerate(zip(domain.inclusive_min, domain.exclusive_max, strict=True)):
        if lo <= -inf or hi > inf:
            raise ShapeError(
                f"dim {d} of the result would be unbounded, {domain}; give it both bounds"
            )
    return view(node, transform)


def isel_node(node: Node, keys: Mapping[Any, Any]) -> Node:
    """Outer selection by positions, by dim; a one-dimensional array keeps the name of its dim."""
    chosen: dict[int | str, Any] = {d: _valued(key) for d, key in by_dim(node.domain, keys).items()}
    return view(node, relabel(node, chosen, isel(node.domain, chosen)))


def relabel(node: Node, keys: Mapping[int | str, Any], transform: IndexTransform) -> IndexTransform:
    """The transform of an outer selection, its index-array dims named as they were in ``node``."""
    ranks = {d: _rank(key) for d, key in keys.items()}
    if all(rank != 1 for d, rank in ranks.items() if not isinstance(keys[d], slice)):
        return transform
    domain = transform.domain
    labels = list(domain.labels)
    at = 0
    for d, name in enumerate(node.domain.labels):
        rank = ranks.get(d, 1)
        if rank == 1:
            labels[at] = name
        at += rank
    named = IndexDomain._make(domain.inclusive_min, domain.exclusive_max, tuple(labels))
    return IndexTransform._make(named, transform.maps)


def _rank(key: Any) -> int:
    """How many dims a dim becomes."""
    return 1 if isinstance(key, slice) else np.ndim(key)
