"""The machine underneath a kernel, against NumPy; all of it in one kernel, compiled once."""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from lazytensor import native

SOURCE = """
from lazytensor.native.intrinsics import *
from lazytensor.native.intrinsics import intrinsic

@inner
def add_one(to, at, n):
    for i in range(n):
        to[i] = at[i] + 1

def kernel(p):
    what, to, at, n = i64(p)[0], i64(p)[1], i64(p)[2], i64(p)[3]
    if what == 0:
        copy_row(to, at, n)
    elif what == 1:
        stream_row(to, at, n)
        fence()
    elif what == 2:
        fill_row(to, at, n)
    elif what == 3:
        add_one(u16(to), u16(at), n)
    elif what == 4:
        f64(to)[0] = f32(at)[0] + i8(at + 4)[0] + u8(at + 5)[0] + i16(at + 6)[0]
        f64(to)[1] = i32(at + 8)[0] + u32(at + 12)[0] + u64(at + 16)[0]
    elif what == 5:
        store_u8(to, load_u8(at))
        store_u16(to + 1, load_u16(at + 1))
        store_u32(to + 3, load_u32(at + 3))
        store_u64(to + 7, load_u64(at + 7))
    elif what == 6:
        i64(to)[0] = load_i32(at)
        i64(to)[1] = load_i64(at + 4)
    elif what == 7:
        return call_i64(at, (u8(to), n))
    elif what == 8:
        return call_i32(at, (n,))
    elif what == 9:
        return n // at
    elif what == 10:
        i64(to)[1] = 1
        for _ in range(n):
            if i64(to)[0]:
                return 1
            call_i32(at, (100,))
        return 0
    return what
"""


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., int]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAZYTENSOR_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        run = native.wait("intrinsics_test", text=SOURCE)
    assert run is not None, native.reason("intrinsics_test", text=SOURCE)

    def call(*words: int) -> int:
        block = np.array(words, np.int64)
        return run(address(block))

    return call


def address(array: np.ndarray) -> int:
    found: int = array.__array_interface__["data"][0]
    return found


def aligned(nbytes: int) -> np.ndarray:
    """Zeros that begin at a multiple of 64."""
    memory = np.zeros(nbytes + 64, np.uint8)
    return memory[-address(memory) % 64 :][:nbytes]


@pytest.mark.parametrize("what", [0, 1], ids=["copy", "stream"])
@pytest.mark.parametrize("nbytes", [0, 1, 63, 64, 65, 640, 1001])
@pytest.mark.parametrize("start", [0, 64, 5])
def test_rows(call: Callable[..., int], what: int, nbytes: int, start: int) -> None:
    values = np.random.default_rng(nbytes).integers(0, 256, 1100, np.uint8)
    out = aligned(1200)
    call(what, address(out) + start, address(values) + 3, nbytes)
    expected = np.zeros_like(out)
    expected[start : start + nbytes] = values[3 : 3 + nbytes]
    np.testing.assert_array_equal(out, expected)


def test_fill(call: Callable[..., int]) -> None:
    out = np.zeros(50, np.uint8)
    call(2, address(out) + 7, 0x1F3, 40)
    np.testing.assert_array_equal(out, np.r_[np.zeros(7), np.full(40, 0xF3), np.zeros(3)])


def test_pointers_in_a_loop(call: Callable[..., int]) -> None:
    values = np.arange(65_000, 65_536, dtype=np.uint16)
    out = np.zeros_like(values)
    call(3, address(out), address(values), len(values))
    np.testing.assert_array_equal(out, values + np.uint16(1))  # the last one wraps


def test_pointers_of_every_type(call: Callable[..., int]) -> None:
    kinds = "f4 i1 u1 i2 i4 u4 u8"
    fields = [(f"f{i}", kind) for i, kind in enumerate(kinds.split())]
    values = np.array((0.5, -3, 250, -1000, -7, 2**32 - 1, 2**53), np.dtype(fields))
    out = np.zeros(2)
    call(4, address(out), address(values), 0)
    assert out.tolist() == [0.5 - 3 + 250 - 1000, -7 + (2**32 - 1) + 2**53]


def test_unaligned_loads_and_stores(call: Callable[..., int]) -> None:
    values = np.random.default_rng(0).integers(0, 256, 16, np.uint8)
    out = np.zeros(16, np.uint8)
    call(5, address(out) + 1, address(values) + 1, 0)
    np.testing.assert_array_equal(out, np.r_[0, values[1:]])
    signed = np.zeros(2, np.int64)
    values[3] |= 0x80
    call(6, address(signed), address(values), 0)
    assert signed[0] == values[:4].view("<i4")[0] < 0
    assert signed[1] == values[4:12].view("<i8")[0]


def test_c_functions_by_address(call: Callable[..., int]) -> None:
    """A pointer and an integer go in; an int of C comes out with its sign."""
    seen = []

    def note(where: int, n: int) -> int:
        seen.append((where, n))
        return -(2**40)

    answer = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)(note)
    assert call(7, 4096, ctypes.cast(answer, ctypes.c_void_p).value, -5) == -(2**40)
    assert seen == [(4096, -5)]
    negative = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int64)(lambda n: int(n) - 10)
    assert call(8, 0, ctypes.cast(negative, ctypes.c_void_p).value, 3) == -7


def test_division_by_zero_does_not_raise(call: Callable[..., int]) -> None:
    assert call(9, 0, 7, 30) == 4
    assert call(9, 0, 0, 30) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="no usleep")
def test_a_kernel_runs_without_the_gil(call: Callable[..., int]) -> None:
    """It polls a word that this thread sets once the kernel has said that it runs."""
    word = np.zeros(2, np.int64)
    usleep = ctypes.cast(ctypes.CDLL(None).usleep, ctypes.c_void_p).value
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(call(10, address(word), usleep, 50_000)))
    thread.start()
    while thread.is_alive() and not word[1]:
        time.sleep(0.001)
    word[0] = 1
    thread.join()
    assert found == [1]
