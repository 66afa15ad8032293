"""Packets that arrive piece by piece: whatever the pieces, what was sent is received."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lz4.frame
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.errors import ChecksumError, FormatError
from lazytensor.io.tenso.encode import begin, dense_parts
from lazytensor.io.tenso.header import Flag
from lazytensor.plan.quantization import QuantizedArray, same_quantized
from tests.io.tenso.packets import same

tenso = lt.io.tenso

RUNS = np.repeat(np.arange(4000, dtype=np.uint32), 50)
VALUES: dict[str, Any] = {
    "array": np.arange(10.0),
    "nothing": np.zeros((3, 0)),
    "scalar": np.float32(2.5),
    "bundle": {"a": RUNS, "b": {"c": np.arange(3, dtype=np.uint8)}},
    "strings": tenso.StringTensor(["a", "", "日本"]),
    "quantized": QuantizedArray(
        np.int8([[-8, 7, 3]]), np.float32([1, 2]), np.float32([3, 4]), "qint4", "per_group", 0, 2
    ),
    "more": RUNS,
}
OPTIONS: list[dict[str, Any]] = [
    {}, {"check_integrity": True}, {"compress": True}, {"compress": True, "check_integrity": True},
    {"alignment": 1}, {"alignment": 4096, "check_integrity": True},
]  # fmt: skip


def equal(found: Any, expected: Any) -> bool:
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(
            equal(found[key], one) for key, one in expected.items()
        )
    if isinstance(expected, QuantizedArray):
        return same_quantized(found, expected)
    if isinstance(expected, tenso.StringTensor):
        return bool(found == expected)
    return same(found, np.asarray(expected))


class Readinto:
    def __init__(self, data: bytes, sizes: Callable[[int], int]) -> None:
        self.source = io.BytesIO(data)
        self.sizes = sizes

    def readinto(self, room: memoryview) -> int:
        return self.source.readinto(room[: self.sizes(len(room))])


class Read(Readinto):
    readinto = None  # type: ignore[assignment]

    def read(self, n: int) -> bytes:
        return self.source.read(self.sizes(n))


class Recv(Readinto):
    readinto = None  # type: ignore[assignment]

    def recv(self, n: int) -> bytes:
        return self.source.read(self.sizes(n))


class RecvInto(Readinto):
    readinto = None  # type: ignore[assignment]

    def recv_into(self, room: memoryview) -> int:
        return self.source.readinto(room[: self.sizes(len(room))])


def everything(options: dict[str, Any]) -> bytes:
    return b"".join(tenso.dumps(value, **options) for value in VALUES.values())


SIZES: dict[str, Callable[[int], int]] = {
    "all": lambda n: n,
    "one": lambda n: 1,
    "some": lambda n: min(n, 777),
}


@pytest.mark.parametrize("kind", [Readinto, Read, Recv, RecvInto])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o) or "plain")
def test_all_kinds_of_packets_in_a_row(kind: Any, sizes: str, options: dict[str, Any]) -> None:
    if sizes == "one" and not options.get("compress"):
        values = {key: one for key, one in VALUES.items() if key not in ("bundle", "more")}
    else:
        values = VALUES
    data = b"".join(tenso.dumps(value, **options) for value in values.values())
    source = kind(data, SIZES[sizes])
    for name, expected in values.items():
        assert equal(tenso.read_stream(source), expected), name
    assert tenso.read_stream(source) is None
    assert tenso.read_stream(source) is None


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o) or "plain")
def test_all_ways_of_going_through(tmp_path: Path, options: dict[str, Any]) -> None:
    data = everything(options)
    path = tmp_path / "packets.tenso"
    path.write_bytes(data)
    packed = tmp_path / "packets.gz"
    packed.write_bytes(gzip.compress(data))
    with open(path, "rb") as file, open(path, "rb", 0) as raw, gzip.open(packed) as unpacked:
        sources = [data, bytearray(data), memoryview(data), np.frombuffer(data, np.uint8), path,
                   str(path), io.BytesIO(data), file, raw, unpacked]  # fmt: skip
        for source in sources:
            found = list(tenso.iter_packets(source))
            assert len(found) == len(VALUES)
            assert all(map(equal, found, VALUES.values()))


def test_a_matrix_in_a_stream() -> None:
    sparse = pytest.importorskip("scipy.sparse", reason="scipy is an extra")
    matrix = sparse.csr_matrix(np.eye(4))
    data = bytes(tenso.dumps(matrix)) + bytes(tenso.dumps(np.ones(2)))
    source = Read(data, SIZES["some"])
    np.testing.assert_array_equal(tenso.read_stream(source).toarray(), np.eye(4))
    assert same(tenso.read_stream(source), np.ones(2))
    with pytest.raises(FormatError, match="sparse"):
        tenso.read_stream(Read(data, SIZES["all"]), sparse="raise")


@given(st.data())
def test_a_stream_that_ends_within_a_packet(data: st.DataObject) -> None:
    options = data.draw(st.sampled_from(OPTIONS[:5]))
    value = data.draw(st.sampled_from(list(VALUES.values())[:-1]))
    packet = bytes(tenso.dumps(value, **options))
    cut = data.draw(st.integers(1, len(packet) - 1))
    with pytest.raises(FormatError, match="truncated"):
        tenso.read_stream(Read(packet[:cut], SIZES["all"]))
    with pytest.raises(FormatError, match="truncated"):
        tenso.read_stream(io.BytesIO(packet[:cut]))


def test_what_is_received_may_be_written_and_is_aligned() -> None:
    source = Read(everything({}), SIZES["some"])
    array = tenso.read_stream(source)
    array += 1
    for _ in range(2):
        tenso.read_stream(source)
    bundle = tenso.read_stream(source)
    for part in (bundle["a"], bundle["b"]["c"]):
        assert part.flags.aligned
        part += 1


def test_a_damaged_packet_in_a_stream() -> None:
    packet = bytearray(tenso.dumps(RUNS, check_integrity=True))
    packet[1000] ^= 1
    for source in (io.BytesIO(packet), Read(packet, SIZES["all"])):
        with pytest.raises(ChecksumError):
            tenso.read_stream(source)


def test_no_byte_of_the_next_packet_is_taken() -> None:
    """Of a frame that may have a table, a stream without a checksum cannot be told apart."""
    values = np.arange(300_000, dtype=np.uint32).view(np.uint8)
    ours = b"".join(dense_parts(values, compress=True, seekable=True))
    source = Read(ours + tenso.dumps(values), SIZES["all"])
    assert same(tenso.read_stream(source), values)
    assert same(tenso.read_stream(source), values)

    like = {"block_linked": False, "block_size": lz4.frame.BLOCKSIZE_MAX256KB}
    head = begin(Flag.COMPRESSION, 5, values.shape, 64)
    theirs = head + lz4.frame.compress(values.tobytes(), **like)
    assert same(tenso.read_stream(Read(theirs, SIZES["all"])), values)
    with pytest.raises(FormatError, match="table of blocks"):
        tenso.read_stream(Read(theirs + tenso.dumps(values), SIZES["all"]))
    assert len(list(tenso.iter_packets(theirs + tenso.dumps(values)))) == 2


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def test_sockets(pair: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = pair

    def send() -> None:
        for options in OPTIONS:
            for value in VALUES.values():
                tenso.write_stream(value, sender, **options)
        sender.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=send)
    thread.start()
    for _ in OPTIONS:
        for name, expected in VALUES.items():
            assert equal(tenso.read_stream(receiver), expected), name
    assert tenso.read_stream(receiver) is None
    thread.join()


def test_time_outs_are_passed_on(pair: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = pair
    receiver.settimeout(0.01)
    with pytest.raises(TimeoutError):
        tenso.read_stream(receiver)
    sender.sendall(bytes(tenso.dumps(np.arange(10)))[:70])
    with pytest.raises(TimeoutError):
        tenso.read_stream(receiver)


def test_pipes() -> None:
    reading, writing = os.pipe()

    def send() -> None:
        with open(writing, "wb") as file:
            for value in VALUES.values():
                tenso.dump(value, file, check_integrity=True)

    thread = threading.Thread(target=send)
    thread.start()
    with open(reading, "rb") as file:
        assert all(equal(tenso.load(file), expected) for expected in VALUES.values())
        with pytest.raises(FormatError, match="found the end"):
            tenso.load(file)
    thread.join()


def test_sources_that_do_not_wait() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with open(reading, "rb", 0) as file, open(writing, "wb", 0), pytest.raises(BlockingIOError):
        tenso.read_stream(file)


def test_what_are_no_streams() -> None:
    with pytest.raises(TypeError, match="none of readinto"):
        tenso.read_stream(object())
    with pytest.raises(TypeError, match="binary mode"):
        tenso.read_stream(io.StringIO("TNSO" * 99))
    with pytest.raises(TypeError, match="neither sendall nor write"):
        tenso.write_stream(np.ones(1), object())


class Narrow(io.RawIOBase):
    """A file that takes and counts a few bytes a time, or none."""

    def __init__(self, most: int | None) -> None:
        self.most = most
        self.taken = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int | None:
        if self.most is None:
            return None
        self.taken += memoryview(data)[: self.most]
        return min(len(data), self.most)


def test_files_that_take_less_than_they_are_given() -> None:
    file = Narrow(1000)
    assert tenso.write_stream(RUNS, file, check_integrity=True) == len(file.taken)
    assert file.taken == tenso.dumps(RUNS, check_integrity=True)
    with pytest.raises(BlockingIOError):
        tenso.write_stream(RUNS, Narrow(None))
    with pytest.raises(OSError, match="took none"):
        tenso.write_stream(RUNS, Narrow(0))


def test_asyncio() -> None:
    async def exchange() -> None:
        received: list[Any] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while (found := await tenso.aread_stream(reader)) is not None:
                received.append(found)
            assert await tenso.awrite_stream(received[-1], writer, check_integrity=True) > 0
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port)
        for options in OPTIONS:
            for value in VALUES.values():
                sent = await tenso.awrite_stream(value, writer, **options)
                assert sent == len(tenso.dumps(value, **options))
        writer.write_eof()
        answer = await tenso.aread_stream(reader)
        assert equal(answer, VALUES["more"])
        assert all(map(equal, received, [*VALUES.values()] * len(OPTIONS)))
        writer.close()
        server.close()
        await server.wait_closed()

    asyncio.run(exchange())


def test_asyncio_that_ends_within_a_packet() -> None:
    async def read(data: bytes) -> Any:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        return await tenso.aread_stream(reader)

    packet = bytes(tenso.dumps(np.arange(10)))
    assert asyncio.run(read(b"")) is None
    assert same(asyncio.run(read(packet)), np.arange(10))
    for cut in (1, 9, 30, 64, 143):
        with pytest.raises(FormatError, match="truncated"):
            asyncio.run(read(packet[:cut]))
