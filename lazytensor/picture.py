"""Pictures without a plotting library: colour composites, and a small PNG writer.

PNG is a zlib stream of filtered rows between a header and an end mark (ISO/IEC 15948), so writing
gray and RGB pictures of 8 and 16 bits needs nothing but ``zlib``. It is a module of its own because
it knows arrays and nothing of tensors.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lazytensor.errors import DTypeError, ShapeError

__all__ = ["PALETTE", "composite", "encode_png", "write_png"]

PALETTE: tuple[str, ...] = ("00FF00", "FF00FF", "00A0FF", "FFB000", "FF3030", "FFFFFF")
"""Channel colours (RRGGBB) that stay apart when they are added up."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPES = {2: 0, 3: 2}
_FILTER_UP = 2


def encode_png(image: np.ndarray) -> bytes:
    """PNG file with the pixels of ``image``.

    Parameters
    ----------
    image
        Gray ``(y, x)`` or RGB ``(y, x, 3)`` of uint8 or uint16, at least one pixel.

    Raises
    ------
    ShapeError
        Another shape.
    DTypeError
        Another dtype.

    >>> encode_png(np.zeros((2, 3), np.uint8))[:8]
    b'\\x89PNG\\r\\n\\x1a\\n'
    """
    if image.dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        raise DTypeError(f"a PNG holds uint8 or uint16, found {image.dtype}: scale and cast first")
    gray_or_rgb = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    if not gray_or_rgb or image.size == 0:
        raise ShapeError(f"a PNG is (y, x) or (y, x, 3) with pixels, found shape {image.shape}")
    height, width = image.shape[:2]
    depth = 8 * image.dtype.itemsize
    header = struct.pack(">IIBBBBB", width, height, depth, _COLOR_TYPES[image.ndim], 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(_filtered(image), 6)), (b"IEND", b"")
    return _SIGNATURE + b"".join(_part(name, data) for name, data in parts)


def write_png(path: str | os.PathLike[str], image: np.ndarray) -> Path:
    """Write ``encode_png(image)`` to ``path``, make its folder if needed, and return the path."""
    target = Path(path)
    data = encode_png(image)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return target


def composite(planes: np.ndarray, colors: Sequence[str] = PALETTE) -> np.ndarray:
    """Sum of the channels, each in its colour.

    Parameters
    ----------
    planes
        ``(c, y, x)`` of real numbers, of which 0 is black and 1 the full colour; NaN is black.
    colors
        ``RRGGBB`` per channel; repeated when there are more channels.

    Returns
    -------
    numpy.ndarray
        ``(y, x, 3)`` uint8. Sums beyond white are white.

    Raises
    ------
    ShapeError
        ``planes`` is not 3-d, or there is no colour.

    >>> composite(np.ones((1, 1, 1)), ["FF8000"]).tolist()
    [[[255, 128, 0]]]
    """
    if planes.ndim != 3 or not colors:
        raise ShapeError(
            f"a composite takes planes (c, y, x) and colours, found shape {planes.shape} and"
            f" {len(colors)} colours"
        )
    shown = np.clip(np.nan_to_num(planes, nan=0.0, posinf=1.0, neginf=0.0), 0, 1)
    weights = np.array([list(bytes.fromhex(color)) for color in colors], np.float32)
    weights = weights[np.arange(len(planes)) % len(colors)]
    summed = np.tensordot(shown.astype(np.float32), weights, axes=(0, 0))
    return np.minimum(np.rint(summed), 255).astype(np.uint8)


def _filtered(image: np.ndarray) -> bytes:
    """Rows as differences to the row above, each behind its filter byte; 16 bits big-endian."""
    height = image.shape[0]
    rows = np.ascontiguousarray(image, image.dtype.newbyteorder(">")).view(np.uint8)
    rows = rows.reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = _FILTER_UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    return filtered.tobytes()


def _part(name: bytes, data: bytes) -> bytes:
    check = zlib.crc32(data, zlib.crc32(name))
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)
