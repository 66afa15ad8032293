"""Times lazytensor beside its peers: ``python benchmarks/run.py --help``.

All contenders stand ready at once, each in a process of its own (``server.py`` says why), and are
asked in turn: round after round, each round starting with another one. What the machine does
meanwhile falls on all of them alike, and a median over rounds is a fair comparison even where the
absolute numbers are noisy. Before a row is timed every contender computes it once: what differs
from the digest that NumPy gave is shown as WRONG and not timed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from data import SCALES, keys_of, make_data, stored_bytes, truths
from goals import summary
from report import (
    FAILED,
    WRONG,
    Outcome,
    environment,
    facts_text,
    failures,
    publish,
    small_table,
    spread,
    table,
)
from serving import Process
from tables import row_table
from workloads import CONTENDERS, FUSED, OURS, Row, Small, chosen

__all__ = ["main"]

_HERE = Path(__file__).parent
_PAGE = _HERE / "README.md"
_REPEAT = 7
_MOST_ROUNDS = 3
"""Times as many rounds as asked for, at most: where a round is short, a median needs more."""
_SHORT = 0.6
"""Seconds that the rounds of a row may take together before no more are added."""
_HOPELESS = 10
"""Times ours: what takes longer twice is timed no more."""

Timed = list[tuple[Row, Outcome]]


def main() -> int:
    """Do what the command line asks for; the exit status, as the README has it."""
    arguments = _arguments()
    repeat = 3 if arguments.quick else arguments.repeat
    try:
        rows, small = chosen(arguments.rows)
    except ValueError as error:
        _say(f"error: {error}")
        return 2
    _say(f"data in {arguments.data}")
    scales = dict.fromkeys(row.scale for row in rows)
    homes = {scale: make_data(arguments.data, scale, quick=arguments.quick) for scale in scales}
    names = [name for name in CONTENDERS if name in arguments.contenders]
    pythons = {FUSED: arguments.fused_python}
    processes = [Process(name, python=pythons.get(name, sys.executable)) for name in names]
    try:
        fused = next((p.ask("about")["about"] for p in processes if p.name == FUSED), "")
        large = list(_time_rows(rows, processes, homes, repeat, quick=arguments.quick))
        little = list(_time_small(small, processes, repeat))
    finally:
        for process in processes:
            process.close()
    outcomes = [*(outcome for _, outcome in large), *little]
    facts = _facts(outcomes, homes, repeat, fused)
    sections = _sections(large, little, names, facts, markdown=arguments.markdown)
    print("\n\n".join(sections.values()))
    if arguments.json:
        _write_json(arguments.json, large, little)
    if arguments.readme:
        publish(_sections(large, little, names, facts, markdown=True), _PAGE)
    return 1 if failures(outcomes) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeat", type=int, default=_REPEAT, help=f"rounds (default {_REPEAT})")
    parser.add_argument("--rows", nargs="*", default=[], help="only rows whose key contains one")
    parser.add_argument("--contenders", nargs="*", default=CONTENDERS, choices=CONTENDERS)
    parser.add_argument("--quick", action="store_true", help="128³ and 3 rounds: does it work?")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    parser.add_argument("--readme", action="store_true", help="put the tables into README.md")
    parser.add_argument("--json", type=Path, help="also write all times to this file")
    parser.add_argument("--data", type=Path, default=_HERE / ".data", help="where stores are kept")
    parser.add_argument(
        "--fused-python",
        default=sys.executable,
        help="interpreter of an environment with zarr >= 3.3, for that zarr's fused pipeline",
    )
    return parser.parse_args()


def _time_rows(
    rows: Sequence[Row],
    processes: Sequence[Process],
    homes: dict[str, Path],
    repeat: int,
    *,
    quick: bool,
) -> Iterator[tuple[Row, Outcome]]:
    for row in rows:
        home, n = homes[row.scale], SCALES[row.scale].edge(quick=quick)
        outcome = Outcome(row.label, row.output)
        _say(f"{row.key}")
        wanted = truths(home, row.action, row.store, n)

        def right(process: Process, answer: dict[str, Any], wanted: Any = wanted) -> bool:
            # The floor returns the right amount of memory and leaves the order open.
            keys = ("shape", "dtype") if process.name == "floor" else tuple(wanted)
            return all(answer[key] == wanted[key] for key in keys)

        request = {
            "path": str(home / row.name),
            "action": row.action,
            "keys": keys_of(row.action, row.store, n),
            "given": row.given,
        }
        asked = [process for process in processes if process.name != "dask" or row.with_dask]
        ready = _prepare(asked, outcome, "prepare", request, right)
        _rounds(ready, outcome, "measure", {}, lambda answer: answer["seconds"], repeat)
        yield row, outcome


def _time_small(
    small: Sequence[Small], processes: Sequence[Process], repeat: int
) -> Iterator[Outcome]:
    for case in small:
        outcome = Outcome(case.label)
        _say(outcome.label)
        answers: list[Any] = []

        def right(process: Process, answer: dict[str, Any], answers: Any = answers) -> bool:
            answers.append(answer["answer"])
            return bool(answers[0] == answer["answer"])

        ready = _prepare(processes, outcome, "prepare_small", {"key": case.key}, right)
        keywords = {"number": case.number}
        _rounds(ready, outcome, "measure_small", keywords, _middle_step, repeat, most=repeat)
        yield outcome


def _middle_step(answer: dict[str, Any]) -> float:
    steps = sorted(answer["steps"])
    return float(steps[len(steps) // 2] + steps[(len(steps) - 1) // 2]) / 2


def _prepare(
    processes: Sequence[Process],
    outcome: Outcome,
    verb: str,
    request: dict[str, Any],
    right: Callable[[Process, dict[str, Any]], bool],
) -> list[Process]:
    """Those processes whose first answer is right; why the others' is not goes to ``outcome``."""
    ready = []
    for process in processes:
        answer = process.ask(verb, **request)
        if "unsupported" in answer:
            process.ask("release")
        elif "error" in answer:
            _fail(process, outcome, answer)
        elif not right(process, answer):
            outcome.failed[process.name] = WRONG
            _say(f"  {process.name}: wrong result {answer}")
            process.ask("release")
        else:
            ready.append(process)
    return ready


