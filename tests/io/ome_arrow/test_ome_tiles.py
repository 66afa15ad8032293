"""``lt.ome.iter_tiles``: order, shapes and values of ome-arrow's iterators, and what it leaves."""

from __future__ import annotations

import gc
import math
import os
import pickle
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.exec import settled, tile_reading
from lazytensor.exec.outer import Outer
from lazytensor.plan.counters import snapshot
from tests.io.ome_arrow import ome_arrow_peer as peer
from tests.io.ome_arrow import test_ome_view as views

SHAPE = (3, 2, 4, 11, 13)
VALUES = np.random.default_rng(5).integers(0, 60000, SHAPE).astype("u2")
CHUNKS = (1, 2, 2, 4, 5)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, lt.LazyTensor]:
    path = str(tmp_path_factory.mktemp("image"))
    zarr.create_array(path, data=VALUES, chunks=CHUNKS)
    stored = lt.scan_zarr(path, dims="tczyx")
    return {
        "memory": lt.asarray(VALUES, dims="tczyx"),
        "stored": stored,
        "computed": lt.where(stored > 70000, stored, stored),
        "converted": stored.astype("f4").astype("u2"),
        "called": lt.virtual_chunked(
            lambda domain, out: np.copyto(out, VALUES[tuple(map(slice, *_ends(domain)))]),
            shape=SHAPE, dtype="u2", dims="tczyx",
        ),
    }  # fmt: skip


def _ends(domain: Any) -> tuple[Any, Any]:
    return domain.inclusive_min, domain.exclusive_max


KINDS = ["memory", "stored", "computed", "converted", "called"]


def model(
    array: np.ndarray, letters: str, size: Any, batch: int | None, shuffle: bool, seed: Any
) -> Iterator[np.ndarray]:
    """What is to come, tile by tile; ``letters`` of TZCYX."""
    extent = {letter: (array.shape[letters.index(letter)] if letter in letters else 1)
              for letter in "TZCYX"}  # fmt: skip
    rng = random.Random(seed)
    if size is None:
        order = list(range(extent["T"]))
        if shuffle:
            rng.shuffle(order)
        for a in range(0, len(order), batch or len(order) or 1):
            some = order[a : a + (batch or len(order))]
            yield np.take(array, some, axis=letters.index("T")) if "T" in letters else array
        return
    along, sizes = ("TZYX", (1, *size)) if len(size) == 3 else ("YX", size)
    cut = dict(zip(along, sizes, strict=True))
    spans = [[(letter, a, min(a + n, extent[letter])) for a in range(0, extent[letter], n)]
             for letter, n in cut.items()]  # fmt: skip
    places = [()]
    for span in spans:
        places = [(*place, one) for place in places for one in span]
    if shuffle:
        rng.shuffle(places)
    tiles = []
    for place in places:
        index = [slice(None)] * array.ndim
        for letter, a, b in place:
            if letter in letters:
                index[letters.index(letter)] = slice(a, b)
        tiles.append(array[tuple(index)])
    if batch is None:
        yield from tiles
        return
    while tiles:
        n = 1
        while n < min(batch, len(tiles)) and tiles[n].shape == tiles[0].shape:
            n += 1
        yield np.stack(tiles[:n])
        del tiles[:n]


VIEWS: list[dict[str, Any]] = [
    {}, {"t": 1, "z": 2}, {"t": [2, 0, 2], "z": slice(None, None, -1)}, {"layout": "YXCZT"},
    {"z": [0, 3, 1], "c": [1], "roi": (2, 3, 9, 7)}, {"t": 0, "c": 1, "layout": "ZYX"},
    {"dtype": "f4", "z": 1},
    {"t": 0, "z": 0, "c": 0, "layout": "XY"}, {"t": 0, "roi": (4, 0, 1, 9), "layout": "CYZ"},
    {"t": []}, {"z": []}, {"c": []}, {"c": [0, 1, 1], "roi": (1, 1, 3, 3), "dtype": "u1"},
]  # fmt: skip


