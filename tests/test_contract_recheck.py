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
from tests.io.servers import serving
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


@pytest.mark.parametrize("etags", ["strong", "weak", None])
def test_changed_metadata_over_http(etags: str | None) -> None:
    """One request a collect if asked to; nothing to go by where the server tells nothing."""
    pytest.importorskip("aiohttp")

    def document(fill: int) -> bytes:
        return json.dumps(array_v3((2,), (2,), fill_value=fill)).encode()

    with serving({"a/zarr.json": document(1)}) as server:
        server.etags = etags
        x = lt.scan_zarr(f"{server.url}/a")
        server.log.clear()
        with lt.Config(recheck=True):
            assert x.collect().tolist() == [1, 1]
        checks = [request for request in server.log if request.path == "a/zarr.json"]
        assert len(checks) == (0 if etags is None else 1)
        server.objects["a/zarr.json"] = document(2)
        assert x.collect().tolist() == [1, 1]
        with lt.Config(recheck=True):
            if etags is None:
                assert x.collect().tolist() == [1, 1]
            else:
                with pytest.raises(lt.SourceChangedError, match=r"zarr\.json has changed"):
                    x.collect()
