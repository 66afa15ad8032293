"""The parameter blocks of the kernels that gather: which 64-bit word holds what.

Read by the kernels ``gather`` and ``gather_sort``, which are imported only to be compiled, and
written by their caller.
"""

from __future__ import annotations

# ``gather``, a consumer of cells: how many parts, bytes of an element, address of the result, and
# for each part, outermost first, ``PART_WORDS`` words.
PARTS, ITEM, RESULT, HEADER = 0, 1, 2, 3
# A part: the dim whose position tells the group, and addresses of tables: for each group the number
# of its first entry (and of the end), for each entry its byte offset in the cell's part that is
# read and in the result, and how many bytes it has (0: every entry is one element).
DIM, FIRST, FROM, TO, NBYTES = range(5)
PART_WORDS = 5
PLACE_BITS = 32
"""What is told as the position of a cell is the number of its group, so many bits up."""

# ``gather_sort``: how many points and dims; addresses of memory for a number per point, of the
# first point of each cell (one more than there are cells), of the two tables to fill, of places of
# points in the result (0: they lie ``STEP`` bytes apart); addresses of the corners of what is
# wanted of each cell (first and last position along each dim; words), and of its byte offset;
# how many cells there are; memory for another number per point.
POINTS, DIMS, CODES, STARTS, OFFSETS, PLACES, GIVEN, STEP, HULLS, CORNERS, CELLS, FAR = range(12)
# Then for each dim: address of index values, what they are multiplied with and what is added to
# make a position; extent of a cell (and its logarithm, or -1), number of the first cell, what a
# cell adds to the number of the group, and bytes from one element of a cell to the next.
SORT_HEADER = 12
VALUES, FACTOR, SHIFTED, SIZE, LOG, LOWEST, WEIGHT, STRIDE = range(8)
SORT_WORDS = 8
