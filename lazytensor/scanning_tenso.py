"""Tensors of tenso packets.

What a packet holds is known from its header; values are read when a plan that needs them is
collected. A quantized packet is what its integers stand for: a plan that dequantizes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from lazytensor.build_tenso import chunked_node, packet_node, quantized_parts
from lazytensor.errors import FormatError, SourceNotFoundError
from lazytensor.plan.garbage import importing
from lazytensor.tensor import LazyTensor

if TYPE_CHECKING:
    from os import PathLike

    from lazytensor.io.tenso.scan import Entry, Opened
    from lazytensor.quantized import QuantizedTensor

__all__ = ["TensoFile", "open_tenso", "scan_tenso"]

Options = Mapping[str, Any] | None
Verify = Literal["whole", "always", "never"]
_SHOWN = 10


class PacketNotFoundError(SourceNotFoundError, KeyError):
    """A file of packets has nothing under a key; also a ``KeyError``, as of any mapping."""


def scan_tenso(
    source: str | PathLike[str] | bytes | Any,
    *,
    verify: Verify = "whole",
    mmap: bool = False,
    legacy: bool = False,
    storage_options: Options = None,
) -> LazyTensor:
    """The one array in a tenso packet, or in a folder of chunks that are packets.

    A single packet has no chunks; plans are cut at rows of some megabytes (``chunks``), and a slice
    reads what it needs: byte ranges of values that are stored as they are, the blocks of compressed
    ones. Quantized packets are the float32 values that they stand for. Of sparse matrices boxes are
    made dense as they are needed; what is stored is read once.

    Parameters
    ----------
    source
        A path, any fsspec URL, ``(fs, path)``, ``(store, key)`` with a key in anything that is a
        store (a folder, zip file, ``dict[str, bytes]``), or the bytes of a packet, which are
        aliased. A folder, zip file or store with ``tenso.json``, or with one file.
    verify
        ``"whole"``: the checksum, where there is one, is compared when a ``collect`` reads all of a
        packet. ``"always"``: before its first values, whatever is wanted, for which all of it is
        read once. ``"never"``: not at all.
    mmap
        Map a local file instead of reading it. It must not be truncated while a result lives. What
        is stored as it is, and has no checksum that ``verify`` asks for, is not even copied.
    legacy
        Take quantized packets of tenso before 0.23 too, whose header lacks a byte.
    storage_options
        Options of the fsspec file system.

    Raises ``SourceNotFoundError``, ``FormatError`` for what is no packet or is truncated, and,
    listing their keys, for several packets or a bundle (``open_tenso``), and for strings
    (``lt.io.tenso.load``). Reading raises ``ChecksumError``, ``ChunkDecodeError`` for damaged
    compressed values, ``FormatError`` for indices of a sparse matrix that lie outside of it,
    ``SourceChangedError`` when the file is another one. Format: tenso 0.24, versions 2 to 4.

    >>> from lazytensor.io import tenso
    >>> packet = tenso.dumps(np.arange(6, dtype=np.int16).reshape(2, 3), check_integrity=True)
    >>> lt.scan_tenso(packet)
    LazyTensor(2, 3)  int16  12 B  chunks (2, 3)
    >>> lt.scan_tenso(packet)[:, 1].collect()
    array([1, 4], dtype=int16)
    """
    with importing():
        from lazytensor.io.tenso.chunked import TensoChunks
        from lazytensor.io.tenso.scan import scan

    found = scan(source, verify=verify, mmap=mmap, legacy=legacy, storage_options=storage_options)
    return _chunked(found) if isinstance(found, TensoChunks) else _tensor(found)


def open_tenso(
    source: str | PathLike[str] | bytes | Any,
    *,
    verify: Verify = "whole",
    mmap: bool = False,
    legacy: bool = False,
    storage_options: Options = None,
) -> TensoFile:
    """All arrays in a file of tenso packets, by key.

    Of a bundle these are its keys, of bundles in it ``"a/b"``; of several packets, one behind the
    other, their numbers ``"0"``, ``"1"``, ...; of a single one ``"0"``. Headers are read, and no
    values. Parameters and errors as ``scan_tenso``.

    >>> from lazytensor.io import tenso
    >>> bundle = tenso.dumps({"image": np.zeros((2, 3)), "train": {"y": np.arange(4)}})
    >>> found = lt.open_tenso(bundle)
    >>> list(found), found["train/y"].collect(), found.info("image")["dtype"]
    (['image', 'train/y'], array([0, 1, 2, 3]), 'float64')
    """
    with importing():
        from lazytensor.io.tenso.scan import open_file

    return TensoFile._wrap(
        open_file(source, verify=verify, mmap=mmap, legacy=legacy, storage_options=storage_options)
    )


class TensoFile(Mapping[str, LazyTensor]):
    """The packets of a file: a mapping from keys to tensors. Made by ``open_tenso``.

    Strings are listed, and refused when they are asked for: a tensor holds numbers.
    """

    __slots__ = ("_opened",)

    _opened: Opened

    # A mapping compares its values, and comparing lazy tensors is a tensor and no answer.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __init__(self) -> None:
        raise TypeError("open_tenso makes these")

    @classmethod
    def _wrap(cls, opened: Opened) -> TensoFile:
        self = object.__new__(cls)
        self._opened = opened
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return TensoFile._wrap, (self._opened,)

    def __repr__(self) -> str:
        keys = list(self)
        shown = ", ".join(map(repr, keys[:_SHOWN])) + ", ..." * (len(keys) > _SHOWN)
        return f"TensoFile({self._opened.name!r}, {shown or 'nothing in it'})"

    def _entry(self, key: str) -> Entry:
        if not isinstance(key, str):
            raise TypeError(f"packets are found by key, not by {type(key).__name__}")
        entry = self._opened.entries.get(key)
        if entry is None:
            raise PacketNotFoundError(f"{self!r} has no {key!r}")
        return entry

    def __getitem__(self, key: str) -> LazyTensor:
        if self._opened.chunked is not None and key == "0":
            return _chunked(self._opened.chunked)
        return _tensor(self._entry(key))

    def __iter__(self) -> Iterator[str]:
        return iter(["0"] if self._opened.chunked is not None else list(self._opened.entries))

    def __len__(self) -> int:
        return 1 if self._opened.chunked is not None else len(self._opened.entries)

    def __contains__(self, key: object) -> bool:
        return key in list(self)

    def info(self, key: str) -> dict[str, Any]:
        """What the header of a packet says, as ``lt.io.tenso.packet_info``; ``start`` is where it
        lies in the file. Of a chunked array, what ``tenso.json`` says."""
        if self._opened.chunked is not None and key == "0":
            return dict(self._opened.chunked.storage.metadata)
        from lazytensor.io.tenso.describe import describe

        packet = self._entry(key).packet
        return describe(packet) | {"start": packet.start}

    def quantized(self, key: str) -> QuantizedTensor:
        """A quantized packet as it is stored: integers, scales and zero points.

        Raises ``FormatError`` for a packet of another kind.

        >>> from lazytensor.io import tenso
        >>> q = lt.quantize(np.float32([[0, 51], [102, 255]]), "quint8").collect()
        >>> lt.open_tenso(tenso.dumps({"q": q})).quantized("q")
        QuantizedTensor(2, 2)  quint8  4 B  per_tensor
        """
        from lazytensor.build import as_node
        from lazytensor.quantized import QuantizedTensor

        entry = self._entry(key)
        if not entry.is_quantized:
            raise FormatError(f"{key!r} of {self!r} is not quantized: index it for its values")
        packet: Any = entry.packet
        data, scales, zero_points = map(as_node, quantized_parts(entry))
        return QuantizedTensor._rebuilt(
            (data, scales, zero_points),
            packet.qdtype,
            packet.scheme,
            packet.axis,
            packet.group_size,
        )


def _tensor(entry: Entry) -> LazyTensor:
    return LazyTensor._wrap(packet_node(entry))


def _chunked(source: Any) -> LazyTensor:
    return LazyTensor._wrap(chunked_node(source))
