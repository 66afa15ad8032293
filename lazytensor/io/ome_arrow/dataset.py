"""Images of a folder with a table of images and a table of their chunks.

``images.parquet`` has a row for each image, ``chunks.parquet`` one for each chunk with the bytes of
its pixels, and ``index.parquet``, which may be missing, says where each chunk is. The folder is
opened by the first and the last of them, a few kilobytes each.

The format has no place for voxel sizes, units and times. ``sink_ome_arrow`` writes them to the
metadata of ``images.parquet``, which other readers leave alone: under ``lazytensor.images`` JSON
``{"<image_id>": {"axes": [{"name", "kind", "unit", "scale", "offset", "labels"}, ...], "attrs":
{...}, "origin": [...]}}``, each of which may be left out.

Rules: ``dataset.py`` of the package ome-arrow, 0.1.0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from lazytensor.errors import FormatError, SourceChangedError, SourceNotFoundError
from lazytensor.io.ome_arrow.container import Container
from lazytensor.io.ome_arrow.dataset_index import (
    ChunkTable,
    from_columns,
    from_index,
    integers,
    read_columns,
    texts,
)
from lazytensor.io.ome_arrow.dataset_units import ChunkUnits, dtype_differs
from lazytensor.io.ome_arrow.folder import CHUNKS, IMAGES, INDEX, Folder
from lazytensor.io.ome_arrow.model import DIMS, Image, ImageMeta, NoImageError, Pieces
from lazytensor.io.place import BufferStore
from lazytensor.io.store import Loaded, StoredObject
from lazytensor.io.store_memory import Identity
from lazytensor.io.zarr.document import Fields, describe, parse_json
from lazytensor.plan.spec import Axis

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["EXTRA_KEY", "Dataset", "open_dataset"]

EXTRA_KEY = b"lazytensor.images"
"""Key of the metadata of ``images.parquet`` under which there is what it has no columns for."""

_MAGIC, _END = b"PAR1", 8
_SIZES = ("size_t", "size_c", "size_z", "size_y", "size_x")
_TEXTS = ("dtype", "name", "image_type", "channels_json")
_SHOWN = 20
_LEAST = -(1 << 62)


def open_dataset(folder: Folder, *, verified: bool = False) -> Dataset:
    """The dataset in a folder; none of its pixels is read, nor the table that they are in.

    ``verified``: believe the chunks, and nothing that an index says of them.

    Raises ``SourceNotFoundError`` for a file that is missing, ``FormatError`` for images of the
    same id, columns that are missing or null, chunks of images that there are not.
    """
    folder = folder if folder.present is not None else folder.looked_at()
    present = folder.present or frozenset()
    for name in (IMAGES, CHUNKS):
        if name not in present:
            raise SourceNotFoundError(f"ome-arrow dataset {folder.name} has no {name!r}")
    names = [IMAGES, INDEX] if INDEX in present and not verified else [IMAGES]
    if not folder.store.remote:
        return Dataset(folder, folder.open(IMAGES), None, None, verified=verified)
    # They are small: all of each in one request, and all requests at once.
    loaded = folder.load(names)
    tables = [_in_memory(folder, name, one) for name, one in zip(names, loaded, strict=True)]
    state = (folder.key(IMAGES), loaded[0].token)
    return Dataset(folder, tables[0], state, (*tables, None)[1], verified=verified)


def _in_memory(folder: Folder, name: str, loaded: Loaded) -> Container | None:
    """A table that was loaded as a whole; None for an index that is none."""
    from lazytensor.io.ome_arrow.containers import container_at

    key = f"{folder.name}/{name}"
    try:
        return container_at(BufferStore(loaded.data, key), key)
    except FormatError:
        if name == INDEX:
            return None
        raise


class Dataset:
    """An open dataset. ``images``: the table of images.

    ``state``: what tells ``images`` from another state of the file, if that itself does not.
    ``index``: the index, if it was opened.
    """

    def __init__(
        self,
        folder: Folder,
        images: Container | None,
        state: Hashable,
        index: Container | None,
        *,
        verified: bool,
    ) -> None:
        assert images is not None
        self.folder = folder
        self.images = images
        self.name = folder.name
        self._state = state
        self._index_table = index
        self._where = f"{folder.name}/{IMAGES}"
        self._verified = verified
        self.ids = self._read_ids()
        self._numbers = {name: number for number, name in enumerate(self.ids)}
        if len(self._numbers) != len(self.ids):
            seen: set[str] = set()
            twice = next(name for name in self.ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            raise FormatError(f"{self._where}: several images have the image_id {twice!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.folder, self.images, self._state, self._index_table, self._verified)

    def __len__(self) -> int:
        """How many images."""
        return len(self.ids)

    @cached_property
    def _table(self) -> pa.Table:
        return read_columns(self.images, self.images.schema.names)

    def _read_ids(self) -> list[str]:
        column = texts(self._table, "image_id", self._where)
        ids: list[str] = column.to_pylist()
        if None in ids:
            raise FormatError(f"{self._where}: image_id of row {ids.index(None)} is null")  # type: ignore[arg-type]
        return ids

    @cached_property
    def _index(self) -> ChunkTable | None:
        """What the index says of the chunks, if there is one that makes sense."""
        if INDEX not in (self.folder.present or ()) or self._verified:
            return None
        try:
            sizes = [integers(self._table, name, self._where) for name in _SIZES]
        except FormatError:
            # Whoever wants that image is told; what the index says cannot be judged.
            return None
        try:
            index = self._index_table
            if index is None:
                index = self.folder.open(INDEX)
        except FormatError:
            # It is no table. What it would say, the chunks say as well.
            return None
        return from_index(index, self.ids, np.stack(sizes, axis=1), f"{self.name}/{INDEX}")

    @cached_property
    def _chunks(self) -> tuple[ChunkTable, np.ndarray, np.ndarray]:
        """All chunks; their order by image, and where each image begins in that."""
        table = self._index
        if table is None:
            where = f"{self.name}/{CHUNKS}"
            table = from_columns(self.folder.open(CHUNKS), CHUNKS, self.ids, where)
        order = np.argsort(table.images, kind="stable")
        starts = np.searchsorted(table.images[order], np.arange(len(self.ids) + 1))
        return table, order, starts

    @cached_property
    def _tokens(self) -> dict[str, Hashable | None]:
        """Of the files of chunks, as they are now: how they end is seen at once."""
        names, store = self._chunks[0].fragments, self.folder.store
        opened = store.open_many([self.folder.key(name) for name in names], (-_END, 0))
        try:
            for name, file in zip(names, opened, strict=True):
                self._check_file(name, file)
            return {name: file and file.state for name, file in zip(names, opened, strict=True)}
        finally:
            for file in opened:
                if file is not None:
                    file.close()

    def _check_file(self, name: str, file: StoredObject | None) -> None:
        if file is None:
            raise FormatError(f"{self.name}/{INDEX}: fragment_path names {name!r}: there is none")
        end = bytes(file.read(max(0, file.size - _END), min(file.size, _END)))
        length = int.from_bytes(end[:4], "little")
        if not end.endswith(_MAGIC) or file.size < length + _END + len(_MAGIC):
            raise FormatError(
                f"{self.name}/{name}: expected a Parquet file, which ends with a footer and "
                f"{_MAGIC!r}, found {file.size} bytes that end with {end!r}; it is damaged, or was "
                f"cut off"
            )

    @cached_property
    def units(self) -> ChunkUnits:
        """What holds the pixels of all images."""
        table, tokens = self._chunks[0], self._tokens
        root = (self.folder.store.identity, self.folder.root)
        state = self.images.identity if self._state is None else self._state
        identity = ("ome-arrow-dataset", root, state, *tokens.items())
        if None in tokens.values():
            # Nobody can tell whether it is the same next time.
            identity = (*identity, Identity(object()))
        return ChunkUnits(
            self.folder,
            table,
            proven=self._index is None,
            ids=self.ids,
            dtypes=self._dtypes,
            tokens=tokens,
            identity=(*identity, self._index is None),
            reopen=(_units_again, (self.folder, self._verified, tokens)),
        )

    @cached_property
    def _dtypes(self) -> list[np.dtype | None]:
        """Of the images; None where nobody knows it."""
        names = texts(self._table, "dtype", self._where).to_pylist()
        known = {name: _known_dtype(name, self._where) for name in set(names)}
        return [known[name] for name in names]

    def number(self, image_id: str) -> int:
        """The row of an image; an error that is a ``KeyError`` too if there is none."""
        found = self._numbers.get(str(image_id))
        if found is None:
            shown = ", ".join(map(repr, self.ids[:_SHOWN])) + ", ..." * (len(self.ids) > _SHOWN)
            raise NoImageError(
                f"ome-arrow dataset {self.name} has no image {image_id!r}; it has {shown or 'none'}"
            )
        return found

    def meta(self, row: int) -> ImageMeta:
        """What the folder says of an image; ``FormatError`` if that makes no sense."""
        from lazytensor.io.ome_arrow.metadata import meta_of

        where = self._where_of(row)
        fields = {
            name: self._table.column(name)[row].as_py()
            for name in (*_SIZES, *_TEXTS)
            if name in self._table.column_names
        }
        sizes = {name: fields.get(name) for name in _SIZES}
        pixels = {"type": fields.get("dtype"), **sizes, "channels": _channels(fields, where)}
        record = {
            "id": self.ids[row],
            "name": fields.get("name"),
            "image_type": fields.get("image_type"),
            "pixels_meta": pixels,
        }
        meta = meta_of(record, where)
        extra = self._extra(row)
        return meta if extra is None else _with_extra(meta, extra)

    def origin(self, row: int) -> tuple[int, ...]:
        """Coordinates of the first element of an image."""
        extra = self._extra(row)
        if extra is None or extra.document.get("origin") is None:
            return (0,) * len(DIMS)
        origin = extra.items("origin")
        good = all(type(n) is int and _LEAST <= n <= -_LEAST for n in origin)
        if len(origin) != len(DIMS) or not good:
            raise extra.wrong("origin", f"{len(DIMS)} integers, one per dimension")
        return tuple(origin)

    def image(self, row: int) -> Image:
        """An image, which can be read."""
        meta = self.meta(row)
        table, order, starts = self._chunks
        rows = order[starts[row] : starts[row + 1]]
        units = self.units
        mine = table.take(rows)
        _check_boxes(mine, meta, lambda at: units.place_of(int(rows[at])))
        pieces = Pieces(
            mine.origins,
            mine.extents,
            units.numbers[rows],
            mine.element,
            odd=_odd(mine, meta, units, rows),
        )
        return Image(meta, pieces, units, self._where_of(row), {"image_id": self.ids[row]})

    def _where_of(self, row: int) -> str:
        return f"{self.name}[{self.ids[row]!r}]"

    @cached_property
    def _extras(self) -> Fields | None:
        data = self.images.metadata.get(EXTRA_KEY)
        where = f"{self._where}: {EXTRA_KEY.decode()}"
        return None if data is None else Fields(parse_json(data, where), where)

    def _extra(self, row: int) -> Fields | None:
        extras, name = self._extras, self.ids[row]
        return None if extras is None or name not in extras.document else extras.fields(name)


def _again(
    folder: Folder, images: Container, state: Hashable, index: Container | None, verified: bool
) -> Dataset:
    return Dataset(folder, images, state, index, verified=verified)


def _units_again(
    folder: Folder, verified: bool, tokens: Mapping[str, Hashable | None]
) -> ChunkUnits:
    """The units of a dataset, in another process; ``SourceChangedError`` if it has changed."""
    units = open_dataset(folder.looked_at(), verified=verified).units
    for name, token in tokens.items():
        if folder.store.changed(folder.key(name), token):
            raise SourceChangedError(f"{folder.name}/{name} has changed since it was scanned")
    return units


def _known_dtype(name: str | None, where: str) -> np.dtype | None:
    from lazytensor.io.ome_arrow.metadata import dtype_of

    try:
        return None if name is None else dtype_of(name, where)
    except FormatError:
        # Whoever asks for an image of it is told.
        return None


def _channels(fields: Mapping[str, Any], where: str) -> list[Any] | None:
    text = fields.get("channels_json")
    if not text:
        return None
    try:
        channels = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}: channels_json: expected JSON: {error}") from None
    if channels is not None and not isinstance(channels, list):
        raise FormatError(f"{where}: channels_json: expected a list, found {describe(channels)}")
    return channels


def _check_boxes(mine: ChunkTable, meta: ImageMeta, place: Callable[[int], str]) -> None:
    """``FormatError`` for a chunk that is not in its image."""
    shape = np.array(meta.shape, np.int64)
    inside = (mine.origins >= 0) & (mine.extents > 0) & (mine.extents <= shape - mine.origins)
    wrong = np.flatnonzero(~inside.all(axis=1))
    if wrong.size:
        at = int(wrong[0])
        raise FormatError(
            f"{place(at)} of extents {tuple(mine.extents[at].tolist())} does not lie in the image "
            f"of {meta.shape}"
        )


def _odd(mine: ChunkTable, meta: ImageMeta, units: ChunkUnits, rows: np.ndarray) -> dict[int, str]:
    """What is wrong with the dtypes of single chunks, as far as these are known."""
    if mine.dtypes is None or set(mine.dtypes.tolist()) <= {None, meta.dtype.name}:
        return {}
    wrong = {
        at: dtype_differs(name, meta.dtype, units.label) for at, name in enumerate(mine.dtypes)
    }
    return {
        at: f"{units.place_of(int(rows[at]))}: {text}"
        for at, text in wrong.items()
        if text is not None
    }


def _with_extra(meta: ImageMeta, extra: Fields) -> ImageMeta:
    attrs = {**meta.attrs, **extra.fields("attrs", optional=True).document}
    if extra.document.get("axes") is None:
        return replace(meta, attrs=attrs)
    axes = extra.objects("axes")
    if len(axes) != len(DIMS):
        raise extra.wrong("axes", f"{len(DIMS)} objects, one per dimension")
    parsed = tuple(map(_axis, axes, DIMS, meta.shape))
    return replace(meta, attrs=attrs, axes=parsed)


def _axis(fields: Fields, name: str, size: int) -> Axis:
    texts = {
        key: None if fields.document.get(key) is None else fields.text(key)
        for key in ("kind", "unit")
    }
    labels = fields.document.get("labels")
    if labels is not None:
        labels = fields.items("labels")
        if len(labels) != size or not all(isinstance(label, str) for label in labels):
            raise fields.wrong("labels", f"{size} strings")
    return Axis(
        name,
        texts["kind"],
        texts["unit"],
        None if fields.document.get("scale") is None else fields.number("scale"),
        0.0 if fields.document.get("offset") is None else fields.number("offset"),
        None if labels is None else tuple(labels),
    )
