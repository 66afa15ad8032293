"""Pixels of pieces, out of every kind of container, against plain Python objects."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lazytensor.config import Config
from lazytensor.errors import FormatError
from lazytensor.io.ome_arrow.containers import open_container
from lazytensor.io.ome_arrow.elements import elements_of, spans_of
from lazytensor.io.ome_arrow.unit_cache import UnitCache, unit_cache
from lazytensor.io.ome_arrow.units import units_of
from lazytensor.io.scratch import thread_scratch
from lazytensor.io.store_counting import CountingStore
from tests.io.ome_arrow import ome_arrow_tables as tables


def element(unit: Any, number: int) -> Any:
    """One element, None if it says that it is null."""
    try:
        return unit.element(number, thread_scratch())
    except FormatError as error:
        if "are null" in str(error):
            return None
        raise


def found(units: Any) -> list[Any]:
    """All elements of all units as Python has them."""
    out: list[Any] = []
    for number in range(len(units)):
        unit = units.unit(number)
        for i in range(len(unit)):
            values = element(unit, i)
            if values is None:
                out.append(None)
                continue
            assert not values.flags.writeable
            if units.encoded:
                assert values.dtype == np.uint8
                out.append(values.tobytes())
                continue
            nulls = unit.nulls(i)
            plain: list[Any] = values.tolist()
            if nulls is not None:
                assert nulls.any() and len(nulls) == len(plain)
                plain = [None if null else v for v, null in zip(plain, nulls, strict=True)]
            out.append(plain)
    return out


def sources(table: pa.Table, plain: pa.Table, folder: Path) -> dict[str, Any]:
    """The same table everywhere; ``plain``: without views, which Parquet is not written from."""
    files = {
        "parquet": tables.parquet(plain),
        "file": tables.ipc(table),
        "stream": tables.ipc(table, stream=True),
        "lz4": tables.ipc(table, codec="lz4"),
        "zstd": tables.ipc(table, stream=True, codec="zstd"),
    }
    out: dict[str, Any] = {"table": (table, False)}
    for name, data in files.items():
        path = folder / name
        path.write_bytes(data)
        out[name] = (path, False)
        out[f"{name} mapped"] = (path, True)
        out[f"{name} bytes"] = (data, False)
        out[f"{name} counted"] = ((CountingStore({"x": data}), "x"), False)
    return out


KINDS = [
    ("list", "list", "large_binary", pa.uint16()),
    ("large_list", "list", "binary", pa.int64()),
    ("list", "large_list", "binary_view", pa.float32()),
    ("list_view", "large_list_view", "binary", pa.uint16()),
    ("large_list_view", "list_view", "large_binary", pa.float64()),
]


@pytest.mark.parametrize(("outer", "inner", "binary", "number"), KINDS)
@pytest.mark.parametrize("nulls", [False, True])
def test_pieces_are_those_of_python_objects(
    tmp_path: Path, outer: str, inner: str, binary: str, number: Any, nulls: bool
) -> None:
    rng = np.random.default_rng(len(outer) * 7 + nulls)
    rows = tables.records(rng, 11, nulls=nulls)
    schema = tables.table_type(outer, inner, binary, number)
    table = pa.Table.from_pylist(rows, schema)
    plain = tables.table_type(
        outer.removesuffix("_view"), inner.removesuffix("_view"), "large_binary", number
    )
    places = sources(table, pa.Table.from_pylist(rows, plain), tmp_path)
    for name, (source, mmap) in places.items():
        container = open_container(source, mmap=mmap)
        assert container.starts[-1] == 11, name
        assert (len(container.starts) == 4) or name == "table"
        for path, encoded, expected in tables.pieces_of(rows):
            units = units_of(container, path[:1], path, encoded=encoded)
            assert found(units) == expected, (name, path)


@pytest.mark.parametrize("start", [0, 1, 3])
def test_slices_and_chunked_arrays(start: int) -> None:
    rng = np.random.default_rng(5)
    for outer, inner, binary, number in KINDS:
        schema = tables.table_type(outer, inner, binary, number)
        rows = tables.records(rng, 12)
        whole = pa.Table.from_pylist(rows, schema)
        parts = pa.concat_tables([whole.slice(start, 3), whole.slice(7, 4)])
        expected_rows = rows[start : start + 3] + rows[7:11]
        container = open_container(parts)
        assert len(container.starts) == 3
        for path, encoded, expected in tables.pieces_of(expected_rows):
            units = units_of(container, path[:1], path, encoded=encoded)
            assert found(units) == expected


def test_null_lists_may_have_offsets_that_say_otherwise() -> None:
    pixels = pa.array([[1, 2], [3], [4, 5, 6]], pa.list_(pa.uint8()))
    planes = pa.StructArray.from_arrays([pixels], ["pixels"])
    offsets = pa.py_buffer(np.array([0, 1, 2, 3], "i4"))
    lists = pa.Array.from_buffers(
        pa.list_(planes.type), 3, [pa.py_buffer(b"\x05"), offsets], -1, children=[planes]
    )
    images = pa.StructArray.from_arrays([lists], ["planes"], mask=pa.array([False, False, True]))
    units = units_of(
        open_container(images), ("ome_arrow",), ("ome_arrow", "planes", "pixels"), encoded=False
    )
    assert found(units) == [[1, 2]]


def test_lists_of_a_fixed_size_and_bytes_of_one() -> None:
    plane = pa.struct([("pixels", pa.list_(pa.int16(), 3)), ("b", pa.binary(2))])
    image = pa.struct([("planes", pa.list_(plane, 2))])
    rows: list[Any] = [
        {"planes": [{"pixels": [i, i + 1, None], "b": b"ab"}, {"pixels": None, "b": None}]}
        for i in range(4)
    ]
    rows[1] = None
    rows[3] = {"planes": None}
    array = pa.array(rows, image)
    for source in (array, tables.ipc(pa.table({"ome_arrow": array}))):
        units = units_of(
            open_container(source), ("ome_arrow",), ("ome_arrow", "planes", "pixels"), encoded=False
        )
        assert found(units) == [[0, 1, None], None, [2, 3, None], None]
    part = open_container(array.slice(2, 2))
    units = units_of(part, ("ome_arrow",), ("ome_arrow", "planes", "b"), encoded=True)
    assert found(units) == [b"ab", None]


def test_fixed_sizes_of_a_stored_file(tmp_path: Path) -> None:
    plane = pa.struct([("pixels", pa.list_(pa.int16(), 3)), ("b", pa.binary(2))])
    array = pa.array([[{"pixels": [1, 2, 3], "b": b"xy"}] * 2, None, []], pa.list_(plane))
    path = tmp_path / "x.arrow"
    path.write_bytes(tables.ipc(pa.table({"a": array})))
    container = open_container(path)
    assert container.by_element
    assert found(units_of(container, ("a",), ("a", "pixels"), encoded=False)) == [[1, 2, 3]] * 2
    assert found(units_of(container, ("a",), ("a", "b"), encoded=True)) == [b"xy", b"xy"]


@pytest.mark.parametrize("kind", ["bool", "half", "null", "dictionary", "runs"])
def test_numbers_of_other_kinds(kind: str) -> None:
    values = {
        "bool": pa.array([True, False, None, True]),
        "half": pa.array(np.array([1, 2, 3, 4], "f2")),
        "null": pa.nulls(4),
        "dictionary": pa.array([7, 8, 7, 9], pa.uint8()).dictionary_encode(),
        "runs": pa.RunEndEncodedArray.from_arrays(pa.array([2, 4], pa.int32()), pa.array([5, 6])),
    }[kind]
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 4], pa.int32()), values)
    column = pa.StructArray.from_arrays([lists], ["pixels"])
    units = units_of(open_container(column), ("ome_arrow",), ("ome_arrow", "pixels"), encoded=False)
    plain = values.to_pylist()
    assert found(units) == [plain[:1], plain[1:]]


def test_what_is_no_pixels_is_refused() -> None:
    column = pa.array([{"a": [["x"]], "b": 1, "c": [b"x"]}])
    container = open_container(column)
    for name in ("a", "b", "c"):
        for encoded in (False, True):
            units = units_of(container, ("ome_arrow",), ("ome_arrow", name), encoded=encoded)
            with pytest.raises(FormatError, match="expected"):
                units.unit(0)
    with pytest.raises(FormatError, match="no field"):
        units_of(container, ("ome_arrow",), ("ome_arrow", "d"), encoded=True).unit(0)
    with pytest.raises(FormatError, match="no group 1"):
        units_of(container, ("ome_arrow",), ("ome_arrow", "a"), encoded=True).unit(1)
    with pytest.raises(FormatError, match="no piece 3"):
        units_of(open_container(pa.table({"b": [b"x"]})), ("b",), ("b",), encoded=True).unit(
            0
        ).element(3, thread_scratch())


def test_offsets_that_lead_out_are_refused() -> None:
    for offsets in ([0, 9], [2, 1], [-1, 1]):
        array = pa.Array.from_buffers(
            pa.list_(pa.uint8()),
            1,
            [None, pa.py_buffer(np.array([0, 1], "i4"))],
            children=[pa.array([1, 2, 3], pa.uint8())],
        )
        assert len(spans_of(array, "x")) == 1
        views = pa.ListViewArray.from_arrays(
            pa.array([0], pa.int32()), pa.array([1], pa.int32()), pa.array([1], pa.uint8())
        )
        assert len(spans_of(views, "x")) == 1
        data = np.array(offsets, "i4")
        broken = _with_offsets(array, data)
        with pytest.raises(FormatError, match="lead out"):
            spans_of(broken, "x")


class _Lists:
    """A list array as it would be if nobody had checked it."""

    def __init__(self, array: Any, offsets: np.ndarray) -> None:
        self.type, self.offset, self.values = array.type, 0, array.values
        self.null_count = 0
        self._buffers = [None, pa.py_buffer(offsets)]

    def __len__(self) -> int:
        return 1

    def buffers(self) -> list[Any]:
        return self._buffers


def _with_offsets(array: Any, offsets: np.ndarray) -> Any:
    return _Lists(array, offsets)


def test_units_are_read_once(tmp_path: Path) -> None:
    rows = tables.records(np.random.default_rng(1), 8, nulls=False)
    path = tmp_path / "x.parquet"
    path.write_bytes(tables.parquet(pa.Table.from_pylist(rows, tables.table_type())))
    os.utime(path, (1, 1))
    first, again = open_container(path), open_container(path)
    assert first.identity == again.identity and first.cache is unit_cache()
    units = units_of(first, ("image",), tables.PLANES, encoded=False)
    others = units_of(again, ("image",), tables.PLANES, encoded=False)
    assert not others.kept(1)
    unit = units.unit(1)
    assert others.kept(1) and others.unit(1) is unit
    assert unit_cache().nbytes >= unit.nbytes > 0
    unit_cache().clear()
    assert not others.kept(1)


def test_what_is_in_memory_is_not_kept_alive() -> None:
    import gc
    import weakref

    table = pa.table({"b": [b"x"]})
    units = units_of(open_container(table), ("b",), ("b",), encoded=True)
    assert units.unit(0) is units.unit(0)
    before, container = unit_cache().nbytes, weakref.ref(units._container)  # type: ignore[attr-defined]
    del units
    gc.collect()
    assert container() is None and unit_cache().nbytes == before


def made(nbytes: int) -> Any:
    class Made:
        def __init__(self) -> None:
            self.nbytes = nbytes

    return Made()


def test_the_least_recently_used_unit_is_dropped() -> None:
    cache = UnitCache(most=100)
    for key in "abc":
        cache.get(key, lambda: made(40))
    assert [cache.kept(key) for key in "abc"] == [False, True, True]
    cache.get("b", lambda: made(40))
    cache.get("d", lambda: made(40))
    assert [cache.kept(key) for key in "bcd"] == [True, False, True]
    cache.get("e", lambda: made(4000))
    assert [cache.kept(key) for key in "bde"] == [False, False, True]
    assert cache.nbytes == 4000


def test_the_limit_is_a_share_of_max_memory() -> None:
    cache = UnitCache()
    with Config(max_memory=400):
        for key in "abc":
            cache.get(key, lambda: made(40))
    assert cache.nbytes == 80


def test_one_thread_reads_and_others_wait() -> None:
    cache, reads, begun, go_on = UnitCache(), [], threading.Event(), threading.Event()

    def read() -> Any:
        reads.append(1)
        begun.set()
        assert go_on.wait(10)
        return made(1)

    units: list[Any] = []
    threads = [
        threading.Thread(target=lambda: units.append(cache.get("a", read))) for _ in range(5)
    ]
    threads[0].start()
    assert begun.wait(10)
    for thread in threads[1:]:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert len(reads) == 1 and len(units) == 5 and len(set(map(id, units))) == 1


@pytest.mark.parametrize("error", [FormatError("broken"), KeyboardInterrupt(), MemoryError()])
def test_who_fails_lets_others_try(error: BaseException) -> None:
    cache, begun, go_on = UnitCache(), threading.Event(), threading.Event()
    seen: list[BaseException] = []

    def fail() -> Any:
        begun.set()
        assert go_on.wait(10)
        raise error

    def first() -> None:
        try:
            cache.get("a", fail)
        except (FormatError, KeyboardInterrupt, MemoryError) as caught:
            seen.append(caught)

    one = threading.Thread(target=first)
    one.start()
    assert begun.wait(10)
    found_by: list[Any] = []
    other = threading.Thread(target=lambda: found_by.append(cache.get("a", lambda: made(1))))
    other.start()
    go_on.set()
    one.join(10)
    other.join(10)
    assert seen == [error] and len(found_by) == 1 and not cache._turns


def test_a_thread_that_is_gone_holds_nobody_up() -> None:
    from lazytensor.io.ome_arrow.unit_cache import _Turn

    cache = UnitCache()
    turn = _Turn()
    assert cache._claim("a", turn) is None
    turn.thread = -1
    del turn
    assert cache.get("a", lambda: made(7)).nbytes == 7


def test_a_thread_may_come_back_while_it_reads() -> None:
    cache = UnitCache()
    inner = made(1)
    outer = cache.get("a", lambda: (cache.get("a", lambda: inner), made(2))[1])
    assert outer.nbytes == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_starts_with_nothing() -> None:
    cache = unit_cache()
    cache.get("fork", lambda: made(1))
    with cache._lock:  # as if another thread held it
        child = os.fork()
        if not child:
            code = 1
            try:
                ok = not unit_cache().kept("fork")
                code = 0 if ok and unit_cache().get("fork", lambda: made(3)).nbytes == 3 else 2
            finally:
                os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    cache.clear()


def test_many_threads_and_small_room() -> None:
    cache = UnitCache(most=50)

    def work(seed: int) -> bool:
        keys = np.random.default_rng(seed).integers(12, size=300).tolist()
        return all(cache.get(key, partial(made, key + 1)).nbytes == key + 1 for key in keys)

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(6)))
    assert cache.nbytes <= 50 and not cache._turns


def test_pieces_of_several_batches_are_counted_through() -> None:
    parts = [pa.array([[1], [2, 3]]), pa.array([], pa.list_(pa.int64())), pa.array([[4], None])]
    unit = elements_of(parts, (), False, "x")
    got = [unit.element(i, thread_scratch()).tolist() for i in range(3)]
    assert len(unit) == 4 and got == [[1], [2, 3], [4]]
    for i in (3, 4):
        with pytest.raises(FormatError, match="piece"):
            unit.element(i, thread_scratch())


def test_the_real_table(data_root: Path) -> None:
    path = data_root / "ome-parquet" / "BR00117006.ome.parquet"
    if not path.exists():
        pytest.skip(f"no {path}")
    container = open_container(path)
    names = [
        field.name
        for field in container.schema
        if pa.types.is_struct(field.type) and field.type.get_field_index("planes") >= 0
    ]
    assert names
    for name in names[:3]:
        lists = pq.read_table(path, columns=[name]).column(name).combine_chunks()
        expected = [
            np.asarray(plane["pixels"])
            for image in lists.to_pylist()
            if image is not None
            for plane in image["planes"]
        ]
        units = units_of(container, (name,), (name, "planes", "pixels"), encoded=False)
        got = [
            units.unit(number).element(i, thread_scratch())
            for number in range(len(container.starts) - 1)
            for i in range(len(units.unit(number)))
        ]
        assert len(got) == len(expected) > 0
        assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))
