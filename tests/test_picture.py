"""The PNG writer against Pillow, and the colours of composites."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lazytensor.errors import DTypeError, LazyTensorError, ShapeError
from lazytensor.picture import composite, encode_png, write_png


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (5, 3, 3), (1, 7, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pillow_reads_the_pixels_back(shape: tuple[int, ...], dtype: Any) -> None:
    image = np.arange(np.prod(shape)).reshape(shape).astype(dtype) * 7 + 250
    image = image.astype(dtype)
    if dtype is np.uint16 and len(shape) == 3:
        assert decode_rgb16(encode_png(image), shape).tolist() == image.tolist()
        return
    from PIL import Image

    with Image.open(io.BytesIO(encode_png(image))) as opened:
        found = np.asarray(opened)
    assert found.tolist() == image.tolist()


def decode_rgb16(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Pillow has no 16-bit RGB: undo the one filter the writer uses."""
    import zlib

    start = data.index(b"IDAT")
    length = int.from_bytes(data[start - 4 : start], "big")
    rows = np.frombuffer(zlib.decompress(data[start + 4 : start + 4 + length]), np.uint8)
    rows = rows.reshape(shape[0], -1)
    assert set(rows[:, 0].tolist()) == {2}
    restored = np.cumsum(rows[:, 1:], axis=0, dtype=np.uint8)
    return restored.view(">u2").reshape(shape)


def test_strided_and_foreign_byte_order() -> None:
    base = np.arange(60, dtype=">u2").reshape(6, 10)
    assert encode_png(base[::2, ::-3]) == encode_png(base[::2, ::-3].astype("<u2"))


def test_write_makes_the_folder(tmp_path: Path) -> None:
    image = np.arange(6, dtype=np.uint8).reshape(2, 3)
    path = write_png(tmp_path / "a" / "b.png", image)
    assert path.read_bytes() == encode_png(image)


@pytest.mark.parametrize(
    ("image", "error"),
    [
        (np.zeros((2, 2)), DTypeError),
        (np.zeros(4, np.uint8), ShapeError),
        (np.zeros((2, 2, 4), np.uint8), ShapeError),
        (np.zeros((0, 2), np.uint8), ShapeError),
    ],
)
def test_what_a_png_cannot_hold(image: np.ndarray, error: type[LazyTensorError]) -> None:
    with pytest.raises(error, match="PNG"):
        encode_png(image)


def test_composite_adds_colours_and_saturates() -> None:
    planes = np.array([[[0, 1, 1, np.nan, 2]], [[0, 0.5, 1, 1, -1]]])
    assert composite(planes, ["FF0000", "FF0040"])[0].tolist() == [
        [0, 0, 0],
        [255, 0, 32],
        [255, 0, 64],
        [255, 0, 64],
        [255, 0, 0],
    ]


def test_composite_repeats_colours() -> None:
    picture = composite(np.ones((3, 1, 1)) * 0.25, ["400000", "004000"])
    assert picture.tolist() == [[[32, 16, 0]]]


@pytest.mark.parametrize(("shape", "colors"), [((2, 2), ["FFFFFF"]), ((1, 2, 2), [])])
def test_composite_needs_planes_and_colours(shape: tuple[int, ...], colors: list[str]) -> None:
    with pytest.raises(ShapeError, match="composite"):
        composite(np.zeros(shape), colors)
