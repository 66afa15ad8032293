"""Times tenso packets and quantization: ``python benchmarks/packets.py --help``.

Beside NumPy's own files and the package tenso, on one thread, all asked in turn as in ``run.py``.
Each row has processes of its own: tenso keeps what it returns, some hundred MB a call.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packet_server import GROUP, SLICE, make_files
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
from workloads import OURS

__all__ = ["main"]

_HERE = Path(__file__).parent
_PEERS = ("numpy", "tenso")
_REPEAT = 9


@dataclass
class Row:
    """A job, and what the table says of it.

    ``moved``: bytes of float32 that it is about. ``times``: how often what is short is done for one
    number.
    """

    key: str
    label: str
    job: str
    moved: Callable[[int], int] = lambda n: 4 * n * n
    settings: dict[str, Any] = field(default_factory=dict)
    times: int = 1


def _quantized(key: str, label: str, **settings: Any) -> Row:
    return Row(f"quantize-{key}", f"quantize, {label}", "quantize", settings=settings)


ROWS = (
    Row("write", "write a file", "write"),
    Row("write-checked", "write a file, with checksum", "write_checked"),
    Row("read", "read a file", "read"),
    Row("read-checked", "read a file, with checksum", "read_checked"),
    Row("lz4", "decode LZ4, ratio 8, from memory", "loads_lz4"),
    Row("open", "open a file and read 4 MiB of it", "open_and_cut", lambda n: SLICE, times=20),
    Row("slice", "read 4 MiB of a file", "cut", lambda n: SLICE, times=20),
    _quantized("qint8", "qint8 per_tensor", dtype="qint8", scheme="per_tensor"),
    _quantized("qint4", "qint4 per_tensor", dtype="qint4", scheme="per_tensor"),
    _quantized(
        "group", f"qint8 per_group {GROUP}", dtype="qint8", scheme="per_group", group_size=GROUP
    ),
    _quantized("channel", "qint8 per_channel, last axis", dtype="qint8", scheme="per_channel",
               axis=1),
    Row("dequantize", "dequantize qint8 per_tensor, into given memory", "dequantize"),
)  # fmt: skip


def main() -> int:
    """Do what the command line asks for; 1 if a contender failed or differed, 2 for bad use."""
    arguments = _arguments()
    rows = [
        row for row in ROWS if not arguments.rows or any(key in row.key for key in arguments.rows)
    ]
    if not rows:
        print(f"error: no row has one of {arguments.rows} in its key", file=sys.stderr)
        return 2
    n = 1024 if arguments.quick else 5000
    folder = arguments.data / f"packets-{n}"
    if not (folder / "lz4.tenso").exists():
        make_files(folder, n)
    repeat = 1 if arguments.quick else arguments.repeat
    outcomes = {row.key: _timed(row, folder, n, repeat) for row in rows}
    sections = _sections(rows, outcomes, n, arguments.repeat, markdown=arguments.markdown)
    print("\n\n".join(sections.values()))
    if arguments.readme:
        publish(_sections(rows, outcomes, n, arguments.repeat, markdown=True), _HERE / "README.md")
    return 1 if failures(list(outcomes.values())) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeat", type=int, default=_REPEAT, help=f"rounds (default {_REPEAT})")
    parser.add_argument("--rows", nargs="*", default=[], help="only rows whose key contains one")
    parser.add_argument("--quick", action="store_true", help="4 MiB, one round: does it work?")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    parser.add_argument("--readme", action="store_true", help="put the tables into README.md")
    parser.add_argument("--data", type=Path, default=_HERE / ".data", help="where files are kept")
    return parser.parse_args()


def _timed(row: Row, folder: Path, n: int, repeat: int) -> Outcome:
    outcome = Outcome(row.label)
    print(row.key, file=sys.stderr, flush=True)
    processes = [Process(name, script="packet_server.py") for name in (OURS, *_PEERS)]
    try:
        ready, wanted = [], ""
        for process in processes:
            answer = process.ask(
                "prepare", job=row.job, settings=row.settings, folder=str(folder), n=n
            )
            if "unsupported" in answer:
                continue
            if "error" in answer:
                outcome.failed[process.name] = FAILED
                print(f"  {process.name}: {answer['error']}", file=sys.stderr)
                continue
            wanted = wanted or answer["digest"]
            if answer["digest"] != wanted:
                outcome.failed[process.name] = WRONG
                continue
            ready.append(process)
        for number in range(repeat):
            start = number % max(1, len(ready))
            for process in (*ready[start:], *ready[:start]):
                answer = process.ask("measure", times=row.times)
                outcome.seconds.setdefault(process.name, []).append(answer["seconds"])
    finally:
        for process in processes:
            process.close()
    return outcome


def _sections(
    rows: Sequence[Row], outcomes: dict[str, Outcome], n: int, repeat: int, *, markdown: bool
) -> dict[str, str]:
    facts = environment("lz4", "xxhash", "tenso")
    facts["array"] = f"{n} x {n} float32, {4 * n * n / 1e6:.0f} MB"
    facts["rounds"] = f"{repeat}; {spread(list(outcomes.values()))}"
    lines = [["what", f"{OURS} ms", "GB/s", *titles(_PEERS, "ms")]]
    for row in rows:
        outcome = outcomes[row.key]
        ours = outcome.middle(OURS)
        lines.append(
            [
                outcome.label,
                rounded(ours * 1e3) if ours else missing(outcome, OURS),
                rounded(row.moved(n) / ours / 1e9) if ours else "–",
                *(beside(outcome, name, ours, 1e3) for name in _PEERS),
            ]
        )
    goals = [f"- {line}" if markdown else line for line in _goals(outcomes, n)]
    return {
        "packets-facts": facts_text(facts, markdown=markdown),
        "packets": table(lines, markdown=markdown),
        "packets-goals": "\n".join(goals),
    }


def _goals(outcomes: dict[str, Outcome], n: int) -> list[str]:
    """What was wanted of the rows that ran, and what was reached."""
    nbytes = 4 * n * n

    def took(key: str, name: str = OURS) -> float | None:
        return outcomes[key].middle(name) if key in outcomes else None

    def rate(key: str, least: float) -> tuple[str, float | None, float, bool]:
        ours = took(key)
        return f"{key} GB/s", ours and nbytes / ours / 1e9, least, True

    def ratio(one: float | None, other: float | None) -> float | None:
        return one / other if one and other else None

    def more(key: str, base: str) -> float | None:
        found = ratio(took(key), took(base))
        return found and found - 1

    cut = took("slice")
    wanted = [
        ("np.save / write", ratio(took("write", "numpy"), took("write")), 0.6, True),
        ("np.load / read", ratio(took("read", "numpy"), took("read")), 0.95, True),
        ("tenso.load / read", ratio(took("read", "tenso"), took("read")), 10, True),
        ("checksum, writing", more("write-checked", "write"), 0.2, False),
        ("checksum, reading", more("read-checked", "read"), 0.35, False),
        rate("lz4", 4),
        ("slice ms", cut and cut * 1e3, 0.3, False),
        rate("quantize-qint8", 8),
        rate("quantize-qint4", 6),
        rate("quantize-group", 3),
        rate("quantize-channel", 3),
        rate("dequantize", 10),
    ]
    lines = []
    for what, reached, goal, at_least in wanted:
        if reached is None:
            continue
        held = reached >= goal if at_least else reached <= goal
        sign = "≥" if at_least else "≤"
        lines.append(f"{what}: {reached:.2f} (wanted {sign} {goal:g}){'' if held else ' ✗'}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
