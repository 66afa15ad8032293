"""Whether files are what they were when chunks of them were decoded.

A look at a file from Python takes some microseconds, a window of a stored array is copied in fifty,
and lies in eight files. So many files are looked at by one compiled call, where there is one.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from lazytensor.native import file_functions, kernel
from lazytensor.native.addresses import address_of_words

__all__ = ["FileState", "unchanged"]

_GAIN = 1e-6
_ANSWER_WORDS = 32


class _Path(bytes):
    """A path that knows where its bytes are; they end with a null byte."""

    address: int


class FileState(NamedTuple):
    """Inode, modification time in ns and size of a file."""

    inode: int
    mtime_ns: int
    size: int
    path: _Path

    @classmethod
    def of(cls, path: str, token: tuple[int, int, int]) -> FileState:
        """``token``: what ``LocalStore.token`` says."""
        name = _Path(os.fsencode(path) + b"\0")
        name.address = ctypes.cast(ctypes.c_char_p(name), ctypes.c_void_p).value or 0
        return cls(*token, name)


def unchanged(states: Sequence[FileState]) -> np.ndarray:
    """Which files are as they were (bool)."""
    if not states:
        return np.zeros(0, np.bool_)
    statx = _statx()
    run = kernel("look", saves=_GAIN * len(states)) if statx else None
    if run is None:
        return np.array([_is_same(state) for state in states], np.bool_)
    rows = [(state[3].address, state[0], state[1], state[2]) for state in states]
    table = np.array(rows, np.int64)
    answer = np.zeros(_ANSWER_WORDS, np.int64)
    words = np.array(
        (len(states), statx, address_of_words(table), address_of_words(answer)), np.int64
    )
    run(address_of_words(words))
    same: np.ndarray = table[:, 0] != 0
    return same


def _is_same(state: FileState) -> bool:
    try:
        found = os.stat(state.path[:-1])
    except OSError:
        return False
    return state[:3] == (found.st_ino, found.st_mtime_ns, found.st_size)


@cache
def _statx() -> int:
    """Address of ``statx``, if it says of this very file what Python says; else 0."""
    if file_functions() is None:
        return 0
    try:
        function = ctypes.CDLL(None).statx
    except AttributeError:
        return 0
    answer = (ctypes.c_int64 * _ANSWER_WORDS)()
    status = os.stat(__file__)
    if function(-100, ctypes.c_char_p(os.fsencode(__file__)), 0, 0x340, ctypes.byref(answer)):
        return 0
    nanoseconds = answer[14] * 1_000_000_000 + (answer[15] & 0xFFFFFFFF)
    found = (answer[4], nanoseconds, answer[5])
    good = found == (status.st_ino, status.st_mtime_ns, status.st_size)
    return (ctypes.cast(function, ctypes.c_void_p).value or 0) if good else 0
