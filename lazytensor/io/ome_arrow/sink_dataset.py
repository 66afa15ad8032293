"""Writing typed chunk datasets: a table of images, a table of chunks, an index of it.

Chunks are encoded by the threads that compute them and written in the order in which they come,
each a row group of its own, or together with others if they are small. Where each of them is, is
what the index says. Beside chunks that are just being encoded, memory holds only that.

Images that are added to a dataset come behind what it has: that is copied as it is, since readers
look for chunks in one file only.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from lazytensor.errors import ShapeError, SinkExistsError
from lazytensor.io.ome_arrow.folder import CHUNKS, IMAGES, INDEX
from lazytensor.io.ome_arrow.metadata import TAG
from lazytensor.io.ome_arrow.model import DIMS
from lazytensor.io.ome_arrow.parquet_growing import Encoding, GrowingParquet, parquet_bytes
from lazytensor.io.ome_arrow.schemas import (
    DATASET,
    EXTRAS,
    VERSION,
    Written,
    chunks_schema,
    extras_of,
    file_metadata,
    image_row,
    images_schema,
    index_schema,
    layout_of,
    little,
)
from lazytensor.io.ome_arrow.sink_former import FormerDataset
from lazytensor.io.ome_arrow.sink_places import NOTE, Mode, dataset_place
from lazytensor.io.staging import named
from lazytensor.io.staging_remote import Place
from lazytensor.plan.sink import Runs, Target
from lazytensor.plan.source import Box

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["DatasetSink", "ids_beside"]

_LEAST_GROUP = 1 << 20
"""Bytes of pixels that a row group has at least, if there are so many."""

_MOST_CHUNK = (1 << 31) - (1 << 20)
"""Bytes of a page, which have 31 bits for their number."""

# The values in C order, their page, compressed, and the file that they become, which grows.
_COPIES = 5


class DatasetSink:
    """A folder with a typed chunk dataset.

    ``chunks``: extents along t, c, z, y, x. ``mode``: ``"append"`` adds to what is there, if there
    is something. Raises ``ShapeError`` for chunks that are too large, ``ValueError`` for attributes
    that are no JSON.
    """

    def __init__(
        self,
        place: Place,
        written: Written,
        chunks: tuple[int, ...],
        *,
        compression: str | None,
        mode: Mode = "create",
    ) -> None:
        nbytes = prod(chunks) * written.dtype.itemsize
        if nbytes > _MOST_CHUNK:
            raise ShapeError(
                f"chunks {chunks} of {written.dtype} have {nbytes} bytes; a chunk has at most "
                f"{_MOST_CHUNK}: give smaller chunks="
            )
        self.label = f"OME-Arrow {place.name}"
        self.places: tuple[str, ...] = (place.uri,)
        self._written = written
        self._chunks = chunks
        self._compression = compression
        self._extras = extras_of(written)
        self._place = dataset_place(place, mode, self.label)
        self._target = _ChunkTarget(self.label, written, chunks)
        self.targets: tuple[Target | np.ndarray, ...] = (self._target,)
        self._former: FormerDataset | None = None
        self._ids: tuple[str, ...] = ()

    def begin(self) -> None:
        """Reserve the place, and have what is there; raises ``SinkError``."""
        self._place.begin()
        encoding = Encoding(self._compression, plain=("dtype", "pixel_bytes"))
        folder = self._place.former
        if folder is None:
            growing = GrowingParquet(chunks_schema(), encoding, self._place.write)
            self._begin(growing, [], 0)
            return
        with named(self.label, "cannot be added to"):
            self._former = former = FormerDataset(folder, self.label)
        self._place.copy(former.path(CHUNKS), former.pages)
        growing = GrowingParquet(
            chunks_schema(), encoding, self._place.write, base=former.footer, start=former.pages
        )
        self._begin(growing, former.ids, former.next_chunk)

    def _begin(self, growing: GrowingParquet, taken: Sequence[str], first: int) -> None:
        self._ids = ids = ids_beside(taken, self._written, self.label)
        self._target.begin(growing, ids, first)

    def finish(self) -> None:
        """Write the tables of images and chunks, and let everybody see them."""
        self._target.finish()
        former = self._former
        images, index = self._images(), self._target.index()
        metadata = {**file_metadata(**{"ome.arrow.layout": DATASET})}
        extras: dict[str, Any] = {}
        if former is not None:
            images, index = former.images_before(images), former.index_before(index)
            metadata = {**former.metadata, **metadata}
            extras.update(former.extras)
        extras.update(dict.fromkeys(self._ids, self._extras))
        text = json.dumps(extras, separators=(",", ":"), allow_nan=False)
        encoding = Encoding(self._compression)
        images = images.replace_schema_metadata({**metadata, EXTRAS: text})
        note = self._note(len(images), len(index))
        self._place.publish(
            {
                IMAGES: parquet_bytes(images, encoding).to_pybytes(),
                INDEX: parquet_bytes(index, encoding).to_pybytes(),
                NOTE: json.dumps(note, indent=2).encode(),
            }
        )

    def abort(self) -> None:
        """Remove what was written."""
        self._place.abort()

    def _images(self) -> pa.Table:
        import pyarrow as pa

        rows = [
            image_row(self._written, number, image_id, self._chunks, self._compression)
            for number, image_id in enumerate(self._ids)
        ]
        return pa.Table.from_pylist(rows, schema=images_schema())

    def _note(self, images: int, chunks: int) -> dict[str, Any]:
        import pyarrow as pa

        shape = self._written.shape
        return {
            "type": TAG,
            "version": VERSION,
            "layout": DATASET,
            "image_count": images,
            "chunk_count": chunks,
            "choice": {
                "layout": layout_of(shape, self._chunks),
                "chunk_shape": list(self._chunks),
                "compression": self._compression,
                "rationale": f"chunks {self._chunks} of {shape}, {self._written.dtype}",
            },
            "package_versions": {"numpy": np.__version__, "pyarrow": pa.__version__},
        }


def ids_beside(taken: Sequence[str], written: Written, label: str) -> tuple[str, ...]:
    """Ids of images that are put beside others; ``SinkExistsError`` for one that is taken."""
    if written.ids is None:
        return _numbered_ids(written, taken)
    twice = set(written.ids) & set(taken)
    if twice:
        raise SinkExistsError(
            f"{label}: there is an image {min(twice)!r} already; give another image_id"
        )
    return written.ids


def _numbered_ids(written: Written, taken: Sequence[str]) -> tuple[str, ...]:
    """Ids of images for which none are given: their own if they have one, else a number."""
    own, used = written.attrs.get("id"), set(taken)
    if isinstance(own, str) and own and own not in used and written.images == 1:
        return (own,)
    fresh = (f"image-{number:05d}" for number in itertools.count(len(taken)))
    return tuple(itertools.islice((name for name in fresh if name not in used), written.images))


class _ChunkTarget:
    """Writes chunks."""

    runs: Runs = "any"

    def __init__(self, label: str, written: Written, chunks: tuple[int, ...]) -> None:
        self.label = label
        self.cells: tuple[int | None, ...] = chunks if written.rows is None else (1, *chunks)
        self._written = written
        self._chunks = chunks
        self._grid = tuple([-(-n // size) for n, size in zip(written.shape, chunks, strict=True)])
        self._nbytes = prod(chunks) * written.dtype.itemsize
        count = written.images * prod(self._grid)
        self._lock = threading.Lock()
        self._have = np.zeros(count, bool)
        self._group = np.zeros(count, np.int32)
        self._element = np.zeros(count, np.int32)
        self._waiting: list[tuple[int, np.ndarray]] = []
        self._waiting_nbytes = 0
        self._growing: GrowingParquet | None = None
        self._ids: tuple[str, ...] = ()
        self._first = 0

    def begin(self, growing: GrowingParquet, ids: tuple[str, ...], first: int) -> None:
        """Begin to write. ``first``: number of the first chunk in the dataset."""
        self._growing, self._ids, self._first = growing, ids, first
        self._have[:] = False
        self._waiting, self._waiting_nbytes = [], 0

    def held(self, nbytes: int) -> int:
        """A row group on its way into the file."""
        return _COPIES * (self._nbytes + (_LEAST_GROUP if self._nbytes < _LEAST_GROUP else 0))

    def write(self, box: Box, values: np.ndarray) -> None:
        """Write a chunk, or have it wait for others to be written with."""
        row = 0 if self._written.rows is None else box[0][0]
        places = [lo // n for (lo, _), n in zip(box[-5:], self._chunks, strict=True)]
        number = row * prod(self._grid) + int(np.ravel_multi_index(places, self._grid))
        with self._lock:
            if self._have[number]:
                return
            self._have[number] = True
        dtype = little(self._written.dtype)
        if self._nbytes >= _LEAST_GROUP:
            ordered = np.ascontiguousarray(values, dtype)
            self._put([(number, ordered.reshape(-1).view(np.uint8))])
            return
        copied = np.array(values, dtype, order="C").reshape(-1).view(np.uint8)
        self._put(self._with_others(number, copied))

    def _with_others(self, number: int, data: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """What is to be written now that there is one more."""
        with self._lock:
            self._waiting.append((number, data))
            self._waiting_nbytes += data.nbytes
            if self._waiting_nbytes < _LEAST_GROUP:
                return []
            some, self._waiting, self._waiting_nbytes = self._waiting, [], 0
        return some

    def _put(self, some: list[tuple[int, np.ndarray]]) -> None:
        """Write a row group."""
        if not some:
            return
        growing = self._growing
        assert growing is not None
        some = sorted(some, key=lambda pair: pair[0])
        numbers = np.array([number for number, _ in some], np.int64)
        try:
            group = growing.encoded(self._table(numbers, [data for _, data in some]))
            self._group[numbers] = growing.add(group)
        except BaseException:
            # Whoever tries again may.
            self._have[numbers] = False
            raise
        self._element[numbers] = np.arange(len(numbers))

    def finish(self) -> None:
        """Write what waits, and what the file ends with."""
        growing = self._growing
        assert growing is not None
        some, self._waiting, self._waiting_nbytes = self._waiting, [], 0
        self._put(some)
        growing.finish()

    def _places(self, numbers: np.ndarray) -> dict[str, Any]:
        """Columns that say which chunks these are."""
        import pyarrow as pa

        images, inside = np.divmod(numbers, prod(self._grid))
        indices = np.stack(np.unravel_index(inside, self._grid), axis=1)
        origins = (indices * self._chunks).astype(np.int32)
        extents = np.minimum(self._chunks, self._written.shape - origins).astype(np.int32)
        ids = [self._ids[image] for image in images.tolist()]
        return {
            "image_id": pa.array(ids, pa.string()),
            "chunk_id": pa.array(numbers + self._first),
            **{dim: pa.array(origins[:, d]) for d, dim in enumerate(DIMS)},
            **{f"shape_{dim}": pa.array(extents[:, d]) for d, dim in enumerate(DIMS)},
        }

    def _table(self, numbers: np.ndarray, data: Sequence[np.ndarray]) -> pa.Table:
        import pyarrow as pa

        ends = np.cumsum([0, *[one.nbytes for one in data]])
        pixels = data[0] if len(data) == 1 else np.concatenate(data)
        buffers = [None, pa.py_buffer(ends.astype(np.int64)), pa.py_buffer(pixels)]
        columns = self._places(numbers) | {
            "dtype": pa.array([self._written.dtype.name] * len(data), pa.string()),
            "pixel_bytes": pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(data), buffers),
        }
        return _table(columns, chunks_schema())

    def index(self) -> pa.Table:
        """Where all of them are."""
        import pyarrow as pa

        numbers = np.arange(len(self._have))
        columns = self._places(numbers) | {
            "row_group_id": pa.array(self._group),
            "row_index_in_group": pa.array(self._element),
            "fragment_path": pa.array([CHUNKS] * len(numbers), pa.string()),
        }
        return _table(columns, index_schema())


def _table(columns: dict[str, Any], schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)
