"""What is computed of a plan before parts of it are, one after the other.

A part of ``x - x.mean()`` needs the mean of all of ``x``. A collect computes that first and then
all blocks of the rest; whoever collects part after part would have it computed for each of them. So
what is small, and is not made of just the same part of its inputs, is computed once, and from then
on it is an array in memory.
"""

from __future__ import annotations

from typing import Any

from lazytensor.errors import HoleError
from lazytensor.exec.engine import collect_nodes
from lazytensor.exec.holes import check_holes
from lazytensor.exec.pool import CancelToken
from lazytensor.plan.memory import MemorySource
from lazytensor.plan.node import Node, rebuild, walk
from lazytensor.plan.nodes import Cache, Cast, Constant, Elementwise, Field, Rechunk, Scan, View
from lazytensor.plan.nodes_block import Downsample
from lazytensor.plan.nodes_join import Join, Overlay

__all__ = ["settle"]

_LOCAL = (
    Cache, Cast, Constant, Downsample, Elementwise, Field, Join, Overlay, Rechunk, Scan, View,
)  # fmt: skip
"""Kinds of nodes a part of which is made of about that part of their inputs."""
_SMALL = 1 << 20
_MARKS = 1 << 26
"""Elements up to which holes of a whole plan are looked for at once."""


def settle(node: Node, cancel: CancelToken | None = None) -> tuple[Node, bool]:
    """An optimised plan with what is small computed, and whether parts of the rest may be lowered
    as they are: nothing of it has to be computed first, and it has no holes.

    Raises what a collect raises.

    >>> x = lt.asarray(np.arange(4.0))
    >>> settle((x - x.mean())._node)
    (<Elementwise (4) float64>, True)
    """
    kept: list[Node] = []

    def below(found: Node) -> tuple[Node, ...]:
        if not isinstance(found, _LOCAL) and found.nbytes <= _SMALL:
            kept.append(found)
            return ()
        return found.inputs

    for _ in walk(node, below=below):
        pass
    replaced: dict[Node, Any] = {}
    if kept:
        for found, values in zip(kept, collect_nodes(kept, cancel=cancel), strict=True):
            replaced[found] = Scan(MemorySource.standing_in(values, found.spec, {}))
        node = rebuild(node, replaced)
    return node, all(isinstance(found, _LOCAL) for found in walk(node)) and not _has_holes(node)


def _has_holes(node: Node) -> bool:
    """Whether a plan may read a hole."""
    if not any(isinstance(found, Overlay) and found.fill is None for found in walk(node)):
        return False
    if node.size > _MARKS:
        return True
    try:
        check_holes(node, lambda marks: collect_nodes((marks,))[0])
    except HoleError:
        # Told where it is read: what comes before is good.
        return True
    return False
