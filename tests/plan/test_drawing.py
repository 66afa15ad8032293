"""Pictures of plans: valid SVG, boxes that do not overlap, lines that go down."""

from __future__ import annotations

import itertools
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given

from lazytensor.plan.drawing import Box, Graph, draw, graph_of
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Cast, Constant, Elementwise
from lazytensor.plan.nodes_join import Join
from tests.plan.random_plans import leaf, plans

X = leaf((6, 8))
SVG = "{http://www.w3.org/2000/svg}"


def add(*inputs: Node) -> Elementwise:
    return Elementwise("add", inputs)


def boxes_of(svg: str) -> list[tuple[float, float, float, float]]:
    """Left, top, right and bottom of the frames."""
    found = []
    for rect in ET.fromstring(svg).iter(f"{SVG}rect"):
        x, y, w, h = (float(rect.get(name, "nan")) for name in ("x", "y", "width", "height"))
        found.append((x, y, x + w, y + h))
    return found


def texts_of(svg: str) -> list[str]:
    return ["".join(text.itertext()) for text in ET.fromstring(svg).iter(f"{SVG}text")]


def check(graph: Graph) -> str:
    """The picture, of which all that holds for every picture is checked."""
    svg = draw(graph, ("what is read",))
    boxes = boxes_of(svg)
    assert len(boxes) == len(graph.boxes)
    for a, b in itertools.combinations(boxes, 2):
        assert a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1], (a, b)
    for taker, taken in graph.edges:
        assert boxes[taker][3] < boxes[taken][1]
    root = ET.fromstring(svg)
    width, height = float(root.get("width", "nan")), float(root.get("height", "nan"))
    assert all(x0 >= 0 and x1 <= width and y1 <= height for x0, _, x1, y1 in boxes)
    assert texts_of(svg)[-1] == "what is read"
    return svg


def test_a_box_says_label_shape_and_bytes() -> None:
    graph = graph_of(add(Cast(X, np.dtype("f4")), leaf((6, 8), start=99)))
    assert graph.boxes[0].lines == ("add", "(y: 6, x: 8) float64", "384 B")
    assert graph.edges == [(0, 1), (1, 2), (0, 3)]
    assert texts_of(check(graph))[:3] == list(graph.boxes[0].lines)


def test_a_shared_node_is_one_box_below_all_that_take_it() -> None:
    shared = add(X, Constant.of(1, X.dtype))
    graph = graph_of(add(shared, Elementwise("sqrt", (Elementwise("sqrt", (shared,)),))))
    assert [box.lines[0] for box in graph.boxes] == ["add", "add  1", "scan array", "sqrt", "sqrt"]
    assert graph.edges == [(0, 1), (1, 2), (0, 3), (3, 4), (4, 1)]
    check(graph)


def test_long_plans_are_elided_as_in_text() -> None:
    chain: Node = X
    for i in range(3000):
        chain = add(chain, Constant.of(i, X.dtype))
    graph = graph_of(chain)
    gaps = [box for box in graph.boxes if box.kind == "gap"]
    assert [gap.lines for gap in gaps] == [("… 2 984 more operations",)]
    assert len(graph.boxes) < 24 and len(graph.edges) == len(graph.boxes) - 1
    check(graph)
    many = Join(tuple(leaf((2, 2), start=4 * i) for i in range(100)), 0, True, "t")
    assert graph_of(many).boxes[-1].lines == ("… 92 more layers",)
    check(graph_of(many))


@given(plans())
def test_pictures_of_random_plans(plan: Node) -> None:
    check(graph_of(plan))


@pytest.mark.parametrize("text", ["<&>\"'", "]]>", "a\x00b\x1b", "細胞.zarr", "a  b"])
def test_names_are_text(text: str) -> None:
    svg = draw(Graph([Box((text,))], []))
    kept = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    assert texts_of(svg) == [kept]
