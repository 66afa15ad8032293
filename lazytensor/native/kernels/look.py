"""Looks at files: which of them are what they were, by inode, time of modification and size.

Words of the block: number of files, address of ``statx``, address of the table (four words a file:
address of its path, inode, nanoseconds of its last modification, bytes; the first becomes 1 if all
are as they were, else 0), address of memory for one answer of ``statx``, descriptor of the folder
that relative paths begin at.
"""

from __future__ import annotations

from lazytensor.native.intrinsics import call_i32, inner
from lazytensor.native.kernels.memory import load32, put, word

_WANTED = 0x340  # inode, size, time of modification
_INODE, _SIZE, _SECONDS = 4, 5, 14  # words of the answer
_NANOSECONDS = 120  # a byte of it


@inner
def is_same(file: int, answer: int) -> bool:
    """Whether the answer is what the table says of a file."""
    time = 1_000_000_000 * word(answer, _SECONDS) + load32(answer + _NANOSECONDS)
    same = word(answer, _INODE) == word(file, 1) and word(answer, _SIZE) == word(file, 3)
    return same and time == word(file, 2)


def kernel(p: int) -> int:
    """Look at all files; how many have changed, or are gone."""
    changed = 0
    for i in range(word(p, 0)):
        file, answer = word(p, 2) + 32 * i, word(p, 3)
        found = call_i32(word(p, 1), (word(p, 4), word(file, 0), 0, _WANTED, answer)) == 0
        good = 1 if found and is_same(file, answer) else 0
        put(file, 0, good)
        changed += 1 - good
    return changed
