"""Finding nodes in a store: which metadata stands at a path, and what lies below a group.

A ``Catalog`` is one store seen from one root, with the consolidated metadata found there, if any:
then a whole hierarchy is known after a single read, and nothing needs to be listed. That one
document is then the only truth, also where the files say something else: what it does not list is
not there, and what it lists is believed. A reader that mixed the two would show a hierarchy that
never existed.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from lazytensor.errors import FormatError, SourceError, SourceNotFoundError
from lazytensor.io.store import Loaded, Store, join_key
from lazytensor.io.zarr.document import Fields, parse_json
from lazytensor.io.zarr.metadata import (
    ArrayMetadata,
    GroupMetadata,
    parse_array_v2,
    parse_group,
    parse_v3,
)

__all__ = ["Catalog", "Node", "open_catalog", "open_node"]

_V3, _ARRAY_V2, _GROUP_V2, _ATTRS_V2 = "zarr.json", ".zarray", ".zgroup", ".zattrs"
_V2_NAMES = frozenset((_ARRAY_V2, _GROUP_V2, _ATTRS_V2))
_CONSOLIDATED_V2 = ".zmetadata"
_MOST_IMPLICIT = 8
_MOST_LOOKED_AT = 64
_SHOWN = 10
_N5 = "attributes.json"
_NAMES = (_V3, _ARRAY_V2, _GROUP_V2, _ATTRS_V2, _N5)
_NAMES_OF: dict[int | str | None, tuple[str, ...]] = {3: (_V3,), 2: _NAMES[:-1]}
"""Where a node may be described; and where, if it is of the format of others around it."""
_NODES_AT_ONCE = 64

_Held = Mapping[str, Loaded | SourceError | None]
"""What a store answered for some keys."""


class Node(NamedTuple):
    """An array or group at a path, the key of the file that describes it, and that file's state."""

    path: str
    metadata: ArrayMetadata | GroupMetadata
    key: str
    token: Hashable | None


