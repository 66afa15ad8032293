"""What laws make of windows of a source, found without the laws.

Windows are built and collected by the thousand, each of them once, and a process that only reads
need not even import the optimizer (``plan.optimize``), which asks here first.
"""

from __future__ import annotations

from typing import cast

from lazytensor.config import QueryOptFlags
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Scan, View
from lazytensor.plan.nodes_join import Join
from lazytensor.plan.rules.pyramid import may_be_a_level
from lazytensor.plan.rules.simplify import compose_views

__all__ = ["settled_window", "window"]


def settled_window(root: Node, flags: QueryOptFlags) -> Node | None:
    """What laws make of a source, a view of one, or a join of such views; else None.

    >>> x = lt.asarray([[1, 2], [3, 4]])
    >>> settled_window(x._node, QueryOptFlags()) is x._node
    True
    """
    if type(root) is Scan:
        return root
    found = window(root, flags)
    if found is None and type(root) is Join and len(root.inputs) > 1:
        # Of windows that stay as they are, no law makes anything else: they are no constants.
        return root if all(window(x, flags) is x for x in root.inputs) else None
    return found


def window(root: Node, flags: QueryOptFlags) -> Node | None:
    """What laws make of a view of (a view of) a source, found without the driver; else None.

    Views become one, which does not move below the source; only an empty or an identical one would
    be dropped.
    """
    if type(root) is not View:
        return None
    while type(root.x) is View:
        below = root.x
        if root.transform.has_arrays or below.transform.has_arrays:
            return None
        # One of the same shape may be an identity, which is dropped instead.
        if not flags.simplify_expression or root.shape == below.shape:
            return None
        root = cast("View", compose_views(root, below))
    settled = type(root.x) is Scan and 0 not in root.shape and root.shape != root.x.shape
    return root if settled and not may_be_a_level(root) else None
