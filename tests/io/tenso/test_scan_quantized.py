"""Quantized packets as lazy values: what they stand for, and what a slice of them reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.io import tenso
from tests.engines import ENGINES
from tests.io.tenso.lazily import ONE, counted, read

RNG = np.random.default_rng(3)
X = RNG.normal(size=(37, 29, 11)).astype("f4")
SCHEMES: dict[str, dict[str, Any]] = {
    "per_tensor": {},
    "per_channel 0": {"scheme": "per_channel", "axis": 0},
    "per_channel 2": {"scheme": "per_channel", "axis": 2},
    "per_group 7": {"scheme": "per_group", "group_size": 7},
    "per_group 11": {"scheme": "per_group", "group_size": 11},
    "per_group 128": {"scheme": "per_group", "group_size": 128},
    "one group": {"scheme": "per_group", "group_size": 10**6},
}
KEYS = (np.s_[:], np.s_[5], np.s_[3:30:4, ::-1], np.s_[..., 4], np.s_[7, 3:20, 2:5], np.s_[1, 2, 3])


@pytest.mark.parametrize("dtype", ["qint8", "quint8", "qint4", "quint4"])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("options", [{}, {"alignment": 1, "check_integrity": True}], ids=str)
def test_slices(dtype: str, scheme: str, options: dict[str, Any]) -> None:
    q = lt.quantize(X, dtype, **SCHEMES[scheme]).collect()
    want = q.dequantize()
    packet = bytes(tenso.dumps(q, **options))
    for source in (({"a": packet}, "a"), packet):
        x = lt.scan_tenso(source)
        assert x.dtype == np.float32 and x.shape == X.shape
        for key in KEYS:
            assert np.array_equal(x[key].collect(), want[key])
        for engine in ENGINES.values():
            assert np.array_equal(x[3:9, ::2].collect(engine=engine), want[3:9, ::2])


@pytest.mark.parametrize("dtype", ["qint8", "quint4"])
@pytest.mark.parametrize("scheme", ["per_channel 2", "per_group 7"])
def test_any_slice(dtype: str, scheme: str) -> None:
    q = lt.quantize(X, dtype, **SCHEMES[scheme]).collect()
    want = q.dequantize()
    x = lt.scan_tenso(({"a": bytes(tenso.dumps(q))}, "a"))

    def part(n: int) -> Any:
        bound = st.none() | st.integers(-n, n)
        step = st.none() | st.integers(-5, 5).filter(bool)
        return st.integers(-n, n - 1) | st.builds(slice, bound, bound, step)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.tuples(*map(part, X.shape)))
    def check(key: tuple[Any, ...]) -> None:
        assert np.array_equal(x[key].collect(), want[key])

    check()


def test_a_slice_reads_what_it_needs() -> None:
    big = RNG.normal(size=(600, 1000)).astype("f4")
    for dtype, bits in (("quint8", 8), ("qint4", 4)):
        q = lt.quantize(big, dtype).collect()
        store, x = counted(tenso.dumps(q))
        x[10:20].collect()
        assert read(store) == 10 * 1000 * bits // 8
        x[11, 501:508].collect()
        assert read(store) == 7 if bits == 8 else 4
    q = lt.quantize(big, "qint8", "per_group", group_size=16).collect()
    store, x = counted(tenso.dumps(q))
    assert x.chunks == (600, 1000)
    found = x[10:20].collect(engine=ONE)
    assert np.array_equal(found, q.dequantize()[10:20])
    groups = -(-20 * 1000 // 16) - 10 * 1000 // 16
    assert read(store) == 10_000 + 8 * groups


def test_a_checksum_covers_parameters_too() -> None:
    q = lt.quantize(X, "qint4", "per_group", group_size=7).collect()
    packet = tenso.dumps(q, check_integrity=True)
    info = tenso.packet_info(packet)
    for at in (info["offset"] - 80, info["offset"] + 500, len(packet) - 1):
        damaged = bytearray(packet)
        damaged[at] ^= 1
        x = lt.scan_tenso(({"a": bytes(damaged)}, "a"))
        if at > info["offset"]:
            with pytest.raises(lt.ChecksumError):
                x.collect()
            with pytest.raises(lt.ChecksumError):
                lt.scan_tenso(({"a": bytes(damaged)}, "a"), verify="always")[0].collect()
        assert lt.scan_tenso(bytes(damaged), verify="never").collect().shape == X.shape
    good = lt.scan_tenso(({"a": bytes(packet)}, "a"), verify="always")
    assert np.array_equal(good.collect(), q.dequantize())


def test_estimates() -> None:
    big = RNG.normal(size=(6000, 1000)).astype("f4")
    for dtype in ("quint8", "qint4"):
        for integrity in (False, True):
            q = lt.quantize(big, dtype).collect()
            store, x = counted(tenso.dumps(q, check_integrity=integrity))
            for key in (np.s_[:], np.s_[5:900], np.s_[:, 7], np.s_[1::2, 1::2]):
                found = x[key].estimate(exact=True, engine=ONE)
                store.reset()
                assert np.array_equal(x[key].collect(engine=ONE), q.dequantize()[key])
                assert found.bytes_read == read(store), key


def test_as_it_is_stored() -> None:
    q = lt.quantize(X, "qint4", "per_channel", axis=1)
    packet = tenso.dumps({"q": q.collect(), "x": X})
    found = lt.open_tenso(packet)
    stored = found.quantized("q")
    assert repr(stored) == repr(q)
    one, other = stored.collect(), q.collect()
    for name in ("data", "scales", "zero_points"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    assert np.array_equal(stored.dequantize().collect(), found["q"].collect())
    assert np.array_equal(stored[:, 3:5].dequantize().collect(), found["q"][:, 3:5].collect())
    with pytest.raises(lt.FormatError, match="not quantized"):
        found.quantized("x")


def test_empty_and_0d() -> None:
    for values in (np.zeros((0, 3), "f4"), np.float32(3)):
        q = lt.quantize(np.asarray(values)).collect()
        assert np.array_equal(lt.scan_tenso(bytes(tenso.dumps(q))).collect(), q.dequantize())
