"""Times images in OME-Arrow tables: ``python benchmarks/ome_arrow.py --help``.

Beside the package ome-arrow 0.1.0 and the bare reads of pyarrow, all asked in turn as in
``run.py``, and each on as many threads as it takes by itself. The package has an interpreter of its
own, ``--peer`` or the environment variable LAZYTENSOR_OME_ARROW_PYTHON; it also writes the files.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ome_arrow_data import BYTES, FOLDER, IPC, LIST, make_files, part_of, read_image
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
_ARROW, _PACKAGE = "pyarrow", "ome-arrow"
_PEERS = (_ARROW, _PACKAGE)
_REPEAT = 9
_HOPELESS, _LONG = 10, 1.0
"""Times ours, and seconds: what takes longer three times is timed no more."""


@dataclass(frozen=True)
class Row:
    """A job, and what the table says of it.

    ``fresh``: nothing is kept of the file from run to run. ``times``: how often what is short is
    done for one number. ``goal``: the ``most`` milliseconds, or the ratio of a peer's time to ours.
    """

    key: str
    label: str
    job: str
    file: str
    fresh: bool = False
    times: int = 1
    most: float | None = None
    ratios: tuple[tuple[str, float], ...] = ()


def _row(key: str, label: str, job: str, file: str, **more: object) -> Row:
    return Row(key, label, job, file, **more)  # type: ignore[arg-type]


_WITHIN = ((_ARROW, 1 / 1.2),)
ROWS = (
    _row("schema-list", "schema: file of lists", "schema", LIST, fresh=True, times=10, most=5),
    _row("schema-bytes", "schema: file of bytes", "schema", BYTES, fresh=True, times=10, most=5),
    _row("schema-folder", "schema: dataset", "schema", FOLDER, fresh=True, times=10, most=5),
    _row("schema-ipc", "schema: Arrow IPC", "schema", IPC, fresh=True, times=10, most=5),
    _row("plane-folder", "open a dataset, read a plane", "plane", FOLDER, fresh=True, times=5,
         most=3),
    _row("again-folder", "read a plane of a dataset", "again", FOLDER, times=5, most=3),
    _row("plane-bytes", "open a file of bytes, read a plane", "plane", BYTES, fresh=True),
    _row("again-bytes", "read another plane of a file of bytes", "again", BYTES, times=5),
    _row("plane-ipc", "open a mapped IPC file, read a plane", "plane", IPC, fresh=True, times=10,
         most=1),
    _row("plane-list", "open a file of lists, read a plane", "plane", LIST, fresh=True,
         ratios=((_ARROW, 1 / 1.1),)),
    _row("again-list", "read another plane of a file of lists", "again", LIST, times=10, most=1),
    _row("crops", "1 000 crops of 64 x 64 of a dataset, one batch", "crops", FOLDER, fresh=True,
         ratios=((_PACKAGE, 20),)),
    _row("crops-again", "the same crops again", "crops", FOLDER, ratios=((_PACKAGE, 20),)),
    _row("tiles", "1 000 tiles of 64 x 64 of a dataset, one by one", "tiles", FOLDER, fresh=True,
         ratios=((_PACKAGE, 10),)),
    _row("whole-list", "all of a file of lists", "whole", LIST, fresh=True, ratios=_WITHIN),
    _row("whole-bytes", "all of a file of bytes", "whole", BYTES, fresh=True, ratios=_WITHIN),
    _row("whole-folder", "all of a dataset", "whole", FOLDER, fresh=True, ratios=_WITHIN),
    _row("write-folder", "write a dataset", "write", FOLDER),
    _row("write-bytes", "write a file of bytes", "write", BYTES),
    _row("write-list", "write a file of lists", "write", LIST),
)  # fmt: skip
_LIST_WRITER = 10
"""How often as fast as the package's writer of lists ours are to be."""


def main() -> int:
    """Do what the command line asks for; 1 if a contender failed or differed, 2 for bad use."""
    arguments = _arguments()
    rows = [
        row for row in ROWS if not arguments.rows or any(key in row.key for key in arguments.rows)
    ]
    if not rows:
        print(f"error: no row has one of {arguments.rows} in its key", file=sys.stderr)
        return 2
    if not _has_package(arguments.peer):
        print(f"error: {arguments.peer} has no package ome-arrow: --peer PYTHON", file=sys.stderr)
        return 2
    folder = arguments.data / ("ome-arrow-quick" if arguments.quick else "ome-arrow")
    make_files(folder, arguments.images, arguments.peer, quick=arguments.quick)
    repeat = 1 if arguments.quick else arguments.repeat
    outcomes = {row.key: _timed(row, folder, arguments.peer, repeat) for row in rows}
    sections = _sections(rows, outcomes, folder, arguments.repeat, markdown=arguments.markdown)
    print("\n\n".join(sections.values()))
    if arguments.readme:
        made = _sections(rows, outcomes, folder, arguments.repeat, markdown=True)
        publish(made, _HERE / "README.md")
    return 1 if failures(list(outcomes.values())) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeat", type=int, default=_REPEAT, help=f"rounds (default {_REPEAT})")
    parser.add_argument("--rows", nargs="*", default=[], help="only rows whose key contains one")
    parser.add_argument("--quick", action="store_true", help="2 MB, one round: does it work?")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    parser.add_argument("--readme", action="store_true", help="put the tables into README.md")
    parser.add_argument("--data", type=Path, default=_HERE / ".data", help="where files are kept")
    parser.add_argument(
        "--peer", default=os.environ.get("LAZYTENSOR_OME_ARROW_PYTHON") or sys.executable,
        help="interpreter with ome-arrow 0.1.0 (default: LAZYTENSOR_OME_ARROW_PYTHON or this)",
    )  # fmt: skip
    parser.add_argument(
        "--images", type=Path, default=Path(os.environ.get("LAZYTENSOR_TEST_DATA", "")),
        help="folder with idr0062A_6001240_z100-139.zarr (default: LAZYTENSOR_TEST_DATA); without "
        "it, planes are synthetic",
    )  # fmt: skip
    return parser.parse_args()


