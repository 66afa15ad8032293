"""The parameters of a consumer of windows: which word means what.

Read by the kernels that ``downsample`` makes, which is imported only to be compiled, and written by
their caller, once for all threads.
"""

from __future__ import annotations

# Address of the factors, one int64 per dim of the box.
FACTORS = 0
# Bytes of a value that is read, of one that is reduced, of one that is stored.
SOURCE_ITEM, ITEM, TARGET_ITEM = 1, 2, 3
# Maps (address, 0 for none; address of the constants): of values before they are reduced, and of
# results before they are stored.
PRE, PRE_CONSTANTS, POST, POST_CONSTANTS = 4, 5, 6, 7
# What the buffer holds, from which byte on: values as they are read, values that are reduced,
# results, results as they are stored; tables come before. How many values, and results, at most.
READ_AT, VALUES_AT, RESULTS_AT, STORED_AT = 8, 9, 10, 11
CAPACITY, RESULTS_CAPACITY = 12, 13
PARAMETER_WORDS = 14

MOST_ROWS = 64
"""Rows that the windows of a line of results may have."""
MOST_INNER = 8
"""Neighbours in a row that make one result."""

# Tables at the begin of the buffer, in words.
MOST_RANK = 32
CELLS, BLOCK, BEGIN, NOW = 0, MOST_RANK, 2 * MOST_RANK, 3 * MOST_RANK
READ_STRIDES, VALUE_STRIDES = 4 * MOST_RANK, 5 * MOST_RANK
RESULT_STRIDES, STORED_STRIDES = 6 * MOST_RANK, 7 * MOST_RANK
DIMS, ODOMETER = 8 * MOST_RANK, 11 * MOST_RANK
PLACES, OFFSETS = 12 * MOST_RANK, 13 * MOST_RANK
STRIDES = OFFSETS + MOST_ROWS
BOX_SOURCE = STRIDES + MOST_RANK
BOX_TARGET = BOX_SOURCE + 1
MAP_WORDS = BOX_TARGET + 1
TABLES_NBYTES = 4608
