"""Plans as documents: versioned JSON, or the same with raw buffers beside it; and their digests.

A document is a flat list of nodes, inputs before consumers, that refer to each other by number, so
neither writing nor reading recurses. Sources are written as what their driver needs to open them
again, never with storage options; user functions by name, and on loading only those count that the
caller passes. No code and no pickle is ever loaded. Reading checks everything: a damaged document
is a ``SerializationError``, and nothing is allocated that the document does not hold.

How single fields are written is in ``plan.serde_kinds``. ``VERSION`` goes up when a document of
this version could not be read by an older library; older documents are always read.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lazytensor.errors import LazyTensorError, SerializationError, SourceError
from lazytensor.plan.cost import format_bytes
from lazytensor.plan.memory import MemorySource
from lazytensor.plan.node import KINDS, Node, walk
from lazytensor.plan.nodes import Scan
from lazytensor.plan.serde_checks import CHECKS
from lazytensor.plan.serde_kinds import FIELDS
from lazytensor.plan.serde_values import (
    bytes_from_json,
    dtype_to_json,
    expect,
    fail,
)

__all__ = ["VERSION", "content_key", "dumps", "from_document", "loads", "stable_key", "to_document"]

VERSION = 1
INLINE_LIMIT = 64 * 1024
"""Arrays in memory up to this many bytes are written into JSON; larger ones need ``"binary"``."""

_MAGIC = b"\x89LZTPLAN"
_HEADER = struct.Struct("<8sQ")
_ALIGNMENT = 64
_LARGE = 4 << 20
_SAMPLED = 16
"""Elements along each dim that are looked at, at least, of arrays above ``_LARGE`` bytes."""

Functions = Mapping[str, Callable[..., Any]]


class _Writer:
    """Numbers nodes as they are written, and puts bytes where the format wants them."""

    def __init__(self, put: Callable[[bytes, str], Any]) -> None:
        self._numbers: dict[Node, int] = {}
        self.data = put

    def node(self, node: Node) -> int:
        """Number of a node that is written already."""
        return self._numbers[node]

    def write(self, node: Node) -> dict[str, Any]:
        """One entry of the list of nodes."""
        kind = type(node).__name__
        entry: dict[str, Any] = {"kind": kind}
        for name, field in FIELDS[kind].items():
            entry[name] = field.write(getattr(node, name), self)
        self._numbers[node] = len(self._numbers)
        return entry


def _inline(data: bytes, what: str) -> str:
    if len(data) > INLINE_LIMIT:
        raise SerializationError(
            f"{what} has {format_bytes(len(data))}, and JSON takes {format_bytes(INLINE_LIMIT)}: "
            f'write it to a file and scan that, or use format="binary"'
        )
    return base64.b64encode(data).decode("ascii")


def _document(root: Node, put: Callable[[bytes, str], Any]) -> dict[str, Any]:
    writer = _Writer(put)
    nodes = [writer.write(node) for node in walk(root)]
    return {"lazytensor": VERSION, "byteorder": sys.byteorder, "nodes": nodes}


def to_document(root: Node) -> dict[str, Any]:
    """The plan as a JSON document (plain dicts, lists, strings and numbers).

    Raises ``SerializationError`` for arrays in memory above 64 KiB, functions that cannot be
    imported by name and sources that cannot be reopened, naming them.

    >>> from lazytensor.plan.memory import array_node
    >>> from_document(to_document(array_node(np.arange(3)))).shape
    (3,)
    """
    return _document(root, _inline)


def from_document(
    document: Any,
    *,
    functions: Functions | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Node:
    """The plan of a document that ``to_document`` wrote.

    ``functions`` maps ``"module:qualname"`` to the functions that the plan may call.
    ``storage_options`` are handed to the sources. Raises ``SerializationError`` for anything that
    is not a document of this or an earlier version, and ``SourceError`` for sources that cannot be
    opened.
    """
    return _Reader(functions, storage_options, ()).read(document)


class _Reader:
    """Builds nodes from entries, through the constructors that check every operation."""

    def __init__(
        self,
        functions: Functions | None,
        storage_options: Mapping[str, Any] | None,
        buffers: Sequence[memoryview],
    ) -> None:
        self.functions: Functions = functions or {}
        self.storage_options = storage_options
        self._buffers = buffers
        self._nodes: list[Node] = []

    def node(self, value: Any, what: str) -> Node:
        """The node of a number, which must be one read already."""
        number: int = expect(value, int, what)
        if not 0 <= number < len(self._nodes):
            fail(what, f"the number of an earlier node, below {len(self._nodes)}", number)
        return self._nodes[number]

    def data(self, value: Any, what: str) -> bytes | memoryview:
        """Bytes from base64 text, or from the buffer of a number."""
        if isinstance(value, str):
            return bytes_from_json(value, what)
        number: int = expect(value, int, what)
        if not 0 <= number < len(self._buffers):
            fail(what, f"the number of one of {len(self._buffers)} buffers", number)
        return self._buffers[number]

    def read(self, document: Any) -> Node:
        """The last node of the document: all others are below it."""
        _check_version(document)
        entries = expect(document.get("nodes"), list, "'nodes'")
        for i, entry in enumerate(entries):
            self._nodes.append(self._entry(entry, i))
        return self._nodes[-1] if self._nodes else fail("'nodes'", "a list of nodes", entries)

    def _entry(self, entry: Any, number: int) -> Node:
        kind = expect(entry, dict, f"node {number}").get("kind")
        fields = FIELDS.get(kind) if isinstance(kind, str) else None
        if fields is None:
            fail(f"the kind of node {number}", f"one of {', '.join(FIELDS)}", kind)
        missing = fields.keys() ^ (entry.keys() - {"kind"})
        if missing:
            fail(f"node {number} ({kind})", f"one with fields {', '.join(fields)}", sorted(entry))
        try:
            values = [
                field.read(entry[name], self, f"{name!r} of node {number} ({kind})")
                for name, field in fields.items()
            ]
            check = CHECKS.get(kind)
            if check is not None:
                check(*values)
            return KINDS[kind](*values)
        except (SerializationError, SourceError):
            raise
        except (
            LazyTensorError,
            ArithmeticError,
            AttributeError,
            LookupError,
            MemoryError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            # A constructor may stumble over any combination of well-typed values.
            raise SerializationError(
                f"damaged plan: node {number} ({kind}) cannot be built: {error}"
            ) from error


def _check_version(document: Any) -> None:
    if not isinstance(document, dict) or "lazytensor" not in document:
        raise SerializationError("this is not a lazytensor plan: there is no 'lazytensor' version")
    version = expect(document["lazytensor"], int, "'lazytensor'")
    if version > VERSION:
        raise SerializationError(
            f"the plan has version {version}, this library reads up to {VERSION}: install a newer "
            f"lazytensor-engine"
        )
    if version < 1:
        fail("'lazytensor'", "a version number", version)
    if document.get("byteorder") != sys.byteorder:
        fail("'byteorder'", f"{sys.byteorder!r}, as on this machine", document.get("byteorder"))


def dumps(root: Node, *, format: str = "json") -> bytes:
    """The plan as bytes: ``"json"`` (UTF-8 text) or ``"binary"`` (arrays of any size).

    The binary container is a magic number, the length of the document, the document with a table
    of buffers, and the buffers in order, each at a multiple of 64 bytes.

    >>> from lazytensor.plan.memory import array_node
    >>> loads(dumps(array_node(np.arange(3)), format="binary")).shape
    (3,)
    """
    if format == "json":
        return json.dumps(to_document(root), separators=(",", ":"), allow_nan=False).encode()
    if format != "binary":
        raise ValueError(f"unknown format {format!r}: expected 'json' or 'binary'")
    buffers: list[bytes] = []

    def put(data: bytes, what: str) -> int:
        buffers.append(data)
        return len(buffers) - 1

    document = {**_document(root, put), "buffers": [len(data) for data in buffers]}
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    parts = [_HEADER.pack(_MAGIC, len(text)), text]
    end = _HEADER.size + len(text)
    for data in buffers:
        parts += [bytes(-end % _ALIGNMENT), data]
        end += -end % _ALIGNMENT + len(data)
    return b"".join(parts)


def loads(
    data: bytes | bytearray | memoryview | str,
    *,
    functions: Functions | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Node:
    """The plan of what ``dumps`` wrote, in either format; errors as ``from_document``."""
    view = memoryview(data.encode() if isinstance(data, str) else data).cast("B")
    buffers: list[memoryview] = []
    text: bytes | memoryview = view
    if view[: len(_MAGIC)] == _MAGIC:
        text, rest = _split(view)
    try:
        document = json.loads(bytes(text))
    except (ValueError, RecursionError) as error:
        raise SerializationError(f"this is no JSON document: {error}") from error
    if text is not view:
        buffers = _cut(rest, _HEADER.size + len(text), document)
    return _Reader(functions, storage_options, buffers).read(document)


def _split(view: memoryview) -> tuple[memoryview, memoryview]:
    """Document and what follows it."""
    if len(view) < _HEADER.size:
        fail("the container", f"at least {_HEADER.size} bytes long", f"{len(view)} bytes")
    _, length = _HEADER.unpack(view[: _HEADER.size])
    if length > len(view) - _HEADER.size:
        fail("the length of the document", f"at most {len(view) - _HEADER.size}", length)
    return view[_HEADER.size : _HEADER.size + length], view[_HEADER.size + length :]


def _cut(rest: memoryview, start: int, document: Any) -> list[memoryview]:
    """The buffers, by the table in the document."""
    sizes = expect(document, dict, "the document").get("buffers")
    buffers = []
    at = 0
    for size in expect(sizes, list, "'buffers'"):
        at += -(start + at) % _ALIGNMENT
        if not 0 <= expect(size, int, "the size of a buffer") <= len(rest) - at:
            fail("the size of a buffer", f"at most the {max(0, len(rest) - at)} bytes left", size)
        buffers.append(rest[at : at + size])
        at += size
    return buffers


def content_key(node: Node) -> str:
    """Digest of a plan: 32 hex digits, equal for plans that compute the same from the same.

    Stable across processes: arrays in memory count by their content now, files by location and by
    the state of their metadata. User functions count by name where they can be imported by it, and
    else, as sources that cannot be reopened, by identity in this process.

    >>> from lazytensor.plan.memory import array_node
    >>> content_key(array_node(np.arange(3))) == content_key(array_node(np.arange(3)))
    True
    """
    return _key(node, _KeyWriter())


def stable_key(node: Node) -> str | None:
    """Digest of a plan that another process would find too; None where there is none.

    As ``content_key``, but that of a large array in memory only its shape, dtype and some of its
    elements count, since looking at all may take longer than writing them.

    >>> from lazytensor.plan.memory import array_node
    >>> stable_key(array_node(np.arange(3))) == stable_key(array_node(np.arange(3)))
    True
    """
    writer = _KeyWriter(sampled=True)
    found = _key(node, writer)
    return None if writer.by_identity else found


def _key(node: Node, writer: _KeyWriter) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in walk(node):
        digest.update(json.dumps(writer.write(part), sort_keys=True).encode())
    return digest.hexdigest()


class _KeyWriter(_Writer):
    """Writes entries that identify: large data by digest, what has no document by identity.

    ``sampled``: of arrays above ``_LARGE`` bytes by that of some elements. ``by_identity``: whether
    anything was written by its identity.
    """

    def __init__(self, *, sampled: bool = False) -> None:
        super().__init__(lambda data, what: hashlib.blake2b(data, digest_size=16).hexdigest())
        self._sampled = sampled
        self.by_identity = False

    def write(self, node: Node) -> dict[str, Any]:
        """One entry, with the state of a file's metadata beside its location."""
        if isinstance(node, Scan) and not isinstance(node.source, MemorySource):
            self._numbers[node] = len(self._numbers)
            return {"kind": "Scan", "source": self._source(node)}
        if isinstance(node, Scan) and self._sampled and node.nbytes > _LARGE:
            self._numbers[node] = len(self._numbers)
            return {"kind": "Scan", "sample": self._sample(node)}
        try:
            return super().write(node)
        except SerializationError:
            self.by_identity = True
            self._numbers[node] = len(self._numbers)
            inputs = [self.node(child) for child in node.inputs]
            return {"kind": type(node).__name__, "identity": id(node), "inputs": inputs}

    def _source(self, node: Scan) -> Any:
        try:
            return [node.source.to_json(), repr(node.source.key)]
        except SerializationError:
            self.by_identity = True
            return ["identity", repr(node.source.key), dtype_to_json(node.dtype)]

    def _sample(self, node: Scan) -> list[Any]:
        array = node.source.array
        assert array is not None
        some = array[tuple([slice(None, None, max(1, n // _SAMPLED)) for n in array.shape])]
        data = str(some.tolist()).encode() if array.dtype.kind == "T" else some.tobytes()
        return [dtype_to_json(array.dtype), list(array.shape), self.data(data, "")]
