"""Sums of products of two blocks, the same to the last bit however many threads there are.

A BLAS gives other roundings when it splits a product among threads, and how many it uses depends
on the machine and on the process. (Measured with the OpenBLAS of NumPy's wheels, one thread against
two: products of 300 x 500 x 200 already differ, dot products from 10 001 elements on.) It does not
split small products: a matrix product of at most 2**18 multiplications, a matrix times a vector of
at most 9 215 elements, a dot product of at most 10 000. So blocks are cut into tiles below these
limits, which one call of ``numpy.matmul`` goes through, and the tiles' products are added up here,
in an order that follows from the shape alone. That costs about a fifth of the speed of one thread
of the BLAS, keeps all our own threads busy, and sums in two levels, which is the more accurate.

What numbers are accumulated in, by dtype: floats and complex numbers of the BLAS in themselves;
float16 and the small formats of ml_dtypes in float32, rounded once; integers exactly modulo 2**n,
as products of 16-bit digits in float64, none of whose sums exceeds 2**53; bool in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from lazytensor.plan.promote import is_extended, is_extended_float

__all__ = ["Form", "contract_into", "workspace"]

_PRODUCT = 1 << 18
_COMPLEX_PRODUCT = 1 << 16
_VECTOR = 8192
_COMPLEX_VECTOR = 2048
_DOT = 4096
_EDGE = 64
"""Limits of a tile: multiplications, matrix elements beside a vector, elements of a dot product,
and rows and columns where there are plenty of both."""

_BLOCK = 512
_ELEMENTS = 1 << 18
"""Rows or columns that are gone through at a time, and elements of either factor."""

_DIGIT = 16
_FEW = 8
"""Fewer rows or columns of integers than this are not worth a BLAS."""

_F4, _F8 = np.dtype(np.float32), np.dtype(np.float64)
_U8 = np.dtype(np.uint64)


class Form(NamedTuple):
    """Which dims of two blocks go together: see ``plan.nodes_contract``."""

    batch1: tuple[int, ...]
    batch2: tuple[int, ...]
    summed1: tuple[int, ...]
    summed2: tuple[int, ...]


def contract_into(x1: np.ndarray, x2: np.ndarray, form: Form, out: np.ndarray) -> None:
    """Write sums of products of two blocks of one dtype into ``out``, of that dtype or float32."""
    a = _grouped(x1, form.batch1, form.summed1, last=True)
    b = _grouped(x2, form.batch2, form.summed2, last=False)
    shape = (a.shape[0], a.shape[1], b.shape[2])
    if 0 in shape:
        return
    with np.errstate(all="ignore"):
        # Dims of a part of a larger array cannot always be put together: then this is a copy.
        into = out.reshape(shape)
        _fill(a, b, into)
        if not np.may_share_memory(into, out):
            out[...] = into.reshape(out.shape)


def _grouped(
    x: np.ndarray, batch: Sequence[int], summed: Sequence[int], *, last: bool
) -> np.ndarray:
    """The block with three dims: batch, free and summed (or summed and free)."""
    free = [d for d in range(x.ndim) if d not in batch and d not in summed]
    inner = (free, summed) if last else (summed, free)
    groups = (batch, *inner)
    shape = [math.prod(x.shape[d] for d in dims) for dims in groups]
    return x.transpose([d for dims in groups for d in dims]).reshape(shape)


def workspace(
    shape1: tuple[int, ...], shape2: tuple[int, ...], form: Form, results: int, dtype: np.dtype
) -> int:
    """Bytes that ``contract_into`` may hold beside its arguments, at most, for so many results.

    Copies of blocks whose dims do not lie as they are needed, and a few tiles.
    """
    sizes = [math.prod(shape) for shape in (shape1, shape2)]
    copied = sum(
        size
        for size, shape, batch, summed in (
            (sizes[0], shape1, form.batch1, form.summed1),
            (sizes[1], shape2, form.batch2, form.summed2),
        )
        if not _lies_well(shape, batch, summed)
    )
    whole = dtype.kind in "iu" and dtype.itemsize > 1
    factors = dtype.itemsize // 2 + 2 if whole else 1
    tiles = factors * sum([min(size, _ELEMENTS) for size in sizes]) + 5 * min(results, _ELEMENTS)
    tiles += min(_ELEMENTS, results + sizes[0] * sizes[1] // _EDGE)
    return copied * dtype.itemsize + tiles * max(8, dtype.itemsize)


def _lies_well(shape: tuple[int, ...], batch: Sequence[int], summed: Sequence[int]) -> bool:
    """Whether every group of dims is one dim at most, so that none have to be put together."""
    long = [d for d, n in enumerate(shape) if n != 1]
    groups = (set(batch), set(summed), set(range(len(shape))) - {*batch, *summed})
    return all(sum(d in group for d in long) <= 1 for group in groups)


def _fill(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """``out[q] = a[q] @ b[q]``, block by block."""
    (_, m, k), n = a.shape, b.shape[2]
    if k == 0:
        out[...] = np.zeros((), out.dtype)
        return
    rows, columns = min(m, _BLOCK), min(n, _BLOCK)
    if rows < _BLOCK:
        columns = min(n, _ELEMENTS // rows)
    elif columns < _BLOCK:
        rows = min(m, _ELEMENTS // columns)
    depth = min(k, max(1, _ELEMENTS // max(rows, columns)))
    batch = max(1, _ELEMENTS // max(rows * columns, depth * max(rows, columns)))
    multiply = _sums(a.dtype)
    for q in _pieces(out.shape[0], batch):
        for r in _pieces(m, rows):
            for c in _pieces(n, columns):
                total = None
                for s in _pieces(k, depth):
                    part = multiply(a[q, r, s], b[q, s, c])
                    total = part if total is None else _added(total, part)
                _store(total, out[q, r, c])


def _pieces(extent: int, size: int) -> Iterator[slice]:
    for lo in range(0, extent, size):
        yield slice(lo, min(extent, lo + size))


def _added(total: np.ndarray, part: np.ndarray) -> np.ndarray:
    total += part
    return total


def _store(total: np.ndarray | None, out: np.ndarray) -> None:
    """Round (or cut to the integer's bits) once."""
    assert total is not None
    if out.dtype == np.bool_:
        np.not_equal(total, 0, out=out)
    elif total.dtype == _U8 and not is_extended(out.dtype):
        out.view(_unsigned(out.dtype))[...] = total
    elif total.dtype == _U8:
        out[...] = total.astype(np.uint8).astype(out.dtype)
    else:
        out[...] = total


_Multiply = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _sums(dtype: np.dtype) -> _Multiply:
    """How products of two blocks of this dtype are added up."""
    if dtype.kind in "iu" or (is_extended(dtype) and not is_extended_float(dtype)):
        return _digit_products
    if dtype.kind == "c" or (dtype.kind == "f" and dtype.itemsize >= _F4.itemsize):
        return _products
    return _widened_products


def _widened_products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return _products(a.astype(_F4), b.astype(_F4))


def _digit_products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Modulo 2**64: digits of 16 bits are multiplied, those beyond the dtype left out."""
    if min(a.shape[1], b.shape[2]) < _FEW and not is_extended(a.dtype):
        plain: np.ndarray = np.matmul(a, b)  # modulo 2**n as well, and nothing to take apart
        return plain
    left, right = _digits(a), _digits(b)
    total = np.zeros((a.shape[0], a.shape[1], b.shape[2]), _U8)
    for i, high in enumerate(left):
        for j, low in enumerate(right[: len(left) - i]):
            product = _products(high, low).astype(_U8)
            total += product << np.uint64(_DIGIT * (i + j))
    return total


def _digits(x: np.ndarray) -> list[np.ndarray]:
    """Digits of the two's complement, the lowest first, as float64."""
    if is_extended(x.dtype):
        return [x.astype(np.int8).astype(np.uint8).astype(_F8)]
    bits = x.view(_unsigned(x.dtype))
    if x.dtype.itemsize <= 2:
        return [bits.astype(_F8)]
    wide = bits.astype(_U8)
    mask = np.uint64((1 << _DIGIT) - 1)
    count = x.dtype.itemsize // 2
    return [((wide >> np.uint64(_DIGIT * i)) & mask).astype(_F8) for i in range(count)]


def _unsigned(dtype: np.dtype) -> np.dtype:
    """The unsigned integers with the same bits in the same order."""
    return np.dtype(f"u{dtype.itemsize}").newbyteorder(dtype.byteorder)


def _products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a @ b`` of stacks of matrices, tile by tile."""
    (q, m, k), n = a.shape, b.shape[2]
    tile = _tile(m, n, k, a.dtype)
    # Told that both factors are the same memory, NumPy calls another routine of the BLAS, whose
    # limits are other ones.
    shared = m > 1 and n > 1 and np.may_share_memory(a, b)
    a = np.array(a, order="C") if shared or not _is_dense(a) else a
    b = b if _is_dense(b) else np.ascontiguousarray(b)
    if tile == (m, n, k):
        product: np.ndarray = np.matmul(a, b)
        return product
    out = np.empty((q, m, n), a.dtype)
    for r, rows in _regions(m, tile[0]):
        for c, columns in _regions(n, tile[1]):
            _add_up(a[:, r], b[:, :, c], (rows, columns, tile[2]), out[:, r, c])
    return out


def _is_dense(x: np.ndarray) -> bool:
    """Whether rows, or columns, lie side by side in memory, in native byte order."""
    return x.dtype.isnative and x.flags.aligned and x.itemsize in x.strides[-2:]


def _tile(m: int, n: int, k: int, dtype: np.dtype) -> tuple[int, int, int]:
    """Rows, columns and depth of a tile that no BLAS splits."""
    if m == 1 and n == 1:
        return 1, 1, min(k, _DOT)
    if m == 1 or n == 1:
        most = _COMPLEX_VECTOR if dtype.kind == "c" else _VECTOR
        long = min(max(m, n), most // min(k, _EDGE))
        return min(m, long), min(n, long), min(k, most // long)
    most = _COMPLEX_PRODUCT if dtype.kind == "c" else _PRODUCT
    rows = min(m, _EDGE)
    columns = min(n, _EDGE * _EDGE // rows)
    rows = min(m, _EDGE * _EDGE // columns)
    depth = max(1, min(k, most // (rows * columns)))
    rows = min(m, most // (columns * depth))
    return rows, min(n, most // (rows * depth)), depth


def _regions(extent: int, size: int) -> Iterator[tuple[slice, int]]:
    """What whole tiles cover, and the rest, each with the extent of its tiles."""
    whole = extent - extent % size
    if whole:
        yield slice(0, whole), size
    if whole < extent:
        yield slice(whole, extent), extent - whole


def _add_up(a: np.ndarray, b: np.ndarray, tile: tuple[int, int, int], out: np.ndarray) -> None:
    """One region of whole tiles: products along ``k`` are added up in order.

    Small ones are made many at a time, for then a call costs more than a tile.
    """
    (q, m, _), n = a.shape, b.shape[2]
    rows, columns, _ = tile
    total = None
    for s, depth in _regions(a.shape[2], tile[2]):
        left = a[:, :, s].reshape(q, m // rows, rows, -1, depth).transpose(3, 0, 1, 2, 4)
        right = b[:, s].reshape(q, -1, depth, n // columns, columns).transpose(1, 0, 3, 2, 4)
        for i in _pieces(left.shape[0], max(1, _ELEMENTS // (q * m * n))):
            parts = np.matmul(left[i, :, :, None], right[i, :, None])
            part = parts[0] if len(parts) == 1 else np.add.reduce(parts, axis=0)
            total = part if total is None else _added(total, part)
    assert total is not None
    tiles = out.reshape(q, m // rows, rows, n // columns, columns)
    tiles.transpose(0, 1, 3, 2, 4)[...] = total
