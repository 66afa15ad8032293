"""What lazy packets read: values against NumPy, bytes against estimates, checksums, threads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.io import tenso
from lazytensor.io.runs import GAP
from tests.engines import ENGINES
from tests.io.tenso.lazily import ONE, counted, linked, read, seekable

RNG = np.random.default_rng(5)
CUBE = RNG.integers(0, 60, (90, 70, 50)).astype("u2")  # 630 KB: several blocks of 64 KiB and more
ROWS = np.repeat(RNG.random((3000, 25), "f4"), 40, axis=1)  # 12 MB: three virtual chunks

KINDS: dict[str, Any] = {
    "plain": lambda a: tenso.dumps(a),
    "integrity": lambda a: tenso.dumps(a, check_integrity=True),
    "odd": lambda a: tenso.dumps(a, alignment=1, check_integrity=True),
    "lz4": lambda a: tenso.dumps(a, compress=True),
    "lz4-integrity": lambda a: tenso.dumps(a, compress=True, check_integrity=True),
    "seekable": seekable,
    "linked": linked,
}


@st.composite
def parts(draw):  # type: ignore[no-untyped-def]
    key: list[Any] = []
    for n in CUBE.shape[: draw(st.integers(0, 3))]:
        if draw(st.booleans()):
            key.append(draw(st.integers(-n, n - 1)))
            continue
        bounds = st.none() | st.integers(-n, n)
        step = draw(st.none() | st.integers(-9, 9).filter(bool))
        key.append(slice(draw(bounds), draw(bounds), step))
    return tuple(key)


@pytest.mark.parametrize("kind", KINDS)
def test_slices(kind: str) -> None:
    packet = bytes(KINDS[kind](CUBE))
    tensors = [lt.scan_tenso(({"a": packet}, "a"), verify=v) for v in ("whole", "always", "never")]

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(parts(), st.sampled_from(sorted(ENGINES)), st.sampled_from(tensors))
    def check(part: tuple[Any, ...], engine: str, x: lt.LazyTensor) -> None:
        found = x[part].collect(engine=ENGINES[engine])
        assert found.dtype == CUBE.dtype and np.array_equal(found, CUBE[part])

    check()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "f2", "i4", "f8", "c8", "c16", "bfloat16"])
def test_dtypes(kind: str, dtype: str) -> None:
    wanted = lt.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    values = RNG.integers(0, 2 if dtype == "?" else 100, (37, 41, 5)).astype(wanted)
    x = lt.scan_tenso(({"a": bytes(KINDS[kind](values))}, "a"))
    for part in (np.s_[:], np.s_[5:30:3, ::-1], np.s_[:, 4], np.s_[..., 2]):
        found = x[part].collect()
        assert found.dtype == wanted and found.tobytes() == values[part].tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_is_what_was_estimated(kind: str) -> None:
    views = {
        "all": lambda x: x,
        "rows": lambda x: x[100:700],
        "one row": lambda x: x[-1],
        "columns": lambda x: x[:, 3:5],
        "steps": lambda x: x[5::700, ::-300],
        "element": lambda x: x[1234, 567],
        "two": lambda x: x[10:20] + x[15:25],
        "sum": lambda x: x.sum(axis=0),
        "nothing": lambda x: x[5:5],
    }
    for verify in ("whole", "always", "never"):
        for name, view in views.items():
            store, x = counted(KINDS[kind](ROWS), verify=verify)
            y = view(x)
            found = y.estimate(exact=True, engine=ONE)
            store.reset()
            lt.metrics(reset=True)
            y.collect(engine=ONE)
            spent = lt.metrics(reset=True)
            assert spent.get("bytes_read", 0) == store.bytes, (name, verify)
            assert found.bytes_read == store.bytes, (name, verify)


def test_a_slice_reads_its_bytes() -> None:
    store, x = counted(tenso.dumps(ROWS, check_integrity=True))
    x[7:9].collect()
    assert store.log == [("range", "a.tenso", 64 + 7 * 4000, 64 + 9 * 4000)]
    store.reset()
    x[7:9, 10:20].collect()
    assert store.log == [("range", "a.tenso", 64 + 7 * 4000 + 40, 64 + 8 * 4000 + 80)]
    assert x.chunks == ((4 << 20) // 4000, 1000)


def test_runs_far_apart_are_read_alone() -> None:
    wide = np.zeros((40, GAP + 4096), "u1")
    wide[:, 5:7] = np.arange(80).reshape(40, 2)
    store, x = counted(tenso.dumps(wide))
    assert np.array_equal(x[:, 5:7].collect(engine=ONE), wide[:, 5:7])
    assert store.requests == 40 and store.bytes == 80
    store.reset()
    assert np.array_equal(x[::13, 5:7].collect(engine=ONE), wide[::13, 5:7])
    assert store.bytes == 8


def test_blocks_that_are_wanted_are_read() -> None:
    store, x = counted(seekable(ROWS))
    size = len(store.get("a.tenso") or b"")
    store.reset()
    x[7:9].collect()
    assert store.requests == 1 and store.bytes < 2 * size // 40
    x[:, 3].collect(engine=ONE)
    assert read(store) < size * 1.1  # each block once, those at the borders of tasks twice


def test_scanning_a_seekable_packet_is_two_small_reads() -> None:
    store, _ = counted(seekable(ROWS))
    lt.scan_tenso((store, "a.tenso"))
    assert store.requests == 2 and store.bytes < 1000


class TestChecksums:
    def damaged(self, kind: str, at: float = 0.5) -> bytes:
        packet = bytearray(KINDS[kind](ROWS))
        packet[int(len(packet) * at)] ^= 0x10
        return bytes(packet)

    @pytest.mark.parametrize("kind", ["integrity", "odd", "lz4-integrity", "seekable"])
    @pytest.mark.parametrize("at", [0.1, 0.5, 0.99])
    @pytest.mark.parametrize("threads", [1, 2, 5])
    def test_a_collect_of_all_of_it(self, kind: str, at: float, threads: int) -> None:
        packet, engine = self.damaged(kind, at), lt.LocalEngine(threads=threads)
        x = lt.scan_tenso(({"a": packet}, "a"))
        for y in (x, x + 1, x.sum(), x.astype("f8").max(axis=1)):
            with pytest.raises((lt.ChecksumError, lt.ChunkDecodeError), match="tenso memory"):
                y.collect(engine=engine)
        good = lt.scan_tenso(({"a": bytes(KINDS[kind](ROWS))}, "a"))
        assert np.array_equal(good.collect(engine=engine), ROWS)
        assert np.array_equal((good + 1).collect(engine=engine), ROWS + 1)

    @pytest.mark.parametrize("kind", ["integrity", "odd", "lz4-integrity", "seekable"])
    def test_policies(self, kind: str) -> None:
        packet = self.damaged(kind, 0.2)
        whole, always, never = (
            lt.scan_tenso(({"a": packet}, "a"), verify=v) for v in ("whole", "always", "never")
        )
        assert np.array_equal(whole[-5:].collect(), ROWS[-5:])
        assert np.array_equal(never[-5:].collect(), ROWS[-5:])
        for _ in range(2):
            with pytest.raises(lt.ChecksumError, match="expected XXH3"):
                always[-5:].collect()

    @pytest.mark.parametrize("threads", [1, 2])
    def test_maps_are_checked_as_files_are(self, tmp_path: Path, threads: int) -> None:
        path, engine = tmp_path / "a.tenso", lt.LocalEngine(threads=threads)
        path.write_bytes(self.damaged("integrity"))
        x = lt.scan_tenso(path, mmap=True)
        for y in (x, x + 1, x.sum()):
            with pytest.raises(lt.ChecksumError):
                y.collect(engine=engine)
        assert np.array_equal(x[:5].collect(), ROWS[:5])
        lt.scan_tenso(path, mmap=True, verify="never").collect(engine=engine)
        path = tmp_path / "b.tenso"
        path.write_bytes(bytes(tenso.dumps(ROWS, check_integrity=True)))
        x = lt.scan_tenso(path, mmap=True)
        assert np.array_equal((x + 1).collect(engine=engine), ROWS + 1)

    def test_always_reads_everything_once(self) -> None:
        store, x = counted(tenso.dumps(ROWS, check_integrity=True), verify="always")
        x[7:9].collect()
        assert read(store) == ROWS.nbytes + 8 + 8000
        x[7:9].collect()
        assert read(store) == 8000

    def test_always_reads_a_changed_file_again(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tenso"
        path.write_bytes(tenso.dumps(ROWS, check_integrity=True))
        x = lt.scan_tenso(path, verify="always")
        assert np.array_equal(x[:5].collect(), ROWS[:5])
        path.write_bytes(self.damaged("integrity"))
        with pytest.raises(lt.SourceChangedError):
            x[:5].collect()
        with pytest.raises(lt.ChecksumError):
            lt.scan_tenso(path, verify="always")[:5].collect()

    def test_a_key_is_named(self) -> None:
        packet = bytearray(tenso.dumps({"a": CUBE, "k": CUBE}, check_integrity=True))
        packet[-100] ^= 1
        with pytest.raises(lt.ChecksumError, match=r"\['k'\]"):
            lt.open_tenso(bytes(packet))["k"].collect()
        assert np.array_equal(lt.open_tenso(bytes(packet))["a"].collect(), CUBE)

    def test_a_run_that_reads_less_is_not_checked(self) -> None:
        x = lt.scan_tenso(({"a": self.damaged("integrity", 0.01)}, "a"))
        for part in (np.s_[1:], np.s_[:-1], np.s_[:, 1:], np.s_[::2]):
            x[part].collect()
        first = x[:1500].collect(), x[1500:].collect()  # not what another run has read
        assert not np.array_equal(np.concatenate(first), ROWS)

    def test_a_run_of_two_plans(self) -> None:
        cells = lt.scan_tenso(bytes(tenso.dumps(ROWS))).chunks[0]
        assert cells is not None
        x = lt.scan_tenso(({"a": self.damaged("integrity", 0.01)}, "a"))
        with pytest.raises(lt.ChecksumError):
            lt.collect_all([x[:cells] + 1, x[cells:] + 2])


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_end_early(tmp_path: Path, kind: str) -> None:
    packet = bytes(KINDS[kind](CUBE))
    path = tmp_path / "a.tenso"
    for stop in (0, 5, 20, 63, 64, 200, len(packet) // 2, len(packet) - 1):
        path.write_bytes(packet[:stop])
        with pytest.raises(lt.FormatError, match=r"a\.tenso"):
            lt.scan_tenso(path).collect()  # in a table behind the values nobody misses a byte
        with pytest.raises(lt.FormatError):
            lt.scan_tenso(packet[:stop]).collect()


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_under_a_run_is_an_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.tenso"
    path.write_bytes(KINDS[kind](ROWS))
    source: Any = lt.scan_tenso(path)._node.source  # type: ignore[attr-defined]
    out = np.empty((3000, 1000), "f4")
    source.read_into(((0, 3000), (0, 1000)), out)
    assert np.array_equal(out, ROWS)
    os.truncate(path, 1000)
    with pytest.raises(lt.SourceError):
        source.read_into(((0, 3000), (0, 1000)), out)
    if source.shares(((0, 3000), (0, 1000)), (1, 1)):
        with pytest.raises(lt.SourceError):
            source.shared_read(((0, 3000), (0, 1000)), (1, 1), out)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threads", [1, 2, 7])
def test_threads_and_cuts(kind: str, threads: int) -> None:
    x = lt.scan_tenso(({"a": bytes(KINDS[kind](ROWS))}, "a"))
    engine = lt.LocalEngine(threads=threads)
    big = lt.concat([x, x[::-1], x], axis=0)
    assert np.array_equal(x.collect(engine=engine), ROWS)
    assert np.array_equal(x[17:2900].collect(engine=engine), ROWS[17:2900])
    assert np.array_equal(x[17:2900, ::-1].collect(engine=engine), ROWS[17:2900, ::-1])
    assert np.array_equal(big.collect(engine=engine), np.concatenate([ROWS, ROWS[::-1], ROWS]))
    out = np.zeros((1000, 3000), "f4").T
    assert np.array_equal(x.collect(engine=engine, out=out), ROWS)


@pytest.mark.parametrize("kind", KINDS)
def test_little_memory(kind: str) -> None:
    x = lt.scan_tenso(({"a": bytes(KINDS[kind](ROWS))}, "a"))
    engine = lt.LocalEngine(threads=2, max_memory="48 MiB")
    assert np.array_equal(x.collect(engine=engine), ROWS)
    assert x.mean().collect(engine=engine) == pytest.approx(ROWS.mean(dtype="f8"))


def test_gathers() -> None:
    for kind in ("plain", "seekable", "linked"):
        x = lt.scan_tenso(({"a": bytes(KINDS[kind](CUBE))}, "a"))
        rows, columns = [80, 3, 3, 41], [7, 0, 69, 5]
        assert np.array_equal(x.oindex[rows, columns].collect(), CUBE[np.ix_(rows, columns)])
        assert np.array_equal(x.vindex[rows, columns].collect(), CUBE[rows, columns])


class TestRemote:
    @pytest.fixture
    def server(self):  # type: ignore[no-untyped-def]
        pytest.importorskip("aiohttp")
        from tests.io.servers import serving

        with serving() as found:
            yield found

    def test_few_requests(self, server: Any) -> None:
        server.renew({f"{kind}.tenso": bytes(make(ROWS)) for kind, make in KINDS.items()})
        for kind in KINDS:
            server.log.clear()
            x = lt.scan_tenso(f"{server.url}/{kind}.tenso")
            scanned = len(server.log)
            assert scanned <= (2 if kind not in ("lz4", "lz4-integrity", "linked") else 4), kind
            assert np.array_equal(x[7:9].collect(), ROWS[7:9])
            assert len(server.log) <= scanned + 4, kind
            assert np.array_equal(x[::500, 10:12].collect(), ROWS[::500, 10:12])
            assert np.array_equal(x.collect(), ROWS)
            assert np.array_equal((x * 2).collect(), ROWS * 2)

    def test_checksums(self, server: Any) -> None:
        packet = bytearray(KINDS["integrity"](np.concatenate([ROWS] * 3)))
        packet[len(packet) // 2] ^= 1
        server.renew({"a.tenso": bytes(packet)})
        for threads in (1, 4):
            with pytest.raises(lt.ChecksumError):
                lt.scan_tenso(f"{server.url}/a.tenso").collect(
                    engine=lt.LocalEngine(threads=threads)
                )
        x = lt.scan_tenso(f"{server.url}/a.tenso", verify="always")
        with pytest.raises(lt.ChecksumError):
            x[0, 0].collect()

    def test_changed(self, server: Any) -> None:
        server.renew({"a.tenso": bytes(KINDS["plain"](ROWS))})
        x = lt.scan_tenso(f"{server.url}/a.tenso")
        server.objects["a.tenso"] = bytes(KINDS["plain"](ROWS + 1))
        with pytest.raises(lt.SourceChangedError):
            x[5:9].collect()
