"""``LazyTensor`` as a value: what it knows, what it refuses, and what other code may do to it."""

from __future__ import annotations

import asyncio
import copy
import pickle
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazytensor as lt


@pytest.fixture
def x() -> lt.LazyTensor:
    return lt.asarray(np.arange(24, dtype="u2").reshape(2, 3, 4), dims=("t", "y", "x"))


class TestFreeProperties:
    def test_they_are_known_without_collecting(self, x: lt.LazyTensor) -> None:
        with lt.testing.raise_if_collects():
            assert (x.shape, x.ndim, x.size, x.nbytes) == ((2, 3, 4), 3, 24, 48)
            assert x.dtype == lt.uint16 and x.device == "cpu"
            assert x.dims == ("t", "y", "x") == x.domain.labels
            assert x.dims == tuple(axis.name for axis in x.axes)
            assert x.origin == (0, 0, 0) and x.chunks == (2, 3, 4)
            assert x.levels == () and x.attrs == {} and x.storage is None
            assert len(x) == 2 and len(list(x)) == 2

    def test_schema_holds_all_of_them(self, x: lt.LazyTensor) -> None:
        schema = x.schema
        assert (schema.shape, schema.dtype, schema.dims) == (x.shape, x.dtype, x.dims)
        assert (schema.domain, schema.axes, schema.chunks) == (x.domain, x.axes, x.chunks)

    def test_crop_keeps_its_coordinates(self, x: lt.LazyTensor) -> None:
        crop = x[1:, 1:3]
        assert crop.origin == (1, 1, 0) and crop.shape == (1, 2, 4)

    def test_transposes(self, x: lt.LazyTensor) -> None:
        np.testing.assert_array_equal(x[0].T.collect(), np.arange(12).reshape(3, 4).T)
        assert x.mT.shape == (2, 4, 3) and x.mT.dims == ("t", "x", "y")
        with pytest.raises(lt.ShapeError, match="permute_dims"):
            _ = x.T
        with pytest.raises(lt.ShapeError, match="two dims"):
            _ = lt.arange(3).mT

    def test_chunk_edges_are_exact(self) -> None:
        x = lt.asarray(np.arange(70).reshape(10, 7), chunks=(4, (3, 4)), dims=("y", "x"))
        assert x.chunk_edges("y") == (0, 4, 8, 10) and x.chunk_edges(-1) == (0, 3, 7)
        assert x[1:].chunk_edges(0) == (0, 3, 7, 9)
        assert x[::-1].chunk_edges(0) == (0, 2, 6, 10)
        assert x[[3, 1]].chunks[0] is None and x[[3, 1]].chunk_edges(0) == (0, 2)
        with pytest.raises(lt.DimensionError, match="no dim 'z'"):
            x.chunk_edges("z")

    def test_devices(self, x: lt.LazyTensor) -> None:
        assert x.to_device("cpu") is x
        with pytest.raises(ValueError, match="cuda"):
            x.to_device("cuda")


class TestImmutability:
    def test_nothing_can_be_set(self, x: lt.LazyTensor) -> None:
        with pytest.raises(TypeError, match="immutable"):
            x[0] = 1  # type: ignore[index]
        with pytest.raises(AttributeError, match="immutable"):
            x.dims = ("a", "b", "c")  # type: ignore[misc]
        with pytest.raises(AttributeError, match="immutable"):
            del x.shape  # type: ignore[misc]
        with pytest.raises(AttributeError):
            x.new = 1  # type: ignore[attr-defined]
        with pytest.raises(TypeError, match="unhashable"):
            hash(x)
        with pytest.raises(TypeError, match="any"):
            _ = 3 in x  # type: ignore[operator]
        with pytest.raises(TypeError, match="asarray"):
            lt.LazyTensor()

    def test_augmented_assignment_rebinds(self, x: lt.LazyTensor) -> None:
        y = x
        y += 1
        assert y is not x and int(x[0, 0, 0]) == 0 and int(y[0, 0, 0]) == 1

    def test_copies_are_the_same_object(self, x: lt.LazyTensor) -> None:
        assert copy.copy(x) is x and copy.deepcopy(x) is x

    def test_pickling_keeps_values_domain_and_names(self, x: lt.LazyTensor) -> None:
        y = (x[1:, ::2] + 1).label["a", "b", "c"]
        again = pickle.loads(pickle.dumps(y))
        lt.testing.assert_equal(again, y)
        assert again.axes == y.axes


