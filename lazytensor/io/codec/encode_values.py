"""Encoders of values: the inverse of ``filters`` and ``rescale``, with what decoding forgets.

The same expressions as in numcodecs, block by block, so that intermediates stay in the cache. Some
of these codecs lose digits, which is what they are for. None loses a value: what the stored type
cannot hold (a number out of its range, NaN as an integer, a label that is in no list) is a
``SinkError``, where numcodecs wraps around or writes what the processor happens to make of it.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np

from lazytensor.errors import ChunkDecodeError, FormatError, SinkError
from lazytensor.io.codec.bytecodec import ByteCodec
from lazytensor.io.codec.encode import Encoder, Take
from lazytensor.io.codec.filters import (
    AsTypeCodec,
    CategoriesCodec,
    DeltaCodec,
    FixedScaleOffsetCodec,
    TransposeCodec,
)
from lazytensor.io.codec.rescale import CastValueCodec, ScaleOffsetCodec, integer_range
from lazytensor.io.codec.site import Site
from lazytensor.io.store import Buffer

__all__ = [
    "ReorderEncoder", "TransposeEncoder", "ValueEncoder", "astype", "bitround", "cast_value",
    "categorize", "delta", "fixed_scale_offset", "quantize", "scale_offset",
]  # fmt: skip

_BLOCK = 1 << 14
_MANTISSA = {2: 10, 4: 23, 8: 52}
_MOST_DIGITS = 300


class ValueEncoder(Encoder):
    """Values of the dtype ``decoded`` to as many of the dtype ``stored``, as ``ValueCodec``."""

    def __init__(self, name: str, decoded: np.dtype, stored: np.dtype) -> None:
        self.name = name
        self.decoded = decoded
        self.stored = stored

    @abstractmethod
    def convert(self, values: np.ndarray, stored: np.ndarray) -> None:
        """Fill ``stored`` with the encoded ``values`` (both 1-d)."""

    def bound(self, size: int) -> int:
        """As many values."""
        return -(-size // self.decoded.itemsize) * self.stored.itemsize

    def encode(self, data: memoryview, take: Take) -> Buffer:
        """Block by block."""
        source = np.frombuffer(data, self.decoded)
        out = take(len(source) * self.stored.itemsize)
        target = np.frombuffer(out, self.stored)
        # inf - inf is as good a value as any; what is lost by overflow is looked for.
        with np.errstate(all="ignore"):
            for at in range(0, len(source), _BLOCK):
                self._block(source, target, at, min(at + _BLOCK, len(source)))
        return out

    def _block(self, source: np.ndarray, target: np.ndarray, start: int, stop: int) -> None:
        self.convert(source[start:stop], target[start:stop])


def _put(name: str, values: np.ndarray, out: np.ndarray) -> None:
    """Cast, if the type of ``out`` reaches that far; digits of fractions are cut off."""
    np.copyto(out, values, casting="unsafe")
    bounds = integer_range(out.dtype)
    if not values.size or values.dtype.kind == "b" or values.dtype == out.dtype:
        return
    if bounds is None:
        fits = np.array_equal(np.isfinite(out), np.isfinite(values))
    else:
        fits = _reaches(bounds, values)
    if not fits:
        raise SinkError(f"{name}: {values.min()} to {values.max()} do not fit {out.dtype}")


def _reaches(bounds: tuple[int, int], values: np.ndarray) -> bool:
    """Whether all values, without their fractions, lie within the range of an integer type."""
    (lo, hi), least, most = bounds, values.min(), values.max()
    if values.dtype.kind in "iu":
        return lo <= int(least) and int(most) <= hi
    # Both are powers of two, or one below; NaN is in no order with them.
    return bool((least >= float(lo) or least > lo - 1.0) and most < float(hi + 1))


class _Cast(ValueEncoder):
    """NumPy's cast."""

    def convert(self, values: np.ndarray, stored: np.ndarray) -> None:
        """Cast."""
        _put(self.name, values, stored)


def astype(site: Site, codec: ByteCodec | None) -> Encoder | None:
    """``encode_dtype``; None where that is the type there is."""
    if codec is None:
        return None
    assert isinstance(codec, AsTypeCodec)
    if codec.decoded.kind == "c" and codec.stored.kind != "c":
        raise site.wrong("encode_dtype", f"a type that can hold the values of {codec.decoded}")
    return _Cast("astype", codec.decoded, codec.stored)


class ReorderEncoder(ValueEncoder):
    """The same values as they are stored: ``stored_dtype`` of them."""

    def __init__(self, values: np.dtype, stored: np.dtype) -> None:
        super().__init__("bytes", values, stored)

    def convert(self, values: np.ndarray, stored: np.ndarray) -> None:
        """Bring their bytes in order."""
        np.copyto(stored, values, casting="unsafe")