@given(
    kind=st.sampled_from(KINDS), view=st.sampled_from(VIEWS), shuffle=st.booleans(),
    size=st.none() | st.tuples(*[st.integers(1, 14)] * 2) | st.tuples(*[st.integers(1, 9)] * 3),
    batch=st.none() | st.integers(1, 5), seed=st.integers(0, 99),
    prefetch=st.sampled_from([0, 1, 3]), large=st.sampled_from([1, 300, 1 << 20]),
)  # fmt: skip
def test_against_the_model(
    images: dict[str, lt.LazyTensor], kind: str, view: Any, size: Any, batch: int | None,
    shuffle: bool, seed: int, prefetch: int, large: int,
) -> None:  # fmt: skip
    x = lt.ome.view(images[kind], **view)
    letters = "".join(x.dims).upper()
    array = lt.ome.view(VALUES, **view).collect(engine="interpret")
    expected = list(model(array, letters, size, batch, shuffle, seed))
    before, tile_reading._LARGE = tile_reading._LARGE, large
    try:
        found = list(
            lt.ome.iter_tiles(
                x, size, batch_size=batch, shuffle=shuffle, seed=seed, prefetch=prefetch
            )
        )
    finally:
        tile_reading._LARGE = before
    assert [tile.shape for tile in found] == [tile.shape for tile in expected]
    for tile, wanted in zip(found, expected, strict=True):
        assert tile.dtype == wanted.dtype
        assert np.array_equal(tile, wanted)
        assert tile.flags.c_contiguous
        assert tile.flags.writeable


COMPUTED: dict[str, Any] = {
    "mean": lambda x: x - lt.mean(x.astype("f8")),
    "by channel": lambda x: x - lt.min(x, axis=("z", "y", "x"), keepdims=True),
    "normalized": lambda x: lt.normalize(x, percentiles=(1, 99)),
    "quantile": lambda x: x > lt.quantile(x, 0.5),
    "projection": lambda x: lt.max(x, axis="z"),
    "sorted": lambda x: lt.sort(x, axis=-1),
    "sum so far": lambda x: lt.cumulative_sum(x.astype("i8"), axis=3),
    "blocks": lambda x: lt.map_blocks(np.negative, x.astype("i4")),
    "halo": lambda x: lt.map_blocks(
        lambda a: a[..., 1:-1, 1:-1], x.rechunk((1, 2, 2, 4, 5)), halo=(0, 0, 0, 1, 1)
    ),
    "smaller": lambda x: x.downsample(y=2, x=3),
    "padded": lambda x: lt.pad(x, ((0, 0), (0, 0), (1, 1), (2, 0), (0, 3)), mode="reflect"),
    "joined": lambda x: lt.concat([x, x + 1], axis="z"),
    "overlaid": lambda x: lt.overlay([x[..., :7], x.translate_by[0, 0, 0, 0, 7]]),
    "moved": lambda x: (x + 1).translate_by[-5, 0, -90, 3, -100],
    "reshaped": lambda x: x.reshape(3, 2, 4, 13, 11).label["t", "c", "z", "y", "x"],
}


@pytest.mark.parametrize("name", COMPUTED)
@pytest.mark.parametrize("large", [1, 1 << 20])
def test_what_is_computed(
    images: dict[str, lt.LazyTensor], name: str, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tile_reading, "_LARGE", large)
    monkeypatch.setattr(settled, "_SMALL", 64 * large)
    for kind in ("stored", "memory"):
        x = COMPUTED[name](images[kind])
        expected = x.collect()
        letters = "".join(x.dims).upper()
        for size, batch, shuffle in (((4, 5), None, False), ((4, 5), 3, True),
                                     ((3, 4, 5), None, True), (None, 2, True)):  # fmt: skip
            found = list(lt.ome.iter_tiles(x, size, batch_size=batch, shuffle=shuffle, seed=1))
            wanted = list(model(expected, letters, size, batch, shuffle, 1))
            assert len(found) == len(wanted)
            assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_what_all_tiles_need_is_computed_once() -> None:
    seen: list[Any] = []

    def read(domain: Any, out: np.ndarray) -> None:
        seen.append(domain)
        out[...] = 2

    x = lt.virtual_chunked(read, shape=(64, 64), dtype="f8", dims="yx", chunks=(64, 64))
    tiles = list(lt.ome.iter_tiles(x - lt.mean(x), (8, 8), shuffle=True, prefetch=0))
    assert len(tiles) == 64
    assert not any(tile.any() for tile in tiles)
    assert len(seen) == 2


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_hole_is_told_where_it_is(prefetch: int) -> None:
    layer = lt.asarray(np.ones((4, 4)), dims="yx")
    x = lt.overlay([layer, layer.translate_to[6, 0]])
    for view, before in ((x, 4), (x[3:], 2), (x[::-1], 4)):
        tiles = lt.ome.iter_tiles(view, (2, 2), prefetch=prefetch)
        if before == 2:
            tiles = lt.ome.iter_tiles(view, (1, 2), prefetch=prefetch)
        for _ in range(before):
            assert next(tiles).all()
        with pytest.raises(lt.HoleError, match="position"):
            next(tiles)
    full = lt.overlay([layer, layer.translate_to[4, 0]])
    assert len(list(lt.ome.iter_tiles(full, (3, 3), shuffle=True))) == 6