class TestCollect:
    @pytest.mark.parametrize("engine", ["auto", "local", "interpret"])
    def test_result_is_owned_writable_contiguous_and_aligned(self, engine: str) -> None:
        a = np.arange(12).reshape(3, 4)
        result = lt.asarray(a).mT.collect(engine=engine)
        np.testing.assert_array_equal(result, a.T)
        assert result.flags.c_contiguous and result.flags.writeable
        assert result.ctypes.data % 64 == 0 and not np.may_share_memory(result, a)

    def test_out_is_filled_and_returned(self, x: lt.LazyTensor) -> None:
        out = np.empty((2, 3, 4), "u2")
        assert (x + 1).collect(out=out) is out
        np.testing.assert_array_equal(out, np.arange(1, 25).reshape(2, 3, 4))

    def test_out_may_be_what_the_plan_reads(self) -> None:
        a = np.arange(6)
        lt.asarray(a)[::-1].collect(out=a)
        np.testing.assert_array_equal(a, [5, 4, 3, 2, 1, 0])

    def test_out_is_checked(self, x: lt.LazyTensor) -> None:
        with pytest.raises(lt.ShapeError, match=r"\(2, 3\)"):
            x.collect(out=np.empty((2, 3), "u2"))
        with pytest.raises(lt.DTypeError, match="uint16"):
            x.collect(out=np.empty(x.shape, "i2"))
        with pytest.raises(TypeError, match="NumPy array"):
            x.collect(out=[1, 2])  # type: ignore[arg-type]
        frozen = np.empty(x.shape, "u2")
        frozen.flags.writeable = False
        with pytest.raises(ValueError, match="read-only"):
            x.collect(out=frozen)
        with pytest.raises(ValueError, match="dlpack"):
            x.collect(to="dlpack", out=np.empty(x.shape, "u2"))

    def test_targets(self, x: lt.LazyTensor) -> None:
        assert x.to_numpy().sum() == 276
        np.testing.assert_array_equal(np.from_dlpack(x.to_dlpack()), x.collect())
        assert x.collect(device="cpu").shape == x.shape
        with pytest.raises(ValueError, match="not one of"):
            x.collect(to="tensorflow")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="cuda"):
            x.collect(device="cuda")

    def test_a_missing_library_is_named_with_its_extra(
        self, x: lt.LazyTensor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "torch", None)
        with pytest.raises(ImportError, match=r"lazytensor-engine\[torch\]"):
            x.to_torch()

    def test_background(self, x: lt.LazyTensor) -> None:
        seen = threading.Event()
        handle = (x + 1).collect(background=True)
        handle.add_done_callback(lambda _: seen.set())
        assert handle.result(timeout=30).sum() == 300
        assert handle.done() and handle.exception(timeout=1) is None and seen.wait(5)

    def test_async(self, x: lt.LazyTensor) -> None:
        async def both() -> list[Any]:
            return await asyncio.gather(x.collect_async(), (x + 1).collect_async())

        first, second = asyncio.run(both())
        np.testing.assert_array_equal(first + 1, second)

    def test_async_raises_what_the_run_raises(self) -> None:
        hole = lt.overlay([lt.arange(2), lt.arange(2).translate_to[4]])
        with pytest.raises(lt.HoleError):
            asyncio.run(hole.collect_async())

    def test_collect_all_gives_a_list(self, x: lt.LazyTensor) -> None:
        out = np.empty((), "u8")
        total, top = lt.collect_all([x.sum(), x.max()], out=[out, None])
        assert total is out and int(out) == 276 and int(top) == 23
        handle = lt.collect_all([x], background=True)
        assert handle.result(timeout=30)[0].shape == x.shape
        with pytest.raises(lt.ShapeError, match="1 arrays in out for 2"):
            lt.collect_all([x, x], out=[None])

    def test_shared_parts_are_computed_once(self) -> None:
        calls: list[int] = []
        base = lt.arange(6).inspect(lambda domain, values: calls.append(values.size)).cache()
        lt.collect_all([base + 1, base * 2])
        assert sum(calls) == 6


