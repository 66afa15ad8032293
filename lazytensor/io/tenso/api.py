"""``lt.io.tenso``, as far as whole packets go: from memory and files, and back, at once.

Names and parameters are those of tenso 0.24. What is written is what that package writes, byte for
byte; what is read is checked first.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.tenso.buffers import as_bytes, check_sparse, outline_in, packet_in, settled
from lazytensor.io.tenso.decode import Decoded
from lazytensor.io.tenso.describe import describe
from lazytensor.io.tenso.encode import Encoded, Options, encode
from lazytensor.io.tenso.streams import name_of, next_packet
from lazytensor.io.tenso.writing import write_packet
from lazytensor.native.addresses import address_of_bytes

__all__ = ["dump", "dumps", "is_aligned", "iter_dumps", "load", "loads", "packet_info"]

_LINE = 64


def _encoded(
    obj: object, strict: bool, check_integrity: bool, compress: bool, alignment: int
) -> Encoded:
    return encode(obj, Options(strict, check_integrity, compress, alignment))


def dumps(
    obj: object,
    strict: bool = False,
    check_integrity: bool = False,
    compress: bool = False,
    alignment: int = 64,
) -> memoryview:
    """The packet of an object, byte for byte that of tenso 0.24, in memory that begins at a
    multiple of 64, so that ``loads`` of it copies nothing.

    Parameters
    ----------
    obj
        Whatever has ``__array__`` (dtypes bool, integers, floats, complex and bfloat16), a matrix
        of scipy (coo, csr, csc), a ``QuantizedArray``, a ``StringTensor`` or one-dimensional array
        of strings, or a dict of these, nested up to 64 deep.
    strict
        Raise ``ValueError`` for arrays that are not C-contiguous instead of copying them.
    check_integrity
        Put the XXH3-64 of the stored bytes behind each array (not of sparse matrices).
    compress
        LZ4, of plain arrays only, also those in dicts: tenso 0.24 cannot read such dicts back. The
        first time on a machine this waits some seconds for compiled code; without it (option
        ``LAZYTENSOR_NATIVE=0`` of the environment) compressed bytes are other ones, as readable.
    alignment
        Bytes, a power of two: where the values begin, from the start of their packet.

    Raises ``DTypeError`` for what packets do not hold (masked arrays, strings of no fixed meaning,
    objects), ``ShapeError`` for more than 10^9 elements, 32 dims, 255 entries or 4 GiB in an entry.

    >>> bytes(dumps(np.arange(2, dtype=np.uint8)))[:14].hex(" ", 2)
    '544e 534f 0401 0005 0100 0200 0000'
    >>> loads(dumps({"a": np.arange(3), "b": {"c": np.ones(2)}}))
    {'a': array([0, 1, 2]), 'b': {'c': array([1., 1.])}}
    """
    encoded = _encoded(obj, strict, check_integrity, compress, alignment)
    room = np.empty(encoded.nbytes + _LINE, np.uint8)
    first = -address_of_bytes(room) % _LINE
    packet = room[first : first + encoded.nbytes].data
    at = 0
    for part in encoded.parts:
        packet[at : at + len(part)] = part
        at += len(part)
    return packet.toreadonly()


def iter_dumps(
    obj: object,
    strict: bool = False,
    check_integrity: bool = False,
    compress: bool = False,
    alignment: int = 64,
) -> Iterator[bytes | bytearray | memoryview]:
    """The packet of ``dumps`` in parts: the values are views of the arrays, not copied.

    What is wrong with the object is raised by the call, before the first part.

    >>> [len(part) for part in iter_dumps(np.arange(3), check_integrity=True)]
    [64, 24, 8]
    """
    return iter(_encoded(obj, strict, check_integrity, compress, alignment).parts)


def dump(
    obj: object,
    fp: Any,
    strict: bool = False,
    check_integrity: bool = False,
    compress: bool = False,
    alignment: int = 64,
) -> None:
    """Write the packet of ``dumps`` where a binary file stands (or to the file of that path).

    The object is checked before the first byte is written, and the values are written from where
    they are. Several packets may follow each other in a file.
    """
    encoded = _encoded(obj, strict, check_integrity, compress, alignment)
    if isinstance(fp, str | os.PathLike):
        with open(fp, "wb") as file:
            write_packet(file, encoded)
    else:
        write_packet(fp, encoded)


def loads(data: Any, copy: bool = False, *, sparse: str = "scipy", legacy: bool = False) -> Decoded:
    """What the packet at the start of a buffer holds; bytes behind it are ignored.

    Parameters
    ----------
    data
        Any buffer: bytes, memoryview, mmap, array.
    copy
        True: arrays in memory of their own, which may be written. False: read-only ones, views of
        ``data`` wherever their elements lie there as processors want them.
    sparse
        ``"scipy"``: sparse matrices become scipy's (``ImportError`` naming the extra without it).
        ``"raise"``: they raise ``FormatError``.
    legacy
        Read quantized packets of tenso before 0.23, which have another layout of the same version.

    Returns
    -------
    ndarray, QuantizedArray, StringTensor, scipy matrix or dict
        Versions 4, 3 and 2 are read.

    Raises ``FormatError`` for what is no packet, ``ChecksumError`` where a checksum does not match.

    >>> loads(dumps(np.eye(2, dtype=np.float32)))
    array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    check_sparse(sparse)
    value, _ = packet_in(as_bytes(data), 0, sparse=sparse, legacy=legacy, where="packet")
    return settled(value, copy=copy, writable=copy)