class _Delta(ValueEncoder):
    def _block(self, source: np.ndarray, target: np.ndarray, start: int, stop: int) -> None:
        """The first value as it is."""
        if not start:
            self._store(source[:1], target[:1])
        first = max(start, 1)
        self._store(source[first:stop] - source[first - 1 : stop - 1], target[first:stop])

    def _store(self, changes: np.ndarray, out: np.ndarray) -> None:
        if changes.dtype.kind in "fc" and not np.isfinite(changes).all():
            raise SinkError("delta: a value that is not finite would spoil all that follow it")
        np.copyto(out, changes, casting="unsafe")
        # Differences that wrapped around do so again when they are summed up.
        if out.dtype != changes.dtype and not np.array_equal(out.astype(changes.dtype), changes):
            raise SinkError(
                f"delta: there are differences of neighbours that {out.dtype} cannot hold"
            )

    def convert(self, values: np.ndarray, stored: np.ndarray) -> None:
        """Differences of the values alone."""
        self._block(values, stored, 0, len(values))


def delta(site: Site, codec: ByteCodec | None) -> Encoder:
    """``dtype`` and ``astype``."""
    assert isinstance(codec, DeltaCodec)
    if codec.decoded.kind == "b" or codec.stored.kind == "b":
        raise FormatError(f"{site.where}: bools have no differences; choose 'packbits' for them")
    return _Delta("delta", codec.decoded, codec.stored)


class _FixedScaleOffset(ValueEncoder):
    def __init__(self, codec: FixedScaleOffsetCodec) -> None:
        super().__init__(codec.name, codec.decoded, codec.stored)
        self.scale = codec.scale
        self.offset = codec.offset

    def convert(self, values: np.ndarray, stored: np.ndarray) -> None:
        """Shift, multiply, round; of integers in double precision, where nothing wraps around."""
        if values.dtype.kind in "biu":
            values = values.astype(np.float64)
        _put(self.name, np.around((values - self.offset) * self.scale), stored)


def fixed_scale_offset(site: Site, codec: ByteCodec | None) -> Encoder:
    """``scale`` and ``offset``; ``dtype`` and ``astype``."""
    assert isinstance(codec, FixedScaleOffsetCodec)
    if codec.decoded.kind == "c" or codec.scale == 0:
        raise FormatError(f"{site.where}: real numbers and a scale other than 0 are expected")
    return _FixedScaleOffset(codec)


class _Quantize(ValueEncoder):
    def __init__(self, decoded: np.dtype, stored: np.dtype, digits: int) -> None:
        super().__init__("quantize", decoded, stored)
        exponent = math.log10(10.0**-digits)
        exponent = math.floor(exponent) if exponent < 0 else math.ceil(exponent)
        self.scale = 2.0 ** math.ceil(math.log2(10.0**-exponent))

    def convert(self, values: np.ndarray, stored: np.ndarray) -> None:
        """The nearest multiple of a power of two that keeps the digits."""
        stored[...] = np.around(self.scale * values) / self.scale
        if not np.array_equal(np.isfinite(stored), np.isfinite(values)):
            raise SinkError(f"quantize: {values.min()} to {values.max()} do not fit {stored.dtype}")


def quantize(site: Site, codec: ByteCodec | None) -> Encoder:
    """``digits``; ``dtype`` and ``astype``, which are floats."""
    decoded = site.number_type("dtype", site.dtype if site.zarr_format == 3 else None)
    stored = site.number_type("astype", decoded)
    if decoded.kind != "f" or stored.kind != "f":
        raise FormatError(f"{site.where}: expected floats, found {decoded} and {stored}")
    if "digits" not in site.settings:
        raise site.wrong("digits", "an integer")
    return _Quantize(decoded, stored, site.integer("digits", -_MOST_DIGITS, _MOST_DIGITS, 0))


class _BitRound(ValueEncoder):
    def __init__(self, dtype: np.dtype, keep: int) -> None:
        super().__init__("bitround", dtype, dtype)
        self._bits = np.dtype(f"{dtype.str[0]}u{dtype.itemsize}")
        self._cut = _MANTISSA[dtype.itemsize] - keep

    def convert(self, values: np.ndarray, stored: np.ndarray) -> None:
        """To the nearest, ties to even; what is not a number stays as it is."""
        bits, cut = values.view(self._bits), self._cut
        rounded = bits + ((bits >> cut & 1) + ((1 << (cut - 1)) - 1))
        rounded = rounded >> cut << cut
        np.copyto(stored.view(self._bits), np.where(np.isfinite(values), rounded, bits))


