"""The parameter block of the paste kernel: which 64-bit word holds what.

Read by the kernel ``paste``, which is imported only to be compiled, and written by its caller, in
this order.
"""

from __future__ import annotations

from lazytensor.native.kernels.chunk_block import MOST_RANK, WORK_WORDS

# The layers, lowest first: address of their rows, and how many there are. A row has the first
# coordinate along each dim, the one behind the last, the address of the first element, and the
# bytes from an element to the next along each dim: ``3 * rank + 1`` words.
ROWS, COUNT, RANK = 0, 1, 2
# Which rows to look at: address of their numbers, ascending (0: all of them).
NUMBERS = 3
ITEM = 4
# The box: address of first coordinate and the one behind the last, in turn for each dim.
BOX = 5
# Where its first element goes, and the address of the strides, in bytes.
TARGET, TARGET_STRIDES = 6, 7
# Address of the value where no layer is; 0 if there is one everywhere.
FILL = 8
# Memory: two numbers for each row that is looked at; ``PASTE_WORDS`` words.
HITS, WORK = 9, 10
# Whether the result is so large that what is written once may go around the caches.
STREAMED = 11
BLOCK_WORDS = 12

# Working memory behind that of copying: the block, its extents, its number along each dim.
WORK_BLOCK = WORK_WORDS
WORK_EXTENTS = WORK_WORDS + 2 * MOST_RANK
WORK_PLACES = WORK_WORDS + 3 * MOST_RANK
PASTE_WORDS = WORK_WORDS + 4 * MOST_RANK
