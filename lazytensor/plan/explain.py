"""Plans as text: result on top, one line a node, what will be read at the end.

Printing looks at metadata only and stays short for plans of any size: of many inputs the first are
shown, of long chains the ends, and a node with several consumers once. The words for each kind are
in ``plan.explain_labels``; the numbers of the last line are an ``Estimate`` that the caller has.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from html import escape
from typing import Any, NamedTuple

from lazytensor.plan.cost import Estimate, format_bytes, format_count
from lazytensor.plan.explain_labels import describe, describe_view, format_shape, shown_inputs
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Constant, Scan, View
from lazytensor.plan.nodes_join import Join, Overlay
from lazytensor.plan.optimize import Trace

__all__ = ["FORMATS", "explain"]

_MAX_INPUTS = 8
_CHAIN_HEAD, _CHAIN_TAIL = 10, 6
_MAX_DEPTH = 32
_MAX_LINES = 400
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
        ``"json"``, or ``"html"`` (the tree as an element); anything else is a ``ValueError``.
    estimate
        What the last line says will be read.
    trace
        The laws that fired, to be counted on the last line.

    >>> from lazytensor.plan.memory import array_node
    >>> from lazytensor.plan.nodes import Cast
    >>> import numpy as np
    >>> print(explain(Cast(array_node(np.zeros((2, 3), "u1")), np.dtype("f4"))))
    cast float32   (2, 3)  float32  24 B
    └─ scan array  (2, 3)  uint8     6 B
    """
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}; formats are {', '.join(FORMATS)}")
    return FORMATS[format](root, estimate, trace)


class _Line(NamedTuple):
    """One line of a drawing: rails, and either a node or what is said instead."""

    rails: str
    below: str
    """Rails of what stands under the node before its inputs."""
    node: Node | None
    text: str
    shared: int
    """Number of a node with several consumers, else 0."""


def _is_leaf(node: Node) -> bool:
    """True for nodes that take one line: sources, scalars, and views of those."""
    if isinstance(node, View):
        return isinstance(node.x, (Scan, Constant))
    return isinstance(node, (Scan, Constant))


def _inputs(node: Node) -> tuple[Node, ...]:
    return () if _is_leaf(node) else shown_inputs(node)


class _Drawing:
    """Lines of a plan drawn as a tree."""

    def __init__(self, root: Node) -> None:
        self._consumers = Counter(child for node in walk(root) for child in _inputs(node))
        self._numbers: dict[Node, int] = {}
        self._root = root

    def lines(self) -> Iterator[_Line]:
        """Depth first, result on top."""
        # (what, rails before it, its own branch, rails for its inputs)
        stack: list[tuple[Node | str, str, str, str]] = [(self._root, "", "", "")]
        count = 0
        while stack:
            item, rails, branch, rest = stack.pop()
            if isinstance(item, str):
                yield _Line(rails + branch, rest, None, item, 0)
                continue
            count += 1
            if count > _MAX_LINES:
                yield _Line("", "", None, "… more operations", 0)
                return
            if item in self._numbers:
                number = self._numbers[item]
                yield _Line(rails + branch, rest, None, f"↑ #{number} {describe(item)}", 0)
                continue
            inputs = _inputs(item)
            number = 0
            if inputs and self._consumers[item] > 1:
                number = self._numbers[item] = len(self._numbers) + 1
            yield _Line(rails + branch, rest, item, "", number)
            if len(rails) >= 3 * _MAX_DEPTH and inputs:
                stack.append((f"… {format_count(item.height)} more levels", rest, "└─ ", rest))
                continue
            stack.extend(self._branches(item, inputs, rest))

    def _branches(
        self, node: Node, inputs: tuple[Node, ...], rails: str
    ) -> list[tuple[Node | str, str, str, str]]:
        """The inputs with their rails, last one first."""
        items: list[Node | str] = list(inputs)
        if len(inputs) == 1 and len(rails) == 3 * _CHAIN_HEAD:
            chain = self._chain(inputs[0])
            hidden = len(chain) - _CHAIN_TAIL
            if hidden > _CHAIN_TAIL:
                return [
                    (chain[hidden], rails, "└─ ", rails + "   "),
                    (f"… {format_count(hidden)} more operations", rails, "┆  ", rails),
                ]
        if len(inputs) > _MAX_INPUTS:
            noun = "layers" if isinstance(node, (Join, Overlay)) else "inputs"
            more = len(inputs) - _MAX_INPUTS
            items = [*inputs[:_MAX_INPUTS], f"… {format_count(more)} more {noun}"]
        last = len(items) - 1
        return [
            (item, rails, "└─ ", rails + "   ")
            if i == last
            else (item, rails, "├─ ", rails + "│  ")
            for i, item in reversed(list(enumerate(items)))
        ]

    def _chain(self, node: Node) -> list[Node]:
        """``node`` and what follows as long as there is one input, met for the first time."""
        chain = [node]
        while len(inputs := _inputs(chain[-1])) == 1 and inputs[0] not in self._numbers:
            chain.append(inputs[0])
        return chain


