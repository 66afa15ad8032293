"""Times what is computed while it is read: ``python benchmarks/engine.py --help``.

Reading, cropping, casting, chains, downsampling, reductions, overlays and batches of tiles, beside
libraries that do the same, all asked in turn as in ``run.py``; with the floor (reading and decoding
alone) and the peak of memory. ``--start`` times whole processes from start to first result.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data import make_data
from engine_jobs import BEST, OURS, SOME, Job, chosen_jobs
from engine_start import start_table
from engine_truth import truth_of
from report import (
    FAILED,
    WRONG,
    Outcome,
    beside,
    environment,
    facts_text,
    failures,
    missing,
    publish,
    rounded,
    spread,
    table,
    titles,
)
from serving import Process

__all__ = ["main"]

_HERE = Path(__file__).parent
_SCALE = "large"
_STACKED = "tensorstore stacked"
_PACKAGES = ("numexpr", "xarray", "blosc2")
_REPEAT = 7
_MOST_ROUNDS = 3
_SHORT = 1.0
_HOPELESS = 10
"""Times ours: what takes longer twice is timed no more."""


@dataclass
class Timed:
    """A row: what it is, what it took, and how far memory rose for each contender."""

    job: Job
    output: str
    outcome: Outcome
    rise: dict[str, int] = field(default_factory=dict)


def main() -> int:
    """Do what the command line asks for; 1 if a contender failed or was wrong, 2 for bad use."""
    arguments = _arguments()
    try:
        jobs = chosen_jobs(arguments.rows)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    repeat = 1 if arguments.quick else arguments.repeat
    home = make_data(arguments.data, _SCALE, quick=arguments.quick)
    names = [name for name in SOME if name in arguments.contenders]
    processes = [
        Process(name, script="engine_server.py")
        for name in (*names, *([_STACKED] if "tensorstore" in names else []))
    ]
    rows: list[Timed] = []
    try:
        rows.extend(
            _timed(job, output, processes, home, repeat) for job in jobs for output in job.outputs
        )
    finally:
        for process in processes:
            process.close()
    sections = _sections(rows, names, arguments, home)
    print("\n\n".join(sections.values()))
    if arguments.json:
        _write_json(arguments.json, rows)
    if arguments.readme:
        publish(_sections(rows, names, arguments, home, markdown=True), _HERE / "README.md")
    return 1 if failures([row.outcome for row in rows]) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeat", type=int, default=_REPEAT, help=f"rounds (default {_REPEAT})")
    parser.add_argument("--rows", nargs="*", default=[], help="only rows whose key contains one")
    parser.add_argument("--contenders", nargs="*", default=SOME, choices=SOME)
    parser.add_argument("--quick", action="store_true", help="128³, one round: does it work?")
    parser.add_argument("--start", type=int, default=0, help="time so many starts of processes")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    parser.add_argument("--readme", action="store_true", help="put the tables into README.md")
    parser.add_argument("--json", type=Path, help="also write all times to this file")
    parser.add_argument("--data", type=Path, default=_HERE / ".data", help="where stores are kept")
    return parser.parse_args()


def _timed(job: Job, output: str, processes: Sequence[Process], home: Path, repeat: int) -> Timed:
    row = Timed(job, output, Outcome(job.label, output))
    print(f"{job.key}-{output}", file=sys.stderr, flush=True)
    n = int(home.name.rpartition("-")[2])
    wanted = truth_of(home, job.kind, n)
    path = str(home / job.store) if job.store else ""
    request = {"kind": job.kind, "path": path, "n": n, "given": output == "given"}
    ready = []
    for process in processes:
        if process.name == _STACKED and job.kind != "batches":
            continue
        answer = process.ask("prepare", **request)
        if "unsupported" in answer:
            continue
        if "error" in answer:
            _fail(row.outcome, process, answer)
        elif process.name != "floor" and any(answer[key] != wanted[key] for key in wanted):
            row.outcome.failed[process.name] = WRONG
            print(f"  {process.name}: {answer} instead of {wanted}", file=sys.stderr)
        else:
            ready.append(process)
    _rounds(row, ready, repeat)
    for process in ready:
        # Memory has to stand still before it is measured: that takes long, and one number is shown.
        answer = process.ask("peak") if process.name == OURS else {}
        if "bytes" in answer:
            row.rise[process.name] = answer["bytes"]
        process.ask("release")
    return row


def _rounds(row: Timed, ready: Sequence[Process], repeat: int) -> None:
    """Round after round, each starting with another process; more of them while they are short."""
    outcome, running = row.outcome, list(ready)
    taken, number = 0.0, 0
    while number < repeat or (number < _MOST_ROUNDS * repeat and taken < _SHORT):
        start = number % max(1, len(running))
        for process in (*running[start:], *running[:start]):
            answer = process.ask("measure", times=row.job.times)
            if "error" in answer:
                running.remove(process)
                _fail(outcome, process, answer)
                continue
            outcome.seconds.setdefault(process.name, []).append(answer["seconds"])
            taken += answer["seconds"]
        number += 1
        running = [process for process in running if not _hopeless(process, outcome)]


def _hopeless(process: Process, outcome: Outcome) -> bool:
    ours, theirs = outcome.middle(OURS), outcome.seconds.get(process.name, [])
    far = ours is not None and len(theirs) > 1 and min(theirs) > _HOPELESS * ours
    return far and process.name != "floor"


def _fail(outcome: Outcome, process: Process, answer: dict[str, Any]) -> None:
    outcome.failed[process.name] = FAILED
    outcome.seconds.pop(process.name, None)
    print(f"  {process.name}: {answer['error']}", file=sys.stderr)


def _sections(
    rows: Sequence[Timed],
    names: Sequence[str],
    arguments: argparse.Namespace,
    home: Path,
    *,
    markdown: bool | None = None,
) -> dict[str, str]:
    markdown = arguments.markdown if markdown is None else markdown
    facts = environment(*_PACKAGES)
    facts["rounds"] = f"{arguments.repeat} and more; {spread([row.outcome for row in rows])}"
    sections = {
        "engine-facts": facts_text(facts, markdown=markdown),
        "engine": table(_table(rows, names), markdown=markdown),
        "engine-goals": "\n".join(f"- {line}" if markdown else line for line in _goal_lines(rows)),
    }
    if arguments.start:
        lines = start_table(home, arguments.start)
        sections["engine-start"] = table(lines, markdown=markdown)
    return sections


def _table(rows: Sequence[Timed], names: Sequence[str]) -> list[list[str]]:
    peers = [name for name in names if name not in (OURS, "floor")]
    heads = ["workload", "output", f"{OURS} ms", "floor ms", "ours/floor", "best peer", "peak MiB"]
    lines = [[*heads, *titles(peers, "ms")]]
    for row in rows:
        outcome = row.outcome
        ours, floor, best = outcome.middle(OURS), outcome.middle("floor"), _best(outcome)
        rise = row.rise.get(OURS)
        marks = {who: " ✗" for who, _, _ in _missed(row)}
        lines.append(
            [
                outcome.label,
                outcome.output,
                rounded(ours * 1e3) if ours else missing(outcome, OURS),
                rounded(floor * 1e3) if floor else missing(outcome, "floor"),
                f"{ours / floor:.2f}" if ours and floor else "–",
                f"{best[0]:.2f} {best[1]}{marks.get(BEST, '')}" if best else "–",
                "–" if rise is None else f"{rise / 2**20:.0f}",
                *(beside(outcome, name, ours, 1e3) + marks.get(name, "") for name in peers),
            ]
        )
    return lines


def _best(outcome: Outcome) -> tuple[float, str] | None:
    ours = outcome.middle(OURS)
    peers = [
        (taken, name)
        for name in outcome.seconds
        if name not in (OURS, "floor", _STACKED) and (taken := outcome.middle(name)) is not None
    ]
    if ours is None or not peers:
        return None
    taken, name = min(peers)
    return taken / ours, name


def _ratio(outcome: Outcome, who: str) -> float | None:
    if who == BEST:
        best = _best(outcome)
        return best[0] if best else None
    theirs, ours = outcome.middle(who), outcome.middle(OURS)
    return theirs / ours if theirs and ours else None


def _verdicts(row: Timed) -> list[tuple[str, float, float]]:
    """Of each goal of a row: the peer, the ratio that is wanted, the one that was reached."""
    found = []
    for who, wanted in row.job.goals_of(row.output).items():
        reached = _ratio(row.outcome, who)
        if reached is not None:
            found.append((who, wanted, reached))
    return found


def _missed(row: Timed) -> list[tuple[str, float, float]]:
    return [verdict for verdict in _verdicts(row) if verdict[2] < verdict[1]]


def _goal_lines(rows: Sequence[Timed]) -> list[str]:
    held = sum(len(_verdicts(row)) for row in rows)
    late = [
        f"{row.job.key}-{row.output} {reached:.2f} of {wanted:g} ({who})"
        for row in rows
        for who, wanted, reached in _missed(row)
    ]
    slow = [
        f"{row.job.key} {ours * 1e3:.1f} ms of {row.job.at_most * 1e3:.0f}"
        for row in rows
        if row.job.at_most and (ours := row.outcome.middle(OURS)) and ours > row.job.at_most
    ]
    tail = f"; missed: {', '.join([*late, *slow])}" if late or slow else ""
    lines = [f"peer / ours as wanted: {held - len(late)} of {held} goals{tail}"]
    factors = [
        ours / floor
        for row in rows
        if row.output == "given"
        and (ours := row.outcome.middle(OURS))
        and (floor := row.outcome.middle("floor"))
    ]
    if factors:
        within = sum(factor <= 1.25 for factor in factors)
        lines.append(
            f"ours / floor <= 1.25 into given memory: {within} of {len(factors)} rows, median "
            f"{statistics.median(factors):.2f}"
        )
    return lines


def _write_json(path: Path, rows: Sequence[Timed]) -> None:
    document = {
        "environment": environment(*_PACKAGES),
        "rows": [
            {"key": f"{row.job.key}-{row.output}", **vars(row.outcome), "rise": row.rise}
            for row in rows
        ],
    }
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