class Catalog:
    """The nodes of a store at and below ``root``.

    ``consolidated``: None to use consolidated metadata if the root has it, False to pass over it,
    True to insist on it (``FormatError`` if there is none).
    """

    def __init__(self, store: Store, root: str = "", *, consolidated: bool | None = False) -> None:
        self.store = store
        self.root = root
        self._documents: dict[str, Mapping[str, Any]] | None = None
        self._source: tuple[str, Hashable | None] = ("", None)
        self._likely: tuple[str, ...] = _NAMES
        if consolidated is not False:
            self.consolidate(insist=bool(consolidated))

    @property
    def is_consolidated(self) -> bool:
        """Whether everything is known from one document."""
        return self._documents is not None

    def consolidate(self, *, insist: bool = False) -> Node | None:
        """Use consolidated metadata if there is some, in the place where each format has it.

        Returns the node at the root. ``insist``: ``FormatError`` if there is none.
        """
        held = self._ahead([""], (_CONSOLIDATED_V2,))
        node = self._found("", held)
        group = None if node is None else node.metadata
        if not isinstance(group, ArrayMetadata):
            if node is None or group is None or group.zarr_format == 2:
                self.consolidate_v2(held)
            elif group.consolidated is not None:
                self._documents = _flattened(group.document, self._where(node.key))
                self._documents[_V3] = group.document
                self._source = node.key, node.token
        if self._documents is not None:
            return self.find("")
        if insist:
            raise FormatError(
                f"{self.store.name}/{self.root}".rstrip("/") + ": there is no consolidated "
                "metadata; open it with consolidated=None"
            )
        return node

    def consolidate_v2(self, held: _Held | None = None) -> None:
        """Use consolidated metadata of v2, beside which writers may have left nothing else."""
        key = join_key(self.root, _CONSOLIDATED_V2)
        document = self._load(key, held or {})
        if document is None:
            return
        fields = Fields(document[0], self._where(key))
        if fields.document.get("zarr_consolidated_format", 1) != 1:
            raise fields.wrong("zarr_consolidated_format", "1")
        metadata = fields.fields("metadata")
        documents = {path: metadata.fields(path).document for path in metadata.document}
        self._documents = {
            _inner_key(path, metadata): inner
            for path, inner in documents.items()
            if path.rpartition("/")[2] in _V2_NAMES
        }
        self._source = key, document[1]

    def _where(self, key: str) -> str:
        """Where a file is, for messages."""
        return f"{self.store.name}/{key}"

    def _load(self, key: str, held: _Held) -> tuple[Mapping[str, Any], Hashable | None] | None:
        """A document and its state, from the file itself."""
        found = held[key] if key in held else self.store.load_many([key])[0]
        if found is None:
            return None
        if isinstance(found, SourceError):
            raise found
        return parse_json(found.data, f"{self.store.name}/{key}"), found.token

    def _ahead(self, paths: Sequence[str], also: tuple[str, ...] = ()) -> _Held:
        """What may describe the nodes at some paths, where asking for all of it is one round trip.

        Errors are kept: that of a file which turns out not to be needed is none.
        """
        held: dict[str, Loaded | SourceError | None] = {}
        if self._documents is not None or not self.store.together:
            return held

        def ask(paths: Sequence[str], names: Sequence[str]) -> None:
            keys = [join_key(self.root, path, name) for path in paths for name in names]
            held.update(zip(keys, self.store.load_many(keys), strict=True))

        likely = (*self._likely, *also)
        ask(paths, likely)
        rest = [name for name in _NAMES if name not in likely]
        absent = [
            path
            for path in paths
            if all(held[join_key(self.root, path, name)] is None for name in likely)
        ]
        if rest and absent:
            ask(absent, rest)
        return held

    def _document(
        self, path: str, name: str, held: _Held
    ) -> tuple[Mapping[str, Any], Hashable | None] | None:
        """The document called ``name`` at a path below the root, from wherever it is known."""
        if self._documents is None:
            return self._load(join_key(self.root, path, name), held)
        document = self._documents.get(join_key(path, name))
        return None if document is None else (document, self._source[1])

    def find(self, path: str) -> Node | None:
        """The node at a path below the root, or None; ``FormatError`` for bad metadata."""
        return self.find_many([path])[0]

    def find_many(self, paths: Sequence[str]) -> list[Node | None]:
        """The nodes at several paths, asked for together."""
        inner = [join_key(path) for path in paths]
        held = self._ahead(inner)
        return [self._found(path, held) for path in inner]

    def _found(self, path: str, held: _Held) -> Node | None:
        try:
            node = self._find(path, held)
        except RecursionError as error:
            where = self._where(join_key(self.root, path))
            raise FormatError(f"{where}: the metadata is nested too deep") from error
        if node is not None:
            self._likely = _NAMES_OF.get(node.metadata.zarr_format, _NAMES)
        return node

    def _find(self, path: str, held: _Held) -> Node | None:
        full = join_key(self.root, path)
        if (v3 := self._document(path, _V3, held)) is not None:
            return self._node(full, _V3, parse_v3(v3[0], self._named(path, _V3)), v3[1])
        array = self._document(path, _ARRAY_V2, held)
        group = None if array is not None else self._document(path, _GROUP_V2, held)
        if array is None and group is None:
            return self._find_n5(path, full, held)
        attributes = self._document(path, _ATTRS_V2, held)
        attrs = {} if attributes is None else attributes[0]
        if array is not None:
            metadata = parse_array_v2(array[0], attrs, self._named(path, _ARRAY_V2))
            return self._node(full, _ARRAY_V2, metadata, array[1])
        assert group is not None
        document = {**group[0], "attributes": attrs}
        where = self._named(path, _GROUP_V2)
        if group[0].get("zarr_format") != 2:
            raise Fields(group[0], where).wrong("zarr_format", "2")
        return self._node(full, _GROUP_V2, parse_group(document, where, 2), group[1])

    def _named(self, path: str, name: str) -> str:
        """Where a document is, for messages: a file, or a part of the consolidated one."""
        if self._documents is None:
            return self._where(join_key(self.root, path, name))
        return f"{self._where(self._source[0])}: {join_key(path, name)}"

    def _find_n5(self, path: str, full: str, held: _Held) -> Node | None:
        document = self._document(path, _N5, held)
        if document is None:
            return None
        from lazytensor.io.zarr.n5 import parse_n5

        return self._node(full, _N5, parse_n5(document[0], self._named(path, _N5)), document[1])

    def _node(
        self,
        path: str,
        name: str,
        metadata: ArrayMetadata | GroupMetadata,
        token: Hashable | None,
    ) -> Node:
        key = join_key(path, name) if self._documents is None else self._source[0]
        return Node(path, metadata, key, token)

    def names(self, path: str) -> list[str]:
        """Names directly below a group that may be nodes, sorted."""
        if self._documents is None:
            found = self.store.children(join_key(self.root, path))
            return [name for name in found if _is_key(name)]
        start = f"{path}/" if path else ""
        rests = (key[len(start) :] for key in self._documents if key.startswith(start))
        return sorted({rest.split("/", 1)[0] for rest in rests if "/" in rest})

    def children(self, path: str) -> Iterator[tuple[str, Node]]:
        """The nodes directly below a group, sorted by name.

        A folder without metadata that holds nodes is a group of its own (v2 writers leave them).
        """
        names = iter(self.names(path))
        while batch := list(islice(names, _NODES_AT_ONCE)):
            inner = [join_key(path, name) for name in batch]
            for name, place, found in zip(batch, inner, self.find_many(inner), strict=True):
                node = found or self.implicit_group(place)
                if node is not None:
                    yield name, node

    def implicit_group(self, path: str) -> Node | None:
        """A group for a path without metadata below which there are nodes, or None.

        It is of the format of the first node found. Folders in folders are searched only so far
        (a folder may be anything, and large).
        """
        pending = [(join_key(path), 0)]
        for looked_at, (folder, depth) in enumerate(pending):
            if looked_at > _MOST_LOOKED_AT:
                break
            for name in self.names(folder):
                inner = join_key(folder, name)
                node = self.find(inner)
                if node is not None:
                    metadata = GroupMetadata(node.metadata.zarr_format, {}, {})
                    return Node(join_key(self.root, path), metadata, "", None)
                if depth < _MOST_IMPLICIT:
                    pending.append((inner, depth + 1))
        return None


