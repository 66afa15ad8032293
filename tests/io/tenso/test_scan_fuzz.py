"""Damaged packets, read lazily: errors of one kind, little memory, no hang."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np

import lazytensor as lt
from tests.io.tenso.lazily import linked, seekable

VECTORS = Path(__file__).parents[2] / "vectors" / "tenso"
ENGINE = lt.LocalEngine(threads=1, max_memory="256 MiB")
A = np.repeat(np.arange(12_000, dtype="u2"), 8).reshape(300, 320)


def damaged(packet: bytes, rng: random.Random) -> bytes:
    data = bytearray(packet)
    for _ in range(rng.randint(1, 4)):
        if not data:
            break
        at, other = (
            rng.randrange(min(len(data), most)) for most in (rng.choice((64, 1 << 20)), 80)
        )
        match rng.randrange(5):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                data[at] ^= 1 << rng.randrange(8)
            case 2:
                del data[at:]
            case 3:
                data[at:at] = rng.randbytes(rng.randint(1, 8))
            case _:
                data[at : at + 4], data[other : other + 4] = (
                    data[other : other + 4],
                    data[at : at + 4],
                )
    return bytes(data)


def read(source: Any, rng: random.Random) -> None:
    found = lt.open_tenso(
        source, verify=rng.choice(("whole", "always", "never")), legacy=rng.random() < 0.5
    )
    for key in found:
        try:
            x = found[key]
            x[tuple(slice(n // 2, n // 2 + 2) for n in x.shape)].collect(engine=ENGINE)
            if x.nbytes < 1 << 20:
                x.collect(engine=ENGINE)
        except lt.FormatError:
            continue


def test_damaged_packets() -> None:
    rng = random.Random(20)
    paths = sorted(VECTORS.rglob("*.tenso"))
    packets = [path.read_bytes() for path in paths if path.stat().st_size < 70_000]
    packets += [seekable(A), linked(A), linked(A, block_linked=False, block_size=4)]
    errors = 0
    for _ in range(1500):
        packet = damaged(rng.choice(packets), rng)
        try:
            read(rng.choice((packet, ({"a": packet}, "a"))), rng)
        except lt.FormatError:
            errors += 1
    assert 300 < errors < 1450
