"""The benchmarks still run, and every contender still computes what NumPy does."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.io.ome_arrow.ome_arrow_peer import PYTHON as OME_ARROW_PYTHON
from tests.io.ome_arrow.ome_arrow_peer import needs_ome_arrow

HOME = Path(__file__).parent.parent / "benchmarks"
ROWS = ["read-lz4", "cast-lz4", "mean-lz4", "chain-raw", "spread-raw", "tiles-random", "batches"]
OTHERS = {"numexpr": "numexpr", "xarray": "xarray", "blosc2 (in memory)": "blosc2"}
"""Contenders that are timed where their package is installed."""


pytestmark = [
    pytest.mark.skipif(not HOME.exists(), reason="the benchmarks are not here"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where stores are kept."""
    return tmp_path_factory.mktemp("data")


def run(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Exit status 1 would mean that a contender failed, or differs from NumPy."""
    done = subprocess.run(
        [sys.executable, HOME / script, "--quick", *arguments],
        capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.skipif(
    importlib.util.find_spec("tensorstore") is None, reason="tensorstore is not installed"
)
def test_a_small_run_of_the_engine_benchmark_is_right(data: Path) -> None:
    contenders = ["lazytensor", "floor", "tensorstore", "dask"]
    contenders += [name for name, module in OTHERS.items() if importlib.util.find_spec(module)]
    done = run("engine.py", "--data", data, "--rows", *ROWS, "--contenders", *contenders)
    assert "cast to float32, blosc-lz4" in done.stdout
    assert "WRONG" not in done.stdout and "failed" not in done.stdout


def test_a_small_run_of_the_scaling_benchmark_is_right(data: Path) -> None:
    rows = ("read-lz4", "mean-lz4", "spread-raw")
    done = run("engine_scaling.py", "--data", data, "--rows", *rows)
    assert "downsample 2×2×2 mean, blosc-lz4" in done.stdout
    assert "zarr, 1 000 chunks a shard" in done.stdout
    assert not list(data.glob("tmp*")), "what was made for one run is still there"


@pytest.mark.skipif(importlib.util.find_spec("tenso") is None, reason="tenso is not installed")
def test_a_small_run_of_the_packet_benchmark_is_right(data: Path) -> None:
    rows = ("write", "read", "lz4", "open", "slice", "dequantize")
    done = run("packets.py", "--data", data, "--rows", *rows)
    assert "open a file and read 4 MiB of it" in done.stdout
    assert "WRONG" not in done.stdout and "failed" not in done.stdout


@needs_ome_arrow
def test_a_small_run_of_the_benchmark_of_images_in_tables_is_right(data: Path) -> None:
    rows = ("schema", "plane", "tiles", "write-bytes")
    done = run("ome_arrow.py", "--data", data, "--rows", *rows, "--peer", OME_ARROW_PYTHON)
    assert "open a mapped IPC file, read a plane" in done.stdout
    assert "WRONG" not in done.stdout and "failed" not in done.stdout
