"""Images in pieces as sources: boxes and steps are those of NumPy, errors name pieces."""

from __future__ import annotations

import pickle
import threading
from contextlib import closing
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.errors import (
    ChunkDecodeError,
    DTypeError,
    FormatError,
    SerializationError,
)
from lazytensor.io.ome_arrow.source import OmeArrowSource
from tests.io.ome_arrow.ome_arrow_pieces import (
    CHUNK,
    CUTS,
    PLANE,
    SHAPE,
    FlatUnit,
    distinct,
    made_image,
    meta_of,
    of_numpy,
    random_box,
    read,
    regular_boxes,
    whole,
)

DTYPES = [
    np.dtype(code)
    for code in ("?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8", "c16")
]


@pytest.mark.parametrize("how", ["numbers", "flat", "wide", "bytes", "codecs", "zero copy"])
@pytest.mark.parametrize("cut", CUTS)
def test_boxes_are_those_of_numpy(cut: str, how: str) -> None:
    rng = np.random.default_rng(1)
    array = distinct(SHAPE, np.uint16)
    options: dict[str, dict[str, Any]] = {
        "numbers": {"per_unit": 4},
        "flat": {"flat": True, "per_unit": 7},
        "wide": {"flat": True, "stored": np.int64},
        "bytes": {"encoded": True, "flat": True, "per_unit": 3},
        "codecs": {"encoded": True, "codecs": ("zstd", None, "lz4"), "per_unit": 5},
        "zero copy": {"flat": True, "zero_copy": True},
    }
    source = OmeArrowSource(made_image(array, CUTS[cut], **options[how]))
    np.testing.assert_array_equal(whole(source), array)
    for _ in range(40):
        box, steps = random_box(rng, SHAPE)
        np.testing.assert_array_equal(read(source, box, steps), of_numpy(array, box, steps))
        box, steps = random_box(rng, SHAPE, steps=False)
        np.testing.assert_array_equal(read(source, box), of_numpy(array, box, steps))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes(dtype: np.dtype) -> None:
    array = distinct(SHAPE, dtype)
    encoded = OmeArrowSource(made_image(array, CUTS["chunks in any order"], encoded=True))
    packed = OmeArrowSource(
        made_image(array, CUTS["chunks in any order"], encoded=True, codecs=("zstd",))
    )
    for source in (encoded, packed):
        assert source.spec.dtype == dtype
        np.testing.assert_array_equal(whole(source), array)
    if dtype.kind != "c":
        numbers = OmeArrowSource(made_image(array, CUTS["planes"], stored=dtype))
        np.testing.assert_array_equal(whole(numbers), array)


