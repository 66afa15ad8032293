"""A bytes-bounded cache of small things read from files, shared by all threads of the process."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Hashable

import numpy as np

__all__ = ["ArrayCache"]


class ArrayCache:
    """Keeps the most recently used arrays, up to ``most_bytes`` together.

    >>> cache = ArrayCache(100)
    >>> cache.put("a", np.zeros(80, "u1")); cache.put("b", np.zeros(80, "u1"))
    >>> cache.get("a") is None, cache.get("b").nbytes
    (True, 80)
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._used = 0
        self._arrays: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            # A child must not inherit a lock that another thread of its parent held, nor the
            # half-made change that the lock stood for.
            os.register_at_fork(after_in_child=self._start_anew)

    def _start_anew(self) -> None:
        self._used = 0
        self._arrays = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> np.ndarray | None:
        """The array kept under a key, or None."""
        with self._lock:
            found = self._arrays.get(key)
            if found is not None:
                self._arrays.move_to_end(key)
            return found

    def put(self, key: Hashable, array: np.ndarray) -> None:
        """Keep an array, and let go of the least recently used ones beyond the limit."""
        if array.nbytes > self._most:
            return
        with self._lock:
            old = self._arrays.pop(key, None)
            self._used += array.nbytes - (0 if old is None else old.nbytes)
            self._arrays[key] = array
            while self._used > self._most:
                self._used -= self._arrays.popitem(last=False)[1].nbytes
