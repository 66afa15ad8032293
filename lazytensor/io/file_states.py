"""Whether files are what they were when chunks of them were decoded.

A look at a file from Python takes some microseconds, a window of a stored array is copied in fifty,
and lies in eight files. So many files are looked at by one compiled call, where there is one, and
from the folder of their array on: the way to that is as long as all the rest.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

import numpy as np

from lazytensor.native import file_functions, kernel
from lazytensor.native.addresses import address_of_words

__all__ = ["FileState", "unchanged"]

_GAIN = 1e-6
_ANSWER_WORDS = 32
_ALL_BITS = (1 << 64) - 1
_HERE = -100
"""Where paths begin, for the system: the working folder."""

_ROW = struct.Struct("=QQqq")
"""Address of the path and inode, of which either may have its highest bit set; time and size."""
_PATH_ONLY = getattr(os, "O_PATH", None)
_FEW = 4
"""Files that are looked at sooner than a folder is opened."""


class _Path(bytes):
    """A path, which ends with a null byte, and rows for the compiled call, of all of the path and
    of what follows the ``folder``."""

    folder: str
    whole: bytes
    inside: bytes


class FileState(NamedTuple):
    """Inode, modification time in ns and size of a file."""

    inode: int
    mtime_ns: int
    size: int
    path: _Path

    @classmethod
    def of(cls, folder: str, key: str, token: tuple[int, int, int]) -> FileState:
        """``folder`` ends where ``key`` begins. ``token``: what ``LocalStore.token`` says."""
        name = _Path(os.fsencode(folder + key) + b"\0")
        address = ctypes.cast(ctypes.c_char_p(name), ctypes.c_void_p).value or 0
        name.folder = folder
        name.whole = _ROW.pack(address, *token)
        name.inside = _ROW.pack(address + len(os.fsencode(folder)), *token)
        return cls(*token, name)


def unchanged(states: Sequence[FileState]) -> np.ndarray:
    """Which files are as they were (bool)."""
    if not states:
        return np.zeros(0, np.bool_)
    statx = _statx()
    run = kernel("look", saves=_GAIN * len(states)) if statx else None
    if run is None:
        return np.array([_is_same(state) for state in states], np.bool_)
    folder = states[0].path.folder
    with _opened(folder if len(states) > _FEW else None) as descriptor:
        inside = descriptor != _HERE
        rows = bytearray().join(
            [
                path.inside if inside and path.folder == folder else path.whole
                for _, _, _, path in states
            ]
        )
        table = np.frombuffer(rows, np.int64).reshape(-1, 4)
        answer = np.zeros(_ANSWER_WORDS, np.int64)
        words = np.array(
            (len(states), statx, address_of_words(table), address_of_words(answer), descriptor),
            np.int64,
        )
        run(address_of_words(words))
    same: np.ndarray = table[:, 0] != 0
    return same


@contextmanager
def _opened(folder: str | None) -> Iterator[int]:
    """A descriptor of a folder to begin paths at; that of the working folder where none can be."""
    try:
        found = None if not folder or _PATH_ONLY is None else os.open(folder, _PATH_ONLY)
    except OSError:
        found = None
    try:
        yield _HERE if found is None else found
    finally:
        if found is not None:
            os.close(found)


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
    # All 64 bits of an inode may be set, and Python has no sign for them.
    found = (answer[4] & _ALL_BITS, nanoseconds, answer[5])
    good = found == (status.st_ino, status.st_mtime_ns, status.st_size)
    return (ctypes.cast(function, ctypes.c_void_p).value or 0) if good else 0
