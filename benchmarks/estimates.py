"""Peak memory of collecting against the estimate: ``python benchmarks/estimates.py --help``.

A fresh process for each plan: build it, collect a part of it, so that what is imported or
compiled when first needed is there, ask for the estimate, collect, and see how far resident memory
rises, the result included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data import make_data
from report import FAILED, publish, table
from rise import rise_of

__all__ = ["main"]

_HERE = Path(__file__).parent
_CHILD = "--collect"
_LEAST = 64 << 20
"""Plans below are shown, and promised nothing."""
_MOST = 1.5


def _tiles(x: Any, lt: Any) -> Any:
    n = x.shape[0] // 4
    parts = [x[i : i + n + 9] for i in range(0, x.shape[0], n)]
    return lt.overlay(parts, fill_value=0)


def _shuffled(x: Any, lt: Any) -> Any:
    n = x.shape[0]
    return x[[i * 7 % n for i in range(n)]]


PLANS: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "read raw": ("raw", lambda x, lt: x),
    "read lz4": ("lz4", lambda x, lt: x),
    "read zstd": ("zstd", lambda x, lt: x),
    "read 32³ chunks": ("small", lambda x, lt: x),
    "read shards": ("sharded", lambda x, lt: x),
    "crop": ("lz4", lambda x, lt: x[:, 37:-37, 11:-50]),
    "every second": ("lz4", lambda x, lt: x[:, ::2, ::2]),
    "transpose": ("lz4", lambda x, lt: lt.permute_dims(x, (2, 1, 0))),
    "flip": ("zstd", lambda x, lt: x[::-1, ::-1]),
    "cast": ("lz4", lambda x, lt: x.astype("f4")),
    "downsample": ("lz4", lambda x, lt: lt.downsample(x, (1, 2, 2))),
    "median": ("lz4", lambda x, lt: lt.downsample(x, (1, 2, 2), "median")),
    "chain": ("lz4", lambda x, lt: lt.sqrt((x.astype("f4") - 100) * 0.5 + 3)),
    "difference": ("lz4", lambda x, lt: x[1:] - x[:-1]),
    "mean": ("lz4", lambda x, lt: lt.mean(x)),
    "mean of planes": ("lz4", lambda x, lt: lt.mean(x, axis=0)),
    "std": ("lz4", lambda x, lt: lt.std(x)),
    "centred": ("lz4", lambda x, lt: x - lt.mean(x)),
    "mosaic": ("lz4", _tiles),
    "concat": ("zstd", lambda x, lt: lt.concat([x[x.shape[0] // 2 :], x[: x.shape[0] // 2]])),
    "pad": ("lz4", lambda x, lt: lt.pad(x, 8, mode="edge")),
    "shuffled planes": ("lz4", _shuffled),
    "shards, chain": ("sharded", lambda x, lt: (x.astype("f4") - 100) * 0.5),
}


def main() -> int:
    """Do what the command line asks for; 1 if an estimate is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="128³: does it work?")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    parser.add_argument("--readme", action="store_true", help="put it into README.md")
    parser.add_argument("--data", type=Path, default=_HERE / ".data", help="where stores are kept")
    parser.add_argument("--plans", nargs="*", default=list(PLANS), choices=list(PLANS))
    arguments = parser.parse_args()
    home = make_data(arguments.data, "large", quick=arguments.quick)
    lines = [["plan", "result", "peak", "estimate", "ratio"]]
    wrong = False
    for name in arguments.plans:
        print(name, file=sys.stderr, flush=True)
        answer = _ask(name, home / PLANS[name][0])
        if "error" in answer:
            print(answer["error"], file=sys.stderr)
            lines.append([name, "", "", "", FAILED])
            wrong = True
            continue
        ratio = answer["estimate"] / answer["risen"]
        bad = answer["estimate"] >= _LEAST and not 1 <= ratio <= _MOST
        wrong = wrong or bad
        sizes = [f"{answer[key] / 2**20:.0f} MiB" for key in ("nbytes", "risen", "estimate")]
        lines.append([name, *sizes, f"{ratio:.2f}{' ✗' if bad else ''}"])
    print(table(lines, markdown=arguments.markdown))
    if arguments.readme:
        publish({"estimates": table(lines, markdown=True)}, _HERE / "README.md")
    return 1 if wrong else 0


def _ask(name: str, store: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, _CHILD, name, str(store)]
    environ = {**os.environ, "PYTHONPATH": str(_HERE.parent)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environ, check=False)
    lines = done.stdout.splitlines()
    return dict(json.loads(lines[-1])) if lines else {"error": f"status {done.returncode}"}


def _collect(name: str, store: str) -> dict[str, Any]:
    """In the fresh process: how far memory rises, and what was foretold."""
    import lazytensor as lt
    from lazytensor import native

    x = lt.scan_zarr(store)
    y = PLANS[name][1](x, lt)
    part = PLANS[name][1](x[:130, :260, :260], lt)
    part.collect()
    native.wait("chunks", timeout=60)
    part.collect()
    estimate = y.estimate()
    risen, values = rise_of(y.collect)
    return {"estimate": estimate.peak_memory, "risen": risen, "nbytes": values.nbytes}


def _child(name: str, store: str) -> int:
    try:
        answer = _collect(name, store)
    except Exception:  # noqa: BLE001  (the parent shows it and goes on with the others)
        answer = {"error": traceback.format_exc()}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(_child(*sys.argv[2:]) if sys.argv[1:2] == [_CHILD] else main())
