"""The chunks of a dataset as units, each where it is rather than where the index says it is.

An index may be older than the chunks. Before the first chunk of a group of rows is handed out, what
the chunks of the group say of themselves is compared with what the index says of them, once for
a file in the process. Where they differ, and in all of a file that has more or fewer chunks than
the index, chunks are looked up by what they say of themselves, and if none lies where one was
expected, it is cut out of those that do. So images keep the pieces that they were scanned with.

The table of the chunks is not opened before pixels (or what they take) are asked for: its footer is
large.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lazytensor.errors import FormatError, SourceChangedError, SourceNotFoundError
from lazytensor.io.ome_arrow.container import Container
from lazytensor.io.ome_arrow.dataset_index import (
    EXTENTS,
    ORIGINS,
    ChunkTable,
    chunk_columns,
    concatenated,
    from_columns,
    from_group,
    single_row,
)
from lazytensor.io.ome_arrow.folder import Folder
from lazytensor.io.ome_arrow.model import Unit, Units
from lazytensor.io.scratch import Scratch
from lazytensor.plan.one_at_a_time import OneAtATime

__all__ = ["ChunkUnits", "dtype_differs"]

_PIXELS = ("pixel_bytes",)
_UNKNOWN, _PROVEN, _ELSEWHERE = 0, 1, 2
_KEPT_STATES = 64


class _Fragment(NamedTuple):
    """A file of chunks that was opened: what it is, what holds its pixels, its other columns."""

    container: Container
    units: Units
    names: list[str]


class _State:
    """What was found out of the chunks of one dataset: for each unit, and for all if need be."""

    def __init__(self, units: int) -> None:
        self.units = np.zeros(units, np.int8)
        self.odd: dict[int, dict[int, str]] = {}
        self.truth: ChunkTable | None = None
        self.turns = OneAtATime()


_states: OrderedDict[Hashable, _State] = OrderedDict()
_lock = threading.Lock()


def _renew() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def _state_of(identity: Hashable, units: int) -> _State:
    with _lock:
        state = _states.get(identity)
        if state is None or len(state.units) != units:
            state = _states[identity] = _State(units)
        _states.move_to_end(identity)
        while len(_states) > _KEPT_STATES:
            _states.popitem(last=False)
        return state


def dtype_differs(name: str | None, dtype: np.dtype | None, where: str) -> str | None:
    """What is wrong with a chunk that says it is of the dtype ``name``; None if nothing is."""
    if name is None or dtype is None or name == dtype.name:
        return None
    from lazytensor.io.ome_arrow.metadata import dtype_of

    try:
        if dtype_of(name, where) == dtype:
            return None
    except FormatError as error:
        return str(error)
    return f"its dtype is {name!r}, and that of the image is {dtype.name!r}"


class ChunkUnits:
    """Units of a dataset: groups of rows of its files of chunks, by numbers of its own.

    ``table``: all chunks of the dataset. ``proven``: whether the chunks themselves say it.
    ``ids``, ``dtypes``: of the images. ``tokens``: of the files of chunks when it was scanned.
    ``reopen``: what makes them again, elsewhere. ``numbers``: the unit of each chunk. As
    ``model.Units`` otherwise.
    """

    encoded = True
    zero_copy = False

    def __init__(
        self,
        folder: Folder,
        table: ChunkTable,
        *,
        proven: bool,
        ids: Sequence[str],
        dtypes: Sequence[np.dtype | None],
        tokens: Mapping[str, Hashable | None],
        identity: Hashable,
        reopen: tuple[Callable[..., Any], tuple[Any, ...]],
    ) -> None:
        self._folder = folder
        self._table = table
        self._ids = ids
        self._dtypes = dtypes
        self._tokens = tokens
        self._reopen = reopen
        self.identity = identity
        self.label = f"ome-arrow {folder.name}"
        self.remote = folder.store.remote
        count = len(table.fragments)
        places, numbers = np.unique(table.group * count + table.fragment, return_inverse=True)
        self.numbers: np.ndarray = numbers.reshape(-1).astype(np.int64)
        self._places = np.stack(divmod(places, count), axis=1)  # group, fragment
        self._order = np.argsort(self.numbers, kind="stable")
        self._starts = np.searchsorted(self.numbers[self._order], np.arange(len(places) + 1))
        self._opened: dict[int, _Fragment] = {}
        if proven:
            self._state = _State(len(places))
            self._state.units[:] = _PROVEN
        elif None in tokens.values():
            self._state = _State(len(places))
        else:
            self._state = _state_of(identity, len(places))

    def __reduce__(self) -> tuple[Any, ...]:
        return self._reopen

    def _open(self, fragment: int) -> _Fragment:
        found = self._opened.get(fragment)
        if found is None:
            from lazytensor.io.ome_arrow.units import units_of

            name = self._table.fragments[fragment]
            self._check_unchanged(name)
            container = self._folder.open(name)
            _check_pixels(container)
            units = units_of(container, _PIXELS, _PIXELS, encoded=True)
            made = _Fragment(container, units, chunk_columns(container))
            found = self._opened.setdefault(fragment, made)
            counted = int((self._table.fragment == fragment).sum())
            if int(container.starts[-1]) != counted:
                self._distrust(self._places[:, 1] == fragment)
        return found

    def _check_unchanged(self, name: str) -> None:
        store, key = self._folder.store, self._folder.key(name)
        if store.changed(key, self._tokens[name]):
            if store.size(key) is None:
                raise SourceNotFoundError(f"{self.label}: there is no {name!r} any more")
            raise SourceChangedError(
                f"{self.label}: {name!r} has changed since the dataset was scanned; scan it again"
            )

    def _distrust(self, which: Any) -> None:
        unknown = self._state.units == _UNKNOWN
        self._state.units[unknown & which] = _ELSEWHERE

    def unit(self, number: int) -> Unit:
        """Pixels of the chunks of a group, as ``model.Units`` has it."""
        group, fragment = (int(place) for place in self._places[number])
        units = self._open(fragment).units
        state = self._state
        if state.units[number] == _UNKNOWN:
            self._prove(number, group, fragment)
        if state.units[number] == _ELSEWHERE:
            return _Elsewhere(self, number)
        unit = units.unit(group)
        odd = state.odd.get(number)
        return unit if odd is None else _PartlyOdd(unit, odd)

    def _rows(self, number: int) -> np.ndarray:
        """Which chunks are in a unit."""
        rows: np.ndarray = self._order[self._starts[number] : self._starts[number + 1]]
        return rows

    def _prove(self, number: int, group: int, fragment: int) -> None:
        """Compare what the index says of the chunks of a group with what they say themselves."""
        state, rows = self._state, self._rows(number)
        names = self._dtypes_if_said(rows, group, fragment)
        if names is None:
            state.units[number] = _ELSEWHERE
            return
        odd: dict[int, str] = {}
        for row, name in zip(rows.tolist(), names, strict=True):
            wrong = dtype_differs(name, self._dtypes[int(self._table.images[row])], self.label)
            if wrong is not None:
                odd[int(self._table.element[row])] = f"{self.place_of(row)}: {wrong}"
        if odd:
            state.odd[number] = odd
        state.units[number] = _PROVEN

    def _dtypes_if_said(
        self, rows: np.ndarray, group: int, fragment: int
    ) -> Sequence[str | None] | None:
        """Names of the dtypes of chunks; None unless they are what the index says of them."""
        container, _, names = self._open(fragment)
        if group >= len(container.starts) - 1:
            return None
        if int(container.starts[group + 1] - container.starts[group]) == 1 == len(rows):
            values = single_row(container, group, names)
            if values is not None:
                return [values.get("dtype")] if self._is_said(int(rows[0]), values) else None
        try:
            found = from_group(
                container, group, self._table.fragments[fragment], self._ids, self.label
            )
        except FormatError:
            # Some chunks are of no image or nowhere; those that are wanted may be elsewhere.
            return None
        said = self._table.take(rows)
        if not _agree(said, found):
            return None
        return [None] * len(rows) if found.dtypes is None else found.dtypes[said.element].tolist()

    def _is_said(self, row: int, values: Mapping[str, Any]) -> bool:
        """Whether the values of a chunk are what the index says of it."""
        table = self._table
        place = (*table.origins[row].tolist(), *table.extents[row].tolist())
        same_id = table.ids is None or values.get("chunk_id", table.ids[row]) == table.ids[row]
        return (
            int(table.element[row]) == 0
            and bool(same_id)
            and str(values.get("image_id")) == self._ids[int(table.images[row])]
            and tuple(values.get(name) for name in (*ORIGINS, *EXTENTS)) == place
        )

    def place_of(self, row: int) -> str:
        """A chunk in messages: file, image and where it lies."""
        table = self._table
        at = ", ".join(
            f"{name}={value}"
            for name, value in zip("tczyx", table.origins[row].tolist(), strict=True)
        )
        number = "" if table.ids is None else f" {int(table.ids[row])}"
        image = self._ids[int(table.images[row])]
        return f"{self._folder.name}: chunk{number} of image {image!r} at {at}"

    def truth(self) -> ChunkTable:
        """What all chunks say of themselves; read once."""
        state = self._state
        with state.turns:
            if state.truth is None:
                state.truth = concatenated(
                    [
                        from_columns(
                            self._open(number).container,
                            name,
                            self._ids,
                            f"{self._folder.name}/{name}",
                        )
                        for number, name in enumerate(self._table.fragments)
                    ]
                )
            return state.truth

    def elsewhere(self, number: int, element: int, scratch: Scratch) -> np.ndarray:
        """An element of a unit that is not where the index says."""
        (row,) = (row for row in self._rows(number) if self._table.element[row] == element)
        table, truth, place = self._table, self.truth(), self.place_of(row)
        image = int(table.images[row])
        dtype = self._dtypes[image]
        assert dtype is not None
        lo, extent = table.origins[row], table.extents[row]
        touching = (truth.origins < lo + extent) & (truth.origins + truth.extents > lo)
        found = np.flatnonzero((truth.images == image) & touching.all(axis=1))

        def values(at: int) -> np.ndarray:
            name = None if truth.dtypes is None else truth.dtypes[at]
            wrong = dtype_differs(name, dtype, self.label)
            if wrong is not None:
                raise FormatError(f"{place}: {wrong}")
            units = self._open(int(truth.fragment[at])).units
            return units.unit(int(truth.group[at])).element(int(truth.element[at]), scratch)

        boxes = [(truth.origins[at] - lo, truth.extents[at]) for at in found.tolist()]
        if len(boxes) == 1 and not boxes[0][0].any() and (boxes[0][1] == extent).all():
            return values(int(found[0]))
        _check_tiled(boxes, extent, place)
        # Only now is it known that the chunks have as many bytes as what is made of them.
        parts = [
            _shaped(np.array(values(int(at))), size, dtype, place)
            for at, (_, size) in zip(found.tolist(), boxes, strict=True)
        ]
        out = np.empty(tuple(extent.tolist()), np.dtype((np.void, dtype.itemsize)))
        for (start, size), part in zip(boxes, parts, strict=True):
            first, last = np.maximum(start, 0), np.minimum(start + size, extent)
            into = tuple(slice(a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True))
            cut = tuple(
                slice(s.start - a, s.stop - a) for s, a in zip(into, start.tolist(), strict=True)
            )
            out[into] = part[cut]
        return out.reshape(-1).view(np.uint8)

    def kept(self, number: int) -> bool:
        """Whether ``unit`` would read nothing now."""
        group, fragment = (int(place) for place in self._places[number])
        opened = self._opened.get(fragment)
        return (
            opened is not None and self._state.units[number] == _PROVEN and opened.units.kept(group)
        )

    def stored_nbytes(self, number: int) -> int:
        """Bytes of the file that reading a unit takes, if the chunks are where they should be."""
        group, fragment = (int(place) for place in self._places[number])
        container, units, _ = self._open(fragment)
        inside = group < len(container.starts) - 1
        return units.stored_nbytes(group) if inside else self.decoded_nbytes(number)

    def decoded_nbytes(self, number: int) -> int:
        """Bytes of the pixels of the chunks in it."""
        rows = self._rows(number)
        sizes = self._table.extents[rows].prod(axis=1).tolist()
        images = self._table.images[rows].tolist()
        return sum(
            size * (1 if (dtype := self._dtypes[image]) is None else dtype.itemsize)
            for size, image in zip(sizes, images, strict=True)
        )

    def elements(self, number: int) -> int:
        """How many elements a unit has, as far as the index knows."""
        return int(self._table.element[self._rows(number)].max(initial=-1)) + 1

    def check(self) -> None:
        """``SourceChangedError`` if a file of chunks is not the one that was scanned."""
        for name in self._table.fragments:
            self._check_unchanged(name)


def _check_pixels(container: Container) -> None:
    from lazytensor.io.ome_arrow.fields import category

    (name,) = _PIXELS
    kinds = [field.type for field in container.schema if field.name == name]
    if len(kinds) != 1 or category(kinds[0]) not in ("bytes", "null"):
        found = f"one of {kinds[0]}" if kinds else f"columns {', '.join(container.schema.names)}"
        raise FormatError(f"{container.label}: expected a column {name!r} of bytes, found {found}")


def _agree(said: ChunkTable, found: ChunkTable) -> bool:
    """Whether chunks are what an index says of them; ``found`` has all of their group."""
    if int(said.element.max()) >= len(found):
        return False
    found = found.take(said.element)
    same_ids = said.ids is None or found.ids is None or np.array_equal(said.ids, found.ids)
    return (
        same_ids
        and np.array_equal(said.images, found.images)
        and np.array_equal(said.origins, found.origins)
        and np.array_equal(said.extents, found.extents)
    )


def _check_tiled(
    boxes: Sequence[tuple[np.ndarray, np.ndarray]], extent: np.ndarray, place: str
) -> None:
    """``FormatError`` unless every voxel of a chunk lies in exactly one of some boxes."""
    lows = [np.maximum(start, 0) for start, _ in boxes]
    highs = [np.minimum(start + size, extent) for start, size in boxes]
    for number, (low, high) in enumerate(zip(lows, highs, strict=True)):
        for other, beyond in zip(lows[:number], highs[:number], strict=True):
            if (np.minimum(high, beyond) > np.maximum(low, other)).all():
                raise FormatError(f"{place} is ambiguous: several chunks hold the same voxels")
    held = sum(int((high - low).prod()) for low, high in zip(lows, highs, strict=True))
    if held != int(extent.prod()):
        raise FormatError(
            f"{place} is missing: index.parquet lists it, and no chunk holds all of its voxels "
            f"(fill_value= stands in for what is missing)"
        )


def _shaped(values: np.ndarray, size: np.ndarray, dtype: np.dtype, place: str) -> np.ndarray:
    expected = int(size.prod()) * dtype.itemsize
    if values.nbytes != expected:
        raise FormatError(
            f"{place}: expected {expected} bytes in a chunk that holds a part of it, found "
            f"{values.nbytes}"
        )
    return values.view(np.dtype((np.void, dtype.itemsize))).reshape(tuple(size.tolist()))


class _Elsewhere:
    """A unit whose chunks are not where the index says."""

    __slots__ = ("_number", "_units")

    def __init__(self, units: ChunkUnits, number: int) -> None:
        self._units = units
        self._number = number

    @property
    def nbytes(self) -> int:
        return self._units.decoded_nbytes(self._number)

    def __len__(self) -> int:
        return self._units.elements(self._number)

    def element(self, number: int, scratch: Scratch) -> np.ndarray:
        return self._units.elsewhere(self._number, number, scratch)

    def nulls(self, number: int) -> np.ndarray | None:
        return None


class _PartlyOdd:
    """A unit with chunks of another dtype than their image."""

    __slots__ = ("_odd", "_unit")

    def __init__(self, unit: Unit, odd: Mapping[int, str]) -> None:
        self._unit = unit
        self._odd = odd

    @property
    def nbytes(self) -> int:
        return self._unit.nbytes

    def __len__(self) -> int:
        return len(self._unit)

    def element(self, number: int, scratch: Scratch) -> np.ndarray:
        wrong = self._odd.get(number)
        if wrong is not None:
            raise FormatError(wrong)
        return self._unit.element(number, scratch)

    def partly(self, number: int, scratch: Scratch) -> np.ndarray:
        if number in self._odd:
            return self.element(number, scratch)
        found: np.ndarray = getattr(self._unit, "partly", self._unit.element)(number, scratch)
        return found

    def nulls(self, number: int) -> np.ndarray | None:
        return self._unit.nulls(number)
