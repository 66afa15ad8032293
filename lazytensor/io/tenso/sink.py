"""Writing tenso packets: one file with a packet or a bundle of them, or a folder of chunks.

A file is written at once at all of its offsets, which follow from the shapes (``bodies``), and put
into its place when it is complete. Of a folder every chunk is a packet that is there as a whole or
not at all, and ``tenso.json``, without which nobody looks for them, comes last (``staging``).
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from lazytensor.errors import DTypeError, ShapeError
from lazytensor.io.staging import Mode, StagedFile
from lazytensor.io.staging_remote import Place, staged_file, staged_folder
from lazytensor.io.tenso.bodies import Body, CompressedBody, PackedBody, PlainBody
from lazytensor.io.tenso.chunked import DOCUMENT, FORMAT, ChunkKeys, key_template, name_of_chunks
from lazytensor.io.tenso.encode import begin, check_shape, dense_parts, quantized_parts
from lazytensor.io.tenso.header import QUANTIZED, Flag, code_of
from lazytensor.io.tenso.outline import FOOTER
from lazytensor.io.tenso.quantizing import Quantizing, quantize_array
from lazytensor.io.zarr.axis_json import axis_to_json
from lazytensor.plan.quantization import QTYPES, SCHEMES, QuantizedArray, layout_of
from lazytensor.plan.sink import Runs, Target
from lazytensor.plan.source import Box
from lazytensor.plan.spec import Axis

__all__ = ["ChunksSink", "Given", "Meaning", "PacketSink", "Part"]

_MOST_ENTRIES = 255
_MOST_DEPTH = 64
_MAX_U32 = (1 << 32) - 1
# Bytes of an element while it is quantized: as float32 with what is beside it, with parameters of
# its own, and coded.
_HELD_QUANTIZING = 36


class Given(NamedTuple):
    """A quantized tensor: how its values, which are integers already, are to be understood.

    ``scales``, ``zero_points``: arrays that are filled before the first value is written.
    """

    dtype: str
    scheme: str
    axis: int
    group_size: int
    scales: np.ndarray
    zero_points: np.ndarray

    @classmethod
    def of(cls, how: Any, shape: tuple[int, ...]) -> Given:
        """With room for the parameters of a tensor of this shape."""
        layout = layout_of(shape, how.scheme, how.axis, how.group_size)
        room = np.empty(layout.number, np.float32), np.empty(layout.number, np.float32)
        return cls(how.dtype, layout.scheme, layout.axis, layout.group_size, *room)


class Part(NamedTuple):
    """One tensor of a file. ``quantized``: None, or what its values stand for."""

    shape: tuple[int, ...]
    dtype: np.dtype
    quantized: Given | None = None


Parts = Part | Mapping[str, "Parts"]


class _Packet:
    """A packet of one tensor in a file."""

    def __init__(self, part: Part, label: str, *, integrity: bool, compress: bool) -> None:
        self.part = part
        self._integrity = integrity
        shape, given = part.shape, part.quantized
        check_shape(shape, label)
        kind: type[Any] = CompressedBody if compress else PlainBody
        hashed: Callable[[], bytes] = bytes
        if given is not None:
            if compress:
                raise ValueError(f"{label}: quantized packets are not compressed: compress=False")
            hashed = self._meta
            kind = PackedBody if QTYPES[given.dtype].bits == 4 else PlainBody
            self._code = next(code for code, name in QUANTIZED.items() if name == given.dtype)
        else:
            self._code = code_of(part.dtype)
        self._flags = Flag.INTEGRITY if integrity else Flag(0)
        if compress:
            self._flags |= Flag.COMPRESSION
        self.body: Body = kind(label, shape, part.dtype, integrity=integrity, hashed=hashed)
        self._before = len(self._head())
        self._at = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the whole packet, which is not compressed."""
        body: int = self.body.nbytes  # type: ignore[attr-defined]
        return self._before + body + (FOOTER if self._integrity else 0)

    @property
    def targets(self) -> tuple[Target | np.ndarray, ...]:
        """Parameters first: they are filled before the body is."""
        given = self.part.quantized
        return (self.body,) if given is None else (given.scales, given.zero_points, self.body)

    def _meta(self) -> bytes:
        """What stands between the header and the body."""
        given = self.part.quantized
        if given is None:
            return b""
        scheme = SCHEMES.index(given.scheme)
        head = struct.pack("<BBII", scheme, given.axis, given.group_size, len(given.scales))
        both = [np.ascontiguousarray(one, "<f4") for one in (given.scales, given.zero_points)]
        return b"".join([head, *[one.tobytes() for one in both]])

    def _head(self) -> bytes:
        return begin(self._flags, self._code, self.part.shape, 64, self._meta())

    def begin(self, file: StagedFile, at: int) -> None:
        """Begin to write the packet at an offset."""
        self._at = at
        self.body.begin(file.descriptor, at + self._before, os.path.dirname(file.own))

    def end(self, put: Callable[[int, bytes], None]) -> None:
        """Write what stands around the body."""
        nbytes, digest = self.body.end()
        put(self._at, self._head())
        if digest is not None:
            put(self._at + self._before + nbytes, struct.pack("<Q", digest))