def test_nobody_else_has_a_tile(images: dict[str, lt.LazyTensor]) -> None:
    for kind in KINDS:
        found = list(lt.ome.iter_tiles(lt.ome.view(images[kind]), (5, 5)))
        again = [tile.copy() for tile in found]
        for at, tile in enumerate(found):
            tile.fill(at)
        assert all((tile == at).all() for at, tile in enumerate(found))
        fresh = list(lt.ome.iter_tiles(lt.ome.view(images[kind]), (5, 5)))
        assert all(np.array_equal(a, b) for a, b in zip(again, fresh, strict=True))
        assert np.array_equal(images[kind].collect(), VALUES)


def test_the_shuffle_of_the_package() -> None:
    x = lt.asarray(np.arange(6).reshape(6, 1, 1, 1, 1), dims="tczyx")
    found = [
        int(b.ravel()[0]) for b in lt.ome.iter_tiles(x, None, batch_size=1, shuffle=True, seed=7)
    ]
    assert found == [4, 0, 5, 3, 1, 2]
    same = lt.ome.iter_tiles(x, None, batch_size=1, shuffle=True, seed=np.int64(7))
    assert [int(b.ravel()[0]) for b in same] == found
    unseeded = lt.ome.iter_tiles(x, None, batch_size=6, shuffle=True)
    assert sorted(next(unseeded).ravel().tolist()) == [0, 1, 2, 3, 4, 5]


_CHILD = """
import pickle, sys
import numpy as np
from ome_arrow.ingest import from_numpy
from ome_arrow.tensor import TensorView

values, calls = pickle.load(sys.stdin.buffer)
record = from_numpy(values, dim_order="TCZYX", chunk_shape=(2, 4, 5)).as_py()
answers = []
for view, method, options in calls:
    try:
        made = TensorView(record, **view)
        if method is None:
            answers.append(np.ascontiguousarray(made.to_numpy()))
        else:
            made = getattr(made, method)(mode="numpy", **options)
            answers.append([np.array(np.from_dlpack(one)) for one in made])
    except Exception as error:
        answers.append([kind.__name__ for kind in type(error).__mro__])
pickle.dump(answers, sys.stdout.buffer)
"""


def of_the_package(calls: list[Any]) -> list[Any]:
    done = subprocess.run(
        [peer.PYTHON, "-W", "ignore", "-c", _CHILD], input=pickle.dumps((VALUES, calls)),
        capture_output=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    found: list[Any] = pickle.loads(done.stdout)
    return found


@peer.needs_ome_arrow
def test_the_package_gives_the_same_tiles(images: dict[str, lt.LazyTensor]) -> None:
    calls: list[Any] = []
    for view in VIEWS:
        for shuffle, seed in ((False, None), (True, 7), (True, "a seed")):
            order = {"shuffle": shuffle, "seed": seed}
            calls += [(view, "iter_dlpack", dict(tile_size=(4, 6), **order)),
                      (view, "iter_tiles_3d", dict(tile_size=(3, 5, 13), **order)),
                      (view, "iter_dlpack", dict(batch_size=2, **order)),
                      (view, "iter_dlpack", dict(**order))]  # fmt: skip
    compared = 0
    for (view, _, options), theirs in zip(calls, of_the_package(calls), strict=True):
        size = options.pop("tile_size", None)
        for kind in ("memory", "stored"):
            ours = list(lt.ome.iter_tiles(lt.ome.view(images[kind], **view), size, **options))
            assert [t.shape for t in ours] == [t.shape for t in theirs], (view, size, options)
            assert [t.dtype for t in ours] == [t.dtype for t in theirs]
            assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
            compared += len(ours)
    assert compared > 1000


@peer.needs_ome_arrow
def test_the_package_gives_the_same_views() -> None:
    good = [*VIEWS, {"tile": (2, 1)}, {"roi3d": (1, 2, 1, 3, 4, 2)}, {"roi_nd": (2, 1, 6, 4)},
            {"roi_nd": (1, 2, 1, 3, 6, 4), "roi_type": "3d"}, {"t": True},
            {"roi_nd": (1, 2, 1, 3, 6, 4), "roi_type": "2d_timelapse"},
            {"layout": " yxc ", "t": 0, "z": 1}, {"layout": "", "t": 0, "z": -1},
            {"roi_nd": (0, 1, 2, 1, 2, 3, 6, 4)},
            {"t": 0, "layout": "ZHW", "channel_policy": " FIRST "}]  # fmt: skip
    calls = [(view, None, {}) for view in [*good, *views.BAD.values()]]
    image = lt.asarray(VALUES, dims="tczyx", chunks=(1, 1, 2, 4, 5))
    found = of_the_package(calls)
    for view, theirs in zip(good, found, strict=False):
        ours = lt.ome.view(image, **view).collect()
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs), view
    small = lt.asarray(views.VALUES, dims="tczyx", chunks=(1, 1, 2, 4, 3))
    for (name, view), theirs in zip(views.BAD.items(), found[len(good) :], strict=True):
        with pytest.raises(ValueError, match=r"."):
            lt.ome.view(small, **view)
        # The image there is larger, so that some regions exist.
        assert isinstance(theirs, np.ndarray) or "ValueError" in theirs, name


