"""Windows and plans of images in pieces, on every engine."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.exec.batches import WindowReader
from lazytensor.io.ome_arrow import windows
from lazytensor.io.ome_arrow.source import OmeArrowSource
from lazytensor.plan.counters import of_this_thread
from tests.engines import ENGINES, SETTINGS
from tests.io.ome_arrow.ome_arrow_pieces import (
    CHUNK,
    CUTS,
    SHAPE,
    distinct,
    made_image,
    of_numpy,
    regular_boxes,
)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("shared", [False, True])
def test_windows_are_those_of_numpy(cut: str, shared: bool) -> None:
    rng = np.random.default_rng(2)
    array = distinct(SHAPE, np.int16)
    for options in (
        {"per_unit": 3},
        {"encoded": True, "codecs": ("lz4", None)},
        {"flat": True, "zero_copy": True},
    ):
        image = made_image(array, CUTS[cut], keeps=False, **options)
        source = OmeArrowSource(image)
        for _ in range(10):
            counts = tuple(int(rng.integers(1, n + 1)) for n in SHAPE)
            steps = tuple(
                int(rng.integers(1, 3)) if 2 * n <= whole_n else 1
                for n, whole_n in zip(counts, SHAPE, strict=True)
            )
            reach = [(n - 1) * by + 1 for n, by in zip(counts, steps, strict=True)]
            starts = np.stack(
                [rng.integers(0, n - r + 1, 20) for n, r in zip(SHAPE, reach, strict=True)], axis=1
            )
            outs: Any = np.zeros((20, *counts), np.int16)
            if rng.random() < 0.5:
                outs = list(outs)
            image.units.reads.clear()
            reading = source.read_windows(starts, counts, steps, outs)
            assert reading is not None
            with closing(reading):
                if shared:
                    threads = [threading.Thread(target=reading.work) for _ in range(3)]
                    for thread in threads:
                        thread.start()
                    for thread in threads:
                        thread.join()
                else:
                    reading.work()
                reading.end()
            for start, out in zip(starts.tolist(), outs, strict=True):
                box = tuple((lo, lo + r) for lo, r in zip(start, reach, strict=True))
                np.testing.assert_array_equal(out, of_numpy(array, box, steps))


def test_windows_read_each_unit_once() -> None:
    array = distinct(SHAPE, np.uint16)
    boxes = regular_boxes(SHAPE, CHUNK)
    image = made_image(array, boxes, encoded=True, codecs=("zstd",), per_unit=1, keeps=False)
    source = OmeArrowSource(image)
    starts = np.zeros((500, 5), np.int64)
    starts[:, 3] = np.arange(500) % 8
    starts[:, 4] = np.arange(500) % 10
    outs = np.zeros((500, 2, 3, 5, 3, 3), np.uint16)
    reading = source.read_windows(starts, outs.shape[1:], (1,) * 5, outs)
    assert reading is not None
    before = dict(of_this_thread())
    with closing(reading):
        reading.work()
        reading.end()
    assert sorted(image.units.reads) == list(range(len(boxes)))
    counted = of_this_thread()
    assert counted["units_read"] - before.get("units_read", 0) == len(boxes)
    assert counted["bytes_decoded"] - before.get("bytes_decoded", 0) == array.nbytes


def test_windows_with_fill_values() -> None:
    array = distinct(SHAPE, np.uint16)
    for cut in ("chunks in any order", "irregular"):
        boxes = CUTS[cut][2:]
        expected = array.copy()
        for hole in CUTS[cut][:2]:
            expected[hole] = 77
        source = OmeArrowSource(made_image(array, boxes), fill_value=77)
        starts = np.array(
            [[t, c, z, y, 0] for t in (0, 1) for c in (0, 2) for z in (0, 3) for y in (0, 6)]
        )
        outs = np.zeros((len(starts), 1, 1, 2, 5, 13), np.uint16)
        reading = source.read_windows(starts, outs.shape[1:], (1,) * 5, outs)
        assert reading is not None
        with closing(reading):
            reading.work()
            reading.end()
        for (t, c, z, y, _), out in zip(starts.tolist(), outs, strict=True):
            np.testing.assert_array_equal(out, expected[t : t + 1, c : c + 1, z : z + 2, y : y + 5])


def test_batches_of_windows() -> None:
    array = distinct((1, 2, 6, 40, 50), np.uint16)
    for options in (
        {"encoded": True, "codecs": ("lz4",), "per_unit": 1},
        {"flat": True},
        {"flat": True, "zero_copy": True},
    ):
        image = made_image(array, regular_boxes(array.shape, (1, 1, 2, 16, 16)), **options)
        x = lt.scan_source(OmeArrowSource(image))
        reader = WindowReader(x._node, (1, 1, 1, 16, 20), threads=2)
        rng = np.random.default_rng(5)
        for _ in range(4):
            starts = np.stack(
                [
                    rng.integers(0, n - k + 1, 30)
                    for n, k in zip(array.shape, reader.shape, strict=True)
                ],
                axis=1,
            )
            found = reader.read(starts, np.zeros((30, *reader.shape), np.uint16))
            for start, values in zip(starts.tolist(), found, strict=True):
                part = tuple(slice(a, a + n) for a, n in zip(start, reader.shape, strict=True))
                np.testing.assert_array_equal(values, array[part])


PLANS: list[Any] = [
    lambda x: x[0, 1, 3],
    lambda x: x[:, ::2, 1:4, ::3, ::-2],
    lambda x: x.sum(axis=("y", "x")),
    lambda x: lt.downsample(x, (1, 1, 2, 2, 2)),
    lambda x: (x.astype(np.float32) * 2 + 1)[1],
    lambda x: lt.stack(
        [x[0, c, z, y : y + 5, 2:9] for c, z, y in ((0, 1, 2), (2, 4, 6), (1, 0, 0))]
    ),
    lambda x: x.vindex[[0, 1, 1], [2, 0, 1], [4, 0, 4], [10, 3, 5], [12, 0, 7]],
    lambda x: x.oindex[:, [2, 0], :, [1, 9], 3],
    lambda x: x.max(axis=0) - x.min(axis=0),
]


@pytest.mark.parametrize("engine", ENGINES)
def test_plans_on_every_engine(engine: str) -> None:
    array = distinct(SHAPE, np.uint16)
    memory = lt.asarray(array, dims=("t", "c", "z", "y", "x"))
    for cut, options in [
        ("planes in any order", {"flat": True, "stored": np.int64}),
        ("chunks in any order", {"encoded": True, "codecs": ("zstd", None), "per_unit": 4}),
        ("irregular", {"per_unit": 3}),
        ("planes", {"flat": True, "zero_copy": True}),
    ]:
        x = lt.scan_source(OmeArrowSource(made_image(array, CUTS[cut], **options)))
        for number, plan in enumerate(PLANS):
            expected = plan(memory).collect(engine=lt.InterpretEngine())
            for flags in (SETTINGS[0], SETTINGS[1], SETTINGS[2 + number % (len(SETTINGS) - 2)]):
                found = plan(x).collect(engine=ENGINES[engine], optimizations=flags)
                lt.testing.assert_equal(found, expected)


def test_faces() -> None:
    x = lt.scan_source(OmeArrowSource(made_image(distinct(SHAPE, np.uint16), CUTS["planes"])))
    assert x.levels == ()
    assert x.attrs == {}
    assert "ome-arrow made.parquet[0, 'image']" in x.explain()
    assert "chunks (1, 1, 1, 11, 13)" in repr(x)
    assert x._repr_html_()


def test_tables_of_windows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there would be too many, each window is read as a box."""
    array = distinct(SHAPE, np.uint16)
    starts = np.zeros((50, 5), np.int64)
    outs = np.zeros((50, *SHAPE), np.uint16)
    for cut in ("chunks in any order", "irregular"):
        source = OmeArrowSource(made_image(array, CUTS[cut]))
        reading = source.read_windows(starts, SHAPE, (1,) * 5, outs)
        assert reading is not None
        reading.close()
        with monkeypatch.context() as patch:
            patch.setattr(windows, "_MOST_BYTES", 50 * 8 * 5 * len(CUTS[cut]))
            assert source.read_windows(starts, SHAPE, (1,) * 5, outs) is None
