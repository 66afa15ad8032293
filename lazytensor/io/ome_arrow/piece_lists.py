"""The planes or chunks of all images of a group, as columns of numbers, cut into images by row.

In Arrow a list of structs is a column for each field, and per row a first item and a number of
items. So an image of 100 000 chunks costs a few slices of NumPy arrays, and one of a group of
10 000 costs the same few slices.

Elements (``model``) count the items of all rows in order, as whoever reads the pixels counts them:
rows that are null have none, whatever may stand in the buffers below them, nor have null lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.ome_arrow.elements import spans_of
from lazytensor.io.ome_arrow.fields import PieceList
from lazytensor.io.ome_arrow.metadata import dtype_of
from lazytensor.io.ome_arrow.model import DIMS, Pieces
from lazytensor.io.ome_arrow.nested import undressed, valid
from lazytensor.io.ome_arrow.values import CODECS, compression_named
from lazytensor.io.zarr.document import describe

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["GroupPieces", "integers", "lists_of"]

_NO_PIXELS = "expected pixels, found null (in all of the column)"
_WIDEST = np.iinfo(np.int64).max


def integers(array: pa.Array) -> tuple[np.ndarray, np.ndarray | None]:
    """Integers of whatever width, 0 where there is none; and which there are, None: all."""
    import pyarrow as pa

    array = undressed(array)
    if pa.types.is_null(array.type):
        return np.zeros(len(array), np.int8), np.zeros(len(array), np.bool_)
    there = valid(array)
    if there is not None:
        array = array.fill_null(0)
    numbers = np.asarray(array.to_numpy(zero_copy_only=False))
    if numbers.dtype == np.uint64:  # what does not fit is far outside of any image either way
        numbers = np.minimum(numbers, np.uint64(_WIDEST)).astype(np.int64)
    return numbers, there


def lists_of(array: pa.Array, where: str) -> tuple[np.ndarray, np.ndarray, pa.Array]:
    """Per list its first item and how many it has (int64), and what these are items of.

    Null lists have no items. Raises ``FormatError`` for lists that lead out of the items.
    """
    array = undressed(array)
    spans = spans_of(array, where)
    return spans.starts, spans.stops - spans.starts, undressed(array.values)


class GroupPieces:
    """The pieces in one list field of all rows of a group."""

    def __init__(
        self, lists: pa.Array, rows: np.ndarray | None, spec: PieceList, where: str
    ) -> None:
        """``lists``: the field; ``rows``: which rows are not null, None: all."""
        self.spec = spec
        where = f"{where}: {spec.field}"
        self._starts, counts, items = lists_of(lists, where)
        if rows is not None:
            counts = np.where(rows, counts, 0)
        self._counts = counts
        self._elements = np.concatenate([[0], np.cumsum(counts)])
        self._items = valid(items)
        self._place = [integers(items.field(name)) for name in spec.place]
        self._codecs = _Names(items.field("compression")) if spec.compression else None
        self._dtypes = _Names(items.field("dtype")) if spec.dtype else None
        self._verdicts: dict[np.dtype, _Verdict] = {}
        self._compressions = _compressions(self._codecs)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that this takes by itself."""
        return self._starts.nbytes + self._counts.nbytes + self._elements.nbytes

    def count(self, row: int) -> int:
        """How many pieces a row has."""
        return int(self._counts[row])

    def encoded(self, row: int) -> bool:
        """Whether the pixels of a row are bytes; only those say what dtype they have."""
        spec = self.spec
        if spec.numbers is None or spec.encoded is None:
            return spec.encoded is not None
        return self._dtypes is not None and bool((self._dtypes.codes[self._span(row)] >= 0).any())

    def of(self, row: int, unit: int, shape: Sequence[int], dtype: np.dtype, where: str) -> Pieces:
        """The pieces of a row, which lie in an image of that shape and are of that dtype.

        Raises ``FormatError`` for a place that is null or not in the image.
        """
        span = self._span(row)
        count, first = span.stop - span.start, int(self._elements[row])
        where = f"{where}: {self.spec.field}"
        self._refuse_nulls(span, where)
        origins = np.zeros((count, 5), np.int64)
        extents = np.ones((count, 5), np.int64)
        for (numbers, _), name in zip(self._place, self.spec.place, strict=True):
            target = extents if name.startswith("shape_") else origins
            target[:, DIMS.index(name[-1])] = numbers[span]
        if "y" not in self.spec.place:
            extents[:, 3:] = shape[3:]
        _refuse_outside(origins, extents, shape, where)
        codecs: tuple[str | None, ...] = (None,)
        codec = None
        odd = dict.fromkeys(range(count), _NO_PIXELS) if self.spec.empty else {}
        if self.encoded(row):
            odd = self._of_other_dtypes(span, dtype)
            codecs, numbers = self._compressions.names, self._compressions.numbers
            if self._codecs is not None and numbers.any():
                codec = numbers[self._codecs.codes[span]]
                odd = self._compressed_oddly(span, codec) | odd
                codec = np.maximum(codec, 0)
        return Pieces(
            origins,
            extents,
            np.full(count, unit, np.int64),
            np.arange(first, first + count, dtype=np.int64),
            codecs,
            codec,
            {
                number: f"{where}[{number}] at {_named(origins[number])}: {text}"
                for number, text in odd.items()
            },
        )

    def _span(self, row: int) -> slice:
        start = int(self._starts[row])
        return slice(start, start + int(self._counts[row]))

    def _refuse_nulls(self, span: slice, where: str) -> None:
        masks = [(self._items, "")]
        masks += [
            (there, f".{name}")
            for (_, there), name in zip(self._place, self.spec.place, strict=True)
        ]
        for there, name in masks:
            if there is not None and not there[span].all():
                number = int(np.argmin(there[span]))
                what = "an integer" if name else "a struct"
                raise FormatError(f"{where}[{number}]{name}: expected {what}, found null")

    def _of_other_dtypes(self, span: slice, dtype: np.dtype) -> dict[int, str]:
        if self._dtypes is None:
            return {}
        verdict = self._verdicts.get(dtype)
        if verdict is None:
            verdict = self._verdicts[dtype] = _Verdict(self._dtypes.names, dtype)
        return verdict.odd(self._dtypes.codes[span])

    def _compressed_oddly(self, span: slice, codec: np.ndarray) -> dict[int, str]:
        assert self._codecs is not None
        if codec.min(initial=0) >= 0:
            return {}
        codes = self._codecs.codes[span]
        return {
            int(piece): f"compression: expected one of {', '.join(CODECS)}, or null, found "
            f"{describe(self._codecs.names[codes[piece]])}"
            for piece in np.flatnonzero(codec < 0)
        }


