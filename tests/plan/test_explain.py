"""Plans as text."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from lazytensor.plan.cost import Estimate, format_bytes, format_count
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.explain import FORMATS, explain
from lazytensor.plan.explain_labels import describe
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Cast, Constant, Elementwise, Reduce, Scan, View
from lazytensor.plan.nodes_block import Call, Downsample
from lazytensor.plan.nodes_join import Join, Overlay
from lazytensor.plan.optimize import Trace, optimize
from tests.plan.random_plans import leaf, translated
from tests.sources import ChunkedArray

X = leaf((6, 8))


def view(x: Node, *key: object) -> View:
    return View(x, IndexTransform.identity(x.domain)[key])


def add(*inputs: Node) -> Elementwise:
    return Elementwise("add", inputs)


def one(x: Node) -> Constant:
    return Constant.of(1, x.dtype)


def test_the_last_line_says_what_is_read() -> None:
    estimate = Estimate(1, 1, 2304, 115_000, 524_288, 1_150_000)
    trace = Trace()
    plan = optimize(view(Cast(X, np.dtype("f4")), 2), None, trace)
    *lines, last = explain(plan, estimate=estimate, trace=trace).splitlines()
    assert lines == [
        "cast float32   (x: 8)  float32  32 B",
        "└─ scan array  (x: 8)  int32    32 B   [y=2]",
        "",
        "view_through_cast (slice_pushdown): cast(x)[i] = cast(x[i])",
        "   view [y=2] of cast float32  →  cast float32 of scan array [y=2]   -",
    ]
    read, rules = last.split("        ")
    assert read == "reads 1 of 2 304 chunks, ~112 KiB · peak memory ≤ 1.1 MiB · 1 task"
    assert rules == "rules: slice_pushdown×1 (view_through_cast×1)"
    assert explain(X, trace=Trace()).endswith("rules: none")


def tiles(n: int) -> tuple[Node, ...]:
    """Stored arrays of 512 B side by side along y."""
    source = ChunkedArray(np.arange(64.0).reshape(8, 8), (4, 4))
    return tuple(translated(Scan(source), (8 * i, 0)) for i in range(n))


def rules_of(plan: Node) -> tuple[str, dict[str, Any]]:
    """What is said of the laws that fire: as text, and as JSON."""
    trace = Trace()
    plan = optimize(plan, None, trace)
    return explain(plan, trace=trace), json.loads(explain(plan, format="json", trace=trace))


def test_rules_say_what_they_save() -> None:
    text, document = rules_of(view(Cast(Scan(ChunkedArray(np.zeros((8, 8)), (4, 4))),
                                        np.dtype("f4")), slice(0, 2)))  # fmt: skip
    before, after = "view [0=0:2] of cast float32", "cast float32 of scan test chunked [0=0:2]"
    assert text.splitlines()[3:] == [
        "view_through_cast (slice_pushdown): cast(x)[i] = cast(x[i])",
        f"   {before}  →  {after}   saves ~256 B",
        "rules: slice_pushdown×1 (view_through_cast×1)",
    ]
    assert document["rules"] == [
        {
            "law": "view_through_cast",
            "flag": "slice_pushdown",
            "statement": "cast(x)[i] = cast(x[i])",
            "count": 1,
            "firings": [{"before": before, "after": after, "saved": 256}],
        }
    ]


def test_many_firings_of_a_law_are_elided() -> None:
    chain: Node = X
    for i in range(20):
        chain = Elementwise("add", (Cast(chain, X.dtype), Constant.of(i, X.dtype)))
    text, document = rules_of(view(chain, slice(0, 3)))
    lines = text.splitlines()
    assert "   … 17 more" in lines
    assert sum(line.startswith("   view ") for line in lines) <= 6
    (group,) = [x for x in document["rules"] if x["law"] == "view_through_elementwise"]
    assert group["count"] == len(group["firings"]) == 20
    assert [x["saved"] is None for x in group["firings"]] == [False] * 3 + [True] * 17


def test_no_rule_fired() -> None:
    text, document = rules_of(X)
    assert text.splitlines()[1:] == ["rules: none"]
    assert document["rules"] == []


def test_shared_parts_are_drawn_once() -> None:
    shared = add(X, one(X))
    text = explain(Elementwise("multiply", (Elementwise("sqrt", (shared,)), shared)))
    assert [line[:12].rstrip() for line in text.splitlines()] == [
        "multiply",
        "├─ sqrt",
        "│  └─ add  1",
        "│     └─ sca",
        "└─ ↑ #1 add",
    ]
    assert text.count("scan array") == 1
    assert text.splitlines()[2].endswith("#1")


def test_many_layers_and_long_chains_are_elided() -> None:
    tiles = tuple(translated(leaf((4, 4), start=16 * i), (4 * i, 0)) for i in range(64))
    lines = explain(Overlay.of(tiles, None, None)).splitlines()
    assert len(lines) == 10
    assert lines[-1] == "└─ … 56 more layers"
    chain: Node = X
    for _ in range(5000):
        chain = add(chain, one(chain))
    lines = explain(chain).splitlines()
    assert len(lines) < 24
    assert any("┆  … 4 984 more operations" in line for line in lines)
    assert "scan array" in lines[-1]


def test_deep_and_bushy_plans_stay_short() -> None:
    diamonds: Node = X
    for _ in range(2000):
        diamonds = add(diamonds, Elementwise("sqrt", (add(diamonds, one(diamonds)),)))
    for name in ("plain", "tree"):
        lines = explain(diamonds, format=name).splitlines()
        assert len(lines) < 2000
        assert any("more levels" in line for line in lines)


@pytest.mark.parametrize(
    ("node", "label"),
    [
        (Elementwise("subtract", (one(X), X)), "subtract  1, ·"),
        (Elementwise("clip", (X, one(X), Constant.of(9, X.dtype))), "clip  1, 9"),
        (Reduce("sum", X, (1,), True, ()), "sum over x keepdims"),
        (Reduce("var", X, (0, 1), False, (("correction", 1.0),)), "var over y, x correction=1.0"),
        (Downsample(X, (1, 2), "mean"), "downsample (1, 2) mean"),
        (Join((X, X), 0, True, "t"), "stack 2 layers along t"),
        (Join((X, X), 1, False, ""), "concat 2 layers along x"),
        (Overlay((X,), X.domain, np.int32(7).tobytes()), "overlay 1 layer on 7"),
        (
            Call(np.sort, (X,), X.dtype, (0, 1), None, False, True, False),
            "map_blocks sort halo (0, 1)",
        ),
        (view(add(X, X), slice(5, 2, -2), 3), "view [y=5:2:-2, x=3]"),
        (view(add(X, X), [1, 2, 5]), "view [y=3 indices]"),
        (view(add(X, X), np.newaxis), "view new dim at 0 of 1"),
        (
            View(X, IndexTransform._make(IndexDomain(shape=[8, 6]),
                 IndexTransform.identity(X.domain).maps[::-1])),
            "view dims (x, y)",
        ),
        (translated(add(X, X), (3, 4)), "view at (3, 4)"),
        (View(one(X), IndexTransform._make(X.domain, ())), "full 1"),
    ],
)  # fmt: skip
def test_labels(node: Node, label: str) -> None:
    assert describe(node) == label


def test_tree_dot_and_json() -> None:
    plan = Cast(view(X, slice(1, 3)), np.dtype("f4"))
    assert explain(plan, format="tree").splitlines() == [
        "cast float32",
        "│  shape  (y: 2, x: 8) float32, 64 B",
        "│  domain {y: [1, 3), x: [0, 8)}",
        "│  chunks (6, 8)",
        "└─ scan array [y=1:3]",
        "      shape  (y: 2, x: 8) int32, 64 B",
        "      domain {y: [1, 3), x: [0, 8)}",
        "      chunks (6, 8)",
    ]
    dot = explain(plan, format="dot")
    assert dot.startswith("digraph plan {") and "n1 -> n2;" in dot
    document = json.loads(explain(plan, format="json", estimate=Estimate(1, 0, 0, 0, 0, 64)))
    assert [node["kind"] for node in document["nodes"]] == ["Scan", "View", "Cast"]
    assert document["nodes"][2]["inputs"] == [1]
    assert document["estimate"]["tasks"] == 1
    with pytest.raises(ValueError, match="formats are plain, tree, dot, json, html"):
        explain(plan, format="svg")


def parsed(html: str) -> ET.Element:
    """The element, which is well-formed XML as well."""
    return ET.fromstring(html)


def test_html_is_an_element_that_folds() -> None:
    shared = add(X, one(X))
    plan = Elementwise("multiply", (Elementwise("sqrt", (shared,)), shared))
    trace = Trace()
    page = parsed(explain(plan, format="html", estimate=Estimate(1, 2, 3, 4, 5, 6), trace=trace))
    assert page.tag == "div" and page.get("class") == "lazytensor-plan"
    heads = ["".join(summary.itertext()) for summary in page.iter("summary")]
    assert [head.split()[0] for head in heads] == ["multiply", "sqrt", "add"]
    text = "".join(page.itertext())
    assert "↑ #1 add" in text and "reads 2 of 3 chunks" in text and "rules: none" in text
    titles = [span.get("title") for span in page.iter("span")]
    assert titles[0] == "domain {y: [0, 6), x: [0, 8)}; chunks (6, 8)"
    inner = page.find("details/details/details/div")
    assert inner is not None and "scan array" in "".join(inner.itertext())
    trace = Trace()
    plan = optimize(view(Cast(X, np.dtype("f4")), 2), None, trace)
    cells = [cell.text for cell in parsed(explain(plan, format="html", trace=trace)).iter("td")]
    assert cells[:4] == ["view_through_cast", "slice_pushdown", "cast(x)[i] = cast(x[i])", "×1"]


class Named:
    """A source with a name that every format has to escape."""

    spec = X.spec
    key = "named"
    label = "a\"b\\c<d>&'e\x00\x1b\nf"
    array = None


def test_names_are_text_in_every_format() -> None:
    plan = Cast(Scan(Named()), np.dtype("f4"))
    page = parsed(explain(plan, format="html"))
    assert "scan a\"b\\c<d>&'e�" in "".join(page.itertext())
    labels = [node["label"] for node in json.loads(explain(plan, format="json"))["nodes"]]
    assert labels[0] == f"scan {Named.label}"
    dot = explain(plan, format="dot")
    assert dot_statements(dot)["n0"].startswith("scan a\"b\\c<d>&'e")


def dot_statements(dot: str) -> dict[str, str]:
    """Labels by the name of their node; fails where a line is none that Graphviz reads."""
    labels = {}
    string = r'"((?:[^"\\]|\\.)*)"'
    kinds = (
        r"digraph \w+ \{|\}|subgraph \w+ \{|rankdir=BT;",
        rf"node \[shape=box, fontname={string}\];",
        rf"label={string};",
        r"\w+ -> \w+;",
    )
    for line in map(str.strip, dot.splitlines()):
        found = re.fullmatch(rf"(\w+) \[label={string}\];", line)
        if found:
            labels[found[1]] = re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), found[2])
        else:
            assert any(re.fullmatch(kind, line) for kind in kinds), line
    return labels


def test_dot_has_every_node_and_nothing_but_statements() -> None:
    plan = Overlay.of(tiles(12), None, None)
    labels = dot_statements(explain(plan, format="dot", estimate=Estimate(1, 2, 3, 4, 5, 6)))
    assert len(labels) == 14
    assert labels["n13"] == "overlay 12 layers\n(96, 8) float64\n6 KiB"


def test_nothing_is_read() -> None:
    class Unread:
        spec = X.spec
        key = "unread"
        label = "unread"

    plan = Cast(view(Scan(Unread()), slice(0, 2)), np.dtype("f4"))
    assert all("unread" in explain(plan, format=name) for name in FORMATS)


def test_units() -> None:
    assert [format_bytes(n) for n in (0, 1023, 1024, 1536, 10_239, 1_048_575, 5 << 40)] == [
        "0 B", "1023 B", "1 KiB", "1.5 KiB", "10 KiB", "1 MiB", "5 TiB",
    ]  # fmt: skip
    assert format_count(2304) == "2 304"
