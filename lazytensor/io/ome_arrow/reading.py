"""Reading boxes of pieces, unit by unit.

Which parts of which pieces are wanted is worked out for all of them at once (``layout``); then each
unit is asked for once, and its pieces go where they are wanted, while it is at hand. Several
threads take turns at that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count as counting

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.ome_arrow.catalogue import Catalogue
from lazytensor.io.ome_arrow.layout import Cut, Slabs, Where, cut_pieces, joined
from lazytensor.io.ome_arrow.model import Stretches, TellsNulls, Unit
from lazytensor.io.ome_arrow.values import Values, holds
from lazytensor.io.scratch import Scratch, thread_scratch
from lazytensor.plan.counters import count
from lazytensor.plan.interval_cut import subtract
from lazytensor.plan.source import Box, window
from lazytensor.plan.stopping import is_stopped

__all__ = ["PieceReader", "TasksReading"]

_TASK = 1 << 20
"""Bytes of values that one thread takes at a time."""

_FEW = 4
"""So many pieces are copied one by one as fast as together."""


class TasksReading:
    """Work that several threads share, as ``plan.source.Reading``: each takes the next task."""

    __slots__ = ("_next", "_tasks")

    def __init__(self, tasks: Sequence[Callable[[], None]]) -> None:
        self._tasks = tasks
        self._next = counting()

    def work(self) -> None:
        """Do tasks until none is left, or the run is stopped."""
        while not is_stopped() and (at := next(self._next)) < len(self._tasks):
            self._tasks[at]()

    def end(self) -> None:
        """Nothing is left to do."""

    def close(self) -> None:
        """Nothing is held."""


class PieceReader:
    """Reads boxes of the pieces of a catalogue as ``values``, whose ``fill`` also stands for those
    that are missing."""

    __slots__ = ("_grid", "_values", "catalogue")

    def __init__(self, catalogue: Catalogue, values: Values) -> None:
        self.catalogue = catalogue
        self._grid = catalogue.grid
        self._values = values

    def read(self, box: Box, steps: Sequence[int], out: np.ndarray) -> None:
        """Fill ``out``, which has an element at least, with a ``read_strided``."""
        at = self._grid.one(box)
        if at < 0 or at in self.catalogue.odd:
            numbers, cut = self._wanted(box, steps, out)
            if len(numbers) > _FEW:
                self._put_all(numbers, box, steps, out)
            else:
                self._put_cut(numbers, cut, steps, out)
            return
        origin = self._grid.origins[at].tolist()
        where = tuple(
            [
                slice(lo - o, hi - o, step)
                for (lo, hi), o, step in zip(box, origin, steps, strict=True)
            ]
        )
        unit = self.catalogue.unit(int(self.catalogue.units[at]))
        self._put(unit, at, where, out, thread_scratch())

    def begin(self, box: Box, steps: Sequence[int], out: np.ndarray) -> TasksReading | None:
        """The same by several threads; None where one does as well."""
        if not self.is_shared(box, steps):
            return None
        tasks = self._tasks(self._wanted(box, steps, out)[0])

        def task(numbers: np.ndarray) -> Callable[[], None]:
            return lambda: self._put_all(numbers, box, steps, out)

        return TasksReading([task(numbers) for numbers in tasks])

    def is_shared(self, box: Box, steps: Sequence[int]) -> bool:
        """Whether several threads are of use."""
        if any(lo >= hi for lo, hi in box) or self._grid.one(box) >= 0:
            return False
        return len(self._tasks(self.touched(box, steps))) > 1

    def touched(self, box: Box, steps: Sequence[int]) -> np.ndarray:
        """The pieces that have values of a box."""
        numbers, grid = self._grid.touching(box, steps), self._grid
        lo = [a for a, _ in box]
        counts = [-(-(b - a) // step) for (a, b), step in zip(box, steps, strict=True)]
        cut = cut_pieces(grid.origins[numbers], grid.extents[numbers], lo, counts, steps)
        found: np.ndarray = numbers[cut.rows]
        return found

    def _wanted(self, box: Box, steps: Sequence[int], out: np.ndarray) -> tuple[np.ndarray, Cut]:
        """The pieces of a box, and what of them; where it has none, ``out`` is filled.

        Errors as ``read_into``.
        """
        grid = self._grid
        near = grid.touching(box, steps)
        lo = [a for a, _ in box]
        cut = cut_pieces(grid.origins[near], grid.extents[near], lo, out.shape, steps)
        numbers: np.ndarray = near[cut.rows]
        self.check_odd(numbers)
        shared = grid.overlapping
        if shared is not None:
            some = np.flatnonzero(shared[numbers])
            self._check_alone(numbers[some], cut.first[some], cut.end[some])
        if cut.size != out.size:
            self._miss(box, numbers)
            out[...] = self._values.fill
        return numbers, cut._replace(rows=numbers)

    def check_odd(self, numbers: np.ndarray) -> None:
        """``FormatError`` if something is wrong with one of some pieces."""
        odd = self.catalogue.odd
        for number in numbers.tolist() if odd else ():
            if number in odd:
                raise FormatError(odd[number])

    def _check_alone(self, numbers: np.ndarray, first: np.ndarray, end: np.ndarray) -> None:
        """``FormatError`` if two pieces have the same values of a box."""
        for at in range(len(numbers) - 1):
            shared = ((first[at + 1 :] < end[at]) & (end[at + 1 :] > first[at])).all(axis=1)
            if shared.any():
                other = int(numbers[at + 1 + int(shared.argmax())])
                one = self.catalogue.name(int(numbers[at]))
                at_other = self.catalogue.name(other).rpartition(" at ")[2]
                raise FormatError(
                    f"{one} is ambiguous: another piece, at {at_other}, holds the same voxels"
                )

    def _miss(self, box: Box, numbers: np.ndarray) -> None:
        """Count that a box has voxels that no piece holds, or refuse it."""
        if self._values.fill is not None:
            count("chunks_missing")
            return
        grid = self._grid
        left = subtract(box, grid.origins[numbers], grid.origins[numbers] + grid.extents[numbers])
        at = [lo for lo, _ in (left[0] if left else box)]
        raise FormatError(
            f"{self.catalogue.place(at)} is missing; fill_value= stands in for what is missing"
        )

    def _tasks(self, numbers: np.ndarray) -> list[np.ndarray]:
        """Pieces of one unit each, or as many of its values as are worth a thread's while."""
        if not len(numbers):
            return []
        catalogue = self.catalogue
        if len(numbers) > 1:
            order = np.lexsort((catalogue.elements[numbers], catalogue.units[numbers]))
            numbers = numbers[order]
        parts = np.cumsum(catalogue.volumes(numbers) * self._values.dtype.itemsize) // _TASK
        units = catalogue.units[numbers]
        begins = np.flatnonzero((units[1:] != units[:-1]) | (parts[1:] != parts[:-1])) + 1
        return np.split(numbers, begins)

    def _put_all(
        self, numbers: np.ndarray, box: Box, steps: Sequence[int], out: np.ndarray
    ) -> None:
        """Put values of pieces in their places."""
        if not len(numbers):
            return
        catalogue, lo = self.catalogue, [a for a, _ in box]
        slabs = joined(
            self._grid, catalogue.units, catalogue.elements, numbers,
            single=catalogue.is_compressed,
        )  # fmt: skip
        cut = cut_pieces(slabs.origins, slabs.extents, lo, out.shape, steps)
        scratch, known, unit = thread_scratch(), -1, None
        for row, where, spot in cut.parts(steps):
            first, last = slabs.first[row : row + 2].tolist()
            piece = int(slabs.pieces[first])
            wanted = int(catalogue.units[piece])
            if unit is None or wanted != known:
                unit, known = catalogue.unit(wanted), wanted
            place = window(out, spot)
            if last == first + 1:
                self._put(unit, piece, where, place, scratch)
            elif not self._put_slab(unit, slabs, row, where, place):
                self._put_each(unit, slabs.pieces[first:last], lo, steps, out, scratch)

    def _put_each(
        self,
        unit: Unit,
        numbers: np.ndarray,
        lo: Sequence[int],
        steps: Sequence[int],
        out: np.ndarray,
        scratch: Scratch,
    ) -> None:
        """The pieces of a slab one by one."""
        grid = self._grid
        cut = cut_pieces(grid.origins[numbers], grid.extents[numbers], lo, out.shape, steps)
        for row, where, spot in cut.parts(steps):
            self._put(unit, int(numbers[row]), where, window(out, spot), scratch)

    def _put_cut(
        self, numbers: np.ndarray, cut: Cut, steps: Sequence[int], out: np.ndarray
    ) -> None:
        """A few pieces, not worth looking at what follows what in memory."""
        units, scratch = self.catalogue.units[numbers].tolist(), thread_scratch()
        for wanted, (piece, where, spot) in zip(units, cut.parts(steps), strict=True):
            self._put(self.catalogue.unit(wanted), piece, where, window(out, spot), scratch)

    def _put_slab(
        self, unit: Unit, slabs: Slabs, row: int, where: Where, place: np.ndarray
    ) -> bool:
        """Several pieces at once; False, and nothing done, if they have to be looked at one by
        one."""
        numbers = slabs.pieces[slabs.first[row] : slabs.first[row + 1]]
        flat = self.stretch(unit, numbers)
        if flat is None:
            return False
        values = self._values
        found = values.element(flat, slabs.extents[row].tolist(), None)
        assert found is not None
        values.put(found[where], place)
        count("units_read", len(numbers))
        count("bytes_decoded", int(slabs.extents[row].prod()) * values.dtype.itemsize)
        return True

    def stretch(self, unit: Unit, numbers: np.ndarray) -> np.ndarray | None:
        """The elements of consecutive pieces, if they are one stretch of memory and as long as they
        should be, and none of their numbers can be wrong.

        Units that have them so say it (``model.Stretches``).
        """
        if not isinstance(unit, Stretches):
            return None
        found = unit.several(int(self.catalogue.elements[numbers[0]]), len(numbers))
        if found is None:
            return None
        flat: np.ndarray = found[0]
        sizes = self.catalogue.volumes(numbers)
        if self._values.encoded:
            sizes = sizes * self._values.dtype.itemsize
        elif not holds(self._values.dtype, flat.dtype):
            return None
        return flat if np.array_equal(found[1], sizes) else None

    def _put(
        self, unit: Unit, piece: int, where: Where, place: np.ndarray, scratch: Scratch
    ) -> None:
        """A part of one piece."""
        self.put_parts(unit, piece, [(where, place)], scratch)

    def put_parts(
        self,
        unit: Unit,
        piece: int,
        parts: Sequence[tuple[Where, np.ndarray]],
        scratch: Scratch,
    ) -> None:
        """Put parts of one piece in their places; ``FormatError`` names the piece."""
        try:
            self._put_parts(unit, piece, parts, scratch)
        except FormatError as error:
            raise type(error)(f"{self.catalogue.name(piece)}: {error}") from error

    def _put_parts(
        self,
        unit: Unit,
        piece: int,
        parts: Sequence[tuple[Where, np.ndarray]],
        scratch: Scratch,
    ) -> None:
        values, catalogue = self._values, self.catalogue
        number = int(catalogue.elements[piece])
        extents = self._grid.extents[piece].tolist()
        if values.fill is not None and _is_null(unit, number):
            for _, place in parts:
                place[...] = values.fill
            return
        codec = catalogue.codec_of(piece)
        ask = unit.element
        if all(place.shape != tuple(extents) for _, place in parts):
            # Units that forget what they decode may do well to keep it.
            ask = getattr(unit, "partly", ask)
        element = ask(number, scratch)
        found = values.element(element, extents, codec)
        if found is None:
            assert codec is not None
            # All of it has one place, which it can be decoded into.
            only = parts[0][1] if len(parts) == 1 else None
            whole = only is not None and only.shape == tuple(extents)
            found = values.decode(element, extents, codec, scratch, only if whole else None)
        nulls = None if values.encoded else unit.nulls(number)
        if nulls is not None:
            nulls = nulls.reshape(extents)
        for where, place in parts:
            if found is not place:
                values.put(found[where], place, None if nulls is None else nulls[where])
        count("units_read")
        count("bytes_decoded", found.size * values.dtype.itemsize)


def _is_null(unit: Unit, number: int) -> bool:
    """Whether an element is null, if the unit can tell."""
    return isinstance(unit, TellsNulls) and unit.is_null(number)
