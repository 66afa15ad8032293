"""The bounded cache of arrays."""

from __future__ import annotations

import numpy as np

from lazytensor.io.cache import ArrayCache


def test_the_least_recently_used_goes_first() -> None:
    cache = ArrayCache(100)
    for name in "ab":
        cache.put(name, np.full(40, ord(name), "u1"))
    found = cache.get("a")
    assert found is not None and found[0] == ord("a")
    cache.put("c", np.zeros(40, "u1"))
    assert cache.get("b") is None and cache.get("a") is not None and cache.get("c") is not None


def test_what_is_too_large_is_not_kept_and_replacing_does_not_add_up() -> None:
    cache = ArrayCache(100)
    cache.put("large", np.zeros(101, "u1"))
    assert cache.get("large") is None
    for _ in range(5):
        cache.put("a", np.zeros(60, "u1"))
    cache.put("b", np.zeros(40, "u1"))
    assert cache.get("a") is not None and cache.get("b") is not None


def test_a_forked_child_starts_with_an_empty_cache() -> None:
    cache = ArrayCache(100)
    cache.put("a", np.zeros(60, "u1"))
    cache._lock.acquire()
    cache._start_anew()
    assert cache.get("a") is None
