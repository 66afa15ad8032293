"""The pieces of one image, or of several of one shape, and where the pixels of each are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazytensor.io.ome_arrow.cells import PieceGrid
from lazytensor.io.ome_arrow.model import DIMS, Image, Unit, Units

__all__ = ["Catalogue", "catalogue_of"]

_HOLDER = 40
"""Bits of a unit's number; above them is the number of what holds it."""

_OWN = (1 << _HOLDER) - 1


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Pieces by number, in the order of the images and their files.

    ``units``, ``elements``: of each piece; a unit's number has that of one of ``holders`` above its
    own. ``codecs``, ``codec``, ``odd``: as in ``model.Pieces``. ``wheres``: names of the images.
    """

    grid: PieceGrid
    units: np.ndarray
    elements: np.ndarray
    holders: tuple[Units, ...]
    codecs: tuple[str | None, ...]
    codec: np.ndarray | None
    odd: Mapping[int, str]
    wheres: Sequence[str]

    def unit(self, number: int) -> Unit:
        """A unit, by its number here."""
        return self.holders[number >> _HOLDER].unit(number & _OWN)

    def told(self, number: int, what: str) -> Any:
        """What is told of a unit: ``kept``, ``stored_nbytes``, ``decoded_nbytes``."""
        return getattr(self.holders[number >> _HOLDER], what)(number & _OWN)

    def codec_of(self, piece: int) -> str | None:
        """How a piece is compressed."""
        return self.codecs[0 if self.codec is None else int(self.codec[piece])]

    @property
    def is_compressed(self) -> bool:
        """Whether some piece is."""
        return any(name is not None for name in self.codecs)

    def place(self, position: Sequence[int]) -> str:
        """A position, for errors: ``"a.parquet[0, 'image'] at t=0, c=1, z=5, y=0, x=0"``."""
        own = position[len(position) - len(DIMS) :]
        row = position[0] if len(position) > len(DIMS) else 0
        at = ", ".join(f"{dim}={int(value)}" for dim, value in zip(DIMS, own, strict=True))
        return f"{self.wheres[row]}: the piece at {at}"

    def name(self, piece: int) -> str:
        """A piece, for errors, by where it begins."""
        return self.place(self.grid.origins[piece].tolist())

    def volumes(self, pieces: np.ndarray) -> np.ndarray:
        """How many voxels some pieces have."""
        found: np.ndarray = self.grid.extents[pieces].prod(axis=1)
        return found

    def largest(self) -> tuple[int, int]:
        """The unit with most voxels, and how many the largest piece has; there are some."""
        volumes = self.grid.extents.prod(axis=1)
        units, which = np.unique(self.units, return_inverse=True)
        sums = np.bincount(which.reshape(-1), weights=volumes)
        return int(units[int(sums.argmax())]), int(volumes.max())


def catalogue_of(images: Sequence[Image], *, stacked: bool) -> Catalogue:
    """The pieces of images of one shape; of a stack, with the number of the image in front."""
    holders: dict[int, int] = {}
    several: list[Units] = []
    units = []
    for image in images:
        holder = holders.setdefault(id(image.units), len(holders))
        if holder == len(several):
            several.append(image.units)
        units.append(image.pieces.units + (holder << _HOLDER) if holder else image.pieces.units)
    counts = [len(image.pieces) for image in images]
    origins = _together([image.pieces.origins for image in images]).reshape(-1, len(DIMS))
    extents = _together([image.pieces.extents for image in images]).reshape(-1, len(DIMS))
    shape: tuple[int, ...] = images[0].meta.shape if images else (0,) * len(DIMS)
    if stacked:
        rows = np.repeat(np.arange(len(images)), counts)[:, None]
        origins = np.concatenate((rows, origins), axis=1)
        extents = np.concatenate((np.ones_like(rows), extents), axis=1)
        shape = (len(images), *shape)
    codecs, codec = _codecs(images, counts)
    firsts = np.cumsum([0, *counts]).tolist()
    odd = {
        first + number: what
        for first, image in zip(firsts, images, strict=False)
        for number, what in image.pieces.odd.items()
    }
    return Catalogue(
        PieceGrid(shape, origins, extents),
        _together(units),
        _together([image.pieces.elements for image in images]),
        tuple(several),
        codecs,
        codec,
        odd,
        [image.where for image in images],
    )


def _together(arrays: Sequence[np.ndarray]) -> np.ndarray:
    if len(arrays) == 1:
        return np.ascontiguousarray(arrays[0], np.int64)
    return np.concatenate(arrays).astype(np.int64) if arrays else np.zeros(0, np.int64)


def _codecs(
    images: Sequence[Image], counts: Sequence[int]
) -> tuple[tuple[str | None, ...], np.ndarray | None]:
    """The compressions of all images, and which of them each piece has."""
    first = images[0].pieces if images else None
    if first is None:
        return (None,), None
    if len(images) == 1:
        return tuple(first.codecs) or (None,), first.codec
    if all(image.pieces.codecs == first.codecs for image in images) and len(first.codecs) == 1:
        return first.codecs, None
    names: dict[str | None, int] = {}
    found = []
    for image, count in zip(images, counts, strict=True):
        table = [names.setdefault(name, len(names)) for name in image.pieces.codecs]
        own = image.pieces.codec
        which = np.zeros(count, np.int64) if own is None else own.astype(np.int64)
        found.append(np.array(table or [0], np.int64)[which])
    return tuple(names) or (None,), np.concatenate(found)
