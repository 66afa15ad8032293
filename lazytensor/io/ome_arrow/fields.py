"""Which columns of a table are images, and where in them things are.

Every writer has types of its own: lists of 16 or 64 bit numbers, strings of three kinds, fields in
the order of the specification or of the alphabet, some left out. So nothing is told by comparing
types. A column is an image if it is a struct with ``pixels_meta``, in which there are sizes, and
with ``planes`` or ``chunks``; a field is known by its name, and must be of a *category*: integers
of whatever width, lists of whatever kind. Where it is not, the column still is one of images, and
``problem`` says what is wrong to whoever wants one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from lazytensor.errors import FormatError
from lazytensor.io.ome_arrow.container import Path

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "CHUNK_PLACE", "PLANE_PLACE", "ImageColumn", "PieceList", "category", "choose", "image_columns",
    "plain",
]  # fmt: skip

PLANE_PLACE = ("t", "c", "z")
"""Fields that say where a plane is."""
CHUNK_PLACE = ("t", "c", "z", "y", "x", "shape_z", "shape_y", "shape_x")
"""Fields that say where a chunk is, and how large."""

_SIZES = ("size_t", "size_c", "size_z", "size_y", "size_x")
_RECOGNISED = frozenset({"size_y", "size_x"})
# Fields of a record and categories in which they mean something; in another one they mean nothing.
_TEXT = frozenset({"text", "integer"})
_NUMBER = frozenset({"float", "integer"})
_RECORD = {
    "type": _TEXT,
    "id": _TEXT,
    "name": _TEXT,
    "image_type": _TEXT,
    "acquisition_datetime": frozenset({"time", "text"}),
}
_PIXELS_META = {
    "type": frozenset({"text"}),
    **dict.fromkeys(_SIZES, frozenset({"integer"})),
    **{f"physical_size_{d}": _NUMBER for d in "zyx"},
    **{f"physical_size_{d}_unit": _TEXT for d in "zyx"},
    "channels": frozenset({"list"}),
}
_MAIN = "ome_arrow"
_IMAGES = "OME-Arrow images (structs with pixels_meta, and planes or chunks)"
_SHOWN = 12
_KEPT = 64
_found: dict[int, tuple[pa.Schema, dict[str, ImageColumn]]] = {}


@dataclass(frozen=True, slots=True)
class PieceList:
    """The field with the planes, or that with the chunks.

    ``field``: its name. ``place``: names of the fields that say where a piece is. ``numbers``,
    ``encoded``: the field with the pixels as a list, and as bytes; one is there, or both.
    ``dtype``, ``compression``: whether there is such a field. ``empty``: whether pixels are of
    Arrow's type null, so that there are none.
    """

    column: str
    field: str
    place: tuple[str, ...]
    numbers: str | None
    encoded: str | None
    dtype: bool
    compression: bool
    empty: bool = False

    def path(self, name: str) -> Path:
        """The path of a field of the pieces."""
        return (self.column, self.field, name)

    @property
    def index(self) -> tuple[Path, ...]:
        """Everything but pixels."""
        more = [name for name in ("dtype", "compression") if getattr(self, name)]
        return tuple(self.path(name) for name in (*self.place, *more))

    @property
    def pixels(self) -> tuple[Path, ...]:
        """The fields that hold pixels."""
        return tuple(self.path(name) for name in (self.numbers, self.encoded) if name is not None)


@dataclass(frozen=True, slots=True)
class ImageColumn:
    """A column of images.

    ``meta``: paths of what is known of an image as a whole. ``chunks``, ``planes``: where its
    pieces are; None where the column has none. ``problem``: why none of its images can be read.
    """

    name: str
    meta: tuple[Path, ...]
    chunks: PieceList | None = None
    planes: PieceList | None = None
    problem: str | None = None

    @property
    def lists(self) -> tuple[PieceList, ...]:
        """Chunks first: where a record has both, they are the same pixels."""
        return tuple(found for found in (self.chunks, self.planes) if found is not None)

    @property
    def encoded(self) -> bool:
        """Whether chunks are bytes."""
        return self.chunks is not None and self.chunks.encoded is not None

    @property
    def index(self) -> tuple[Path, ...]:
        """Paths of everything but pixels."""
        return (*self.meta, *(path for found in self.lists for path in found.index))

    @property
    def pixels(self) -> tuple[Path, ...]:
        """Paths of the pixels."""
        return tuple(path for found in self.lists for path in found.pixels)


def image_columns(schema: pa.Schema) -> dict[str, ImageColumn]:
    """The columns of a table that are images, by name, in the table's order.

    >>> import pyarrow as pa
    >>> sizes = {f"size_{d}": pa.int64() for d in "tczyx"}
    >>> plane = pa.struct({"t": pa.int8(), "c": pa.int8(), "z": pa.int8(),
    ...                    "pixels": pa.large_list(pa.uint8())})
    >>> image = pa.struct({"pixels_meta": pa.struct(sizes | {"type": pa.string()}),
    ...                    "planes": pa.list_(plane)})
    >>> found = image_columns(pa.schema({"well": pa.string(), "crop": image, "mask": pa.null()}))
    >>> {name: column.pixels for name, column in found.items()}
    {'crop': (('crop', 'planes', 'pixels'),)}
    """
    # The same object is asked about by everybody who opens the file.
    known = _found.get(id(schema))
    if known is not None and known[0] is schema:
        return dict(known[1])
    found: dict[str, ImageColumn] = {}
    for field in schema:
        column = _image_column(field.name, plain(field.type))
        if column is not None:
            found[field.name] = column
    for name in found:
        if len(schema.get_all_field_indices(name)) > 1:
            problem = f"expected one column called {name!r}, found several"
            found[name] = ImageColumn(name, (), problem=problem)
    for old in list(_found)[: max(0, len(_found) + 1 - _KEPT)]:
        _found.pop(old, None)
    _found[id(schema)] = schema, found
    return dict(found)


def choose(schema: pa.Schema, column: str | None, label: str) -> ImageColumn:
    """The column of images that is asked for; by default the only one, or that called "ome_arrow".

    ``label``: names the table in errors. Raises ``FormatError`` where there is none, or none of
    that name, or several to choose from; it lists them.

    >>> import pyarrow as pa
    >>> choose(pa.schema({"LABL": pa.null()}), "LABL", "a.parquet")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    lazytensor.errors.FormatError: a.parquet: column 'LABL' is all null (its Arrow type is null);...
    """
    found = image_columns(schema)
    if column is not None:
        if column not in found:
            raise FormatError(f"{label}: {_no_image(schema, column)}; {_seen(schema, found)}")
        return found[column]
    if not found:
        raise FormatError(f"{label}: expected a column of {_IMAGES}, found none; {_seen(schema)}")
    if len(found) > 1 and _MAIN not in found:
        raise FormatError(
            f"{label}: several columns of images; choose one with column=: {_listed(found)}"
        )
    return found[_MAIN] if len(found) > 1 else next(iter(found.values()))


def _no_image(schema: pa.Schema, column: str) -> str:
    import pyarrow as pa

    if column not in schema.names:
        return f"expected a column of images, found no column {column!r}"
    kind = plain(schema.field(schema.names.index(column)).type)
    if pa.types.is_null(kind):
        return f"column {column!r} is all null (its Arrow type is null)"
    return f"column {column!r}: expected {_IMAGES}, found {_typed(kind)}"


def _seen(schema: pa.Schema, found: Iterable[str] = ()) -> str:
    images = list(found)
    others = _listed(name for name in schema.names if name not in images)
    return f"columns of images: {_listed(images)}; others: {others}"


def plain(kind: pa.DataType) -> pa.DataType:
    """A type without what only dresses it: the storage of an extension type."""
    import pyarrow as pa

    while isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return kind


def category(kind: pa.DataType) -> str:
    """What values of a type are, however they are stored.

    One of ``integer float bool text bytes list struct time null other``.

    >>> import pyarrow as pa
    >>> category(pa.uint8()), category(pa.dictionary(pa.int8(), pa.large_string()))
    ('integer', 'text')
    """
    import pyarrow as pa

    known = _by_id().get(kind.id)
    if known is not None:
        return known
    kind, found = plain(kind), ""
    while pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        kind, found = plain(kind.value_type), "coded"
    for name, test in _tests():
        if test(kind):
            return "other" if found and name in ("list", "struct") else name
    return "other"


@cache
def _by_id() -> Mapping[int, str]:
    """Categories of the types that nearly all fields have, by Arrow's numbers of types."""
    import pyarrow as pa

    numbers = (pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32())
    kinds = {
        "integer": (*numbers, pa.int64(), pa.uint64()),
        "float": (pa.float16(), pa.float32(), pa.float64()),
        "text": (pa.string(), pa.large_string()),
        "bytes": (pa.binary(), pa.large_binary()),
        "list": (pa.list_(pa.null()), pa.large_list(pa.null())),
        "struct": (pa.struct([]),),
        "bool": (pa.bool_(),),
    }
    return {kind.id: name for name, some in kinds.items() for kind in some}


