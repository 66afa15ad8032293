"""From the start of a process to its first result: whole processes, interleaved."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from report import rounded

__all__ = ["start_table"]

_OURS = """
import lazytensor as lt
x = lt.scan_zarr({path!r})
r = {what}.collect()
"""
_STORE = """
import tensorstore as ts
store = {{"driver": "file", "path": {path!r} + "/"}}
x = ts.open({{"driver": "zarr3", "kvstore": store}}, read=True).result()
r = {what}.read().result()
"""
_NOTHING = "import numpy"
_CASES = (
    ("one chunk of 64³", "x[:64, :64, :64]", 0.25),
    ("all", "x", 0.35),
)


def start_table(home: Path, repeat: int) -> list[list[str]]:
    """Milliseconds, medians; goals: seconds of ours, and at most 1.3 times tensorstore."""
    lines = [
        [
            "process, blosc-lz4",
            "lazytensor ms",
            "tensorstore ms",
            "ratio",
            "import numpy ms",
            "goal ms",
        ]
    ]
    path = str(home / "lz4")
    for label, what, goal in _CASES:
        scripts = [text.format(path=path, what=what) for text in (_OURS, _STORE, _NOTHING)]
        taken: list[list[float]] = [[] for _ in scripts]
        for script in scripts:
            _seconds(script)
        for _ in range(repeat):
            for times, script in zip(taken, scripts, strict=True):
                times.append(_seconds(script))
        ours, theirs, numpy = (statistics.median(times) for times in taken)
        lines.append(
            [
                label,
                rounded(ours * 1e3) + (" ✗" if ours > min(goal, 1.3 * theirs) else ""),
                rounded(theirs * 1e3),
                f"{theirs / ours:.2f}",
                rounded(numpy * 1e3),
                rounded(goal * 1e3),
            ]
        )
    return lines


def _seconds(script: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parent.parent)
    return time.perf_counter() - start
