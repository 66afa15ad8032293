"""What operations cost NumPy an element, against looking the result up: the law's table.

``python -m benchmarks.operation_costs`` measures and prints; ``--write`` puts the numbers into
``lazytensor/plan/ops_cost.py``, where the law of lookup tables reads them; ``--chains`` measures
whole chains on 8 and 16-bit images with the law and without. Nanoseconds an element of 2^20, the
best of several runs: what counts is which of two ways is cheaper, not how this machine compares
with others.
"""

from __future__ import annotations

import argparse
import re
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np

import lazytensor as lt
from lazytensor.errors import DTypeError
from lazytensor.exec.kernels.axis import lookup_into
from lazytensor.exec.kernels.cast import cast_into
from lazytensor.plan.ops import ELEMENTWISE
from lazytensor.plan.ops_cost import cost_class

TARGET = Path(__file__).resolve().parent.parent / "lazytensor" / "plan" / "ops_cost.py"
COUNT = 1 << 20
CODES = ("?", "u1", "i1", "u2", "i2", "i4", "i8", "f2", "f4", "f8")
DTYPES = (*map(np.dtype, CODES), np.dtype(ml_dtypes.bfloat16), np.dtype(ml_dtypes.float8_e4m3fn))


def best(run: Callable[[], object], repeats: int = 15) -> float:
    """Nanoseconds an element."""
    found = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        found = min(found, time.perf_counter() - start)
    return found / COUNT * 1e9


def values(dtype: np.dtype) -> np.ndarray:
    """Positive numbers that every dtype holds."""
    rng = np.random.default_rng(0)
    return (rng.integers(1, 100, COUNT) % (2 if dtype.kind == "b" else 100)).astype(dtype)


def operation(name: str, dtype: np.dtype) -> float | None:
    """An operation whose loop takes this dtype; operands after the first are scalars."""
    row = ELEMENTWISE[name]
    operands: list[np.ndarray] = [values(dtype)]
    if name == "where":
        operands = [values(np.dtype(bool)), values(dtype)]
    # NumPy has its own ways with the powers 0.5 and 2.
    scalar = np.asarray(2.2 if name == "pow" else 2, dtype)
    operands += [scalar] * (row.arity - len(operands))
    try:
        loop = row.loop(tuple(x.dtype for x in operands))
    except DTypeError:
        return None
    if loop.operands[-1] != dtype or (name == "pow" and dtype.kind in "iu"):
        return None
    out = np.empty(COUNT, loop.result)
    return best(lambda: row.evaluate(*operands, out=out))


def costs() -> dict[str, dict[str, float]]:
    """By operation and class of dtypes, the dearest of the class."""
    table: dict[str, dict[str, float]] = {"cast": {}}
    for name in ELEMENTWISE:
        for dtype in DTYPES:
            found = operation(name, dtype)
            if found is not None:
                key = cost_class(dtype)
                column = table.setdefault(name, {})
                column[key] = max(column.get(key, 0.0), round(found, 2))
    for source in DTYPES:
        for target in map(np.dtype, ("u1", "u2", "f4", "f8")):
            x, out = values(source), np.empty(COUNT, target)
            found = best(lambda x=x, out=out: cast_into(x, out))  # type: ignore[misc]
            key = cost_class(source)
            table["cast"][key] = max(table["cast"].get(key, 0.0), round(found, 2))
    return table


def lookups() -> dict[str, float]:
    """By bytes of an element of the table; of 65 536 values, the dearer kind."""
    x = np.random.default_rng(0).integers(0, 1 << 16, COUNT).astype("u2")
    out = {}
    for code in ("u1", "u2", "f4", "f8"):
        table, into = np.arange(1 << 16).astype(code), np.empty(COUNT, code)
        cost = best(lambda table=table, into=into: lookup_into(table, x, into))  # type: ignore[misc]
        out[str(table.itemsize)] = round(cost, 2)
    return out


def write(name: str, table: object) -> None:
    """Replace the literal of a name in the module of costs."""
    text = TARGET.read_text(encoding="utf-8")
    pattern = re.compile(rf"^({name}: [^=]*= ).*?^(?=\"\"\")", re.MULTILINE | re.DOTALL)
    body = repr(table).replace("'", '"')
    if isinstance(table, dict) and any(isinstance(v, dict) for v in table.values()):
        rows = [
            textwrap.fill(
                f'"{k}": {v!r},'.replace("'", '"'),
                96,
                initial_indent=" " * 4,
                subsequent_indent=" " * 8,
            )
            for k, v in table.items()
        ]
        body = "\n".join(["{", *rows, "}"])
    assert pattern.search(text), name
    TARGET.write_text(pattern.sub(lambda m: f"{m[1]}{body}\n", text), encoding="utf-8")


CHAINS: dict[str, Callable[[lt.LazyTensor], lt.LazyTensor]] = {
    "2: x * 2 + 1": lambda x: x * 2 + 1,
    "2: sqrt(f4)": lambda x: lt.sqrt(x.astype("f4")),
    "2: log1p(f4)": lambda x: lt.log1p(x.astype("f4")),
    "3: (f4 - 100) / 50": lambda x: (x.astype("f4") - 100) / 50,
    "3: pow(f4 / 255, 1 / 2.2)": lambda x: lt.pow(x.astype("f4") / 255, 1 / 2.2),
    "5: clip(sqrt((f4 - 3) / 200)) -> u1": lambda x: (
        lt.clip(lt.sqrt((x.astype("f4") - 3) / 200), 0, 1) * 255
    ).astype("u1"),
    "5: window -> u1": lambda x: (lt.clip((x.astype("f4") - 100) / 3900, 0, 1) * 255).astype("u1"),
    "1: sin(f8)": lambda x: lt.sin(x.astype("f8")),
    "isin(9 labels)": lambda x: lt.isin(x, [1, 2, 5, 9, 10, 44, 90, 120, 121]),
}


def chains(edge: int) -> None:
    """Seconds for whole chains, law on and off."""
    without = lt.QueryOptFlags().update(lookup_tables=False)
    print(f"{'dtype':6}{'chain':38}{'law ms':>9}{'without ms':>12}  fires")
    for code in ("u1", "i1", "u2", "f2"):
        x = lt.asarray((np.arange(edge**3) * 7919 % 251).astype(code).reshape((edge,) * 3))
        for name, make in CHAINS.items():
            y = make(x)
            out = np.empty(y.shape, y.dtype)
            ms = [
                best(lambda y=y, out=out, f=f: y.collect(out=out, optimizations=f), 3)  # type: ignore[misc]
                * COUNT / 1e6
                for f in (lt.QueryOptFlags(), without)
            ]  # fmt: skip
            fires = "look up" in y.explain()
            print(f"{code:6}{name:38}{ms[0]:9.1f}{ms[1]:12.1f}  {'yes' if fires else 'no'}")


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="update plan/ops_cost.py")
    parser.add_argument("--chains", type=int, metavar="EDGE", help="measure chains on EDGE^3")
    args = parser.parse_args()
    if args.chains:
        chains(args.chains)
        return
    operations, tables = costs(), lookups()
    for name, column in operations.items():
        print(name, column)
    print("lookup", tables)
    if args.write:
        write("COSTS", operations)
        write("LOOKUPS", tables)


if __name__ == "__main__":
    main()
