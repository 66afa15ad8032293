"""Arrays in ``.npy`` files, read by boxes.

The format has no chunks: elements lie in C or Fortran order behind a short header. A box is read as
runs of neighbouring bytes (``io.runs``). With ``mmap=True`` a local file is mapped instead, and the
tensor aliases it. The header is checked against the size of the file before anything is believed.

Format: ``numpy.lib.format``, versions 1.0 to 3.0.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Hashable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy_format

from lazytensor.errors import (
    DTypeError,
    FormatError,
    SerializationError,
    SourceChangedError,
)
from lazytensor.io.place import BufferStore, file_at, is_buffer, opened
from lazytensor.io.runs import gap_of, held_nbytes, pieces_of, read_pieces
from lazytensor.io.scratch import thread_scratch
from lazytensor.io.store import Store, StoredObject
from lazytensor.plan.counters import count
from lazytensor.plan.source import Box, Fetched, Read, Storage, UnitSize
from lazytensor.plan.spec import TensorSpec, make_spec

__all__ = ["Header", "NpySource", "from_json", "is_npy", "parse_header", "scan"]

_MAGIC = b"\x93NUMPY"
_LENGTH_BYTES = {(1, 0): 2, (2, 0): 4, (3, 0): 4}
_LONGEST_HEADER = 1 << 20
_LARGEST = 1 << 62


class Header(NamedTuple):
    """What the header of a ``.npy`` file says, and where the elements start."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran_order: bool
    offset: int


def scan(
    source: Any, *, mmap: bool = False, storage_options: Mapping[str, Any] | None = None
) -> NpySource:
    """The array in a ``.npy`` file; its header is read, and nothing else.

    ``source``: a path, any fsspec URL, ``(fs, path)``, or the bytes of a file. ``mmap``: map a
    local file, which then must not be truncated while a result lives.

    Raises ``SourceNotFoundError`` when there is nothing, ``FormatError`` when the file is no
    ``.npy`` file or shorter than its header says, ``DTypeError`` for Python objects.
    """
    store, key = _place(source, storage_options)
    with opened(store, key) as stored:
        header = parse_header(stored, f"{store.name}/{key}")
    return NpySource(store, key, header, store.token(key), mmap=mmap)


def is_npy(source: Any) -> bool:
    """Whether a local path, URL or bytes look like a ``.npy`` file, by name or first bytes."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source[: len(_MAGIC)]) == _MAGIC
    if not isinstance(source, (str, os.PathLike)):
        return False
    text = os.fspath(source)
    if not isinstance(text, str) or not os.path.isfile(text):
        return isinstance(text, str) and text.endswith(".npy") and not os.path.isdir(text)
    with open(text, "rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def _place(source: Any, options: Mapping[str, Any] | None) -> tuple[Store, str]:
    """The store around a file, and the file's key in it; of bytes, a copy."""
    if is_buffer(source):
        return BufferStore(bytes(source), "array.npy"), "array.npy"
    return file_at(source, options, ".npy file")


def parse_header(stored: StoredObject, name: str) -> Header:
    """The header of an open file, checked against the file's size.

    >>> import io
    >>> from lazytensor.io.store import MemoryObject
    >>> file = io.BytesIO(); np.save(file, np.zeros((2, 3), "<u2"))
    >>> parse_header(MemoryObject(file.getvalue()), "a.npy")
    Header(shape=(2, 3), dtype=dtype('uint16'), fortran_order=False, offset=128)
    """
    start = bytes(stored.read(0, min(12, stored.size)))
    if not start.startswith(_MAGIC) or len(start) < 10:
        raise FormatError(f"{name}: expected a .npy file, found {start[:6]!r} at its start")
    version = (start[6], start[7])
    if version not in _LENGTH_BYTES:
        raise FormatError(f"{name}: .npy version {version} is not 1.0, 2.0 or 3.0")
    size = _LENGTH_BYTES[version]
    length = int.from_bytes(start[8 : 8 + size], "little")
    offset = 8 + size + length
    if length > _LONGEST_HEADER or offset > stored.size:
        raise FormatError(f"{name}: a header of {length} bytes in a file of {stored.size}")
    encoding = "utf-8" if version == (3, 0) else "latin-1"
    header = _parse_fields(bytes(stored.read(8 + size, length)), encoding, name)._replace(
        offset=offset
    )
    needed = offset + prod(header.shape) * header.dtype.itemsize
    if stored.size < needed:
        raise FormatError(
            f"{name}: truncated: {header.shape} of {header.dtype} need {needed} bytes, the file "
            f"has {stored.size}"
        )
    return header