class TestProtocols:
    def test_scalars_convert(self) -> None:
        assert int(lt.asarray(3.7)) == 3 and float(lt.asarray(2)) == 2.0
        assert complex(lt.asarray(1j)) == 1j and bool(lt.asarray(0)) is False
        assert [10, 20, 30][lt.asarray(1)] == 20  # type: ignore[call-overload]

    @pytest.mark.parametrize("convert", [bool, int, float, complex])
    def test_others_do_not_and_nothing_is_computed(self, convert: Any, x: lt.LazyTensor) -> None:
        with lt.testing.raise_if_collects(), pytest.raises(TypeError, match="0-d"):
            convert(x)

    def test_index_takes_integers_only(self) -> None:
        with pytest.raises(TypeError, match="float64"):
            range(lt.asarray(2.0))  # type: ignore[arg-type]

    def test_a_scalar_has_no_length(self) -> None:
        with pytest.raises(TypeError, match="length"):
            len(lt.asarray(1))
        with pytest.raises(TypeError, match="iterated"):
            iter(lt.asarray(1))

    def test_numpy_array(self, x: lt.LazyTensor) -> None:
        a = np.asarray(x)
        assert a.dtype == x.dtype and a.flags.writeable
        assert np.asarray(x, dtype="f4").dtype == np.float32
        np.testing.assert_array_equal(a, x.collect())

    @pytest.mark.parametrize("policy", ["warn", "raise"])
    def test_implicit_collects_obey_the_policy(self, policy: str, x: lt.LazyTensor) -> None:
        expected = pytest.warns(UserWarning, match=r"np\.asarray")
        if policy == "raise":
            expected = pytest.raises(RuntimeError, match=r"np\.asarray")
        with lt.Config(implicit_collect=policy):
            with expected as caught:
                np.asarray(x)
            if policy == "warn":
                assert caught[0].filename == __file__  # where it happened, not in the library
            x.collect()  # explicit: never a question

    def test_ufuncs_stay_lazy_on_either_side(self, x: lt.LazyTensor) -> None:
        a = np.arange(4, dtype="u2")
        with lt.testing.raise_if_collects():
            results = [np.add(x, 1), a + x, x + a, np.sqrt(x), np.maximum.reduce(x, axis=1)]
            assert all(isinstance(result, lt.LazyTensor) for result in results)
        n = x.collect()
        for result, wanted in zip(
            results, [n + 1, a + n, n + a, np.sqrt(n), n.max(1)], strict=True
        ):
            np.testing.assert_array_equal(result.collect(), wanted)

    def test_ufuncs_without_a_twin_work_on_values(self, x: lt.LazyTensor) -> None:
        result = np.gcd(x, 6)
        assert isinstance(result, np.ndarray)
        np.testing.assert_array_equal(result, np.gcd(x.collect(), 6))
        assert np.add(x, 1, dtype="f8").dtype == np.float64
        with pytest.raises(TypeError, match="immutable"):
            np.add(np.arange(3), 1, out=(lt.arange(3),))  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="immutable"):
            np.add.at(x, 0, 1)

    @pytest.mark.parametrize(
        ("function", "arguments"),
        [
            (np.sum, {"axis": 1}),
            (np.mean, {"axis": (0, 2), "keepdims": True}),
            (np.std, {"ddof": 1}),
            (np.clip, {"min": 3, "max": 9}),
            (np.round, {}),
            (np.moveaxis, {"source": 0, "destination": -1}),
            (np.transpose, {}),
            (np.flip, {"axis": 1}),
            (np.roll, {"shift": 2, "axis": 2}),
            (np.pad, {"pad_width": 1}),
            (np.squeeze, {}),
            (np.ravel, {}),
            (np.swapaxes, {"axis1": 0, "axis2": 1}),
            (np.tril, {}),
            (np.zeros_like, {}),
            (np.repeat, {"repeats": 2, "axis": 0}),
        ],
    )
    def test_numpy_functions_with_a_twin_stay_lazy(
        self, function: Any, arguments: dict[str, Any], x: lt.LazyTensor
    ) -> None:
        if function is np.moveaxis:
            positional: tuple[Any, ...] = tuple(arguments.values())
            arguments = {}
        elif function in (np.swapaxes, np.roll, np.repeat):
            positional, arguments = tuple(arguments.values()), {}
        else:
            positional = ()
        with lt.testing.raise_if_collects():
            result = function(x, *positional, **arguments)
        assert isinstance(result, lt.LazyTensor)
        wanted = function(x.collect(), *positional, **arguments)
        np.testing.assert_allclose(result.collect(), wanted, rtol=1e-12)
        assert result.dtype == wanted.dtype

    def test_numpy_joins_stay_lazy(self, x: lt.LazyTensor) -> None:
        with lt.testing.raise_if_collects():
            results = [np.concatenate([x, x], axis=1), np.stack([x, x], axis=-1)]
        assert [r.shape for r in results] == [(2, 6, 4), (2, 3, 4, 2)]
        assert np.shape(x) == x.shape and np.ndim(x) == 3 and np.size(x) == 24

    def test_numpy_functions_without_a_twin_work_on_values(self, x: lt.LazyTensor) -> None:
        assert isinstance(np.linalg.norm(x), np.floating)
        np.testing.assert_array_equal(np.hstack([x, x]), np.hstack([x.collect()] * 2))

    def test_dlpack(self, x: lt.LazyTensor) -> None:
        with lt.testing.raise_if_collects():
            assert x.__dlpack_device__() == (1, 0)
        np.testing.assert_array_equal(np.from_dlpack(x), x.collect())
        np.testing.assert_array_equal(np.from_dlpack(x, copy=True, device="cpu"), x.collect())
        with pytest.raises(BufferError, match="stream"):
            x.__dlpack__(stream=7)
        with pytest.raises(BufferError, match="CPU"):
            x.__dlpack__(dl_device=(2, 0))

    def test_array_namespace(self, x: lt.LazyTensor) -> None:
        assert x.__array_namespace__() is lt
        assert x.__array_namespace__(api_version="2025.12") is lt
        assert lt.__array_api_version__ == "2025.12"
        with pytest.raises(ValueError, match=r"1999\.12"):
            x.__array_namespace__(api_version="1999.12")


