"""What reading a packet holds in memory beside its result, seen from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lazytensor.io import tenso
from tests.io.tenso.lazily import seekable

_PROGRAM = """
import resource, sys, numpy as np, lazytensor as lt
kind, path = sys.argv[1:]
lt.scan_tenso(path)[:1].collect()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
x = lt.scan_tenso(path, verify="always" if kind == "always" else "whole")
with lt.Config(kernels="numpy"):
    total = x.sum(dtype="f8").collect(engine=lt.LocalEngine(threads=2, max_memory="64 MiB"))
print(float(total), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
@pytest.mark.parametrize("kind", ["integrity", "always", "seekable"])
def test_a_large_packet_is_reduced_in_little_memory(tmp_path: Path, kind: str) -> None:
    values = np.ones((50_000, 1000), "f4")  # 200 MB
    path = tmp_path / "a.tenso"
    with open(path, "wb") as file:
        if kind == "seekable":
            file.write(seekable(values))
        else:
            tenso.dump(values, file, check_integrity=True)
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, kind, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    total, grown = done.stdout.split()
    assert float(total) == values.size
    assert int(grown) < 90, f"{grown} MiB"
