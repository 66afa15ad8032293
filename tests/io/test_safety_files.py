"""Whatever lies where a chunk should be: compiled and plain reading do the same about it."""

from __future__ import annotations

import json
import os
import pickle
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest

from lazytensor import native
from lazytensor.errors import ChunkDecodeError, LazyTensorError, SourceError
from lazytensor.io.zarr import ZarrSource, scan
from lazytensor.plan.counters import snapshot
from tests.io.zarr_cases import array_v2, array_v3, distinct, read_all, shard, sharding

pytestmark = pytest.mark.skipif(
    native.file_functions() is None, reason="kernels do not read files on this system"
)

COUNT, SIZE = 24, 512
VALUES = distinct((COUNT * SIZE,), "<u4")
_BLOSC = {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0}
Encode = Callable[[np.ndarray], bytes]
CODECS: dict[str, tuple[dict[str, Any], Encode]] = {
    "raw": ({}, lambda part: part.tobytes()),
    "turned": ({"dtype": ">u4"}, lambda part: part.astype(">u4").tobytes()),
    "zstd": ({"compressor": {"id": "zstd", "level": 1}}, numcodecs.Zstd(1).encode),
    "blosc": ({"compressor": _BLOSC}, numcodecs.Blosc("lz4").encode),
    "lz4": ({"compressor": {"id": "lz4", "acceleration": 1}}, numcodecs.LZ4().encode),
}


@pytest.fixture(scope="module", autouse=True)
def kernel() -> None:
    assert native.wait("chunks", timeout=200) is not None, native.reason("chunks")


def write(folder: Path, codec: str) -> ZarrSource:
    changes, encode = CODECS[codec]
    (folder / ".zarray").write_text(json.dumps(array_v2((COUNT * SIZE,), (SIZE,), "<u4") | changes))
    for n in range(COUNT):
        part = VALUES[n * SIZE : (n + 1) * SIZE]
        (folder / str(n)).write_bytes(bytes(encode(part)))
    return scan(str(folder))


Outcome = tuple[Any, int, int]


def outcome(source: ZarrSource) -> Outcome:
    """The values or the kind of error, and how many chunks were absent and were read."""
    before = snapshot()
    try:
        result: Any = read_all(source).tobytes()
    except LazyTensorError as error:
        result = type(error)
    after = snapshot()
    absent, units = (
        after.get(name, 0) - before.get(name, 0) for name in ("chunks_missing", "units_read")
    )
    return (result, absent, units) if isinstance(result, bytes) else (result, 0, 0)


def both(source: ZarrSource, monkeypatch: pytest.MonkeyPatch) -> tuple[Outcome, Outcome]:
    """The outcome in compiled code, and without any."""
    monkeypatch.setenv("LAZYTENSOR_NATIVE", "1")
    compiled = outcome(source)
    monkeypatch.setenv("LAZYTENSOR_NATIVE", "0")
    return compiled, outcome(source)


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket is at most 108 bytes long
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


ABSENT: dict[str, Callable[[Path], None]] = {
    "nothing": lambda path: None,
    "folder": lambda path: path.mkdir(),
    "full folder": lambda path: (path / "0").mkdir(parents=True),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "below a file": lambda path: path.symlink_to("0/1"),
}
REFUSED: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "socket": _socket,
    "device": lambda path: path.symlink_to("/dev/null"),
    "endless device": lambda path: path.symlink_to("/dev/zero"),
    "loop": lambda path: path.symlink_to(path.name),
    "long name": lambda path: path.symlink_to("n" * 300),
    "empty": lambda path: path.touch(),
}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("kind", [*ABSENT, *REFUSED])
def test_what_is_no_chunk(
    kind: str, codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path, codec)
    (tmp_path / "7").unlink()
    (ABSENT | REFUSED)[kind](tmp_path / "7")
    compiled, plain = both(source, monkeypatch)
    assert compiled == plain
    if kind in REFUSED:
        assert issubclass(compiled[0], ChunkDecodeError if kind == "empty" else SourceError)
        return
    expected = VALUES.copy()
    expected[7 * SIZE : 8 * SIZE] = 0
    assert compiled == (expected.tobytes(), 1, COUNT - 1)


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read anything")
def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path, "zstd")
    (tmp_path / "7").chmod(0)
    compiled, plain = both(source, monkeypatch)
    assert compiled == plain == (SourceError, 0, 0)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("cut", [1, 3, 40])
def test_a_file_cut_short(
    codec: str, cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path, codec)
    stored = (tmp_path / "7").read_bytes()
    (tmp_path / "7").write_bytes(stored[:-cut])
    compiled, plain = both(source, monkeypatch)
    assert compiled == plain == (ChunkDecodeError, 0, 0)


@pytest.mark.parametrize("name", ["line\nbreak", "\udcff\udcfe", "ü" * 120, " ", "#?%41"])
def test_folders_of_any_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / name
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"this file system does not allow the name: {error}")
    write(folder, "blosc")
    (folder / "3").unlink()
    expected = VALUES.copy()
    expected[3 * SIZE : 4 * SIZE] = 0
    compiled, plain = both(scan(folder), monkeypatch)
    assert compiled == plain == (expected.tobytes(), 1, COUNT - 1)


