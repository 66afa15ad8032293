"""How much memory this library may use: engines keep their tasks to it, drivers what they keep."""

from __future__ import annotations

import os
from functools import cache

from lazytensor.config import option, parse_bytes

__all__ = ["available_memory", "memory_limit"]


def memory_limit(limit: int | str | None = None) -> int:
    """Bytes that tasks may use together; ``"auto"``: a quarter of what the process may use.

    >>> memory_limit("1KiB")
    1024
    """
    asked = option("max_memory") if limit is None else limit
    return available_memory() // 4 if asked == "auto" else parse_bytes(asked)


@cache
def available_memory() -> int:
    """Physical memory, or the control group's limit if that is lower; looked up once."""
    sizes = [_physical()]
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(name) as file:
                text = file.read().strip()
        except OSError:
            continue
        if text.isdigit():
            sizes.append(int(text))
    return min(sizes)


def _physical() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 << 30
