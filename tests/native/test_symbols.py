"""Decoders of other packages by address, against those packages."""

from __future__ import annotations

import ctypes
import gzip
import subprocess
import sys
from pathlib import Path

import numcodecs.blosc
import numpy as np
import pytest

from lazytensor.native import symbols
from lazytensor.native.symbols import symbol

linux = pytest.mark.skipif(sys.platform != "linux", reason="the wheels of Linux export them")
DATA = np.arange(5000, dtype="u2")


def function(name: str, result: type, *parameters: type) -> ctypes._CFunctionType:
    address = symbol(name)
    assert address
    return ctypes.CFUNCTYPE(result, *parameters)(address)


@linux
@pytest.mark.parametrize("name", [n for x in symbols._LIBRARIES[:-1] for n in x.names])
def test_numcodecs_exports(name: str) -> None:
    assert symbol(name)


@linux
@pytest.mark.parametrize("codec", [b"lz4", b"zstd", b"blosclz", b"zlib"])
def test_blosc(codec: bytes) -> None:
    chunk = bytes(numcodecs.blosc.compress(DATA, codec, 5, 1))
    out = np.zeros_like(DATA)
    decode = function(
        "blosc_decompress_ctx",
        ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int,
    )  # fmt: skip
    assert decode(chunk, out.ctypes.data, out.nbytes, 1) == out.nbytes
    np.testing.assert_array_equal(out, DATA)


def test_libdeflate() -> None:
    pytest.importorskip("deflate")
    if symbol("libdeflate_gzip_decompress_ex") is None:
        pytest.skip("hidden in this build")
    one = gzip.compress(DATA.tobytes())
    out = np.zeros_like(DATA)
    used, made = ctypes.c_size_t(), ctypes.c_size_t()
    decoder = function("libdeflate_alloc_decompressor", ctypes.c_void_p)()
    decode = function(
        "libdeflate_gzip_decompress_ex",
        ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p,
        ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p,
    )  # fmt: skip
    ends = ctypes.byref(used), ctypes.byref(made)
    assert decode(decoder, one + one, 2 * len(one), out.ctypes.data, out.nbytes, *ends) == 0
    function("libdeflate_free_decompressor", ctypes.c_int, ctypes.c_void_p)(decoder)
    assert (used.value, made.value) == (len(one), out.nbytes)  # one member at a time
    np.testing.assert_array_equal(out, DATA)


def test_numcodecs_is_not_imported() -> None:
    code = (
        "import sys; from lazytensor.native.symbols import symbol; symbol('ZSTD_isError');"
        "print([name for name in sys.modules if name.startswith('numcodecs')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60,
        cwd=Path(symbols.__file__).parents[2],
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_a_name_nobody_asked_for() -> None:
    with pytest.raises(KeyError, match="system"):
        symbol("system")


def test_missing_exports_are_none() -> None:
    symbols._addresses.cache_clear()
    absent = symbols._Library("numcodecs", "blosc", lambda found: True, ("no_such_function",))
    assert symbols._addresses(absent) == {}
    absent = symbols._Library("no_such_package", "blosc", lambda found: True, ("malloc",))
    assert symbols._addresses(absent) == {}
    absent = symbols._Library("numcodecs", "no_such_module", lambda found: True, ("malloc",))
    assert symbols._addresses(absent) == {}


def test_a_file_that_is_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suffix = symbols.EXTENSION_SUFFIXES[0]
    package = tmp_path / "broken_decoders"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / f"blosc{suffix}").write_bytes(b"\x7fELF and no more")
    monkeypatch.syspath_prepend(tmp_path)
    assert symbols._open("broken_decoders", "blosc") is None


@linux
def test_a_library_that_decodes_wrongly_is_not_used() -> None:
    liar = symbols._LIBRARIES[0]._replace(works=lambda found: False)
    assert symbols._addresses(liar) == {}
