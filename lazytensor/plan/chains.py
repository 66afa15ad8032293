"""Views through chains of operations on single positions, without the driver.

Most plans that people write are a chain: slices, arithmetic with scalars and casts, one upon the
other. Nobody else consumes what is in the middle of a chain, so there is nothing for the sharing
gate to see, and what the laws make of it is known: its views are composed and arrive below, and the
operations follow in their order. Here that is done in one walk down and one up, which makes every
node once; the driver makes each three times, on its way to finding out. What is below the chain,
and what is not that simple (index arrays, broadcasting, a law that applies to one of the nodes), is
left to the driver.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, cast

from lazytensor.plan.compose import substitute
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Cast, Constant, Elementwise, Reshape, Scan, View
from lazytensor.plan.output_map import SINGLE
from lazytensor.plan.rules.moves import same_elements

__all__ = ["through_chain"]

_Links: TypeAlias = "list[Elementwise | Cast]"


def through_chain(
    root: Node, has_law: Callable[[Node], bool], optimized: Callable[[Node], Node]
) -> Node | None:
    """What laws make of a plan that begins with a chain; None if it is not that simple.

    ``has_law`` says whether some law applies to a node by itself, ``optimized`` what laws make of
    what is below the chain.
    """
    if 0 in root.shape:
        return None
    links: _Links = []
    pending: IndexTransform | None = None
    node = root
    while True:
        if type(node) is View:
            composed = _composed(pending, node)
            if composed is None:
                break
            pending, node = composed, node.x
            continue
        below = _operand(node) if type(node) is Elementwise else None
        if type(node) is Cast:
            below = node.x
        if below is None:
            break
        links.append(cast("Elementwise | Cast", node))
        node = below
    # Operations go below a reshape that is no view, so it matters who comes first.
    if not links or type(node) is Reshape:
        return None
    lower = node if pending is None else View(node, pending)
    if type(node) is not Scan:
        lower = optimized(lower)
    elif has_law(lower):
        return None
    return _rebuilt(lower, links, has_law)


def _composed(above: IndexTransform | None, view: View) -> IndexTransform | None:
    """The transform of a view, seen through the one above; None where the chain ends at it."""
    # One of the same shape may change nothing, and laws have their ways with those.
    if view.shape == view.x.shape:
        return None
    transform = view.transform
    if above is not None:
        maps = substitute(transform.maps, transform.domain, above.maps, above.domain)
        transform = IndexTransform._make(above.domain, maps)
    if not _is_plain(transform) or same_elements(transform, view.x.domain):
        return None
    return transform


def _is_plain(transform: IndexTransform) -> bool:
    """True if every dimension of the result is one of the source's, and none is looked up."""
    domain = transform.domain
    if not domain.explicit or 0 in domain.shape or transform.has_arrays:
        return False
    return len({m.input_dimension for m in transform.maps if m.kind == SINGLE}) == domain.rank


def _operand(node: Elementwise) -> Node | None:
    """The operand of an operation whose others are scalars, if it lies where the result does."""
    found = None
    for x in node.inputs:
        if type(x) is Constant:
            continue
        if found is not None or not x.shape:
            return None
        found = x
    if found is None or not _same_place(found.domain, node.domain):
        return None
    return found


def _same_place(a: IndexDomain, b: IndexDomain) -> bool:
    return a is b or (
        a.inclusive_min == b.inclusive_min
        and a.exclusive_max == b.exclusive_max
        and a.labels == b.labels
    )


def _rebuilt(node: Node, links: _Links, has_law: Callable[[Node], bool]) -> Node | None:
    """The links again, last one first, upon what is below them; None if a law applies to one."""
    for link in reversed(links):
        if type(link) is Cast:
            node = Cast(node, link.to)
        else:
            operands = [x if type(x) is Constant else node for x in link.inputs]
            node = Elementwise(cast("Elementwise", link).op, tuple(operands))
        if has_law(node):
            return None
    return node
