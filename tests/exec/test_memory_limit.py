"""``max_memory`` holds, whatever the input's size: resident memory is measured, not foretold."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

import lazytensor as lt

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")

LIMIT = 256 << 20
SLACK = 44 << 20
"""What the interpreter and the allocator take on the way."""

PLANS = {
    "sum": "lt.sum(x)",
    "mean": "lt.mean(x)",
    "std": "lt.std(x)",
    "std of a chain": "lt.std(x.astype('f4') * 2 + 1)",
    "several": "lt.collect_all([lt.mean(x), lt.std(x), lt.max(x)])",
    "along an axis": "lt.mean(x, axis=0)",
    "histogram": "lt.histogram(x, 65536, (0, 65536))[0]",
    "downsampled": "lt.sum(lt.downsample(x, (2, 2, 2), 'mean'))",
    "median of windows": "lt.max(lt.downsample(x, (2, 2, 2), 'median'))",
    "quantile": "lt.quantile(x, 0.25)",
}

# A little of the plan first, so that everything it needs is imported before it is measured.
CHILD = """
import sys
from pathlib import Path
import lazytensor as lt

def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(key + ":"))

def read(domain, out):
    out[...] = 3

text, slabs, limit, threads = sys.argv[1], *map(int, sys.argv[2:])
engine = lt.LocalEngine(max_memory=limit, threads=threads)

def go(slabs):
    shape = (4 * slabs, 1024, 1024)
    x = lt.virtual_chunked(read, shape=shape, dtype="u2", chunks=(4, 1024, 1024))
    with lt.Config(engine=engine):
        plan = eval(text, {"lt": lt, "x": x})
        return plan if isinstance(plan, (list, tuple)) else plan.collect()

go(3)
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
go(slabs)
print(status("VmHWM") - before)
"""


def risen(plan: str, slabs: int = 80, *, limit: int = LIMIT, threads: int = 2) -> int:
    """Bytes that memory rises while a plan over so many slabs of 8 MiB is computed.

    In a process of its own.
    """
    command = [sys.executable, "-c", CHILD, plan, *map(str, (slabs, limit, threads))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


@pytest.mark.parametrize("name", PLANS)
def test_a_reduction_stays_within_it(name: str) -> None:
    assert risen(PLANS[name]) <= LIMIT + SLACK


@pytest.mark.parametrize("name", ["sum", "std", "histogram", "downsampled"])
def test_a_reduction_of_20_gigabytes_stays_within_it(name: str) -> None:
    assert risen(PLANS[name], 20 << 7) <= LIMIT + SLACK


def test_many_threads_share_it() -> None:
    limit = 64 << 20
    assert risen(PLANS["std of a chain"], limit=limit, threads=16) <= limit + SLACK


def test_what_is_kept_for_coming_results_is_bounded_by_it() -> None:
    """Results that come and go, each of another size."""
    plan = "[(x[:40 + i] + 1).collect() is None for i in range(0, 20, 2)] + [lt.sum(x).collect()]"
    # The largest result, and the one before it, which is free and too small.
    results = 2 * (58 * 1024 * 1024 * 2)
    assert risen(plan, limit=64 << 20) <= (64 << 20) + results + SLACK


@pytest.mark.parametrize(
    "plan", [lambda x: lt.sum(x + 1), lambda x: lt.quantile(x, 0.5), lambda x: x - lt.mean(x)]
)
def test_a_task_that_is_too_large_is_refused_before_the_first_byte(
    plan: Callable[[lt.LazyTensor], lt.LazyTensor],
) -> None:
    reads: list[object] = []
    x = lt.virtual_chunked(
        lambda domain, out: reads.append(domain),
        shape=(16, 1024, 1024),
        dtype="u2",
        chunks=(16, 1024, 1024),
    )
    engine = lt.LocalEngine(max_memory="16MiB")
    with lt.Config(engine=engine), pytest.raises(lt.MemoryLimitError, match="16 MiB"):
        plan(x).collect()
    assert reads == []
