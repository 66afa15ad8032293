"""Every row of the table of readers (``benchmarks/readers.py``): ours is exact in all of them."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.errors import SourceError

_BENCHMARKS = str(Path(__file__).resolve().parents[2] / "benchmarks")

# The scripts there import each other by plain names, which must not stay importable for others.
sys.path.insert(0, _BENCHMARKS)
try:
    from reader_cases import CASES, Case
    from readers import READERS, judge, main, prepare
finally:
    sys.path.remove(_BENCHMARKS)


def test_names_tell_cases_apart() -> None:
    assert [name for name, count in Counter(case.name for case in CASES).items() if count > 1] == []
    assert len(CASES) >= 130


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_case_is_read_exactly(case: Case, tmp_path: Path) -> None:
    pytest.importorskip(case.needs)
    facts = prepare(case, tmp_path)
    if facts["expected"] is None:
        with pytest.raises(SourceError):
            READERS["lazytensor"](Path(facts["place"]), facts)
        return
    found = READERS["lazytensor"](Path(facts["place"]), facts)
    assert judge(found, facts["expected"], facts["format"]), f"{found!r} {facts['expected']!r}"


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_case_reads_in_parts(case: Case, tmp_path: Path) -> None:
    """A strided window and single elements: other ways through the same bytes."""
    pytest.importorskip(case.needs)
    facts = prepare(case, tmp_path)
    expected = facts["expected"]
    if expected is None or not expected.size:
        pytest.skip("nothing to take a part of")
    place = Path(facts["place"])
    x = lt.open_zarr(place)[facts["inside"]] if facts["inside"] else lt.scan_zarr(place)
    window = tuple(slice(1 if n > 1 else 0, None, 2) for n in expected.shape)
    corner = tuple(slice(n - 1, n) for n in expected.shape)
    for index in (window, corner):
        part: Any = expected[index]
        assert judge(x[index].collect(), part.copy() if isinstance(part, np.ndarray) else part)


def test_the_judge_sees_every_difference() -> None:
    right = np.array([1.0, np.nan, -0.0], "f4")
    assert judge(right.copy(), right) and judge(right.astype(">f4"), right)
    other_nan = np.array([0x3F800000, 0x7FC00ABC, 0x80000000], "u4").view("f4")
    wrong = (right.astype("f8"), right[:2], np.abs(right), right[::-1], other_nan, right[None])
    assert not any(judge(found, right) for found in wrong)
    pairs = np.arange(6, dtype="i4").reshape(2, 3)
    assert judge(pairs.T, pairs, "n5") and not judge(pairs.T, pairs)


def test_the_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--readers", "lazytensor", "--cases", "v2 keys", "--markdown"])
    lines = capsys.readouterr().out.splitlines()
    assert code == 0 and lines[0].startswith("| case | lazytensor ")
    assert lines[2:6] == [
        "| **keys** | 2 of 2 |",
        "| v2 keys with `.` | yes |",
        "| v2 keys with `/` | yes |",
        "| **all** | 2 of 2 |",
    ]