def _is_key(name: str) -> bool:
    """False for names that a file system may have and a key may not (backslashes)."""
    try:
        return bool(join_key(name))
    except SourceError:
        return False


def _inner_key(path: str, metadata: Fields) -> str:
    """A key of consolidated metadata; ``FormatError`` if it leads out of the store."""
    try:
        return join_key(path)
    except SourceError as error:
        raise FormatError(f"{metadata.where}: {error}") from error


def _flattened(document: Mapping[str, Any], where: str) -> dict[str, Mapping[str, Any]]:
    """The documents of consolidated metadata of v3 by key, those of groups in groups included.

    zarr-python lists everything below a group in that group, and again nothing, or everything, in
    the groups below it. The outer list counts where both have a path.
    """
    found: dict[str, Mapping[str, Any]] = {}
    pending = [("", Fields(document, where))]
    for prefix, fields in pending:
        if fields.document.get("consolidated_metadata") is None:
            continue
        metadata = fields.fields("consolidated_metadata").fields("metadata")
        for path in metadata.document:
            inner = join_key(prefix, _inner_key(path, metadata))
            key = join_key(inner, _V3)
            if key not in found:
                found[key] = metadata.fields(path).document
                pending.append((inner, metadata.fields(path)))
    return found


def open_node(store: Store, path: str = "") -> Node:
    """The array or group at a path of a store.

    Raises ``SourceNotFoundError`` when there is none, ``FormatError`` for metadata that breaks the
    rules.

    >>> from lazytensor.io.store_memory import DictStore
    >>> data = {"a/zarr.json": b'{"zarr_format": 3, "node_type": "group"}'}
    >>> open_node(DictStore(data), "a").path
    'a'
    """
    path = join_key(path)
    catalog = Catalog(store)
    node = catalog.find(path)
    if node is None and (around := _consolidated_around(store, path)) is not None:
        return around[2]
    node = node or catalog.implicit_group(path)
    if node is None:
        raise _nothing(store, path)
    return node


def open_catalog(
    store: Store, path: str = "", *, consolidated: bool | None = None
) -> tuple[Catalog, str, Node]:
    """The array or group at a path, the catalog that knows it, and its path in there.

    The catalog is rooted at the path itself, or at a group around it whose consolidated metadata is
    all that tells of it. ``consolidated`` and errors: see ``Catalog`` and ``open_node``.
    """
    path = join_key(path)
    catalog = Catalog(store, path)
    if consolidated is False:
        node = catalog.find("")
    else:
        node = catalog.consolidate(insist=bool(consolidated))
    if node is not None:
        return catalog, "", node
    around = _consolidated_around(store, path) if consolidated is None else None
    if around is not None:
        return around
    node = catalog.implicit_group("")
    if node is None:
        raise _nothing(store, path)
    return catalog, "", node


def _nothing(store: Store, path: str) -> SourceNotFoundError:
    place = f"{store.name}/{path}" if path else store.name
    names = Catalog(store).names(path)
    below = f"; below it there is {', '.join(names[:_SHOWN])}" if names else ""
    return SourceNotFoundError(
        f"no zarr array or group at {place} (no {_V3}, {_ARRAY_V2}, {_GROUP_V2} or {_N5}){below}"
    )


def _consolidated_around(store: Store, path: str) -> tuple[Catalog, str, Node] | None:
    """The catalog of the nearest group around a path that lists it, its path there, and its node.

    Writers may leave consolidated metadata and nothing else.
    """
    parts = path.split("/") if path else []
    for count in range(len(parts), -1, -1):
        catalog = Catalog(store, "/".join(parts[:count]))
        inner = "/".join(parts[count:])
        if inner:
            catalog.consolidate()
        else:  # where there is no group, as the caller found
            catalog.consolidate_v2()
        node = catalog.find(inner) if catalog.is_consolidated else None
        if node is not None:
            return catalog, inner, node
    return None
