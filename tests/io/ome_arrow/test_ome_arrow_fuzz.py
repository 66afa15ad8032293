"""Damaged files and records through every entrance: errors of one family, no crash, no wrong pixel.

The work is done in a process of its own, whose memory is limited and which may be killed by it.
Run by hand for longer: ``python tests/io/ome_arrow/test_ome_arrow_fuzz.py SEED ROUNDS``.
"""

from __future__ import annotations

import copy
import random
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import lazytensor as lt
from tests.io.ome_arrow.ome_arrow_files import (
    BYTES,
    LISTS,
    Record,
    dataset,
    image,
    ipc,
    parquet,
    record,
    table,
)

ENGINE = lt.LocalEngine(threads=1, max_memory="256 MiB")
ROOM = 2 << 30
"""Bytes of address space beyond what the libraries have taken when the work begins."""
SECONDS = 20.0
"""Longest that one damaged file may take."""
MISSING, GOOD, BAD, ANY = range(4)
AXES = "tczyx"
VALUES = image((2, 1, 3, 5, 7))
REFUSALS = (lt.LazyTensorError,)


def test_damaged_files_and_records() -> None:
    done = subprocess.run(
        [sys.executable, __file__, "3", "120"],
        capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.startswith("alive")


# What a reader that believes nothing makes of a record: the specification in Python.


def _whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and low <= value <= high


def _payload(piece: Record, count: int, dtype: np.dtype) -> tuple[Any, Any]:
    """Whether the pixels of a piece are good, and what they are."""
    if "pixel_bytes" not in piece:
        pixels = piece.get("pixels")
        if pixels is None or len(pixels) != count:
            return BAD, 0
        good = [_whole(value, 0, np.iinfo(dtype).max) for value in pixels]
        if all(good):
            return GOOD, pixels
        # Those beside one that is wrong may be read or not.
        return np.where(good, ANY, BAD), 0
    if piece["dtype"] not in (None, dtype.name) or piece["pixel_bytes"] is None:
        return BAD, 0
    if piece["compression"] is not None:
        if piece.get("damaged"):
            return ANY, 0
        return (GOOD, piece["held"]) if len(piece["held"]) == count else (BAD, 0)
    raw = piece["pixel_bytes"]
    return (GOOD, np.frombuffer(raw, dtype)) if len(raw) == count * dtype.itemsize else (BAD, 0)


def oracle(made: Record) -> tuple[np.ndarray, np.ndarray] | None:
    """State and value of every voxel; None for what cannot be opened."""
    meta = made["pixels_meta"]
    if made["type"] not in ("ome.arrow", None) or meta is None:
        return None
    if meta["type"] not in ("uint16", "int8"):
        return None
    dtype = np.dtype(meta["type"])
    sizes = [meta[f"size_{axis}"] for axis in AXES]
    grid = made["chunk_grid"] or {}
    if not all(_whole(n, 1, 1 << 12) for n in sizes) or grid.get("chunk_order") not in (
        None, "ZYX", "zyx",
    ):  # fmt: skip
        return None
    state, values = np.full(sizes, MISSING, "i1"), np.zeros(sizes, dtype)
    pieces = made["chunks"] or made["planes"] or []
    chunked = bool(made["chunks"])
    for piece in pieces:
        origin = [piece[axis] if chunked or axis in "tcz" else 0 for axis in AXES]
        extent = [
            1 if axis in "tc" or (not chunked and axis == "z")
            else piece[f"shape_{axis}"] if chunked else size
            for axis, size in zip(AXES, sizes, strict=True)
        ]  # fmt: skip
        placed = zip(origin, extent, sizes, strict=True)
        if not all(_whole(o, 0, n - 1) and _whole(e, 1, n) and o + e <= n for o, e, n in placed):
            return None
        box = tuple(slice(o, o + e) for o, e in zip(origin, extent, strict=True))
        good, pixels = _payload(piece, int(np.prod(extent)), dtype)
        twice = state[box] != MISSING
        values[box] = np.reshape(pixels, extent) if np.ndim(pixels) else pixels
        state[box] = np.where(twice, BAD, np.reshape(good, extent) if np.ndim(good) else good)
    return state, values


def check_record(made: Record, source: Any, options: dict[str, Any]) -> str:
    """What is read is what the oracle reads, or an error where it has one."""
    expected = oracle(made)
    try:
        x = lt.scan_ome_arrow(source, **options)
    except lt.FormatError:
        assert expected is None or (expected[0] != GOOD).any(), "a good file was refused"
        return "refused"
    if expected is None:
        # Where a piece is wrong may be found out when it is read, but then it must be.
        try:
            x.collect(engine=ENGINE)
        except lt.FormatError:
            return "refused late"
        raise AssertionError("what is wrong was read")
    state, values = expected
    assert x.shape == values.shape and x.dtype == values.dtype
    for where in [..., *np.ndindex(*x.shape[:3])]:
        part = state[where]
        try:
            read = x[where].collect(engine=ENGINE)
        except lt.FormatError:
            assert (part != GOOD).any(), f"good values at {where} were refused"
            continue
        assert not np.isin(part, (MISSING, BAD)).any(), f"what is wrong at {where} was read"
        good = part == GOOD
        np.testing.assert_array_equal(read[good], values[where][good])
    return "read"


NUMBERS = [None, 0, 1, -1, 2, 3, 5, 7, 9, 2**15 - 1]
WIDE = [*NUMBERS, 2**31 - 1, -(2**31), 1 << 20]
WORDS = [None, "", "uint16", "int8", "float33", "zstd", "lz4", "none", "ome.arrow", "ZYX", "XYZ"]


def _hurt_meta(made: Record, rng: random.Random) -> None:
    if rng.random() < 0.05:
        made["pixels_meta"] = None
        return
    name = rng.choice([f"size_{axis}" for axis in AXES] * 2 + ["type", "dimension_order"])
    words = WORDS if name in ("type", "dimension_order") else NUMBERS
    if made["pixels_meta"] is not None:
        made["pixels_meta"][name] = rng.choice(words)


def _hurt_piece(made: Record, rng: random.Random) -> None:
    pieces = made["chunks"] or made["planes"]
    if not pieces:
        return
    piece = rng.choice(pieces)
    name = rng.choice([key for key in piece if key not in ("held", "damaged")])
    if name == "pixels":
        _hurt_pixels(piece, rng)
    elif name == "pixel_bytes":
        _hurt_bytes(piece, rng)
    elif name == "dtype":
        piece[name] = rng.choice([None, "uint16", "int8", "float33"])
    elif name == "compression":
        if piece["compression"] is None:  # of what is compressed, anything may be the raw bytes
            piece["compression"], piece["damaged"] = rng.choice(["zstd", "lz4", "blosc"]), True
    else:
        piece[name] = rng.choice(NUMBERS if name == "c" else WIDE)


def _hurt_pixels(piece: Record, rng: random.Random) -> None:
    pixels = piece["pixels"]
    match rng.randrange(4):
        case 0:
            piece["pixels"] = None
        case 1:
            piece["pixels"] = pixels and pixels[: rng.randrange(len(pixels))]
        case 2:
            piece["pixels"] = (pixels or []) + [1] * rng.choice([1, 2, 35])
        case _ if pixels:
            pixels[rng.randrange(len(pixels))] = None


def _hurt_bytes(piece: Record, rng: random.Random) -> None:
    raw = piece["pixel_bytes"]
    if not raw or rng.random() < 0.2:
        piece["pixel_bytes"] = None
        return
    piece["damaged"] = True
    piece["pixel_bytes"] = damaged(raw, rng)


def _hurt_list(made: Record, rng: random.Random) -> None:
    name = "chunks" if made["chunks"] else "planes"
    pieces = made[name]
    if not pieces:
        return
    match rng.randrange(5):
        case 0:
            del pieces[rng.randrange(len(pieces))]
        case 1:
            pieces.append(copy.deepcopy(rng.choice(pieces)))
        case 2:
            rng.shuffle(pieces)
        case 3:
            made[name] = rng.choice([None, []])
        case _:
            made["type"] = rng.choice(WORDS)


HURTS = (_hurt_meta, _hurt_piece, _hurt_piece, _hurt_piece, _hurt_list)


def _entrances(made: Any, folder: Path, rng: random.Random) -> tuple[Any, dict[str, Any]]:
    """A table by one of the ways it can come."""
    path = folder / "a"
    match rng.randrange(7):
        case 0:
            return made, {}
        case 1:
            return parquet(made), {}
        case 2:
            path.write_bytes(parquet(made, compression=rng.choice(["none", "snappy", "lz4"])))
            return path, {"mmap": rng.random() < 0.5}
        case 3:
            return ipc(made, codec=rng.choice([None, "lz4", "zstd"])), {}
        case 4:
            path.write_bytes(ipc(made, stream=rng.random() < 0.5))
            return path, {"mmap": rng.random() < 0.7}
        case 5:
            return ({"k": parquet(made, version="1.0", store_schema=False)}, "k"), {}
        case _:
            import polars as pl

            return pl.from_arrow(made), {}


def _base(rng: random.Random) -> tuple[Record, bool]:
    match rng.randrange(4):
        case 0:
            return record(VALUES), False
        case 1:
            return record(VALUES, chunk=(2, 3, 4)), False
        case _:
            codec = rng.choice([None, None, "zstd", "lz4", "gzip", "snappy"])
            made = record(VALUES, encoded=True, chunk=(1, 5, 4), codec=codec)
            raw = record(VALUES, encoded=True, chunk=(1, 5, 4))
            for piece, plain in zip(made["chunks"], raw["chunks"], strict=True):
                piece["held"] = np.frombuffer(plain["pixel_bytes"], "u2")
            return made, True


def _without_notes(made: Record) -> Record:
    """The record alone, without what the oracle has to know of it."""
    chunks = made["chunks"] and [
        {key: value for key, value in piece.items() if key not in ("held", "damaged")}
        for piece in made["chunks"]
    ]
    return made | {"chunks": chunks}


def check_one_record(rng: random.Random, folder: Path) -> str:
    """A record with a few things wrong."""
    made, encoded = _base(rng)
    for _ in range(rng.randrange(4)):
        rng.choice(HURTS)(made, rng)
    rows = table([_without_notes(made)], BYTES if encoded else LISTS)
    return check_record(made, *_entrances(rows, folder, rng))


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, moved, left out or put in; most at the ends, where footers are."""
    found = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if len(found) < 9:
            break
        near = rng.choice((16, 300, 4000, len(found)))
        at = rng.randrange(min(near, len(found) - 4))
        if rng.random() < 0.6:
            at = len(found) - 5 - at
        match rng.randrange(6):
            case 0:
                found[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
            case 1:
                found[at] ^= 1 << rng.randrange(8)
            case 2:
                found[at : at + 4] = rng.choice((0, 1, 2**31 - 1, 2**32 - 1)).to_bytes(4, "little")
            case 3:
                found[at:at] = rng.randbytes(rng.randint(1, 8))
            case 4:
                del found[at : at + rng.randint(1, 8)]
            case _:
                del found[at : len(found) if rng.random() < 0.3 else at + 1]
    return bytes(found)


def files() -> list[Any]:
    """Small files of every kind."""
    lists, chunks = record(VALUES), record(VALUES, chunk=(2, 3, 4))
    raw = record(VALUES, encoded=True, chunk=(1, 5, 4))
    zstd = record(VALUES, encoded=True, chunk=(1, 5, 4), codec="zstd")
    rows = [table([made, None, made]) for made in (lists, chunks)]
    rows += [table([made, None, made], BYTES) for made in (raw, zstd)]
    found: list[Any] = []
    for made in rows:
        found += [parquet(made), parquet(made, compression="none", row_group_size=1)]
        found += [parquet(made, data_page_version="2.0", compression="snappy")]
        found += [ipc(made), ipc(made, stream=True), ipc(made, codec="zstd", rows=1)]
    found += [dataset([VALUES, VALUES[:1]]), dataset([VALUES], group=3, index=False)]
    return found


def check_one_file(rng: random.Random, folder: Path, whole: Any) -> str:
    """A damaged file: read, or refused by one of the library's own errors."""
    if isinstance(whole, dict):
        name = rng.choice(list(whole))
        source: Any = whole | {name: damaged(whole[name], rng)}
        if rng.random() < 0.1:
            del source[name]
    else:
        source = damaged(whole, rng)
    options: dict[str, Any] = {}
    if not isinstance(source, dict) and rng.random() < 0.5:
        path = folder / "b"
        path.write_bytes(source)
        source, options = path, {"mmap": rng.random() < 0.5}
    try:
        opened = lt.open_ome_arrow(source, **options)
        count = len(opened)
    except REFUSALS:
        return "refused"
    for row in range(min(count, 3)):
        try:
            x = opened[row]
            x[tuple(slice(n // 2, n // 2 + 2) for n in x.shape)].collect(engine=ENGINE)
            if x.nbytes < 1 << 22:
                x.collect(engine=ENGINE)
        except REFUSALS:
            continue
    try:
        opened.frame.collect()
        opened.shapes
    except REFUSALS:
        return "refused late"
    return "read"


def check_one_folder(rng: random.Random, folder: Path) -> str:
    """A dataset in whose tables single numbers are wrong: right pixels, or an error."""
    group = rng.choice((1, 2, 5))
    values = {"a": VALUES, "b": image((1, 2, 1, 4, 6), "f4")}
    hits: list[tuple[str, int, str]] = []

    def change(rows: Any) -> None:
        for _ in range(rng.randrange(4)):
            name = rng.choice(("index", "index", "chunks", "images"))
            row = rng.randrange(len(rows[name]))
            key = rng.choice(list(rows[name][row]))
            if isinstance(rows[name][row][key], int):
                rows[name][row][key] = rng.choice(WIDE)
                hits.append((name, row, key))

    files = dataset(values, (1, 1, 2, 3, 4), group=group, index=rng.random() < 0.7, change=change)
    outcome = "read"
    for key, expected in values.items():
        try:
            read = lt.scan_ome_arrow(files, image_id=key).collect(engine=ENGINE)
        except REFUSALS:
            assert any(name != "index" for name, _, _ in hits), f"{hits} of an index refused"
            outcome = "refused"
            continue
        # A wrong size or place that fits may be as good as the right one, except of the whole.
        assert read.shape != expected.shape or (read == expected).all(), hits
    return outcome


def main() -> None:
    """Rounds of everything, each from a seed of its own."""
    seed, rounds = int(sys.argv[1]), int(sys.argv[2])
    warnings.simplefilter("ignore")
    wholes = files()
    counts: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for whole in wholes:
            check_one_file(random.Random(0), folder, whole)
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        room = used * resource.getpagesize() + ROOM
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
        jobs: list[tuple[str, Callable[[random.Random], str]]] = [
            ("record", lambda rng: check_one_record(rng, folder)),
            ("file", lambda rng: check_one_file(rng, folder, rng.choice(wholes))),
            ("folder", lambda rng: check_one_folder(rng, folder)),
        ]
        for number in range(rounds):
            for kind, check in jobs:
                rng = random.Random(f"{seed} {number} {kind}")
                start = time.monotonic()
                try:
                    outcome = check(rng)
                except BaseException:
                    sys.stderr.write(f"seed {seed}, round {number}, {kind}\n")
                    raise
                assert time.monotonic() - start < SECONDS, f"{seed} {number} {kind} took too long"
                counts[f"{kind} {outcome}"] = counts.get(f"{kind} {outcome}", 0) + 1
    sys.stdout.write(f"alive {counts}\n")


if __name__ == "__main__":
    main()
