"""Pairs of values of 4 bits: two bytes into one, and one into two.

Words: how many pairs, address of what is read, of what is written, and what is done: 0 packs; 1
unpacks; 2 unpacks signed values, of which bit 3 is the sign.
"""

from __future__ import annotations

from lazytensor.native.intrinsics import inner
from lazytensor.native.kernels.elements import as_u1, load_u1, load_u2, store_u1, store_u2
from lazytensor.native.kernels.memory import word


@inner
def in_a_byte(nibble: int, sign: int) -> int:
    """Four bits as eight; ``sign``: 8 if they are signed."""
    return ((nibble ^ sign) - sign) & 255


def kernel(p: int) -> int:
    """Pack or unpack so many pairs."""
    n, at, to, what = word(p, 0), word(p, 1), word(p, 2), word(p, 3)
    if what == 0:
        for i in range(n):
            pair = load_u2(at, i)
            store_u1(to, i, as_u1((pair & 15) | ((pair >> 4) & 240)))
        return 0
    sign = 8 if what == 2 else 0
    for i in range(n):
        pair = load_u1(at, i)
        store_u2(to, i, in_a_byte(pair & 15, sign) | (in_a_byte(pair >> 4, sign) << 8))
    return 0