class PacketSink:
    """A file with a packet, or with a bundle where ``parts`` is a mapping (maybe of mappings).

    ``compress``: a seekable LZ4 frame; only of one packet, since in a bundle tenso could not read
    it. Raises ``ShapeError`` for what is too large for a packet or a bundle, ``DTypeError`` for
    dtypes without a code.
    """

    def __init__(
        self,
        place: Place,
        parts: Parts,
        *,
        integrity: bool = True,
        compress: bool = False,
        mode: Mode = "create",
    ) -> None:
        self.label = f"tenso {place.name}"
        self.places: tuple[str, ...] = (place.uri,)
        self._packets: list[tuple[int, _Packet]] = []
        self._static: list[tuple[int, bytes]] = []
        self._compress = compress
        self._options = {"integrity": integrity, "compress": compress}
        if isinstance(parts, Part):
            packet = _Packet(parts, self.label, **self._options)
            self._packets.append((0, packet))
            self._nbytes = 0 if compress else packet.nbytes
        else:
            if compress:
                raise ValueError(f"{self.label}: a bundle is not compressed: compress=False")
            self._nbytes = self._lay(parts, 0, self.label, 0)
        self.targets: tuple[Target | np.ndarray, ...] = tuple(
            [target for _, packet in self._packets for target in packet.targets]
        )
        self._file: StagedFile = staged_file(place, mode, self.label)

    def _lay(self, parts: Mapping[str, Parts], at: int, where: str, depth: int) -> int:
        """Where everything in a bundle at ``at`` lies; where it ends."""
        if len(parts) > _MOST_ENTRIES:
            raise ShapeError(
                f"{where}: {len(parts)} entries, where a bundle has at most {_MOST_ENTRIES}: nest "
                f"them, or write one packet each"
            )
        if depth > _MOST_DEPTH:
            raise ShapeError(f"{where}: bundles lie more than {_MOST_DEPTH} deep in each other")
        header = struct.pack("<4sBHBBx", b"TNSO", 4, Flag.BUNDLE, 0, len(parts))
        self._static.append((at, header))
        at += len(header)
        for key, part in parts.items():
            if not isinstance(key, str):
                raise DTypeError(f"{where}: keys of a bundle are strings, not {key!r}")
            name, inside = key.encode(), f"{where}[{key!r}]"
            start = at + 8 + len(name)
            if isinstance(part, Part):
                packet = _Packet(part, inside, **self._options)
                self._packets.append((start, packet))
                end = start + packet.nbytes
            else:
                end = self._lay(part, start, inside, depth + 1)
            if end - start > _MAX_U32:
                raise ShapeError(
                    f"{inside}: {end - start} bytes; a packet within another has less than 4 GiB: "
                    f"write it to a file of its own"
                )
            begins = struct.pack("<I", len(name)) + name + struct.pack("<I", end - start)
            self._static.append((at, begins))
            at = end
        return at

    def begin(self) -> None:
        """Make the file that is written; raises ``SinkError``."""
        self._file.begin()
        self._file.allocate(self._nbytes)
        for at, packet in self._packets:
            packet.begin(self._file, at)

    def finish(self) -> None:
        """Write headers and checksums, and put the file into its place."""
        for _, packet in self._packets:
            packet.end(self._file.put)
        for at, data in self._static:
            self._file.put(at, data)
        self._close()
        self._file.publish()

    def abort(self) -> None:
        """Remove the file."""
        self._close()
        self._file.abort()

    def _close(self) -> None:
        for _, packet in self._packets:
            packet.body.close()


class Meaning(NamedTuple):
    """What is written of a tensor beside its values."""

    axes: tuple[Axis, ...]
    origin: tuple[int, ...]
    attributes: Mapping[str, Any]


class ChunksSink:
    """A folder with a packet for each chunk (``chunked``).

    ``quantized``: how values are quantized packet by packet (``Quantizing``), what values are
    that are quantized already (``Given``), or None. Chunks of nothing but zeros are left out.

    Raises ``ShapeError`` for chunks that are too large for a packet, ``DTypeError`` for dtypes
    without a code, ``ValueError`` for attributes that are no JSON.
    """

    def __init__(
        self,
        place: Place,
        shape: tuple[int, ...],
        dtype: np.dtype,
        chunks: tuple[int, ...],
        meaning: Meaning,
        *,
        integrity: bool = True,
        compress: bool = False,
        quantized: Quantizing | Given | None = None,
        mode: Mode = "create",
    ) -> None:
        self.label = f"tenso {place.name}"
        self.places: tuple[str, ...] = (place.uri,)
        check_shape(chunks, f"{self.label}, a chunk")
        if compress and quantized is not None:
            raise ValueError(f"{self.label}: quantized packets are not compressed: compress=False")
        if isinstance(quantized, Given) and quantized.scheme == "per_group":
            raise ValueError(
                f"{self.label}: groups run over the whole tensor, and chunks would cut them; "
                f"quantize while writing (sink_tenso(quantize=...)), or write one packet"
            )
        self._folder = staged_folder(place, mode, self.label, DOCUMENT, name_of_chunks)
        self._keys = ChunkKeys(f"c{self._folder.fresh}", "/")
        values = np.dtype(np.float32) if quantized is not None else dtype
        if quantized is None:
            code_of(dtype)
        self._document = _document(
            shape, chunks, values, self._keys, meaning, integrity, compress, quantized
        )
        encode = _encoder(integrity, compress, quantized)
        target = _ChunkTarget(self.label, chunks, self._keys, encode, self._folder.put)
        copies = 1 + compress + (place.fs is not None)
        target.most = prod(chunks) * dtype.itemsize * copies
        if isinstance(quantized, Quantizing):
            target.most = prod(chunks) * (dtype.itemsize + _HELD_QUANTIZING)
        # Zeros that are quantized mean something else.
        target.leaves_out = not isinstance(quantized, Given)
        given = (quantized.scales, quantized.zero_points) if isinstance(quantized, Given) else ()
        self.targets: tuple[Target | np.ndarray, ...] = (*given, target)

    def begin(self) -> None:
        """Reserve the place; raises ``SinkError``."""
        self._folder.begin()

    def finish(self) -> None:
        """Write ``tenso.json``, and put the folder into its place."""
        self._folder.publish(DOCUMENT, [self._document])

    def abort(self) -> None:
        """Remove the chunks that were written."""
        self._folder.abort()


