"""What a zarr sink writes, apart from where: the documents of a node and of all below it.

And a note of them, for whoever goes on after a process was killed.

The note (``NOTE``) lies beside the chunks under a hidden name until the documents are there. It
holds the documents and, where that is the same in another process, a digest of what is computed, so
that nobody continues one array with the chunks of another.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from lazytensor.errors import FormatError, SinkError
from lazytensor.io.store import Buffer, join_key
from lazytensor.io.zarr.document import describe, parse_json
from lazytensor.io.zarr.documents import group_documents
from lazytensor.io.zarr.sink_consolidated import consolidated_files

__all__ = ["NOTE", "Note", "Read", "Tree", "differs", "group_tree", "kind_at", "missing_groups"]

NOTE = ".lazytensor.json"
"""Name of the note: hidden, and of no chunk."""

_VERSION = 1
_KINDS = {".zarray": "array", ".zgroup": "group"}

Read = Callable[[str], Buffer | None]
"""The file with a key, or None."""


class Tree(NamedTuple):
    """A node and those below it.

    ``kind``: ``"array"`` or ``"group"``. ``documents``: contents by key below the node, in the
    order in which they are written; whoever sees the last one sees the node.
    """

    kind: str
    zarr_format: int
    documents: Mapping[str, bytes]


class Note(NamedTuple):
    """What was begun: the documents, a digest of the plan (None: nobody knows), and the mode."""

    documents: Mapping[str, bytes]
    plan: str | None
    mode: str

    def to_bytes(self) -> bytes:
        """As it is stored."""
        texts = {key: bytes(data).decode() for key, data in self.documents.items()}
        note = {"version": _VERSION, "mode": self.mode, "plan": self.plan, "documents": texts}
        return json.dumps(note, indent=1).encode()

    @classmethod
    def of(cls, data: Buffer | None) -> Note | None:
        """The note in a file; None if there is none, or one that nobody here understands."""
        if data is None:
            return None
        try:
            found = parse_json(data, NOTE)
        except FormatError:
            return None
        documents, plan, mode = (found.get(key) for key in ("documents", "plan", "mode"))
        if found.get("version") != _VERSION or not isinstance(documents, dict):
            return None
        if not all(isinstance(text, str) for text in documents.values()):
            return None
        encoded = {key: text.encode() for key, text in documents.items()}
        return cls(encoded, plan if isinstance(plan, str) else None, str(mode))

    def differs(self, other: Note) -> str | None:
        """What keeps this from being continued as ``other``, in words; None if nothing does."""
        found = differs(self.documents, other.documents)
        if found is not None or None in (self.plan, other.plan) or self.plan == other.plan:
            return found
        return "it is of another computation, or what it reads has changed since"


def differs(found: Mapping[str, bytes], wanted: Mapping[str, bytes]) -> str | None:
    """What tells documents apart, in words; None if they say the same.

    >>> differs({"zarr.json": b'{"shape": [4]}'}, {"zarr.json": b'{"shape": [5]}'})
    'zarr.json: shape is [4] there, and [5] here'
    """
    for key in (*wanted, *found):
        if key not in found or key not in wanted:
            return f"{key} is only {'here' if key in wanted else 'there'}"
        there, here = (_plain(documents[key], key) for documents in (found, wanted))
        for name in (*here, *there):
            if there.get(name, None) != here.get(name, None):
                is_there, is_here = (describe(one.get(name)) for one in (there, here))
                return f"{key}: {name} is {is_there} there, and {is_here} here"
    return None


def _plain(data: bytes, key: str) -> dict[str, Any]:
    try:
        document = parse_json(data, key)
    except FormatError:
        return {"JSON": bytes(data[:80]).decode(errors="replace")}
    document.pop("consolidated_metadata", None)  # says again what others say
    return document


def kind_at(read: Read, path: str = "") -> tuple[str, int] | None:
    """Kind and format of the node at a path, by the files it consists of; None if there is none.

    >>> kind_at({"a/.zgroup": b"{}"}.get, "a"), kind_at({}.get)
    (('group', 2), None)
    """
    data = read(join_key(path, "zarr.json"))
    if data is not None:
        try:
            kind = parse_json(data, "zarr.json").get("node_type")
        except FormatError:
            kind = None
        return ("group" if kind == "group" else "array"), 3
    for name, kind in _KINDS.items():
        if read(join_key(path, name)) is not None:
            return kind, 2
    return None


def group_tree(
    arrays: Mapping[str, Mapping[str, bytes]],
    groups: Sequence[str],
    attributes: Mapping[str, Any] | None,
    *,
    zarr_format: int,
    consolidated: bool,
) -> Tree:
    """The tree of a group: documents of arrays and of groups in it by path, its own last."""
    documents = {
        join_key(path, name): data for path, files in arrays.items() for name, data in files.items()
    }
    for path in groups:
        for name, data in group_documents(zarr_format=zarr_format).items():
            documents[join_key(path, name)] = data
    own = group_documents(attributes, zarr_format=zarr_format)
    if consolidated:
        own = {**consolidated_files({**documents, **own}, zarr_format), **_but_v3(own)}
    return Tree("group", zarr_format, {**documents, **own})


def _but_v3(own: Mapping[str, bytes]) -> dict[str, bytes]:
    """Documents of v2, which stand beside the consolidated one and not in it."""
    return {name: data for name, data in own.items() if name != "zarr.json"}


def missing_groups(read: Read, path: str, zarr_format: int, label: str) -> dict[str, bytes]:
    """The documents of the groups around a path that are not there, the outermost first.

    Raises ``SinkError`` where there is an array around it, or a group of the other format, in which
    readers would not find it.

    >>> list(missing_groups({}.get, "a/b", 2, "a sink"))
    ['.zgroup', 'a/.zgroup']
    """
    wanted: dict[str, bytes] = {}
    parts = path.split("/") if path else []
    for count in range(len(parts)):
        around = "/".join(parts[:count])
        found = kind_at(read, around)
        if found is None:
            for name, data in group_documents(zarr_format=zarr_format).items():
                wanted[join_key(around, name)] = data
            continue
        kind, other = found
        if kind == "array":
            raise SinkError(
                f"{label}: {around or 'the root of the store'!r} is an array, and has none in it; "
                f"write to another path"
            )
        if other != zarr_format:
            raise SinkError(
                f"{label}: the group {around!r} is zarr v{other}, and v{zarr_format} would not be "
                f"found in it: zarr_format={other}"
            )
    return wanted
