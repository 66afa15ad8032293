"""Where the chunks of a dataset lie: what the index says, or what the chunks say themselves.

The index is small and read at once; the chunks' own columns are in as many row groups as there are
chunks, and reading them takes a hundred times as long. So the index is believed if it makes sense:
every image is tiled by a regular grid without a gap, no two chunks lie in one place. What it says
of a chunk is compared with the chunk when that is read (``dataset_units``); an index that makes no
sense is not looked at any further, as if there were none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.ome_arrow.container import Constants, Container
from lazytensor.io.ome_arrow.folder import CHUNKS

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "EXTENTS", "ORIGINS", "ChunkTable", "chunk_columns", "codes_of", "concatenated",
    "from_columns", "from_group", "from_index", "integers", "read_columns", "single_row",
    "texts",
]  # fmt: skip

ORIGINS = ("t", "c", "z", "y", "x")
EXTENTS = ("shape_t", "shape_c", "shape_z", "shape_y", "shape_x")
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class ChunkTable:
    """Chunks, in the order of the file, and where they are.

    ``images``: number of the image that each belongs to. ``ids``: their ``chunk_id``, None if they
    have none. ``origins``, ``extents``: ``(n, 5)``. ``fragments``: names of files; ``fragment``:
    which of them each is in, ``group`` of rows of it, and ``element`` in that group. All int64.
    ``dtypes``: names (objects), as each chunk has it; None where that is not known.
    """

    images: np.ndarray
    ids: np.ndarray | None
    origins: np.ndarray
    extents: np.ndarray
    fragments: tuple[str, ...]
    fragment: np.ndarray
    group: np.ndarray
    element: np.ndarray
    dtypes: np.ndarray | None = None

    def __len__(self) -> int:
        """How many chunks."""
        return len(self.images)

    def take(self, rows: Any) -> ChunkTable:
        """Some of the chunks."""
        return replace(
            self,
            images=self.images[rows],
            ids=None if self.ids is None else self.ids[rows],
            origins=self.origins[rows],
            extents=self.extents[rows],
            fragment=self.fragment[rows],
            group=self.group[rows],
            element=self.element[rows],
            dtypes=None if self.dtypes is None else self.dtypes[rows],
        )


def read_columns(container: Container, names: Sequence[str]) -> pa.Table:
    """Top-level columns of all of a table; those that it has not are left out."""
    import pyarrow as pa

    paths = [(name,) for name in names if name in container.schema.names]
    batches = [container.read(group, paths) for group in range(len(container.starts) - 1)]
    if batches:
        return pa.Table.from_batches(batches)
    return pa.schema([container.schema.field(name) for (name,) in paths]).empty_table()


def integers(table: pa.Table, name: str, where: str) -> np.ndarray:
    """A column of integers as int64; ``FormatError`` naming the row for nulls and anything else."""
    import pyarrow as pa

    column = _column(table, name, where)
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise FormatError(f"{where}: expected integers in column {name!r}, found {kind}")
    if column.null_count:
        raise FormatError(f"{where}: {name!r} of row {_first_null(column)} is null")
    try:
        found: np.ndarray = column.to_numpy()
        if found.dtype != np.int64:
            found = column.cast(pa.int64()).to_numpy() if found.dtype.kind == "f" else _wide(found)
    except (pa.ArrowInvalid, OverflowError) as error:
        raise FormatError(f"{where}: expected integers in column {name!r}: {error}") from None
    return found


def _wide(found: np.ndarray) -> np.ndarray:
    """Integers as int64; ``OverflowError`` for those beyond."""
    if found.dtype == np.uint64 and (found >> np.uint64(63)).any():
        raise OverflowError("there are values of 2^63 and more")
    return found.astype(np.int64)


def texts(table: pa.Table, name: str, where: str) -> pa.ChunkedArray:
    """A column of names as large strings, numbers among them too; it may have nulls."""
    import pyarrow as pa

    column = _column(table, name, where)
    try:
        return column.cast(pa.large_string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise FormatError(
            f"{where}: expected text in column {name!r}, found {column.type}"
        ) from None


def _column(table: pa.Table, name: str, where: str) -> pa.ChunkedArray:
    if table.column_names.count(name) != 1:
        seen = ", ".join(table.column_names[:_SHOWN]) or "none"
        raise FormatError(f"{where}: expected one column {name!r}, found columns {seen}")
    return table.column(name)


def _first_null(column: pa.ChunkedArray) -> int:
    return int(np.flatnonzero(column.is_null().to_numpy())[0])


def codes_of(names: pa.ChunkedArray, known: Sequence[str], where: str) -> np.ndarray:
    """Which of the known images each row belongs to; ``FormatError`` for others and nulls."""
    import pyarrow as pa
    import pyarrow.compute as pc

    codes = pc.index_in(names, value_set=pa.array(known, pa.large_string()))
    if codes.null_count:
        row = _first_null(codes)
        raise FormatError(
            f"{where}: row {row} is of image {names[row].as_py()!r}, which images.parquet does "
            f"not have"
        )
    found: np.ndarray = codes.cast(pa.int64()).to_numpy()
    return found


def _boxes(table: pa.Table, where: str) -> tuple[np.ndarray, np.ndarray]:
    origins = np.stack([integers(table, name, where) for name in ORIGINS], axis=1)
    extents = np.stack([integers(table, name, where) for name in EXTENTS], axis=1)
    return origins, extents


def from_index(
    index: Container, known: Sequence[str], shapes: np.ndarray, where: str
) -> ChunkTable | None:
    """What an index says; None if it makes no sense.

    ``known``: ids of the images, ``shapes``: their ``(n, 5)`` sizes. Raises ``FormatError`` for
    names of files that lead out of the folder: nobody writes these by mistake.
    """
    columns = (
        "image_id", "chunk_id", "row_group_id", "row_index_in_group", "fragment_path",
        *ORIGINS, *EXTENTS,
    )  # fmt: skip
    try:
        table = read_columns(index, columns)
        fragments, fragment = _fragments(table, where)
    except FormatError:
        # Whatever is wrong with it, the chunks say the same of themselves.
        return None
    for name in fragments:
        _check_inside(name, where)
    try:
        origins, extents = _boxes(table, where)
        found = ChunkTable(
            codes_of(texts(table, "image_id", where), known, where),
            integers(table, "chunk_id", where),
            origins,
            extents,
            fragments,
            fragment,
            integers(table, "row_group_id", where),
            integers(table, "row_index_in_group", where),
        )
    except FormatError:
        return None
    return found if _is_complete(found, shapes) else None


def _fragments(table: pa.Table, where: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of files, and which of them each row names; without a name it is the usual one."""
    if "fragment_path" not in table.column_names:
        return (CHUNKS,), np.zeros(len(table), np.int64)
    column = texts(table, "fragment_path", where).combine_chunks()
    encoded = column.fill_null(CHUNKS).dictionary_encode()
    if len(encoded) == 0:
        return (CHUNKS,), np.zeros(0, np.int64)
    return tuple(encoded.dictionary.to_pylist()), encoded.indices.to_numpy().astype(np.int64)


