"""Arrays in ``.npy`` files, read by boxes.

The format has no chunks: elements lie in C or Fortran order behind a short header. A box is read as
runs of neighbouring bytes, runs that lie close together in one piece, and never more than a few
megabytes at a time beyond the output. With ``mmap=True`` a local file is mapped instead, and the
tensor aliases it. The header is checked against the size of the file before anything is believed.

Format: ``numpy.lib.format``, versions 1.0 to 3.0.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy_format

from lazytensor.errors import (
    DTypeError,
    FormatError,
    SerializationError,
    SourceChangedError,
    SourceError,
    SourceNotFoundError,
)
from lazytensor.io.store import Store, StoredObject
from lazytensor.io.store_memory import DictStore
from lazytensor.io.store_open import make_store
from lazytensor.plan.counters import count
from lazytensor.plan.source import Box, Fetched, Read, Storage, UnitSize
from lazytensor.plan.spec import TensorSpec, make_spec

__all__ = ["Header", "NpySource", "from_json", "is_npy", "parse_header", "scan"]

_MAGIC = b"\x93NUMPY"
_LENGTH_BYTES = {(1, 0): 2, (2, 0): 4, (3, 0): 4}
_LONGEST_HEADER = 1 << 20
_PIECE = 4 << 20  # bytes read at once
_GAP = 64 << 10  # bytes worth reading to save another read
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
    with _opened(store, key) as stored:
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
    """The store around a file, and the file's key in it."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return DictStore({"array.npy": bytes(source)}), "array.npy"
    if isinstance(source, tuple) and len(source) == 2:
        fs, path = source
        parent, _, name = os.fspath(path).rstrip("/").rpartition("/")
        return make_store((fs, parent), options), name
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            f"{type(source).__name__} is no place of a .npy file: give a path, a URL, (fs, path) "
            f"or bytes"
        )
    text = os.fspath(source)
    if "://" in text:
        parent, _, name = text.rstrip("/").rpartition("/")
        return make_store(parent, options), name
    path = Path(text).expanduser()
    if not path.is_file():
        raise SourceNotFoundError(f"there is no file {text!r} (from {os.getcwd()!r})")
    return make_store(path.parent, options), path.name


def _opened(store: Store, key: str) -> StoredObject:
    stored = store.open(key)
    if stored is None:
        raise SourceNotFoundError(f"{store.name} has no file {key!r}")
    return stored


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
        """One piece of the file, which may have gaps in it."""
        return 0 if self.array is not None else min(self.spec.nbytes, _PIECE)

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
        nbytes = sum(n for box in turned for _, n, _, _ in _pieces(shape, box, self._header))
        elements = sum(prod(hi - lo for lo, hi in box) for box in boxes)
        return Fetched(nbytes, 1, elements * self._header.dtype.itemsize)

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
        with _opened(self._store, self._key) as stored:
            for start, nbytes, strides, place in _pieces(shape, box, self._header):
                target = out[(*place, ...)]
                data = stored.read(start, nbytes)
                if len(data) != nbytes:
                    raise SourceError(f"{self.label}: the file ends within the elements")
                target[...] = np.ndarray(target.shape, self._header.dtype, data, 0, strides)
                count("bytes_read", nbytes)
                count("bytes_decoded", target.nbytes)
        count("units_read")


_Piece = tuple[int, int, tuple[int, ...], tuple[int | slice, ...]]
"""First byte, number of bytes, strides in it, and the part of the output it fills."""


def _pieces(shape: tuple[int, ...], box: Box, header: Header) -> Iterator[_Piece]:
    """The reads that make a box of an array in C order: ``_PIECE`` bytes at most, or one run."""
    strides = [header.dtype.itemsize] * len(shape)
    for d in reversed(range(len(shape) - 1)):
        strides[d] = strides[d + 1] * shape[d + 1]
    if not shape:
        yield header.offset, header.dtype.itemsize, (), ()
        return
    split, rows = _split(shape, box, strides)
    lows = [range(lo, hi) for lo, hi in box[:split]]
    lo, hi = box[split]
    within = list(zip(strides[split + 1 :], box[split + 1 :], strict=True))
    inner = header.offset + sum(s * a for s, (a, _) in within)
    last = sum((b - a - 1) * s for s, (a, b) in within)
    for outer in product(*lows):
        base = inner + sum(s * c for s, c in zip(strides, outer, strict=False))
        at = tuple(c - a for c, (a, _) in zip(outer, box, strict=False))
        for first in range(lo, hi, rows):
            n = min(rows, hi - first)
            nbytes = (n - 1) * strides[split] + last + header.dtype.itemsize
            place: tuple[int | slice, ...] = (*at, slice(first - lo, first - lo + n))
            yield base + first * strides[split], nbytes, tuple(strides[split:]), place


def _split(shape: tuple[int, ...], box: Box, strides: list[int]) -> tuple[int, int]:
    """The dim along which pieces are cut, and how many positions of it one piece has.

    The outermost dim whose positions lie close enough together that reading what is between
    them costs less than another read, and of which a piece holds at least two.
    """
    for d in range(len(shape)):
        inner = zip(strides[d + 1 :], box[d + 1 :], strict=True)
        within = sum((b - a - 1) * s for s, (a, b) in inner)
        gap = strides[d] - within - strides[-1]
        if gap <= max(_GAP, within) and 2 * strides[d] <= _PIECE:
            return d, _PIECE // strides[d]
    return len(shape) - 1, max(1, _PIECE // strides[-1])


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
