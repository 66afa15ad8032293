"""Plans as text: result on top, one line a node, what will be read at the end.

Printing looks at metadata only and stays short for plans of any size: ``plan.outline`` says what is
shown. The words for each kind are in ``plan.explain_labels``; the numbers of the last line are an
``Estimate`` that the caller has. What runs is printed by ``plan.explain_work``.
"""

from __future__ import annotations

from collections.abc import Callable

from lazytensor.plan.cost import Estimate
from lazytensor.plan.explain_formats import Notes, footer, nested_html, plan_dot, plan_json
from lazytensor.plan.explain_rules import fired, rules_text
from lazytensor.plan.node import Node
from lazytensor.plan.optimize import Trace
from lazytensor.plan.outline import details, inputs_drawn, outline, words

__all__ = ["FORMATS", "behind", "check_format", "explain", "explain_notes", "notes_of"]

_WIDEST_LABEL = 60


def explain(
    root: Node,
    *,
    format: str = "plain",
    estimate: Estimate | None = None,
    trace: Trace | None = None,
) -> str:
    """The plan below and including ``root`` as text; nothing is read.

    Parameters
    ----------
    root
        The plan to print, optimised or not.
    format
        ``"plain"`` (one line a node), ``"tree"`` (with domains and chunks), ``"dot"`` (Graphviz),
        ``"json"``, or ``"html"`` (an element with the plan to unfold); anything else is a
        ``ValueError``. The keys of the JSON are those of ``explain_formats.plan_json``.
    estimate
        What the last line says will be read.
    trace
        The laws that fired: a section of their own, and counted on the last line.

    >>> from lazytensor.plan.memory import array_node
    >>> from lazytensor.plan.nodes import Cast
    >>> import numpy as np
    >>> print(explain(Cast(array_node(np.zeros((2, 3), "u1")), np.dtype("f4"))))
    cast float32   (2, 3)  float32  24 B
    └─ scan array  (2, 3)  uint8     6 B
    """
    return explain_notes(root, notes_of(estimate, trace), format)


def explain_notes(root: Node, notes: Notes, format: str) -> str:
    """The same, with what stands behind the plan worked out already."""
    check_format(format)
    return FORMATS[format](root, notes)


def check_format(format: str) -> None:
    """``ValueError`` for a format that there is not."""
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}; formats are {', '.join(FORMATS)}")


def notes_of(estimate: Estimate | None, trace: Trace | None) -> Notes:
    """What stands behind a plan."""
    return Notes(estimate, trace, () if trace is None else tuple(fired(trace)))


def _plain(root: Node, notes: Notes) -> str:
    rows: list[tuple[str, ...]] = []
    for line in outline(root):
        if line.node is None:
            rows.append((line.rails + line.text,))
            continue
        said = words(line.node)
        note = f"{said.note}  #{line.shared}".strip() if line.shared else said.note
        rows.append((line.rails + said.label, *said[1:4], note))
    full = [row for row in rows if len(row) > 1]
    # One long label must not push every number out of sight.
    widths = [min(max(len(row[i]) for row in full), _WIDEST_LABEL) for i in range(4)]
    out = []
    for row in rows:
        if len(row) == 1:
            out.append(row[0])
            continue
        label, shape, dtype, nbytes, note = row
        text = (
            f"{label:<{widths[0]}}  {shape:<{widths[1]}}  {dtype:<{widths[2]}}  "
            f"{nbytes:>{widths[3]}}   {note}"
        )
        out.append(text.rstrip())
    return "\n".join([*out, *behind(notes)])


def _tree(root: Node, notes: Notes) -> str:
    out = []
    for line in outline(root):
        if line.node is None:
            out.append(line.rails + line.text)
            continue
        said = words(line.node)
        shared = f"  #{line.shared}" if line.shared else ""
        out.append(f"{line.rails}{said.label}{' ' * bool(said.note)}{said.note}{shared}")
        bar = "│  " if inputs_drawn(line.node) else "   "
        out += [f"{line.below}{bar}{text}" for text in details(line.node)]
    return "\n".join([*out, *behind(notes)])


def behind(notes: Notes) -> list[str]:
    """The lines behind a plan: the laws that fired, and what is read."""
    laws = ["", *rules_text(notes.rules)] if notes.rules else []
    last = footer(notes)
    return [*laws, last] if last else laws


FORMATS: dict[str, Callable[[Node, Notes], str]] = {
    "plain": _plain,
    "tree": _tree,
    "dot": plan_dot,
    "json": plan_json,
    "html": nested_html,
}
"""Formats of ``explain`` by name."""