def _label(node: Node) -> tuple[str, str]:
    """Phrase, and what is said behind the numbers."""
    if isinstance(node, View) and isinstance(node.x, Scan):
        return describe(node.x), describe_view(node.transform, node.x)
    return describe(node), ""


def _plain(root: Node, estimate: Estimate | None, trace: Trace | None) -> str:
    rows: list[tuple[str, ...]] = []
    for line in _Drawing(root).lines():
        if line.node is None:
            rows.append((line.rails + line.text,))
            continue
        node = line.node
        label, note = _label(node)
        if line.shared:
            note = f"{note}  #{line.shared}".strip()
        rows.append((line.rails + label, format_shape(node), str(node.dtype), _nbytes(node), note))
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
    return "\n".join([*out, *_footer(estimate, trace)])


def _nbytes(node: Node) -> str:
    return format_bytes(node.nbytes)


def _tree(root: Node, estimate: Estimate | None, trace: Trace | None) -> str:
    out = []
    for line in _Drawing(root).lines():
        if line.node is None:
            out.append(line.rails + line.text)
            continue
        node = line.node
        label, note = _label(node)
        shared = f"  #{line.shared}" if line.shared else ""
        out.append(f"{line.rails}{label}{' ' * bool(note)}{note}{shared}")
        bar = "│  " if _inputs(node) else "   "
        out += [f"{line.below}{bar}{text}" for text in _details(node)]
    return "\n".join([*out, *_footer(estimate, trace)])


def _details(node: Node) -> list[str]:
    chunks = tuple(None if cells is None else cells.nominal for cells in node.grid)
    bounds = zip(node.domain.inclusive_min, node.domain.exclusive_max, strict=True)
    dims = ", ".join(
        f"{node.domain.labels[d] or d}: [{lo}, {hi})" for d, (lo, hi) in enumerate(bounds)
    )
    return [
        f"shape  {format_shape(node)} {node.dtype}, {_nbytes(node)}",
        f"domain {{{dims}}}",
        f"chunks {chunks}",
    ]


def _footer(estimate: Estimate | None, trace: Trace | None) -> list[str]:
    parts = [] if estimate is None else [str(estimate)]
    if trace is not None:
        parts.append(f"rules: {_rules(trace) or 'none'}")
    return ["        ".join(parts)] if parts else []


def _rules(trace: Trace) -> str:
    """``slice_pushdown×2 (view_through_cast×2)``: by flag, then by law."""
    by_flag: dict[str, Counter[str]] = {}
    for firing in trace.firings:
        by_flag.setdefault(firing.law.flag, Counter())[firing.law.name] += 1
    return " ".join(
        f"{flag}×{laws.total()} ({' '.join(f'{name}×{n}' for name, n in laws.items())})"
        for flag, laws in by_flag.items()
    )


def _dot(root: Node, estimate: Estimate | None, trace: Trace | None) -> str:
    numbers: dict[Node, int] = {}
    out = ["digraph plan {", "  rankdir=BT;", "  node [shape=box, fontname=monospace];"]
    for node in walk(root):
        number = numbers[node] = len(numbers)
        text = f"{describe(node)}\n{format_shape(node)} {node.dtype}\n{_nbytes(node)}"
        out.append(f"  n{number} [label={_quoted(text)}];")
        out += [f"  n{numbers[child]} -> n{number};" for child in dict.fromkeys(node.inputs)]
    if footer := _footer(estimate, trace):
        out.append(f"  label={_quoted(footer[0])};")
    return "\n".join([*out, "}"])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _json(root: Node, estimate: Estimate | None, trace: Trace | None) -> str:
    numbers: dict[Node, int] = {}
    nodes: list[dict[str, Any]] = []
    for node in walk(root):
        numbers[node] = len(nodes)
        nodes.append(
            {
                "id": len(nodes),
                "kind": type(node).__name__,
                "label": describe(node),
                "inputs": [numbers[child] for child in node.inputs],
                "shape": list(node.shape),
                "dims": list(node.domain.labels),
                "origin": list(node.domain.inclusive_min),
                "dtype": str(node.dtype),
                "nbytes": node.nbytes,
            }
        )
    document: dict[str, Any] = {"root": numbers[root], "nodes": nodes}
    if estimate is not None:
        document["estimate"] = asdict(estimate)
    if trace is not None:
        document["rules"] = trace.counts()
    return json.dumps(document, indent=1)


def _html(root: Node, estimate: Estimate | None, trace: Trace | None) -> str:
    return f"<pre>{escape(_tree(root, estimate, trace))}</pre>"


FORMATS: dict[str, Callable[[Node, Estimate | None, Trace | None], str]] = {
    "plain": _plain,
    "tree": _tree,
    "dot": _dot,
    "json": _json,
    "html": _html,
}
"""Formats of ``explain`` by name."""
