"""How much memory and how many threads a run may use."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from lazytensor.config import option, parse_bytes
from lazytensor.errors import MemoryLimitError
from lazytensor.plan.cost import format_bytes

__all__ = ["memory_limit", "thread_count", "threads_within"]


def thread_count(threads: int | None = None) -> int:
    """Worker threads: the argument, the option ``threads``, else the CPUs this process may use."""
    asked = option("threads") if threads is None else threads
    if asked is not None:
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def memory_limit(limit: int | str | None = None) -> int:
    """Bytes that tasks may use together; ``"auto"``: a quarter of what the process may use."""
    asked = option("max_memory") if limit is None else limit
    return _available() // 4 if asked == "auto" else parse_bytes(asked)


@cache
def _available() -> int:
    """Physical memory, or the control group's limit if that is lower; looked up once."""
    sizes = [_physical()]
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(name).read_text().strip()
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


def threads_within(limit: int, task_bytes: int, threads: int, what: str) -> int:
    """How many tasks may run at once; ``MemoryLimitError`` if not even one."""
    if task_bytes > limit:
        raise MemoryLimitError(
            f"one task of {what} needs {format_bytes(task_bytes)}, the limit is "
            f"{format_bytes(limit)}; raise max_memory, or rechunk the input into smaller cells"
        )
    return max(1, min(threads, limit // max(1, task_bytes)))