class TestMistakes:
    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"tile_size": (0, 1)}, ValueError), ({"tile_size": (1, -1)}, ValueError),
            ({"tile_size": (1,)}, ValueError), ({"tile_size": (1, 1, 1, 1)}, ValueError),
            ({"tile_size": 4}, TypeError), ({"tile_size": (1.5, 2)}, ValueError),
            ({"tile_size": ("a", 2)}, TypeError), ({"tile_size": (2, 2, 0)}, ValueError),
            ({"batch_size": 0}, ValueError), ({"batch_size": -1}, ValueError),
            ({"prefetch": -1}, ValueError), ({"to": "tensorflow"}, ValueError),
            ({"device": "cuda"}, ValueError), ({"seed": [1], "shuffle": True}, TypeError),
        ],
    )  # fmt: skip
    def test_they_are_told_at_once(self, options: Any, error: Any) -> None:
        with pytest.raises(error):
            lt.ome.iter_tiles(VALUES, **{"tile_size": (2, 2), **options})

    def test_no_image(self) -> None:
        with pytest.raises(lt.DimensionError, match="'row'"):
            lt.ome.iter_tiles(lt.asarray(VALUES[0, 0], dims=("row", "y", "x")), (2, 2))


def slow(seen: list[Any], fails_at: int | None = None) -> lt.LazyTensor:
    """An image of 40 rows, each of which takes a moment; it notes what is read."""

    def read(domain: Any, out: np.ndarray) -> None:
        row = domain.inclusive_min[0]
        seen.append(row)
        if fails_at is not None and row <= fails_at < domain.exclusive_max[0]:
            raise OSError("the disk is gone")
        time.sleep(0.001)
        out[...] = np.arange(*(end[0] for end in _ends(domain)))[:, None]

    big = 3 << 17
    return lt.virtual_chunked(read, shape=(40, big), dtype="u8", dims="yx", chunks=(1, big))


