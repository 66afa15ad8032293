"""What must fail fails with the right error and before anything is read; damage is contained."""

from __future__ import annotations

import gc
import json
import random
import subprocess
import sys
import textwrap
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.exec.memory import Budget, thread_count
from tests.engines import ENGINES, SETTINGS
from tests.sources import ChunkedArray


def counted(shape: tuple[int, ...], chunks: tuple[int, ...], **options: Any) -> ChunkedArray:
    return ChunkedArray(np.arange(np.prod(shape), dtype="f8").reshape(shape), chunks, **options)


class TestMemory:
    def test_a_task_that_cannot_fit_is_refused_before_the_first_read(self) -> None:
        source = counted((1024, 1024), (1024, 1024))
        engine = lt.LocalEngine(max_memory="1MiB")
        with pytest.raises(lt.MemoryLimitError, match=r"MiB, the limit is 1 MiB; raise max_memory"):
            (lt.scan_source(source) + 1).collect(engine=engine)
        assert source.boxes == []

    def test_also_if_it_belongs_to_a_later_stage(self) -> None:
        source = counted((1024, 1024), (128, 1024))
        x = lt.scan_source(source)
        late = lt.map_blocks(np.sqrt, (x - lt.mean(x)).rechunk((1024, 1024)), dtype="f8")
        with pytest.raises(lt.MemoryLimitError):
            late.collect(engine=lt.LocalEngine(max_memory="6MiB"))
        assert source.boxes == []

    def test_intermediate_results_count(self) -> None:
        source = counted((1024, 1024), (128, 1024))
        x = (lt.scan_source(source) + 1).cache()
        twice = x + x[::-1]
        with pytest.raises(lt.MemoryLimitError, match="beside 8 MiB of intermediate results"):
            twice.collect(engine=lt.LocalEngine(max_memory="9MiB"))
        assert source.boxes == []
        twice.collect(engine=lt.LocalEngine(max_memory="16MiB"))

    def test_cells_that_may_be_cut_are_cut_to_the_limit(self) -> None:
        values = np.arange(1 << 20, dtype="f8").reshape(1024, 1024)
        engine = lt.LocalEngine(threads=1, max_memory="256KiB")
        np.testing.assert_array_equal((lt.asarray(values) * 2).collect(engine=engine), values * 2)

    def test_it_bounds_how_many_tasks_run_at_once(self) -> None:
        lock, inside, most = threading.Lock(), 0, 0

        def read(domain: lt.IndexDomain, out: np.ndarray) -> None:
            nonlocal inside, most
            with lock:
                inside += 1
                most = max(most, inside)
            threading.Event().wait(0.002)
            with lock:
                inside -= 1

        x = lt.virtual_chunked(read, shape=(64, 1 << 17), dtype="f8", chunks=(1, 1 << 17))
        for limit, expected in (("1200KiB", 1), ("3MiB", 2)):
            most = 0
            lt.max(x).collect(engine=lt.LocalEngine(threads=8, max_memory=limit))
            assert 1 <= most <= expected

    @pytest.mark.parametrize("reduction", ["sum", "var"])
    def test_what_tasks_hold_stays_within_the_limit(self, reduction: str) -> None:
        limit = 12 << 20

        def read(domain: lt.IndexDomain, out: np.ndarray) -> None:
            out[...] = domain.origin[0]

        x = lt.virtual_chunked(read, shape=(512, 256, 256), dtype="f4", chunks=(2, 256, 256))
        plan = getattr(lt, reduction)(x * 2, axis=0)
        gc.collect()
        tracemalloc.start()
        try:
            plan.collect(engine=lt.LocalEngine(threads=2, max_memory=limit))
            assert tracemalloc.get_traced_memory()[1] <= 2 * limit + plan.nbytes
        finally:
            tracemalloc.stop()

    def test_a_budget_is_waited_for_and_given_back(self) -> None:
        budget = Budget(10)
        inside = threading.Event()

        def other() -> None:
            with budget.holding(6, "a task"):
                inside.set()

        with budget.holding(7, "a task"):
            thread = threading.Thread(target=other)
            thread.start()
            assert not inside.wait(0.05)
        thread.join(timeout=10)
        assert inside.is_set()
        assert budget.free == 10
        with pytest.raises(lt.MemoryLimitError), budget.holding(11, "a task"):
            pass

    def test_wrong_limits_are_refused_where_the_engine_is_made(self) -> None:
        for options in ({"threads": 0}, {"max_memory": "lots"}, {"max_memory": 0}):
            with pytest.raises(ValueError, match=r"threads|lots|positive"):
                lt.LocalEngine(**options)  # type: ignore[arg-type]
        with lt.Config(threads=3):
            assert thread_count() == 3
            assert thread_count(2) == 2


