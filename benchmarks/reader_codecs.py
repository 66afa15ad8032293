"""Cases of compression: every codec under its v2 and its v3 name, and as it is found in files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from reader_stores import LITTLE, VALUES, Case, distinct, gzip_members, named, v2, v3, with_crc32c

__all__ = ["compressors", "compressors_v2"]


def compressors() -> Iterator[Case]:
    import numcodecs

    pieces = lambda b: [b.tobytes()[i : i + 20] for i in range(0, b.nbytes, 20)]  # noqa: E731
    zstd = numcodecs.Zstd(3)
    v3_codecs: list[tuple[str, dict[str, Any], Callable[[np.ndarray], bytes]]] = [
        ("zstd", named("zstd", level=3, checksum=False), zstd.encode),
        (
            "zstd of several frames",
            named("zstd", level=3, checksum=False),
            lambda b: b"".join(bytes(zstd.encode(part)) for part in pieces(b)),
        ),
        ("gzip", named("gzip", level=5), numcodecs.GZip(5).encode),
        (
            "gzip of several members",
            named("gzip", level=5),
            lambda b: gzip_members(b.tobytes(), 20),
        ),
        ("crc32c", {"name": "crc32c"}, with_crc32c),
    ]
    for shuffle, number in (("noshuffle", 0), ("shuffle", 1), ("bitshuffle", 2)):
        settings = named("blosc", cname="lz4", clevel=5, shuffle=shuffle, typesize=4, blocksize=0)
        encode = numcodecs.Blosc("lz4", 5, number).encode
        v3_codecs.append((f"blosc lz4 {shuffle}", settings, encode))
    for name, settings, encode in v3_codecs:
        yield Case(
            f"v3 {name}",
            "codecs",
            lambda p, s=settings, e=encode: v3(
                p, VALUES, (3, 4), encode=lambda b: bytes(e(b)), codecs=[LITTLE, s]
            ),
        )
    yield from _numcodecs_v3()
    yield from _newest_v3()


def _numcodecs_v3() -> Iterator[Case]:
    """The codecs of numcodecs under their v3 names."""
    from numcodecs import get_codec

    after: dict[str, dict[str, Any]] = {
        "lz4": {"acceleration": 1},
        "zlib": {"level": 5},
        "bz2": {"level": 5},
        "lzma": {},
        "shuffle": {"elementsize": 4},
        "crc32": {},
        "adler32": {},
        "fletcher32": {},
    }
    for name, settings in after.items():
        encode = get_codec({"id": name, **settings}).encode
        codec = named(f"numcodecs.{name}", **settings)
        yield Case(
            f"v3 numcodecs.{name}",
            "codecs",
            lambda p, c=codec, e=encode: v3(
                p, VALUES, (3, 4), encode=lambda b: bytes(e(b)), codecs=[LITTLE, c]
            ),
        )
    before = {
        "delta": {"dtype": "<i4"},
        "fixedscaleoffset": {"offset": 10, "scale": 2, "dtype": "<i4", "astype": "<i8"},
        "bitround": {"keepbits": 10},
    }
    for name, settings in before.items():
        values = VALUES if name != "bitround" else VALUES.astype("f4")
        encode = get_codec({"id": name, **settings}).encode
        codec = named(f"numcodecs.{name}", **settings)
        yield Case(
            f"v3 numcodecs.{name}",
            "codecs",
            lambda p, c=codec, e=encode, v=values: v3(
                p, v, (3, 4), encode=lambda b: np.asarray(e(b)).tobytes(), codecs=[c, LITTLE]
            ),
        )


def _newest_v3() -> Iterator[Case]:
    offset = named("scale_offset", offset=5, scale=2)
    yield Case(
        "v3 scale_offset",
        "codecs",
        lambda p: v3(
            p,
            VALUES.astype("f8"),
            (3, 4),
            encode=lambda b: ((b - 5) * 2).tobytes(),
            codecs=[offset, LITTLE],
        ),
    )
    cast = named("cast_value", data_type="int16")
    yield Case(
        "v3 cast_value",
        "codecs",
        lambda p: v3(
            p,
            VALUES.astype("f8"),
            (8, 9),
            encode=lambda b: np.nan_to_num(b).clip(-99, 99).astype("<i2").tobytes(),
            codecs=[cast, LITTLE],
        ),
    )
    yield Case(
        "v3 packbits of bool",
        "codecs",
        lambda p: v3(
            p,
            distinct((7, 9), "bool"),
            (4, 8),
            encode=lambda b: np.packbits(b.view("u1") & 1, bitorder="little").tobytes(),
            codecs=[named("packbits", padding_encoding="none")],
        ),
    )
    yield Case(
        "v3 numcodecs.pcodec",
        "codecs",
        lambda p: v3(
            p,
            VALUES,
            (3, 4),
            encode=_pcodec,
            codecs=[named("numcodecs.pcodec", level=8, mode_spec="auto")],
        ),
        needs="pcodec",
    )
    short = {"chunk_key_encoding": "default", "codecs": ["bytes", "crc32c"]}
    yield Case(
        "v3.1 short-hand names",
        "codecs",
        lambda p: v3(p, distinct((9,), "uint8"), (4,), encode=with_crc32c, **short),
    )
    yield Case(
        "settings that may be left out",
        "codecs",
        lambda p: v3(p, VALUES, (3, 4), chunk_key_encoding={"name": "default"}),
    )
    nan = {"a": float("nan"), "b": [float("inf"), 2**70]}
    yield Case(
        "`NaN` among the attributes", "codecs", lambda p: v3(p, VALUES, (3, 4), attributes=nan)
    )
    note = {"must_understand": False, "text": "hello"}
    yield Case(
        "unknown key that may be ignored", "codecs", lambda p: v3(p, VALUES, (3, 4), note=note)
    )


def _pcodec(block: np.ndarray) -> bytes:
    from numcodecs.pcodec import PCodec

    return bytes(PCodec(level=8).encode(block))


def compressors_v2() -> Iterator[Case]:
    for config in (
        {"id": "zstd", "level": 3},
        {"id": "gzip", "level": 5},
        {"id": "zlib", "level": 5},
        {"id": "lz4", "acceleration": 1},
        {"id": "bz2", "level": 5},
        {"id": "lzma"},
        {"id": "blosc", "cname": "zstd", "clevel": 3, "shuffle": 2, "blocksize": 0},
    ):
        yield Case(
            f"v2 {config['id']}",
            "codecs",
            lambda p, c=config: v2(p, VALUES, (3, 4), compressor=c),
            "zarr2",
        )
    yield Case(
        "v2 zstd with `checksum` in its metadata",
        "codecs",
        lambda p: v2(p, VALUES, (3, 4), compressor={"id": "zstd", "level": 3, "checksum": True}),
        "zarr2",
    )
    floats = VALUES.astype("f4")
    filters: list[tuple[str, np.ndarray, list[dict[str, Any]]]] = [
        ("delta", VALUES, [{"id": "delta", "dtype": "<i4", "astype": "<i4"}]),
        ("shuffle", VALUES, [{"id": "shuffle", "elementsize": 4}]),
        (
            "delta, then shuffle",
            VALUES,
            [{"id": "delta", "dtype": "<i4"}, {"id": "shuffle", "elementsize": 4}],
        ),
        (
            "fixedscaleoffset",
            VALUES.astype("f8"),
            [{"id": "fixedscaleoffset", "offset": 0, "scale": 2, "dtype": "<f8", "astype": "<i4"}],
        ),
        ("packbits", distinct((7, 9), "bool"), [{"id": "packbits"}]),
        (
            "quantize",
            floats,
            [{"id": "quantize", "digits": 2, "dtype": "<f4", "astype": "<f4"}],
        ),
        (
            "astype",
            floats.astype("f8"),
            [{"id": "astype", "encode_dtype": "<f4", "decode_dtype": "<f8"}],
        ),
    ]
    for name, values, steps in filters:
        yield Case(
            f"v2 filter {name}",
            "codecs",
            lambda p, v=values, s=steps: v2(
                p, v, (3, 4), filters=s, compressor={"id": "zlib", "level": 1}
            ),
            "zarr2",
        )