class TestReadingAhead:
    def test_nothing_before_the_first_is_asked_for(self) -> None:
        seen: list[Any] = []
        tiles = lt.ome.iter_tiles(slow(seen), (1, 3 << 17))
        time.sleep(0.05)
        assert not seen
        assert next(tiles)[0, 0] == 0

    def test_no_further_than_asked_for(self) -> None:
        for prefetch in (0, 1, 2):
            seen: list[Any] = []
            tiles = lt.ome.iter_tiles(slow(seen), (1, 3 << 17), prefetch=prefetch)
            next(tiles)
            time.sleep(0.2)
            assert max(seen) == prefetch

    @pytest.mark.parametrize("how", ["close", "delete", "break", "with"])
    def test_it_stops(self, how: str) -> None:
        seen: list[Any] = []
        tiles: Any = lt.ome.iter_tiles(slow(seen), (1, 3 << 17), prefetch=3)
        if how == "break":
            for _ in tiles:
                break
            del tiles
        elif how == "with":
            with tiles:
                next(tiles)
            assert next(tiles, None) is None
        else:
            next(tiles)
            if how == "close":
                tiles.close()
                tiles.close()
                assert next(tiles, None) is None
            del tiles
        gc.collect()
        time.sleep(0.1)
        read = len(seen)
        time.sleep(0.2)
        assert len(seen) == read < 10

    def test_closing_before_anything(self) -> None:
        tiles: Any = lt.ome.iter_tiles(VALUES, (2, 2))
        tiles.close()
        assert list(tiles) == []

    def test_how_many_are_left(self) -> None:
        tiles: Any = lt.ome.iter_tiles(VALUES, (4, 4))
        assert tiles.__length_hint__() == 12
        next(tiles)
        assert tiles.__length_hint__() == 11
        assert len(list(tiles)) == 11

    @pytest.mark.parametrize("prefetch", [0, 2])
    def test_an_error_comes_where_its_tile_would(self, prefetch: int) -> None:
        tiles = lt.ome.iter_tiles(slow([], fails_at=17)[:, :8], (1, 8), prefetch=prefetch)
        for at in range(17):
            assert next(tiles)[0, 0] == at
        with pytest.raises(lt.SourceError, match="built at") as caught:
            next(tiles)
        assert "the disk is gone" in str(caught.value.__cause__)
        assert next(tiles, None) is None

    def test_settings_hold(self) -> None:
        with lt.Config(threads=1, max_memory="40MiB"):
            tiles = lt.ome.iter_tiles(slow([]), (1, 3 << 17))
        assert sum(1 for _ in tiles) == 40

    def test_two_threads_share_one(self) -> None:
        x = lt.asarray(np.arange(400).reshape(400, 1), dims="yx")
        tiles = lt.ome.iter_tiles(x, (1, 1))
        found: list[int] = []
        crew = [
            threading.Thread(target=lambda: found.extend(int(t[0, 0]) for t in tiles))
            for _ in range(3)
        ]
        for thread in crew:
            thread.start()
        for thread in crew:
            thread.join(30)
        assert sorted(found) == list(range(400))

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
    def test_a_forked_child_goes_on(self, images: dict[str, lt.LazyTensor]) -> None:
        code = (
            "import os, sys, warnings; warnings.simplefilter('ignore')\n"
            "import numpy as np, lazytensor as lt\n"
            "x = lt.asarray(np.arange(1 << 20).reshape(1024, 1024), dims='yx')\n"
            "tiles = lt.ome.iter_tiles(x, (64, 64), prefetch=2)\n"
            "first = [next(tiles) for _ in range(3)]\n"
            "if os.fork() == 0:\n"
            "    rest = list(tiles)\n"
            "    total = sum(int(t.sum()) for t in first + rest)\n"
            "    os._exit(0 if total == int(x.sum().collect()) and len(rest) == 253 else 1)\n"
            "status = os.wait()[1]\n"
            "sys.exit(status or len(list(tiles)) != 253)\n"
        )
        done = subprocess.run([sys.executable, "-c", code], timeout=100, check=False)
        assert done.returncode == 0

    def test_the_end_of_the_interpreter(self) -> None:
        code = (
            "import numpy as np, lazytensor as lt\n"
            "tiles = lt.ome.iter_tiles(np.zeros((4000, 4000)), (64, 64))\n"
            "next(tiles)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], timeout=60, check=False, capture_output=True
        )
        assert done.returncode == 0
        assert done.stderr == b""

    @pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
    def test_ctrl_c(self) -> None:
        code = (
            "import os, signal, threading, time, numpy as np, lazytensor as lt\n"
            "seen = []\n"
            "def read(domain, out):\n"
            "    seen.append(1); time.sleep(0.05); out[...] = 0\n"
            "x = lt.virtual_chunked(read, shape=(99, 1 << 20), dtype='u8', dims='yx',\n"
            "                       chunks=(1, 1 << 20))\n"
            "tiles = lt.ome.iter_tiles(x, (1, 1 << 20))\n"
            "threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
            "try:\n"
            "    for tile in tiles: pass\n"
            "    print('never')\n"
            "except KeyboardInterrupt:\n"
            "    tiles.close(); n = len(seen); time.sleep(0.3)\n"
            "    print('stopped' if len(seen) == n < 60 and not list(tiles) else (n, len(seen)))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], timeout=60, check=False, capture_output=True, text=True
        )
        assert done.stdout.strip() == "stopped", done.stderr


