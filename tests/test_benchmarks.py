"""The benchmarks still run, and every contender still computes what NumPy does."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "engine.py"
ROWS = ["read-lz4", "cast-lz4", "mean-lz4", "chain-raw", "spread-raw", "tiles-random", "batches"]
OTHERS = {"numexpr": "numexpr", "xarray": "xarray", "blosc2 (in memory)": "blosc2"}
"""Contenders that are timed where their package is installed."""


@pytest.mark.skipif(not SCRIPT.exists(), reason="the benchmarks are not here")
@pytest.mark.skipif(
    importlib.util.find_spec("tensorstore") is None, reason="tensorstore is not installed"
)
@pytest.mark.timeout(300)
def test_a_small_run_of_the_engine_benchmark_is_right(tmp_path: Path) -> None:
    """Exit status 1 would mean that a contender failed, or differs from NumPy."""
    contenders = ["lazytensor", "floor", "tensorstore", "dask"]
    contenders += [name for name, module in OTHERS.items() if importlib.util.find_spec(module)]
    done = subprocess.run(
        [
            sys.executable, SCRIPT, "--quick", "--data", tmp_path, "--rows", *ROWS,
            "--contenders", *contenders,
        ],
        capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "cast to float32, blosc-lz4" in done.stdout
    assert "WRONG" not in done.stdout and "failed" not in done.stdout
