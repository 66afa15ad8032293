"""No decoder reads or writes one byte too far, whatever the chunk says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numcodecs
import pytest

from lazytensor import native
from lazytensor.io.codec import compiled
from tests.io.zarr_cases import array_v2, distinct, read, same, v2

PROGRAM = Path(__file__).with_name("guarded.py")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs mprotect")
@pytest.mark.parametrize("seed", [1, 2])
def test_chunks_at_the_end_of_memory(seed: int) -> None:
    """Some ten thousand chunks, whole and damaged, in a process that a fault would end."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(seed), "20"],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("alive")


@pytest.mark.parametrize("codec", ["zstd", "blosc"])
def test_no_memory_for_a_context(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """zstd does not ask whether there is a context: without one, the plain way decodes."""
    assert native.wait("chunks", timeout=200) is not None, native.reason("chunks")
    encoder = {"zstd": numcodecs.Zstd(1), "blosc": numcodecs.Blosc("zstd")}[codec]
    values = distinct((16 * 512,), "u2")
    document = array_v2((16 * 512,), (512,), compressor=encoder.get_config())
    chunks = {str(n): bytes(encoder.encode(part)) for n, part in enumerate(values.reshape(16, -1))}
    monkeypatch.setattr(compiled, "zstd_context", lambda: 0)
    assert same(read(v2(document, chunks)), values)