def test_a_chunk_is_decoded_once(tmp_path: Path) -> None:
    values = np.arange(4 * 96 * 80, dtype="u2").reshape(4, 96, 80)
    zarr.create_array(str(tmp_path), data=values, chunks=(2, 32, 32))
    x = lt.scan_zarr(str(tmp_path), dims="zyx")
    before = snapshot()
    found = list(lt.ome.iter_tiles(x, (1, 7, 9)))
    after = snapshot()
    assert len(found) == 4 * 14 * 9
    assert after["units_read"] - before.get("units_read", 0) == 2 * 3 * 3


def test_other_libraries() -> None:
    torch = pytest.importorskip("torch")
    found = list(lt.ome.iter_tiles(VALUES, (6, 7), to="torch"))
    assert all(isinstance(tile, torch.Tensor) for tile in found)
    assert np.array_equal(found[0].numpy(), VALUES[..., :6, :7])


def test_dlpack() -> None:
    found = [np.from_dlpack(t) for t in lt.ome.iter_tiles(VALUES, (6, 7), to="dlpack", prefetch=0)]
    assert np.array_equal(found[-1], VALUES[..., 6:, 7:])


def test_big_endian_and_strings() -> None:
    for values in (
        VALUES.astype(">u2"),
        VALUES.astype("U5"),
        VALUES.astype(np.dtypes.StringDType()),
    ):
        found = list(lt.ome.iter_tiles(values, (6, 7)))
        assert found[1].dtype == values.dtype
        assert np.array_equal(found[1], values[..., :6, 7:])


@pytest.mark.parametrize("key", [
    (np.array([2, 0, 0]), slice(1, 2), np.array([3, 1]), slice(2, 9), slice(None, None, -2)),
    (slice(None), np.array([1]), np.array([0, 0]), slice(None), np.array([9, 1, 4])),
])  # fmt: skip
def test_index_arrays(images: dict[str, lt.LazyTensor], key: Any) -> None:
    wanted = VALUES
    for d, k in enumerate(key):
        wanted = wanted[(slice(None),) * d + (k,)]
    for kind in KINDS:
        x = images[kind].oindex[key].label["t", "c", "z", "y", "x"]
        found = list(lt.ome.iter_tiles(x, (2, 3, 3)))
        expected = list(model(wanted, "TCZYX", (2, 3, 3), None, False, 0))
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_arrays_that_go_together_are_no_outer_selection() -> None:
    x = lt.asarray(np.arange(20).reshape(4, 5))
    assert Outer.of(x._node) is None
    assert Outer.of(x.vindex[[0, 1], [2, 3]]._node) is None
    assert math.prod(Outer.of(x.oindex[[0, 2]]._node).node.shape) == 20


VECTORS = Path(__file__).parents[2] / "vectors" / "ome-arrow" / "ok"
SCANNED = [
    "v03_list_chunks_ragged.parquet", "v05_planes_shuffled.parquet", "v07_bytes_uint8.parquet",
    "v25_multirow_ipc_file.arrow", "v33_dataset_rg8_noindex.ome-arrow",
]  # fmt: skip
OF_FILES: list[dict[str, Any]] = [
    {}, {"z": -1, "roi": (1, 2, 8, 6)}, {"c": [1, 0], "layout": "YXCZT"}, {"t": 0, "z": [0, 0]},
]  # fmt: skip


@pytest.mark.parametrize("name", SCANNED)
def test_tiles_of_files(name: str) -> None:
    x = lt.scan_ome_arrow(str(VECTORS / name))
    values = x.collect()
    for view in OF_FILES[:2]:
        seen = lt.ome.view(x, **view)
        array = lt.ome.view(values, **view).collect()
        for size, batch in (((7, 5), None), ((2, 8, 9), 3), (None, 1)):
            options: dict[str, Any] = {"batch_size": batch, "shuffle": True, "seed": 3}
            found = list(lt.ome.iter_tiles(seen, size, **options))
            letters = "".join(seen.dims).upper()
            expected = list(model(array, letters, size, batch, True, 3))
            assert len(found) == len(expected)
            assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@peer.needs_ome_arrow
def test_the_package_views_files_the_same() -> None:
    views_of = [*OF_FILES, {"tile": (1, 0), "layout": "TZCYX"}]
    calls = [
        ("viewed", (str(VECTORS / name),), {"options": view})
        for name in (SCANNED[0], SCANNED[2])
        for view in views_of
    ]
    for (_, (path,), options), theirs in zip(calls, peer.run(calls), strict=True):
        ours = lt.ome.view(lt.scan_ome_arrow(path), **options["options"]).collect()
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs), (path, options)
