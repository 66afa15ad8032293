"""What one box of one node takes: the record that ``demand`` answers with, and boxes of operands.

It is its own module so that the demands of a family of node kinds can be written in a file of their
own, which the table in ``exec.demand`` then lists.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from lazytensor.plan.node import Node
from lazytensor.plan.source import Box

__all__ = ["BoxPlan", "aligned_box", "whole_box"]


class BoxPlan(NamedTuple):
    """How one box of one node is computed."""

    op: str
    args: tuple[Any, ...]
    needs: list[tuple[Node, Box]]


def whole_box(node: Node) -> Box:
    """The node's whole domain as a box."""
    return tuple(zip(node.domain.inclusive_min, node.domain.exclusive_max, strict=True))


def aligned_box(node: Node, x: Node, box: Box) -> Box:
    """The part of a broadcast operand that meets ``box`` (positions pair up from the right)."""
    skip = node.ndim - x.ndim
    lo, out_lo = x.domain.inclusive_min, node.domain.inclusive_min
    out = []
    for d, n in enumerate(x.shape):
        a, b = box[skip + d]
        if n == 1 and node.shape[skip + d] != 1:
            out.append((lo[d], lo[d] + (1 if b > a else 0)))
        else:
            shift = lo[d] - out_lo[skip + d]
            out.append((a + shift, b + shift))
    return tuple(out)
