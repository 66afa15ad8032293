"""Many windows of one array together: the same values as one by one, each chunk decoded once."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor import native
from lazytensor.errors import ChunkDecodeError, OutOfBoundsError, ShapeError, SourceChangedError
from lazytensor.exec.batches import WindowReader
from lazytensor.exec.cancelling import kind as cancelled_kind
from lazytensor.exec.joined import joined_program
from lazytensor.exec.pool import CancelToken
from lazytensor.io import chunk_cache
from lazytensor.plan.counters import snapshot
from lazytensor.plan.optimize import _fixpoint, optimize

SHAPE = (30, 24, 28)
VALUES = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype("u2")
KINDS = {"plain": {"chunks": (8, 7, 10)}, "sharded": {"chunks": (4, 4, 7), "shards": (8, 8, 14)}}


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    for name in ("chunks", "windows", "cut", "look"):
        assert native.wait(name, timeout=200) is not None, native.reason(name)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, lt.LazyTensor]:
    found = {}
    for kind, settings in KINDS.items():
        path = tmp_path_factory.mktemp(kind)
        array = zarr.create_array(str(path), shape=SHAPE, dtype="u2", **settings)
        array[...] = VALUES
        for name in path.rglob("*"):
            os.utime(name, (1, 1))
        found[kind] = lt.scan_zarr(str(path))
    return found


def counted(name: str) -> int:
    return snapshot().get(name, 0)


FORMS: dict[str, Any] = {
    "crop": lambda x, a, b, c: x[a : a + 9, b : b + 6, c : c + 8],
    "steps": lambda x, a, b, c: x[a : a + 9 : 2, b : b + 6 : 5, c : c + 8 : 3],
    "flip": lambda x, a, b, c: x[a : a + 9, b + 6 : b : -1, c : c + 8 : 2],
    "plane": lambda x, a, b, c: x[a, b : b + 6, c : c + 8],
    "turned": lambda x, a, b, c: np.transpose(x[a : a + 9, b : b + 6, c], (1, 0)),
    "new": lambda x, a, b, c: x[a : a + 9, None, b, c : c + 8],
    "point": lambda x, a, b, c: x[a, b, c],
}


@given(data=st.data())
def test_stacks_and_lists_of_windows(stores: dict[str, lt.LazyTensor], data: st.DataObject) -> None:
    x = stores[data.draw(st.sampled_from(list(KINDS)))]
    form = FORMS[data.draw(st.sampled_from(list(FORMS)))]
    corner = st.tuples(st.integers(0, 20), st.integers(0, 17), st.integers(0, 19))
    corners = data.draw(st.lists(corner, min_size=1, max_size=6))
    expected = [form(VALUES, *at) for at in corners]
    axis = data.draw(st.integers(0, expected[0].ndim))
    threads = data.draw(st.sampled_from([1, 3]))
    stack = lt.stack([form(x, *at) for at in corners], axis=axis)
    with lt.Config(cache_bytes=data.draw(st.sampled_from([0, 3000, 1 << 20])), threads=threads):
        assert np.array_equal(stack.collect(), np.stack(expected, axis=axis))
        out = np.zeros((*stack.shape[::-1], 2), "u2")[..., 1].T
        assert np.array_equal(stack.collect(out=out), np.stack(expected, axis=axis))
        found = lt.collect_all([form(x, *at) for at in corners])
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
        assert np.array_equal((stack + 1).collect(), np.stack(expected, axis=axis) + 1)
        plain = stack.collect(optimizations=lt.QueryOptFlags.none())
        assert np.array_equal(plain, np.stack(expected, axis=axis))
        assert np.array_equal(stack.collect(engine="interpret"), np.stack(expected, axis=axis))


def test_names_and_origins(stores: dict[str, lt.LazyTensor]) -> None:
    x = stores["plain"].translate_to[5, -3, 0].label["z", "y", "x"]
    layers = [x[i : i + 7] for i in (0, 3, 9)]
    found = lt.stack(layers, axis=1).collect()
    assert np.array_equal(found, np.stack([VALUES[i : i + 7] for i in (0, 3, 9)], axis=1))


class TestPlans:
    def windows(self, x: lt.LazyTensor) -> lt.LazyTensor:
        return lt.stack([x[i : i + 9, 1:20, 2:25] for i in (0, 4, 8, 12)])

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_chunk_is_decoded_once(self, stores: dict[str, lt.LazyTensor], kind: str) -> None:
        s = self.windows(stores[kind])
        assert joined_program(optimize(s._node)) is not None
        before = snapshot()
        s.collect()
        after = snapshot()
        estimate = s.estimate(exact=True)
        delta = {name: after.get(name, 0) - before.get(name, 0) for name in after}
        assert delta["units_read"] == estimate.chunks_read
        assert delta["bytes_decoded"] == estimate.bytes_decoded
        assert delta["tasks"] == estimate.tasks == 1
        # Of a shard, indices may be known already, and what lies in between is not read.
        assert delta["bytes_read"] == estimate.bytes_read or kind == "sharded"

    def test_explain_and_profile_say_so(self, stores: dict[str, lt.LazyTensor]) -> None:
        s = self.windows(stores["plain"])
        assert "read_windows zarr" in s.explain(stage="physical")
        values, rows = s.profile()
        assert np.array_equal(values, s.collect())
        assert rows["bytes_decoded"].sum() == s.estimate().bytes_decoded
        assert any(name.startswith("read_windows") for name in rows["operation"])

    def test_others_are_not(self, stores: dict[str, lt.LazyTensor]) -> None:
        x, y = stores.values()
        for layers in (
            [x[:5], y[:5]],
            [x[:5], x[:5].transpose(2, 1, 0).transpose(2, 1, 0)[::-1]],
            [lt.asarray(VALUES)[:5], lt.asarray(VALUES)[1:6]],
            [x[[0, 2, 4]], x[[1, 3, 5]]],
        ):
            stack = lt.stack(layers)
            assert joined_program(optimize(stack._node)) is None
            expected = np.stack([layer.collect() for layer in layers])
            assert np.array_equal(stack.collect(), expected)

    def test_too_many_pieces_are_read_one_by_one(self, tmp_path: Path) -> None:
        array = zarr.create_array(str(tmp_path), shape=(300, 300), chunks=(1, 1), dtype="u1",
                                  compressors=None)  # fmt: skip
        array[:3] = 5
        x = lt.scan_zarr(str(tmp_path))
        layers = [x[i : i + 200, i : i + 200] for i in range(30)]
        found = lt.stack(layers[:1] * 30).collect(optimizations=lt.QueryOptFlags())
        assert found.sum() == 30 * 3 * 200 * 5

    def test_damage_is_an_error_that_names_the_chunk(self, tmp_path: Path) -> None:
        array = zarr.create_array(str(tmp_path), shape=(40, 40), chunks=(8, 8), dtype="u2")
        array[...] = 3
        (tmp_path / "c/1/1").write_bytes(b"\0" * 30)
        x = lt.scan_zarr(str(tmp_path))
        for cache_bytes in (0, "1MiB"):
            with lt.Config(cache_bytes=cache_bytes):
                assert (lt.stack([x[i : i + 8, 20:40] for i in range(9)]).collect() == 3).all()
                with pytest.raises(ChunkDecodeError, match="c/1/1"):
                    lt.stack([x[i : i + 8, 4:20] for i in range(9)]).collect()
        assert not chunk_cache.chunk_cache().in_use()


READERS: dict[str, Any] = {
    "whole": lambda x: x,
    "turned": lambda x: np.transpose(x, (2, 0, 1)),
    "flipped": lambda x: x[::-1, :, 20:3:-2],
    "crop": lambda x: x[5:, 3:20, ::3],
    "plane": lambda x: x[:, 5, None],
    "computed": lambda x: x[2:] * 2 + 1,
    "gathered": lambda x: x[[4, 1, 7, 0, 20, 11]],
}


class TestWindowReader:
    @pytest.mark.parametrize("form", READERS)
    @pytest.mark.parametrize("cache_bytes", [None, "64KiB", "1MiB"])
    @pytest.mark.parametrize("plain", [False, True])
    def test_windows_anywhere(
        self, stores: dict[str, lt.LazyTensor], form: str, cache_bytes: Any, plain: bool,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        if plain:
            monkeypatch.setenv("LAZYTENSOR_NATIVE", "0")
        rng = np.random.default_rng(3)
        for x in stores.values():
            view, expected = READERS[form](x), READERS[form](VALUES)
            shape = tuple(max(1, n // 3) for n in expected.shape)
            reader = WindowReader(view._node, shape, cache_bytes=cache_bytes, threads=2)
            for n in (0, 1, 7):
                starts = rng.integers(0, np.subtract(expected.shape, shape) + 1, (n, len(shape)))
                origins = starts + np.array(view.domain.inclusive_min)
                out = np.zeros((n, *shape), expected.dtype)
                assert reader.read(origins, out) is out
                apart = [np.zeros(shape[::-1], expected.dtype).T for _ in range(n)]
                assert reader.read(origins, apart) is apart
                assert np.array_equal(np.array(apart).reshape(out.shape), out)
                for start, window in zip(starts.tolist(), out, strict=True):
                    part = tuple(slice(a, a + m) for a, m in zip(start, shape, strict=True))
                    assert np.array_equal(window, expected[part])

    def test_what_does_not_fit(self, stores: dict[str, lt.LazyTensor]) -> None:
        node = stores["plain"]._node
        for shape in ((1, 2), (1, 2, 99), (0, 1, 1)):
            with pytest.raises(ShapeError, match="do not fit"):
                WindowReader(node, shape)
        reader = WindowReader(node, (4, 4, 4))
        with pytest.raises(ShapeError, match="origins"):
            reader.read([[0, 0]], np.zeros((1, 4, 4, 4), "u2"))
        unlike = [np.zeros((4, 4, n), "u2")[:, :, :4] for n in (4, 5)]
        for outs in (unlike, [np.zeros((4, 4, 4), "u2")], [np.zeros((4, 4, 5), "u2")] * 2):
            with pytest.raises(ShapeError, match="origins"):
                reader.read([[0, 0, 0]] * 2, outs)
        with pytest.raises(lt.DTypeError, match="uint16"):
            reader.read([[0, 0, 0]], np.zeros((1, 4, 4, 4), "u1"))
        with pytest.raises(OutOfBoundsError, match=r"window 1 at \(27, 0, 0\)"):
            reader.read([[0, 0, 0], [27, 0, 0]], np.zeros((2, 4, 4, 4), "u2"))

    def test_threads_read_batches_of_their_own(self, stores: dict[str, lt.LazyTensor]) -> None:
        reader = WindowReader(stores["plain"]._node, (9, 9, 9), cache_bytes="1MiB", threads=1)
        wrong: list[Any] = []
        before = counted("units_read")

        def work(seed: int) -> None:
            rng = np.random.default_rng(seed)
            out = np.empty((5, 9, 9, 9), "u2")
            for _ in range(40):
                starts = rng.integers(0, np.array(SHAPE) - 8, (5, 3))
                reader.read(starts, out)
                for (a, b, c), window in zip(starts.tolist(), out, strict=True):
                    if not np.array_equal(window, VALUES[a : a + 9, b : b + 9, c : c + 9]):
                        wrong.append((a, b, c))

        crew = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in crew:
            thread.start()
        for thread in crew:
            thread.join(60)
        assert not wrong
        assert counted("units_read") - before <= 4 * 4 * 3
        assert not chunk_cache.chunk_cache().in_use()

    def test_a_cancelled_batch(self, stores: dict[str, lt.LazyTensor]) -> None:
        token = CancelToken()
        token.cancel()
        reader = WindowReader((stores["plain"] + 1)._node, (4, 4, 4))
        with pytest.raises(cancelled_kind()):
            reader.read([[0, 0, 0]] * 3, np.zeros((3, 4, 4, 4), "u2"), cancel=token)

    def test_metadata_that_changed(self, tmp_path: Path) -> None:
        zarr.create_array(str(tmp_path), shape=(9,), chunks=(3,), dtype="u2")
        x = lt.scan_zarr(str(tmp_path))
        zarr.create_array(str(tmp_path), shape=(99,), chunks=(3,), dtype="u2", overwrite=True)
        with pytest.raises(SourceChangedError):
            WindowReader(x._node, (2,))


@pytest.mark.parametrize("axis", [None, 0, 2])
def test_the_short_way_to_the_plan_of_windows(
    stores: dict[str, lt.LazyTensor], axis: int | None
) -> None:
    """What the optimizer's driver makes of them, without it."""
    x = stores["plain"]
    layers = [x[i : i + 5, 1:9, 2:8] for i in range(4)]
    for some in (layers, layers[:1], [x[1:9][i : i + 5] for i in range(3)], [x, x]):
        node = (lt.concat(some) if axis is None else lt.stack(some, axis=axis))._node
        for flags in (lt.QueryOptFlags(), lt.QueryOptFlags.none()):
            assert optimize(node, flags) is _fixpoint(node, flags, [])
