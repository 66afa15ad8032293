"""Times reading over HTTP with latency: ``python benchmarks/remote.py --help``.

256 objects of 16 KiB, 256 ranges of 16 KiB out of one object of 16 MiB with 48 KiB between them,
and all of that object, which is a shard. The server (``latency.py``) and every client have a
process of their own and share the machine; clients are asked in turn.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from data import digest
from remote_peers import CLIENTS, OBJECTS, RANGES
from report import (
    FAILED,
    WRONG,
    Outcome,
    beside,
    failures,
    missing,
    publish,
    rounded,
    table,
    titles,
)
from serving import Process
from workloads import OURS

__all__ = ["main"]

_HERE = Path(__file__).parent
_SLOW = 1.0
"""Seconds; who takes longer is asked once a row."""


@dataclass(frozen=True)
class _Row:
    """Which array, which rows of it, whether it was read before, and the goal in milliseconds."""

    label: str
    array: str
    step: int = 1
    again: bool = False
    goal: float | None = None


_ROWS = (
    _Row("256 objects of 16 KiB", OBJECTS, goal=80),
    _Row("256 ranges of one object, first read", RANGES, step=4),
    _Row("256 ranges of one object, read before", RANGES, step=4, again=True, goal=30),
    _Row("a shard of 16 MiB, first read", RANGES),
    _Row("a shard of 16 MiB, read before", RANGES, again=True),
)


def main() -> int:
    """Do what the command line asks for; 1 if a client failed or was wrong."""
    arguments = _arguments()
    folder = arguments.data / "remote"
    expected = _make_data(folder)
    with _server(folder, arguments.latency / 1e3) as address:
        outcomes = list(_time(address, expected, arguments.contenders, arguments.repeat))
    lines = _lines(outcomes, arguments.contenders)
    print(table(lines, markdown=arguments.markdown))
    if arguments.readme:
        publish({"remote": table(lines, markdown=True)}, _HERE / "README.md")
    return 1 if failures(outcomes) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--latency", type=float, default=20, help="milliseconds (default 20)")
    parser.add_argument("--repeat", type=int, default=7, help="rounds (default 7)")
    parser.add_argument("--contenders", nargs="*", default=list(CLIENTS), choices=CLIENTS)
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    parser.add_argument("--readme", action="store_true", help="put the table into README.md")
    parser.add_argument("--data", type=Path, default=_HERE / ".data", help="where stores are kept")
    return parser.parse_args()


def _make_data(folder: Path) -> dict[str, str]:
    """Write the two arrays if they are not there; the digest of what each row must return."""
    import zarr

    # Stored raw: how long decoding takes is what the other tables are about.
    rng = np.random.Generator(np.random.Philox(key=1))
    shapes: dict[str, dict[str, Any]] = {
        OBJECTS: {"shape": (1024, 2048), "chunks": (64, 128)},
        RANGES: {"shape": (1024, 8192), "chunks": (1, 8192), "shards": (1024, 8192)},
    }
    values = {}
    for name, keywords in shapes.items():
        values[name] = rng.integers(0, 1 << 16, keywords["shape"], np.uint16)
        if not (folder / name / "c").exists():
            array = zarr.create_array(
                str(folder / name), dtype="uint16", compressors=None, filters=None, **keywords
            )
            array[...] = values[name]
    return {row.label: digest(values[row.array][:: row.step]) for row in _ROWS}


@contextmanager
def _server(folder: Path, latency: float) -> Iterator[str]:
    """The address of a server of a folder, in a process of its own."""
    command = [sys.executable, str(_HERE / "latency.py"), str(folder), str(latency)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()


def _time(
    address: str, expected: dict[str, str], names: Sequence[str], repeat: int
) -> Iterator[Outcome]:
    processes = [Process(name, script="remote_peers.py") for name in names]
    fresh = itertools.count()
    try:
        for row in _ROWS:
            outcome = Outcome(row.label)
            running = list(processes)
            # The first round opens connections; it counts only for those who sit out after it.
            for _ in range(repeat + 1):
                for process in running:
                    url = f"{address}/{next(fresh)}/{row.array}"
                    answer = process.ask("measure", url=url, step=row.step, again=row.again)
                    _note(outcome, process.name, answer, expected[row.label])
                running = [process for process in running if not _sits_out(process, outcome)]
            for name, taken in outcome.seconds.items():
                outcome.seconds[name] = taken[1:] or taken
            yield outcome
    finally:
        for process in processes:
            process.close()


def _note(outcome: Outcome, name: str, answer: dict[str, Any], expected: str) -> None:
    if "error" in answer:
        outcome.failed[name] = FAILED
        print(f"  {name}: {answer['error']}", file=sys.stderr)
    elif answer["digest"] != expected:
        outcome.failed[name] = WRONG
    else:
        outcome.seconds.setdefault(name, []).append(answer["seconds"])


def _sits_out(process: Process, outcome: Outcome) -> bool:
    middle = outcome.middle(process.name)
    return process.name in outcome.failed or (middle is not None and middle > _SLOW)


def _lines(outcomes: Sequence[Outcome], names: Sequence[str]) -> list[list[str]]:
    peers = [name for name in names if name != OURS]
    lines = [["workload", "goal ms", f"{OURS} ms", *titles(peers, "ms")]]
    for row, outcome in zip(_ROWS, outcomes, strict=True):
        ours = outcome.middle(OURS)
        mark = " ✗" if row.goal and ours and ours * 1e3 > row.goal else ""
        lines.append(
            [
                row.label,
                f"{row.goal:.0f}" if row.goal else "–",
                (rounded(ours * 1e3) if ours else missing(outcome, OURS)) + mark,
                *(beside(outcome, name, ours, 1e3) for name in peers),
            ]
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