def _check_inside(name: str, where: str) -> None:
    """``FormatError`` unless it is the name of something in the folder."""
    parts = name.split("/")
    good = not ({"", ".", ".."} & set(parts) or any(mark in name for mark in ("\\", "\0", ":")))
    if not good:
        raise FormatError(
            f"{where}: fragment_path {name!r} is no name of a file in the folder of the dataset"
        )


def _is_complete(table: ChunkTable, shapes: np.ndarray) -> bool:
    """Whether every image is tiled by a regular grid, and every chunk in a place of its own.

    In a regular grid all chunks have the size of the largest one but those at the far edges. Chunks
    at distinct places of such a grid that are as many as the grid has places leave no gap.
    """
    origins, extents = table.origins, table.extents
    if not len(table):
        return not len(shapes)
    places = np.stack([table.fragment, table.group, table.element])
    if (shapes <= 0).any() or (extents <= 0).any() or (origins < 0).any() or (places < 0).any():
        return False
    if _repeated(places) or _repeated(np.concatenate([table.images[None], origins.T])):
        return False
    nominal = np.zeros_like(shapes)
    np.maximum.at(nominal, table.images, extents)
    if (nominal == 0).any():
        return False
    step, bounds = nominal[table.images], shapes[table.images]
    if (origins % step).any() or (extents != np.minimum(step, bounds - origins)).any():
        return False
    places_of_grid = np.ceil(shapes / nominal).prod(axis=1)
    counted = np.bincount(table.images, minlength=len(shapes))
    return bool((counted == places_of_grid).all())


