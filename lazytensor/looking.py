"""A plan as it is looked at: as text in several formats, as a picture, in a notebook or a file.

What ``explain`` and ``show_graph`` have in common. It is a module of its own because it is the one
place where the two stages of a plan, what it means and what runs, are put side by side.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cached_property
from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING, Any

from lazytensor.collecting import check_flags
from lazytensor.config import QueryOptFlags
from lazytensor.plan.node import Node

if TYPE_CHECKING:
    from lazytensor.plan.explain_formats import Notes
    from lazytensor.plan.explain_work import StageWork

__all__ = ["Look", "displayed"]

_STAGES = ("logical", "physical")


class Look:
    """One plan, one stage of it, and what is said behind it.

    ``stage``: ``"logical"`` or ``"physical"``, else ``ValueError``. ``optimized``: False for the
    plan as it was written. ``rules``: whether the laws that fire are said.
    """

    def __init__(
        self,
        node: Node,
        stage: str,
        *,
        engine: Any,
        optimizations: QueryOptFlags,
        optimized: bool = True,
        rules: bool = False,
    ) -> None:
        if stage not in _STAGES:
            raise ValueError(f"stage={stage!r} is neither 'logical' nor 'physical'")
        self._node = node
        self._physical = stage == "physical"
        self._engine = engine
        flags = check_flags(optimizations)
        from lazytensor.plan.optimize import Trace, optimize

        self._flags = flags if optimized else QueryOptFlags.none()
        self._trace = Trace() if rules else None
        self._plan = optimize(node, self._flags, self._trace)

    def text(self, format: str) -> str:
        """The plan in a format of ``explain``; ``ValueError`` for others."""
        from lazytensor.plan.explain import check_format, explain_notes

        check_format(format)
        if not self._physical:
            return explain_notes(self._plan, self._notes, format)
        from lazytensor.plan.explain_work import explain_work

        return explain_work(self._work, self._notes, format)

    def picture(self) -> str:
        """The plan as an SVG document."""
        from lazytensor.plan.drawing import draw, graph_of
        from lazytensor.plan.explain_formats import footer
        from lazytensor.plan.explain_work import work_graph

        graph = work_graph(self._work) if self._physical else graph_of(self._plan)
        return draw(graph, (footer(self._notes),))

    def write(self, path: str | PathLike[str]) -> None:
        """Write a picture, a page or a graph, by the suffix of ``path``."""
        suffix = os.path.splitext(path)[1]
        if suffix not in _WRITERS:
            raise ValueError(
                f"{str(path)!r} has the suffix {suffix!r}; graphs are written as "
                f"{', '.join(_WRITERS)}"
            )
        with open(path, "w", encoding="utf-8") as file:
            file.write(_WRITERS[suffix](self))

    @cached_property
    def _notes(self) -> Notes:
        from lazytensor.exec.estimate import estimate
        from lazytensor.plan.explain import notes_of

        cost = estimate(self._node, engine=self._engine, optimizations=self._flags)
        return notes_of(cost, self._trace)

    @cached_property
    def _work(self) -> list[StageWork]:
        from lazytensor.exec.describe import describe_work

        return describe_work(self._node, self._engine, self._flags)


def _page(look: Look) -> str:
    return (
        '<!DOCTYPE html><html><head><meta charset="utf-8"><title>plan</title></head>'
        f"<body>{look.picture()}{look.text('html')}</body></html>"
    )


_WRITERS: dict[str, Callable[[Look], str]] = {
    ".svg": Look.picture,
    ".html": _page,
    ".dot": lambda look: look.text("dot"),
}


def displayed(picture: str) -> bool:
    """Show an SVG where IPython runs; whether it does."""
    ipython = sys.modules.get("IPython")
    if ipython is None or ipython.get_ipython() is None:
        return False
    shown = import_module("IPython.display")
    shown.display(shown.SVG(picture))
    return True