class _Names:
    """Strings of which there are few: the distinct ones, and which each item has, -1 for null."""

    def __init__(self, array: pa.Array) -> None:
        import pyarrow as pa

        array = undressed(array)
        if pa.types.is_string_view(array.type):  # which older versions of Arrow cannot count
            array = array.cast(pa.large_string())
        coded = array.dictionary_encode()
        self.names: list[Any] = coded.dictionary.to_pylist()
        indices = coded.indices
        if indices.null_count:
            indices = indices.fill_null(-1)
        self.codes = np.asarray(indices.to_numpy(zero_copy_only=False))


class _Compressions:
    """What names of compressions mean: ``names[numbers[code]]``, -1: nothing; the last is null."""

    def __init__(self, names: tuple[str | None, ...], numbers: np.ndarray) -> None:
        self.names = names
        self.numbers = numbers


def _compressions(found: _Names | None) -> _Compressions:
    names: list[str | None] = [None]
    numbers = np.zeros(1 if found is None else len(found.names) + 1, np.int8)
    for code, text in enumerate(() if found is None else found.names):
        name = compression_named(text)
        if name is None:
            continue
        if name not in CODECS:
            numbers[code] = -1
        elif name in names:
            numbers[code] = names.index(name)
        else:
            numbers[code] = len(names)
            names.append(name)
    return _Compressions(tuple(names), numbers)


class _Verdict:
    """What is wrong with names of dtypes of pieces, where an image is of some dtype."""

    def __init__(self, names: Sequence[Any], dtype: np.dtype) -> None:
        self._messages = [_judged(name, dtype) for name in names]
        wrong = [message is not None for message in self._messages]
        # The last is for null, which leaves it to the image.
        self._wrong = np.array([*wrong, False])
        self._any = any(wrong)

    def odd(self, codes: np.ndarray) -> dict[int, str]:
        """What is wrong with pieces, by number."""
        if not self._any:
            return {}
        found = np.flatnonzero(self._wrong[codes])
        return {int(piece): str(self._messages[codes[piece]]) for piece in found}


def _judged(name: str, dtype: np.dtype) -> str | None:
    try:
        found = dtype_of(name, "dtype")
    except FormatError as error:
        return str(error)
    if found == dtype:
        return None
    return f"dtype: expected {dtype.name!r}, as pixels_meta.type says, found {describe(name)}"


def _named(origin: np.ndarray) -> str:
    return ", ".join(f"{dim}={at}" for dim, at in zip(DIMS, origin.tolist(), strict=True))


def _refuse_outside(
    origins: np.ndarray, extents: np.ndarray, shape: Sequence[int], where: str
) -> None:
    whole = np.asarray(shape, np.int64)
    # Not by the end of a piece, which may be beyond what an int64 holds.
    wrong = (origins < 0) | (extents <= 0) | (extents > whole) | (origins > whole - extents)
    if not wrong.any():
        return
    number = int(np.argmax(wrong.any(1)))
    raise FormatError(
        f"{where}[{number}]: expected a place in an image of t, c, z, y, x = {tuple(shape)}, found "
        f"{tuple(origins[number].tolist())} with the extents {tuple(extents[number].tolist())}"
    )
