"""The parameter block of the chunk kernel: which 64-bit word holds what.

Read by the kernel ``chunks``, which is imported only to be compiled, and written by its caller.
"""

from __future__ import annotations

# What to decode: for each unit its number in the grid of pieces, where its bytes are and how many
# (negative: there are none, it is the fill value). ``STATUS`` receives what became of each unit.
NUMBERS, ADDRESSES, SIZES, STATUS = 1, 2, 3, 4
# Where it goes. ``PIECES``: per dim how many pieces there are and the address of their entries, of
# ``PIECE_WORDS`` words (byte offset in the chunk, extent, byte offset in the destination, position
# in the box).
RANK, PIECES, TARGET, TARGET_STRIDES, STREAMED = 5, 6, 7, 8, 9
# A decoded chunk. ``CHUNK_STRIDES``: bytes between the elements that are wanted.
CHUNK_SHAPE, CHUNK_STRIDES, CHUNK_NBYTES, ITEM, FILL = 10, 11, 12, 13, 14
# How it is decoded. ``DIRECT``: a whole chunk may be decoded straight into its place.
# ``DECODE``, ``DECODE_LZ4``, ``DECODE_ZSTD``: addresses of decoders (0: not there).
KIND, DECODE, DECODE_LZ4, DECODE_ZSTD, FRAME_SIZE, SHUFFLED, SWAPPED, AS_BOOL, DIRECT = range(
    15, 24
)
# Memory for one decoded chunk, for one more, for a row of them (and its size); small memory; the
# decompression context of Zstandard.
STAGE_A, STAGE_B, ROW, ROW_NBYTES, WORK, CONTEXT = 24, 25, 26, 27, 28, 29
# Where the bytes are. In memory: ``ADDRESSES`` are that. In files of their own: ``ADDRESSES`` are
# those of paths, and ``SIZES`` receives how much was read. In a range of a file: ``FILES`` are
# descriptors, ``ADDRESSES`` offsets; what lies from ``LOS`` to ``HIS`` is read at once.
ORIGIN, FILES, LOS, HIS = 30, 31, 32, 33
IN_MEMORY, IN_FILES, IN_RANGES = 0, 1, 2
# Memory for encoded bytes, and its size; functions of the C library; flags for ``open``.
ENCODED, ENCODED_NBYTES, OPEN, PREAD, SEEK, CLOSE, ERRNO, OPEN_FLAGS = range(34, 42)
# The range that was read last: its descriptor and where it begins.
HELD_FILE, HELD_LO = 42, 43
# Receives how many bytes of each file were read.
READ = 44
# Units are taken in parts, by whichever thread comes first: ``NEXT`` is the address of the number
# of the next part, ``BOUNDS`` that of the numbers of the first units of all ``PARTS``, and of the
# last one's end.
NEXT, PARTS, BOUNDS = 45, 46, 47
# For a profile: the address of a clock (0: nobody measures), memory for what it says, and the
# nanoseconds spent reading files.
CLOCK, CLOCK_SAYS, CLOCK_SAYS_TOO, READ_NS = 48, 49, 50, 51
# Values that are not put in place but handed over: the address of a consumer and of its block
# (``consumer_block``; 0: nobody), and the nanoseconds that it took.
CONSUMER, CONSUMER_BLOCK, CONSUMER_NS = 52, 53, 54
# Pieces of fewer elements than this along the last dim are put together before they leave; 0: none.
SHORT = 55
# In a range of a file: whether of each unit only what is wanted is read, by itself, as it is of
# plain units in files of their own. What is wanted is read plane by plane (along the outermost dim
# of the chunk) if there are ``APART`` bytes or more between one plane's and the next one's (0:
# never).
ALONE, APART = 56, 57
HEADER_WORDS = 58

PIECE_WORDS = 4

DONE, LEFT_ALONE, NOT_THERE = 0, 1, 2
"""What became of a unit."""


RAW, BLOSC, LZ4, ZSTD = 0, 1, 2, 3

MOST_RANK = 32
# Working memory, in words: counts of the unit; dims (count, source stride, target stride);
# odometer; strides of a row of chunks; position of the unit.
WORK_COUNTS, WORK_DIMS, WORK_ODOMETER = 0, MOST_RANK, 4 * MOST_RANK
WORK_STRIDES, WORK_POSITION = 5 * MOST_RANK, 6 * MOST_RANK
WORK_WORDS = 7 * MOST_RANK