def _rounds(
    ready: Sequence[Process],
    outcome: Outcome,
    verb: str,
    keywords: dict[str, Any],
    seconds: Callable[[dict[str, Any]], float],
    repeat: int,
    most: int | None = None,
) -> None:
    """``repeat`` rounds, up to ``most`` while they are short; the hopeless sit out from the third.

    Each round starts with another process.
    """
    running = list(ready)
    most = _MOST_ROUNDS * repeat if most is None else most
    taken, number = 0.0, 0
    while number < repeat or (number < most and taken < _SHORT):
        start = number % max(1, len(running))
        for process in (*running[start:], *running[:start]):
            answer = process.ask(verb, **keywords)
            if "error" in answer:
                running.remove(process)
                _fail(process, outcome, answer)
                continue
            outcome.seconds.setdefault(process.name, []).append(seconds(answer))
            taken += seconds(answer)
        number += 1
        running = [process for process in running if not _hopeless(process, outcome)]
    for process in ready:
        process.ask("release")


def _hopeless(process: Process, outcome: Outcome) -> bool:
    """Whether a peer was far behind twice; the floor is no peer, whatever a bad moment says."""
    ours, theirs = outcome.middle(OURS), outcome.seconds.get(process.name, [])
    far = ours is not None and len(theirs) > 1 and min(theirs) > _HOPELESS * ours
    return far and process.name != "floor"


def _fail(process: Process, outcome: Outcome, answer: dict[str, Any]) -> None:
    outcome.failed[process.name] = FAILED
    outcome.seconds.pop(process.name, None)
    _say(f"  {process.name}: {answer['error']}")


def _facts(
    outcomes: Sequence[Outcome], homes: dict[str, Path], repeat: int, fused: str
) -> dict[str, str]:
    facts = environment()
    if fused:
        facts[FUSED] = fused
    facts["rounds"] = f"{repeat} and more; {spread(outcomes)}"
    for scale, home in homes.items():
        n = int(home.name.rpartition("-")[2])
        packed = stored_bytes(home, list(SCALES[scale].stores))
        facts[f"{scale} ({n}³), times smaller on disk"] = ", ".join(
            f"{name} {n**3 * 2 / stored:.2f}" for name, stored in packed.items()
        )
    return facts


def _sections(
    large: Timed,
    little: Sequence[Outcome],
    names: Sequence[str],
    facts: dict[str, str],
    *,
    markdown: bool,
) -> dict[str, str]:
    """The facts, a table a scale, the small plans and the goals; only what was timed."""
    sections = {"facts": facts_text(facts, markdown=markdown)}
    for scale in dict.fromkeys(row.scale for row, _ in large):
        pairs = [pair for pair in large if pair[0].scale == scale]
        sections[scale] = table(row_table(pairs, names), markdown=markdown)
    if little:
        sections["small"] = table(small_table(little, names), markdown=markdown)
    if large and OURS in names:
        lines = summary(large)
        sections["goals"] = "\n".join(f"- {line}" if markdown else line for line in lines)
    return sections


def _write_json(path: Path, large: Timed, little: Sequence[Outcome]) -> None:
    rows = [{"key": row.key, **vars(outcome)} for row, outcome in large]
    document = {
        "environment": environment(),
        "rows": [*rows, *(vars(outcome) for outcome in little)],
    }
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
