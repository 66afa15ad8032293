"""How a tensor prints itself: one line in a console, a small card in a notebook.

Neither reads data, and both cost the same however large the tensor is: grids are drawn from the
nominal cell size with a bounded number of lines, plans are elided by ``plan.explain``.
"""

from __future__ import annotations

from math import prod

from lazytensor.plan.align import describe_shape
from lazytensor.plan.cost import format_bytes, format_count
from lazytensor.plan.node import Node
from lazytensor.plan.spec import Axis

__all__ = ["describe", "describe_html"]

_LARGEST = 120.0  # pixels of the longer side of the drawing
_SMALLEST = 12.0
_MOST_LINES = 24


def describe(node: Node) -> str:
    """The one line of ``repr``: dims, dtype, bytes, chunks.

    >>> describe(lt.zeros((2, 2048), dtype="u2")._node)
    'LazyTensor(2, 2048)  uint16  8 KiB  chunks (2, 2048)'
    """
    parts = [
        f"LazyTensor{describe_shape(node.domain)}",
        str(node.dtype),
        format_bytes(node.nbytes),
    ]
    if node.shape:
        parts.append(f"chunks {node.spec.chunks}")
    return "  ".join(parts)


def describe_html(node: Node) -> str:
    """The card a notebook shows: dims, bytes and chunks, the grid, the axes, the plan."""
    from html import escape

    from lazytensor.plan.explain import explain

    plan = escape(explain(node))
    return (
        '<div style="font-family: monospace; display: flex; gap: 1.5em; align-items: center">'
        f"{_size_table(node)}{_grid_drawing(node)}</div>{_axes_table(node.axes)}"
        f"<details><summary>plan, as written</summary><pre>{plan}</pre>"
        "<p><code>.explain()</code> shows what will run and what it reads.</p></details>"
    )


def _table(rows: list[list[str]]) -> str:
    from html import escape

    cells = (
        "".join(f'<td style="text-align: left">{escape(cell)}</td>' for cell in row) for row in rows
    )
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def _size_table(node: Node) -> str:
    chunks = node.spec.chunks
    cell = [n if c is None else min(c, n) for n, c in zip(node.shape, chunks, strict=True)]
    counts = [1 if cells is None else cells.count for cells in node.grid]
    shape = describe_shape(node.domain)
    return _table(
        [
            ["", "tensor", "chunk"],
            ["dims", shape, str(tuple(cell))],
            ["bytes", format_bytes(node.nbytes), format_bytes(prod(cell) * node.dtype.itemsize)],
            ["count", f"{format_count(node.size)} values", f"{format_count(prod(counts))} chunks"],
            ["dtype", str(node.dtype), ""],
        ]
    )


def _axes_table(axes: tuple[Axis, ...]) -> str:
    rows = [["axis", "kind", "scale", "offset", "unit", "labels"]]
    for d, axis in enumerate(axes):
        scale = "" if axis.scale is None else f"{axis.scale:g}"
        offset = "" if axis.scale is None else f"{axis.offset:g}"
        labels = ", ".join((axis.labels or ())[:8])
        more = ", …" if len(axis.labels or ()) > 8 else ""
        rows.append(
            [axis.name or str(d), axis.kind or "", scale, offset, axis.unit or "", labels + more]
        )
    return _table(rows) if axes else ""


def _grid_drawing(node: Node) -> str:
    """The read cells of the last two dims as lines in a rectangle."""
    if not node.size or not node.shape:
        return ""
    extents = [1, *node.shape][-2:]
    cells = [1, *(n if c is None else c for n, c in zip(node.shape, node.spec.chunks, strict=True))]
    scale = _LARGEST / max(extents)
    height, width = (max(_SMALLEST, n * scale) for n in extents)
    ys, xs = (
        _lines(n, c, side) for n, c, side in zip(extents, cells[-2:], (height, width), strict=True)
    )
    strokes = [f'<path d="M0 {y:.1f}H{width:.1f}"/>' for y in ys]
    strokes += [f'<path d="M{x:.1f} 0V{height:.1f}"/>' for x in xs]
    return (
        f'<svg width="{width + 2:.0f}" height="{height + 2:.0f}" stroke="currentColor" '
        f'stroke-width="0.5" fill="none"><g transform="translate(1 1)">{"".join(strokes)}</g></svg>'
    )


def _lines(extent: int, cell: int, side: float) -> list[float]:
    """Where lines go: at cell borders, or at every k-th if there are too many to tell apart."""
    every = cell * max(1, -(-extent // (cell * _MOST_LINES)))
    return [p * side / extent for p in range(0, extent, every)] + [side]