def test_paths_that_are_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The metadata can be opened, and no chunk can."""
    (tmp_path / "zarr.json").write_text(json.dumps(array_v3((9,) * 8, (9,) * 7 + (1,), "uint8")))
    link = tmp_path / "l"
    link.symlink_to(".")
    most = os.pathconf(tmp_path, "PC_PATH_MAX") - 1 - len("zarr.json")
    root = str(tmp_path)
    while len(root) + 2 < most - 1:
        root += "/l" if len(root) < len(str(tmp_path)) + 60 else "/."
    compiled, plain = both(ZarrSource(*_opened(root)), monkeypatch)
    assert compiled == plain == (SourceError, 0, 0)


def _opened(root: str) -> tuple[Any, Any]:
    """A store at exactly this path, which ``abspath`` would shorten."""
    from lazytensor.io.store_local import LocalStore
    from lazytensor.io.zarr import open_node

    store = LocalStore(".")
    store.uri, store._prefix, store.folder = root, root + "/", root + "/"
    return store, open_node(store, "")


def alone(function: Callable[[], Any]) -> Any:
    """What a function returns in a child of this process, in which no other thread opens files."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            answer = pickle.dumps(function())
        except BaseException as error:  # noqa: BLE001  (told to the parent)
            answer = pickle.dumps(repr(error))
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(answer)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return pickle.loads(answer)


@contextmanager
def few_descriptors(spare: int) -> Iterator[None]:
    """Room for this many more open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(4)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 1 + spare, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)


@pytest.mark.parametrize("spare", [0, 1])
def test_without_descriptors(spare: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path, "zstd")

    def read() -> tuple[Any, Any, bool]:
        before = set(os.listdir("/proc/self/fd"))
        with few_descriptors(spare):
            compiled, plain = both(source, monkeypatch)
        return compiled, plain, set(os.listdir("/proc/self/fd")) == before

    compiled, plain, nothing_leaked = alone(read)
    expected = (VALUES.tobytes(), 0, COUNT) if spare else (SourceError, 0, 0)
    assert compiled == plain == expected
    assert nothing_leaked


def write_shards(folder: Path, shards: int) -> ZarrSource:
    inner = SIZE // 4
    encode = numcodecs.Zstd(1).encode
    document = array_v3(
        (shards * SIZE,),
        (SIZE,),
        "uint32",
        [sharding((inner,), [{"name": "bytes"}, {"name": "zstd"}])],
    )
    (folder / "zarr.json").write_text(
        json.dumps(document).replace(
            '"name": "bytes"}', '"name": "bytes", "configuration": {"endian": "little"}}'
        )
    )
    (folder / "c").mkdir()
    for n in range(shards):
        parts = VALUES[n * SIZE : (n + 1) * SIZE].reshape(4, inner)
        (folder / "c" / str(n)).write_bytes(shard([bytes(encode(p)) for p in parts]))
    return scan(str(folder))


@pytest.mark.parametrize("kind", [*ABSENT, *REFUSED, "cut"])
def test_what_is_no_shard(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_shards(tmp_path, 8)
    victim = tmp_path / "c" / "5"
    text = victim.read_bytes()
    victim.unlink()
    make = (ABSENT | REFUSED).get(kind, lambda path: path.write_bytes(text[:70]))
    make(victim)
    compiled, plain = both(source, monkeypatch)
    assert compiled == plain
    if kind in ABSENT:
        expected = VALUES[: 8 * SIZE].copy()
        expected[5 * SIZE : 6 * SIZE] = 0
        assert compiled[:2] == (expected.tobytes(), 1)


def test_signals_while_files_are_read(tmp_path: Path) -> None:
    """A handler that runs every 200 µs disturbs nothing."""
    source, ran = write(tmp_path, "blosc"), [0]

    def handler(number: int, frame: object) -> None:
        ran[0] += 1

    previous = signal.signal(signal.SIGALRM, handler)
    signal.siginterrupt(signal.SIGALRM, True)
    signal.setitimer(signal.ITIMER_REAL, 2e-4, 2e-4)
    try:
        for _ in range(2000):
            assert outcome(source) == (VALUES.tobytes(), 0, COUNT)
            if ran[0] > 200:
                break
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert ran[0]


@pytest.mark.parametrize("codec", ["raw", "zstd", "turned"])
def test_files_that_change_while_they_are_read(codec: str, tmp_path: Path) -> None:
    """Each chunk is one of the versions, or there is an error; nothing else is ever returned."""
    source = write(tmp_path, codec)
    whole = (tmp_path / "7").read_bytes()
    other = bytes(CODECS[codec][1](VALUES[:SIZE] + np.uint32(5)))
    stop = threading.Event()

    def disturb() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            temporary = tmp_path / "new"
            temporary.write_bytes((whole, other, whole[:9], b"")[turn % 4])
            os.replace(temporary, tmp_path / "7")
            if turn % 5 == 0:
                (tmp_path / "7").unlink()

    thread = threading.Thread(target=disturb)
    thread.start()
    good = {b"\0" * 4 * SIZE, VALUES[7 * SIZE : 8 * SIZE].tobytes()}
    good.add((VALUES[:SIZE] + np.uint32(5)).tobytes())
    try:
        for _ in range(300):
            found = outcome(source)[0]
            if isinstance(found, bytes):
                assert found[28 * SIZE : 32 * SIZE] in good
                assert found[: 28 * SIZE] == VALUES[: 7 * SIZE].tobytes()
            else:
                assert issubclass(found, SourceError)
    finally:
        stop.set()
        thread.join()
