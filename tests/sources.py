"""Sources for tests: an array cut into chunks that remembers what was read of it."""

from __future__ import annotations

import math
import threading
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from lazytensor.plan.source import Box, UnitSize
from lazytensor.plan.spec import Axis, TensorSpec, make_spec


class ChunkedArray:
    """A NumPy array that behaves like a stored one: read by box, whole chunks counted."""

    def __init__(
        self,
        values: np.ndarray,
        chunks: Sequence[int | Sequence[int]],
        *,
        dims: Sequence[str] | None = None,
        origin: Sequence[int] | None = None,
        axes: Sequence[Axis] | None = None,
        name: str = "chunked",
    ) -> None:
        self.values = values
        self._spec = make_spec(
            values.shape, values.dtype, dims=dims, origin=origin, axes=axes, chunks=chunks
        )
        self.name = name
        self.boxes: list[Box] = []
        self._lock = threading.Lock()

    @property
    def spec(self) -> TensorSpec:
        return self._spec

    @property
    def key(self) -> Hashable:
        return ("chunked-array", id(self))

    @property
    def label(self) -> str:
        return f"test {self.name}"

    @property
    def attrs(self) -> Mapping[str, Any]:
        return {"name": self.name}

    @property
    def storage(self) -> None:
        return None

    @property
    def levels(self) -> tuple[Any, ...]:
        return ()

    @property
    def array(self) -> None:
        return None

    def read_into(self, box: Box, out: np.ndarray) -> None:
        lo = self._spec.domain.inclusive_min
        for (a, b), o, n in zip(box, lo, self.values.shape, strict=True):
            assert 0 <= a - o <= b - o <= n, f"{box} is not within {self._spec.domain}"
        assert out.shape == tuple(b - a for a, b in box)
        assert out.dtype == self.values.dtype
        out[...] = self.values[
            tuple(slice(a - o, b - o) for (a, b), o in zip(box, lo, strict=True))
        ]
        with self._lock:
            self.boxes.append(box)

    def unit_sizes(self, cells: list[tuple[int, ...]]) -> UnitSize:
        shape, grid = self.values.shape, self._spec.grid
        total = 0
        for cell in cells:
            extents = []
            for d, c in enumerate(cell):
                cut = grid[d]
                assert cut is not None
                lo, hi = cut.stored_extent(c, shape[d])
                assert lo < hi
                extents.append(hi - lo)
            total += math.prod(extents) * self.values.itemsize
        return UnitSize(len(cells), total, 0)

    def check(self) -> None:
        pass

    def to_json(self) -> dict[str, Any]:
        return {"format": "test-chunked", "name": self.name}

    def cells_read(self) -> set[tuple[int, ...]]:
        """Every chunk that some read touched."""
        return {cell for box in self.boxes for cell in self.cells_of(box)}

    def cells_of(self, box: Box) -> set[tuple[int, ...]]:
        """The chunks that a box touches."""
        lo = self._spec.domain.inclusive_min
        ranges = []
        for (a, b), o, cut in zip(box, lo, self._spec.grid, strict=True):
            assert cut is not None
            ranges.append([int(c) for c in cut.stored_cells(a - o, b - o)])
        cells: set[tuple[int, ...]] = {()}
        for along in ranges:
            cells = {(*cell, c) for cell in cells for c in along}
        return cells
