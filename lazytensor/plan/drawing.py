"""Pictures of plans: boxes in layers, drawn as SVG without any other program.

A plan that is shown is nearly a tree, since ``plan.outline`` leaves out what no screen holds. Every
box gets the columns that its inputs need, side by side, and a layer below everything that takes it;
so lines of the tree never cross, and only those to a shared box may. Text is set in a monospace
font, by which the size of a box is known without asking a browser.
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple
from xml.sax.saxutils import escape

from lazytensor.plan.node import Node
from lazytensor.plan.outline import one_line, outline, words

__all__ = ["Box", "Graph", "draw", "graph_of"]

_FONT = 12
_CHAR = 7.3  # pixels a character takes in any usual monospace font, at most
_LINE = 16.0
_PAD = 8.0
_GAP, _DROP = 18.0, 34.0  # between boxes side by side, and between layers
_MARGIN = 12.0
_STYLE = (
    "<style>text{font:12px monospace;fill:#222}rect{fill:#f5f7fa;stroke:#5b6b7b}"
    ".gap rect{fill:none;stroke:#9aa5b1;stroke-dasharray:4 3}"
    ".head rect{fill:#e3eefb;stroke:#2f6db3}.first{font-weight:bold}"
    "path{fill:none;stroke:#5b6b7b}.again{stroke-dasharray:4 3}</style>"
)


class Box(NamedTuple):
    """Lines of text in a frame. ``kind``: ``"node"``, ``"head"`` of a group, or ``"gap"``."""

    lines: tuple[str, ...]
    kind: str = "node"


class Graph(NamedTuple):
    """Boxes, and pairs of their numbers: who takes, and what is taken. No cycles.

    The first pair that names a box as what is taken says where it stands.
    """

    boxes: list[Box]
    edges: list[tuple[int, int]]


def graph_of(root: Node) -> Graph:
    """The boxes of a plan: label, shape and dtype, bytes."""
    boxes: list[Box] = []
    edges: list[tuple[int, int]] = []
    numbers: dict[int, int] = {}
    for line in outline(root):
        if line.again >= 0:
            edges.append((numbers[line.parent], numbers[line.again]))
            continue
        numbers[line.number] = len(boxes)
        if line.parent >= 0:
            edges.append((numbers[line.parent], len(boxes)))
        if line.node is None:
            boxes.append(Box((line.text,), "gap"))
            continue
        said = words(line.node)
        lines = (said.label, said.note, f"{said.shape} {said.dtype}", said.nbytes)
        boxes.append(Box(tuple(filter(None, lines))))
    return Graph(boxes, edges)


def draw(graph: Graph, below: tuple[str, ...] = ()) -> str:
    """An SVG document of the graph, with lines of text below it.

    >>> draw(Graph([Box(("a < b",)), Box(("c",))], [(0, 1)]), ("two boxes",)).startswith("<svg ")
    True
    """
    places = _places(graph)
    width = max([x + w for x, _, w, _ in places] + [_text_width(line) for line in below])
    bottom = max(y + h for _, y, _, h in places)
    full_width = width + 2 * _MARGIN
    height = bottom + 2 * _MARGIN + _LINE * len(below)
    first = set(_tree(graph).values())
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{full_width:.0f}" height="{height:.0f}" '
        f'viewBox="{-_MARGIN:.0f} {-_MARGIN:.0f} {full_width:.0f} {height:.0f}">{_STYLE}'
    )
    parts = [
        _line(places[taker], places[taken], again=(taker, taken) not in first)
        for taker, taken in dict.fromkeys(graph.edges)
    ]
    parts += [_frame(box, place) for box, place in zip(graph.boxes, places, strict=True)]
    for i, line in enumerate(below, 1):
        parts.append(_text(0, bottom + _LINE * i, line))
    return "".join([head, *parts, "</svg>"])


_Place = tuple[float, float, float, float]
"""Left, top, width and height of a box."""


def _tree(graph: Graph) -> dict[int, tuple[int, int]]:
    """The edge by which each box is placed."""
    found: dict[int, tuple[int, int]] = {}
    for edge in graph.edges:
        found.setdefault(edge[1], edge)
    return found


def _places(graph: Graph) -> list[_Place]:
    count = len(graph.boxes)
    sizes = [_size(box) for box in graph.boxes]
    order = _takers_first(graph)
    layer = [0] * count
    takes: list[list[int]] = [[] for _ in range(count)]
    for taker, taken in graph.edges:
        takes[taker].append(taken)
    for box in order:
        for taken in takes[box]:
            layer[taken] = max(layer[taken], layer[box] + 1)
    tree = _tree(graph)
    below: list[list[int]] = [[] for _ in range(count)]
    for taken, (taker, _) in tree.items():
        below[taker].append(taken)
    span = [0.0] * count
    for box in reversed(order):
        inner = sum([span[x] for x in below[box]]) + _GAP * max(0, len(below[box]) - 1)
        span[box] = max(sizes[box][0], inner)
    left = [0.0] * count
    free = 0.0
    for box in order:
        if box not in tree:
            left[box] = free
            free += span[box] + _GAP
        inner = sum([span[x] for x in below[box]]) + _GAP * max(0, len(below[box]) - 1)
        at = left[box] + (span[box] - inner) / 2
        for x in below[box]:
            left[x] = at
            at += span[x] + _GAP
    tops = _tops(layer, [height for _, height in sizes])
    return [
        (left[i] + (span[i] - width) / 2, tops[layer[i]], width, height)
        for i, (width, height) in enumerate(sizes)
    ]


def _takers_first(graph: Graph) -> list[int]:
    """Numbers of the boxes, each behind all that take it."""
    waiting = [0] * len(graph.boxes)
    takes: list[list[int]] = [[] for _ in graph.boxes]
    for taker, taken in graph.edges:
        waiting[taken] += 1
        takes[taker].append(taken)
    order = [i for i, n in enumerate(waiting) if n == 0]
    for box in order:
        for taken in takes[box]:
            waiting[taken] -= 1
            if not waiting[taken]:
                order.append(taken)
    return order


def _tops(layer: list[int], heights: list[float]) -> list[float]:
    """The top of every layer."""
    tallest = [0.0] * (max(layer) + 1)
    for at, height in zip(layer, heights, strict=True):
        tallest[at] = max(tallest[at], height)
    tops = [0.0]
    for height in tallest[:-1]:
        tops.append(tops[-1] + height + _DROP)
    return tops


def _size(box: Box) -> tuple[float, float]:
    width = max(map(_text_width, box.lines)) + 2 * _PAD
    return width, _LINE * len(box.lines) + 2 * _PAD - 4


def _text_width(text: str) -> float:
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return _CHAR * (len(text) + wide)


def _frame(box: Box, place: _Place) -> str:
    x, y, width, height = place
    lines = [
        _text(x + _PAD, y + _PAD + _LINE * i - 5 + _FONT, line, first=i == 0)
        for i, line in enumerate(box.lines)
    ]
    return (
        f'<g class="{box.kind}"><rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}" rx="4"/>{"".join(lines)}</g>'
    )


def _text(x: float, y: float, text: str, *, first: bool = False) -> str:
    weight = ' class="first"' if first else ""
    shown = escape(one_line(text))
    return f'<text x="{x:.1f}" y="{y:.1f}" xml:space="preserve"{weight}>{shown}</text>'


def _line(taker: _Place, taken: _Place, *, again: bool) -> str:
    """From the bottom of what takes to the top of what is taken."""
    x0, y0 = taker[0] + taker[2] / 2, taker[1] + taker[3]
    x1, y1 = taken[0] + taken[2] / 2, taken[1]
    bend = _DROP / 2
    style = ' class="again"' if again else ""
    return (
        f'<path d="M{x0:.1f} {y0:.1f}C{x0:.1f} {y0 + bend:.1f} {x1:.1f} {y1 - bend:.1f} '
        f'{x1:.1f} {y1:.1f}"{style}/>'
    )
