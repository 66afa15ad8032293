"""How work grows with threads and with chunks: ``python benchmarks/engine_scaling.py --help``.

With threads: rows of ``engine.py`` by one thread and by several, beside the floor by as many; what
counts is our speed-up over that of the floor. With chunks: a sum over arrays of a thousand to a
million tiny chunks, from opening to the result; what counts is that a chunk does not cost more.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data import make_data
from engine_jobs import JOBS, OURS, Job
from engine_truth import truth_of
from many_chunks import KINDS, Kind, Open, elements_of
from report import environment, facts_text, publish, rounded, table
from serving import Process

__all__ = ["main"]

_HERE = Path(__file__).parent
_SCALE = "large"
_FLOOR = "floor"
_KEYS = (
    "read-raw", "read-lz4", "read-zstd", "mean-lz4", "mean-raw", "chain-lz4", "chain-raw",
    "spread-lz4", "spread-raw",
)  # fmt: skip
_REPEAT = 9
_COUNTS = (1_000, 10_000, 100_000, 1_000_000)
_QUICK_COUNTS = (1_000, 10_000)
_MANY = 1_000_000
_FEW_ROUNDS = 3
"""Rounds with so many chunks."""

_WANTED = 0.93
"""Our speed-up over that of the floor."""

_GROWTH = 1.1
"""What a chunk may cost over what it costs where there are fewest: timing is not exact."""


class WrongError(Exception):
    """A result is not what it must be."""


def main() -> int:
    """Do what the command line asks for; 1 if a contender failed or was wrong, 2 for bad use."""
    arguments = _arguments()
    jobs = _chosen(arguments.rows)
    if not jobs:
        print(f"error: no row matches {arguments.rows}: {', '.join(_KEYS)}", file=sys.stderr)
        return 2
    repeat = 1 if arguments.quick else arguments.repeat
    home = make_data(arguments.data, _SCALE, quick=arguments.quick)
    counts = _QUICK_COUNTS if arguments.quick else _COUNTS
    try:
        scaled = _scaled(jobs, home, (1, arguments.threads), repeat)
        costs = _costs(counts, repeat, arguments.data)
    except WrongError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n\n".join(_sections(scaled, costs, arguments, markdown=arguments.markdown).values()))
    if arguments.readme:
        publish(_sections(scaled, costs, arguments, markdown=True), _HERE / "README.md")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeat", type=int, default=_REPEAT, help=f"rounds (default {_REPEAT})")
    parser.add_argument("--rows", nargs="*", default=[], help="only rows whose key contains one")
    parser.add_argument("--threads", type=int, default=2, help="beside one (default 2)")
    parser.add_argument("--quick", action="store_true", help="128³, 10⁴ chunks: does it work?")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    parser.add_argument("--readme", action="store_true", help="put the tables into README.md")
    parser.add_argument("--data", type=Path, default=_HERE / ".data", help="where stores are kept")
    return parser.parse_args()


@dataclass
class Scaled:
    """A row: seconds by contender and number of threads."""

    job: Job
    seconds: dict[tuple[str, int], list[float]] = field(default_factory=dict)

    def middle(self, name: str, threads: int) -> float:
        """Median seconds."""
        return statistics.median(self.seconds[name, threads])

    def speed_up(self, name: str, threads: int) -> float:
        """How many times as fast several threads are as one."""
        return self.middle(name, 1) / self.middle(name, threads)

    def verdict(self, threads: int) -> float:
        """Our speed-up over that of the floor."""
        return self.speed_up(OURS, threads) / self.speed_up(_FLOOR, threads)


def _chosen(patterns: Sequence[str]) -> list[Job]:
    """Jobs whose key contains one of ``patterns``; all of them if there are none."""
    jobs = {job.key: job for job in JOBS}
    return [jobs[key] for key in _KEYS if not patterns or any(part in key for part in patterns)]


def _scaled(jobs: Sequence[Job], home: Path, threads: tuple[int, int], repeat: int) -> list[Scaled]:
    processes = [Process(name, script="engine_server.py") for name in (OURS, _FLOOR)]
    try:
        return [_timed(job, processes, home, threads, repeat) for job in jobs]
    finally:
        for process in processes:
            process.close()


def _timed(
    job: Job, processes: Sequence[Process], home: Path, threads: tuple[int, int], repeat: int
) -> Scaled:
    """Into given memory where that can be: new pages are the system's work, and scale badly."""
    print(f"{job.key}, {threads[-1]} threads", file=sys.stderr, flush=True)
    n = int(home.name.rpartition("-")[2])
    wanted = truth_of(home, job.kind, n)
    request = {"kind": job.kind, "path": str(home / job.store), "n": n}
    row = Scaled(job)
    turns = [(process, count) for process in processes for count in threads]
    for process in processes:
        answer = _asked(process, "prepare", **request, given="given" in job.outputs)
        if process.name == OURS and any(answer[key] != wanted[key] for key in wanted):
            raise WrongError(f"{job.key}: {answer} instead of {wanted}")
    for number in range(-1, repeat):
        # Each round begins with another one; what the first has to make ready is not timed.
        start = number % len(turns)
        for process, count in (*turns[start:], *turns[:start]):
            _asked(process, "threads", count=count)
            seconds = _asked(process, "measure")["seconds"]
            if number >= 0:
                row.seconds.setdefault((process.name, count), []).append(seconds)
    for process in processes:
        _asked(process, "release")
    return row


