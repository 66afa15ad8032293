"""Packets that are none: one kind of error, and no memory for what is not there."""

from __future__ import annotations

import io
import random
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import lz4.frame
import numpy as np
import pytest

import lazytensor as lt
from lazytensor.errors import ChecksumError, FormatError
from lazytensor.io.tenso.encode import begin, dense_parts
from lazytensor.io.tenso.header import Flag
from lazytensor.plan.quantization import QuantizedArray
from tests.io.tenso.packets import MALFORMED, VALID, VECTORS

tenso = lt.io.tenso
MIB = 1 << 20


class Trickle:
    """A stream without an end that is known, which gives a few bytes at a time."""

    def __init__(self, data: bytes, most: int = 4096) -> None:
        self._source = io.BytesIO(data)
        self._most = most

    def read(self, n: int) -> bytes:
        return self._source.read(min(n, self._most))


def used(value: Any) -> None:
    """Look at everything, as somebody would who has it."""
    if isinstance(value, dict):
        for one in value.values():
            used(one)
    elif isinstance(value, tenso.StringTensor):
        list(value)
    elif isinstance(value, QuantizedArray):
        value.dequantize()
    elif hasattr(value, "tocsr"):
        if max(value.shape) < 10_000:
            value @ np.ones(value.shape[1])
    else:
        value.tobytes()


WAYS: dict[str, Callable[[bytes], Any]] = {
    "loads": tenso.loads,
    "copy": lambda data: tenso.loads(data, copy=True, legacy=True),
    "load": lambda data: tenso.load(io.BytesIO(data)),
    "stream": lambda data: tenso.read_stream(Trickle(data)),
    "packets": lambda data: list(tenso.iter_packets(data)),
    "info": tenso.packet_info,
}
LATER = {"bad_body_bit", "lz4_bad_checksum", "csr_index_oob", "csr_indptr_neg", "csr_float_index",
         "string_offsets_desc"}  # fmt: skip
