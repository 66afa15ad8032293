"""What a process imports to read one chunk, and the tables from which it leaves the rest out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lazytensor.exec import demand, engine, footprint, steps
from lazytensor.plan.families import Families
from lazytensor.plan.registry import resolve

TABLES = {
    "demand": demand._DEMANDS,
    "engine": engine._SHORTHANDS,
    "footprint": footprint._BESIDE,
    "steps": steps._KERNELS,
}


@pytest.mark.parametrize("name", TABLES)
def test_every_entry_of_a_family_is_found(name: str) -> None:
    """Whichever is asked for first."""
    table: Families = TABLES[name]
    for target in table._families.values():
        for key, value in resolve(target).items():
            fresh: Families = Families({}, table._families, table._family)
            assert key in fresh
            assert fresh[key] is value


@pytest.mark.parametrize("name", TABLES)
def test_every_named_entry_is_in_its_family(name: str) -> None:
    table: Families = TABLES[name]
    if table._family is None:
        for key, target in table._families.items():
            assert key in resolve(target)


def test_what_is_in_no_family() -> None:
    table: Families[str, int] = Families({"e": 101}, {"amp": "html.entities:name2codepoint"})
    assert "qq" not in table
    with pytest.raises(KeyError, match="qq"):
        table["qq"]
    assert table["amp"] == 38
    assert "lt" in table  # it came with the family
    assert table.whole()["e"] == 101


LEFT_OUT = {
    "concurrent.futures",
    "hashlib",
    "llvmlite",
    "logging",
    "numpy.typing",
    "pathlib",
    "subprocess",
    "tempfile",
    "urllib.parse",
}
"""What numpy does not import and takes milliseconds each."""

MOST_MODULES = 175
"""Modules of ours, at about 0.3 ms each with what they cost at exit."""


def test_reading_a_chunk_imports_little(tmp_path: Path) -> None:
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [4],
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2]}},
        "chunk_key_encoding": {"name": "default"},
        "codecs": [{"name": "bytes"}],
        "fill_value": 0,
    }
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "1").write_bytes(bytes([7, 8]))
    (tmp_path / "zarr.json").write_text(json.dumps(document))
    code = (
        "import sys, lazytensor as lt;"
        f"assert lt.scan_zarr({str(tmp_path)!r})[2:].collect().tolist() == [7, 8];"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    modules = set(done.stdout.split())
    assert not modules & LEFT_OUT
    assert sum(name.startswith("lazytensor") for name in modules) <= MOST_MODULES
