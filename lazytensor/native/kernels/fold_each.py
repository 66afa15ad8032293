"""A consumer that hands each of its pieces to several others."""

from __future__ import annotations

from lazytensor.native.intrinsics import call_i64
from lazytensor.native.kernels.consumer_block import (
    PARAMETERS,
    POSITION,
    RANK,
    TARGET,
    TARGET_STRIDES,
)
from lazytensor.native.kernels.fold_block import (
    EACH_COUNT,
    EACH_FUNCTION,
    EACH_PARAMETERS,
    EACH_STRIDES,
    EACH_TARGET,
    EACH_WORDS,
)
from lazytensor.native.kernels.memory import put, word


def kernel(p: int) -> int:
    """Let each of them take the piece, as if there were no other."""
    mine, target, strides = word(p, PARAMETERS), word(p, TARGET), word(p, TARGET_STRIDES)
    position = word(p, POSITION)
    for i in range(word(mine, EACH_COUNT)):
        one = mine + 8 * (1 + EACH_WORDS * i)
        steps, to = word(one, EACH_STRIDES), word(one, EACH_TARGET)
        for d in range(word(p, RANK)):
            to += word(position, d) * word(steps, d)
        put(p, TARGET, to)
        put(p, TARGET_STRIDES, steps)
        put(p, PARAMETERS, word(one, EACH_PARAMETERS))
        call_i64(word(one, EACH_FUNCTION), (p,))
    put(p, PARAMETERS, mine)
    put(p, TARGET, target)
    put(p, TARGET_STRIDES, strides)
    return 0