"""What cannot be seen in headers."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with np.errstate(all="ignore"):
        yield


@pytest.mark.parametrize("vector", MALFORMED, ids=lambda v: v["file"])
@pytest.mark.parametrize("way", WAYS)
def test_malformed_packets(vector: dict[str, Any], way: str) -> None:
    pytest.importorskip("scipy.sparse", reason="scipy is an extra")
    data = (VECTORS / "malformed" / vector["file"]).read_bytes()
    name = vector["file"].removesuffix(".tenso")
    accepted = vector["ours_should"].startswith("accept") and (
        "legacy" not in vector["ours_should"] or way == "copy"
    )
    if way == "packets" and name == "no_align_flag":
        accepted = False  # what follows the packet is none
    if way == "packets" and not data:
        assert tenso.read_stream(io.BytesIO(data)) is None
        return
    if way == "stream" and not data:
        assert tenso.read_stream(Trickle(data)) is None
        return
    tracemalloc.start()
    try:
        if accepted or (way == "info" and name in LATER):
            found = WAYS[way](data)
            if name == "string_bad_utf8" and way != "info":
                with pytest.raises(FormatError, match="UTF-8"):
                    used(found[0] if way == "packets" else found)
        else:
            with pytest.raises(FormatError):
                WAYS[way](data)
        assert tracemalloc.get_traced_memory()[1] < 3 * MIB + 2 * len(data)
    finally:
        tracemalloc.stop()


def quantized(parameters: int, n: int) -> bytes:
    return begin(Flag(0), 16, (n,), 64, bytes((2, 0)) + (1).to_bytes(4, "little")
                 + parameters.to_bytes(4, "little"))  # fmt: skip


HOSTILE = {
    "16 GB of complex numbers": begin(Flag(0), 14, (1_000_000_000,), 64),
    "as many that are compressed": begin(Flag.COMPRESSION, 14, (1_000_000_000,), 64)
    + lz4.frame.compress(bytes(1000), block_linked=False),
    "a scale for each": quantized(1_000_000_000, 1_000_000_000),
    "4 GiB of padding": begin(Flag(0), 5, (1,), 1)[:5] + bytes((0x80, 0, 5, 1, 0, 1, 0, 0, 0, 32)),
    "an entry of 4 GiB": b"TNSO\x04\x10\0\0\x01\0" + b"\x01\0\0\0k" + b"\xff" * 4
    + bytes(tenso.dumps(np.zeros(3)))[:70],
    "a key of 4 GiB": b"TNSO\x04\x10\0\0\x01\0" + b"\xff" * 4 + b"k" * 100,
    "10^9 strings": begin(Flag.STRING, 20, (1_000_000_000,), 64) + bytes(800),
    "a part of 4 GiB": b"TNSO\x04\x20\0\0\x02\0" + b"\xff" * 12 + bytes(500),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("way", WAYS)
def test_no_memory_is_taken_for_what_is_not_there(name: str, way: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            WAYS[way](HOSTILE[name])
        assert tracemalloc.get_traced_memory()[1] < 2 * MIB
    finally:
        tracemalloc.stop()


def test_a_stream_takes_a_mebibyte_beyond_what_has_arrived() -> None:
    arrived = 0
    worst = 0

    class Slow:
        def read(self, n: int) -> bytes:
            nonlocal arrived, worst
            n = min(n, 100_000)
            arrived += n
            worst = max(worst, tracemalloc.get_traced_memory()[0] - arrived)
            return bytes(n) if arrived > 64 else head[arrived - n : arrived]

    head = bytes(begin(Flag(0), 5, (10_000_000,), 64))
    tracemalloc.start()
    try:
        found = tenso.read_stream(Slow())
    finally:
        tracemalloc.stop()
    assert found is not None and found.shape == (10_000_000,)
    assert worst < MIB + 200_000


def seeds() -> list[bytes]:
    """Packets of every kind, valid or not, none of them large."""
    found = [(VECTORS / v["file"]).read_bytes() for v in VALID]
    found += [(VECTORS / "malformed" / v["file"]).read_bytes() for v in MALFORMED]
    runs = np.repeat(np.arange(400, dtype=np.uint16) % 9, 5)
    head = begin(Flag.COMPRESSION, 6, runs.shape, 64)
    found += [
        b"".join(dense_parts(runs, compress=True, seekable=seekable, integrity=integrity))
        for seekable in (False, True)
        for integrity in (False, True)
    ]
    found += [
        head + lz4.frame.compress(runs.tobytes(), block_linked=linked, block_checksum=checked)
        for linked in (False, True)
        for checked in (False, True)
    ]
    found.append(bytes(tenso.dumps({"a": runs, "b": {"c": runs[:9]}}, compress=True)))
    return [one for one in found if len(one) < 6000]


NUMBERS = [0, 1, 8, 63, 64, 255, 65536, 2**31 - 1, 2**31, 2**32 - 8, 2**32 - 1, 10**9, 10**9 + 1]


def mutated(data: bytes, all_seeds: list[bytes], pick: random.Random) -> bytes:
    """A packet in which a few bytes are others, missing, added, exchanged, or those of another."""
    changed = bytearray(data)
    for _ in range(pick.choice([1, 1, 1, 2, 3, 6])):
        if not changed:
            break
        # Most of what can go wrong is said at the start.
        at = pick.randrange(min(len(changed), 90) if pick.random() < 0.6 else len(changed))
        match pick.randrange(8):
            case 0 | 1:
                changed[at] ^= 1 << pick.randrange(8)
            case 2:
                changed[at] = pick.randrange(256)
            case 3:
                del changed[at : at + pick.choice([1, 2, 4, 8, 100])]
            case 4:
                changed[at:at] = pick.randbytes(pick.choice([1, 2, 4, 8]))
            case 5:
                changed[at : at + 4] = pick.choice(NUMBERS).to_bytes(4, "little")
            case 6:
                first, second = changed[at : at + 4], changed[at + 4 : at + 8]
                changed[at : at + 8] = second + first
            case 7:
                other = pick.choice(all_seeds)
                cut = pick.randrange(len(other) + 1) if pick.random() < 0.5 else len(other)
                changed[at:] = other[cut:]
    return bytes(changed)


def test_mutated_packets() -> None:
    """Any answer or ``FormatError``, which ``ChecksumError`` is one of; nothing else."""
    pytest.importorskip("scipy.sparse", reason="scipy is an extra")
    pick, all_seeds = random.Random(6), seeds()
    answers = {name: [0, 0] for name in WAYS}
    for _ in range(4000):
        data = mutated(pick.choice(all_seeds), all_seeds, pick)
        for name, way in WAYS.items():
            try:
                found = way(data)
                if name == "loads":
                    used(found)
                answers[name][0] += 1
            except FormatError:
                answers[name][1] += 1
    # The mutations are of a kind that some packets survive and others do not.
    assert all(min(counts) > 100 for counts in answers.values()), answers


def test_a_checksum_covers_what_is_stored() -> None:
    for compress in (False, True):
        data = bytearray(tenso.dumps(np.arange(100), check_integrity=True, compress=compress))
        data[70] ^= 8
        if compress:
            data[70] ^= 8
            data[-1] ^= 8
        with pytest.raises(ChecksumError, match="expected XXH3"):
            tenso.loads(data)
