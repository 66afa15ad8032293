"""Plans for programs and for pages: Graphviz, JSON and HTML.

DOT and JSON hold every node, since programs do not tire; HTML is made of the outline that text has,
each node an element that folds away what is below it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from html import escape
from typing import Any, NamedTuple

from lazytensor.plan.cost import Estimate
from lazytensor.plan.explain_labels import describe
from lazytensor.plan.explain_rules import Fired, phrase, rules_as_data, saving_text, summary
from lazytensor.plan.node import Node, walk
from lazytensor.plan.optimize import Trace
from lazytensor.plan.outline import details, one_line, outline, words

__all__ = [
    "Notes", "dot_string", "footer", "fragment", "html_table", "html_text", "nested_html",
    "notes_as_data", "notes_html", "plan_dot", "plan_json",
]  # fmt: skip


class Notes(NamedTuple):
    """What stands behind a plan: what it will read, and the laws that made it."""

    estimate: Estimate | None
    trace: Trace | None
    rules: tuple[Fired, ...]


def footer(notes: Notes) -> str:
    """The last line of a plan; empty if there is nothing to say."""
    parts = [] if notes.estimate is None else [str(notes.estimate)]
    if notes.trace is not None:
        parts.append(f"rules: {summary(notes.trace)}")
    return "        ".join(parts)


def plan_dot(root: Node, notes: Notes) -> str:
    """A graph of all nodes for Graphviz, inputs below what takes them."""
    numbers: dict[Node, int] = {}
    out = ["digraph plan {", "  rankdir=BT;", '  node [shape=box, fontname="monospace"];']
    for node in walk(root):
        number = numbers[node] = len(numbers)
        said = words(node)
        text = f"{describe(node)}\n{said.shape} {said.dtype}\n{said.nbytes}"
        out.append(f"  n{number} [label={dot_string(text)}];")
        out += [f"  n{numbers[child]} -> n{number};" for child in dict.fromkeys(node.inputs)]
    if last := footer(notes):
        out.append(f"  label={dot_string(last)};")
    return "\n".join([*out, "}"])


def dot_string(text: str) -> str:
    r"""A quoted string of the DOT language, in which nothing means anything but itself.

    >>> print(dot_string('a "b"\nc\\n'))
    "a \"b\"\nc\\n"
    """
    escaped = _printable(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def plan_json(root: Node, notes: Notes) -> str:
    """The plan as a JSON object.

    ``root``: the ``id`` of the result. ``nodes``, inputs before what takes them, each with ``id``
    (its position), ``kind``, ``label``, ``inputs`` (ids), ``shape``, ``dims``, ``origin``,
    ``dtype`` and ``nbytes``. ``estimate``, if there is one: the fields of ``lt.Estimate``.
    ``rules``, if laws were traced: for each law that fired ``law``, ``flag``, ``statement``,
    ``count`` and ``firings``, each with ``before``, ``after`` and ``saved`` (bytes, or null where
    that was not worked out).
    """
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
    return json.dumps({"root": numbers[root], "nodes": nodes, **notes_as_data(notes)}, indent=1)


def notes_as_data(notes: Notes) -> dict[str, Any]:
    """The keys ``estimate`` and ``rules``, as far as there are such."""
    data: dict[str, Any] = {}
    if notes.estimate is not None:
        data["estimate"] = asdict(notes.estimate)
    if notes.trace is not None:
        data["rules"] = rules_as_data(notes.rules)
    return data


def nested_html(root: Node, notes: Notes) -> str:
    """An element that shows the plan, each node with its inputs folded into it."""
    lines = list(outline(root))
    inputs: dict[int, list[int]] = {}
    for line in lines:
        inputs.setdefault(line.parent, []).append(line.number)
    # From the last line on, so that what hangs under a line is made before it.
    made: dict[int, str] = {}
    for line in reversed(lines):
        below = "".join(made.pop(number) for number in inputs.get(line.number, ()))
        made[line.number] = _element(_line_html(line.node, line.text, line.shared), below)
    return fragment(made[0] + notes_html(notes))


def _line_html(node: Node | None, text: str, shared: int) -> str:
    if node is None:
        return html_text(text)
    said = words(node)
    name = f" #{shared}" if shared else ""
    facts = f"{said.shape} {said.dtype} {said.nbytes}"
    head = f"{said.label} {said.note}".strip()
    more = html_text("; ".join(details(node)[1:]))
    return (
        f"<b>{html_text(head)}</b>{name} "
        f'<span style="opacity: 0.65" title="{more}">{html_text(facts)}</span>'
    )


_INDENT = 'style="margin-left: 1.2em"'


def _element(line: str, below: str) -> str:
    if not below:
        return f"<div {_INDENT}>{line}</div>"
    return f'<details open="open" {_INDENT}><summary>{line}</summary>{below}</details>'


def notes_html(notes: Notes) -> str:
    """The laws that fired, folded, and the last line."""
    last = footer(notes)
    parts = []
    if notes.rules:
        parts.append(_element(html_text("rules that fired"), _rules_table(notes.rules)))
    if last:
        parts.append(f"<p>{html_text(last)}</p>")
    return "".join(parts)


def _rules_table(groups: Sequence[Fired]) -> str:
    rows = []
    for group in groups:
        law = group.law
        rows.append([law.name, law.flag, law.statement, f"×{len(group.firings)}", ""])
        for firing, saved in zip(group.firings, group.saved, strict=False):
            change = f"{phrase(firing.before)} → {phrase(firing.after)}"
            rows.append(["", "", change, "", saving_text(saved)])
    return html_table(["law", "flag", "equation", "fired", "bytes"], rows)


def html_table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain text."""
    titles = "".join(f"<th>{html_text(text)}</th>" for text in head)
    body = "".join(
        f"<tr>{''.join(f'<td>{html_text(text)}</td>' for text in row)}</tr>" for row in rows
    )
    return (
        f'<table style="text-align: left"><thead><tr>{titles}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def html_text(text: str) -> str:
    """Text in which nothing is taken for markup."""
    return escape(_printable(text))


def fragment(content: str) -> str:
    """One element that stands by itself on any page."""
    return f'<div class="lazytensor-plan" style="font-family: monospace">{content}</div>'


def _printable(text: str) -> str:
    """Text without control characters, which XML and HTML may not hold; lines stay apart."""
    return "\n".join(map(one_line, text.split("\n")))
