"""Cases of shards: where the index is, what it may say, and what may be around and inside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from reader_stores import (
    LITTLE,
    VALUES,
    Case,
    Write,
    distinct,
    gzip_members,
    named,
    shard,
    sharding,
    v3,
)

__all__ = ["shards"]


def shards() -> Iterator[Case]:
    def sharded(
        shape: tuple[int, int] = (13, 17), whole: tuple[int, int] = (8, 6), **how: Any
    ) -> Write:
        in_codec = {key: how[key] for key in ("crc", "endian") if key in how}
        if how.get("start"):
            in_codec["index_location"] = "start"
        skip = how.get("skip", lambda index: False)

        def write(p: Path) -> np.ndarray:
            values = distinct(shape, "uint16") + np.uint16(1)
            if how.get("share"):
                values[:] = 5
            if "skip" in how:
                for i in range(0, shape[0], 2):
                    for j in range(0, shape[1], 3):
                        if skip((i % whole[0] // 2, j % whole[1] // 3)):
                            values[i : i + 2, j : j + 3] = 0
            encode = lambda b: shard(b, (2, 3), **how)  # noqa: E731
            return v3(p, values, whole, encode=encode, codecs=[sharding((2, 3), **in_codec)])

        return write

    kinds: dict[str, Write] = {
        "index at the end": sharded(),
        "index at the start": sharded(start=True),
        "no checksum of the index": sharded(crc=False),
        "big-endian index": sharded(endian="big"),
        "gaps, chunks backwards": sharded(gap=5, backwards=True),
        "chunks that share bytes": sharded(share=True),
        "some chunks left out": sharded(skip=lambda index: sum(index) % 2 == 0),
        "all chunks left out": sharded(skip=lambda index: True),
        "shard larger than the array": sharded(whole=(32, 30)),
        "zstd inside": _shard_of_zstd,
        "inside a shard (nested)": _nested,
        "gzip around the shard": _gzipped_shard,
        "transpose before the shard, not square": _transposed_shard,
    }
    for name, write in kinds.items():
        yield Case(f"shard: {name}", "shards", write)


def _shard_of_zstd(p: Path) -> np.ndarray:
    import numcodecs

    zstd = numcodecs.Zstd(1)
    codec = sharding((2, 3), codecs=[LITTLE, named("zstd", level=1, checksum=False)])
    encode = lambda b: shard(b, (2, 3), encode=lambda c: bytes(zstd.encode(c)))  # noqa: E731
    return v3(p, VALUES, (4, 6), encode=encode, codecs=[codec])


def _nested(p: Path) -> np.ndarray:
    inner = sharding((2, 3))
    outer = sharding((4, 6), codecs=[inner])
    encode = lambda b: shard(b, (4, 6), encode=lambda c: shard(c, (2, 3)))  # noqa: E731
    return v3(p, VALUES, (8, 12), encode=encode, codecs=[outer])


def _gzipped_shard(p: Path) -> np.ndarray:
    encode = lambda b: gzip_members(shard(b, (2, 3)), 10**6)  # noqa: E731
    codecs = [sharding((2, 3)), named("gzip", level=5)]
    return v3(p, VALUES, (4, 6), encode=encode, codecs=codecs)


def _transposed_shard(p: Path) -> np.ndarray:
    transpose = named("transpose", order=[1, 0])
    encode = lambda b: shard(np.ascontiguousarray(b.T), (2, 4))  # noqa: E731
    return v3(p, VALUES, (8, 6), encode=encode, codecs=[transpose, sharding((2, 4))])