def load(
    fp: Any,
    mmap_mode: bool = False,
    copy: bool = False,
    *,
    sparse: str = "scipy",
    legacy: bool = False,
) -> Decoded:
    """What the packet holds that begins where a binary file (or that of a path) stands.

    The file then stands behind the packet, so that the next call reads the next one. Arrays are in
    memory of their own and may be written, unless ``mmap_mode``.

    Parameters
    ----------
    mmap_mode
        Arrays are read-only views of the mapped file: nothing is read before it is needed, except
        for checksums. A file that gets shorter meanwhile kills the process (SIGBUS).
    copy
        With ``mmap_mode``: copies that may be written instead of views.
    sparse, legacy
        As of ``loads``.

    Raises ``FormatError`` for what is no packet, also where the file is at its end.

    >>> import io
    >>> file = io.BytesIO()
    >>> dump(np.arange(3), file); dump(np.arange(2), file)
    >>> _ = file.seek(0)
    >>> load(file), load(file)
    (array([0, 1, 2]), array([0, 1]))
    """
    check_sparse(sparse)
    if isinstance(fp, str | os.PathLike):
        with open(fp, "rb") as file:
            return load(file, mmap_mode, copy, sparse=sparse, legacy=legacy)
    where = name_of(fp, "packet")
    if mmap_mode:
        return _mapped(fp, copy, sparse, legacy, where)
    found = next_packet(fp, sparse=sparse, legacy=legacy, where=where)
    if found is None:
        raise FormatError(f"{where}: expected a packet, found the end")
    return found


def _mapped(fp: Any, copy: bool, sparse: str, legacy: bool, where: str) -> Decoded:
    here = fp.tell()
    if here >= os.fstat(fp.fileno()).st_size:
        raise FormatError(f"{where}: expected a packet, found the end")
    view = as_bytes(mmap.mmap(fp.fileno(), 0, access=mmap.ACCESS_READ))
    value, stop = packet_in(view, here, sparse=sparse, legacy=legacy, where=where)
    fp.seek(stop)
    return settled(value, copy=copy, writable=copy)


def packet_info(data: Any, *, legacy: bool = False) -> dict[str, Any]:
    """What a packet says of itself, in words; no value is looked at.

    Returns a dict with

    - ``kind``: dense, quantized, coo, csr, csc, string or bundle; ``version``; ``flags``: names;
    - ``dtype``: name, of a sparse matrix that of its elements, None of a bundle; ``shape``;
    - ``compression``: ``"lz4"`` or None; ``integrity``: whether there is a checksum;
    - ``offset``: where the stored values begin;
    - ``nbytes``: of the values (of a bundle, of all); ``packet_nbytes``: of the packet;
    - of a quantized array ``scheme``, ``axis``, ``group_size``, ``parameters`` (number of scales);
    - of a sparse matrix ``elements``: those that are stored; ``parts``: such a dict of each;
    - of a bundle ``entries``: such a dict of each.

    The packet has to be there as a whole, else ``FormatError``.

    >>> info = packet_info(dumps(np.zeros((2, 3), np.float32), check_integrity=True))
    >>> info["dtype"], info["shape"], info["flags"], info["packet_nbytes"]
    ('float32', (2, 3), ('ALIGNED', 'INTEGRITY'), 96)
    """
    return describe(outline_in(as_bytes(data), 0, legacy, "packet"))


def is_aligned(data: Any, alignment: int = 64) -> bool:
    """Whether a buffer begins at an address that is a multiple of ``alignment`` bytes.

    >>> is_aligned(dumps(np.arange(3)))
    True
    """
    view = memoryview(data)
    return not view.nbytes or address_of_bytes(as_bytes(view)) % alignment == 0
