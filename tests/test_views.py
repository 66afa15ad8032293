"""Free functions on tensors, against NumPy or, where coordinates matter, hand-made cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import lazytensor as lt

MODES = ["constant", "edge", "reflect", "symmetric", "wrap"]


def tensor(*shape: int, **options: Any) -> lt.LazyTensor:
    return lt.asarray(np.arange(int(np.prod(shape))).reshape(shape), **options)


class TestPad:
    @given(
        hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=5),
        st.data(),
        st.sampled_from(MODES),
    )
    def test_every_mode_is_numpys(
        self, shape: tuple[int, ...], data: st.DataObject, mode: str
    ) -> None:
        side = st.integers(0, 9)
        widths = data.draw(st.tuples(*[st.tuples(side, side)] * len(shape)))
        x = tensor(*shape)
        got = lt.pad(x, widths, mode)  # type: ignore[arg-type]
        np.testing.assert_array_equal(got.collect(), np.pad(x.collect(), widths, mode))  # type: ignore[call-overload]
        assert got.origin == tuple(-before for before, _ in widths)

    @pytest.mark.parametrize("mode", MODES[1:])
    def test_many_periods_of_a_short_dim(self, mode: str) -> None:
        x = tensor(2, dims=("x",))
        got = lt.pad(x, (50, 41), mode)  # type: ignore[arg-type]
        np.testing.assert_array_equal(got.collect(), np.pad([0, 1], (50, 41), mode))  # type: ignore[call-overload]
        assert got.dims == ("x",) and got.origin == (-50,)

    @pytest.mark.parametrize("values", [7, (1, 2), ((1, 2), (3, 4)), ((-1.7, 300.0),), np.uint8(9)])
    def test_constants_are_numpys(self, values: Any) -> None:
        x = tensor(2, 3)
        got = lt.pad(x, ((1, 2), (2, 1)), constant_values=values)
        wanted = np.pad(x.collect(), ((1, 2), (2, 1)), constant_values=values)
        np.testing.assert_array_equal(got.collect(), wanted)

    def test_widths_by_name(self) -> None:
        x = tensor(2, 3, dims=("y", "x"))
        assert lt.pad(x, {"x": 2}).shape == (2, 7)
        assert lt.pad(x, {"y": (0, 1), "x": (3, 0)}, constant_values={"x": 5}).shape == (3, 6)
        assert lt.pad(x, 0)._node is x._node and lt.pad(x, 0, "edge")._node is x._node

    def test_only_what_is_needed_is_read(self) -> None:
        read: list[int] = []

        def reader(domain: lt.IndexDomain, out: np.ndarray) -> None:
            read.append(out.size)
            out[...] = 1

        x = lt.virtual_chunked(reader, shape=(1000, 1000), dtype="u1", chunks=(10, 10))
        lt.pad(x, 5, "reflect")[:5, :5].collect()
        assert sum(read) <= 100

    def test_errors(self) -> None:
        with pytest.raises(lt.ShapeError, match="negative"):
            lt.pad(tensor(2), -1)
        with pytest.raises(lt.ShapeError, match="pair"):
            lt.pad(tensor(2), ((1, 2), (1, 2)))
        with pytest.raises(lt.ShapeError, match="empty"):
            lt.pad(lt.zeros((0, 2)), 1, "edge")
        with pytest.raises(TypeError, match="integers"):
            lt.pad(tensor(2), 1.5)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="mode"):
            lt.pad(tensor(2), 1, "mean")  # type: ignore[arg-type]
        assert lt.pad(lt.zeros((0, 2)), 1).shape == (2, 4)


class TestStackAndConcat:
    @pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
    def test_stack_by_position(self, axis: int) -> None:
        a, b = tensor(2, 3), tensor(2, 3) * 1.5
        wanted = np.stack([a.collect(), b.collect()], axis=axis)
        got = lt.stack([a, b], axis=axis)
        np.testing.assert_array_equal(got.collect(), wanted)
        assert got.dtype == wanted.dtype

    @pytest.mark.parametrize("axis", [0, 1, -1, None])
    def test_concat_by_position(self, axis: int | None) -> None:
        a, b = tensor(2, 3), lt.asarray(np.arange(6, dtype="u1").reshape(2, 3))
        wanted = np.concatenate([a.collect(), b.collect()], axis=axis)
        got = lt.concat([a, b], axis=axis)
        np.testing.assert_array_equal(got.collect(), wanted)
        assert got.dtype == wanted.dtype

    def test_names(self) -> None:
        a = tensor(2, 3, dims=("y", "x"))
        assert lt.stack([a, a], axis="t").dims == ("t", "y", "x")
        assert lt.stack([a, a], axis=1, dim="c").dims == ("y", "c", "x")
        assert lt.concat([a, tensor(2, 3)], axis="x").dims == ("y", "x")
        with pytest.raises(lt.DimensionError, match="'y'"):
            lt.stack([a, a], axis="y")
        with pytest.raises(lt.DimensionError):
            lt.concat([a, a.label["x", "y"]])
        with pytest.raises(TypeError, match="twice"):
            lt.stack([a, a], axis="t", dim="c")

    def test_position_restarts_the_joined_dim_only(self) -> None:
        a = tensor(4, 4)[1:3, 1:3]
        assert lt.concat([a, a]).origin == (0, 1)
        assert lt.stack([a, a]).origin == (0, 1, 1)

    def test_domain_keeps_coordinates_and_fills_holes(self) -> None:
        a, b = tensor(3).translate_to[5], tensor(3).translate_to[7]
        got = lt.stack([a, b], align="domain", fill_value=-1)
        assert got.origin == (0, 5) and got.shape == (2, 5)
        np.testing.assert_array_equal(got.collect(), [[0, 1, 2, -1, -1], [-1, -1, 0, 1, 2]])
        got = lt.concat([a, b], align="domain")
        assert got.origin == (5,)
        np.testing.assert_array_equal(got.collect(), [0, 1, 2, 0, 1, 2])

    def test_holes_are_errors_only_when_read(self) -> None:
        a, b = tensor(3).translate_to[5], tensor(3).translate_to[7]
        got = lt.stack([a, b], align="domain")
        np.testing.assert_array_equal(got[:, 2].collect(), [2, 0])
        with pytest.raises(lt.HoleError):
            got.collect()

    def test_domain_does_not_convert(self) -> None:
        with pytest.raises(lt.DTypeError, match="cast"):
            lt.concat([tensor(2), tensor(2) * 1.5], align="domain")

    def test_errors(self) -> None:
        with pytest.raises(lt.ShapeError, match="at least one"):
            lt.stack([])
        with pytest.raises(lt.ShapeError, match="layer 1"):
            lt.stack([tensor(2), tensor(3)])
        with pytest.raises(lt.ShapeError):
            lt.concat([tensor(2, 3), tensor(2)])
        with pytest.raises(lt.DimensionError, match="out of range"):
            lt.concat([tensor(2)], axis=1)
        with pytest.raises(ValueError, match="align"):
            lt.stack([tensor(2)], align="corner")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="holes"):
            lt.stack([tensor(2)], fill_value=0)


class TestOverlay:
    def test_later_layers_win_and_holes_read_the_fill_value(self) -> None:
        base = lt.full((4, 4), 1, dtype="u1")
        patch = lt.full((2, 2), 9, dtype="u1").translate_to[1, 3]
        got = lt.overlay([base, patch], fill_value=7)
        wanted = np.full((4, 5), 1, "u1")
        wanted[:, 4] = 7
        wanted[1:3, 3:5] = 9
        np.testing.assert_array_equal(got.collect(), wanted)

    def test_a_crop_lands_where_it_came_from(self) -> None:
        x = tensor(6, 6)
        crop = x[2:4, 1:3] * 0 - 1
        got = lt.overlay([x, crop]).collect()
        wanted = x.collect().copy()
        wanted[2:4, 1:3] = -1
        np.testing.assert_array_equal(got, wanted)

    def test_domain_crops_and_extends(self) -> None:
        x = tensor(4)
        domain = lt.IndexDomain(inclusive_min=[-1], shape=[3])
        got = lt.overlay([x], domain=domain, fill_value=5)
        np.testing.assert_array_equal(got.collect(), [5, 0, 1])
        assert got.origin == (-1,)

    def test_errors(self) -> None:
        x = tensor(4)
        with pytest.raises(lt.DTypeError, match="layer 1"):
            lt.overlay([x, x * 1.5])
        with pytest.raises(lt.ShapeError, match="layer 1"):
            lt.overlay([x, tensor(2, 2)])
        with pytest.raises(lt.DTypeError, match="300"):
            lt.overlay([lt.zeros(2, dtype="u1")], fill_value=300)
        with pytest.raises(lt.DTypeError):
            lt.overlay([x], fill_value=float("nan"))
        with pytest.raises(lt.ShapeError, match="scalar"):
            lt.overlay([x], fill_value=[1, 2])
        with pytest.raises(TypeError, match="IndexDomain"):
            lt.overlay([x], domain=(0, 3))  # type: ignore[arg-type]


class TestManipulation:
    @pytest.mark.parametrize(
        "ours",
        [
            lambda xp, x: xp.flip(x),
            lambda xp, x: xp.flip(x, axis=(0, 2)),
            lambda xp, x: xp.moveaxis(x, 0, -1),
            lambda xp, x: xp.moveaxis(x, (0, 1), (2, 0)),
            lambda xp, x: xp.permute_dims(x, (2, 0, 1)),
            lambda xp, x: xp.expand_dims(x, axis=1),
            lambda xp, x: xp.expand_dims(x, axis=(0, -1)),
            lambda xp, x: xp.broadcast_to(x, (2, 2, 3, 4)),
            lambda xp, x: xp.reshape(x, (4, 6)),
            lambda xp, x: xp.reshape(x, (-1,)),
            lambda xp, x: xp.roll(x, 3),
            lambda xp, x: xp.roll(x, (1, -5), axis=(0, 2)),
            lambda xp, x: xp.roll(x, 0, axis=1),
            lambda xp, x: xp.tile(x, (2, 1, 3)),
            lambda xp, x: xp.tile(x, (2, 2, 1, 1)),
            lambda xp, x: xp.tile(x, 0),
            lambda xp, x: xp.repeat(x, 2),
            lambda xp, x: xp.repeat(x, 3, axis=1),
            lambda xp, x: xp.repeat(x, 0, axis=1),
            lambda xp, x: xp.take(x, np.array([2, 0, -1]), axis=1),
            lambda xp, x: xp.matrix_transpose(x),
            lambda xp, x: xp.unstack(x, axis=1)[2],
            lambda xp, x: xp.squeeze(x[:1], axis=0),
            lambda xp, x: xp.broadcast_arrays(x, xp.zeros((3, 1)))[1],
        ],
    )
    def test_as_numpy(self, ours: Any) -> None:
        x = tensor(2, 3, 4)
        with lt.testing.raise_if_collects():
            got = ours(lt, x)
        wanted = ours(np, x.collect())
        assert got.shape == wanted.shape
        np.testing.assert_array_equal(got.collect(), wanted)
        moved = ours(lt, x.translate_to[5, -7, 2])
        np.testing.assert_array_equal(moved.collect(), wanted)

    def test_names_travel(self) -> None:
        x = tensor(2, 3, 4, dims=("t", "y", "x"))
        assert lt.permute_dims(x, ("x", "t", "y")).dims == ("x", "t", "y")
        assert lt.moveaxis(x, "t", -1).dims == ("y", "x", "t")
        assert lt.flip(x, axis="y").dims == x.dims
        assert lt.expand_dims(x, axis=1).dims == ("t", "", "y", "x")
        assert len(lt.unstack(x, axis="y")) == 3

    def test_errors(self) -> None:
        x = tensor(2, 3)
        for fails in (
            lambda: lt.reshape(x, (4, 2)),
            lambda: lt.reshape(x, (-1, 4)),
            lambda: lt.reshape(x, (-1, -1)),
            lambda: lt.broadcast_to(x, (3, 3)),
            lambda: lt.broadcast_to(x, (3,)),
            lambda: lt.squeeze(x, axis=0),
            lambda: lt.roll(x, (1, 2), axis=0),
            lambda: lt.take(x, [0]),
            lambda: lt.tile(x, -1),
            lambda: lt.repeat(x, -1),
            lambda: lt.broadcast_shapes((2,), (3,)),
        ):
            with pytest.raises(lt.ShapeError):
                fails()
        for fails in (
            lambda: lt.permute_dims(x, (0, 0)),
            lambda: lt.permute_dims(x, (0,)),
            lambda: lt.moveaxis(x, (0, 1), 0),
            lambda: lt.flip(x, axis=2),
            lambda: lt.expand_dims(x, axis=5),
        ):
            with pytest.raises(lt.DimensionError):
                fails()
        with pytest.raises(lt.OutOfBoundsError):
            lt.take(x, [3], axis=1)
        for name in ("nonzero", "unique_all", "unique_counts", "unique_inverse", "unique_values"):
            with pytest.raises(lt.DataDependentShapeError, match="collect"):
                getattr(lt, name)(x)
        with pytest.raises(lt.DataDependentShapeError, match="take"):
            lt.repeat(x, np.array([1, 2]))  # type: ignore[arg-type]

    def test_rolling_and_tiling_read_only_what_is_needed(self) -> None:
        read: list[int] = []

        def reader(domain: lt.IndexDomain, out: np.ndarray) -> None:
            read.append(out.size)
            out[...] = domain.origin[0]

        x = lt.virtual_chunked(reader, shape=(10**9,), dtype="i8", chunks=(10,))
        assert lt.roll(x, 10)[:10].collect()[0] == 10**9 - 10
        assert lt.tile(x, 3)[10**9 : 10**9 + 5].shape == (5,)
        assert sum(read) <= 10


class TestDownsample:
    @pytest.mark.parametrize("method", ["stride", "mean", "median", "mode", "min", "max"])
    def test_blocks_lie_at_multiples_of_the_factor(self, method: Any) -> None:
        x = lt.asarray(np.array([3, 1, 4, 1, 5, 9, 2, 6])).translate_to[1]
        got = lt.downsample(x, (3,), method)
        blocks = {0: [3, 1], 1: [4, 1, 5], 2: [9, 2, 6]}
        wanted = {
            "stride": [4, 9],  # coordinates 3 and 6
            "mean": [2, 3, 6],
            "median": [1, 4, 6],
            "mode": [1, 1, 2],
            "min": [1, 1, 2],
            "max": [3, 5, 9],
        }[method]
        assert got.origin == ((1,) if method == "stride" else (min(blocks),))
        np.testing.assert_array_equal(got.collect(), wanted)

    def test_by_position_blocks_start_at_the_first_element(self) -> None:
        x = tensor(7).translate_to[5]
        got = lt.downsample(x, (2,), "max", align="position")
        assert got.origin == (0,)
        np.testing.assert_array_equal(got.collect(), [1, 3, 5, 6])
        assert lt.downsample(x, (1,), align="position").origin == (0,)

    def test_factors_by_name(self) -> None:
        x = tensor(4, 6, dims=("y", "x"))
        for got in (x.downsample(x=2), x.downsample({"x": 2}), lt.downsample(x, {"x": 2})):
            assert got.shape == (4, 3)
        assert x.downsample((1, 1))._node is x._node
        with pytest.raises(TypeError, match="not both"):
            x.downsample((1, 2), x=2)
        with pytest.raises(TypeError, match="missing"):
            x.downsample()

    @given(
        st.integers(0, 20), st.integers(-9, 9), st.integers(1, 5),
        st.sampled_from(["stride", "mean", "median", "mode", "min", "max"]), st.data(),
    )  # fmt: skip
    def test_slicing_commutes(
        self, n: int, origin: int, factor: int, method: Any, data: st.DataObject
    ) -> None:
        x = (tensor(n) ** 2 % 17).translate_to[origin]
        y = lt.downsample(x, (factor,), method)
        key = data.draw(hnp.basic_indices(y.shape))
        np.testing.assert_array_equal(y[key].collect(), y.collect()[key])

    def test_errors(self) -> None:
        x = tensor(4, 4)
        for factors in ((2,), (0, 1), (1.5, 2), 2, (-1, 1)):
            with pytest.raises(lt.ShapeError):
                x.downsample(factors)
        with pytest.raises(lt.ShapeError, match="mean, median"):
            x.downsample((2, 2), method="average")
        with pytest.raises(lt.DTypeError, match="complex"):
            (x * 1j).downsample((2, 2), method="median")
        with pytest.raises(lt.DimensionError, match="dims"):
            x.downsample(y=2)
        with pytest.raises(ValueError, match="align"):
            x.downsample((2, 2), align="corner")


class TestCastFieldRechunk:
    def test_cast_and_astype_are_one(self) -> None:
        assert lt.cast is lt.astype
        x = lt.asarray([1.9, -1.9, 300.0])
        np.testing.assert_array_equal(lt.cast(x, "i2").collect(), [1, -1, 300])
        assert x.astype(lt.float32).dtype == np.float32 and x.cast("f8")._node is x._node
        for wrong in (object, "O", "nonsense"):
            with pytest.raises(lt.DTypeError):
                x.cast(wrong)

    def test_small_floats_by_name(self) -> None:
        assert lt.ones(2).astype("bfloat16").dtype == lt.bfloat16

    def test_rechunk(self) -> None:
        x = tensor(10, 6, dims=("y", "x"))
        assert x.rechunk((4, -1)).chunks == (4, 6)
        assert x.rechunk({"y": 3}).chunks == (3, 6)
        assert x.rechunk(2).chunks == (2, 2)
        assert x.rechunk((None, 2)).chunks == (10, 2)
        lt.testing.assert_equal(x.rechunk(3), x)
        for wrong in (0, -2, (4,), (1.5, 2)):
            with pytest.raises(lt.ShapeError):
                x.rechunk(wrong)


class TestMapBlocks:
    def test_every_cell_is_given_once(self) -> None:
        x = tensor(10, 6, chunks=(4, 6))
        got = lt.map_blocks(lambda block: block - block.min(), x)
        n = x.collect()
        wanted = np.concatenate([n[a : a + 4] - n[a].min() for a in (0, 4, 8)])
        np.testing.assert_array_equal(got.collect(), wanted)
        np.testing.assert_array_equal(got[5:, 1].collect(), wanted[5:, 1])

    def test_halo_domain_and_others(self) -> None:
        x = tensor(10, chunks=(4,)).translate_to[100]

        def centre(block: np.ndarray, other: np.ndarray, domain: lt.IndexDomain) -> np.ndarray:
            assert block.shape[0] == domain.shape[0] + 2
            return block[:-2] + block[2:] + domain.origin[0]

        for boundary, outside in (("nearest", (0, 9)), ("reflect", (0, 9)), ("constant", (0, 0))):
            got = lt.map_blocks(centre, x, 1, halo=1, boundary=boundary, dtype="i8")  # type: ignore[arg-type]
            padded = np.concatenate([[outside[0]], np.arange(10), [outside[1]]])
            starts = np.repeat([100, 104, 108], [4, 4, 2])
            np.testing.assert_array_equal(got.collect(), padded[:-2] + padded[2:] + starts)

    def test_dtype_is_found_out_or_asked_for(self) -> None:
        x = tensor(4)
        assert lt.map_blocks(lambda b: b * 0.5, x).dtype == np.float64
        with pytest.raises(lt.DTypeError, match="pass dtype="):
            lt.map_blocks(lambda b: b[99], x)
        with pytest.raises(lt.DTypeError):
            lt.map_blocks(lambda b: b * 0.5, x, dtype="i8").collect()
        with pytest.raises(lt.ShapeError):
            lt.map_blocks(lambda b: b[:1], x, dtype="i8").collect()

    def test_errors(self) -> None:
        x = tensor(4)
        with pytest.raises(lt.ShapeError, match="negative"):
            lt.map_blocks(np.negative, x, halo=-1)
        with pytest.raises(ValueError, match="boundary"):
            lt.map_blocks(np.negative, x, boundary="wrap")  # type: ignore[arg-type]
        with pytest.raises(lt.ShapeError):
            lt.map_blocks(np.add, x, tensor(3, 4), dtype="i8")
