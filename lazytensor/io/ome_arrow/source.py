"""OME-Arrow images as sources: one image, or several of one shape as a stack.

They are sources of their own, not another format on top of zarr's: there are no objects with names
that hold a chunk each, but units that hold many pieces of one image, or of many. What is read is
planned by units (``reading``), so that each is asked for once, whatever is wanted of it.

The grid that plans see is that of the pieces. Where all of them come out of one unit, tasks are cut
at them all the same: who comes first decodes the unit, the others find it. What reading takes is
counted by units then.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from copy import deepcopy
from math import prod
from types import MappingProxyType
from typing import Any, cast

import numpy as np

from lazytensor.errors import DTypeError, FormatError, SerializationError, ShapeError, SourceError
from lazytensor.io.ome_arrow.catalogue import Catalogue, catalogue_of
from lazytensor.io.ome_arrow.fill import fill_of, fill_to_json
from lazytensor.io.ome_arrow.layout import joined
from lazytensor.io.ome_arrow.model import DIMS, Image
from lazytensor.io.ome_arrow.reading import PieceReader
from lazytensor.io.ome_arrow.storage import OmeArrowStorage
from lazytensor.io.ome_arrow.values import Values
from lazytensor.io.ome_arrow.windows import begin_windows
from lazytensor.plan.edges import Edges
from lazytensor.plan.source import Box, Fetched, Read, Reading, Storage, UnitSize
from lazytensor.plan.spec import Axis, TensorSpec, make_spec

__all__ = ["OmeArrowSource", "StackSource"]

_SAMPLE = 64
"""Whoever asks for the sizes of so many cells has taken a sample, and multiplies."""


class _PieceSource:
    """What an image and a stack have in common: all that is done with a catalogue of pieces."""

    padded = False
    decodes_whole_cells = True

    def __init__(
        self,
        catalogue: Catalogue,
        dtype: np.dtype,
        dims: Sequence[str],
        axes: Sequence[Axis],
        fill: np.ndarray | None,
    ) -> None:
        self._catalogue = catalogue
        self._fill = fill
        holders = catalogue.holders
        self._encoded = bool(holders) and holders[0].encoded
        self._values = Values(dtype, encoded=self._encoded, fill=fill)
        self._reader = PieceReader(catalogue, self._values)
        grid = catalogue.grid
        self.spec: TensorSpec = make_spec(
            grid.shape, dtype, dims=dims, axes=axes, chunks=grid.cells
        )
        self.remote = any(units.remote for units in holders)
        self.label = ""
        self.key: Hashable = None
        # Bytes per voxel, where pieces are read one by one rather than with their unit.
        found = [getattr(units, "itemsize", None) for units in holders]
        sizes = [size for size in found if size is not None]
        self._alone: int | None = None
        if sizes and len(sizes) == len(found):
            self._alone = dtype.itemsize if self._encoded else max(sizes)
        # Found when it is first asked for.
        self._array: tuple[np.ndarray | None] | None = None
        self._largest: tuple[int, int] | None = None

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"{name}({self.label!r}, shape={self.spec.shape}, dtype={self.spec.dtype})"

    @property
    def array(self) -> np.ndarray | None:
        """All values, if they are in memory (or mapped) one after the other as NumPy wants them."""
        if self._array is None:
            self._array = (self._view(),)
        return self._array[0]

    def _view(self) -> np.ndarray | None:
        catalogue, grid, values = self._catalogue, self._catalogue.grid, self._values
        if (
            not len(grid)
            or not all(units.zero_copy and not units.remote for units in catalogue.holders)
            or catalogue.is_compressed
            or catalogue.odd
            or int(catalogue.volumes(np.arange(len(grid))).sum()) != self.spec.size
            or grid.overlapping is not None
            or (values.encoded and not values.is_plain)
        ):
            return None
        slabs = joined(
            grid, catalogue.units, catalogue.elements, np.arange(len(grid)), single=False
        )
        if len(slabs.origins) != 1:
            return None
        try:
            flat = self._reader.stretch(catalogue.unit(int(catalogue.units[0])), slabs.pieces)
        except SourceError:
            return None  # whoever reads is told
        if flat is None:
            return None
        found = values.element(flat, self.spec.shape, None)
        if found is None or found.dtype != self.spec.dtype or not found.flags.aligned:
            return None
        found.flags.writeable = False
        return found

    def read_into(self, box: Box, out: np.ndarray) -> None:
        """Fill ``out`` with a box.

        Raises ``FormatError`` for pieces that are missing, ambiguous, too short or damaged, or hold
        what is no value of the dtype, naming the piece; ``SourceError`` where reading fails.
        """
        self.read_strided(box, (1,) * len(box), out)

    def read_strided(self, box: Box, steps: Sequence[int], out: np.ndarray) -> None:
        """Fill ``out`` with every ``steps[d]``-th element of a box; errors as ``read_into``."""
        if not out.size:
            return
        array = self.array
        if array is None:
            self._reader.read(box, steps, out)
        else:
            part = [slice(lo, hi, step) for (lo, hi), step in zip(box, steps, strict=True)]
            out[...] = array[tuple(part)]

    def shared_read(self, box: Box, steps: Sequence[int], out: np.ndarray) -> Reading | None:
        """A ``read_strided`` that several threads may work on, or None."""
        return self._reader.begin(box, steps, out) if out.size and self.array is None else None

    def shares(self, box: Box, steps: Sequence[int]) -> bool:
        """Whether ``shared_read`` would begin one."""
        return self.array is None and self._reader.is_shared(box, steps)

    def read_windows(
        self,
        starts: np.ndarray,
        counts: Sequence[int],
        steps: Sequence[int],
        outs: Sequence[np.ndarray] | np.ndarray,
    ) -> Reading | None:
        """Begin reading windows of one size, each unit decoded once however many look at it."""
        if not len(starts) or 0 in counts:
            return None
        return begin_windows(self._reader, self._values, self.array, starts, counts, steps, outs)

    def reads_windows(self, elements: int) -> bool:
        """Always."""
        return self.array is None

    def unit_sizes(self, cells: list[tuple[int, ...]]) -> UnitSize:
        """Stored sizes of cells.

        Of a few, those of the units that they are read from, each counted once; of a sample, the
        part of its unit that each has.
        """
        catalogue, missing = self._catalogue, 0
        found = []
        for cell in cells:
            box = self._box(cell)
            pieces = self._reader.touched(box, (1,) * len(box))
            missing += not len(pieces)
            found.append(pieces)
        pieces = np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)
        if len(cells) < _SAMPLE or self._alone is not None:
            return UnitSize(len(cells), self._stored(pieces), missing)
        units = catalogue.units[pieces]
        volumes, total = catalogue.volumes(pieces), 0.0
        for unit in np.unique(units).tolist():
            mine = np.flatnonzero(catalogue.units == unit)
            share = volumes[units == unit].sum() / max(1, catalogue.volumes(mine).sum())
            total += share * self._cost(unit)
        return UnitSize(len(cells), round(total), missing)

    def _box(self, cell: tuple[int, ...]) -> Box:
        return tuple(
            [
                (i * size, min(i * size + size, n))
                if not isinstance(size, Edges)
                else (size[i], size[i + 1])
                for i, size, n in zip(
                    cell, self._catalogue.grid.cells, self.spec.shape, strict=True
                )
            ]
        )

    def _cost(self, unit: int) -> int:
        """Stored bytes that reading a unit takes now."""
        told = self._catalogue.told
        return 0 if told(unit, "kept") else int(told(unit, "stored_nbytes"))

    def _stored(self, pieces: np.ndarray) -> int:
        if self._alone is not None:
            return int(self._catalogue.volumes(pieces).sum()) * self._alone
        units = np.unique(self._catalogue.units[pieces]).tolist()
        return sum(self._cost(unit) for unit in units)

    def fetched(self, reads: Sequence[Read]) -> Fetched:
        """What carrying out ``reads`` will take: units are read once, by the first of them."""
        if self.array is not None:
            return Fetched(0, 0, 0)
        found = [
            self._reader.touched(box, steps)
            for box, steps in reads
            if all(lo < hi for lo, hi in box)
        ]
        if not found:
            return Fetched(0, 0, 0)
        pieces = np.unique(np.concatenate(found))
        decoded = int(self._catalogue.volumes(pieces).sum()) * self.spec.dtype.itemsize
        return Fetched(self._stored(pieces), len(pieces), decoded)

    def reading_nbytes(self, nbytes: int) -> int:
        """Bytes that a thread holds beside the values: a unit, and a piece that is decompressed.

        A unit that is kept by now is held by nobody in particular.
        """
        catalogue = self._catalogue
        if not len(catalogue.grid) or self.array is not None:
            return 0
        if self._largest is None:
            self._largest = catalogue.largest()
        unit, volume = self._largest
        held = volume * self.spec.dtype.itemsize if catalogue.is_compressed else 0
        if self._alone is not None:
            held += volume * self._alone
        elif not all(units.zero_copy for units in catalogue.holders) and not catalogue.told(
            unit, "kept"
        ):
            held += int(catalogue.told(unit, "decoded_nbytes"))
        return held

    def check(self) -> None:
        """``SourceChangedError`` if a file is not the one that was scanned."""
        for units in self._catalogue.holders:
            units.check()

    def _shards(self) -> tuple[int, ...] | None:
        """Extents of what is read at once, if that is more than a piece."""
        catalogue, grid = self._catalogue, self._catalogue.grid
        if not len(grid):
            return None
        mine = catalogue.units == catalogue.units[0]
        lo = grid.origins[mine].min(axis=0)
        hi = (grid.origins[mine] + grid.extents[mine]).max(axis=0)
        hull = tuple((hi - lo).tolist())
        return hull if int(mine.sum()) > 1 else None

    def _facts(self, uri: str, path: str, metadata: Mapping[str, Any]) -> Storage:
        spec, catalogue = self.spec, self._catalogue
        codecs = tuple([{"name": name} for name in catalogue.codecs if name is not None])
        facts = OmeArrowStorage(
            uri=uri,
            path=path,
            shape=spec.shape,
            chunks=tuple([n or 1 for n in spec.chunks]),
            shards=self._shards(),
            codecs=codecs,
            fill_value=None if self._fill is None else self._fill[()],
            metadata=MappingProxyType(dict(metadata)),
            key=self.key,
            itemsize=spec.dtype.itemsize,
            cells=prod([1 if cells is None else cells.count for cells in spec.grid]),
            catalogue=catalogue,
        )
        return cast("Storage", facts)  # the protocol cannot say that its fields are read only


class OmeArrowSource(_PieceSource):
    """One image, readable by box from any thread; dims t, c, z, y, x.

    ``fill_value``: what missing pieces, and null pixels, are; by default they are errors.
    ``reopen``: what a document says to open it again, beside what tells images of a file apart
    (``image.place``); None for what is only in memory.

    Raises ``DTypeError`` for a fill value that is no value of the image's dtype.
    """

    def __init__(
        self,
        image: Image,
        *,
        fill_value: Any = None,
        reopen: Mapping[str, Any] | None = None,
    ) -> None:
        self._image = image
        self._reopen = None if reopen is None else dict(reopen)
        meta = image.meta
        fill = fill_of(fill_value, meta.dtype)
        catalogue = catalogue_of([image], stacked=False)
        super().__init__(catalogue, meta.dtype, DIMS, meta.axes, fill)
        self.label = f"ome-arrow {image.where}"
        self.key = ("ome-arrow", image.units.identity, _identity(image), _fill_key(fill))

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._image, self._fill, self._reopen)

    @property
    def attrs(self) -> Mapping[str, Any]:
        """What the record says of the image beside what its axes do, read only."""
        # Images share what they have in common, lists of channels above all.
        return MappingProxyType(deepcopy(dict(self._image.meta.attrs)))

    @property
    def storage(self) -> Storage:
        """How the image is stored."""
        image = self._image
        uri = (self._reopen or {}).get("uri") or image.units.label
        path = ", ".join(str(value) for value in image.place.values())
        return self._facts(str(uri), path, {**image.meta.attrs, **image.place})

    def to_json(self) -> dict[str, Any]:
        """How to open it again; ``SerializationError`` for images that only live in memory."""
        if self._reopen is None:
            raise SerializationError(
                f"{self.label} lives in the memory of this process and cannot be opened elsewhere; "
                "write it to a file first"
            )
        document: dict[str, Any] = {"format": "ome-arrow", **self._reopen, **self._image.place}
        if self._fill is not None:
            document["fill_value"] = fill_to_json(self._fill)
        return document


class StackSource(_PieceSource):
    """Images of one shape and dtype, one behind the other along ``row``.

    ``fill_value``, ``reopen``: as for ``OmeArrowSource``; what ``reopen`` says is all that opens
    it again. An axis keeps what all images agree on.

    Raises ``ShapeError`` or ``DTypeError`` naming two images that differ.
    """

    def __init__(
        self,
        images: Sequence[Image],
        *,
        fill_value: Any = None,
        reopen: Mapping[str, Any] | None = None,
        label: str | None = None,
    ) -> None:
        if not images:
            raise ShapeError("a stack of no images has no shape")
        self._images = tuple(images)
        self._reopen = None if reopen is None else dict(reopen)
        first = images[0]
        for image in images:
            if image.meta.shape != first.meta.shape:
                raise ShapeError(
                    f"{first.where} has the shape {first.meta.shape}, and {image.where} "
                    f"{image.meta.shape}: images of different sizes are no stack"
                )
            if image.meta.dtype != first.meta.dtype:
                raise DTypeError(
                    f"{first.where} is {first.meta.dtype}, and {image.where} {image.meta.dtype}: "
                    "images of different dtypes are no stack"
                )
            if image.units.encoded != first.units.encoded:
                raise FormatError(
                    f"{first.where} and {image.where}: lists of numbers and bytes are no stack"
                )
        fill = fill_of(fill_value, first.meta.dtype)
        catalogue = catalogue_of(images, stacked=True)
        axes = (Axis("row"), *_common([image.meta.axes for image in images]))
        super().__init__(catalogue, first.meta.dtype, ("row", *DIMS), axes, fill)
        self.label = label or f"ome-arrow {first.where} and {len(images) - 1} more"
        self.key = (
            "ome-arrow rows",
            tuple([units.identity for units in catalogue.holders]),
            _identity(first),
            tuple([tuple(image.place.items()) for image in images]),
            _fill_key(fill),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore_stack, (self._images, self._fill, self._reopen, self.label)

    @property
    def attrs(self) -> Mapping[str, Any]:
        """None: those of the images differ."""
        return {}

    @property
    def storage(self) -> Storage:
        """How the images are stored."""
        uri = (self._reopen or {}).get("uri") or self._images[0].units.label
        return self._facts(str(uri), "", {})

    def to_json(self) -> dict[str, Any]:
        """How to open it again; ``SerializationError`` for images that only live in memory."""
        if self._reopen is None:
            raise SerializationError(
                f"{self.label}: a stack of rows cannot be opened elsewhere; serialize its images"
            )
        return dict(self._reopen)


def _identity(image: Image) -> Hashable:
    """What tells images of the same units apart."""
    meta = image.meta
    return tuple(image.place.items()), meta.shape, meta.dtype.str, meta.axes


def _fill_key(fill: np.ndarray | None) -> Hashable:
    return None if fill is None else fill.tobytes()


def _common(all_axes: Sequence[Sequence[Axis]]) -> list[Axis]:
    """Per dim the axis of all images; without what they do not agree on."""
    first = all_axes[0]
    if all(axes is first or axes == first for axes in all_axes):
        return list(first)
    found = []
    for alike in zip(*all_axes, strict=True):
        one = alike[0]
        same = all(axis == one for axis in alike)
        found.append(one if same else Axis(one.name, one.kind))
    return found


def _restore(
    image: Image, fill: np.ndarray | None, reopen: Mapping[str, Any] | None
) -> OmeArrowSource:
    return OmeArrowSource(image, fill_value=fill, reopen=reopen)


def _restore_stack(
    images: Sequence[Image],
    fill: np.ndarray | None,
    reopen: Mapping[str, Any] | None,
    label: str,
) -> StackSource:
    return StackSource(images, fill_value=fill, reopen=reopen, label=label)
