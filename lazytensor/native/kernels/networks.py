"""Sorting networks: fixed lists of compare-and-exchange steps, the same whatever the values.

Whole vectors of windows go through one step at a time, in NumPy as in compiled code, which is why
both take the list from here.
"""

from __future__ import annotations

__all__ = ["odd_even_merge_sort"]


def odd_even_merge_sort(size: int) -> list[tuple[int, int]]:
    """Comparators in order (Knuth, The Art of Computer Programming 3, algorithm 5.2.2M).

    Each is ``(low, high)``: the smaller value of the two places goes to ``low``. The network of the
    next power of two sorts any smaller number when the steps beyond are left out: missing places
    count as largest, and a step moves the larger value up only.

    >>> from lazytensor.native.kernels.networks import odd_even_merge_sort
    >>> odd_even_merge_sort(3)
    [(0, 2), (0, 1), (1, 2)]
    """
    comparators = []
    top = 1 << max(size - 1, 1).bit_length() - 1
    merged = top
    while merged > 0:
        stride, offset, distance = top, 0, merged
        while True:
            comparators += [
                (low, low + distance) for low in range(size - distance) if low & merged == offset
            ]
            if stride == merged:
                break
            distance = stride - merged
            stride >>= 1
            offset = merged
        merged >>= 1
    return comparators
