"""``show_graph``: pictures on the screen and in files."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import lazytensor as lt

X = lt.asarray(np.arange(12).reshape(3, 4), dims=("y", "x"))


def texts(svg: str) -> list[str]:
    return ["".join(x.itertext()) for x in ET.fromstring(svg).findall(".//{*}text")]


def test_a_picture_is_svg_text() -> None:
    with lt.testing.raise_if_collects():
        svg = (X[1:] + 1).show_graph()
        assert svg is not None
        said = texts(svg)
        assert said[0] == "add  1" and said[-1].startswith("reads 0 of 0 chunks")
        written = (X + 1)[1:].show_graph(optimized=False)
        assert written is not None and "view [y=1:3]" in texts(written)
        tasks = (X + 1).show_graph(stage="physical")
        assert tasks is not None and texts(tasks)[0].startswith("stage 1: add  1 (y: 3, x: 4)")


def test_raw_output_is_dot() -> None:
    y = X + 1
    assert y.show_graph(raw_output=True) == y.explain(format="dot")
    physical = y.show_graph(raw_output=True, stage="physical")
    assert physical == y.explain(format="dot", stage="physical")


@pytest.mark.parametrize("suffix", ["svg", "html", "dot"])
@pytest.mark.parametrize("stage", ["logical", "physical"])
def test_files(tmp_path: Path, suffix: str, stage: Any) -> None:
    path = tmp_path / f"graph.{suffix}"
    y = X + 1
    picture = y.show_graph(output_path=path, stage=stage)
    text = path.read_text(encoding="utf-8")
    if suffix == "svg":
        assert text == picture
    if suffix == "dot":
        assert text == y.explain(format="dot", stage=stage)
    if suffix == "html":
        assert picture is not None and picture in text
        assert y.explain(format="html", stage=stage) in text


def test_other_suffixes_and_stages_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"suffix '.png'.*\.svg, \.html, \.dot"):
        X.show_graph(output_path=str(tmp_path / "a.png"))
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="neither 'logical' nor 'physical'"):
        X.show_graph(stage="ir")  # type: ignore[arg-type]


def test_notebooks_display(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    ipython: Any = types.ModuleType("IPython")
    ipython.get_ipython = lambda: object()
    display: Any = types.ModuleType("IPython.display")
    display.SVG, display.display = (lambda text: ("svg", text)), shown.append
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    assert X.show_graph() is None
    assert shown == [("svg", X.show_graph(show=False))]
    ipython.get_ipython = lambda: None
    assert X.show_graph() == shown[0][1], "IPython is imported, but does not run"
