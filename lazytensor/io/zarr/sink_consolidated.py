"""Consolidated metadata: one document that says what all the others below it do.

Readers believe it in everything, so that it is made of what is there, after the last array is.
"""

from __future__ import annotations

from collections.abc import Mapping

from lazytensor.io.store import Store, join_key
from lazytensor.io.zarr.document import parse_json
from lazytensor.io.zarr.documents import json_bytes
from lazytensor.io.zarr.metadata import GroupMetadata
from lazytensor.io.zarr.node import Catalog

__all__ = ["consolidated_files", "documents_below", "is_consolidated"]

_NAMES = ("zarr.json", ".zarray", ".zgroup", ".zattrs")


def consolidated_files(documents: Mapping[str, bytes], zarr_format: int) -> dict[str, bytes]:
    """The document, by key, of all documents of a group and below it.

    >>> group = b'{"zarr_format": 2}'
    >>> print(consolidated_files({".zgroup": group}, 2)[".zmetadata"].decode())
    {
      "zarr_consolidated_format": 1,
      "metadata": {".zgroup": {"zarr_format": 2}}
    }
    """
    parsed = {key: parse_json(data, key) for key, data in sorted(documents.items())}
    if zarr_format == 2:
        return {".zmetadata": json_bytes({"zarr_consolidated_format": 1, "metadata": parsed})}
    root = parsed.pop("zarr.json")
    below = {key.rpartition("/")[0]: document for key, document in parsed.items()}
    for document in below.values():
        document.pop("consolidated_metadata", None)
    inline = {"kind": "inline", "must_understand": False, "metadata": below}
    return {"zarr.json": json_bytes({**root, "consolidated_metadata": inline})}


def documents_below(store: Store) -> dict[str, bytes]:
    """The documents of the group at the root of a store and of all nodes below it, by key."""
    catalog = Catalog(store, "", consolidated=False)
    pending, found = [""], dict[str, bytes]()
    for path in pending:
        for name in _NAMES:
            key = join_key(path, name)
            data = store.get(key)
            if data is not None:
                found[key] = bytes(data)
        for name, node in catalog.children(path):
            if name.startswith(".") and name.endswith(".tmp"):  # of somebody who is writing
                continue
            inner = join_key(path, name)
            if isinstance(node.metadata, GroupMetadata):
                pending.append(inner)
                continue
            keys = [join_key(inner, one) for one in _NAMES]
            for key, data in zip(keys, store.get_many(keys), strict=True):
                if data is not None:
                    found[key] = bytes(data)
    return found


def is_consolidated(store: Store) -> bool:
    """Whether the root of a store has such a document, which others must not fall behind."""
    data = store.get("zarr.json")
    if data is not None:
        return parse_json(data, "zarr.json").get("consolidated_metadata") is not None
    return store.get(".zmetadata") is not None