def _repeated(columns: np.ndarray) -> bool:
    """Whether two columns of a matrix are the same."""
    ordered = columns[:, np.lexsort(columns)]
    return bool((ordered[:, 1:] == ordered[:, :-1]).all(axis=0).any())


def chunk_columns(container: Container) -> list[str]:
    """Columns that say what a chunk is: all but its pixels, as far as there are some."""
    wanted = ("image_id", "chunk_id", *ORIGINS, *EXTENTS, "dtype")
    return [name for name in wanted if name in container.schema.names]


def from_columns(
    container: Container, fragment: str, known: Sequence[str], where: str
) -> ChunkTable:
    """What the chunks of one file say of themselves; ``FormatError`` for what makes no sense."""
    starts = np.asarray(container.starts, np.int64)
    counts = np.diff(starts)
    groups = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    elements = np.arange(len(groups), dtype=np.int64) - starts[groups]
    names = chunk_columns(container)
    table = _of_single_rows(container, names) if (counts == 1).all() else None
    if table is None:
        table = read_columns(container, names)
    return _parsed(table, fragment, groups, elements, known, where)


def single_row(container: Container, group: int, names: Sequence[str]) -> Mapping[str, Any] | None:
    """The values of a group of a single row, if the footer has them: a tenth of what reading takes.

    None where it does not, and for containers that have no such thing.
    """
    return container.constants(group, names) if isinstance(container, Constants) else None


def _of_single_rows(container: Container, names: Sequence[str]) -> pa.Table | None:
    import pyarrow as pa

    rows = []
    for group in range(len(container.starts) - 1):
        row = single_row(container, group, names)
        if row is None:
            return None
        rows.append(row)
    if not rows:
        return None
    return pa.table({name: [row[name] for row in rows] for name in names})


def from_group(
    container: Container, group: int, fragment: str, known: Sequence[str], where: str
) -> ChunkTable:
    """What the chunks of one group of rows say of themselves, as ``from_columns``."""
    import pyarrow as pa

    batch = container.read(group, [(name,) for name in chunk_columns(container)])
    table = pa.Table.from_batches([batch])
    elements = np.arange(len(table), dtype=np.int64)
    return _parsed(table, fragment, np.full_like(elements, group), elements, known, where)


def _parsed(
    table: pa.Table,
    fragment: str,
    groups: np.ndarray,
    elements: np.ndarray,
    known: Sequence[str],
    where: str,
) -> ChunkTable:
    codes = codes_of(texts(table, "image_id", where), known, where)
    origins, extents = _boxes(table, where)
    has_ids, has_dtypes = (name in table.column_names for name in ("chunk_id", "dtype"))
    return ChunkTable(
        codes,
        integers(table, "chunk_id", where) if has_ids else None,
        origins,
        extents,
        (fragment,),
        np.zeros(len(table), np.int64),
        groups,
        elements,
        np.array(texts(table, "dtype", where).to_pylist(), object) if has_dtypes else None,
    )


def concatenated(tables: Sequence[ChunkTable]) -> ChunkTable:
    """The chunks of several files, one behind the other."""
    if len(tables) == 1:
        return tables[0]
    numbers: Mapping[str, int] = {
        name: number for number, name in enumerate(t.fragments[0] for t in tables)
    }
    ids = [table.ids for table in tables]
    dtypes = [
        np.full(len(table), None) if table.dtypes is None else table.dtypes for table in tables
    ]
    return ChunkTable(
        np.concatenate([table.images for table in tables]),
        None if any(found is None for found in ids) else np.concatenate(ids),  # type: ignore[arg-type]
        np.concatenate([table.origins for table in tables]),
        np.concatenate([table.extents for table in tables]),
        tuple(numbers),
        np.concatenate([table.fragment + number for number, table in enumerate(tables)]),
        np.concatenate([table.group for table in tables]),
        np.concatenate([table.element for table in tables]),
        np.concatenate(dtypes),
    )
