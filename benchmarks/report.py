"""Results as tables: aligned text to look at, Markdown to keep.

Every peer's number stands beside its ratio to ours (above 1: we are faster), and ours beside its
ratio to the floor, so that a row can be judged without another machine to compare with.
"""

from __future__ import annotations

import datetime as dt
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from workloads import OURS

__all__ = [
    "FAILED", "WRONG", "Outcome", "beside", "environment", "facts_text", "failures", "missing",
    "publish", "rounded", "small_table", "spread", "table", "titles",
]  # fmt: skip

FAILED = "failed"
WRONG = "WRONG"

_PACKAGES = ("numpy", "numba", "numcodecs", "isal", "tensorstore", "zarr", "zarrs", "dask")


@dataclass
class Outcome:
    """What one row gave: seconds a contender, and why others gave none."""

    label: str
    output: str = ""
    seconds: dict[str, list[float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def middle(self, name: str) -> float | None:
        """Median seconds of a contender, ``None`` if it did not run."""
        taken = self.seconds.get(name)
        return statistics.median(taken) if taken else None


def small_table(outcomes: Sequence[Outcome], names: Sequence[str]) -> list[list[str]]:
    """Rows of microseconds."""
    peers = [name for name in names if any(name in o.seconds for o in outcomes) and name != OURS]
    lines = [["operation", f"{OURS} µs", *titles(peers, "µs")]]
    for outcome in outcomes:
        ours = outcome.middle(OURS)
        shown = rounded(ours * 1e6) if ours else missing(outcome, OURS)
        lines.append([outcome.label, shown, *(beside(outcome, p, ours, 1e6) for p in peers)])
    return lines


def titles(peers: Sequence[str], unit: str) -> list[str]:
    """Heads of the columns that ``beside`` fills."""
    return [f"{name} {unit} (ratio)" for name in peers]


def beside(outcome: Outcome, name: str, ours: float | None, scale: float) -> str:
    """A peer's time and its ratio to ours."""
    seconds = outcome.middle(name)
    if seconds is None:
        return missing(outcome, name)
    ratio = f" ({seconds / ours:.2f}×)" if ours else ""
    return rounded(seconds * scale) + ratio


def missing(outcome: Outcome, name: str) -> str:
    """What stands where a time would be: a failure, or a dash for what a library has not."""
    return outcome.failed.get(name, "–")


def rounded(value: float) -> str:
    """Three digits, never in powers of ten."""
    digits = 0 if value >= 99.5 else 1 if value >= 9.95 else 2
    return f"{value:.{digits}f}"


def table(lines: Sequence[Sequence[str]], *, markdown: bool) -> str:
    """Lines, the first one the heads, as text columns or as a Markdown table."""
    if markdown:
        rule = ["---"] + ["---:" for _ in lines[0][1:]]
        return "\n".join("| " + " | ".join(line) + " |" for line in (lines[0], rule, *lines[1:]))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def environment(*more: str) -> dict[str, str]:
    """What a reader must know of the machine and the packages, some ``more`` among them."""
    versions = ", ".join(f"{name} {_version(name)}" for name in (*_PACKAGES, *more))
    return {
        "date": dt.date.today().isoformat(),
        "machine": f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {_memory()}",
        "system": f"{platform.system()} {platform.release()}, huge pages: {_huge_pages()}",
        "versions": f"Python {platform.python_version()}, {versions}",
        "load": ", ".join(f"{load:.1f}" for load in os.getloadavg()) + " (1, 5, 15 minutes)",
    }


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    return _value_of(Path("/proc/cpuinfo"), "model name") or platform.machine()


def _memory() -> str:
    total = _value_of(Path("/proc/meminfo"), "MemTotal")
    return f"{int(total.split()[0]) / 2**20:.0f} GiB" if total else "unknown memory"


def _value_of(path: Path, key: str) -> str:
    """Value of the first ``key : value`` line of a file, "" if there is none."""
    if not path.exists():
        return ""
    pairs = (line.partition(":") for line in path.read_text(encoding="utf-8").splitlines())
    return next((value.strip() for name, _, value in pairs if name.strip() == key), "")


def _huge_pages() -> str:
    path = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not path.exists():
        return "unknown"
    return path.read_text(encoding="utf-8").partition("[")[2].partition("]")[0]


def facts_text(facts: Mapping[str, str], *, markdown: bool) -> str:
    """Facts as lines, in Markdown as a list."""
    return "\n".join(f"{'- ' if markdown else ''}{key}: {value}" for key, value in facts.items())


def publish(sections: Mapping[str, str], page: Path) -> None:
    """Put each section between its two marks in a page; ``KeyError`` if the page has no such mark.

    The marks of ``x`` are ``<!-- begin x -->`` and ``<!-- end x -->``.
    """
    text = page.read_text(encoding="utf-8")
    for name, section in sections.items():
        head, begin, rest = text.partition(f"<!-- begin {name} -->\n")
        _, end, tail = rest.partition(f"<!-- end {name} -->")
        if not (begin and end):
            raise KeyError(f"{page.name} has no place for {name}")
        text = f"{head}{begin}\n{section}\n\n{end}{tail}"
    page.write_text(text, encoding="utf-8")


def spread(outcomes: Sequence[Outcome]) -> str:
    """How noisy the run was: how far apart the fastest and the slowest round of a row lie."""
    factors = [
        max(taken) / min(taken) for outcome in outcomes for taken in outcome.seconds.values()
    ]
    if not factors:
        return "nothing was timed"
    return f"the slowest took {statistics.median(factors):.2f} times the fastest (median of rows)"


def failures(outcomes: Sequence[Outcome]) -> Mapping[str, str]:
    """Rows in which a contender failed or answered wrongly, by ``"row, contender"``."""
    return {
        f"{outcome.label} {outcome.output}, {name}": why
        for outcome in outcomes
        for name, why in outcome.failed.items()
        if why in (FAILED, WRONG)
    }