def test_shared_reads() -> None:
    array = distinct((1, 2, 40, 64, 200), np.uint16)
    boxes = regular_boxes(array.shape, (1, 1, 1, 64, 200))
    source = OmeArrowSource(made_image(array, boxes, flat=True))
    box, steps = tuple((0, n) for n in array.shape), (1,) * 5
    assert source.shares(box, steps)
    out = np.zeros_like(array)
    reading = source.shared_read(box, steps, out)
    assert reading is not None
    with closing(reading):
        threads = [threading.Thread(target=reading.work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        reading.end()
    np.testing.assert_array_equal(out, array)
    assert not source.shares(((0, 1), (0, 1), (3, 4), (0, 64), (0, 200)), steps)


def test_the_grid_is_that_of_the_pieces() -> None:
    array = distinct(SHAPE, np.uint16)
    for cut, chunks in [
        ("planes", PLANE),
        ("chunks in any order", CHUNK),
        ("one", SHAPE),
        ("ragged", (1, 1, 3, 6, 7)),
    ]:
        x = lt.scan_source(OmeArrowSource(made_image(array, CUTS[cut])))
        assert x.chunks == chunks
        assert x.dims == ("t", "c", "z", "y", "x")
    ragged = lt.scan_source(OmeArrowSource(made_image(array, CUTS["ragged"])))
    assert ragged.chunk_edges("x") == (0, 2, 9, 13)
    none = OmeArrowSource(made_image(array, []))
    assert lt.scan_source(none).chunks == PLANE


def test_empty_images() -> None:
    for shape in [(0, 1, 1, 4, 4), (1, 1, 1, 0, 4)]:
        array = np.zeros(shape, np.uint8)
        x = lt.scan_source(OmeArrowSource(made_image(array, [])))
        assert x.collect().shape == shape


def test_missing_pieces() -> None:
    array = distinct(SHAPE, np.uint16)
    for cut in ("planes", "chunks in any order", "irregular"):
        boxes = CUTS[cut][:3] + CUTS[cut][4:]
        hole = CUTS[cut][3]
        source = OmeArrowSource(made_image(array, boxes))
        with pytest.raises(FormatError, match="is missing; fill_value=") as raised:
            whole(source)
        place = ", ".join(f"{d}={s.start}" for d, s in zip("tczyx", hole, strict=True))
        assert place in str(raised.value)
        assert "made.parquet[0, 'image']" in str(raised.value)
        for box in boxes:
            part = tuple((s.start, s.stop) for s in box)
            np.testing.assert_array_equal(read(source, part), array[box])
        filled = OmeArrowSource(made_image(array, boxes), fill_value=7)
        expected = array.copy()
        expected[hole] = 7
        np.testing.assert_array_equal(whole(filled), expected)
        starts = np.zeros((4, 5), np.int64)
        outs = np.zeros((4, *SHAPE), np.uint16)
        assert source.read_windows(starts, SHAPE, (1,) * 5, outs) is None  # one by one, which says


@pytest.mark.parametrize("cut", ["planes", "chunks in any order", "irregular"])
def test_ambiguous_pieces(cut: str) -> None:
    array = distinct(SHAPE, np.uint16)
    boxes = CUTS[cut]
    twice = [*boxes, boxes[5]]
    source = OmeArrowSource(made_image(array, twice))
    with pytest.raises(FormatError, match="ambiguous"):
        whole(source)
    place = ", ".join(f"{d}={s.start}" for d, s in zip("tczyx", boxes[5], strict=True))
    with pytest.raises(FormatError, match=place):
        read(source, tuple((s.start, s.stop) for s in boxes[5]))
    for box in boxes[:5]:
        part = tuple((s.start, s.stop) for s in box)
        np.testing.assert_array_equal(read(source, part), array[box])
    with pytest.raises(FormatError, match="ambiguous"):
        whole(OmeArrowSource(made_image(array, twice), fill_value=0))


def test_overlapping_pieces() -> None:
    array = distinct((1, 1, 1, 10, 10), np.uint16)
    full = slice(0, 1)
    boxes = [(full, full, full, slice(a, b), slice(0, 10)) for a, b in ((0, 4), (3, 8), (8, 10))]
    source = OmeArrowSource(made_image(array, boxes))
    one = ((0, 1),) * 3
    np.testing.assert_array_equal(
        read(source, (*one, (0, 3), (0, 10)))[0, 0, 0], array[0, 0, 0, :3]
    )
    np.testing.assert_array_equal(
        read(source, (*one, (4, 10), (2, 3)))[0, 0, 0], array[0, 0, 0, 4:, 2:3]
    )
    with pytest.raises(FormatError, match="ambiguous"):
        read(source, (*one, (3, 4), (0, 1)))
    # Every other line: the one that both have is not wanted.
    np.testing.assert_array_equal(
        read(source, (*one, (0, 9), (0, 10)), (1, 1, 1, 2, 1))[0, 0, 0], array[0, 0, 0, :9:2]
    )


def test_odd_pieces_are_refused_alone() -> None:
    array = distinct(SHAPE, np.uint16)
    image = made_image(array, CUTS["planes"], odd={2: "made: the dtype of piece 2 is odd"})
    source = OmeArrowSource(image)
    with pytest.raises(FormatError, match="piece 2 is odd"):
        whole(source)
    with pytest.raises(FormatError, match="piece 2 is odd"):
        read(source, ((0, 1), (0, 1), (2, 3), (0, 1), (0, 1)))
    np.testing.assert_array_equal(
        read(source, tuple((0, n) for n in (1, 1, 2, 11, 13))), array[:1, :1, :2]
    )


def test_lengths_name_the_piece() -> None:
    array = distinct(SHAPE, np.uint16)
    for options, found, expected in [
        ({"flat": True}, 100, "expected 143 values, found 100"),
        ({"encoded": True, "flat": True}, 100, "expected 286 bytes, found 100"),
    ]:
        image = made_image(array, CUTS["planes"], **options)
        kind = FlatUnit
        elements = image.units.units[0].elements
        elements[4] = elements[4][:found]
        image.units.units[0] = kind(elements)
        source = OmeArrowSource(image)
        with pytest.raises(ChunkDecodeError, match=expected) as raised:
            whole(source)
        assert "t=0, c=0, z=4" in str(raised.value)
        np.testing.assert_array_equal(
            read(source, ((1, 2), *[(0, n) for n in SHAPE[1:]])), array[1:]
        )


def test_values_that_do_not_fit_name_piece_and_value() -> None:
    array = distinct(SHAPE, np.int64)
    image = made_image(array % 60000, CUTS["planes"], stored=np.int64, flat=True)
    image = image._replace(meta=meta_of(array.astype(np.uint16)))
    np.testing.assert_array_equal(whole(OmeArrowSource(image)), (array % 60000).astype(np.uint16))
    unit = image.units.units[0]
    unit.flat.flags.writeable = True
    unit.flat[7 * 143 + 5] = 65536
    source = OmeArrowSource(image)
    with pytest.raises(FormatError, match=r"t=0, c=1, z=2.*65536 is no value of uint16"):
        whole(source)
    np.testing.assert_array_equal(
        read(source, ((0, 1), (1, 2), (1, 2), (0, 11), (0, 13)))[0, 0, 0], (array % 60000)[0, 1, 1]
    )


def test_nulls() -> None:
    array = distinct(SHAPE, np.uint16)
    image = made_image(array, CUTS["planes"])
    mask = np.zeros(143, bool)
    mask[[3, 77]] = True
    unit = image.units.units[0]
    unit.masks[6] = mask
    elements = unit.elements
    elements[9] = None
    source = OmeArrowSource(image)
    with pytest.raises(FormatError, match="2 of its pixel values are null"):
        read(source, ((0, 1), (1, 2), (1, 2), (0, 11), (0, 13)))
    with pytest.raises(FormatError, match=r"z=4.*null"):
        read(source, ((0, 1), (1, 2), (4, 5), (0, 11), (0, 13)))
    # None of them is among these.
    np.testing.assert_array_equal(
        read(source, ((0, 1), (1, 2), (1, 2), (8, 11), (0, 13))), array[:1, 1:2, 1:2, 8:]
    )
    expected = array.copy()
    expected[0, 1, 1].reshape(-1)[[3, 77]] = 9
    expected[0, 1, 4] = 9
    np.testing.assert_array_equal(whole(OmeArrowSource(image, fill_value=9)), expected)


def test_fill_values_are_of_the_dtype() -> None:
    array = distinct(SHAPE, np.uint8)
    image = made_image(array, CUTS["planes"])
    for wrong in (-1, 256, 1.5, "x", [1, 2], np.zeros(2)):
        with pytest.raises(DTypeError, match="fill_value"):
            OmeArrowSource(image, fill_value=wrong)
    assert OmeArrowSource(image, fill_value=3.0).storage.fill_value == 3


def test_what_is_in_memory_is_not_copied() -> None:
    array = distinct(SHAPE, np.uint16)
    image = made_image(array, CUTS["planes"], flat=True, zero_copy=True)
    source = OmeArrowSource(image)
    view = source.array
    assert view is not None
    assert np.shares_memory(view, image.units.units[0].flat)
    assert not view.flags.writeable
    np.testing.assert_array_equal(view, array)
    assert source.reading_nbytes(1 << 20) == 0
    for options in (
        {"flat": True},
        {"flat": True, "zero_copy": True, "stored": np.int32},
        {"flat": True, "zero_copy": True, "encoded": True, "codecs": ("zstd",)},
        {"zero_copy": True},
    ):
        assert OmeArrowSource(made_image(array, CUTS["planes"], **options)).array is None
    other = made_image(array, CUTS["planes in any order"], flat=True, zero_copy=True)
    assert OmeArrowSource(other).array is None
    encoded = made_image(array, CUTS["one"], flat=True, zero_copy=True, encoded=True)
    np.testing.assert_array_equal(OmeArrowSource(encoded).array, array)
    holey = made_image(array, CUTS["planes"][:-1], flat=True, zero_copy=True)
    assert OmeArrowSource(holey).array is None


def test_many_planes_are_one_copy() -> None:
    array = distinct(SHAPE, np.uint16)
    image = made_image(array, CUTS["planes"], flat=True)
    asked: list[tuple[int, int]] = []
    unit = image.units.units[0]
    several = unit.several
    unit.several = lambda number, many: asked.append((number, many)) or several(number, many)
    np.testing.assert_array_equal(whole(OmeArrowSource(image)), array)
    assert asked == [(0, 30)]
    asked.clear()
    part = read(OmeArrowSource(image), ((0, 2), (1, 2), (1, 5), (2, 5), (0, 13)))
    np.testing.assert_array_equal(part, array[:, 1:2, 1:5, 2:5])
    assert asked == [(6, 4), (21, 4)]


def test_sizes_count_units_once() -> None:
    array = distinct(SHAPE, np.uint16)
    image = made_image(array, CUTS["planes"], per_unit=10)
    source = OmeArrowSource(image)
    everything = (tuple((0, n) for n in SHAPE), (1,) * 5)
    found = source.fetched([everything, everything])
    assert found == (1000 + 1001 + 1002, 30, array.nbytes)
    cells = [(0, 0, z, 0, 0) for z in range(5)]
    assert source.unit_sizes(cells) == (5, 1000, 0)
    assert source.reading_nbytes(100) == 10 * 286
    read(source, ((0, 1), (0, 1), (0, 1), (0, 11), (0, 13)))
    assert source.unit_sizes(cells) == (5, 0, 0)
    assert source.fetched([everything]).stored_bytes == 1001 + 1002
    x = lt.scan_source(source)
    estimate = x[1].estimate(exact=True)
    assert (estimate.chunks_read, estimate.chunks_total) == (15, 30)
    assert estimate.bytes_decoded == array[1].nbytes
    assert estimate.bytes_read == 1001 + 1002
    holey = OmeArrowSource(made_image(array, CUTS["planes"][1:]), fill_value=0)
    assert holey.unit_sizes([(0, 0, 0, 0, 0), (0, 0, 1, 0, 0)]) == (2, 1000, 1)


def test_estimates_of_samples_do_not_multiply_units() -> None:
    array = distinct((4, 5, 20, 3, 3), np.uint16)
    image = made_image(array, regular_boxes(array.shape, (1, 1, 1, 3, 3)), per_unit=100)
    x = lt.scan_source(OmeArrowSource(image))
    assert abs(x.estimate().bytes_read - 4006) < 500
    assert x.estimate(exact=True).bytes_read == 4006


def test_storage() -> None:
    array = distinct(SHAPE, np.uint16)
    image = made_image(array, CUTS["planes"], per_unit=10)
    x = lt.scan_source(OmeArrowSource(image, reopen={"uri": "made.parquet"}))
    storage = x.storage
    assert storage.format == "ome-arrow"
    assert storage.uri == "made.parquet"
    assert storage.chunks == PLANE
    assert storage.shards == (1, 2, 5, 11, 13)
    assert storage.codecs == ()
    assert storage.statistics() == {
        "units_stored": 30, "units_total": 30, "bytes_stored": 3003, "bytes_total": array.nbytes,
    }  # fmt: skip
    alone = OmeArrowSource(
        made_image(array, CUTS["planes"], per_unit=1, encoded=True, codecs=("lz4",))
    )
    assert alone.storage.shards is None
    assert alone.storage.codecs == ({"name": "lz4"},)


def test_documents_and_pickles() -> None:
    array = distinct(SHAPE, np.float32)
    image = made_image(array, CUTS["chunks"], encoded=True)
    with pytest.raises(SerializationError, match="memory of this process"):
        OmeArrowSource(image).to_json()
    source = OmeArrowSource(image, fill_value=np.nan, reopen={"uri": "made.parquet", "mmap": False})
    assert source.to_json() == {
        "format": "ome-arrow", "uri": "made.parquet", "mmap": False, "row": 0, "column": "image",
        "fill_value": "nan",
    }  # fmt: skip
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(whole(again), array)
    assert again.key == source.key
    assert again.to_json() == source.to_json()
    other = OmeArrowSource(image._replace(place={"row": 1, "column": "image"}))
    assert OmeArrowSource(image).key != other.key
    assert OmeArrowSource(image).key != source.key
