"""Optimising plans that are computed together.

Laws see one plan at a time, and one decision depends on all of them: a level of a pyramid that
stands in for a finer one is read in vain if another result reads the finer one anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

from lazytensor.config import QueryOptFlags
from lazytensor.plan.cost import reads
from lazytensor.plan.node import Node, walk_all
from lazytensor.plan.nodes import Scan, View
from lazytensor.plan.windows import settled_window

__all__ = ["optimize_together"]


def optimize_together(nodes: Sequence[Node], flags: QueryOptFlags) -> list[Node]:
    """The optimised plans of some results."""
    windows = [settled_window(node, flags) for node in nodes]
    plans = [window for window in windows if window is not None]
    if len(plans) < len(nodes):
        from lazytensor.plan.optimize import optimize

        plans = [optimize(node, flags) for node in nodes]
    if len(plans) < 2 or not flags.pyramid_substitution or not _has_levels(plans):
        return plans
    from lazytensor.plan.optimize import optimize

    without = flags.update(pyramid_substitution=False)
    others = [optimize(node, without) for node in nodes]
    return others if _read_together(others) < _read_together(plans) else plans


def _has_levels(plans: Sequence[Node]) -> bool:
    """Whether several levels of one pyramid are read."""
    keys = {node.source.key: node for node in walk_all(plans) if isinstance(node, Scan)}
    return any(
        level.key in keys and keys[level.key] is not scan
        for scan in keys.values()
        for level in getattr(scan.source, "levels", ())
    )


def _read_together(plans: Sequence[Node]) -> int:
    """About the bytes of stored cells that plans touch, those of one source counted once."""
    read = {plan: None for plan in plans if isinstance(plan, Scan)}
    parts: list[View] = []
    for node in walk_all(plans):
        if isinstance(node, View) and isinstance(node.x, Scan):
            parts.append(node)
        else:
            read.update({x: None for x in node.inputs if isinstance(x, Scan)})
    by_source = {scan: reads(scan) for scan in read}
    for view in parts:
        scan = view.x
        assert isinstance(scan, Scan)
        by_source[scan] = min(by_source.get(scan, 0) + reads(view), reads(scan))
    return sum(by_source.values())