class TestOperandsInErrors:
    def test_an_error_names_the_tensor_and_the_line_that_built_it(self) -> None:
        x = lt.zeros((2, 3))
        line = sys._getframe().f_lineno - 1
        for fails in (
            lambda: x[5],
            lambda: x.astype("not a dtype"),
            lambda: x.downsample((1, 0)),
            lambda: x.reshape(4),
            lambda: lt.stack([x, lt.zeros(4)]),
            lambda: x.isel(z=0),
            lambda: x.sel(z=0),
            lambda: x.coord[7],
            lambda: lt.pad(x, -1),
        ):
            with pytest.raises(lt.LazyTensorError) as caught:
                fails()
            assert str(caught.value).count(f"built at {__file__}:{line}") == 1


class TestSerialization:
    def test_json_and_binary(self, x: lt.LazyTensor, tmp_path: Path) -> None:
        y = (x[1:] + 1).downsample(y=2)
        text = y.serialize()
        assert isinstance(text, str)
        lt.testing.assert_equal(lt.LazyTensor.deserialize(text), y)
        data = y.serialize(format="binary")
        assert isinstance(data, bytes)
        lt.testing.assert_equal(lt.LazyTensor.deserialize(data), y)
        assert y.serialize(tmp_path / "plan.json") is None
        lt.testing.assert_equal(lt.LazyTensor.deserialize(tmp_path / "plan.json"), y)
        with open(tmp_path / "plan.bin", "wb") as file:
            y.serialize(file, format="binary")
        with open(tmp_path / "plan.bin", "rb") as file:
            lt.testing.assert_equal(lt.LazyTensor.deserialize(file), y)

    def test_functions_count_only_when_passed_in(self) -> None:
        y = lt.map_blocks(negated, lt.arange(4), dtype="i8")
        name = f"{negated.__module__}:{negated.__qualname__}"
        text = y.serialize()
        with pytest.raises(lt.SerializationError, match="negated"):
            lt.LazyTensor.deserialize(text)
        again = lt.LazyTensor.deserialize(text, functions={name: negated})
        np.testing.assert_array_equal(again.collect(), [0, -1, -2, -3])


def negated(block: np.ndarray) -> np.ndarray:
    return -block


class TestLooking:
    def test_explain_in_all_forms(self, x: lt.LazyTensor) -> None:
        y = (x + 1)[1:].sum("y")
        with lt.testing.raise_if_collects():
            plain = y.explain()
            assert plain.splitlines()[0].startswith("sum") and "peak memory" in plain
            assert "add" in y.explain(optimized=False)
            for form in ("plain", "tree", "dot", "json"):
                assert y.explain(format=form)  # type: ignore[arg-type]
            assert "task" in y.explain(stage="physical")
            assert "×" in y.explain(rules=True)
        with pytest.raises(ValueError, match="neither"):
            y.explain(stage="magical")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="formats are plain, tree, dot, json, html"):
            y.explain(stage="physical", format="pdf")  # type: ignore[arg-type]

    def test_estimate(self, x: lt.LazyTensor) -> None:
        estimate = (x + 1).estimate()
        assert estimate.chunks_read == 0 and estimate.tasks == 1

    def test_metrics(self) -> None:
        assert {"tasks", "bytes_read", "bytes_decoded"} <= lt.metrics().keys()

    def test_pipe_and_cache(self, x: lt.LazyTensor) -> None:
        assert x.pipe(lt.add, 1).shape == x.shape
        lt.testing.assert_equal(x.cache(), x)

    def test_inspect_sees_coordinates(self) -> None:
        seen: list[Any] = []
        x = lt.arange(6)[2:].inspect(lambda domain, values: seen.append((domain, values.copy())))
        x.collect()
        assert sum(values.size for _, values in seen) == 4
        assert min(domain.origin[0] for domain, _ in seen) == 2
