"""Blocks that are quantized, or come back, with more than one pair of parameters.

``Groups`` says for a block which parameter each of its elements has. Spreading them out as an array
is the plain way, piece by piece; compiled code (``native.kernels.quantize``) looks them up as it
goes along a row, and never makes the array. One pair for all is an expression like any other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lazytensor.exec.kernels.choice import compiled
from lazytensor.native import Kernel
from lazytensor.native.addresses import address_of, address_of_words
from lazytensor.native.kernels import quantize_block as words
from lazytensor.plan.nodes_quantize import Spread
from lazytensor.plan.ops import OPERATIONS
from lazytensor.plan.ops_quantize import quantize_row
from lazytensor.plan.quantization import QTYPES, pieces_of
from lazytensor.plan.source import Box, window

__all__ = ["Groups", "apply_rows", "groups_of", "spread_into"]

_FEWEST = 1 << 12
"""Elements up to which NumPy is done sooner than the words of a kernel are written."""

_SAVED_SECONDS = 1.5e-9
"""What NumPy takes for an element that compiled code does without."""

_HEAD = "from lazytensor.native.kernels.quantize import {made}\n\n"

_TEXTS = {
    quantize_row(one): _HEAD.format(made="quantize_kernel")
    + f"kernel = quantize_kernel({one.storage.kind + '1'!r}, {one.lowest}, {one.highest})\n"
    for one in QTYPES.values()
}


class Groups(NamedTuple):
    """Which parameter the elements of a block have.

    That of the element at position i of the block is the one at position
    ``(first + sum(strides * i)) // group`` of the last dim of the parameters that the block needs,
    whose other dims are the dims ``leads`` of the block.
    """

    leads: tuple[int, ...]
    strides: tuple[int, ...]
    first: int
    group: int


def groups_of(node: Spread, box: Box) -> Groups:
    """Those of a box that is not empty."""
    begin = node.needed(box)[-1][0]
    return Groups(node.leads, node.strides, node.place(box) - begin * node.group, node.group)


def spread_into(
    values: np.ndarray, groups: Groups, out: np.ndarray, at: tuple[slice, ...] = ()
) -> None:
    """The parameter of every element of a block, or of the part ``at`` of one.

    >>> out = np.empty((2, 3))
    >>> spread_into(np.array([0.5, 2.0]), Groups((), (3, 1), 0, 4), out)
    >>> out
    array([[0.5, 0.5, 0.5],
           [0.5, 2. , 2. ]])
    """
    begin = [one.start for one in at] if at else [0] * out.ndim
    for part in pieces_of(out.shape):
        grid = np.ogrid[part] if part else ()
        places = [place + lo for place, lo in zip(grid, begin, strict=True)]
        number = np.array(groups.first)
        for place, stride in zip(places, groups.strides, strict=True):
            if stride:
                number = number + place * stride
        out[part] = values[(*[places[d] for d in groups.leads], number // groups.group)]


def apply_rows(
    op: str,
    x: np.ndarray,
    scales: np.ndarray,
    zero_points: np.ndarray,
    groups: Groups | None,
    out: np.ndarray,
) -> None:
    """Quantize or dequantize a block: the row ``op`` of the operation table.

    ``scales``, ``zero_points``: those of ``groups``, or arrays that broadcast to ``out``.

    >>> out = np.empty((2, 3), np.float32)
    >>> apply_rows("dequantize", np.int8([[1, 2, 3], [4, 5, 6]]), np.float32([1, 10]),
    ...     np.float32([0, 0]), Groups((), (3, 1), 0, 4), out)
    >>> out
    array([[ 1.,  2.,  3.],
           [ 4., 50., 60.]], dtype=float32)
    """
    run = _kernel(op, x, out)
    if run is None:
        _plainly(op, x, scales, zero_points, groups, out)
        return
    table = _Table(scales, zero_points, groups, out.shape)
    source = np.broadcast_to(x, out.shape)
    if _lies_in_rows(source) and _lies_in_rows(out):
        table.run(run, source, out, (0,) * out.ndim)
        return
    for part in pieces_of(out.shape):
        piece = np.ascontiguousarray(source[part])
        made = np.empty(piece.shape, out.dtype)
        table.run(run, piece, made, tuple([one.start for one in part]))
        out[part] = made


def _kernel(op: str, x: np.ndarray, out: np.ndarray) -> Kernel | None:
    """The compiled code for a block, if it is to be used and there."""
    if out.size < _FEWEST or not out.ndim or not x.dtype.isnative:
        return None
    if op == "dequantize":
        text = _HEAD.format(made="dequantize_kernel")
        text += f"kernel = dequantize_kernel({x.dtype.kind + '1'!r})\n"
    elif x.dtype == np.float32:
        text = _TEXTS[op]
    else:
        return None
    return compiled("quantize", text, _SAVED_SECONDS * out.size)


def _lies_in_rows(array: np.ndarray) -> bool:
    """Whether neighbours along the last dim are neighbours in memory."""
    return array.shape[-1] == 1 or array.strides[-1] == array.itemsize


def _plainly(
    op: str,
    x: np.ndarray,
    scales: np.ndarray,
    zero_points: np.ndarray,
    groups: Groups | None,
    out: np.ndarray,
) -> None:
    """The same by NumPy."""
    row = OPERATIONS[op]
    if groups is None:
        row.evaluate(x, scales, zero_points, out=out)
        return
    source = np.broadcast_to(x, out.shape)
    for part in pieces_of(out.shape):
        pair = []
        for values in (scales, zero_points):
            pair.append(np.empty(window(out, part).shape, np.float32))
            spread_into(values, groups, pair[-1], part)
        row.evaluate(window(source, part), *pair, out=window(out, part))


class _Table:
    """Where the parameters of a block's elements are, for the kernel."""

    def __init__(
        self,
        scales: np.ndarray,
        zero_points: np.ndarray,
        groups: Groups | None,
        shape: tuple[int, ...],
    ) -> None:
        self.group, self.first = (0, 0) if groups is None else (groups.group, groups.first)
        self.places = (0,) * len(shape) if groups is None else groups.strides
        full = np.broadcast_shapes(scales.shape, zero_points.shape)
        # Alike, so that one stride does for both.
        self.pair = [
            np.array(np.broadcast_to(one, full), np.float32) for one in (scales, zero_points)
        ]
        strides = self.pair[0].strides
        if groups is None:
            seen = np.broadcast_to(self.pair[0], shape)
            self.strides = seen.strides
        else:
            own = dict(zip(groups.leads, strides, strict=False))
            self.strides = tuple([own.get(d, 0) for d in range(len(shape))])

    def run(self, run: Kernel, x: np.ndarray, out: np.ndarray, position: tuple[int, ...]) -> None:
        """Compute a piece that begins at a position of the block."""
        if not out.size:
            return
        dims = _joined(
            [
                [n, *steps]
                for n, *steps in zip(
                    out.shape, x.strides, out.strides, self.strides, self.places, strict=True
                )
            ]
        )
        offset = sum([p * s for p, s in zip(position, self.strides, strict=True)])
        first = self.first + sum([p * s for p, s in zip(position, self.places, strict=True)])
        if dims[-1][0] != 1 and dims[-1][1:3] != [x.itemsize, out.itemsize]:
            dims.append([1, x.itemsize, out.itemsize, 0, 0])
        inner = dims.pop()
        table = np.zeros(words.DIMS + words.DIM_WORDS * len(dims), np.int64)
        table[words.SOURCE], table[words.RESULT] = address_of(x), address_of(out)
        scales, zero_points = self.pair
        table[words.SCALES] = address_of(scales) + offset
        table[words.ZERO_POINTS] = address_of(zero_points) + offset
        table[words.COUNT], table[words.RANK] = inner[0], len(dims)
        table[words.ROWS] = out.size // inner[0]
        table[words.GROUP], table[words.FIRST] = self.group, first
        table[words.INNER_PARAMETER], table[words.INNER_PLACE] = inner[3:]
        table[words.DIMS :] = [number for dim in dims for number in dim]
        run(address_of_words(table))


def _joined(dims: list[list[int]]) -> list[list[int]]:
    """Extents and strides, those that run on into each other made one.

    >>> _joined([[2, 12, 3], [3, 4, 1]])
    [[6, 4, 1]]
    """
    out: list[list[int]] = []
    for n, *steps in dims:
        if out and n == 1:
            continue
        if out and (out[-1][0] == 1 or out[-1][1:] == [n * step for step in steps]):
            out[-1] = [out[-1][0] * n, *steps]
        else:
            out.append([n, *steps])
    return out
