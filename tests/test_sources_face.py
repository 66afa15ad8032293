"""Where tensors come from, seen from the outside: files, functions, other libraries' arrays."""

from __future__ import annotations

import io
import json
import pickle
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import lazytensor as lt
from lazytensor.io import npy
from lazytensor.io.store_counting import CountingStore
from lazytensor.plan.optimize import optimize

ZARRAY = b"""{"zarr_format": 2, "shape": [4], "chunks": [2], "dtype": "<u2", "order": "C",
    "compressor": null, "filters": null, "fill_value": 7}"""


def npy_bytes(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def ramp(domain: lt.IndexDomain, out: np.ndarray) -> None:
    out[...] = np.arange(domain[0].inclusive_min, domain[0].exclusive_max)


class TestVirtual:
    def test_values_are_made_where_they_are_read(self) -> None:
        x = lt.virtual_chunked(ramp, shape=(10**15,), dtype="i8", chunks=(100,), dims=("x",))
        assert x.dims == ("x",) and x.chunks == (100,)
        assert x[10**14 : 10**14 + 2].collect().tolist() == [10**14, 10**14 + 1]
        assert x[::-1][:2].collect().tolist() == [10**15 - 1, 10**15 - 2]
        assert x[[5, 3]].collect().tolist() == [5, 3]

    @pytest.mark.parametrize("engine", ["local", "interpret"])
    def test_out_is_zeroed_writable_and_contiguous(self, engine: str) -> None:
        seen: list[bool] = []

        def reader(domain: lt.IndexDomain, out: np.ndarray) -> None:
            seen.append(not out.any() and out.flags.c_contiguous and out.flags.writeable)
            seen.append(out.shape == domain.shape and domain.labels == ("y", "x"))
            out += domain.origin[0]

        x = lt.virtual_chunked(
            reader, shape=(40, 30), dtype="u2", chunks=(8, 8), dims=("y", "x"), origin=(100, 0)
        )
        assert x.origin == (100, 0)
        got = x[3:29, 5:22].collect(engine=engine)
        assert got.min() >= 100 and got.shape == (26, 17)
        assert seen and all(seen)

    def test_exceptions_name_the_function_and_the_domain(self) -> None:
        def reader(domain: lt.IndexDomain, out: np.ndarray) -> None:
            raise KeyError("missing plate")

        x = lt.virtual_chunked(reader, shape=(10,), dtype="u1")
        with pytest.raises(lt.SourceError, match=r"reader.*failed for.*4, 6.*missing plate") as e:
            x[4:6].collect()
        assert isinstance(e.value.__cause__, KeyError)

    def test_returning_an_array_is_a_mistake_that_is_told(self) -> None:
        x = lt.virtual_chunked(lambda domain, out: out + 1, shape=(3,), dtype="u1")
        with pytest.raises(lt.SourceError, match="second argument"):
            x.collect()
        x = lt.virtual_chunked(lambda domain, out: np.add(out, 1, out=out), shape=(3,), dtype="u1")
        assert x.collect().tolist() == [1, 1, 1]

    def test_collecting_inside_is_an_error_not_a_deadlock(self) -> None:
        inner = lt.virtual_chunked(ramp, shape=(10,), dtype="i8")

        def reader(domain: lt.IndexDomain, out: np.ndarray) -> None:
            out[...] = inner.collect()

        x = lt.virtual_chunked(reader, shape=(10,), dtype="i8")
        with pytest.raises(RuntimeError, match="collect") as caught:
            x.collect()
        assert isinstance(caught.value, lt.SourceError)
        assert isinstance(caught.value.__cause__, RuntimeError)
        assert inner.collect().sum() == 45  # the flag is gone again

    def test_not_concurrent_means_one_at_a_time(self) -> None:
        inside = threading.Semaphore(1)
        overlaps: list[bool] = []

        def reader(domain: lt.IndexDomain, out: np.ndarray) -> None:
            overlaps.append(not inside.acquire(blocking=False))
            time.sleep(0.001)
            inside.release()

        x = lt.virtual_chunked(
            reader, shape=(4 << 20, 8), dtype="u1", chunks=(1 << 18, 8), concurrent=False
        )
        x.collect(engine=lt.LocalEngine(threads=4))
        assert not any(overlaps)

    def test_pickling(self) -> None:
        x = lt.virtual_chunked(ramp, shape=(10,), dtype="i8", chunks=(3,), concurrent=False)
        again = pickle.loads(pickle.dumps(x))
        assert again.collect().tolist() == list(range(10)) and again.chunks == (3,)

    def test_a_function_cannot_be_written_down(self) -> None:
        with pytest.raises(lt.SerializationError, match="ramp"):
            lt.virtual_chunked(ramp, shape=(3,), dtype="u1").serialize()

    def test_refusals(self) -> None:
        with pytest.raises(TypeError, match="function"):
            lt.virtual_chunked(3, shape=(3,), dtype="u1")  # type: ignore[arg-type]
        with pytest.raises(lt.DTypeError):
            lt.virtual_chunked(ramp, shape=(3,), dtype=object)
        with pytest.raises(lt.ShapeError):
            lt.virtual_chunked(ramp, shape=(3,), dtype="u1", chunks=(1, 2))


class Slow:
    """An array-like of no known library, which notices when two threads are inside."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.shape, self.dtype, self.chunks = array.shape, array.dtype, (64, 64)
        self.inside = threading.Semaphore(1)
        self.keys: list[Any] = []
        self.overlapped = False

    def __getitem__(self, key: Any) -> np.ndarray:
        self.overlapped |= not self.inside.acquire(blocking=False)
        self.keys.append(key)
        time.sleep(0.0005)
        self.inside.release()
        return self.array[key]


class TestFromArray:
    def test_unknown_libraries_are_read_one_box_at_a_time(self) -> None:
        slow = Slow(np.arange(1 << 20).reshape(1024, 1024))
        x = lt.from_array(slow)
        assert x.chunks == (64, 64)
        np.testing.assert_array_equal(
            (x + 1).collect(engine=lt.LocalEngine(threads=4)), slow.array + 1
        )
        assert not slow.overlapped
        slow.keys.clear()
        assert int(x[100, 100]) == slow.array[100, 100] and len(slow.keys) == 1

    def test_asarray_does_not_read_chunked_arrays(self) -> None:
        slow = Slow(np.arange(64 * 64).reshape(64, 64))
        with lt.testing.raise_if_collects():
            x = lt.asarray(slow, dims=("y", "x"))
        assert not slow.keys and x.dims == ("y", "x")

    def test_zarr(self, tmp_path: Path) -> None:
        zarr = pytest.importorskip("zarr")
        n = np.arange(60, dtype="u2").reshape(6, 10)
        array = zarr.create_array(
            tmp_path / "a.zarr", shape=n.shape, dtype=n.dtype, chunks=(2, 5),
            dimension_names=("y", "x"),
        )  # fmt: skip
        array[...] = n
        x = lt.from_array(array)
        assert x.chunks == (2, 5) and x.dims == ("y", "x")
        np.testing.assert_array_equal(x[1:5, ::3].collect(), n[1:5, ::3])

    def test_tensorstore_is_read_in_its_coordinates(self) -> None:
        ts = pytest.importorskip("tensorstore")
        n = np.arange(60).reshape(6, 10)
        x = lt.from_array(ts.array(n)[ts.d[:].translate_to[5, -3]])
        assert x.origin == (5, -3)
        np.testing.assert_array_equal(x[1:, 2:4].collect(), n[1:, 2:4])

    def test_dask(self) -> None:
        da = pytest.importorskip("dask.array")
        n = np.arange(60).reshape(6, 10)
        x = lt.asarray(da.from_array(n, chunks=((1, 5), (4, 4, 2))))
        assert x.chunk_edges(0) == (0, 1, 6) and x.chunk_edges(1) == (0, 4, 8, 10)
        np.testing.assert_array_equal((x * 2).collect(), n * 2)

    def test_memmap_is_aliased(self, tmp_path: Path) -> None:
        m = np.memmap(tmp_path / "raw", dtype="u1", mode="w+", shape=(8,))
        m[:] = np.arange(8)
        x = lt.from_array(m, chunks=(3,), dims=("x",))
        assert x.chunks == (3,) and x.dims == ("x",)
        m[0] = 9
        assert x.collect()[0] == 9

    def test_pickling(self) -> None:
        da = pytest.importorskip("dask.array")
        x = pickle.loads(pickle.dumps(lt.from_array(da.arange(6, chunks=4))))
        assert x.collect().tolist() == list(range(6)) and x.chunks == (4,)

    def test_exceptions_and_wrong_blocks(self) -> None:
        class Broken(Slow):
            def __getitem__(self, key: Any) -> np.ndarray:
                if key[0].start:
                    raise OSError("disk on fire")
                return np.zeros((1, 1))

        x = lt.from_array(Broken(np.zeros((8, 8))))
        with pytest.raises(lt.SourceError, match="disk on fire"):
            x[2:].collect()
        with pytest.raises(lt.SourceError, match="shape"):
            x.collect()

    def test_refusals(self) -> None:
        with pytest.raises(TypeError, match="no shape"):
            lt.from_array([1, 2])
        da = pytest.importorskip("dask.array")
        with pytest.raises(lt.DTypeError, match="objects"):
            lt.from_array(da.from_array(np.array([None]), chunks=1))
        with pytest.raises(lt.SerializationError):
            lt.from_array(da.arange(3)).serialize()
        with pytest.raises(ValueError, match="copy=False"):
            lt.asarray(da.arange(3), copy=False)


class TestNpy:
    @given(
        hnp.arrays(
            st.sampled_from(["u1", ">i4", "<f8", ">c8", "?", "<U3", "M8[s]"]),
            hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6),
        ),
        st.booleans(),
        st.data(),
    )
    def test_any_array_and_any_box(
        self, array: np.ndarray, fortran: bool, data: st.DataObject
    ) -> None:
        saved = np.asfortranarray(array) if fortran and array.ndim else array
        x = lt.scan_npy(npy_bytes(saved))
        assert x.dtype == array.dtype.newbyteorder("=") and x.shape == array.shape
        np.testing.assert_array_equal(x.collect(), array)
        if array.ndim:
            key = data.draw(hnp.basic_indices(array.shape))
            np.testing.assert_array_equal(x[key].collect(), array[key])

    def test_structured(self, tmp_path: Path) -> None:
        a = np.array([(1, 2.5), (3, 4.5)], [("a", "<i4"), ("b", ">f8")])
        np.save(tmp_path / "a.npy", a)
        x = lt.scan_npy(tmp_path / "a.npy")
        assert x.field("b").collect().tolist() == [2.5, 4.5]

    def test_reads_are_bounded_and_few(self, tmp_path: Path) -> None:
        a = np.arange(300 * 400 * 50, dtype="u4").reshape(300, 400, 50)
        np.save(tmp_path / "a.npy", a)
        store = CountingStore(tmp_path)
        source = npy.scan((store, "a.npy"))
        for box, most in (
            (((0, 300), (0, 400), (0, 50)), 10),
            (((10, 200), (5, 6), (0, 50)), 190),
            (((7, 8), (3, 300), (2, 3)), 1),
            (((7, 9), (3, 300), (2, 30)), 2),
        ):
            store.reset()
            out = np.empty([hi - lo for lo, hi in box], "u4")
            source.read_into(box, out)
            np.testing.assert_array_equal(out, a[tuple(slice(*pair) for pair in box)])
            sizes = [(end or 0) - start for _, _, start, end in store.log]
            assert len(sizes) <= most and max(sizes) <= 4 << 20

    def test_mmap_aliases(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", np.arange(6, dtype="<i8"))
        x = lt.scan_npy(tmp_path / "a.npy", mmap=True)
        assert x.collect().tolist() == list(range(6))
        with open(tmp_path / "a.npy", "r+b") as file:
            file.seek(-8, 2)
            file.write((99).to_bytes(8, "little"))
        assert x._node.source.array[5] == 99  # type: ignore[attr-defined]
        with pytest.raises(lt.FormatError, match="local"):
            lt.scan_npy(npy_bytes(np.arange(3)), mmap=True)

    def test_a_changed_file_is_noticed(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", np.arange(6))
        x = lt.scan_npy(tmp_path / "a.npy")
        np.save(tmp_path / "a.npy", np.arange(7))
        with pytest.raises(lt.SourceChangedError, match="scan again"):
            x.collect()

    def test_places(self, tmp_path: Path) -> None:
        import fsspec

        fs = fsspec.filesystem("memory")
        fs.pipe("/face/a.npy", npy_bytes(np.arange(3)))
        for source in ("memory://face/a.npy", (fs, "/face/a.npy")):
            assert lt.scan_npy(source).collect().tolist() == [0, 1, 2]
        np.save(tmp_path / "a.npy", np.arange(3))
        x = lt.LazyTensor.deserialize(lt.scan_npy(str(tmp_path / "a.npy"))[1:].serialize())
        assert x.collect().tolist() == [1, 2]
        assert pickle.loads(pickle.dumps(x)).collect().tolist() == [1, 2]
        with pytest.raises(lt.SerializationError, match="memory"):
            lt.scan_npy(npy_bytes(np.arange(3))).serialize()
        with pytest.raises(FileNotFoundError):
            lt.scan_npy(tmp_path / "b.npy")
        with pytest.raises(TypeError):
            lt.scan_npy(3)

    @pytest.mark.parametrize(
        ("header", "error"),
        [
            ("{'descr': '<u2', 'fortran_order': False, 'shape': (10,), }", "truncated"),
            ("{'descr': '<u2', 'fortran_order': False, 'shape': (99999999999999999999,)}", "shape"),
            ("{'descr': '<u2', 'fortran_order': False, 'shape': (-1,)}", "shape"),
            ("{'descr': '<u2', 'fortran_order': False, 'shape': 3}", "shape"),
            ("{'descr': '<q9', 'fortran_order': False, 'shape': (1,)}", "dtype"),
            ("{'descr': '<u2', 'fortran_order': 1, 'shape': (1,)}", "bool"),
            ("{'descr': '<u2', 'shape': (1,)}", "fortran_order"),
            ("__import__('os').getcwd()", "literal"),
            ("[" * 5000, "literal"),
            ("{'descr': '|V0', 'fortran_order': False, 'shape': (1,)}", "size"),
            ("{'descr': [('a', '<u2'), 7], 'fortran_order': False, 'shape': (1,)}", "dtype"),
        ],
    )
    def test_bad_headers(self, header: str, error: str) -> None:
        text = header.encode()
        data = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(6)
        with pytest.raises(lt.FormatError, match=error):
            lt.scan_npy(data)

    @pytest.mark.parametrize(
        "data", [b"", b"\x93NUMPY", b"PK\x03\x04" * 9, b"\x93NUMPY\x09\x00" + bytes(99),
                 b"\x93NUMPY\x01\x00\xff\xff" + bytes(9), b"\x93NUMPY\x02\x00\xff\xff\xff\xff"],
    )  # fmt: skip
    def test_what_is_no_npy_file(self, data: bytes) -> None:
        with pytest.raises(lt.FormatError):
            lt.scan_npy(data)

    def test_objects_are_refused(self) -> None:
        with pytest.raises(lt.DTypeError, match="unpickled"):
            lt.scan_npy(npy_bytes(np.array([None, 1])))

    @given(st.binary(max_size=40), st.integers(0, 127))
    def test_damaged_headers_are_format_errors(self, junk: bytes, at: int) -> None:
        data = bytearray(npy_bytes(np.arange(4, dtype="u2")))
        data[at : at + len(junk)] = junk
        try:
            x = lt.scan_npy(bytes(data))
        except (lt.FormatError, lt.DTypeError):
            return
        assert x.nbytes <= len(data)


def zarr_array(shape: tuple[int, ...] = (4,)) -> dict[str, Any]:
    return {
        "zarr_format": 2, "shape": list(shape), "chunks": list(shape), "dtype": "<u2",
        "compressor": None, "fill_value": 7, "order": "C", "filters": None,
    }  # fmt: skip


def group(**arrays: dict[str, Any]) -> dict[str, bytes]:
    store = {".zgroup": b'{"zarr_format": 2}'}
    for name, metadata in arrays.items():
        store[f"{name}/.zarray"] = json.dumps(metadata).encode()
    return store


class TestScan:
    def test_one_array_of_any_format(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", np.arange(3))
        assert lt.scan(tmp_path / "a.npy").collect().tolist() == [0, 1, 2]
        assert lt.scan(str(tmp_path / "a.npy"), mmap=True).shape == (3,)
        assert lt.scan(npy_bytes(np.arange(3))).shape == (3,)
        store = {".zarray": json.dumps(zarr_array()).encode()}
        assert lt.scan(store, dims=("x",)).dims == ("x",)
        assert lt.scan_zarr(store).collect().tolist() == [7, 7, 7, 7]
        assert lt.scan(group(only=zarr_array())).shape == (4,)

    def test_several_arrays_are_listed(self) -> None:
        store = group(raw=zarr_array(), mask=zarr_array())
        with pytest.raises(lt.FormatError, match=r"mask.*raw.*open_zarr"):
            lt.scan(store)
        opened = lt.open_zarr(store)
        assert isinstance(opened["raw"], lt.LazyTensor) and len(opened) == 2

    def test_unknown_formats_and_places(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("hello")
        with pytest.raises(lt.FormatError, match="npy"):
            lt.scan(tmp_path / "a.txt")
        with pytest.raises(lt.SourceNotFoundError):
            lt.scan(tmp_path / "nothing.zarr")
        with pytest.raises(lt.FormatError):
            lt.scan({})

    def test_ome_zarr_with_its_pyramid(self) -> None:
        store = ome_store()
        x = lt.scan(store)
        assert x.shape == (4, 8) and x.dims == ("y", "x") and len(x.levels) == 2
        assert x.axes[0].scale == 0.5 and x.levels[0]._node is x._node
        assert x.at_scale(y=1.0, x=1.0).shape == (2, 4)
        assert x.at_scale(y=1.005).shape == (2, 4)
        with pytest.raises(lt.DimensionError, match=r"0: .*y=0.5.*1: .*y=1"):
            x.at_scale(y=0.7)
        with pytest.raises(lt.DimensionError, match="pyramid"):
            lt.zeros(3).label["y"].at_scale(y=1.0)
        assert lt.scan_ome_zarr(store, level=1).shape == (2, 4)
        assert lt.open_ome_zarr(store)[0][1].shape == (2, 4)
        assert x.storage is not None and x[1:, ::2].storage is not None
        assert (x + 1).storage is None and x.attrs == {}

    def test_approximate_downsampling_reads_the_stored_level(self) -> None:
        x = lt.scan(ome_store())
        y = x.downsample((2, 2), approx=True)
        assert optimize(y._node) is x.levels[1]._node
        # No level has these factors, but one is half the way.
        z = x.downsample((4, 4), approx=True)
        assert optimize(z._node) is x.levels[1].downsample((2, 2), approx=True)._node
        # No level comes near: permission to approximate is not an order to.
        w = x.downsample((3, 3), approx=True)
        assert optimize(w._node) is w._node


def ome_store() -> dict[str, bytes]:
    datasets = [
        {"path": str(i), "coordinateTransformations": [{"type": "scale", "scale": [s, s]}]}
        for i, s in enumerate((0.5, 1.0))
    ]
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    store = group(**{"0": zarr_array((4, 8)), "1": zarr_array((2, 4))})
    multiscales = [{"version": "0.4", "axes": axes, "datasets": datasets, "name": "image"}]
    store[".zattrs"] = json.dumps({"multiscales": multiscales}).encode()
    return store


def test_a_source_of_ones_own() -> None:
    from lazytensor.plan.memory import MemorySource

    assert isinstance(MemorySource(np.arange(3)), lt.Source)
    assert lt.scan_source(MemorySource(np.arange(3))).collect().tolist() == [0, 1, 2]
    with pytest.raises(TypeError, match="read_into"):
        lt.scan_source(object())  # type: ignore[arg-type]


def test_virtual_readers_are_never_asked_across_a_chunk_border() -> None:
    asked: list[tuple[tuple[int, int], ...]] = []

    def read(domain: lt.IndexDomain, out: np.ndarray) -> None:
        z, y = zip(domain.inclusive_min, domain.exclusive_max, strict=True)
        asked.append((z, y))
        out[...] = np.arange(*z)[:, None] * 100 + np.arange(*y)

    x = lt.virtual_chunked(read, shape=(5, 8), dtype="i4", chunks=(1, 4), origin=(2, 3))
    found = x[1:4, 2:7].collect(engine="local")
    np.testing.assert_array_equal(found, np.arange(3, 6)[:, None] * 100 + np.arange(5, 10))
    assert sorted(asked) == [((z, z + 1), y) for z in (3, 4, 5) for y in ((5, 7), (7, 10))]


@pytest.mark.parametrize("what", [None, 3, np.zeros(3), lt.zeros(3)])
def test_scan_of_what_is_no_place_points_to_asarray(what: object) -> None:
    with pytest.raises(TypeError, match=r"not \w+; asarray"):
        lt.scan(what)


def test_a_upath_brings_its_file_system_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """universal_pathlib's own class, whose paths elsewhere than on disk are no ``os.PathLike``."""
    fs = fsspec.filesystem("memory")
    fs.pipe("/upath.zarr/.zarray", ZARRAY)
    fs.pipe("/upath.zarr/0", bytes([1, 0, 2, 0]))

    class UPath:
        def __init__(self, fs: Any, path: str) -> None:
            self.fs, self.path = fs, path

    monkeypatch.setitem(sys.modules, "upath", SimpleNamespace(UPath=UPath))
    found = lt.scan_zarr(UPath(fs, "/upath.zarr"))
    np.testing.assert_array_equal(found.collect(), np.array([1, 2, 7, 7], "u2"))
