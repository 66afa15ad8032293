"""Arrays in chunks, each of which is a tenso packet in a file of its own.

A folder has ``tenso.json``, which says shape, chunks and what they mean, and one packet for each
chunk, which anything that knows tenso reads alone. Chunks at the edges are cut off by the array;
one that is not there is the fill value. Everything else is read as zarr is (``io.zarr``): windows,
caches, remote stores and estimates need to know no more than a layout (``chunk_layout``).

``tenso.json``, version 1::

    {"format": "lazytensor-tenso-chunks", "version": 1, "shape": [5, 3], "chunks": [2, 2],
     "dtype": "float32", "fill_value": 0.0, "key": "c/{i}/{j}", "compress": false,
     "integrity": true, "quant": null, "dims": ["y", "x"], "axes": [{...}, {...}],
     "origin": [0, 0], "attributes": {}}

``dtype`` is that of the values; with ``quant`` (``{"dtype": "qint8", "scheme": "per_tensor",
"axis": 0, "group_size": 0}``) packets hold integers with scales of their own, and the values are
float32. ``key``: a name, then a number for each dim; with chunks that were written under another
name, what is read changes at once when this file does. ``dims``, ``axes``, ``origin`` and
``attributes`` may be left out; what is not listed here is an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lazytensor.errors import DTypeError, FormatError, SerializationError, SourceNotFoundError
from lazytensor.io.store import Loaded, Store, join_key
from lazytensor.io.store_open import resolve_store
from lazytensor.io.tenso.chunk_layout import Quant, TensoLayout
from lazytensor.io.tenso.header import CODES, MAX_ELEMENTS, MAX_NDIM
from lazytensor.io.zarr.axis_json import axis_from_json
from lazytensor.io.zarr.document import Fields, parse_json
from lazytensor.io.zarr.fill_values import parse_fill_value
from lazytensor.io.zarr.keys import KeyEncoding
from lazytensor.io.zarr.metadata import ArrayMetadata
from lazytensor.io.zarr.node import Node
from lazytensor.io.zarr.source import ZarrSource
from lazytensor.plan.quantization import QTYPES, SCHEMES
from lazytensor.plan.registry import scalar_type
from lazytensor.plan.spec import Axis

__all__ = [
    "DOCUMENT", "FORMAT", "ChunkKeys", "TensoChunks", "from_json", "is_chunked", "key_template",
    "name_of_chunks", "open_chunked", "parse_metadata",
]  # fmt: skip

DOCUMENT = "tenso.json"
FORMAT = "lazytensor-tenso-chunks"
_VERSION = 1
_VERIFY = ("whole", "always", "never")
_REQUIRED = ("format", "version", "shape", "chunks", "dtype", "fill_value", "key", "compress",
             "integrity", "quant")  # fmt: skip
_OPTIONAL = ("dims", "axes", "origin", "attributes")
_LETTERS = "ijklmnopqrstuvwxyzabcdefgh"
_NAME = r"([A-Za-z0-9][A-Za-z0-9_-]{0,63})"
_LEAST = -(1 << 62)


class ChunkKeys(NamedTuple):
    """Names of chunks: ``name``, then their numbers with ``separator`` (``/`` or ``.``) between.

    >>> keys = ChunkKeys("c", "/")
    >>> keys.key((0, 12)), keys.indices("c/0/12", (1, 20)), keys.key(())
    ('c/0/12', (0, 12), 'c')
    """

    name: str
    separator: str

    @property
    def prefix(self) -> str:
        """What stands before the numbers of an array with at least one dim."""
        return self.name + self.separator

    @property
    def scalar(self) -> str:
        """The name of the only chunk of an array without dims."""
        return self.name

    def key(self, indices: Sequence[int]) -> str:
        """The name of the chunk with these numbers."""
        return self.separator.join([self.name, *map(str, indices)])

    def indices(self, key: str, counts: Sequence[int]) -> tuple[int, ...] | None:
        """The chunk that a name means in a grid of ``counts`` chunks, or None."""
        if not counts:
            return () if key == self.name else None
        if not key.startswith(self.prefix):
            return None
        return KeyEncoding("v2", self.separator).indices(key[len(self.prefix) :], counts)


def key_template(name: str, rank: int, separator: str = "/") -> str:
    """How keys are written in ``tenso.json``.

    >>> key_template("c", 2), key_template("c", 0)
    ('c/{i}/{j}', 'c')
    """
    return separator.join([name, *[f"{{{_letter(d)}}}" for d in range(rank)]])


def _letter(d: int) -> str:
    return _LETTERS[d % len(_LETTERS)] + (str(d // len(_LETTERS)) if d >= len(_LETTERS) else "")


def _parse_keys(fields: Fields, rank: int) -> ChunkKeys:
    text = fields.text("key")
    found = re.match(rf"{_NAME}([/.]|$)", text)
    if found is not None:
        name, separator = found[1], found[2] or "/"
        if text == key_template(name, rank, separator):
            return ChunkKeys(name, separator)
    expected = key_template("c", rank)
    raise fields.wrong("key", f"a name and a number for each dim, as in {expected!r}")


def name_of_chunks(document: bytes) -> str | None:
    """The name with which the keys of chunks begin, of any ``tenso.json``; None if there is none.

    >>> print(name_of_chunks(b'{"key": "c-1f/{i}"}'), name_of_chunks(b"{"))
    c-1f None
    """
    try:
        text = json.loads(document)["key"]
        found = re.match(rf"{_NAME}([/.]|$)", text)
    except (ValueError, KeyError, TypeError):
        return None
    return None if found is None else found[1]


class TensoMetadata(NamedTuple):
    """What ``tenso.json`` says: how to read the array, and what its positions mean."""

    array: ArrayMetadata
    axes: tuple[Axis, ...] | None
    origin: tuple[int, ...]


def parse_metadata(
    document: Mapping[str, Any], where: str, *, verify: bool = True
) -> TensoMetadata:
    """The array of a ``tenso.json``; ``FormatError`` or ``DTypeError`` naming file and key.

    >>> meta = parse_metadata({"format": FORMAT, "version": 1, "shape": [5, 3], "chunks": [2, 2],
    ...     "dtype": "uint16", "fill_value": 0, "key": "c/{i}/{j}", "compress": False,
    ...     "integrity": True, "quant": None}, "tenso.json").array
    >>> meta.shape, meta.keys.key((1, 0)), meta.counts
    ((5, 3), 'c/1/0', (3, 2))
    """
    fields = Fields(document, where)
    if document.get("format") != FORMAT:
        raise fields.wrong("format", repr(FORMAT))
    if type(document.get("version")) is not int or document["version"] != _VERSION:
        raise fields.wrong("version", f"{_VERSION}, the only one that this library knows")
    for key in _REQUIRED:
        fields.get(key)
    unknown = sorted(set(document) - {*_REQUIRED, *_OPTIONAL})
    if unknown:
        raise FormatError(f"{where}: expected no key {unknown[0]!r} in version {_VERSION}")
    shape = fields.extents("shape")
    rank = len(shape)
    if rank > MAX_NDIM:
        raise fields.wrong("shape", f"at most {MAX_NDIM} dims")
    chunks = fields.extents("chunks", rank=rank, least=1)
    if np.prod(chunks, dtype=object) > MAX_ELEMENTS:
        raise fields.wrong("chunks", f"chunks of at most {MAX_ELEMENTS} elements")
    dtype, quant = _parse_dtype(fields), _parse_quant(fields, rank)
    if quant is not None and dtype != np.float32:
        raise fields.wrong("dtype", "float32, what quantized packets are read as")
    flags = {key: document[key] for key in ("compress", "integrity")}
    for key, value in flags.items():
        if not isinstance(value, bool):
            raise fields.wrong(key, "true or false")
    fill = parse_fill_value(document["fill_value"], dtype, fields.at("fill_value"), zarr_format=3)
    codec = {"name": "tenso", **flags, "quant": document["quant"]}
    axes = _parse_axes(fields, rank)
    array = ArrayMetadata(
        zarr_format="tenso chunks",
        shape=shape,
        dtype=dtype,
        chunk_shape=chunks,
        keys=_parse_keys(fields, rank),  # type: ignore[arg-type]
        layout=TensoLayout(chunks, dtype, quant, verify=verify),
        fill_value=fill,
        dimension_names=_parse_dims(fields, rank),
        order="C",
        codecs=(codec,),
        attributes=fields.fields("attributes", optional=True).document,
        document=document,
    )
    return TensoMetadata(array, axes, _parse_origin(fields, rank))


def _parse_dtype(fields: Fields) -> np.dtype:
    name = fields.text("dtype")
    if name not in CODES.values():
        raise DTypeError(
            f"{fields.at('dtype')}: {name!r} is not supported; known: {', '.join(CODES.values())}"
        )
    return scalar_type(name) if name == "bfloat16" else np.dtype(name)


def _parse_quant(fields: Fields, rank: int) -> Quant | None:
    if fields.document["quant"] is None:
        return None
    quant = fields.fields("quant")
    unknown = sorted(set(quant.document) - set(Quant._fields))
    if unknown:
        raise FormatError(f"{quant.where}: expected no key {unknown[0]!r}")
    name = quant.choice("dtype", tuple(QTYPES), "")
    scheme = quant.choice("scheme", SCHEMES, "")
    axis, group_size = quant.integer("axis"), quant.integer("group_size")
    if axis and (scheme != "per_channel" or axis >= rank):
        raise quant.wrong("axis", "the number of a dim, with per_channel, else 0")
    if (group_size > 0) != (scheme == "per_group"):
        raise quant.wrong("group_size", "a positive number with per_group, else 0")
    if scheme == "per_channel" and not rank:
        raise quant.wrong("scheme", "another one for an array without dims")
    return Quant(name, scheme, axis, group_size)


def _parse_dims(fields: Fields, rank: int) -> tuple[str | None, ...] | None:
    if fields.document.get("dims") is None:
        return None
    names = fields.items("dims")
    if len(names) != rank or not all(name is None or isinstance(name, str) for name in names):
        raise fields.wrong("dims", f"{rank} names, one per dimension")
    return tuple(names)


def _parse_origin(fields: Fields, rank: int) -> tuple[int, ...]:
    if fields.document.get("origin") is None:
        return (0,) * rank
    origin = fields.items("origin")
    if len(origin) != rank or not all(type(n) is int and _LEAST <= n <= -_LEAST for n in origin):
        raise fields.wrong("origin", f"{rank} integers, one per dimension")
    return tuple(origin)


def _parse_axes(fields: Fields, rank: int) -> tuple[Axis, ...] | None:
    if fields.document.get("axes") is None:
        return None
    axes = fields.objects("axes")
    if len(axes) != rank:
        raise fields.wrong("axes", f"{rank} objects, one per dimension")
    return tuple(map(axis_from_json, axes))


class TensoChunks(ZarrSource):
    """A chunked array of tenso packets, readable by box from any thread.

    ``origin``: coordinates of its first element, for whoever shows it. As ``ZarrSource`` otherwise.
    """

    padded = False
    _called = "tenso"

    def __init__(
        self,
        store: Store,
        node: Node,
        meta: TensoMetadata,
        verify: str,
        missing_status: Sequence[int] = (404,),
    ) -> None:
        self.origin = meta.origin
        self._verify = verify
        self._variant = (verify,)
        super().__init__(store, node, axes=meta.axes, missing_status=missing_status)

    def to_json(self) -> dict[str, Any]:
        """How to open it again; ``SerializationError`` for arrays that only live in memory."""
        return {**super().to_json(), "format": "tenso-chunks", "verify": self._verify}


def is_chunked(store: Store, path: str = "") -> bool:
    """Whether there is a ``tenso.json`` at a path of a store."""
    return store.size(join_key(path, DOCUMENT)) is not None


def open_chunked(
    store: Any,
    path: str = "",
    *,
    verify: str = "whole",
    missing_status: Sequence[int] = (404,),
    storage_options: Mapping[str, Any] | None = None,
) -> TensoChunks:
    """The chunked array in a folder; its metadata is read, and nothing else.

    ``store``, ``path``, ``missing_status``, ``storage_options``: as for zarr
    (``store_open.make_store``). ``verify``: ``"never"`` leaves checksums out; a chunk is always
    read as a whole, so ``"whole"`` and ``"always"`` are the same.

    Raises ``SourceNotFoundError`` when there is no ``tenso.json``, ``FormatError`` naming file and
    key for one that breaks the rules, ``DTypeError`` for dtypes that packets do not hold.
    """
    if verify not in _VERIFY:
        raise ValueError(f"verify must be one of {_VERIFY}, not {verify!r}")
    opened, inner = resolve_store(store, path, storage_options, missing_status=missing_status)
    key = join_key(inner, DOCUMENT)
    (found,) = opened.load_many([key])
    if not isinstance(found, Loaded):
        if found is not None:
            raise found
        raise SourceNotFoundError(f"{opened.name} has no {key!r}")
    where = f"{opened.name}/{key}"
    meta = parse_metadata(parse_json(found.data, where), where, verify=verify != "never")
    node = Node(inner, meta.array, key, found.token)
    return TensoChunks(opened, node, meta, verify, missing_status)


def from_json(
    document: Mapping[str, Any], *, storage_options: Mapping[str, Any] | None = None
) -> TensoChunks:
    """The source that ``TensoChunks.to_json`` described, else ``SerializationError``."""
    uri, path = document.get("uri"), document.get("path", "")
    verify = document.get("verify", "whole")
    if (
        document.get("format") != "tenso-chunks"
        or not isinstance(uri, str)
        or not isinstance(path, str)
        or verify not in _VERIFY
    ):
        raise SerializationError(f"expected tenso chunks with a uri, found {dict(document)!r:.80}")
    status = document.get("missing_status", (404,))
    return open_chunked(
        uri, path, verify=verify, missing_status=status, storage_options=storage_options
    )
