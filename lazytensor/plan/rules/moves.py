"""Taking index transforms apart, for the laws that move views.

A view moves below a node as far as the node lets single dimensions through. The words used here:
a transform *refers* to an input dimension if one of its maps varies with it; its *core* is the
transform without the dimensions it does not refer to (those only repeat values, and repeating below
an operation would repeat the operation); its *hull* is the smallest box that holds its image. A box
moves below almost everything, so a transform that cannot move itself sends its hull ahead and stays
above: coordinates are absolute, so it stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lazytensor.plan.align import alignment
from lazytensor.plan.compose import output_box
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.index_array import IndexArray
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import View
from lazytensor.plan.output_map import (
    ARRAY,
    CONSTANT,
    IDENTITY,
    SINGLE,
    OutputIndexMap,
    array_map,
    single_map,
)
from lazytensor.plan.source import Box

__all__ = [
    "box_of",
    "box_transform",
    "broadcasting_view",
    "changes_nothing",
    "core",
    "enlarges",
    "hull",
    "input_dims",
    "is_box",
    "narrowed",
    "reference_counts",
    "renumbered",
    "same_elements",
    "settled",
    "view_of",
]


def input_dims(m: OutputIndexMap) -> tuple[int, ...]:
    """Input dimensions that a map varies with, ascending."""
    if m.kind == SINGLE:
        return (m.input_dimension,)
    if m.array is None:
        return ()
    return tuple(d for d, n in enumerate(m.array.values.shape) if n > 1)


def reference_counts(transform: IndexTransform) -> list[int]:
    """How many maps vary with each input dimension."""
    counts = [0] * transform.domain.rank
    for m in transform.maps:
        if m.kind == SINGLE:
            counts[m.input_dimension] += 1
        elif m.kind == ARRAY:
            for d in input_dims(m):
                counts[d] += 1
    return counts


def is_box(transform: IndexTransform) -> bool:
    """True if every map is constant or alone with its input dimension, and none looks up."""
    seen = set()
    for m in transform.maps:
        if m.kind == ARRAY or (m.kind == SINGLE and m.input_dimension in seen):
            return False
        seen.add(m.input_dimension)
    return True


def same_elements(transform: IndexTransform, domain: IndexDomain) -> bool:
    """True for the identity on ``domain``, whatever the labels and whether bounds are implicit."""
    if (
        transform.domain.inclusive_min != domain.inclusive_min
        or transform.domain.exclusive_max != domain.exclusive_max
    ):
        return False
    for d, m in enumerate(transform.maps):
        if m is IDENTITY[d] or m == IDENTITY[d]:
            continue
        # Where there is one coordinate, naming it is the identity too.
        lo, hi = domain.inclusive_min[d], domain.exclusive_max[d]
        if m.kind != CONSTANT or m.offset != lo or hi - lo != 1:
            return False
    return True


def changes_nothing(transform: IndexTransform, domain: IndexDomain) -> bool:
    """True for the identity on ``domain`` that also keeps its labels.

    Implicit bounds may become explicit: operations that look at several operands settle their own
    bounds (``settled``).
    """
    return transform.domain.labels == domain.labels and same_elements(transform, domain)


def view_of(x: Node, transform: IndexTransform) -> Node:
    """``View(x, transform)``, or ``x`` where that changes nothing."""
    return x if changes_nothing(transform, x.domain) else View(x, transform)


def box_of(domain: IndexDomain) -> Box:
    """The whole domain as a box."""
    return tuple(zip(domain.inclusive_min, domain.exclusive_max, strict=True))


def box_transform(box: Box, labels: tuple[str, ...]) -> IndexTransform:
    """The identity on a box: a plain slice that keeps coordinates."""
    lo = tuple([a for a, _ in box])
    hi = tuple([b for _, b in box])
    return IndexTransform.identity(IndexDomain._make(lo, hi, labels))


def hull(transform: IndexTransform) -> Box:
    """Smallest box of output coordinates that holds the image of the whole domain."""
    return output_box(transform, box_of(transform.domain))


def narrowed(view: View, push: Callable[[View], Node | None]) -> Node | None:
    """``x[i] = x[hull(i)][i]``: what ``push`` makes of the hull's slice, with the view above.

    None where the hull is all of ``x``, so that a view which stays stops there.
    """
    x, transform = view.x, view.transform
    box = hull(transform)
    if box == box_of(x.domain):
        return None
    moved = push(View(x, box_transform(box, x.domain.labels)))
    return None if moved is None else View(moved, transform)


def enlarges(transform: IndexTransform, size: int) -> bool:
    """True if an index array picks more positions than the ``size`` there are: some repeatedly."""
    if all(m.kind != ARRAY for m in transform.maps):
        return False
    total = 1
    for n, count in zip(transform.domain.shape, reference_counts(transform), strict=True):
        if count:
            total *= n
    return total > size


def renumbered(m: OutputIndexMap, places: Sequence[int], rank: int) -> OutputIndexMap:
    """The map with input dimension ``d`` become dimension ``places[d]`` of ``rank``.

    Dimensions the map does not vary with may go nowhere (-1).
    """
    if m.kind == CONSTANT:
        return m
    if m.kind == SINGLE:
        return single_map(places[m.input_dimension], m.offset, m.stride)
    assert m.array is not None
    assert m.bounds is not None
    dims = sorted(input_dims(m), key=lambda d: places[d])
    shape = [1] * rank
    for d in dims:
        shape[places[d]] = m.array.values.shape[d]
    rest = [d for d in range(m.array.values.ndim) if d not in dims]
    values = np.transpose(m.array.values, [*rest, *dims]).reshape(shape)
    return array_map(IndexArray(values), m.offset, m.stride, m.bounds)


def _keep_dims(transform: IndexTransform, keep: Sequence[int]) -> IndexTransform:
    """The transform over the input dimensions ``keep`` (ascending), which hold all it refers to."""
    domain = transform.domain
    if len(keep) == domain.rank:
        return transform
    places = [-1] * domain.rank
    for new, old in enumerate(keep):
        places[old] = new
    return IndexTransform._make(
        IndexDomain._make(
            tuple([domain.inclusive_min[d] for d in keep]),
            tuple([domain.exclusive_max[d] for d in keep]),
            tuple([domain.labels[d] for d in keep]),
        ),
        tuple([renumbered(m, places, len(keep)) for m in transform.maps]),
    )


def core(
    transform: IndexTransform, *, units: bool = False
) -> tuple[IndexTransform, IndexTransform | None]:
    """``(core, above)``: the transform is ``above`` and then ``core``; None for no ``above``.

    ``above`` repeats values along dimensions that ``core`` does not have. With ``units``,
    dimensions of extent 1 that are not referred to are left out of the core as well; without,
    they are left out only when a longer one is.
    """
    domain = transform.domain
    counts = reference_counts(transform)
    idle = [d for d, count in enumerate(counts) if not count]
    if not idle or not (units or any(domain.shape[d] != 1 for d in idle)):
        return transform, None
    keep = [d for d, count in enumerate(counts) if count]
    above = IndexTransform._make(domain, tuple([single_map(d, 0, 1) for d in keep]))
    return _keep_dims(transform, keep), above


def broadcasting_view(x: Node, transform: IndexTransform) -> Node:
    """The view as an operand that is broadcast to ``transform.domain``.

    Dimensions the transform does not refer to shrink to extent 1, or vanish at the front, as in an
    operand written by hand; in the others the operand has an opinion on coordinates.
    """
    domain = transform.domain
    counts = reference_counts(transform)
    if all(counts):
        if any(domain.implicit_lower_bounds) or any(domain.implicit_upper_bounds):
            transform = IndexTransform._make(
                IndexDomain._make(domain.inclusive_min, domain.exclusive_max, domain.labels),
                transform.maps,
            )
        return _operand(x, transform)
    first = next((d for d, count in enumerate(counts) if count), domain.rank)
    lo, hi = list(domain.inclusive_min), list(domain.exclusive_max)
    for d in range(first, domain.rank):
        if not counts[d] and hi[d] - lo[d] != 1:
            lo[d], hi[d] = 0, 1
    shrunk = IndexDomain._make(tuple(lo), tuple(hi), domain.labels)
    cut = _keep_dims(IndexTransform._make(shrunk, transform.maps), range(first, domain.rank))
    return _operand(x, cut)


def _operand(x: Node, transform: IndexTransform) -> Node:
    """As ``view_of``; an operand without a name for a dimension takes the others' name anyway."""
    if not same_elements(transform, x.domain):
        return View(x, transform)
    pairs = zip(x.domain.labels, transform.domain.labels, strict=True)
    return x if all(old in ("", new) for old, new in pairs) else View(x, transform)


def settled(node: Node, domain: IndexDomain) -> Node:
    """``node`` on exactly this domain: positions pair up as in broadcasting (right-aligned)."""
    if node.domain == domain:
        return node
    transform = alignment(domain, node.domain)
    return View(node, IndexTransform.identity(domain) if transform is None else transform)
