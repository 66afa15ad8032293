"""Pixels of pieces in nested columns: where each begins and ends in one flat array.

A column of images is lists of pieces, of which each has a list of numbers, or bytes. Pieces are
counted over all rows; rows and lists that are null have none, whatever their offsets say. Nothing
is moved: the pixels of a piece are a window of the values that all of them share.

Offsets come from files, and are believed when they have been compared with what they lead into.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.ome_arrow.container import Path
from lazytensor.io.ome_arrow.model import Stretches, TellsNulls
from lazytensor.io.ome_arrow.nested import is_list, undressed, valid
from lazytensor.io.scratch import Scratch

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Elements",
    "Spans",
    "bits_of",
    "elements_in",
    "elements_of",
    "found_below",
    "picked",
    "spans_of",
]

_SHARING = 1 << 20
"""Items that lists may hold together where there are fewer: views of lists may share them."""


class Spans(NamedTuple):
    """Half-open windows of a flat array, in order. ``valid``: None if none is null."""

    starts: np.ndarray
    stops: np.ndarray
    valid: np.ndarray | None

    def __len__(self) -> int:
        return len(self.starts)

    def span(self, number: int, where: str) -> tuple[int, int]:
        """One of them; ``FormatError`` if it is null, or there is none."""
        if not 0 <= number < len(self.starts):
            raise FormatError(f"{where}: there is no piece {number} of {len(self.starts)}")
        if self.valid is not None and not self.valid[number]:
            raise FormatError(f"{where}: the pixels of piece {number} are null")
        return int(self.starts[number]), int(self.stops[number])


def spans_of(array: pa.Array, where: str) -> Spans:
    """Where the lists (or byte strings) of an array lie in what is below it.

    Null ones are empty. Raises ``FormatError`` for others that lead out of it.

    >>> import pyarrow as pa
    >>> spans = spans_of(pa.array([[1, 2], None, [3]])[1:], "a list")
    >>> spans.starts.tolist(), spans.stops.tolist(), spans.valid.tolist()
    ([0, 2], [0, 3], [False, True])
    """
    import pyarrow as pa

    kind, types = array.type, pa.types
    n, first, buffers = len(array), array.offset, array.buffers()
    there = valid(array)
    if types.is_fixed_size_list(kind) or types.is_fixed_size_binary(kind):
        width = kind.list_size if is_list(kind) else kind.byte_width
        starts = np.arange(first, first + n, dtype=np.int64) * width
        stops = starts + width
    elif types.is_list_view(kind) or types.is_large_list_view(kind):
        word = "<i4" if types.is_list_view(kind) else "<i8"
        starts = _words(buffers[1], word, first, n).astype(np.int64)
        stops = starts + _words(buffers[2], word, first, n)
    else:
        wide = types.is_large_list(kind) or types.is_large_binary(kind)
        offsets = _words(buffers[1], "<i8" if wide else "<i4", first, n + 1).astype(np.int64)
        starts, stops = offsets[:-1], offsets[1:]
    if there is not None:
        starts, stops = np.where(there, starts, 0), np.where(there, stops, 0)
    room = len(array.values) if is_list(kind) else _size(buffers[2 if len(buffers) > 2 else 1])
    if n and (starts.min() < 0 or (stops < starts).any() or stops.max() > room):
        raise FormatError(f"{where}: offsets lead out of the {room} items that there are")
    return Spans(starts, stops, there)


def _size(buffer: pa.Buffer | None) -> int:
    return 0 if buffer is None else int(buffer.size)


def _words(buffer: Any, word: str, first: int, n: int) -> np.ndarray:
    if not n or (n == 1 and not _size(buffer)):  # an empty array may do without an offset
        return np.zeros(n, word)
    return np.frombuffer(buffer, word, n, first * np.dtype(word).itemsize)


class _Found(NamedTuple):
    """A field: the array, which of its items are meant (None: all), which are not null."""

    array: pa.Array
    picks: np.ndarray | None
    valid: np.ndarray | None


def found_below(array: pa.Array, names: Path, where: str) -> _Found:
    """A field of nested lists and structs; one item for each row, or for each item of lists."""
    import pyarrow as pa

    found = _Found(undressed(array), None, None)
    for name in names:
        while is_list(found.array.type):
            found = _expanded(found, where)
        if not pa.types.is_struct(found.array.type):
            raise FormatError(f"{where}: {found.array.type} has no field {name!r}")
        at = found.array.type.get_field_index(name)
        if at < 0:
            raise FormatError(f"{where}: {found.array.type} has no field {name!r}, or several")
        own = valid(found.array)
        if own is not None and found.picks is not None:
            own = own[found.picks]
        both = _both(found.valid, own)
        found = _Found(undressed(found.array.field(at)), found.picks, both)
    return found


def _both(one: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | None:
    if one is None or other is None:
        return other if one is None else one
    both: np.ndarray = one & other
    return both


def picked(spans: Spans, found: _Found) -> Spans:
    """The spans of those items that are meant; what is null above is null."""
    starts, stops, there = spans
    if found.picks is not None:
        starts, stops = starts[found.picks], stops[found.picks]
        there = None if there is None else there[found.picks]
    return Spans(starts, stops, _both(there, found.valid))


def _expanded(found: _Found, where: str) -> _Found:
    """The items of lists that are not null, one after the other."""
    spans = picked(spans_of(found.array, where), found)
    items = found.array.values
    starts, stops = spans.starts, spans.stops
    if spans.valid is not None:
        starts, stops = starts[spans.valid], stops[spans.valid]
    counts = stops - starts
    starts, counts = starts[counts > 0], counts[counts > 0]
    total = int(counts.sum())
    if total > max(len(items), _SHARING):
        raise FormatError(f"{where}: lists of {total} items share {len(items)}")
    if not total or (starts[1:] == starts[:-1] + counts[:-1]).all():
        begin = int(starts[0]) if total else 0
        return _Found(undressed(items.slice(begin, total)), None, None)
    before = np.cumsum(counts) - counts
    picks = np.repeat(starts - before, counts) + np.arange(total)
    return _Found(undressed(items), picks, None)


class _Part(NamedTuple):
    """Elements of one array. ``values``: all there is. ``bits``: which of it is not null."""

    values: np.ndarray
    spans: Spans
    bits: np.ndarray | None
    keeps: Any


class Elements(Stretches, TellsNulls):
    """A unit whose pixels are in memory, decoded or as a view; see ``model.Unit``.

    >>> import pyarrow as pa
    >>> pixels = pa.array([[1, 2], [], [3, 4, 5]], pa.list_(pa.uint8()))
    >>> unit = elements_of([pixels], (), False, "x")
    >>> len(unit), unit.element(2, None)
    (3, array([3, 4, 5], dtype=uint8))
    """

    def __init__(self, parts: Sequence[_Part], where: str, *, owned: bool) -> None:
        self._parts = list(parts)
        self._where = where
        self._firsts = np.cumsum([0, *(len(part.spans) for part in parts)], dtype=np.int64)
        self._owned = owned

    @property
    def nbytes(self) -> int:
        """Bytes that keeping it takes."""
        total = 1000
        for values, spans, bits, _ in self._parts:
            total += spans.starts.nbytes + spans.stops.nbytes
            total += 0 if spans.valid is None else spans.valid.nbytes
            if self._owned:
                total += values.nbytes + (0 if bits is None else bits.nbytes)
        return total

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def _find(self, number: int) -> tuple[_Part, int]:
        if not 0 <= number < len(self):
            raise FormatError(f"{self._where}: there is no piece {number} of {len(self)}")
        at = 0
        if len(self._parts) > 1:
            at = int(np.searchsorted(self._firsts, number, "right")) - 1
        return self._parts[at], number - int(self._firsts[at])

    def element(self, number: int, scratch: Scratch | None) -> np.ndarray:
        """A view of the pixels of one piece."""
        part, at = self._find(number)
        start, stop = part.spans.span(at, self._where)
        return part.values[start:stop]

    def nulls(self, number: int) -> np.ndarray | None:
        """Which numbers of a piece are null; None if none is."""
        part, at = self._find(number)
        if part.bits is None:
            return None
        return bits_of(part.bits, int(part.spans.starts[at]), int(part.spans.stops[at]))

    def is_null(self, number: int) -> bool:
        """Whether a piece has no pixels at all."""
        part, at = self._find(number)
        return part.spans.valid is not None and not part.spans.valid[at]

    def several(self, number: int, many: int) -> tuple[np.ndarray, np.ndarray] | None:
        """The pixels of consecutive pieces as one view, and how many each has.

        None where they do not follow each other in memory, and where something is null.
        """
        part, at = self._find(number)
        starts, stops = part.spans.starts[at : at + many], part.spans.stops[at : at + many]
        valid = part.spans.valid
        apart = len(starts) < many or (starts[1:] != stops[:-1]).any()
        if apart or (valid is not None and not valid[at : at + many].all()):
            return None
        first, last = int(starts[0]), int(stops[-1])
        if part.bits is not None and bits_of(part.bits, first, last) is not None:
            return None
        return part.values[first:last], stops - starts


def bits_of(bits: np.ndarray, start: int, stop: int) -> np.ndarray | None:
    """Which of the bits [start, stop), lowest first, are not set; None if all are.

    >>> bits_of(np.array([0b11111011], "u1"), 1, 4).tolist()
    [False, True, False]
    """
    low = start // 8
    loose = np.unpackbits(bits[low : -(-stop // 8)], bitorder="little")
    unset = loose[start - 8 * low : stop - 8 * low] == 0
    return unset if unset.any() else None


def elements_of(
    columns: Sequence[pa.Array], names: Path, encoded: bool, where: str, *, owned: bool = True
) -> Elements:
    """The pixels in a field of a column, which comes in some arrays.

    ``encoded``: whether they are bytes. ``owned``: whether the arrays are there for this alone.
    Raises ``FormatError`` if they are neither numbers nor bytes.
    """
    return Elements([_part(array, names, encoded, where) for array in columns], where, owned=owned)


def elements_in(parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], where: str) -> Elements:
    """Byte strings ``data[starts[i]:stops[i]]`` of some ``(data, starts, stops)``."""
    made = [
        _Part(_frozen(data), Spans(starts, stops, None), None, None)
        for data, starts, stops in parts
    ]
    return Elements(made, where, owned=True)


def _part(array: pa.Array, names: Path, encoded: bool, where: str) -> _Part:
    import pyarrow as pa

    found = found_below(array, names, where)
    kind, types = found.array.type, pa.types
    if types.is_null(kind):
        n = len(found.array) if found.picks is None else len(found.picks)
        nothing = np.zeros(n, np.int64)
        return _Part(_frozen(np.empty(0, "u1")), Spans(nothing, nothing, nothing != 0), None, None)
    if encoded and (types.is_binary_view(kind) or types.is_string_view(kind)):
        found = found._replace(array=found.array.cast(pa.large_binary()))
        kind = found.array.type
    if encoded and (
        types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    ):
        spans = picked(spans_of(found.array, where), found)
        buffers = found.array.buffers()
        data = buffers[-1]
        values = np.empty(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
        return _Part(_frozen(values), spans, None, found.array)
    if not is_list(kind):
        expected = "bytes" if encoded else "lists of numbers"
        raise FormatError(f"{where}: expected {expected}, found {kind}")
    spans = picked(spans_of(found.array, where), found)
    values, bits = _numbers(undressed(found.array.values), where)
    if encoded:
        if values.dtype.itemsize != 1 or bits is not None:
            raise FormatError(f"{where}: expected bytes, found {kind}")
        values = values.view(np.uint8)
    return _Part(_frozen(values), spans, bits, found.array)


def _numbers(array: pa.Array, where: str) -> tuple[np.ndarray, np.ndarray | None]:
    """All values of an array and its bitmap, None if nothing is null."""
    import pyarrow as pa

    kind, n = array.type, len(array)
    if pa.types.is_null(kind):
        return np.zeros(n, np.uint8), np.zeros(-(-n // 8), np.uint8)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise FormatError(f"{where}: expected lists of numbers, found lists of {kind}")
    validity, data = array.buffers()
    bits = None
    if array.null_count:
        bits = np.frombuffer(validity, np.uint8)
        if array.offset:
            loose = np.unpackbits(bits, bitorder="little")[array.offset : array.offset + n]
            bits = np.packbits(loose, bitorder="little")
    if pa.types.is_boolean(kind):
        packed = np.empty(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
        return np.unpackbits(packed, bitorder="little")[array.offset : array.offset + n], bits
    dtype = np.dtype(kind.to_pandas_dtype())
    if not n:
        return np.empty(0, dtype), bits
    return np.frombuffer(data, dtype, n, array.offset * dtype.itemsize), bits


def _frozen(values: np.ndarray) -> np.ndarray:
    view = values.view()
    view.flags.writeable = False
    return view
