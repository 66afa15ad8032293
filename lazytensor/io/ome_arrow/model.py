"""What the modules of this format tell each other: an image, its pieces, what holds their pixels.

An image is a record somewhere, which says what its pixels mean and which *pieces* it consists of:
planes or chunks, each at a place of its own. The pixels of a piece are an *element* of a *unit*:
of a list or binary column in one row group, record batch or table, which is the least that can be
read at once. Where a unit is large (all of an image that is one row), it is read once and kept.

Positions count t, c, z, y, x everywhere, whatever a file lists first.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from lazytensor.errors import SourceNotFoundError
from lazytensor.io.scratch import Scratch
from lazytensor.plan.spec import Axis

__all__ = [
    "DIMS",
    "Image",
    "ImageMeta",
    "NoImageError",
    "Pieces",
    "Stretches",
    "TellsNulls",
    "Unit",
    "Units",
    "box_of",
]

DIMS = ("t", "c", "z", "y", "x")
"""Names of the dims of an image."""


class NoImageError(SourceNotFoundError, KeyError):
    """There is no image: the row is null, or none has that id. As of any mapping, a ``KeyError``.

    >>> str(NoImageError("the row is null"))
    'the row is null'
    """

    def __str__(self) -> str:
        """The message as it is; that of a ``KeyError`` would be quoted."""
        return str(self.args[0]) if self.args else ""


@dataclass(frozen=True, slots=True)
class ImageMeta:
    """What a record says of an image.

    ``dtype``: of the values, in the machine's byte order. ``shape``: t, c, z, y, x. ``axes``: their
    kinds, units (UDUNITS names), scales, labels of channels. ``attrs``: what else is known, JSON:
    ``id``, ``name``, ``image_type``, ``acquisition_datetime`` (ISO 8601), ``channels`` (as in the
    file), each only if the record has it.
    """

    dtype: np.dtype
    shape: tuple[int, int, int, int, int]
    axes: tuple[Axis, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pieces:
    """The pieces of one image, in the order of the file.

    ``origins``, ``extents``: ``(n, 5)`` int64, first position and how many along t, c, z, y, x;
    they lie in the image. ``units``, ``elements``: int64, where the pixels are: the number of a
    unit and of an element of it. ``codecs``: names of compressions (None: none), ``codec`` (int8)
    which of them each piece has. ``odd``: what is wrong with single pieces, by number; whoever
    wants their pixels gets a ``FormatError`` that says it, others can be read.
    """

    origins: np.ndarray
    extents: np.ndarray
    units: np.ndarray
    elements: np.ndarray
    codecs: tuple[str | None, ...] = (None,)
    codec: np.ndarray | None = None
    odd: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many."""
        return len(self.origins)


class Unit(Protocol):
    """What is read at once: pixels of all pieces of a row group, record batch or table.

    Elements are read-only arrays of one dim: numbers as they are stored (of any integer or float
    dtype, in the machine's byte order), or bytes (uint8). Thread-safe.
    """

    @property
    def nbytes(self) -> int:
        """Bytes that keeping it takes."""
        ...

    def __len__(self) -> int:
        """How many elements."""
        ...

    def element(self, number: int, scratch: Scratch) -> np.ndarray:
        """One element, valid until the thread takes something else of ``scratch``.

        Raises ``FormatError`` for one that is null.
        """
        ...

    def nulls(self, number: int) -> np.ndarray | None:
        """Which numbers (bool) in an element are null; None if none is."""
        ...


@runtime_checkable
class Stretches(Protocol):
    """What units have besides, if their elements may follow each other in memory."""

    def several(self, number: int, many: int) -> tuple[np.ndarray, np.ndarray] | None:
        """``many`` elements from ``number`` on as one view, and how many items each has.

        None where they do not follow each other, and where something is null.
        """
        ...


@runtime_checkable
class TellsNulls(Protocol):
    """What units have besides, if they can tell which elements are null without reading them."""

    def is_null(self, number: int) -> bool:
        """Whether an element is null: a piece has no pixels at all."""
        ...


class Units(Protocol):
    """What holds the pixels of an image, or of all images of a column: its units, by number.

    ``identity``: equal for the same file in the same state. ``encoded``: whether elements are bytes
    (little-endian values in C order, maybe compressed) or numbers. ``zero_copy``: whether elements
    are views of memory, or of a mapped file, and reading them costs nothing. ``remote``: whether
    reading is a round trip.
    """

    identity: Hashable
    label: str
    encoded: bool
    zero_copy: bool
    remote: bool

    def unit(self, number: int) -> Unit:
        """A unit, read now unless somebody has and it is kept. Counts ``bytes_read``.

        Raises ``SourceError`` and its children: ``FormatError`` for what cannot be decoded,
        ``SourceChangedError`` where the file is another one by now.
        """
        ...

    def kept(self, number: int) -> bool:
        """Whether ``unit`` would read nothing now."""
        ...

    def stored_nbytes(self, number: int) -> int:
        """Bytes that reading a unit takes from the file; 0 where that is a view."""
        ...

    def decoded_nbytes(self, number: int) -> int:
        """Bytes that a unit takes in memory, about."""
        ...

    def check(self) -> None:
        """``SourceChangedError`` if the file is not the one that was scanned."""
        ...


class Image(NamedTuple):
    """An image that can be read: what it is, its pieces, and what holds them.

    ``where``: names the record in errors and labels: ``"crops.parquet[12, 'ome_arrow']"``.
    ``place``: what reopens it, JSON: ``{"row": 12, "column": "ome_arrow"}``, ``{"image_id": id}``.
    """

    meta: ImageMeta
    pieces: Pieces
    units: Units
    where: str
    place: Mapping[str, Any]


def box_of(origin: Sequence[int], extent: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Half-open intervals of a piece.

    >>> box_of((0, 0, 1, 8, 8), (1, 1, 1, 4, 4))[2:]
    ((1, 2), (8, 12), (8, 12))
    """
    return tuple((int(lo), int(lo) + int(n)) for lo, n in zip(origin, extent, strict=True))