@cache
def _tests() -> Iterable[tuple[str, Callable[[Any], bool]]]:
    from pyarrow import types

    return (
        ("integer", types.is_integer),
        ("text", types.is_string),
        ("list", types.is_list),
        ("struct", types.is_struct),
        ("float", types.is_floating),
        ("bytes", types.is_large_binary),
        ("text", types.is_large_string),
        ("list", types.is_large_list),
        ("time", types.is_timestamp),
        ("null", types.is_null),
        ("bytes", types.is_binary),
        ("bytes", types.is_binary_view),
        ("bytes", types.is_fixed_size_binary),
        ("text", types.is_string_view),
        ("list", types.is_fixed_size_list),
        ("list", types.is_list_view),
        ("list", types.is_large_list_view),
        ("time", types.is_date),
        ("bool", types.is_boolean),
    )


def _image_column(name: str, kind: pa.DataType) -> ImageColumn | None:
    import pyarrow as pa

    if not pa.types.is_struct(kind):
        return None
    record = _children(kind)
    pixels = plain(record.get("pixels_meta", pa.null()))
    if not pa.types.is_struct(pixels) or not record.keys() & {"planes", "chunks"}:
        return None
    sizes = _children(pixels)
    if not sizes.keys() >= _RECOGNISED:
        return None
    try:
        _check(kind, ("pixels_meta", "planes", "chunks", "chunk_grid", *_RECORD), name)
        _check(pixels, tuple(_PIXELS_META), f"{name}.pixels_meta")
        _need(sizes, _SIZES, "integer", f"{name}.pixels_meta")
        _need(sizes, ("type",), "text", f"{name}.pixels_meta")
        chunks = _pieces(name, "chunks", CHUNK_PLACE, record)
        planes = _pieces(name, "planes", PLANE_PLACE, record)
    except _Problem as problem:
        return ImageColumn(name, (), problem=str(problem))
    meta: list[Path] = [(name, field) for field in _known(record, _RECORD)]
    meta += [(name, "pixels_meta", field) for field in _known(sizes, _PIXELS_META)]
    grid = plain(record.get("chunk_grid", pa.null()))
    if pa.types.is_struct(grid) and category(_children(grid).get("chunk_order", grid)) == "text":
        meta.append((name, "chunk_grid", "chunk_order"))
    return ImageColumn(name, tuple(meta), chunks, planes)


