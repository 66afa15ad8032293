"""Every engine, with every optimizer flag on and off, computes what NumPy computes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazytensor as lt
from tests.engines import ENGINES, SETTINGS
from tests.plans import Mirror, Pair, plans


def check(found: np.ndarray, expected: Mirror) -> None:
    assert found.dtype == expected.values.dtype
    assert found.shape == expected.values.shape
    np.testing.assert_array_equal(found, expected.values)


@settings(max_examples=300)
@given(plans(), st.sampled_from(sorted(ENGINES)), st.sampled_from(SETTINGS))
def test_engines_agree_with_numpy(pair: Pair, engine: str, flags: lt.QueryOptFlags) -> None:
    x, mirror = pair
    assert x.shape == mirror.values.shape
    assert x.dtype == mirror.values.dtype
    for n, lo, expected in zip(x.shape, x.origin, mirror.origin, strict=True):
        assert n == 0 or lo == expected
    check(x.collect(engine=ENGINES[engine], optimizations=flags), mirror)


@settings(max_examples=150)
@given(plans(min_ndim=1), st.data(), st.sampled_from(sorted(ENGINES)), st.sampled_from(SETTINGS))
def test_a_slice_of_a_view_is_the_view_of_a_slice(
    pair: Pair, data: st.DataObject, engine: str, flags: lt.QueryOptFlags
) -> None:
    x, mirror = pair
    key = tuple(
        slice(
            data.draw(st.none() | st.integers(-n - 1, n + 1)),
            data.draw(st.none() | st.integers(-n - 1, n + 1)),
            data.draw(st.sampled_from((None, 1, 2, -1, -3))),
        )
        for n in x.shape
    )
    found = x[key].collect(engine=ENGINES[engine], optimizations=flags)
    np.testing.assert_array_equal(found, mirror.values[key])


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_results_are_owned_contiguous_aligned_and_writable(name: str) -> None:
    values = np.arange(60).reshape(3, 4, 5)
    for x in (lt.asarray(values), lt.asarray(values)[:, ::2], lt.asarray(values) + 1):
        found = x.collect(engine=ENGINES[name])
        assert found.flags.c_contiguous
        assert found.flags.writeable
        assert found.ctypes.data % 64 == 0
        assert not np.shares_memory(found, values)
