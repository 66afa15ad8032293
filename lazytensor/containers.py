"""Things that hold several tensors: zarr groups.

A group is a read-only mapping from paths to tensors and further groups. It knows stores and
metadata; what it hands out is made by ``wrap``, a function from a source to a tensor, so that this
module needs no tensor.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lazytensor.errors import FormatError, SourceNotFoundError

if TYPE_CHECKING:
    from lazytensor.io.zarr import Catalog, Node
    from lazytensor.plan.source import Source

__all__ = ["NodeNotFoundError", "ZarrGroup", "open_group"]

_SHOWN = 10


class NodeNotFoundError(SourceNotFoundError, KeyError):
    """A group has nothing under a path; also a ``KeyError``, as of any mapping."""


def open_group(
    store: Any,
    path: str = "",
    *,
    wrap: Callable[[Source], Any],
    consolidated: bool | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> ZarrGroup:
    """The zarr group at a path of a store.

    ``wrap``: makes what the group hands out of a source. ``consolidated``: None uses consolidated
    metadata if it is there, False looks at the metadata of each node, True insists on it.

    Raises ``SourceNotFoundError`` when there is nothing, ``FormatError`` when it is an array or the
    metadata breaks the rules.

    >>> group = open_group({"zarr.json": b'{"zarr_format": 3, "node_type": "group"}'}, wrap=id)
    >>> len(group), group.tree()
    (0, 'memory')
    """
    from lazytensor.io.store_open import resolve_store
    from lazytensor.io.zarr import ArrayMetadata
    from lazytensor.io.zarr.node import open_catalog

    opened, inner = resolve_store(store, path, storage_options)
    catalog, below, node = open_catalog(opened, inner, consolidated=consolidated)
    if isinstance(node.metadata, ArrayMetadata):
        place = f"{opened.name}/{inner}".rstrip("/")
        raise FormatError(f"{place} is a zarr array, not a group: open it with scan_zarr")
    return ZarrGroup(catalog, below, node, wrap)


class ZarrGroup(Mapping[str, Any]):
    """A zarr group: a mapping from names and paths (``group["a/b"]``) to tensors and groups.

    Iteration and ``len`` see the names directly below the group. Nothing but metadata is read.
    Made by ``open_group`` (``lt.open_zarr``).
    """

    __slots__ = ("_catalog", "_inner", "_node", "_wrap")

    # A mapping compares its values, and comparing lazy tensors is a tensor and no answer.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __init__(
        self, catalog: Catalog, inner: str, node: Node, wrap: Callable[[Source], Any]
    ) -> None:
        self._catalog = catalog
        self._inner = inner
        self._node = node
        self._wrap = wrap

    @property
    def path(self) -> str:
        """Path of the group in its store."""
        return self._node.path

    @property
    def uri(self) -> str:
        """Where the store is."""
        return self._catalog.store.uri or self._catalog.store.name

    @property
    def attrs(self) -> Mapping[str, Any]:
        """User attributes, read only."""
        return MappingProxyType(dict(self._node.metadata.attributes))

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The metadata document, read only."""
        return MappingProxyType(dict(self._node.metadata.document))

    def __repr__(self) -> str:
        return f"ZarrGroup({self._name!r}, {self._node.metadata.format})"

    @property
    def _name(self) -> str:
        return f"{self._catalog.store.name}/{self.path}".rstrip("/")

    def __getitem__(self, path: str) -> Any:
        if not isinstance(path, str):
            raise TypeError(f"a group is indexed by a name or path, not {type(path).__name__}")
        from lazytensor.io.store import join_key

        inner = join_key(self._inner, path)
        node = self._catalog.find(inner) or self._catalog.implicit_group(inner)
        if node is None:
            names = list(self)
            known = ", ".join(names[:_SHOWN]) + ", ..." * (len(names) > _SHOWN)
            raise NodeNotFoundError(
                f"{self._name}: there is no {path!r}; it has {known or 'nothing'}"
            )
        return self._make(inner, node)

    def _make(self, inner: str, node: Node) -> Any:
        from lazytensor.io.zarr import ArrayMetadata, ZarrSource

        if isinstance(node.metadata, ArrayMetadata):
            return self._wrap(ZarrSource(self._catalog.store, node))
        return ZarrGroup(self._catalog, inner, node, self._wrap)

    def _children(self) -> Iterator[tuple[str, str, Node]]:
        from lazytensor.io.store import join_key

        for name, node in self._catalog.children(self._inner):
            yield name, join_key(self._inner, name), node

    def __iter__(self) -> Iterator[str]:
        return (name for name, _, _ in self._children())

    def __len__(self) -> int:
        return sum(1 for _ in self._children())

    def __contains__(self, path: object) -> bool:
        if not isinstance(path, str):
            return False
        from lazytensor.io.store import join_key

        inner = join_key(self._inner, path)
        return (self._catalog.find(inner) or self._catalog.implicit_group(inner)) is not None

    def arrays(self) -> dict[str, Any]:
        """The tensors directly below the group, by name."""
        return {n: item for n, item in self.items() if not isinstance(item, ZarrGroup)}

    def groups(self) -> dict[str, ZarrGroup]:
        """The groups directly below the group, by name."""
        return {n: item for n, item in self.items() if isinstance(item, ZarrGroup)}

    def items(self) -> ItemsView[str, Any]:
        """Name and tensor or group of everything directly below, in one pass."""
        return {name: self._make(inner, node) for name, inner, node in self._children()}.items()

    def walk(self, max_depth: int | None = None) -> Iterator[tuple[str, Any]]:
        """Path (from this group) and tensor or group of everything below, parents first.

        ``max_depth``: 1 yields what is directly below, None everything.
        """
        pending: list[tuple[str, ZarrGroup, int]] = [("", self, 1)]
        while pending:
            prefix, group, depth = pending.pop()
            inner: list[tuple[str, ZarrGroup, int]] = []
            for name, item in group.items():
                yield prefix + name, item
                if isinstance(item, ZarrGroup) and (max_depth is None or depth < max_depth):
                    inner.append((f"{prefix}{name}/", item, depth + 1))
            pending += reversed(inner)

    def tree(self) -> str:
        """Everything below the group as text, a line for each node."""
        lines = [self._name]
        pending = _branches("", self)
        while pending:
            indent, is_last, (name, inner, node) = pending.pop()
            lines.append(f"{indent}{'└── ' if is_last else '├── '}{name}{_facts(node)}")
            group = ZarrGroup(self._catalog, inner, node, self._wrap)
            pending += _branches(indent + ("    " if is_last else "│   "), group)
        return "\n".join(lines)


_Child = tuple[str, str, "Node"]


def _branches(indent: str, group: ZarrGroup) -> list[tuple[str, bool, _Child]]:
    """The children of a group as lines still to be drawn, the first one last; none of an array."""
    if _facts(group._node):
        return []
    children = list(group._children())
    return [(indent, i == len(children) - 1, child) for i, child in enumerate(children)][::-1]


def _facts(node: Node) -> str:
    """What ``tree`` says of an array; nothing of a group."""
    from lazytensor.io.zarr import ArrayMetadata

    meta = node.metadata
    if not isinstance(meta, ArrayMetadata):
        return ""
    return f"  {meta.dtype} {meta.shape} chunks {meta.layout.grain}"
