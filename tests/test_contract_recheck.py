"""Whether metadata is looked at again before a collect: always nearby, remotely when asked to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import fsspec
import numpy as np
import pytest

import lazytensor as lt
from lazytensor.io.store_fsspec import FsspecStore
from tests.io.zarr_cases import array_v3


@pytest.fixture
def memory() -> Iterator[Any]:
    fs = fsspec.filesystem("memory")
    fs.pipe("/recheck/zarr.json", json.dumps(array_v3((2,), (2,))).encode())
    yield fs
    fs.rm("/recheck", recursive=True)


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("recheck", [False, True])
def test_changed_metadata(
    memory: Any, monkeypatch: pytest.MonkeyPatch, remote: bool, recheck: bool
) -> None:
    monkeypatch.setattr("lazytensor.io.store_fsspec._NEAR", {"none"} if remote else {"memory"})
    x = lt.scan_zarr("memory://recheck")
    assert FsspecStore(memory, "/recheck").remote is remote
    memory.pipe("/recheck/zarr.json", json.dumps(array_v3((3,), (2,))).encode())
    with lt.Config(recheck=recheck):
        if remote and not recheck:
            assert isinstance(x.collect(), np.ndarray)
        else:
            with pytest.raises(lt.SourceChangedError, match="scan it again"):
                x.collect()
