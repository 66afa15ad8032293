"""Peak memory of reading a whole array: ``python benchmarks/memory.py --help``.

A fresh process for each number: open, read one chunk, so that what is imported or compiled when
first needed is there, wait until memory stands still, read everything. Counted is how far resident
memory rises above where it stood, the result included, as a multiple of the result.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data import SCALES, digest, make_data, truths
from peers import Unsupported, contender
from report import FAILED, WRONG, publish, table
from rise import rise_of
from workloads import CONTENDERS, FUSED, OURS

__all__ = ["main"]

_HERE = Path(__file__).parent
_SCALE = "large"
_STORES = ("raw", "lz4", "zstd", "small", "sharded")
_GOAL = 1.1
_CHILD = "--read"


def main() -> int:
    """Do what the command line asks for; 1 if a contender failed or was wrong."""
    arguments = _arguments()
    home = make_data(arguments.data, _SCALE, quick=arguments.quick)
    names = [name for name in CONTENDERS if name in arguments.contenders and name != "floor"]
    pythons = {FUSED: arguments.fused_python}
    lines = [["read all", *names]]
    for store in _STORES:
        lines.append([store])
        for name in names:
            cell = _cell(name, home, store, pythons.get(name, sys.executable), arguments)
            lines[-1].append(cell)
    print(table(lines, markdown=arguments.markdown))
    if arguments.readme:
        publish({"memory": table(lines, markdown=True)}, _HERE / "README.md")
    return 1 if any(cell in (FAILED, WRONG) for line in lines for cell in line) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeat", type=int, default=2, help="processes a number (default 2)")
    parser.add_argument("--contenders", nargs="*", default=CONTENDERS, choices=CONTENDERS)
    parser.add_argument("--quick", action="store_true", help="128³: does it work?")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    parser.add_argument("--readme", action="store_true", help="put the table into README.md")
    parser.add_argument("--data", type=Path, default=_HERE / ".data", help="where stores are kept")
    parser.add_argument("--fused-python", default=sys.executable, help="as in run.py")
    return parser.parse_args()


def _cell(name: str, home: Path, store: str, python: str, arguments: argparse.Namespace) -> str:
    """The worst of some runs as a multiple of the output."""
    print(f"{store}, {name}", file=sys.stderr, flush=True)
    edge = SCALES[_SCALE].edge(quick=arguments.quick)
    expected = truths(home, "read", SCALES[_SCALE].stores[store], edge)["digest"]
    ratios = []
    for _ in range(arguments.repeat):
        answer = _ask([python, __file__, _CHILD, name, str(home / store)])
        if "unsupported" in answer:
            return "–"
        if "error" in answer:
            print(answer["error"], file=sys.stderr)
            return FAILED
        if answer["digest"] != expected:
            return WRONG
        ratios.append(answer["risen"] / answer["nbytes"])
    mark = " ✗" if name == OURS and max(ratios) > _GOAL else ""
    return f"{max(ratios):.2f}{mark}"


def _ask(command: Sequence[str]) -> dict[str, Any]:
    environ = {**os.environ, "PYTHONPATH": str(_HERE.parent)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environ, check=False)
    # Libraries may print; the answer is the last line.
    lines = done.stdout.splitlines()
    return dict(json.loads(lines[-1])) if lines else {"error": f"status {done.returncode}"}


def _read(name: str, path: Path) -> dict[str, Any]:
    """In the fresh process: how far memory rises while the array is read."""
    library = contender(name)
    array = library.open(path)
    corner = (slice(0, 16),) * 3
    library.piece(library.pieces(array, [corner])[0])
    risen, values = rise_of(lambda: library.fresh(array))
    return {"risen": risen, "nbytes": values.nbytes, "digest": digest(values)}


def _child(name: str, path: str) -> int:
    try:
        answer = _read(name, Path(path))
    except Unsupported as reason:
        answer = {"unsupported": str(reason)}
    except Exception:  # noqa: BLE001  (the parent shows it and goes on with the others)
        answer = {"error": traceback.format_exc()}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(_child(*sys.argv[2:]) if sys.argv[1:2] == [_CHILD] else main())
