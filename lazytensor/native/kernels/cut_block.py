"""The parameter block of the kernel ``cut``: which 64-bit word holds what. See ``io.windows``."""

from __future__ import annotations

# Windows, dims; addresses of the first positions of the windows (windows, dims) and of where they
# go; per dim six words each: elements, step, chunk extent, bytes in a chunk, bytes in a window, and
# what a chunk adds to the number of the unit.
WINDOWS, RANK, STARTS, TARGETS, DIMS = range(5)
DIM_WORDS = 6
COUNT, STEP, SIZE, INNER, OUTER, WEIGHT = range(DIM_WORDS)
# Working memory: 3 words per dim, and as many as there may be pieces, four times and once a dim.
WORK = 5
# What comes out: units, number of the first piece of each (and the end); of pieces the byte offset
# in the chunk, the address, the window, the extents. ``PIECES``: how many there are.
UNITS, FIRST, INSIDE, TO, WINDOW, EXTENTS, PIECES = range(6, 13)
CUT_WORDS = 13
