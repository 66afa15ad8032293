"""Sinks on an object store: what is put, what is replaced, what a failure leaves."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.io import store_retry

moto = pytest.importorskip("moto.server", reason="the object store of these tests")
pytest.importorskip("s3fs", reason="the file system of these tests")

VALUES = np.arange(20 * 13 * 7, dtype="u2").reshape(20, 13, 7) + 1


@pytest.fixture(scope="module")
def options() -> Iterator[dict[str, Any]]:
    """What s3fs must be told to reach the server, which has a bucket."""
    import s3fs

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    found = {
        "key": "key", "secret": "hunter2", "endpoint_url": f"http://{host}:{port}",
        "client_kwargs": {"region_name": "eu-west-1"},
    }  # fmt: skip
    s3fs.S3FileSystem(**found).mkdir("sinks")
    yield found
    server.stop()


def objects(options: dict[str, Any], path: str) -> list[str]:
    import s3fs

    fs = s3fs.S3FileSystem(**options)
    fs.invalidate_cache()
    found: list[str] = fs.find(path)
    return found


@pytest.mark.parametrize("chunks", [None, (8, 13, 7)])
@pytest.mark.parametrize("compress", [False, True])
def test_there_and_back(options: dict[str, Any], chunks: Any, compress: bool) -> None:
    url = f"s3://sinks/{chunks is None}{compress}/x"
    x = lt.asarray(VALUES, dims=("z", "y", "x"))
    keywords = {"chunks": chunks, "compress": compress, "storage_options": options}
    found = x.sink_tenso(url, **keywords)
    np.testing.assert_array_equal(found.collect(), VALUES)
    with pytest.raises(lt.SinkExistsError, match="something at 's3://sinks"):
        x.sink_tenso(url, **keywords)
    found = (x + 1).sink_tenso(url, mode="overwrite", **keywords)
    np.testing.assert_array_equal(found.collect(), VALUES + 1)
    assert len(objects(options, url)) == (1 if chunks is None else 4)


@pytest.mark.parametrize("chunks", [None, (4, 13, 7)])
def test_a_failure_leaves_what_was_there(options: dict[str, Any], chunks: Any) -> None:
    url = f"s3://sinks/failure-{chunks is None}"
    before = lt.asarray(VALUES).sink_tenso(url, chunks=chunks, storage_options=options)
    keys = objects(options, url)

    def fail(block: np.ndarray, domain: Any) -> np.ndarray:
        if domain.inclusive_max[0] > 10:
            raise ZeroDivisionError("half way")
        return block

    x = lt.map_blocks(fail, lt.asarray(VALUES, chunks=(4, 13, 7)), dtype="u2")
    with pytest.raises(ZeroDivisionError):
        x.sink_tenso(url, chunks=chunks, mode="overwrite", storage_options=options)
    assert objects(options, url) == keys
    np.testing.assert_array_equal(before.collect(), VALUES)


def test_secrets_stay_secret(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_retry, "ATTEMPTS", 1)
    wrong = {**options, "endpoint_url": "http://me:hunter2@127.0.0.1:1"}
    wrong["config_kwargs"] = {"retries": {"max_attempts": 0}, "connect_timeout": 1}
    with pytest.raises(lt.SinkError) as error:
        lt.asarray(VALUES).sink_tenso("s3://sinks/y", chunks=8, storage_options=wrong)
    assert "hunter2" not in str(error.value)
