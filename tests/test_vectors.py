"""Every published vector of kind ``read``: same dtype, shape, origin, labels and values.

Run through the public API, on every engine and with the optimizer on and off. In the vectors'
notation ``index`` counts in coordinates and ``stack`` and ``concat`` lay layers by their domains.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from tests.engines import ENGINES
from tests.tensor_adapters import Tensors
from tests.vector_eval import decode_array, evaluate, expected_result, load_vectors

VECTORS = load_vectors(kind="read")
FLAGS = {"optimized": lt.QueryOptFlags(), "as written": lt.QueryOptFlags.none()}

# Complex to bool follows NumPy; the peer the vectors come from has no such cast.
AS_NUMPY = {"cast/complex64_bool"}


def _read(vector: dict[str, Any], engine: Any, flags: lt.QueryOptFlags) -> Any:
    x = evaluate(vector["expr"], Tensors())
    return x, x.collect(engine=engine, optimizations=flags)


def test_there_are_vectors() -> None:
    assert len(VECTORS) == 144


@pytest.mark.parametrize("flags", sorted(FLAGS))
@pytest.mark.parametrize("engine", sorted(ENGINES))
@pytest.mark.parametrize("vector", VECTORS, ids=[v["id"] for v in VECTORS])
def test_vector(vector: dict[str, Any], engine: str, flags: str) -> None:
    expected = expected_result(vector)
    if "error" in expected and vector["id"] not in AS_NUMPY:
        with pytest.raises(lt.LazyTensorError):
            _read(vector, ENGINES[engine], FLAGS[flags])
        return
    x, found = _read(vector, ENGINES[engine], FLAGS[flags])
    if vector["id"] in AS_NUMPY:
        source = vector["expr"]["base"]
        values = decode_array(source["dtype"], source["data"])
        np.testing.assert_array_equal(found, values.astype(bool))
        return
    values = decode_array(expected["dtype"], expected["data"], expected["shape"])
    assert x.dtype == found.dtype == values.dtype
    assert x.shape == found.shape == values.shape
    assert list(x.origin) == expected["origin"]
    assert list(x.dims) == expected["labels"]
    if vector.get("inexact"):
        np.testing.assert_allclose(found, values, rtol=1e-6)
    else:
        np.testing.assert_array_equal(found, values)
