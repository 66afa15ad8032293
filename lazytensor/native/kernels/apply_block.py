"""Words of the consumer that applies a map: its parameters, and how its buffer is divided.

Read by the kernel ``apply``, which is imported only to be compiled, and written by its caller.
"""

from __future__ import annotations

from lazytensor.native.kernels.chunk_block import MOST_RANK

# The map kernel's address (``kernel(p)``: number of elements, address of the results, of the
# constants, of each operand) and that of its constants; bytes of a source element and of a result.
MAP, CONSTANTS, SOURCE_ITEM, RESULT_ITEM = 0, 1, 2, 3
# Elements that are mapped at a time, at most.
RUN = 4
# How many operands there are beside the source, and for each three words: the address of its
# element at the first position of the box, its item size, the address of its strides per dim of
# the box (bytes; 0 where it is broadcast).
OTHERS, FIRST_OTHER, OTHER_WORDS = 5, 6, 3

# The buffer begins with tables of words, for the target, the source and the others in this order:
# extents of dims, strides of each, strides of the copy of each, ``PLACE_WORDS`` words for each;
# then the counter of the outer dims and the words of the map. Copies of operands come after it.
EXTENTS = 0
STRIDES = MOST_RANK
# An operand's address now, the address of its copy (0: none), what was copied last and how much.
AT, COPY, COPIED, COPIED_SIZE, PLACE_WORDS = 0, 1, 2, 3, 4
LINE = 64
"""Bytes of a cache line, where every copy begins."""


def place_words(operands: int) -> int:
    """Words before the places."""
    return MOST_RANK * (1 + 2 * operands)


def table_nbytes(operands: int) -> int:
    """Bytes before the copies."""
    words = place_words(operands) + (PLACE_WORDS + 1) * operands + MOST_RANK + 2
    return -(-8 * words // LINE) * LINE
