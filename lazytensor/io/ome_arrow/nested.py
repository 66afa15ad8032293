"""Nested columns of Arrow: the leaves of a type, and arrays without the leaves nobody asked for.

Lists have no names in paths (``container.Path``): what is below a list is below its items. Arrays
may be slices, whose children are not: ``field`` of a struct follows the slice, ``values`` of a list
does not, so everything here is said of arrays together with their offsets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.ome_arrow.arrow_files import arrow_errors
from lazytensor.io.ome_arrow.container import Path

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Wanted",
    "check_names",
    "is_list",
    "items_of",
    "leaves",
    "pruned",
    "pruned_type",
    "undressed",
    "valid",
    "wanted",
]

Wanted = Mapping[str, Any]
"""Names that are wanted, to what is wanted below them; an empty mapping: all."""


def wanted(paths: Sequence[Path]) -> dict[str, Any]:
    """Paths as a tree.

    >>> wanted([("image", "planes", "z"), ("image", "planes", "t"), ("label",)])
    {'image': {'planes': {'z': {}, 't': {}}}, 'label': {}}
    >>> wanted([("image",), ("image", "id")])
    {'image': {}}
    """
    tree: dict[str, Any] = {}
    for path in paths:
        level, known = tree, True
        for i, name in enumerate(path):
            if name in level and not level[name] and known:
                break  # all of it is wanted already
            known = name in level
            level = level.setdefault(name, {})
            if i == len(path) - 1:
                level.clear()
    return tree


def is_list(kind: pa.DataType) -> bool:
    """Whether a type is one of Arrow's lists."""
    import pyarrow as pa

    types = pa.types
    return bool(
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_list_view(kind)
        or types.is_large_list_view(kind)
        or types.is_fixed_size_list(kind)
    )


def items_of(kind: pa.DataType) -> pa.DataType:
    """The type below lists, however many, and extensions.

    >>> import pyarrow as pa
    >>> items_of(pa.list_(pa.list_(pa.int16())))
    DataType(int16)
    """
    import pyarrow as pa

    while True:
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        elif is_list(kind):
            kind = kind.value_type
        else:
            return kind


def undressed(array: pa.Array) -> pa.Array:
    """An array of the values themselves: no extension, no dictionary, no runs."""
    import pyarrow as pa
    import pyarrow.compute as pc

    while True:
        kind = array.type
        if isinstance(kind, pa.BaseExtensionType):
            array = array.storage
        elif pa.types.is_dictionary(kind):
            array = array.dictionary_decode()
        elif pa.types.is_run_end_encoded(kind):
            array = pc.run_end_decode(array)
        else:
            return array


def valid(array: pa.Array) -> np.ndarray | None:
    """Which items are not null, bool; None if all are not."""
    if not array.null_count:
        return None
    return np.asarray(array.is_valid().to_numpy(zero_copy_only=False))


def check_names(schema: pa.Schema, what: str) -> None:
    """``FormatError`` where a column cannot be told by its name, or a name is no text."""
    with arrow_errors(what):
        names = schema.names
        for field in schema:
            list(leaves(field.type, (field.name,)))
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise FormatError(f"{what} has two columns called {twice!r}")


def leaves(kind: pa.DataType, path: Path) -> Iterator[tuple[Path, pa.DataType]]:
    """The leaves of a type in the order in which Parquet stores them, and their types.

    >>> import pyarrow as pa
    >>> kind = pa.struct([("id", pa.string()), ("planes", pa.list_(pa.struct([("z", pa.int8())])))])
    >>> [path for path, _ in leaves(kind, ("image",))]
    [('image', 'id'), ('image', 'planes', 'z')]
    """
    import pyarrow as pa

    kind = items_of(kind)
    if pa.types.is_map(kind):
        yield from leaves(kind.key_type, path)
        yield from leaves(kind.item_type, path)
    elif pa.types.is_struct(kind):
        for field in kind:
            yield from leaves(field.type, (*path, field.name))
    else:
        yield path, kind


def pruned_type(kind: pa.DataType, names: Wanted) -> pa.DataType:
    """A type without the fields of structs that are not wanted; others are no matter."""
    import pyarrow as pa

    if not names:
        return kind
    if isinstance(kind, pa.BaseExtensionType):
        return pruned_type(kind.storage_type, names)
    if pa.types.is_struct(kind):
        return pa.struct(
            [
                field.with_type(pruned_type(field.type, names[field.name]))
                for field in kind
                if field.name in names
            ]
        )
    if is_list(kind):
        return _list_of(kind, pruned_type(kind.value_type, names))
    return kind


def _list_of(kind: pa.DataType, items: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    field, types = kind.value_field.with_type(items), pa.types
    if types.is_fixed_size_list(kind):
        return pa.list_(field, kind.list_size)
    for is_it, make in (
        (types.is_large_list, pa.large_list),
        (types.is_list_view, pa.list_view),
        (types.is_large_list_view, pa.large_list_view),
    ):
        if is_it(kind):
            return make(field)
    return pa.list_(field)


def pruned(array: pa.Array, names: Wanted) -> pa.Array:
    """An array without the fields of structs that are not wanted; nothing is copied but bitmaps."""
    import pyarrow as pa

    if not names:
        return array
    if isinstance(array, pa.ExtensionArray):
        return pruned(array.storage, names)
    kind = array.type
    if pa.types.is_struct(kind):
        fields = [i for i, field in enumerate(kind) if field.name in names]
        if not fields:
            # It has a length and nulls even so.
            return pa.Array.from_buffers(
                pa.struct([]), len(array), array.buffers()[:1], -1, array.offset
            )
        children = [pruned(array.field(i), names[kind.field(i).name]) for i in fields]
        types = [
            kind.field(i).with_type(child.type) for i, child in zip(fields, children, strict=True)
        ]
        nulls = array.is_null() if array.null_count else None
        return pa.StructArray.from_arrays(children, fields=types, mask=nulls)
    if is_list(kind):
        items = pruned(array.values, names)
        views = pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)
        own = 3 if views else 1 if pa.types.is_fixed_size_list(kind) else 2
        return pa.Array.from_buffers(
            _list_of(kind, items.type),
            len(array),
            array.buffers()[:own],
            -1,
            array.offset,
            children=[items],
        )
    return array