def _parse_fields(text: bytes, encoding: str, name: str) -> Header:
    try:
        fields = ast.literal_eval(text.decode(encoding).strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise FormatError(f"{name}: the header is no Python literal: {error}") from None
    if not isinstance(fields, dict) or set(fields) != {"descr", "fortran_order", "shape"}:
        raise FormatError(f"{name}: expected descr, fortran_order and shape, found {fields!r:.80}")
    shape, fortran_order = fields["shape"], fields["fortran_order"]
    whole = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
    if not whole or prod(shape) > _LARGEST:
        raise FormatError(f"{name}: shape {shape!r} is no tuple of extents")
    if not isinstance(fortran_order, bool):
        raise FormatError(f"{name}: fortran_order is {fortran_order!r}, expected a bool")
    try:
        dtype = npy_format.descr_to_dtype(fields["descr"])
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise FormatError(f"{name}: descr {fields['descr']!r} is no dtype: {error}") from None
    if dtype.hasobject:
        raise DTypeError(f"{name} holds Python objects, which would have to be unpickled")
    if dtype.itemsize == 0:
        raise FormatError(f"{name}: dtype {dtype} has no size")
    return Header(shape, dtype, fortran_order, 0)


class NpySource:
    """One ``.npy`` file."""

    padded = False
    __slots__ = ("_header", "_key", "_mmap", "_store", "_token", "array", "key", "spec")

    array: np.ndarray | None
    spec: TensorSpec
    key: Hashable

    def __init__(
        self, store: Store, key: str, header: Header, token: Hashable | None, *, mmap: bool
    ) -> None:
        self._store = store
        self._key = key
        self._header = header
        self._token = token
        self._mmap = mmap
        self.spec = make_spec(header.shape, header.dtype.newbyteorder("="))
        self.key = ("npy", store.identity, key, token, mmap)
        self.array = self._mapped() if mmap else None

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._store, self._key, self._header, self._token, self._mmap)

    def _mapped(self) -> np.ndarray | None:
        uri = self._store.uri
        if uri is None or "://" in uri:
            raise FormatError(f"{self.label}: mmap=True needs a local file")
        if not self._header.dtype.isnative:
            raise FormatError(f"{self.label}: mmap=True needs elements in this machine's order")
        if not prod(self._header.shape):
            return np.empty(self._header.shape, self._header.dtype)
        return np.memmap(
            os.path.join(uri, self._key),
            self._header.dtype,
            "r",
            self._header.offset,
            self._header.shape,
            "F" if self._header.fortran_order else "C",
        )

    @property
    def label(self) -> str:
        """``"npy <place>"``."""
        return f"npy {self._store.name}/{self._key}"

    @property
    def attrs(self) -> Mapping[str, Any]:
        """The format has none."""
        return {}

    @property
    def storage(self) -> Storage | None:
        """None: there are no chunks or codecs to tell of."""
        return None

    def check(self) -> None:
        """``SourceChangedError`` when the file is another one than was scanned."""
        if self._store.changed(self._key, self._token):
            raise SourceChangedError(f"{self.label} has changed since it was scanned; scan again")

    def unit_sizes(self, cells: list[tuple[int, ...]]) -> UnitSize:
        """The file is one unit."""
        return UnitSize(1, self.spec.nbytes, 0)

    def reading_nbytes(self, nbytes: int) -> int:
        """One piece of the file, which may have gaps in it; over a network several."""
        if self.array is not None:
            return 0
        return held_nbytes(self.spec.nbytes, far=self._store.remote)

    def fetched(self, reads: Sequence[Read]) -> Fetched:
        """What carrying out ``reads`` will fetch: with the gaps between runs that are one piece."""
        boxes = [box for box, _ in reads if all(lo < hi for lo, hi in box)]
        if self.array is not None or not boxes:
            return Fetched(0, 0, 0)
        shape = self._header.shape
        if self._header.fortran_order:
            shape, turned = shape[::-1], [box[::-1] for box in boxes]
        else:
            turned = boxes
        item, gap = self._header.dtype.itemsize, gap_of(self._store)
        nbytes = sum(p.nbytes for box in turned for p in pieces_of(shape, item, box, gap=gap))
        elements = sum(prod(hi - lo for lo, hi in box) for box in boxes)
        return Fetched(nbytes, 1, elements * item)

    def to_json(self) -> dict[str, Any]:
        """Where the file is; ``SerializationError`` for bytes in memory."""
        if self._store.uri is None:
            raise SerializationError(f"{self.label}: bytes in memory have no location to refer to")
        uri = f"{self._store.uri.rstrip('/')}/{self._key}"
        return {"format": "npy", "uri": uri, "mmap": self._mmap}

    def read_into(self, box: Box, out: np.ndarray) -> None:
        """Fill ``out`` with the box; raises ``SourceError`` naming the file."""
        if self.array is not None:
            out[...] = self.array[tuple(slice(lo, hi) for lo, hi in box)]
            return
        shape = self._header.shape
        if self._header.fortran_order:
            # The same bytes are the transpose in C order.
            shape, box, out = shape[::-1], box[::-1], out.T
        if not out.size:
            return
        header = self._header
        pieces = pieces_of(shape, header.dtype.itemsize, box, gap=gap_of(self._store))
        with opened(self._store, self._key) as stored:
            for _ in read_pieces(
                stored,
                header.offset,
                list(pieces),
                header.dtype,
                out,
                thread_scratch(),
                far=self._store.remote,
            ):
                pass
        count("bytes_decoded", out.nbytes)
        count("units_read")


def _restore(
    store: Store, key: str, header: Header, token: Hashable | None, mmap: bool
) -> NpySource:
    return NpySource(store, key, header, token, mmap=mmap)


def from_json(
    document: Mapping[str, Any], *, storage_options: Mapping[str, Any] | None = None
) -> NpySource:
    """The source that ``NpySource.to_json`` described, else ``SerializationError``."""
    uri, mmap = document.get("uri"), document.get("mmap", False)
    if document.get("format") != "npy" or not isinstance(uri, str) or not isinstance(mmap, bool):
        raise SerializationError(f"expected a .npy file with a uri, found {dict(document)!r:.80}")
    return scan(uri, mmap=mmap, storage_options=storage_options)
