"""Small files that unpack to large ones are refused before the memory for it is asked for."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest

from lazytensor.errors import ChunkDecodeError
from lazytensor.io.codec.streams import Bz2Codec, DeflateCodec, LzmaCodec, StreamCodec
from lazytensor.io.scratch import Scratch
from tests.io.zarr_cases import array_v2, array_v3, little, shard, sharding

MEBIBYTE = 1 << 20
UNPACKED = 512
"""Mebibytes that a bomb unpacks to; the process that reads them has room for a quarter of that."""

ROOM = 128
_ZEROS = bytes(MEBIBYTE)


def _zstd_without_size() -> bytes:
    """A frame that does not state its size: a header, and blocks of one repeated byte."""
    block = (2 | (128 << 10) << 3).to_bytes(3, "little") + b"\0"
    header = b"\x28\xb5\x2f\xfd\x00\x58"
    return header + block * (8 * UNPACKED) + (1).to_bytes(3, "little")


def _blosc() -> bytes:
    text = bytearray(numcodecs.Blosc("lz4", 9, 0).encode(np.zeros(MEBIBYTE, "u1")))
    text[4:8] = (UNPACKED * MEBIBYTE).to_bytes(4, "little")
    return bytes(text)


def _lz4() -> bytes:
    text = bytearray(numcodecs.LZ4().encode(np.zeros(MEBIBYTE, "u1")))
    text[:4] = (UNPACKED * MEBIBYTE).to_bytes(4, "little")
    return bytes(text)


BOMBS: dict[str, tuple[dict[str, Any], bytes]] = {
    "gzip": ({"id": "gzip", "level": 1}, gzip.compress(_ZEROS) * UNPACKED),
    "gzip at once": ({"id": "gzip", "level": 1}, gzip.compress(_ZEROS * (UNPACKED // 4), 1)),
    "zlib": ({"id": "zlib", "level": 1}, zlib.compress(_ZEROS * (UNPACKED // 4), 1)),
    "bz2": ({"id": "bz2", "level": 9}, bz2.compress(_ZEROS) * UNPACKED),
    "lzma": ({"id": "lzma"}, lzma.compress(_ZEROS, preset=0) * UNPACKED),
    "zstd": ({"id": "zstd", "level": 1}, bytes(numcodecs.Zstd(1).encode(_ZEROS)) * UNPACKED),
    "zstd without size": ({"id": "zstd", "level": 1}, _zstd_without_size()),
    "blosc": ({"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1}, _blosc()),
    "lz4": ({"id": "lz4", "acceleration": 1}, _lz4()),
}
_V3 = ("gzip", "gzip at once", "zstd", "zstd without size", "blosc")


def _configured(name: str) -> dict[str, Any]:
    settings = {"gzip": {"level": 1}, "zstd": {"level": 1, "checksum": False}}
    blosc = {"cname": "lz4", "clevel": 5, "shuffle": "noshuffle", "blocksize": 0, "typesize": 1}
    return {"name": name, "configuration": settings.get(name, blosc)}


def _write(folder: Path) -> None:
    """Arrays of 16 chunks of 1 KiB, each of them a bomb: as chunks, in shards, around shards."""
    for name, (compressor, text) in BOMBS.items():
        array = folder / name
        array.mkdir()
        document = array_v2((16 * 512,), (512,), "<u2", compressor=compressor)
        (array / ".zarray").write_text(json.dumps(document))
        for n in range(16):
            (array / str(n)).symlink_to(array / "0") if n else (array / "0").write_bytes(text)
    for name in _V3:
        text = BOMBS[name][1]
        codec = _configured(name.split()[0])
        inner = [sharding((512,), [little(), codec])]
        _write_v3(folder / f"{name} in a shard", inner, shard([text] * 2 + [None] * 14))
        outer = [sharding((512,)), codec]
        _write_v3(folder / f"{name} around a shard", outer, text)
        nested = [sharding((4096,), [sharding((512,), [little(), codec])])]
        inside = shard([text] + [None] * 7)
        _write_v3(folder / f"{name} in a nested shard", nested, shard([inside, None]))


def _write_v3(array: Path, codecs: list[Any], text: bytes) -> None:
    (array / "c").mkdir(parents=True)
    document = array_v3((16 * 512,), (16 * 512,), "uint16", codecs)
    (array / "zarr.json").write_text(json.dumps(document))
    (array / "c" / "0").write_bytes(text)


PROGRAM = textwrap.dedent(
    """
    import resource, sys
    from pathlib import Path
    import numpy as np
    from lazytensor import native
    from lazytensor.errors import ChunkDecodeError
    from lazytensor.io.zarr import scan

    assert native.wait("chunks", timeout=200) is not None
    import numcodecs.blosc, numcodecs.lz4, numcodecs.zstd, bz2, lzma, isal.isal_zlib, zstandard
    out = np.zeros(16 * 512, "u2")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + int(sys.argv[2]) * (1 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for array in sorted(Path(sys.argv[1]).iterdir()):
        try:
            scan(str(array)).read_into(((0, 16 * 512),), out)
        except ChunkDecodeError:
            print("refused", array.name)
        except BaseException as error:
            print(array.name, type(error).__name__, error)
        else:
            print("read", array.name)
    """
)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and RLIMIT_AS")
@pytest.mark.parametrize("switch", ["1", "0"])
def test_bombs(switch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path)
    monkeypatch.setenv("LAZYTENSOR_NATIVE", switch)
    program = PROGRAM.replace("assert native", "native") if switch == "0" else PROGRAM
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), str(ROOM)],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    expected = sorted(f"refused {array.name}" for array in tmp_path.iterdir())
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == expected


MANY: dict[str, tuple[StreamCodec, bytes]] = {
    "gzip": (DeflateCodec("gzip", gzip=True), gzip.compress(b"")),
    "bz2": (Bz2Codec(), bz2.compress(b"")),
    "lzma": (LzmaCodec(1, None), lzma.compress(b"", check=lzma.CHECK_NONE)),
}


class _Counted:
    """A decompressor that notes how much it hands back."""

    def __init__(self, member: Any, handed: list[int]) -> None:
        self._member = member
        self._handed = handed

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._member, name)
        if name == "unused_data":
            self._handed.append(len(found))
        return found


@pytest.mark.parametrize("name", MANY)
def test_many_empty_members_cost_what_they_are_long(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each member hands back a copy of what follows it: it must not have been given everything."""
    codec, member = MANY[name]
    handed: list[int] = []
    make = codec._member
    monkeypatch.setattr(codec, "_member", lambda: _Counted(make(), handed))
    count = 3000
    assert bytes(codec.decode(member * count + MEMBER[name], 4, None, Scratch(), 1)) == b"abcd"
    assert len(handed) == count + 1
    assert sum(handed[1:]) <= 4096 * count


MEMBER = {
    "gzip": gzip.compress(b"abcd"),
    "bz2": bz2.compress(b"abcd"),
    "lzma": lzma.compress(b"abcd"),
}


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize("sizes", [(9, 0, 70_000), (5000, 100_000, 1), (300_000, 300_000)])
def test_members_of_any_size_follow_each_other(name: str, sizes: tuple[int, ...]) -> None:
    codec, _ = MANY[name]
    encode = {"gzip": gzip.compress, "bz2": bz2.compress, "lzma": lzma.compress}[name]
    parts = [np.random.default_rng(n).bytes(n) for n in sizes]
    stored, whole = b"".join(encode(part) for part in parts), b"".join(parts)
    assert bytes(codec.decode(stored, len(whole), None, Scratch(), 1)) == whole
    for cut, size in (
        (stored, len(whole) - 1),
        (stored, len(whole) + 1),
        (stored[:-1], len(whole)),
    ):
        with pytest.raises(ChunkDecodeError):
            codec.decode(cut, size, None, Scratch(), 1)
