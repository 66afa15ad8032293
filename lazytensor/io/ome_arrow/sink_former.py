"""Datasets that are there and are added to: what they have, as far as that is written again.

Their chunks stay as they are and are not decoded: what is taken of that file is its bytes, and its
footer. The tables of images and of chunks, which are small, are read and written again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lazytensor.errors import SinkError
from lazytensor.io.ome_arrow.folder import CHUNKS, IMAGES, INDEX
from lazytensor.io.ome_arrow.parquet_growing import footer_start, has_columns
from lazytensor.io.ome_arrow.schemas import EXTRAS, chunks_schema, images_schema, index_schema

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FormerDataset"]


class FormerDataset:
    """A dataset that is there, and is added to. Raises ``SinkError`` for one that is not as
    expected.

    ``footer``: of its chunks (pyarrow's); ``pages``: bytes of that file before it.
    """

    def __init__(self, folder: str, label: str) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._folder = folder
        self._label = label
        try:
            with pq.ParquetFile(self.path(CHUNKS)) as file:
                self.footer, same = file.metadata, has_columns(file, chunks_schema())
                self._index = self._read_index(file)
            table = pq.read_table(self.path(IMAGES), memory_map=False)
            self._images = _as(table, images_schema())
        except (pa.ArrowException, KeyError, ValueError) as error:
            raise SinkError(f"{label}: images cannot be added to it: {error}") from error
        if not same:
            raise SinkError(
                f"{label}: the columns of its {CHUNKS} are not those of ome-arrow 0.1.0, and rows "
                f"cannot be added to it"
            )
        self.pages = footer_start(self.path(CHUNKS))
        found = dict(table.schema.metadata or {})
        self.extras: Mapping[str, Any] = json.loads(found.pop(EXTRAS.encode(), b"{}"))
        found.pop(b"ARROW:schema", None)
        self.metadata = {key.decode(): value for key, value in found.items()}
        self.ids = self._images["image_id"].to_pylist()
        known = self._index["chunk_id"].to_numpy()
        self.next_chunk = int(known.max()) + 1 if len(known) else 0

    def path(self, name: str) -> str:
        """Of one of the files."""
        return f"{self._folder}/{name}"

    def _read_index(self, chunks: Any) -> pa.Table:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if os.path.isfile(self.path(INDEX)):
            found = _as(pq.read_table(self.path(INDEX), memory_map=False), index_schema())
            if set(found["fragment_path"].to_pylist()) - {CHUNKS}:
                raise SinkError(f"{self._label}: its chunks are in files other than {CHUNKS}")
            if len(found) == chunks.metadata.num_rows:
                return found
        names = [name for name in index_schema().names if name in chunks.schema_arrow.names]
        table = chunks.read(columns=names)
        footer = chunks.metadata
        counts = [footer.row_group(n).num_rows for n in range(footer.num_row_groups)]
        groups = np.repeat(np.arange(len(counts)), counts)
        starts = np.cumsum([0, *counts])[:-1]
        more = {
            "row_group_id": pa.array(groups, pa.int32()),
            "row_index_in_group": pa.array(np.arange(len(groups)) - starts[groups], pa.int32()),
            "fragment_path": pa.array([CHUNKS] * len(groups), pa.string()),
        }
        return _as(pa.table({**{name: table[name] for name in names}, **more}), index_schema())

    def images_before(self, images: pa.Table) -> pa.Table:
        """Its images, and behind them others."""
        import pyarrow as pa

        return pa.concat_tables([self._images, images])

    def index_before(self, index: pa.Table) -> pa.Table:
        """Its chunks, and behind them others."""
        import pyarrow as pa

        return pa.concat_tables([self._index, index])


def _as(table: pa.Table, schema: pa.Schema) -> pa.Table:
    return table.select(schema.names).cast(schema)
