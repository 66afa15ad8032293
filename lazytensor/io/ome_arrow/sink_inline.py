"""Tables of images whose pixels are in them: rows of structs, made of arrays and not of objects."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lazytensor.io.ome_arrow.schemas import Written, file_metadata, little, record, struct_type

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Layout", "image_values", "inline_schema", "payloads", "rows_table"]

_PLACES = {"t": 0, "c": 1, "z": 2, "y": 3, "x": 4}
_EXTENTS = {"shape_z": 2, "shape_y": 3, "shape_x": 4}


class Layout(NamedTuple):
    """How the pixels of an image lie in its row.

    ``encoded``: as bytes of chunks, or as lists of the numbers of planes. ``pieces``: extents of
    these along t, c, z, y, x, the first two of which are 1. ``compression``: of the bytes of each
    chunk, or None.
    """

    written: Written
    encoded: bool
    pieces: tuple[int, ...]
    compression: str | None = None

    @property
    def grid(self) -> tuple[int, ...]:
        """How many pieces along each dim."""
        pairs = zip(self.written.shape, self.pieces, strict=True)
        return tuple([-(-n // size) for n, size in pairs])

    def boxes(self) -> tuple[np.ndarray, np.ndarray]:
        """Origins and extents of all pieces, in C order."""
        indices = np.stack(np.unravel_index(np.arange(prod(self.grid)), self.grid), axis=1)
        origins = indices * self.pieces
        return origins, np.minimum(self.pieces, self.written.shape - origins)


def inline_schema(column: str, layout: Layout) -> pa.Schema:
    """Of a file with nothing but images."""
    import pyarrow as pa

    return pa.schema([(column, struct_type(layout.encoded))], metadata=file_metadata())


def payloads(layout: Layout, values: np.ndarray) -> list[np.ndarray]:
    """The pixels of each piece of an image, of one dim: bytes, or numbers."""
    dtype = little(layout.written.dtype)
    found = []
    for origin, extent in zip(*layout.boxes(), strict=True):
        box = tuple([slice(a, a + n) for a, n in zip(origin, extent, strict=True)])
        found.append(np.ascontiguousarray(values[box], dtype).reshape(-1))
    return [one.view(np.uint8) if layout.encoded else numbers(one) for one in found]


def numbers(values: np.ndarray) -> np.ndarray:
    """Values as unsigned numbers of the same size, which they are but for bool."""
    return values.view(np.uint8) if values.dtype.kind == "b" else values


def image_values(layout: Layout, images: Sequence[np.ndarray], compressed: Any) -> pa.Array:
    """The pixels of all pieces of some images. ``compressed``: makes bytes of bytes, or None."""
    import pyarrow as pa

    found = [one for image in images for one in payloads(layout, image)]
    if not layout.encoded:
        ends = np.cumsum([0, *[len(one) for one in found]]).astype(np.int32)
        joined = np.concatenate(found) if found else np.empty(0, np.uint16)
        return pa.ListArray.from_arrays(pa.array(ends), pa.array(joined.astype(np.uint16)))
    if compressed is not None:
        return pa.array([compressed(one) for one in found], pa.large_binary())
    ends = np.cumsum([0, *[one.nbytes for one in found]])
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(np.concatenate(found))]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(found), buffers)


def rows_table(
    layout: Layout,
    first: int,
    ids: Sequence[str],
    pixels: pa.Array | None,
    schema: pa.Schema,
    column: str,
) -> pa.Table:
    """Rows of images from the ``first`` on.

    ``pixels``: of all their pieces; None if they are written elsewhere. ``schema``: of the file;
    columns of it that hold other things are null.
    """  # fmt: skip
    import pyarrow as pa

    kind = schema.field(column).type
    grid = layout.pieces if layout.encoded else None
    records = [record(layout.written, first + n, name, grid) for n, name in enumerate(ids)]
    rows = pa.array(records, kind)
    fields = list(rows.flatten())
    where = kind.get_field_index("chunks" if layout.encoded else "planes")
    fields[where] = _pieces(layout, len(ids), pixels, kind.field(where).type)
    images = pa.StructArray.from_arrays(fields, fields=list(kind))
    arrays = [
        images if field.name == column else pa.nulls(len(ids), field.type) for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _pieces(layout: Layout, count: int, pixels: pa.Array | None, kind: Any) -> pa.Array:
    """A list of pieces for each of some images."""
    import pyarrow as pa

    origins, extents = layout.boxes()
    number = len(origins) * count
    arrays = []
    for field in kind.value_type:
        if field.name in _PLACES:
            along = np.tile(origins[:, _PLACES[field.name]], count)
        elif field.name in _EXTENTS:
            along = np.tile(extents[:, _EXTENTS[field.name]], count)
        else:
            texts = {"dtype": layout.written.dtype.name, "compression": layout.compression}
            if field.name in texts:
                arrays.append(pa.array([texts[field.name]] * number, field.type))
            else:
                nothing = pa.nulls(number, field.type)
                arrays.append(nothing if pixels is None else pixels.cast(field.type))
            continue
        arrays.append(pa.array(along).cast(field.type))
    items = pa.StructArray.from_arrays(arrays, fields=list(kind.value_type))
    ends = np.arange(count + 1, dtype=np.int32) * len(origins)
    return pa.ListArray.from_arrays(pa.array(ends), items, type=kind)
