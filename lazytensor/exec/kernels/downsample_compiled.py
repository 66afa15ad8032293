"""Compiled downsampling: windows are reduced where a read put them into the cache.

The compiled function (``native.kernels.downsample``) is made per method, dtype and size of a
window; shapes and strides come with each piece. It is a consumer, so that a source hands it every
chunk as it is decoded; ``downsample_into`` hands it whole blocks. What it gives is what the plain
code in ``downsample_mean`` and ``downsample_order`` gives, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lazytensor.exec.kernels.choice import compiled
from lazytensor.exec.kernels.consumer import CompiledConsumer
from lazytensor.exec.kernels.downsample_text import text_of
from lazytensor.native.addresses import address_of_words
from lazytensor.native.kernels import downsample_block as words
from lazytensor.plan.downsampling import number_kind

if TYPE_CHECKING:
    from lazytensor.exec.kernels.maps import CompiledMap

__all__ = ["can_take", "downsample_consumer", "saved_seconds", "takes_cut"]

_CAPACITY = 16384
"""Values that are turned or copied at a time, where that is needed."""
_RESULTS_CAPACITY = 32768
"""Results that are kept at a time, where they are not stored as they are made: those of a chunk of
64 x 64 x 64, as a rule, so that what is turned on its side is turned as a whole."""


def takes_cut(method: str, dtype: np.dtype) -> bool:
    """Whether a consumer may be given windows of which one value along a dim is left.

    It takes that value for all that the window would have, which changes nothing but a sum that is
    rounded.

    >>> takes_cut("mean", np.dtype("u2")), takes_cut("mean", np.dtype("f4"))
    (True, False)
    """
    return method != "mean" or number_kind(dtype) in "biu"


def can_take(
    lo: Sequence[int], shape: Sequence[int], factors: Sequence[int],
    out_lo: Sequence[int], cells: Sequence[int], *, cut: bool = False,
) -> bool:  # fmt: skip
    """Whether base values over ``[lo, lo + shape)`` are just what a consumer takes for the results
    over ``[out_lo, out_lo + cells)``: their complete windows, and as the last ones along a dim such
    with one value left, if ``cut`` (see ``takes_cut``).

    >>> can_take((4, 0), (6, 9), (2, 3), (2, 0), (3, 3)), can_take((1,), (4,), (2,), (0,), (3,))
    (True, False)
    >>> can_take((4,), (5,), (2,), (2,), (3,), cut=True)
    True
    """
    if len(factors) > words.MOST_RANK:
        return False
    for start, size, factor, first, count in zip(lo, shape, factors, out_lo, cells, strict=True):
        missing = count * factor - size
        if start != first * factor or (missing and not (cut and missing == factor - 1)):
            return False
    return True


def downsample_consumer(
    method: str,
    dtype: np.dtype,
    factors: Sequence[int],
    target: np.ndarray,
    *,
    pre: CompiledMap | None = None,
    source: np.dtype | None = None,
    post: CompiledMap | None = None,
    saves: float,
    streamed: bool = False,
) -> CompiledConsumer | None:
    """What reduces the windows of the pieces it is given, or None if no compiled code is there.

    Sums of floats are made in the C order of the dims of the box: where those of the plan lie in
    another order, or run backwards, the mean of floats must not come here.

    Parameters
    ----------
    method
        ``mean``, ``median``, ``mode``, ``min`` or ``max``.
    dtype
        Of the values that are reduced: what is read, or what ``pre`` makes of it.
    factors
        Window extent per dim of the box that is read. See ``can_take`` for the boxes.
    target
        The results, its dims in the order of the box; any strides. Of ``dtype``, or what ``post``
        makes of it.
    pre, source
        A map of the values before they are reduced, and the dtype of what it is given.
    post
        A map of the results before they are stored.
    saves
        Seconds that the compiled code would save this time (``saved_seconds``).
    streamed
        Whether results may be written around the caches.
    """
    text = text_of(method, dtype, factors)
    if text is None or target.ndim > words.MOST_RANK:
        return None
    run = compiled("downsample", text, saves)
    if run is None:
        return None
    table = np.array(factors, np.int64)
    read = dtype if source is None else source
    sizes = read.itemsize, dtype.itemsize, target.dtype.itemsize
    parameters = np.zeros(words.PARAMETER_WORDS, np.int64)
    parameters[words.FACTORS] = address_of_words(table)
    parameters[words.SOURCE_ITEM : words.TARGET_ITEM + 1] = sizes
    parameters[words.PRE : words.PRE_CONSTANTS + 1] = _addresses(pre)
    parameters[words.POST : words.POST_CONSTANTS + 1] = _addresses(post)
    parameters[words.CAPACITY : words.RESULTS_CAPACITY + 1] = _CAPACITY, _RESULTS_CAPACITY
    rooms = _rooms(sizes, turned=pre is not None, stored=post is not None)
    parameters[words.READ_AT : words.STORED_AT + 1] = rooms[:-1]
    return CompiledConsumer(
        run, parameters, target, target.strides, factors=factors, buffer_nbytes=rooms[-1],
        streamed=streamed, keep=(table, pre, post),
    )  # fmt: skip


def _addresses(made: CompiledMap | None) -> tuple[int, int]:
    """Of a map and its constants; zeros for none."""
    return (0, 0) if made is None else (made.function, made.constants)


def _rooms(sizes: tuple[int, int, int], *, turned: bool, stored: bool) -> tuple[int, ...]:
    """Where the parts of the buffer begin, and where the last one ends; at multiples of 64."""
    read, reduced, made = sizes
    lengths = (
        _CAPACITY * read,
        _CAPACITY * reduced * turned,
        _RESULTS_CAPACITY * reduced,
        _RESULTS_CAPACITY * made * stored,
    )
    begins = [words.TABLES_NBYTES]
    for length in lengths:
        begins.append(begins[-1] + -(-length // 64) * 64)
    return tuple(begins)


_NANOSECONDS = {"mean": 0.6, "median": 1.0, "mode": 3.5, "min": 0.25, "max": 0.25}
"""What compiled code saves on one base value, as measured on 16-bit integers in memory."""


def saved_seconds(method: str, shape: Sequence[int]) -> float:
    """About what compiled code saves on so many base values.

    >>> saved_seconds("median", (1000, 1000))
    0.001
    """
    return _NANOSECONDS[method] * 1e-9 * math.prod(shape)