def _has_package(python: str) -> bool:
    """Asked for by name in a folder where nothing else is called so."""
    code = "import importlib.metadata as m; m.version('ome-arrow')"
    done = subprocess.run([python, "-c", code], check=False, capture_output=True)
    return done.returncode == 0


def _timed(row: Row, folder: Path, peer: str, repeat: int) -> Outcome:
    outcome = Outcome(row.label)
    print(row.key, file=sys.stderr, flush=True)
    processes = [
        Process(
            name, script="ome_arrow_server.py", python=peer if name == _PACKAGE else sys.executable
        )
        for name in (OURS, *_PEERS)
    ]
    try:
        _rounds(row, outcome, _prepared(row, outcome, processes, folder), repeat)
    finally:
        for process in processes:
            process.close()
    return outcome


def _prepared(
    row: Row, outcome: Outcome, processes: Sequence[Process], folder: Path
) -> list[Process]:
    """Those that can do it, and did it right; what a bare read gives need not be the image."""
    ready, wanted = [], ""
    for process in processes:
        answer = process.ask(
            "prepare", job=row.job, file=row.file, fresh=row.fresh, folder=str(folder)
        )
        if "unsupported" in answer:
            continue
        if "error" in answer:
            outcome.failed[process.name] = FAILED
            print(f"  {process.name}: {answer['error']}", file=sys.stderr)
            continue
        wanted = wanted or answer["digest"]
        if answer["digest"] not in ("", wanted):
            outcome.failed[process.name] = WRONG
            continue
        ready.append(process)
    return ready


def _rounds(row: Row, outcome: Outcome, ready: Sequence[Process], repeat: int) -> None:
    """Round after round, each starting with another process."""
    running = list(ready)
    for number in range(repeat):
        start = number % max(1, len(running))
        for process in (*running[start:], *running[:start]):
            answer = process.ask("measure", times=row.times)
            if "error" in answer:
                running.remove(process)
                outcome.seconds.pop(process.name, None)
                outcome.failed[process.name] = FAILED
                print(f"  {process.name}: {answer['error']}", file=sys.stderr)
                continue
            outcome.seconds.setdefault(process.name, []).append(answer["seconds"])
        running = [process for process in running if not _hopeless(process.name, outcome)]


def _hopeless(name: str, outcome: Outcome) -> bool:
    ours, theirs = outcome.middle(OURS), outcome.seconds.get(name, [])
    far = ours is not None and len(theirs) > 2 and min(theirs) > max(_HOPELESS * ours, _LONG)
    return far and name != OURS


Middle = Callable[[str, str], float | None]


def _sections(
    rows: Sequence[Row], outcomes: dict[str, Outcome], folder: Path, repeat: int, *, markdown: bool
) -> dict[str, str]:
    def took(key: str, name: str) -> float | None:
        return outcomes[key].middle(name) if key in outcomes else None

    image = read_image(folder)
    facts = environment("pyarrow", "polars")
    facts["image"] = f"{' x '.join(map(str, image.shape))} uint16, {image.nbytes / 1e6:.1f} MB"
    facts["image that is written"] = f"{part_of(image).nbytes / 1e6:.1f} MB of it"
    facts["rounds"] = f"{repeat}; {spread(list(outcomes.values()))}"
    lines = [["what", f"{OURS} ms", "goal", *titles(_PEERS, "ms")]]
    for row in rows:
        outcome = outcomes[row.key]
        ours = outcome.middle(OURS)
        lines.append(
            [
                outcome.label,
                rounded(ours * 1e3) if ours else missing(outcome, OURS),
                _goal(row, took),
                *(beside(outcome, name, ours, 1e3) for name in _PEERS),
            ]
        )
    return {
        "ome-arrow-facts": facts_text(facts, markdown=markdown),
        "ome-arrow": table(lines, markdown=markdown),
    }


def _goal(row: Row, took: Middle) -> str:
    """What was wanted of a row, with what was reached, and a cross where that is less."""
    ours = took(row.key, OURS)
    if ours is None:
        return "–"
    said = []
    if row.most is not None:
        said.append(f"≤ {row.most:g} ms{_cross(ours * 1e3 <= row.most)}")
    for name, wanted in _wanted(row):
        theirs = took("write-list" if row.job == "write" else row.key, name)
        if theirs is None:
            continue
        reached = theirs / ours
        if wanted < 1:
            text = f"{1 / reached:.2f} of {name}, ≤ {1 / wanted:.1f}"
        else:
            text = f"{reached:.1f}× {name}, ≥ {wanted:g}"
        said.append(text + _cross(reached >= wanted))
    return "; ".join(said) or "–"


def _wanted(row: Row) -> tuple[tuple[str, float], ...]:
    return ((_PACKAGE, _LIST_WRITER),) if row.job == "write" else row.ratios


def _cross(held: bool) -> str:
    return "" if held else " ✗"


if __name__ == "__main__":
    sys.exit(main())