def _asked(process: Process, verb: str, **keywords: object) -> dict[str, object]:
    answer = process.ask(verb, **keywords)
    if "error" in answer:
        raise WrongError(f"{process.name} cannot {verb}: {answer['error']}")
    return answer


@dataclass
class Cost:
    """Seconds of planning, and of all from opening to the result, by number of chunks."""

    kind: Kind
    planning: dict[int, list[float]] = field(default_factory=dict)
    all: dict[int, list[float]] = field(default_factory=dict)

    def each(self, count: int) -> float:
        """Seconds a chunk."""
        return statistics.median(self.all[count]) / count


def _costs(counts: Sequence[int], repeat: int, folder: Path) -> list[Cost]:
    """Processor time, so that neighbours matter less; rounds of all kinds and counts."""
    costs = [Cost(kind) for kind in KINDS]
    with tempfile.TemporaryDirectory(dir=folder) as made:
        for count in counts:
            arrays = [
                (cost, cost.kind.make(count, Path(made)))
                for cost in costs
                if cost.kind.most is None or count <= cost.kind.most
            ]
            print(f"{count} chunks", file=sys.stderr, flush=True)
            rounds = min(repeat, _FEW_ROUNDS) if count >= _MANY else repeat
            for number in range(-1, rounds):
                for cost, opened in arrays:
                    planning, all_ = _seconds(opened, count)
                    if number >= 0:
                        cost.planning.setdefault(count, []).append(planning)
                        cost.all.setdefault(count, []).append(all_)
    return costs


def _seconds(opened: Open, count: int) -> tuple[float, float]:
    gc.collect()
    start = time.process_time()
    opened().sum().explain(stage="physical")
    planned = time.process_time()
    total = opened().sum().collect()
    done = time.process_time()
    if total != elements_of(count):
        raise WrongError(f"a sum over {count} chunks is {total}, not {elements_of(count)}")
    return planned - start, done - planned


def _sections(
    scaled: Sequence[Scaled],
    costs: Sequence[Cost],
    arguments: argparse.Namespace,
    *,
    markdown: bool,
) -> dict[str, str]:
    threads = arguments.threads
    goals = [_scaling_goal(scaled, threads), _growth_goal(costs)]
    facts = environment() | {"rounds": "1" if arguments.quick else str(arguments.repeat)}
    return {
        "scaling-facts": facts_text(facts, markdown=markdown),
        "scaling-goals": "\n".join(f"- {line}" if markdown else line for line in goals),
        "scaling-threads": table(_thread_lines(scaled, threads), markdown=markdown),
        "scaling-chunks": table(_chunk_lines(costs), markdown=markdown),
    }


def _thread_lines(rows: Sequence[Scaled], threads: int) -> list[list[str]]:
    several = f"{threads} threads, ms"
    heads = ["workload", f"{OURS}, 1 thread, ms", several, "speed-up"]
    lines = [[*heads, "floor, 1 thread, ms", several, "speed-up", "ours/floor"]]
    for row in rows:
        line = [row.job.label]
        for name in (OURS, _FLOOR):
            line += [rounded(row.middle(name, count) * 1e3) for count in (1, threads)]
            line.append(f"{row.speed_up(name, threads):.2f}")
        verdict = row.verdict(threads)
        lines.append([*line, f"{verdict:.2f}" + (" ✗" if verdict < _WANTED else "")])
    return lines


def _scaling_goal(rows: Sequence[Scaled], threads: int) -> str:
    late = [row for row in rows if row.verdict(threads) < _WANTED]
    said = ", ".join(f"{row.job.key} {row.verdict(threads):.2f}" for row in late)
    held = f"{len(rows) - len(late)} of {len(rows)} rows"
    goal = f"speed-up of {threads} threads over that of the floor >= {_WANTED}"
    return f"{goal}: {held}" + (f"; missed: {said}" if late else "")


def _chunk_lines(costs: Sequence[Cost]) -> list[list[str]]:
    counts = sorted({count for cost in costs for count in cost.all})
    lines = [["a sum over tiny chunks", *[_label(count, "µs a chunk") for count in counts]]]
    lines[0] += [_label(count, "planning ms") for count in (counts[0], counts[-1])]
    for cost in costs:
        line = [cost.kind.label]
        for count in counts:
            shown = rounded(cost.each(count) * 1e6) if count in cost.all else "–"
            line.append(shown + (" ✗" if count in cost.all and _grows(cost, count) else ""))
        for count in (counts[0], counts[-1]):
            planning = cost.planning.get(count)
            line.append(rounded(statistics.median(planning) * 1e3) if planning else "–")
        lines.append(line)
    return lines


def _label(count: int, unit: str) -> str:
    return f"{f'{count:,}'.replace(',', ' ')} chunks, {unit}"


def _grows(cost: Cost, count: int) -> bool:
    return cost.each(count) > _GROWTH * cost.each(min(cost.all))


def _growth_goal(costs: Sequence[Cost]) -> str:
    parts = []
    for cost in costs:
        fewest, most = min(cost.all), max(cost.all)
        factor = cost.each(most) / cost.each(fewest)
        parts.append(f"{cost.kind.label} {factor:.2f}{' ✗' if factor > _GROWTH else ''}")
    return f"cost of a chunk where there are most over where there are fewest: {', '.join(parts)}"


if __name__ == "__main__":
    sys.exit(main())
