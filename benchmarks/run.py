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
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from data import make_data, stored_bytes, truths
from report import (
    FAILED,
    WRONG,
    Outcome,
    environment,
    failures,
    large_table,
    small_table,
    spread,
    table,
)
from workloads import CONTENDERS, Row, Small, chosen

__all__ = ["main"]

_HERE = Path(__file__).parent
_REPEAT = 7


class Process:
    """A server process and the pipe to it."""

    def __init__(self, name: str, home: Path, n: int) -> None:
        self.name = name
        # The package is the one that lies beside this folder, installed or not.
        environ = {**os.environ, "PYTHONPATH": str(_HERE.parent)}
        command = [sys.executable, str(_HERE / "server.py"), name, str(home), str(n)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environ,
        )

    def ask(self, verb: str, **keywords: Any) -> dict[str, Any]:
        """The answer to one request; one with the key ``error`` if it failed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(json.dumps([verb, keywords]), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            return {"error": f"{self.name} is not running"}
        line = self.process.stdout.readline()
        if not line:
            return {"error": f"{self.name} ended with status {self.process.wait()}"}
        return dict(json.loads(line))

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def main() -> int:
    """Do what the command line asks for; the exit status, as the README has it."""
    arguments = _arguments()
    n = 128 if arguments.quick else arguments.n
    repeat = 3 if arguments.quick else arguments.repeat
    _say(f"data of {n}³ in {arguments.data}")
    try:
        rows, small = chosen(arguments.rows)
        home = make_data(arguments.data, n)
    except ValueError as error:
        _say(f"error: {error}")
        return 2
    names = [name for name in CONTENDERS if name in arguments.contenders]
    processes = [Process(name, home, n) for name in names]
    try:
        large = list(_time_rows(rows, processes, home, repeat))
        little = list(_time_small(small, processes, repeat))
    finally:
        for process in processes:
            process.close()
    _print(large, little, names, home, n, repeat, markdown=arguments.markdown)
    if arguments.json:
        _write_json(arguments.json, [*large, *little])
    return 1 if failures([*large, *little]) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=512, help="edge of the volume (default 512)")
    parser.add_argument("--repeat", type=int, default=_REPEAT, help=f"rounds (default {_REPEAT})")
    parser.add_argument("--rows", nargs="*", default=[], help="only rows whose key contains one")
    parser.add_argument("--contenders", nargs="*", default=CONTENDERS, choices=CONTENDERS)
    parser.add_argument("--quick", action="store_true", help="128³ and 3 rounds: does it work?")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    parser.add_argument("--json", type=Path, help="also write all times to this file")
    parser.add_argument("--data", type=Path, default=_HERE / ".data", help="where stores are kept")
    return parser.parse_args()


def _time_rows(
    rows: Sequence[Row], processes: Sequence[Process], home: Path, repeat: int
) -> Iterator[Outcome]:
    expected = truths(home)
    for row in rows:
        for given in (False, True):
            outcome = Outcome(row.label, "given" if given else "fresh")
            _say(f"{outcome.label}, {outcome.output}")
            wanted = expected[row.action]

            def right(process: Process, answer: dict[str, Any], wanted: Any = wanted) -> bool:
                # The floor returns the right amount of memory and leaves the order open.
                keys = ("shape", "dtype") if process.name == "floor" else tuple(wanted)
                return all(answer[key] == wanted[key] for key in keys)

            request = {"store": row.store, "action": row.action, "given": given}
            ready = _prepare(processes, outcome, "prepare", request, right)
            _rounds(ready, outcome, "measure", {}, lambda answer: answer["seconds"], repeat)
            yield outcome


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
        _rounds(ready, outcome, "measure_small", keywords, _middle_step, repeat)
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
) -> None:
    for number in range(repeat):
        start = number % max(1, len(ready))
        for process in (*ready[start:], *ready[:start]):
            answer = process.ask(verb, **keywords)
            if "error" in answer:
                _fail(process, outcome, answer)
            else:
                outcome.seconds.setdefault(process.name, []).append(seconds(answer))
    for process in ready:
        process.ask("release")


def _fail(process: Process, outcome: Outcome, answer: dict[str, Any]) -> None:
    outcome.failed[process.name] = FAILED
    outcome.seconds.pop(process.name, None)
    _say(f"  {process.name}: {answer['error']}")


def _print(
    large: Sequence[Outcome],
    little: Sequence[Outcome],
    names: Sequence[str],
    home: Path,
    n: int,
    repeat: int,
    *,
    markdown: bool,
) -> None:
    facts = environment()
    size = n**3 * 2
    packed = {name: f"{size / stored:.2f}" for name, stored in stored_bytes(home).items()}
    facts["data"] = f"{n}³ uint16, {size / 2**20:.0f} MiB; times smaller on disk: " + ", ".join(
        f"{name} {ratio}" for name, ratio in packed.items()
    )
    facts["rounds"] = f"{repeat}; {spread([*large, *little])}"
    print("\n".join(f"{'- ' if markdown else ''}{key}: {value}" for key, value in facts.items()))
    for lines, made in ((large, large_table), (little, small_table)):
        if lines:
            print()
            print(table(made(lines, names), markdown=markdown))


def _write_json(path: Path, outcomes: Sequence[Outcome]) -> None:
    found = [{**vars(outcome)} for outcome in outcomes]
    document = {"environment": environment(), "rows": found}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
