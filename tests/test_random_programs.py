"""Random programs over the public API: every witness has to say the same.

NumPy on whole arrays, the interpreter, the local engine with tiny blocks and with one and three
threads, optimizer passes left out, several results at once, documents and pickles, windows of the
result, estimates, and what ``explain`` prints.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.exec import workgrid
from tests.engines import SETTINGS, Blocks
from tests.program_steps import POINTWISE, VIEWS, index_key, pair
from tests.program_wholes import WHOLES
from tests.programs import Drawn, Pick, Rolled, Value, leaf

INTERPRET = lt.InterpretEngine()
ONE, THREE = Blocks(64, 1), Blocks(64, 3)
FAMILIES = (VIEWS, VIEWS, POINTWISE, WHOLES, WHOLES)


def program(pick: Pick, steps: int = 6) -> list[Value]:
    """Everything that a random program makes, in order."""
    made = [leaf(pick)]
    for _ in range(pick.integer(1, steps)):
        v = made[-1] if pick.integer(0, 3) else pick.one(made)
        if len(made) > 1 and pick.integer(0, 5) == 0:
            following = pair(pick, v, pick.one(made))
        else:
            following = pick.one(pick.one(FAMILIES))(pick, v)
        if following is not None:
            made.append(following)
    return made


def agree(found: Any, v: Value, what: str, slack: float = 1.0) -> None:
    """A result against the mirror."""
    found, want = np.asarray(found), v.values
    assert found.dtype == want.dtype, f"{what}: dtype {found.dtype}, not {want.dtype}\n{v.text}"
    assert found.shape == want.shape, f"{what}: shape {found.shape}, not {want.shape}\n{v.text}"
    if v.bound is None:
        same = same_values(found, want)
    else:
        with np.errstate(all="ignore"):
            apart = np.abs(found.astype(np.longdouble) - want.astype(np.longdouble))
            near = apart <= slack * v.bound
            same = near | same_values(found, want) | ~np.isfinite(v.bound)
    assert same.all(), f"{what}: {found[~same][:5]!r}, not {want[~same][:5]!r}\n{v.text}"


def same_values(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Equal, both NaN, and of the same sign if both are zero."""
    if a.dtype.kind == "c":
        return same_values(a.real, b.real) & same_values(a.imag, b.imag)
    with np.errstate(all="ignore"):
        same: np.ndarray = a == b
        if a.dtype.kind in "fV":
            a, b = a.astype(np.longdouble), b.astype(np.longdouble)
            same = same & (np.signbit(a) == np.signbit(b)) | np.isnan(a) & np.isnan(b)
    return same


def check(pick: Pick, v: Value, whole: bool = True) -> None:
    """One tensor before all witnesses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _check(pick, v)


def _check(pick: Pick, v: Value) -> None:
    x = v.x
    agree(x.collect(engine=INTERPRET), v, "interpret")
    default = x.collect()
    agree(default, v, "default")
    one, three = x.collect(engine=ONE), x.collect(engine=THREE)
    agree(one, v, "one thread")
    assert one.tobytes() == three.tobytes(), f"threads differ\n{v.text}"
    for _ in range(2):
        flags = pick.one(SETTINGS)
        engine = pick.one((ONE, INTERPRET, "local"))
        agree(x.collect(engine=engine, optimizations=flags), v, f"{flags} {engine}")
    key = index_key(pick, x.shape)
    window = Value(
        x[key], v.values[key], f"({v.text})[{key!r}]", None if v.bound is None else v.bound[key]
    )
    for engine in (ONE, "auto"):
        agree(window.x.collect(engine=engine), window, f"window {engine}")


def check_documents(v: Value) -> None:
    """Plans written down and read again, printed and estimated."""
    x = v.x
    again = pickle.loads(pickle.dumps(x)) if not _unpicklable(v) else x
    agree(again.collect(), v, "pickled", 1.0)
    try:
        text = x.serialize(format="binary") if "ChunkedArray" not in v.text else None
    except lt.SerializationError:
        text = None
    if text is not None:
        read = lt.LazyTensor.deserialize(text, functions=v.functions)
        assert read.serialize(format="binary") == text
        agree(read.collect(), v, "deserialized")
    for form in ("plain", "tree", "dot", "json", "html"):
        for stage in ("logical", "physical"):
            x.explain(format=form, stage=stage, rules=True)
            x.explain(format=form, stage=stage, optimized=False)
    result, _frame = x.profile(engine=ONE)
    agree(result, v, "profile")


def _unpicklable(v: Value) -> bool:
    return "virtual(" in v.text or "ChunkedArray" in v.text


def check_estimate(v: Value) -> None:
    """Tasks are those that run."""
    for target in (workgrid.TARGET, 64):
        with blocks_of(target):
            lt.metrics(reset=True)
            estimate = v.x.estimate(engine="local", exact=True)
            v.x.collect(engine="local")
            ran = lt.metrics()
        assert estimate.tasks == ran.get("tasks", 0), f"{estimate} {ran}\n{v.text}"


@contextmanager
def blocks_of(target: int) -> Iterator[None]:
    """Tasks of about so many bytes."""
    before = workgrid.TARGET, workgrid._SMALLEST
    workgrid.TARGET = workgrid._SMALLEST = target
    try:
        yield
    finally:
        workgrid.TARGET, workgrid._SMALLEST = before


def check_together(values: list[Value]) -> None:
    """Several results at once are the same as one by one."""
    for engine in ("auto", ONE):
        found = lt.collect_all([v.x for v in values], engine=engine)
        for v, result in zip(values, found, strict=True):
            agree(result, v, f"collect_all {engine}")


def sweep(seed: int, count: int, start: int = 0) -> int:
    """Many programs by seed; prints those that fail and returns their number."""
    import traceback

    failed = 0
    for n in range(start, start + count):
        text = "?"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pick = Rolled(f"{seed}-{n}")
                values = program(pick)
                text = values[-1].text
                run_all(pick, values)
        except Exception as error:
            failed += 1
            print(f"=== {seed}-{n}", type(error).__name__, str(error)[:300].split(chr(10))[0], chr(10), text[-700:], flush=True)
            if not isinstance(error, AssertionError):
                traceback.print_exc(limit=-6)
    return failed


def run_all(pick: Pick, values: list[Value]) -> None:
    """Every witness on the last tensor of a program, and all of them together."""
    _check(pick, values[-1])
    what = pick.integer(0, 3)
    if what == 0:
        check_documents(values[-1])
    elif what == 1:
        check_together(values[-3:])
    elif what == 2:
        check_estimate(values[-1])


@settings(max_examples=150)
@given(st.data())
def test_programs(data: st.DataObject) -> None:
    pick = Drawn(data.draw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_all(pick, program(pick))


@pytest.mark.parametrize("seed", range(4))
def test_programs_by_seed(seed: int) -> None:
    assert sweep(seed, 50) == 0