def holed() -> tuple[lt.LazyTensor, list[ChunkedArray]]:
    """Two layers of 4x4 with two empty columns between them."""
    sources = [counted((4, 4), (2, 2), origin=(0, at), name=str(at)) for at in (0, 6)]
    return lt.overlay([lt.scan_source(s) for s in sources]), sources


HOLES: list[tuple[str, Any]] = [
    ("whole", lambda o: o),
    ("one element", lambda o: o[3, 4]),
    ("through arithmetic", lambda o: (o * 2 + 1)[:, 3:5]),
    ("a step that meets it", lambda o: o[:, ::2]),
    ("gathered", lambda o: o[:, np.array([0, 5])]),
    ("reduced", lambda o: lt.max(o)),
    ("one row reduced", lambda o: lt.max(o, axis=1)[2]),
    ("downsampled", lambda o: lt.downsample(o, (2, 3), "max")[:, 1:2]),
    ("joined", lambda o: lt.concat([o[:, :4], o[:, 2:6]], axis=1)),
    ("padded", lambda o: lt.pad(o[:, :5], 1, mode="edge")),
    ("under a layer elsewhere", lambda o: lt.overlay([o, o[:1, :4]])),
    ("seen by a function", lambda o: lt.map_blocks(np.sqrt, o.rechunk((4, 5)), dtype="f8")),
    ("in the halo", lambda o: lt.map_blocks(
        lambda b: b[1:-1, 1:-1], o[:, :5].rechunk((4, 4)), dtype="f8", halo=1)[:, :4]),
    ("cast", lambda o: o.astype("f4")),
    ("reshaped", lambda o: lt.reshape(o, (-1,))[2:6]),
]  # fmt: skip

NO_HOLES: list[tuple[str, Any]] = [
    ("left", lambda o: o[:, :4]),
    ("right", lambda o: o[:, 6:] * 2),
    ("a step over it", lambda o: o[:, ::6]),
    ("backwards over it", lambda o: o[:, ::-9]),
    ("gathered beside it", lambda o: o[:, np.array([0, 9, 3, 6])]),
    ("joint", lambda o: o.vindex[np.array([0, 1]), np.array([3, 6])]),
    ("empty", lambda o: o[:, 4:4]),
    ("covered by a later layer", lambda o: lt.overlay(
        [o, lt.zeros((4, 2)).translate_to[0, 4]])),
    ("one column reduced", lambda o: lt.max(o, axis=0)[np.array([0, 9])]),
    ("strided downsample", lambda o: lt.downsample(o, (1, 3), "stride", align="position")[:, ::2]),
    ("another cell of a function", lambda o: lt.map_blocks(
        np.negative, o.rechunk((4, 2)), dtype="f8")[:, :4]),
    ("filled", lambda o: lt.where(lt.ones((4, 10), dtype=bool), o[:, :1], 0.0)),
]  # fmt: skip


@pytest.mark.parametrize("engine", ["interpret", "blocks-1", "local"])
@pytest.mark.parametrize("flags", SETTINGS)
class TestHoles:
    @pytest.mark.parametrize(("name", "view"), HOLES)
    def test_asked_for(self, name: str, view: Any, flags: Any, engine: str) -> None:
        overlay, sources = holed()
        with pytest.raises(lt.HoleError, match=r"covered by none.*fill_value"):
            view(overlay).collect(engine=ENGINES[engine], optimizations=flags)
        assert all(not source.boxes for source in sources), "read before the error"

    @pytest.mark.parametrize(("name", "view"), NO_HOLES)
    def test_not_asked_for(self, name: str, view: Any, flags: Any, engine: str) -> None:
        overlay, _ = holed()
        values = np.full((4, 10), np.nan)
        values[:, :4] = values[:, 6:] = np.arange(16).reshape(4, 4)
        found = view(overlay).collect(engine=ENGINES[engine], optimizations=flags)
        expected = view(lt.asarray(values)).collect(engine="interpret")
        np.testing.assert_array_equal(found, expected)


def test_the_error_says_where_the_hole_is() -> None:
    overlay, _ = holed()
    with pytest.raises(lt.HoleError, match=r"\(0, 4\).*2 layers"):
        overlay.collect()


class TestChanged:
    def test_a_rewritten_array_is_noticed_before_it_is_read(self, tmp_path: Path) -> None:
        document = {
            "zarr_format": 2, "shape": [4], "chunks": [2], "dtype": "<i4", "fill_value": 0,
            "order": "C", "compressor": None, "filters": None,
        }  # fmt: skip
        (tmp_path / ".zarray").write_text(json.dumps(document))
        (tmp_path / "0").write_bytes(np.array([1, 2], "<i4").tobytes())
        x = lt.scan_zarr(tmp_path)
        assert x.collect().tolist() == [1, 2, 0, 0]
        (tmp_path / ".zarray").write_text(json.dumps({**document, "shape": [10]}))
        for engine in ("local", "interpret"):
            with pytest.raises(lt.SourceChangedError, match=r"zarray.*scan it again"):
                (x + 1).collect(engine=engine)
        assert lt.scan_zarr(tmp_path).shape == (10,)


