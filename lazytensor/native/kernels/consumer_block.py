"""The block that a consumer is given: which word of it means what.

A *consumer* is a compiled function of the address of such a block, which makes something of the
values of one piece of a read: it copies them, computes with them, adds them up. Whoever decodes a
chunk calls it while the values are in the cache, so nothing goes through memory twice; engines call
it for arrays that are in memory already. There is one form for all of them (fused expressions,
windows, partial reductions), so any source serves any consumer.

A piece is a box of values with any strides, none where one value stands for all (a chunk that is
not stored). Strides are in bytes, extents and positions in elements; all of them are int64.
"""

from __future__ import annotations

# The piece: address of its first value, of its extents, of its strides (0: one value everywhere).
SOURCE, COUNTS, SOURCE_STRIDES = 0, 1, 2
# Where the result of the first value goes, and the strides of results: bytes from a result to the
# next along each dim of the box that is read; 0 along dims that are reduced. A result of windows
# belongs to as many values as its factor says.
TARGET, TARGET_STRIDES = 3, 4
RANK = 5
# Whether results may be written around the caches.
STREAMED = 6
# Address of the position of the first value in the box that is read.
POSITION = 7
# Memory of the calling thread: ``chunk_block.WORK_WORDS`` words for counting, and as many bytes as
# the consumer asked for, at a multiple of 64.
WORK, BUFFER = 8, 9
# Address of the consumer's own words, which it only reads: threads share them.
PARAMETERS = 10
BLOCK_WORDS = 11
