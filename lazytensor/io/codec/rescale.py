"""``scale_offset`` and ``cast_value`` of zarr v3: arithmetic that refuses to be wrong.

Both are defined on values (zarr-extensions, ``codecs/scale_offset`` and ``codecs/cast_value``): a
result that the array's type cannot hold is an error, or what ``out_of_range`` says, and never
wraps around in silence. They also say what a shard behind them holds where a chunk is missing: the
encoded fill value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lazytensor.errors import ChunkDecodeError
from lazytensor.io.codec.filters import ElementwiseCodec
from lazytensor.io.codec.small import SMALL_INTEGERS

__all__ = ["OUT_OF_RANGE", "ROUNDINGS", "CastValueCodec", "ScaleOffsetCodec", "integer_range"]

Pairs = Sequence[tuple[np.ndarray, np.ndarray]]


def integer_range(dtype: np.dtype) -> tuple[int, int] | None:
    """Least and greatest value of an integer type; None for floats.

    >>> integer_range(np.dtype("int8")), integer_range(np.dtype("float32"))
    ((-128, 127), None)
    """
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return int(info.min), int(info.max)
    return SMALL_INTEGERS.get(dtype.name)


def _check_range(least: int, most: int, dtype: np.dtype, name: str) -> None:
    """``ChunkDecodeError`` unless ``dtype`` holds both."""
    lo, hi = integer_range(dtype) or (0, 0)
    if least < lo or most > hi:
        raise ChunkDecodeError(f"{name}: {least} to {most} do not fit {dtype}")


class ScaleOffsetCodec(ElementwiseCodec):
    """Stored are ``(value - offset) * scale``, computed in the type of the array.

    ``scale`` and ``offset`` are 0-d arrays of that type.
    """

    name = "scale_offset"

    def __init__(self, dtype: np.dtype, *, scale: np.ndarray, offset: np.ndarray) -> None:
        super().__init__(dtype, dtype)
        self.scale = scale
        self.offset = offset

    def convert(self, stored: np.ndarray, decoded: np.ndarray) -> None:
        """Divide and add; integers must come out exactly."""
        if integer_range(self.decoded) is None:
            np.add(stored / self.scale, self.offset, out=decoded)
            return
        scale, offset = int(self.scale), int(self.offset)
        # Of the quotients only that of the least value by -1 can fall outside the type.
        if scale == -1:
            _check_range(-int(stored.max()), -int(stored.min()), self.decoded, self.name)
        if np.any(np.remainder(stored, self.scale)):
            raise ChunkDecodeError(
                f"scale_offset: values that are no multiple of {scale} stand for no {self.decoded}"
            )
        quotients = np.floor_divide(stored, self.scale)
        least, most = int(quotients.min()) + offset, int(quotients.max()) + offset
        _check_range(least, most, self.decoded, self.name)
        np.add(quotients, self.offset, out=decoded)

    def encode_fill(self, fill: np.ndarray) -> np.ndarray:
        """Subtract and multiply."""
        if integer_range(self.decoded) is None:
            with np.errstate(all="ignore"):
                return np.asarray((fill - self.offset) * self.scale).astype(self.stored)
        value = (int(fill) - int(self.offset)) * int(self.scale)
        _check_range(value, value, self.stored, self.name)
        return np.array(value, self.stored)


def _nearest_away(x: np.ndarray) -> np.ndarray:
    whole: np.ndarray = np.trunc(x)
    whole += np.where(np.abs(x - whole) >= 0.5, np.copysign(1.0, x), 0.0)
    return whole


ROUNDINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "nearest-even": np.rint,
    "towards-zero": np.trunc,
    "towards-positive": np.ceil,
    "towards-negative": np.floor,
    "nearest-away": _nearest_away,
}
OUT_OF_RANGE = ("error", "clamp", "wrap")


class CastValueCodec(ElementwiseCodec):
    """Values converted to ``stored`` and back, each to the nearest there is by a named rule.

    ``rounding``: a key of ``ROUNDINGS``. ``out_of_range``: one of ``OUT_OF_RANGE``. ``decoding``,
    ``encoding``: pairs of 0-d arrays, values that are mapped instead of converted.
    """

    name = "cast_value"

    def __init__(
        self,
        decoded: np.dtype,
        stored: np.dtype,
        *,
        rounding: str,
        out_of_range: str,
        decoding: Pairs = (),
        encoding: Pairs = (),
    ) -> None:
        super().__init__(decoded, stored)
        self.rounding = rounding
        self.out_of_range = out_of_range
        self.decoding = tuple(decoding)
        self.encoding = tuple(encoding)

    def convert(self, stored: np.ndarray, decoded: np.ndarray) -> None:
        """Convert to the type of the array."""
        decoded[...] = self._cast(stored, self.decoded, self.decoding)

    def encode_fill(self, fill: np.ndarray) -> np.ndarray:
        """Convert to the stored type."""
        with np.errstate(all="ignore"):
            return self._cast(fill.reshape(1), self.stored, self.encoding)[0:1].reshape(())

    def _cast(self, values: np.ndarray, dtype: np.dtype, pairs: Pairs) -> np.ndarray:
        mapped = [(_equal(values, key), image) for key, image in pairs]
        if mapped:
            values = values.copy()
            for places, _ in mapped:
                values[places] = 0
        to_integer, from_integer = integer_range(dtype), integer_range(values.dtype)
        if to_integer is None:
            found = self._to_float(values, dtype)
        elif from_integer is None:
            found = self._float_to_integer(values, dtype, *to_integer)
        else:
            found = self._to_integer(_plain(values), dtype, *to_integer)
        for places, image in mapped:
            found[places] = image
        return found

    def _outside(self, values: np.ndarray, dtype: np.dtype) -> ChunkDecodeError:
        shown = ", ".join(str(value) for value in values[:3])
        return ChunkDecodeError(f"cast_value: {shown} cannot be held by {dtype}")

    def _to_integer(self, values: np.ndarray, dtype: np.dtype, lo: int, hi: int) -> np.ndarray:
        """Integers to integers."""
        outside = (values < lo) | (values > hi)
        if self.out_of_range == "wrap":
            return _wrapped(values, dtype, lo)
        if self.out_of_range == "error" and outside.any():
            raise self._outside(values[outside], dtype)
        if outside.any():
            least, most = integer_range(values.dtype) or (lo, hi)
            values = np.clip(values, max(lo, least), min(hi, most))
        return values.astype(dtype)

    def _float_to_integer(
        self, values: np.ndarray, dtype: np.dtype, lo: int, hi: int
    ) -> np.ndarray:
        wide = values.astype(np.float64)
        if np.isnan(wide).any():
            raise self._outside(wide[np.isnan(wide)], dtype)
        whole = ROUNDINGS[self.rounding](wide)
        # Both bounds are powers of two (or zero), which a double holds exactly.
        outside = (whole < float(lo)) | (whole >= float(hi + 1))
        if not outside.any():
            return _plain_cast(whole, dtype, lo)
        lost = np.isinf(whole) if self.out_of_range == "wrap" else outside
        if self.out_of_range != "clamp" and lost.any():
            raise self._outside(wide[lost], dtype)
        if self.out_of_range == "wrap":
            # The remainder is exact; as an unsigned number, its negative wraps as it should.
            rest = np.fmod(whole, 2.0**64)
            bits = np.abs(rest).astype(np.uint64)
            return _wrapped(np.where(rest < 0, np.negative(bits), bits), dtype, lo)
        found = _plain_cast(np.where(outside, 0.0, whole), dtype, lo)
        found[whole < float(lo)] = lo
        found[whole >= float(hi + 1)] = hi
        return found

    def _to_float(self, values: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Anything to floats."""
        values = _plain(values)
        found = _round_to(values, dtype, self.rounding)
        lost = np.isnan(values) & ~np.isnan(found)
        if lost.any():
            raise self._outside(values[lost], dtype)
        most = _greatest(dtype)
        if _has_infinity(dtype):
            outside = ~np.isfinite(found) & np.isfinite(values)
        else:  # casts to the types without infinity stop at the greatest, or give NaN
            outside = np.abs(values) > most
        if not outside.any():
            return found
        if self.out_of_range != "clamp":
            raise self._outside(values[outside], dtype)
        found[outside] = np.where(values[outside] > 0, most, -most).astype(dtype)
        return found