def bitround(site: Site, codec: ByteCodec | None) -> Encoder | None:
    """``keepbits`` of the fraction; None if that is all of them."""
    dtype = site.dtype
    if dtype is None or dtype.kind != "f":
        raise FormatError(f"{site.where}: expected floats, found {dtype}")
    most = _MANTISSA[dtype.itemsize]
    if "keepbits" not in site.settings:
        raise site.wrong("keepbits", f"an integer from 0 to {most}")
    keep = site.integer("keepbits", 0, most, most)
    return None if keep == most else _BitRound(dtype, keep)


class _ScaleOffset(ValueEncoder):
    def __init__(self, codec: ScaleOffsetCodec) -> None:
        super().__init__(codec.name, codec.decoded, codec.stored)
        self.scale = codec.scale
        self.offset = codec.offset

    def convert(self, values: np.ndarray, stored: np.ndarray) -> None:
        """Subtract and multiply; integers must come out exactly."""
        bounds = integer_range(self.stored)
        if bounds is not None and values.size:
            scale, offset = int(self.scale), int(self.offset)
            ends = [(int(end) - offset) * scale for end in (values.min(), values.max())]
            if min(ends) < bounds[0] or max(ends) > bounds[1]:
                raise SinkError(
                    f"scale_offset: {min(ends)} to {max(ends)} do not fit {self.stored}"
                )
        # What wraps around in between comes back: the results fit.
        np.multiply(values - self.offset, self.scale, out=stored)


def scale_offset(site: Site, codec: ByteCodec | None) -> Encoder:
    """``scale`` and ``offset``."""
    assert isinstance(codec, ScaleOffsetCodec)
    return _ScaleOffset(codec)


class _CastValue(ValueEncoder):
    """Casting has a direction and no other asymmetry: decoding the other way round."""

    def __init__(self, codec: CastValueCodec) -> None:
        super().__init__(codec.name, codec.decoded, codec.stored)
        self._reverse = CastValueCodec(
            codec.stored,
            codec.decoded,
            rounding=codec.rounding,
            out_of_range=codec.out_of_range,
            decoding=codec.encoding,
        )

    def convert(self, values: np.ndarray, stored: np.ndarray) -> None:
        """Convert to the stored type."""
        try:
            self._reverse.convert(values, stored)
        except ChunkDecodeError as error:
            raise SinkError(str(error)) from error


def cast_value(site: Site, codec: ByteCodec | None) -> Encoder:
    """``rounding``, ``out_of_range`` and ``scalar_map``."""
    assert isinstance(codec, CastValueCodec)
    return _CastValue(codec)


class _Categories(ValueEncoder):
    def __init__(self, codec: CategoriesCodec) -> None:
        super().__init__(codec.name, codec.decoded, codec.stored)
        self._labels = codec.labels

    def convert(self, values: np.ndarray, stored: np.ndarray) -> None:
        """The number of each label."""
        stored[...] = label_numbers(values, self._labels)


def label_numbers(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Places of values among ``labels``, the first of which is empty; ``SinkError`` without one.

    >>> label_numbers(np.array(["b", "", "a"]), np.array(["", "a", "b"]))
    array([2, 0, 1])
    """
    order = np.argsort(labels, kind="stable")
    places = np.searchsorted(labels, values, sorter=order)
    numbers: np.ndarray = order[np.minimum(places, len(labels) - 1)]
    odd = labels[numbers] != values
    if odd.any():
        raise SinkError(f"categorize: {str(values[odd][0])!r} is none of the labels")
    return numbers


def categorize(site: Site, codec: ByteCodec | None) -> Encoder:
    """``labels``, ``dtype`` and ``astype``."""
    assert isinstance(codec, CategoriesCodec)
    bounds = integer_range(codec.stored)
    if bounds is None or len(codec.labels) - 1 > bounds[1]:
        raise site.wrong("astype", f"an integer type that counts {len(codec.labels) - 1} labels")
    return _Categories(codec)


class TransposeEncoder(Encoder):
    """Whole elements in another order of the axes, as ``TransposeCodec``."""

    name = "transpose"

    def __init__(self, codec: TransposeCodec, itemsize: int) -> None:
        self._shape = codec.shape
        self._axes = codec.axes
        self._element = np.dtype(f"V{itemsize}")

    def bound(self, size: int) -> int:
        """The size does not change."""
        return size

    def encode(self, data: memoryview, take: Take) -> Buffer:
        """Bring the axes into the stored order."""
        out = take(len(data))
        turned = np.frombuffer(data, self._element).reshape(self._shape).transpose(self._axes)
        np.frombuffer(out, self._element).reshape(turned.shape)[...] = turned
        return out
