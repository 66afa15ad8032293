"""Which lines and boxes a drawing of a plan has: the one place that decides what is left out.

Plans may have a million nodes and people read a screen, so of many inputs the first are shown, of
long chains the ends, and a node with several consumers once. Text, HTML and pictures are all made
of this outline, so that they agree; they differ in what they write beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from lazytensor.plan.cost import format_bytes, format_count
from lazytensor.plan.explain_labels import describe, describe_view, format_shape, shown_inputs
from lazytensor.plan.levels import describe_level
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Constant, Scan, View, scan_below
from lazytensor.plan.nodes_join import Join, Overlay

__all__ = ["Line", "Words", "details", "inputs_drawn", "one_line", "outline", "words"]

_MAX_INPUTS = 8
_CHAIN_HEAD, _CHAIN_TAIL = 10, 6
_MAX_DEPTH = 32
_MAX_LINES = 400


class Line(NamedTuple):
    """One line: its rails, and either a node or what is said instead of some."""

    number: int
    """Position among the lines."""
    parent: int
    """Number of the line that it hangs under; -1 for the first."""
    rails: str
    below: str
    """Rails of what stands under the node before its inputs."""
    node: Node | None
    text: str
    """What is said where no node is shown."""
    shared: int
    """Number of a node with several consumers, else 0."""
    again: int
    """Line that shows the node this one refers to, else -1."""


class Words(NamedTuple):
    """What is said of a node: phrase, shape, dtype, size, and what a view of a source picks."""

    label: str
    shape: str
    dtype: str
    nbytes: str
    note: str


def words(node: Node) -> Words:
    """What every drawing says of a node.

    >>> from lazytensor.plan.memory import array_node
    >>> import numpy as np
    >>> words(array_node(np.zeros((2, 3), "u1")))
    Words(label='scan array', shape='(2, 3)', dtype='uint8', nbytes='6 B', note='')
    """
    label, note = describe(node), ""
    if isinstance(node, View) and isinstance(node.x, Scan):
        label, note = describe(node.x), describe_view(node.transform, node.x)
    scan = scan_below(node)
    if scan is not None:
        note = f"{note}   {describe_level(scan.source)}".strip()
    label, note = one_line(label), one_line(note)
    return Words(label, format_shape(node), str(node.dtype), format_bytes(node.nbytes), note)


def details(node: Node) -> list[str]:
    """Lines that say more of a node: shape and size, domain, chunks."""
    said = words(node)
    chunks = tuple(None if cells is None else cells.nominal for cells in node.grid)
    bounds = zip(node.domain.inclusive_min, node.domain.exclusive_max, strict=True)
    dims = ", ".join(
        f"{one_line(node.domain.labels[d]) or d}: [{lo}, {hi})" for d, (lo, hi) in enumerate(bounds)
    )
    return [
        f"shape  {said.shape} {said.dtype}, {said.nbytes}",
        f"domain {{{dims}}}",
        f"chunks {chunks}",
    ]


def one_line(text: str) -> str:
    """Text without control characters, which names of files and dims may hold.

    >>> one_line("a\\nb")
    'a�b'
    """
    if text.isprintable():
        return text
    return "".join([c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text])


def inputs_drawn(node: Node) -> tuple[Node, ...]:
    """Inputs with a line of their own: none for sources, scalars, and views of those."""
    base = node.x if isinstance(node, View) else node
    return () if isinstance(base, (Scan, Constant)) else shown_inputs(node)


def outline(root: Node) -> Iterator[Line]:
    """The lines of a plan, depth first, result on top."""
    return _Outline(root).lines()


class _Item(NamedTuple):
    """A line to come: a node or words, the line above, its rails, its branch, and rails below."""

    what: Node | str
    parent: int
    rails: str
    branch: str
    rest: str


class _Outline:
    def __init__(self, root: Node) -> None:
        self._consumers = Counter(child for node in walk(root) for child in inputs_drawn(node))
        self._numbers: dict[Node, tuple[int, int]] = {}
        self._root = root

    def lines(self) -> Iterator[Line]:
        stack = [_Item(self._root, -1, "", "", "")]
        shown = at = 0
        while stack:
            item, number = stack.pop(), at
            what, rails = item.what, item.rails + item.branch
            at += 1
            if isinstance(what, str):
                yield Line(number, item.parent, rails, item.rest, None, what, 0, -1)
                if stack and stack[-1].rails == item.rest and item.branch == "┆  ":
                    # What follows the gap in a chain hangs under the gap.
                    stack[-1] = stack[-1]._replace(parent=number)
                continue
            shown += 1
            if shown > _MAX_LINES:
                yield Line(number, item.parent, "", "", None, "… more operations", 0, -1)
                return
            if what in self._numbers:
                name, first = self._numbers[what]
                text = f"↑ #{name} {one_line(describe(what))}"
                yield Line(number, item.parent, rails, item.rest, None, text, 0, first)
                continue
            inputs = inputs_drawn(what)
            name = 0
            if inputs and self._consumers[what] > 1:
                name = len(self._numbers) + 1
                self._numbers[what] = name, number
            yield Line(number, item.parent, rails, item.rest, what, "", name, -1)
            if len(rails) >= 3 * _MAX_DEPTH and inputs:
                text = f"… {format_count(what.height)} more levels"
                stack.append(_Item(text, number, item.rest, "└─ ", item.rest))
                continue
            stack.extend(self._branches(what, number, inputs, item.rest))

    def _branches(
        self, node: Node, number: int, inputs: tuple[Node, ...], rails: str
    ) -> list[_Item]:
        """The inputs with their rails, last one first."""
        items: list[Node | str] = list(inputs)
        if len(inputs) == 1 and len(rails) == 3 * _CHAIN_HEAD:
            chain = self._chain(inputs[0])
            hidden = len(chain) - _CHAIN_TAIL
            if hidden > _CHAIN_TAIL:
                text = f"… {format_count(hidden)} more operations"
                return [
                    _Item(chain[hidden], number, rails, "└─ ", rails + "   "),
                    _Item(text, number, rails, "┆  ", rails),
                ]
        if len(inputs) > _MAX_INPUTS:
            noun = "layers" if isinstance(node, (Join, Overlay)) else "inputs"
            more = len(inputs) - _MAX_INPUTS
            items = [*inputs[:_MAX_INPUTS], f"… {format_count(more)} more {noun}"]
        last = len(items) - 1
        return [
            _Item(item, number, rails, "└─ ", rails + "   ")
            if i == last
            else _Item(item, number, rails, "├─ ", rails + "│  ")
            for i, item in reversed(list(enumerate(items)))
        ]

    def _chain(self, node: Node) -> list[Node]:
        """``node`` and what follows as long as there is one input, met for the first time."""
        chain = [node]
        while len(inputs := inputs_drawn(chain[-1])) == 1 and inputs[0] not in self._numbers:
            chain.append(inputs[0])
        return chain
