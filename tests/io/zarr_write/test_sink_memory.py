"""Much is written through little, whatever is written at once."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")

LIMIT = 48 << 20


@pytest.mark.parametrize(
    "options",
    [
        {"chunks": 128},
        {"chunks": 64, "compressor": None},
        {"chunks": 32, "shards": 128, "compressor": "blosc"},
        {"chunks": (4, 512, 512), "zarr_format": 2, "filters": "delta"},
    ],
    ids=str,
)
def test_much_is_written_through_little(tmp_path: Path, options: dict[str, Any]) -> None:
    script = textwrap.dedent(
        f"""
        from pathlib import Path
        import numpy as np
        import lazytensor as lt

        def status(key):
            lines = Path("/proc/self/status").read_text().splitlines()
            return next(int(line.split()[1]) << 10 for line in lines if line.startswith(key))

        noise = np.random.default_rng(0).integers(0, 1 << 16, (4, 512, 512)).astype("u2")

        def read(domain, out):
            inside = tuple(slice(0, hi - lo) for lo, hi in
                           zip(domain.inclusive_min, domain.exclusive_max))
            out[...] = noise[inside]

        engine = lt.LocalEngine(max_memory={LIMIT}, threads=2)

        def go(slabs):
            x = lt.virtual_chunked(
                read, shape=(4 * slabs, 512, 512), dtype="u2", chunks=(4, 512, 512)
            )
            return x.sink_zarr({str(tmp_path / "x")!r}, engine=engine, mode="overwrite",
                               **{options!r})

        go(4)
        Path("/proc/self/clear_refs").write_text("5")
        before = status("VmRSS:")
        go(150)
        print(status("VmHWM:") - before)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False
    )
    assert not done.returncode, done.stderr
    # 300 MiB of values; the bound, and what the interpreter and the allocator take.
    assert int(done.stdout) < LIMIT + (44 << 20)