CASES = ("raw", "gzip", "zstd", "blosc", "crc32c", "shard", "v2-zlib", "v2-lz4-shuffle")


def stored(case: str) -> dict[str, bytes]:
    """A small zarr array as another implementation writes it."""
    import numcodecs
    import zarr
    from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

    kinds: dict[str, dict[str, Any]] = {
        "raw": {"compressors": None},
        "gzip": {"compressors": GzipCodec()},
        "zstd": {"compressors": ZstdCodec()},
        "blosc": {"compressors": BloscCodec()},
        "crc32c": {"compressors": [ZstdCodec(), Crc32cCodec()]},
        "shard": {"shards": (12, 10), "chunks": (4, 5)},
        "v2-zlib": {"zarr_format": 2, "compressors": numcodecs.Zlib()},
        "v2-lz4-shuffle": {
            "zarr_format": 2, "compressors": numcodecs.LZ4(), "filters": [numcodecs.Shuffle(2)],
        },
    }  # fmt: skip
    store = zarr.storage.MemoryStore()
    options = {"chunks": (8, 7), **kinds[case]}
    array = zarr.create_array(store, shape=(24, 20), dtype="u2", **options)
    array[...] = np.arange(480, dtype="u2").reshape(24, 20)
    return {key: value.to_bytes() for key, value in store._store_dict.items()}


NUMBERS = (
    b"0",
    b"99999999",
    b"4611686018427387903",
    b"-1",
    b"1e9",
    b"1.5",
    b"null",
    b"[]",
    b"true",
)


def damaged(objects: dict[str, bytes], seed: int) -> dict[str, bytes]:
    """One object with bits flipped, cut short, emptied, grown, or with another number in it."""
    rng = random.Random(seed)
    metadata = [key for key in objects if key.endswith((".json", ".zarray"))]
    key = rng.choice(metadata if rng.random() < 0.5 else sorted(objects))
    data = bytearray(objects[key])
    how = rng.randrange(6)
    digits = [i for i, byte in enumerate(data) if 48 <= byte < 58]
    if how == 0 and digits:
        at = rng.choice(digits)
        data[at : at + 1] = rng.choice(NUMBERS)
    elif how == 1:
        del data[rng.randrange(len(data)) :]
    elif how == 2:
        data += rng.randbytes(rng.randrange(1, 40))
    elif how == 3:
        data.clear()
    else:
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return {**objects, key: bytes(data)}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES)
def test_damaged_zarr_gives_one_typed_error(case: str) -> None:
    objects = stored(case)
    assert lt.scan_zarr(objects).collect()[23, 19] == 479
    messages: list[str] = []
    tracemalloc.start()
    try:
        for seed in range(120):
            try:
                x = lt.scan_zarr(damaged(objects, seed))
                x[tuple(slice(0, 30) for _ in x.shape)].collect()
            except (lt.SourceError, lt.DTypeError) as error:
                messages.append(str(error))
        # Nothing near what a damaged length may claim.
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert len(messages) > 40
    assert min(map(len, messages)) > 20


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
def test_extents_that_a_file_merely_claims_are_not_allocated() -> None:
    program = """
        import json, resource
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        import lazytensor as lt
        for shape, chunks in (([1 << 60], [1 << 60]), ([1 << 40], [1 << 40]), ([9], [1 << 50])):
            document = {
                "zarr_format": 2, "shape": shape, "chunks": chunks, "dtype": "<f8",
                "fill_value": 0, "order": "C", "compressor": {"id": "zlib", "level": 1},
                "filters": None,
            }
            x = lt.scan_zarr({".zarray": json.dumps(document).encode(), "0": b"x" * 100})
            try:
                print(x[:5].collect())
            except (lt.SourceError, lt.MemoryLimitError) as error:
                print(type(error).__name__)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert set(ended.stdout.split()) <= {"ChunkDecodeError", "FormatError", "MemoryLimitError"}


@settings(max_examples=40)
@given(st.integers(0, 9), st.integers(1, 4))
def test_the_task_that_fails_is_named_whatever_the_threads(bad: int, threads: int) -> None:
    def read(domain: lt.IndexDomain, out: np.ndarray) -> None:
        if domain.origin[0] >= bad << 17:
            raise LookupError(f"from {domain.origin[0]}")

    x = lt.virtual_chunked(read, shape=(10 << 17,), dtype="f8", chunks=(1 << 17,))
    with pytest.raises(lt.SourceError, match=rf"from {bad << 17}\b"):
        x.collect(engine=lt.LocalEngine(threads=threads))
