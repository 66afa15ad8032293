"""The parameter block of the kernel ``windows``: that of ``chunks``, and behind it what differs.

There a chunk has one place; here any number of windows may look at it, and it may be kept decoded.
Words of ``chunk_block`` that say where things go (``PIECES``, ``TARGET``) are not used.
"""

from __future__ import annotations

from lazytensor.native.kernels.chunk_block import HEADER_WORDS

# For each unit: where its decoded values are kept (0: nowhere), and whether they are there by now.
SLOTS, READY = HEADER_WORDS, HEADER_WORDS + 1
# What windows want of units: the number of the first piece of each, and the one behind its last.
# For each piece its byte offset in the chunk, the address that it goes to, its extents.
FIRST, LAST, FROM, TO, COUNTS = range(HEADER_WORDS + 2, HEADER_WORDS + 7)
WINDOW_WORDS = HEADER_WORDS + 7