def _equal(values: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Where the values are ``key``; a NaN is any NaN."""
    is_nan = integer_range(key.dtype) is None and np.isnan(key)
    found: np.ndarray = np.isnan(values) if is_nan else values == key
    return found


def _plain(values: np.ndarray) -> np.ndarray:
    """The same values in a type of NumPy itself, in which ufuncs are fast and complete."""
    if values.dtype.kind in "iuf":
        return values
    return values.astype(np.float64 if integer_range(values.dtype) is None else np.int8)


def _plain_cast(whole: np.ndarray, dtype: np.dtype, lo: int) -> np.ndarray:
    """Integral doubles within the range of an integer type."""
    return whole.astype(np.int64 if lo else np.uint64).astype(dtype)


def _wrapped(values: np.ndarray, dtype: np.dtype, lo: int) -> np.ndarray:
    """Integers modulo the number of values of an integer type."""
    if dtype.kind in "iu":
        return values.astype(dtype)
    _, hi = integer_range(dtype) or (0, 0)
    low_bits = values.astype(np.uint8) & np.uint8(hi - lo)
    return np.where(low_bits > hi, low_bits.astype(np.int16) + 2 * lo, low_bits).astype(dtype)


def _greatest(dtype: np.dtype) -> float:
    if dtype.kind == "f":
        return float(np.finfo(dtype).max)
    import ml_dtypes

    info: Any = ml_dtypes.finfo
    return float(info(dtype).max)


def _has_infinity(dtype: np.dtype) -> bool:
    return bool(np.isinf(np.array(np.inf).astype(dtype)))


def _round_to(values: np.ndarray, dtype: np.dtype, rounding: str) -> np.ndarray:
    """Floats of ``dtype`` nearest the values by the rule; infinite beyond the greatest."""
    if rounding == "nearest-even" and dtype.kind == "f":
        return values.astype(dtype)
    if values.dtype.kind != "f":
        values = values.astype(np.float64)
    if dtype.kind != "f":
        values = _sticky(values)
    nearest = values.astype(dtype)
    if rounding == "nearest-even":
        return nearest
    back = nearest.astype(np.float64)
    infinite = np.isinf(back) & np.isfinite(values)
    step = _STEPS[rounding](back, values)
    most = np.inf if _has_infinity(dtype) else _greatest(dtype)
    towards = np.where(step > 0, most, -most).astype(dtype)
    moved = np.nextafter(nearest, towards)
    if rounding == "nearest-away":
        tie = np.abs(moved.astype(np.float64) - values) == np.abs(back - values)
        step = np.where(tie, step, 0.0)
    return np.where((step != 0) & ~infinite, moved, nearest)


# In which direction the nearest value may have to be left: up 1, down -1, nowhere 0.
_STEPS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "towards-zero": lambda back, x: np.where(np.abs(back) > np.abs(x), -np.sign(x), 0.0),
    "towards-positive": lambda back, x: np.where(back < x, 1.0, 0.0),
    "towards-negative": lambda back, x: np.where(back > x, -1.0, 0.0),
    "nearest-away": lambda back, x: np.where(np.abs(back) < np.abs(x), np.sign(x), 0.0),
}


def _sticky(values: np.ndarray) -> np.ndarray:
    """Single precision with the last bit set where bits were lost.

    The small types are cast to by way of single precision, and rounding twice is not rounding once:
    a value just above a tie must not become the tie.
    """
    single = values.astype(np.float32)
    too_far = np.abs(single.astype(np.float64)) > np.abs(values)
    single = np.where(too_far, np.nextafter(single, np.float32(0)), single)
    inexact = (single.astype(np.float64) != values) & np.isfinite(values)
    single.view(np.uint32)[inexact] |= 1
    return single