class _Problem(Exception):
    """Why no image of a column can be read."""


def _children(kind: pa.DataType) -> dict[str, pa.DataType]:
    return {field.name: field.type for field in kind}


def _known(
    children: Mapping[str, pa.DataType], wanted: Mapping[str, frozenset[str]]
) -> Iterable[str]:
    return [
        name
        for name, kinds in wanted.items()
        if name in children and category(children[name]) in kinds
    ]


def _check(kind: pa.DataType, names: Iterable[str], where: str) -> None:
    """Names that occur twice say nothing."""
    all_names = [field.name for field in kind]
    for name in names:
        if all_names.count(name) > 1:
            raise _Problem(f"{where}: expected one field {name!r}, found {all_names.count(name)}")


def _need(children: Mapping[str, pa.DataType], names: Iterable[str], kind: str, where: str) -> None:
    for name in names:
        if name not in children:
            raise _Problem(f"{where}: expected a field {name!r}, found {_listed(children)}")
        if category(children[name]) not in (kind, "null"):
            plural = {"integer": "integers", "text": "strings"}[kind]
            raise _Problem(f"{where}.{name}: expected {plural}, found {_typed(children[name])}")


def _pieces(
    column: str, field: str, place: tuple[str, ...], record: Mapping[str, pa.DataType]
) -> PieceList | None:
    if field not in record or category(record[field]) == "null":
        return None
    where = f"{column}.{field}"
    kind = plain(record[field])
    if category(kind) != "list":
        raise _Problem(f"{where}: expected a list of structs, found {_typed(kind)}")
    item = plain(kind.value_type)
    if category(item) == "null":  # lists that are all empty, of a type inferred from that
        return None
    if category(item) != "struct":
        raise _Problem(f"{where}: expected a list of structs, found {_typed(kind)}")
    children = _children(item)
    _check(item, (*place, "pixels", "pixel_bytes", "dtype", "compression"), where)
    _need(children, place, "integer", where)
    numbers = encoded = None
    for name in ("pixels", "pixel_bytes"):
        if name not in children:
            continue
        found = category(children[name])
        if found == "bytes":
            encoded = name
        elif found == "list" and _numeric(children[name]):
            numbers = name
        elif found != "null":
            text = _typed(children[name])
            raise _Problem(f"{where}.{name}: expected lists of numbers or bytes, found {text}")
    if not children.keys() & {"pixels", "pixel_bytes"}:
        raise _Problem(
            f"{where}: expected a field 'pixels' or 'pixel_bytes', found {_listed(children)}"
        )
    if numbers is None and encoded is None:
        numbers = "pixels" if "pixels" in children else "pixel_bytes"
        return PieceList(column, field, place, numbers, None, False, False, empty=True)
    texts = [name in children and category(children[name]) == "text" for name in _ENCODING]
    return PieceList(column, field, place, numbers, encoded, *texts)


_ENCODING = ("dtype", "compression")


def _numeric(kind: pa.DataType) -> bool:
    return category(plain(kind).value_type) in ("integer", "float", "bool", "null")


def _typed(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= 60 else text[:60] + "..."


def _listed(names: Iterable[str]) -> str:
    all_names = list(names)
    more = "" if len(all_names) <= _SHOWN else f" and {len(all_names) - _SHOWN} more"
    return f"{all_names[:_SHOWN]}{more}" if all_names else "none"
