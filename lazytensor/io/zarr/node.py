"""Finding nodes in a store: which metadata stands at a path, and what lies below a group.

A ``Catalog`` is one store seen from one root, with the consolidated metadata found there, if any:
then a whole hierarchy is known after a single read, and nothing needs to be listed.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lazytensor.errors import FormatError, SourceNotFoundError
from lazytensor.io.store import Store, join_key
from lazytensor.io.zarr.document import Fields, parse_json
from lazytensor.io.zarr.metadata import (
    ArrayMetadata,
    GroupMetadata,
    parse_array_v2,
    parse_group,
    parse_v3,
)

__all__ = ["Catalog", "Node", "open_node"]

_V3, _ARRAY_V2, _GROUP_V2, _ATTRS_V2 = "zarr.json", ".zarray", ".zgroup", ".zattrs"
_CONSOLIDATED_V2 = ".zmetadata"


@dataclass(frozen=True, slots=True)
class Node:
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
        self._documents: Mapping[str, Mapping[str, Any]] | None = None
        self._source: tuple[str, Hashable | None] = ("", None)
        if consolidated is not False:
            self._consolidate()
        if consolidated and self._documents is None:
            raise FormatError(
                f"{store.name}/{root}: there is no consolidated metadata; open it with "
                "consolidated=None"
            )

    def _consolidate(self) -> None:
        node = self.find("")
        if node is None or not isinstance(node.metadata, GroupMetadata):
            return
        if node.metadata.zarr_format == 3:
            if node.metadata.consolidated is not None:
                self._documents = {
                    join_key(path, _V3): document
                    for path, document in node.metadata.consolidated.items()
                } | {_V3: node.metadata.document}
                self._source = node.key, node.token
            return
        key = join_key(self.root, _CONSOLIDATED_V2)
        document = self._load(key)
        if document is None:
            return
        where = f"{self.store.name}/{key}"
        fields = Fields(document[0], where)
        metadata = fields.fields("metadata")
        self._documents = {path: metadata.fields(path).document for path in metadata.document}
        self._source = key, document[1]

    def _load(self, key: str) -> tuple[Mapping[str, Any], Hashable | None] | None:
        """A document and its state, from the file itself."""
        token = self.store.token(key)
        data = self.store.get(key)
        if data is None:
            return None
        return parse_json(data, f"{self.store.name}/{key}"), token

    def _document(self, path: str, name: str) -> tuple[Mapping[str, Any], Hashable | None] | None:
        """The document called ``name`` at a path below the root, from wherever it is known."""
        if self._documents is None:
            return self._load(join_key(self.root, path, name))
        document = self._documents.get(join_key(path, name))
        return None if document is None else (document, self._source[1])

    def find(self, path: str) -> Node | None:
        """The node at a path below the root, or None; ``FormatError`` for bad metadata."""
        path = join_key(path)
        full = join_key(self.root, path)
        where = f"{self.store.name}/{full}" if full else self.store.name
        if (v3 := self._document(path, _V3)) is not None:
            return self._node(full, _V3, parse_v3(v3[0], f"{where}/{_V3}"), v3[1])
        array = self._document(path, _ARRAY_V2)
        group = None if array is not None else self._document(path, _GROUP_V2)
        if array is None and group is None:
            return None
        attributes = self._document(path, _ATTRS_V2)
        attrs = {} if attributes is None else attributes[0]
        if array is not None:
            metadata = parse_array_v2(array[0], attrs, f"{where}/{_ARRAY_V2}")
            return self._node(full, _ARRAY_V2, metadata, array[1])
        assert group is not None
        document = {**group[0], "attributes": attrs}
        if group[0].get("zarr_format") != 2:
            raise Fields(group[0], f"{where}/{_GROUP_V2}").wrong("zarr_format", "2")
        return self._node(full, _GROUP_V2, parse_group(document, where, 2), group[1])

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
            return self.store.children(join_key(self.root, path))
        start = f"{path}/" if path else ""
        rests = (key[len(start) :] for key in self._documents if key.startswith(start))
        return sorted({rest.split("/", 1)[0] for rest in rests if "/" in rest})

    def children(self, path: str) -> Iterator[tuple[str, Node]]:
        """The nodes directly below a group, sorted by name.

        A folder without metadata that holds nodes is a group of its own (v2 writers leave them).
        """
        for name in self.names(path):
            inner = join_key(path, name)
            node = self.find(inner) or self.implicit_group(inner)
            if node is not None:
                yield name, node

    def implicit_group(self, path: str) -> Node | None:
        """A group for a path without metadata directly below which there are nodes, or None."""
        if not any(self.find(join_key(path, name)) for name in self.names(path)):
            return None
        return Node(join_key(self.root, path), GroupMetadata(2, {}, {}), "", None)


def open_node(store: Store, path: str = "") -> Node:
    """The array or group at a path of a store.

    Raises ``SourceNotFoundError`` when there is none, ``FormatError`` for metadata that breaks the
    rules.

    >>> from lazytensor.io.store_memory import DictStore
    >>> data = {"a/zarr.json": b'{"zarr_format": 3, "node_type": "group"}'}
    >>> open_node(DictStore(data), "a").path
    'a'
    """
    catalog = Catalog(store)
    node = catalog.find(path) or catalog.implicit_group(join_key(path))
    if node is None:
        place = f"{store.name}/{path}" if path else store.name
        names = catalog.names(join_key(path))
        below = f"; below it there is {', '.join(names[:10])}" if names else ""
        raise SourceNotFoundError(
            f"no zarr array or group at {place} (no {_V3}, {_ARRAY_V2} or {_GROUP_V2}){below}"
        )
    return node