class _ChunkTarget:
    """Writes chunks."""

    runs: Runs = "any"
    leaves_out = True
    most = 0

    def __init__(
        self,
        label: str,
        chunks: tuple[int, ...],
        keys: ChunkKeys,
        encode: Callable[[Box, np.ndarray], Sequence[bytes | memoryview]],
        put: Callable[[str, Sequence[bytes | memoryview]], None],
    ) -> None:
        self.label = label
        self.cells: tuple[int | None, ...] = chunks
        self._chunks = chunks
        self._keys = keys
        self._encode = encode
        self._put = put

    def held(self, nbytes: int) -> int:
        """A chunk in the order of its packet, compressed, and in one piece for a remote store."""
        return self.most

    def write(self, box: Box, values: np.ndarray) -> None:
        """Write a chunk."""
        key = self._keys.key([lo // n for (lo, _), n in zip(box, self._chunks, strict=True)])
        ordered = np.asarray(values, order="C")
        if self.leaves_out and _is_zero(ordered.reshape(-1).view(np.uint8)):
            return
        try:
            parts = self._encode(box, ordered)
        except ValueError as error:
            # Values that cannot be quantized: no matter of where they go.
            raise ValueError(f"{self.label}: key {key!r}: {error}") from error
        self._put(key, parts)


def _is_zero(data: np.ndarray) -> bool:
    return not data[:64].any() and not data.any()


def _encoder(
    integrity: bool, compress: bool, quantized: Quantizing | Given | None
) -> Callable[[Box, np.ndarray], Sequence[bytes | memoryview]]:
    """What makes a packet of the values of a chunk."""

    def dense(box: Box, values: np.ndarray) -> Sequence[Any]:
        return dense_parts(values, integrity=integrity, compress=compress, seekable=compress)

    def quantize(box: Box, values: np.ndarray) -> Sequence[Any]:
        assert isinstance(quantized, Quantizing)
        return quantized_parts(quantize_array(values, quantized), integrity=integrity)

    def given(box: Box, values: np.ndarray) -> Sequence[Any]:
        assert isinstance(quantized, Given)
        part = slice(*box[quantized.axis]) if quantized.scheme == "per_channel" else slice(None)
        packet = QuantizedArray(
            values, quantized.scales[part], quantized.zero_points[part], quantized.dtype,
            quantized.scheme, quantized.axis, quantized.group_size,
        )  # fmt: skip
        return quantized_parts(packet, integrity=integrity)

    if quantized is None:
        return dense
    return given if isinstance(quantized, Given) else quantize


def _document(
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: np.dtype,
    keys: ChunkKeys,
    meaning: Meaning,
    integrity: bool,
    compress: bool,
    quantized: Quantizing | Given | None,
) -> bytes:
    """``tenso.json``."""
    zero: Any = {"b": False, "c": [0.0, 0.0], "i": 0, "u": 0}.get(dtype.kind, 0.0)
    quant = None
    if quantized is not None:
        layout = layout_of(shape, quantized.scheme, quantized.axis, quantized.group_size)
        quant = {
            "dtype": quantized.dtype,
            "scheme": layout.scheme,
            "axis": layout.axis,
            "group_size": layout.group_size,
        }
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": 1,
        "shape": list(shape),
        "chunks": list(chunks),
        "dtype": dtype.name,
        "fill_value": zero,
        "key": key_template(keys.name, len(shape)),
        "compress": compress,
        "integrity": integrity,
        "quant": quant,
        "dims": [axis.name for axis in meaning.axes],
        "axes": [axis_to_json(axis) for axis in meaning.axes],
        "attributes": dict(meaning.attributes),
    }
    if any(meaning.origin):
        document["origin"] = list(meaning.origin)
    try:
        return json.dumps(document, indent=1, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise ValueError(f"the attributes are no JSON: {error}") from None
