"""What tensors print."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import lazytensor as lt


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (
            lambda: lt.virtual_chunked(
                lambda domain, out: None, shape=(12, 3, 2048, 2048), dtype="u2",
                chunks=(1, 1, 512, 512), dims=("t", "c", "y", "x"),
            ),
            "LazyTensor(t: 12, c: 3, y: 2048, x: 2048)  uint16  288 MiB  chunks (1, 1, 512, 512)",
        ),
        (lambda: lt.zeros((3, 4)), "LazyTensor(3, 4)  float64  96 B  chunks (3, 4)"),
        (lambda: lt.asarray(1.5), "LazyTensor()  float64  8 B"),
        (lambda: lt.arange(9)[[3, 1]], "LazyTensor(2)  int64  16 B  chunks (None,)"),
        (lambda: lt.zeros((0, 2)), "LazyTensor(0, 2)  float64  0 B  chunks (1, 2)"),
    ],
)  # fmt: skip
def test_repr(tensor: object, text: str) -> None:
    with lt.testing.raise_if_collects():
        assert repr(tensor()) == text  # type: ignore[operator]


def test_html_is_well_formed_and_escaped() -> None:
    x = lt.asarray(np.zeros((6, 8), "u1"), chunks=(2, 3), dims=("<b>", "x"))
    with lt.testing.raise_if_collects():
        html = (x + 1)._repr_html_()
    ET.fromstring(f"<card>{html}</card>")
    assert "<b>" not in html and "&lt;b&gt;" in html
    assert "9 chunks" in html and "48 B" in html and "explain" in html
    assert html.count("<path") == (3 + 1) + (3 + 1)


@pytest.mark.parametrize("shape", [(), (5,), (0, 3), (2, 3, 4, 5), (10**9, 10**9)])
def test_html_of_any_shape_is_small(shape: tuple[int, ...]) -> None:
    x = lt.virtual_chunked(
        lambda domain, out: None, shape=shape, dtype="u1", chunks=(1,) * len(shape)
    )
    html = x._repr_html_()
    ET.fromstring(f"<card>{html}</card>")
    assert len(html) < 8000
    assert not re.search(r"nan|inf\b", html)


def test_long_plans_stay_short() -> None:
    x = lt.zeros(3)
    for k in range(3000):
        x = x + k
    assert len(x._repr_html_()) < 8000
