"""Which arrays and buffers of a record batch belong to which field, and arrays made of them.

A batch has one list of arrays (their lengths) and one of buffers, in the order of the schema, the
outer before the inner. So the fields alone say which numbers each has; what is wanted is then made
of the buffers that it takes, and the others are never looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from lazytensor.errors import FormatError
from lazytensor.io.ome_arrow.ipc_messages import Batch
from lazytensor.io.ome_arrow.nested import Wanted

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["LIST", "STRUCT", "Layout", "Slot", "buffers_of", "is_plain", "layout_of", "made"]


STRUCT, LIST, BYTES, LEAF, OTHER = "struct", "list", "bytes", "leaf", "other"
"""Forms of fields: with names below them, with items, byte strings, others made of own buffers, and
those that take more (dictionaries, unions, runs)."""


class Slot(NamedTuple):
    """A field: the number of its array, its buffers [first, last), and what is below it."""

    name: str
    type: pa.DataType
    form: str
    node: int
    first: int
    last: int
    children: tuple[Slot, ...]


@cache
def _forms() -> dict[int, tuple[str, int]]:
    """Form and number of own buffers of types by their ids; others are leaves with two."""
    from pyarrow import lib

    return {
        lib.Type_NA: (LEAF, 0),
        lib.Type_STRUCT: (STRUCT, 1),
        lib.Type_LIST: (LIST, 2),
        lib.Type_LARGE_LIST: (LIST, 2),
        lib.Type_LIST_VIEW: (LIST, 3),
        lib.Type_LARGE_LIST_VIEW: (LIST, 3),
        lib.Type_FIXED_SIZE_LIST: (LIST, 1),
        lib.Type_MAP: (LIST, 2),
        lib.Type_BINARY: (BYTES, 3),
        lib.Type_LARGE_BINARY: (BYTES, 3),
        lib.Type_STRING: (BYTES, 3),
        lib.Type_LARGE_STRING: (BYTES, 3),
        lib.Type_FIXED_SIZE_BINARY: (BYTES, 2),
        lib.Type_BINARY_VIEW: (LEAF, _VIEWS),
        lib.Type_STRING_VIEW: (LEAF, _VIEWS),
        lib.Type_DICTIONARY: (OTHER, 2),
        lib.Type_RUN_END_ENCODED: (OTHER, 0),
        lib.Type_SPARSE_UNION: (OTHER, 1),
        lib.Type_DENSE_UNION: (OTHER, 2),
    }


_VIEWS = -1
_PLAIN = (LEAF, 2)


class _Counter:
    def __init__(self, variadic: Sequence[int]) -> None:
        self.node = self.buffer = 0
        self.views = iter(variadic)

    def slot(self, name: str, kind: pa.DataType) -> Slot:
        import pyarrow as pa

        while isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        form, own = _forms().get(kind.id, _PLAIN)
        if own == _VIEWS:
            count = next(self.views, None)
            if count is None:
                raise FormatError("a record batch does not say how many buffers its views have")
            own = 2 + count
        node, first = self.node, self.buffer
        self.node += 1
        self.buffer += own
        children = () if form in (LEAF, BYTES) else self._children(form, kind)
        return Slot(name, kind, form, node, first, first + own, children)

    def _children(self, form: str, kind: pa.DataType) -> tuple[Slot, ...]:
        import pyarrow as pa

        if form == LIST:
            if pa.types.is_map(kind):
                items: pa.DataType = pa.struct([kind.key_field, kind.item_field])
                return (self.slot("", items),)
            return (self.slot("", kind.value_type),)
        if pa.types.is_dictionary(kind):
            return ()
        if pa.types.is_run_end_encoded(kind):
            return self.slot("", kind.run_end_type), self.slot("", kind.value_type)
        return tuple(self.slot(field.name, field.type) for field in kind)


class Layout(NamedTuple):
    """The columns of a schema, and how many arrays and buffers a batch of it has."""

    slots: tuple[Slot, ...]
    nodes: int
    buffers: int

    def of(self, batch: Batch) -> tuple[Slot, ...]:
        """The columns of a batch. Raises ``FormatError`` if it is not one of that schema."""
        if (self.nodes, self.buffers) != (len(batch.nodes), len(batch.buffers)):
            raise FormatError(
                f"a record batch has {len(batch.nodes)} arrays and {len(batch.buffers)} buffers, "
                f"and its schema {self.nodes} and {self.buffers}"
            )
        for slot in self.slots:
            if batch.nodes[slot.node, 0] != batch.rows:
                raise FormatError(
                    f"column {slot.name!r} has {batch.nodes[slot.node, 0]} of {batch.rows} rows"
                )
        return self.slots


@lru_cache(64)
def layout_of(schema: pa.Schema, variadic: tuple[int, ...]) -> Layout:
    """The layout of all batches whose views have so many buffers."""
    counter = _Counter(variadic)
    slots = tuple(counter.slot(field.name, field.type) for field in schema)
    return Layout(slots, counter.node, counter.buffer)


def is_plain(slot: Slot, names: Wanted) -> bool:
    """Whether what is wanted of a field is made of its own buffers, without dictionaries."""
    if slot.form == OTHER:
        return False
    return all(is_plain(child, below) for child, below in _wanted_below(slot, names))


def _wanted_below(slot: Slot, names: Wanted) -> list[tuple[Slot, Wanted]]:
    if slot.form == STRUCT and names:
        return [(child, names[child.name]) for child in slot.children if child.name in names]
    below = names if slot.form == LIST else {}
    return [(child, below) for child in slot.children]


def buffers_of(slot: Slot, names: Wanted, hollow: Slot | None = None) -> list[int]:
    """The numbers of the buffers that ``made`` takes."""
    if slot is hollow:
        return list(range(slot.first, slot.first + _frame(slot)))
    found = list(range(slot.first, slot.last))
    for child, below in _wanted_below(slot, names):
        found += buffers_of(child, below, hollow)
    return found


def _frame(slot: Slot) -> int:
    """How many buffers of a list, or of bytes, say where its items are."""
    own = slot.last - slot.first
    return own if slot.form == LIST else own - 1


def made(
    slot: Slot,
    names: Wanted,
    batch: Batch,
    buffers: Mapping[int, pa.Buffer],
    hollow: Slot | None = None,
) -> pa.Array:
    """The array of a field, of structs only the wanted fields.

    ``hollow``: a list, or bytes, of which only is wanted where its items are: it becomes a list of
    nulls. Arrow checks that buffers are as long as they must be; offsets are not looked at.
    """
    import pyarrow as pa

    length, nulls = (int(n) for n in batch.nodes[slot.node])
    if pa.types.is_null(slot.type):
        return _nulls(length)
    whole = slot is not hollow
    last = slot.last if whole else slot.first + _frame(slot)
    own: list[Any] = [buffers[i] for i in range(slot.first, last)]
    if not nulls:
        own[0] = None
    nulls = -1 if nulls else 0
    if not whole:
        items = _nulls(_items_of(slot, length, batch))
        kind = _lists(slot.type, items.type)
        return pa.Array.from_buffers(kind, length, own, nulls, children=[items])
    below = _wanted_below(slot, names)
    children = [made(child, more, batch, buffers, hollow) for child, more in below]
    kind = slot.type
    if slot.form == STRUCT:
        fields = [child.name for child, _ in below]
        kind = pa.struct(list(zip(fields, (array.type for array in children), strict=True)))
    elif slot.form == LIST and not pa.types.is_map(kind):
        kind = _lists(kind, children[0].type)
    return pa.Array.from_buffers(kind, length, own, nulls, children=children)


def _nulls(length: int) -> pa.Array:
    """Nulls that take no memory, however many a file claims that there are."""
    import pyarrow as pa

    return pa.Array.from_buffers(pa.null(), length, [None])


def _lists(kind: pa.DataType, items: pa.DataType) -> pa.DataType:
    """Lists (or bytes) of other items."""
    import pyarrow as pa

    types = pa.types
    if types.is_fixed_size_list(kind):
        return pa.list_(items, kind.list_size)
    if types.is_fixed_size_binary(kind):
        return pa.list_(items, kind.byte_width)
    if types.is_large_list(kind) or types.is_large_binary(kind) or types.is_large_string(kind):
        return pa.large_list(items)
    if types.is_list_view(kind):
        return pa.list_view(items)
    if types.is_large_list_view(kind):
        return pa.large_list_view(items)
    return pa.list_(items)


def _items_of(slot: Slot, length: int, batch: Batch) -> int:
    """How many items there are in what is below a list, or bytes in the last buffer."""
    import pyarrow as pa

    if slot.form == LIST:
        return int(batch.nodes[slot.children[0].node, 0])
    nbytes = int(batch.buffers[slot.last - 1, 1])
    if not pa.types.is_fixed_size_binary(slot.type):
        return nbytes
    if length * slot.type.byte_width > nbytes:
        raise FormatError(f"{slot.name!r} has {length} values in {nbytes} bytes")
    return length * int(slot.type.byte_width)
