"""What a fold knows beside its piece, and where it keeps things: words and places by name.

A *fold* is a consumer (``consumer_block``) that adds values up. Its target is an array of cells of
8 bytes, one for each position that is kept; a fold with several totals has as many such arrays,
*planes*, one after the other.
"""

from __future__ import annotations

# The words of its own: bytes from a plane to the next; bytes of a value as the piece has them; a
# compiled map that makes of them what is folded (0: nothing is made), and its constants.
PLANE, RAW_ITEM, PRE, PRE_CONSTANTS = range(4)
# Of a fold into lanes moreover: address of a word for each dim, 0 or the address of where in the
# target each position along it is summed, in bytes; and the first dim whose positions are lanes.
SLOTS, FIRST_LANE = 4, 5
FOLD_WORDS = 6

RUN = 4096
"""Values that are folded at once, if one position takes them all."""

WIDTH = 2048
"""Positions side by side that are folded at once."""

ROWS = 128
"""Values that one of such positions takes before they go to its cell."""

# Places in the buffer: tables of dims, of lanes and of what is summed into lanes; the words
# of the map; results of a run; values of the piece side by side; what the map makes of them;
# totals of positions side by side.
DIMS, LANE_DIMS, LEADS, MAP_WORDS, FOUND, RAW = 0, 1024, 2048, 4096, 4352, 5120
MAPPED = RAW + 16 * RUN
COLUMNS = MAPPED + 8 * RUN

# The words of a consumer that hands its pieces to others: how many they are, and for each where it
# begins, the address of its own words, of its first result, and of its strides.
EACH_COUNT = 0
EACH_FUNCTION, EACH_PARAMETERS, EACH_TARGET, EACH_STRIDES = range(4)
EACH_WORDS = 4
