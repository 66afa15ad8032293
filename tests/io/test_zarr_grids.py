"""Rectilinear chunk grids: any cut, any box, what is read for it, and what is refused."""

from __future__ import annotations

import base64
import json
import pickle
import tracemalloc
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.errors import ChunkDecodeError, FormatError, SourceNotFoundError
from lazytensor.io.store_counting import CountingStore
from lazytensor.io.zarr import scan
from tests.io.zarr_cases import array_v3, distinct, little, read, same, shard, sharding, v3

VECTORS = json.loads(
    (Path(__file__).parent.parent / "vectors/rectilinear/arrays.json").read_text(encoding="utf-8")
)


def rectilinear(*chunk_shapes: Any, **changes: Any) -> dict[str, Any]:
    """A chunk grid of the metadata."""
    configuration = {"kind": "inline", "chunk_shapes": list(chunk_shapes), **changes}
    return {"name": "rectilinear", "configuration": configuration}


def sizes_of(spec: Any, extent: int) -> list[int]:
    """What an entry of ``chunk_shapes`` stands for, written out."""
    if isinstance(spec, int):
        return [spec] * -(-extent // spec)
    out: list[int] = []
    for item in spec:
        out += [item[0]] * item[1] if isinstance(item, list) else [item]
    return out


def cut(values: np.ndarray, sizes: Sequence[Sequence[int]]) -> dict[tuple[int, ...], np.ndarray]:
    """The chunks of an array, in full; what lies beyond its edge is garbage."""
    ends = [np.cumsum([0, *dim]) for dim in sizes]
    out = {}
    for index in product(*[range(len(dim)) for dim in sizes]):
        block = np.full([dim[i] for dim, i in zip(sizes, index, strict=True)], 0x7E, values.dtype)
        start = [int(end[i]) for end, i in zip(ends, index, strict=True)]
        part = values[tuple(slice(a, a + n) for a, n in zip(start, block.shape, strict=True))]
        block[tuple(slice(n) for n in part.shape)] = part
        out[index] = block
    return out


def keyed(chunks: Mapping[tuple[int, ...], bytes]) -> dict[str, bytes]:
    return {"/".join(["c", *map(str, index)]): data for index, data in chunks.items()}


def stored(values: np.ndarray, *chunk_shapes: Any, **changes: Any) -> dict[str, bytes]:
    """A store with one raw array in a rectilinear grid."""
    sizes = [sizes_of(spec, n) for spec, n in zip(chunk_shapes, values.shape, strict=True)]
    grid = rectilinear(*chunk_shapes)
    document = array_v3(values.shape, (), values.dtype.name, chunk_grid=grid, **changes)
    return v3(document, keyed({at: b.tobytes() for at, b in cut(values, sizes).items()}))


def sharded(values: np.ndarray, inner: tuple[int, ...], *chunk_shapes: Any) -> dict[str, bytes]:
    """A store with one array whose shards are of several shapes."""
    sizes = [sizes_of(spec, n) for spec, n in zip(chunk_shapes, values.shape, strict=True)]
    grid = rectilinear(*chunk_shapes)
    document = array_v3(values.shape, (), values.dtype.name, [sharding(inner)], chunk_grid=grid)
    shards = {}
    for at, block in cut(values, sizes).items():
        counts = [[k] * (n // k) for n, k in zip(block.shape, inner, strict=True)]
        shards[at] = shard([part.tobytes() for part in cut(block, counts).values()])
    return v3(document, keyed(shards))


@st.composite
def chunk_sizes(draw: st.DrawFn, extent: int) -> Any:
    """An entry of ``chunk_shapes`` for a dimension, in any of its spellings."""
    if draw(st.booleans()):
        return draw(st.integers(1, extent + 2))
    spec: list[Any] = []
    total = 0
    while total < extent or draw(st.integers(0, 4)) == 4:
        size, count = draw(st.integers(1, 4)), draw(st.integers(1, 3))
        plain = count == 1 and draw(st.booleans())
        spec.append(size if plain else [size, count])
        total += size * count
    return spec


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, list[Any], tuple[slice, ...]]:
    shape = tuple(draw(st.lists(st.integers(0, 9), min_size=1, max_size=3)))
    specs = [draw(chunk_sizes(n)) for n in shape]
    box = []
    for n in shape:
        lo, hi = sorted((draw(st.integers(0, n)), draw(st.integers(0, n))))
        box.append(slice(lo, hi))
    return distinct(shape, "int16"), specs, tuple(box)


@given(cases())
def test_any_grid_and_any_box(case: tuple[np.ndarray, list[Any], tuple[slice, ...]]) -> None:
    values, specs, box = case
    data = stored(values, *specs)
    assert same(read(data), values)
    x = lt.scan_zarr(data)
    assert same(x[box].collect(), values[box])
    for d, (spec, n) in enumerate(zip(specs, values.shape, strict=True)):
        ends = [end for end in np.cumsum(sizes_of(spec, n)).tolist() if end < n]
        assert x.chunk_edges(d) == ((0, *ends, n) if n else (0,))


@pytest.mark.parametrize("step", [2, 3, -1, -2])
def test_steps(step: int) -> None:
    values = distinct((23, 7), "int32")
    x = lt.scan_zarr(stored(values, [5, [2, 3], 9, 4], [3, 4]))
    assert same(x[::step, 1:].collect(), values[::step, 1:])
    assert same((x[::step] + 1).collect(), values[::step] + 1)


def test_sums_and_gathers() -> None:
    values = distinct((23, 7), "int32")
    x = lt.scan_zarr(stored(values, [5, [2, 3], 9, 4], [3, 4]))
    assert x.sum().collect() == values.sum()
    rows = np.array([22, 0, 5, 5, 13])
    assert same(x[rows].collect(), values[rows])
    assert same(x.blocks[4].collect(), values[11:20])
    halved = lt.map_blocks(lambda block: block - block.min(), x, dtype=np.int32)
    assert halved.collect()[5:7, :3].min() == 0


def test_shards_of_several_shapes() -> None:
    values = distinct((17, 10), "uint32")
    data = sharded(values, (2, 5), [4, [6, 1], 8], 10)
    assert same(read(data), values)
    x = lt.scan_zarr(data)
    # Inner chunks divide every shard, so that what can be read alone is a regular grid.
    assert x.chunks == (2, 5)
    assert x.chunk_edges(0) == (0, 2, 4, 6, 8, 10, 12, 14, 16, 17)
    assert x.storage is not None
    assert (x.storage.chunks, x.storage.shards) == ((2, 5), (8, 10))
    assert same(x[3:12, 4:6].collect(), values[3:12, 4:6])


def test_shards_that_are_read_whole_keep_their_grid() -> None:
    values = distinct((5,), "uint8")
    codecs = [sharding((1,)), {"name": "gzip", "configuration": {"level": 1}}]
    document = array_v3((5,), (), "uint8", codecs, chunk_grid=rectilinear([2, 3]))
    import gzip

    parts = {"c/0": values[:2], "c/1": values[2:]}
    data = {key: gzip.compress(shard([bytes([v]) for v in part])) for key, part in parts.items()}
    x = lt.scan_zarr(v3(document, data))
    assert x.chunk_edges(0) == (0, 2, 5)
    assert same(x.collect(), values)


def test_transposed_chunks_of_several_shapes() -> None:
    values = distinct((7, 4), "uint16")
    turn = {"name": "transpose", "configuration": {"order": [1, 0]}}
    grid = rectilinear([3, 4], [1, 3])
    document = array_v3((7, 4), (), "uint16", [turn, little()], chunk_grid=grid)
    chunks = {at: block.T.tobytes() for at, block in cut(values, [[3, 4], [1, 3]]).items()}
    assert same(read(v3(document, keyed(chunks))), values)


def test_missing_chunks() -> None:
    values = distinct((9,), "int16")
    data = stored(values, [2, 3, 4], fill_value=-9)
    del data["c/1"]
    expected = values.copy()
    expected[2:5] = -9
    assert same(read(data), expected)
    with pytest.raises(SourceNotFoundError, match="'c/1' is not stored"):
        read(data, missing="raise")


def test_chunks_of_the_wrong_size_are_named() -> None:
    data = stored(distinct((9,), "int16"), [2, 3, 4])
    data["c/1"] += b"\0"
    with pytest.raises(ChunkDecodeError, match="'c/1'"):
        read(data)


def test_remote_chunks_come_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    values = distinct((12, 4), "int16")
    for key, data in stored(values, [[1, 3], 4, 5], [1, 3]).items():
        fs.pipe_file(f"/r.zarr/{key}", data)
    fs.rm_file("/r.zarr/c/4/1")
    source = scan("memory://r.zarr")
    many: list[int] = []
    get_many = source._store.get_many
    monkeypatch.setattr(
        type(source._store), "get_many", lambda _, keys: many.append(len(keys)) or get_many(keys)
    )
    out = np.empty((12, 4), "i2")
    source.read_into(((0, 12), (0, 4)), out)
    expected = values.copy()
    expected[7:, 1:] = 0
    assert many == [10]
    assert same(out, expected)


def test_what_is_read_and_what_is_stored() -> None:
    values = distinct((9, 6), "int16")
    data = stored(values, [2, 3, 4], [4, 2])
    del data["c/2/1"]
    store = CountingStore(data)
    source = scan(store)
    store.reset()
    source.read_into(((1, 4), (0, 4)), np.empty((3, 4), "i2"))
    assert [entry[1] for entry in store.log] == ["c/0/0", "c/1/0"]
    found = source.unit_sizes([(0, 0), (1, 1), (2, 1)])
    assert (found.sampled, found.stored_bytes, found.missing) == (3, 2 * (2 * 4 + 3 * 2), 1)
    assert source.storage.statistics() == {
        "units_stored": 5,
        "units_total": 6,
        "bytes_stored": 2 * (54 - 8),
        "bytes_total": 2 * 54,
    }
    assert source.storage.chunks == (4, 4)
    assert source.storage.shards is None


def test_unit_sizes_of_shards() -> None:
    values = distinct((10,), "uint8")
    source = scan(sharded(values, (2,), [4, 6]))
    found = source.unit_sizes([(0,), (2,), (4,)])
    assert (found.sampled, found.stored_bytes, found.missing) == (3, 6, 0)


def test_sources_pickle_and_plans_come_back(tmp_path: Path) -> None:
    values = distinct((9, 6), "int16")
    for key, data in stored(values, [2, 3, 4], [4, 2]).items():
        path = tmp_path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    source = scan(tmp_path)
    again = pickle.loads(pickle.dumps(source))
    assert again.spec.grid == source.spec.grid
    assert [hash(dim) for dim in again.spec.grid] == [hash(dim) for dim in source.spec.grid]
    x = lt.scan_zarr(tmp_path)
    assert (
        lt.LazyTensor.deserialize((x[1:] * 2).serialize()).collect().sum() == values[1:].sum() * 2
    )
    assert x.estimate().bytes_read == values.nbytes


def test_a_grid_that_is_regular_after_all_is_treated_as_one() -> None:
    values = distinct((9,), "int16")
    for spec in (4, [[4, 3]], [4, 4, 4], [[4, 2], 4, 7], [4, [4, 10**12]]):
        data = stored(values, 4)
        data["zarr.json"] = json.dumps(
            array_v3((9,), (), "int16", chunk_grid=rectilinear(spec))
        ).encode()
        source = scan(data)
        assert source.spec.grid == scan(stored(values, 4)).spec.grid
        assert source._meta.grid is None
        assert same(read(data), values)


def test_sums_that_do_not_fit_into_64_bits() -> None:
    most = 2**62 - 1
    for spec in ([1, [most, most]], [1, most, most, most, [most, 5]], [[1, most], [most, most]]):
        document = array_v3((most,), (), "uint8", chunk_grid=rectilinear(spec), fill_value=3)
        x = lt.scan_zarr(v3(document, {"c/0": b"\5"}))
        assert x[:1].collect().tolist() == [5]
        assert x[-2:].collect().tolist() == [3, 3]
    short = rectilinear([[2**61 - 1, 2]])
    with pytest.raises(FormatError, match=f"add up to {most} or more, found {2**62 - 2}"):
        scan(v3(array_v3((most,), (), "uint8", chunk_grid=short)))


def test_no_dimensions_and_no_elements() -> None:
    document = array_v3((), (), "uint16", chunk_grid=rectilinear())
    assert read(v3(document, {"c": b"\1\2"})) == 0x201
    for spec in (3, [], [[5, 2]], [1, 2]):
        document = array_v3((0, 2), (), "uint16", chunk_grid=rectilinear(spec, [1, 1]))
        assert read(v3(document)).shape == (0, 2)


class TestManyCells:
    """Nothing is enumerated before somebody asks for it."""

    @pytest.mark.parametrize("spec", [10, [[10, 10**15]], [1, [10, 10**15]], [[1, 10**12], 10**17]])
    def test_runs_stay_runs(self, spec: Any) -> None:
        tracemalloc.start()
        document = array_v3((10**16,), (), "uint8", chunk_grid=rectilinear(spec), fill_value=7)
        x = lt.scan_zarr(v3(document, {"c/0": b"\5" * (10 if spec in (10, [[10, 10**15]]) else 1)}))
        assert x[:3].collect()[0] == 5
        assert x[-2:].collect().tolist() == [7, 7]
        assert x[10**15 :][: 10**6 : 2][5:8].collect().tolist() == [7, 7, 7]
        assert x[10**15 :].estimate().chunks_total >= 10**12
        assert lt.concat([x[1:], x])[-2:].collect().tolist() == [7, 7]
        assert lt.downsample(x, (3,), "max")[-2:].collect().tolist() == [7, 7]
        total = x.storage.statistics()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert total["units_stored"] == 1
        assert total["units_total"] >= 10**12
        assert peak < 8 << 20

    def test_a_long_list_of_sizes(self) -> None:
        sizes = np.tile([3, 5], 200_000)
        grid = rectilinear(sizes.tolist())
        shape = (int(sizes.sum()),)
        document = array_v3(shape, (), "uint8", chunk_grid=grid, fill_value=1)
        x = lt.scan_zarr(v3(document, {"c/399999": bytes([1, 2, 3, 4, 5])}))
        assert x[-6:].collect().tolist() == [1, 1, 2, 3, 4, 5]
        assert x.blocks[399_999].collect().tolist() == [1, 2, 3, 4, 5]
        assert x.estimate().tasks >= 1

    def test_all_of_a_long_list(self) -> None:
        sizes = np.tile([3, 5], 2_000)
        values = distinct((int(sizes.sum()),), "int16")
        x = lt.scan_zarr(stored(values, sizes.tolist()))
        assert same(x.collect(), values)
        assert same(x[::-7].collect(), values[::-7])


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (rectilinear([2, 3, 3]), r"chunk_shapes\[0\]: expected sizes that add up to 9 .* found 8"),
        (rectilinear([[2, 4]]), "add up to 9"),
        (rectilinear([]), "add up to 9"),
        (rectilinear([9, 0]), r"chunk_shapes\[0\]\[1\]: expected a positive size .* found 0"),
        (rectilinear([-1, 10]), "positive size"),
        (rectilinear([True, 9]), "positive size"),
        (rectilinear([9.0]), "positive size"),
        (rectilinear([[3, 3, 3]]), "positive size"),
        (rectilinear([[3]]), "positive size"),
        (rectilinear([[3, 0]]), "positive size"),
        (rectilinear([[0, 3]]), "positive size"),
        (rectilinear([[3, [3]]]), "positive size"),
        (rectilinear([[3, "3"]]), "positive size"),
        (rectilinear([[1, 2**70]]), "positive size"),
        (rectilinear([2**62]), "positive size"),
        (rectilinear(0), "positive integer below"),
        (rectilinear(-3), "positive integer below"),
        (rectilinear("9"), "positive integer below"),
        (rectilinear(None), "positive integer below"),
        (rectilinear({"a": 1}), "positive integer below"),
        (rectilinear(3, 3), "chunk_shapes: expected 1 entries"),
        (rectilinear(), "chunk_shapes: expected 1 entries"),
        (rectilinear(3, kind="file"), r"kind: expected one of \['inline'\]"),
        ({"name": "rectilinear", "configuration": {"chunk_shapes": [3]}}, "kind: expected one"),
        ({"name": "rectilinear", "configuration": {"kind": "inline"}}, "chunk_shapes: expected a"),
        ("rectilinear", "kind: expected one"),
        ({"name": "hexagonal"}, "grid 'hexagonal' is not supported; known: regular, rectilinear"),
    ],
)
def test_bad_grids_are_refused_by_name(grid: Any, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        scan(v3(array_v3((9,), (), "uint8", chunk_grid=grid)))


def test_inner_chunks_must_divide_every_shard() -> None:
    for spec in ([8, 4, 6], [4, 6, 8]):
        document = array_v3((18,), (), "uint8", [sharding((4,))], chunk_grid=rectilinear(spec))
        with pytest.raises(FormatError, match="chunk_shape: expected divisors"):
            scan(v3(document))
    # A shard that lies behind the array does not count.
    document = array_v3((12,), (), "uint8", [sharding((4,))], chunk_grid=rectilinear([8, 4, 6]))
    assert scan(v3(document)).spec.chunks == (4,)


@pytest.mark.parametrize("name", VECTORS)
def test_files_of_other_writers(name: str) -> None:
    """Of zarr-python 3.4 and zarrs, which those for the oldest Python cannot write."""
    case = VECTORS[name]
    data = {key: base64.b64decode(value) for key, value in case["objects"].items()}
    expected = np.array(case["values"], case["dtype"])
    assert same(read(data), expected)
    assert same(lt.scan_zarr(data)[1:-1, 2:8].collect(), expected[1:-1, 2:8])
