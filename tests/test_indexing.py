"""``x[...]`` in both dialects, against NumPy for positions and against coordinates for domains."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import lazytensor as lt


def tensor(*shape: int, **options: Any) -> lt.LazyTensor:
    return lt.asarray(np.arange(int(np.prod(shape))).reshape(shape), **options)


@st.composite
def keys(draw: st.DrawFn) -> tuple[tuple[int, ...], Any]:
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))
    basic = hnp.basic_indices(shape, allow_newaxis=True)
    if min(shape) == 0:
        return shape, draw(basic)
    advanced = hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2))
    return shape, draw(st.one_of(basic, advanced))


@given(keys())
def test_positions_are_numpys(case: tuple[tuple[int, ...], Any]) -> None:
    shape, key = case
    x = tensor(*shape)
    result = x[key]
    wanted = x.collect()[key]
    assert result.shape == wanted.shape
    np.testing.assert_array_equal(result.collect(), wanted)
    np.testing.assert_array_equal(result.collect(engine="interpret"), wanted)


@given(keys(), st.data())
def test_coordinates_do_not_change_what_positions_mean(
    case: tuple[tuple[int, ...], Any], data: st.DataObject
) -> None:
    shape, key = case
    origin = data.draw(st.tuples(*[st.integers(-9, 9)] * len(shape)))
    x = tensor(*shape)
    lt_moved = x.translate_to[origin][key]
    np.testing.assert_array_equal(lt_moved.collect(), x.collect()[key])


class TestMasks:
    def test_one_or_more_leading_axes(self) -> None:
        x = tensor(2, 3, 4)
        n = x.collect()
        mask = n[..., 0] % 8 == 0
        np.testing.assert_array_equal(x[mask].collect(), n[mask])
        rows = np.array([True, False])
        np.testing.assert_array_equal(x[rows, 1].collect(), n[rows, 1])
        np.testing.assert_array_equal(x.vindex[mask].collect(), n[mask])
        assert x[np.zeros((2, 3), bool)].shape == (0, 4)

    def test_shape_must_match(self) -> None:
        with pytest.raises(IndexError):
            tensor(2, 3)[np.array([True, False, True])]

    def test_lazy_masks_are_refused_with_the_way_out(self) -> None:
        x = tensor(3)
        for key in (x > 1, (x > 1)[0]):
            with (
                lt.testing.raise_if_collects(),
                pytest.raises(lt.DataDependentShapeError, match="where"),
            ):
                x[key]


class TestTensorsAsIndex:
    def test_integer_tensors_are_collected(self) -> None:
        x = tensor(4, 3)
        np.testing.assert_array_equal(x[lt.asarray([2, 0])].collect(), x.collect()[[2, 0]])
        np.testing.assert_array_equal(x[lt.asarray(-1)].collect(), x.collect()[-1])
        np.testing.assert_array_equal(x[lt.asarray(1) :, 0].collect(), x.collect()[1:, 0])
        assert x[lt.asarray(1)].shape == (3,)

    def test_that_is_an_implicit_collect(self) -> None:
        with lt.Config(implicit_collect="raise"), pytest.raises(RuntimeError, match="index"):
            tensor(4)[lt.asarray([2, 0])]

    @pytest.mark.parametrize("key", [1.5, "y", np.array([0.5]), object()])
    def test_what_is_no_index(self, key: Any) -> None:
        with pytest.raises((IndexError, TypeError)):
            tensor(4)[key]


class TestPositionalDomains:
    @pytest.mark.parametrize(
        ("key", "origin", "shape"),
        [
            (slice(2, 6), 2, 4),
            (slice(-4, None), 6, 4),
            (slice(3, 100, 2), 1, 4),
            (slice(7, 3, -2), -3, 2),
            (slice(None, None, -1), -9, 10),
            ([1, 5, 2], 0, 3),
            (slice(5, 5), 5, 0),
        ],
    )
    def test_table(self, key: Any, origin: int, shape: int) -> None:
        y = tensor(10)[key]
        assert (y.origin, y.shape) == ((origin,), (shape,))

    def test_names_stay_with_their_dims(self) -> None:
        x = tensor(2, 3, 4, dims=("t", "y", "x"))
        assert x[0, :, ::2].dims == ("y", "x") and x[:, None].dims == ("t", "", "y", "x")
        assert x[:, [0, 1]].dims == ("t", "y", "x")

    def test_a_new_axis_has_size_one(self) -> None:
        with pytest.raises(lt.OutOfBoundsError):
            tensor(3)[None][2]

    def test_an_identity_is_the_same_plan(self) -> None:
        x = tensor(2, 3)
        for y in (x[...], x[:], x[:, :], x.coord[0:2], x.translate_to[0, 0], x.astype(x.dtype)):
            assert y._node is x._node

    def test_errors_name_dim_index_and_size(self) -> None:
        with pytest.raises(IndexError, match=r"12.*y.*10"):
            tensor(10, dims=("y",))[12]


class TestOuterAndPointwise:
    def test_oindex_is_outer(self) -> None:
        x = tensor(3, 4, 5)
        got = x.oindex[[2, 0], 1:, [True, False, True, False, False]]
        np.testing.assert_array_equal(got.collect(), x.collect()[np.ix_([2, 0], [1, 2, 3], [0, 2])])

    def test_vindex_is_pointwise_with_arrays_first(self) -> None:
        x = tensor(3, 4, 5)
        got = x.vindex[[2, 0], :, [1, 4]]
        np.testing.assert_array_equal(got.collect(), x.collect()[[2, 0], :, [1, 4]])

    def test_isel_is_outer_and_keeps_names(self) -> None:
        x = tensor(3, 4, 5, dims=("z", "y", "x"))
        y = x.isel(z=[2, 0], x=slice(1, 3), y=-1)
        np.testing.assert_array_equal(y.collect(), x.collect()[[2, 0], 3, 1:3])
        assert y.dims == ("z", "x")
        assert x.isel({0: 1}, x=np.arange(5) % 2 == 0).shape == (4, 3)
        with pytest.raises(lt.DimensionError, match="dims: 'z', 'y', 'x'"):
            x.isel(t=0)
        with pytest.raises(lt.OutOfBoundsError, match="9"):
            x.isel(z=9)


class TestCoordinates:
    def test_neither_wrap_nor_clip(self) -> None:
        x = tensor(10)[2:8]
        np.testing.assert_array_equal(x.coord[4:6].collect(), [4, 5])
        assert int(x.coord[7]) == 7
        for key in (-1, 8, slice(0, 4), slice(4, 9), [2, 8]):
            with pytest.raises(lt.OutOfBoundsError):
                x.coord[key]

    def test_outer_and_pointwise(self) -> None:
        x = tensor(4, 5).translate_to[10, 20]
        n = x.collect()
        np.testing.assert_array_equal(
            x.coord.oindex[[11, 10], [24, 20]].collect(), n[np.ix_([1, 0], [4, 0])]
        )
        np.testing.assert_array_equal(
            x.coord.vindex[[11, 10], [24, 20]].collect(), n[[1, 0], [4, 0]]
        )

    def test_a_new_axis_broadcasts(self) -> None:
        x = tensor(3)
        y = x.coord[:, None].coord[:, 4:6]
        assert y.shape == (3, 2) and y.origin == (0, 4)
        np.testing.assert_array_equal(y.collect(), [[0, 0], [1, 1], [2, 2]])

    def test_dim_expressions_domains_and_transforms(self) -> None:
        x = tensor(4, 5, dims=("y", "x"))
        y = x[lt.d["y", "x"][1:3, 2:5]]
        assert y.origin == (1, 2)
        np.testing.assert_array_equal(y.collect(), x.collect()[1:3, 2:5])
        np.testing.assert_array_equal(x[y.domain].collect(), y.collect())
        transform = lt.IndexTransform(x.domain)[2]
        np.testing.assert_array_equal(x[transform].collect(), x.collect()[2])
        np.testing.assert_array_equal(x[lt.d["x", "y"].transpose[:]].collect(), x.collect().T)
        diagonal = x[lt.d["y", "x"].diagonal]
        np.testing.assert_array_equal(diagonal.collect(), np.diagonal(x.collect()))

    def test_translations_and_labels(self) -> None:
        x = tensor(3, 4)
        assert x.translate_to[5, -5].origin == (5, -5)
        assert x.translate_by[5, -5].translate_backward_by[5, 0].origin == (0, -5)
        assert x.label["a", "b"].dims == ("a", "b")
        assert [axis.name for axis in x.label["a", ""].axes] == ["a", ""]
        with pytest.raises(lt.DimensionError):
            x.label["a", "a"]

    def test_unbounded_results_are_refused(self) -> None:
        x = tensor(3)
        domain = lt.IndexDomain([lt.Dim(), lt.Dim(3)])
        with pytest.raises(lt.ShapeError, match="unbounded"):
            x[lt.IndexTransform(domain, output=[lt.OutputIndexMap(input_dimension=1)])]

    def test_accessors_are_not_iterable(self) -> None:
        x = tensor(3)
        for accessor in (x.coord, x.oindex, x.translate_to):
            with pytest.raises(TypeError, match="square brackets"):
                iter(accessor)  # type: ignore[call-overload]
        assert repr(x.coord) == "x.coord" and repr(x.coord.oindex) == "x.coord.oindex"


class TestBlocks:
    def test_cells_in_order_make_up_the_tensor(self) -> None:
        x = tensor(10, 7, chunks=(4, (2, 5)))
        assert x.blocks.shape == (3, 2) and x.blocks.size == 6 and len(x.blocks) == 3
        rows = [lt.concat([x.blocks[i, j] for j in range(2)], axis=1) for i in range(3)]
        np.testing.assert_array_equal(lt.concat(rows).collect(), x.collect())
        assert [block.shape for block in x.blocks][:2] == [(4, 2), (4, 5)]

    def test_ints_slices_and_ellipsis(self) -> None:
        x = tensor(10, 7, chunks=(4, 7))
        assert x.blocks[-1].shape == (2, 7) and x.blocks[1:].origin == (4, 0)
        assert x.blocks[..., 0].shape == (10, 7) and x.blocks[3:].shape == (0, 7)
        assert x[1:].blocks[0].shape == (3, 7)
        with pytest.raises(lt.OutOfBoundsError, match="3 blocks"):
            x.blocks[3]
        with pytest.raises(lt.OutOfBoundsError, match="step 1"):
            x.blocks[::2]
        with pytest.raises(lt.OutOfBoundsError, match="2 dims"):
            x.blocks[0, 0, 0]

    def test_huge_grids_are_not_enumerated(self) -> None:
        x = lt.virtual_chunked(lambda domain, out: None, shape=(10**15,), dtype="u1", chunks=(7,))
        assert x.blocks[10**13].origin == (7 * 10**13,)
        assert x[3:].blocks[10**13].origin == (7 * 10**13,)
        assert x[::-1].blocks[-1].shape == (7,)


def with_axes(*axes: lt.Axis, shape: tuple[int, ...]) -> lt.LazyTensor:
    from lazytensor.plan.memory import MemorySource
    from lazytensor.plan.spec import make_spec

    a = np.arange(int(np.prod(shape))).reshape(shape)
    source = MemorySource(a)
    source.spec = make_spec(shape, a.dtype, dims=[axis.name for axis in axes], axes=axes)
    source.key = ("with_axes", id(a), axes)
    return lt.scan_source(source)


@pytest.fixture
def image() -> lt.LazyTensor:
    return with_axes(
        lt.Axis("c", "channel", labels=("DAPI", "GFP", "RFP")),
        lt.Axis("y", "space", "micrometer", 0.5, 10.0),
        lt.Axis("t"),
        shape=(3, 8, 2),
    )


class TestSel:
    def test_slices_keep_the_half_open_interval(self, image: lt.LazyTensor) -> None:
        y = image.sel(y=slice(10.5, 12.0))
        assert y.shape == (3, 3, 2) and y.axes[1].offset == 10.5 and y.origin[1] == 1
        assert image.sel(y=slice(None, 10.1)).shape[1] == 1
        assert image.sel(y=slice(10.1, None)).shape[1] == 7
        assert image.sel(y=slice(90, 99)).shape[1] == 0
        assert image.sel(y=slice(12.0, 10.5)).shape[1] == 0

    def test_scalars_pick_the_nearest_and_the_lower_of_two(self, image: lt.LazyTensor) -> None:
        n = image.collect()
        for world, position in ((10.0, 0), (10.26, 1), (10.25, 0), (9.75, 0), (13.75, 7)):
            np.testing.assert_array_equal(image.sel(y=world).collect(), n[:, position])
        for world in (9.7, 13.8, float("nan")):
            with pytest.raises(lt.OutOfBoundsError, match=r"10 to 13\.5 micrometer"):
                image.sel(y=world)

    def test_falling_axes(self, image: lt.LazyTensor) -> None:
        flipped = image[:, ::-1]
        assert flipped.axes[1].scale == -0.5
        lt.testing.assert_equal(flipped.sel(y=10.25).collect(), image.sel(y=10.25).collect())
        kept = flipped.sel(y=slice(10.5, 12.0)).collect()
        np.testing.assert_array_equal(kept, image.sel(y=slice(10.5, 12.0)).collect()[:, ::-1])

    def test_labels(self, image: lt.LazyTensor) -> None:
        n = image.collect()
        np.testing.assert_array_equal(image.sel(c="GFP").collect(), n[1])
        several = image.sel(c=["RFP", "DAPI"])
        np.testing.assert_array_equal(several.collect(), n[[2, 0]])
        assert several.dims == ("c", "y", "t") and several.axes[0].labels == ("RFP", "DAPI")
        with pytest.raises(lt.DimensionError, match="'DAPI', 'GFP', 'RFP'"):
            image.sel(c="dapi")

    def test_axes_without_meaning(self, image: lt.LazyTensor) -> None:
        with pytest.raises(lt.DimensionError, match="neither scale nor labels"):
            image.sel(t=0)
        with pytest.raises(lt.DimensionError, match="only labels"):
            image.sel(c=1.0)
        with pytest.raises(lt.DimensionError, match="no labels"):
            image.sel(y="DAPI")
        with pytest.raises(lt.DimensionError, match="isel"):
            image.sel(c=slice("DAPI", "RFP"))
        with pytest.raises(lt.DimensionError, match="dims"):
            image.sel(z=1)

    @given(
        st.floats(-3, 3).filter(lambda s: abs(s) > 1e-3),
        st.floats(-100, 100),
        st.floats(-120, 120),
        st.floats(-120, 120),
    )
    def test_slices_agree_with_comparing_world_positions(
        self, scale: float, offset: float, a: float, b: float
    ) -> None:
        from lazytensor.world import positions_of

        axis = lt.Axis("y", scale=scale, offset=offset)
        worlds = np.array([axis.world(p) for p in range(40)])
        got = np.arange(40)[positions_of(axis, 40, slice(a, b), "y")]
        np.testing.assert_array_equal(got, np.flatnonzero((a <= worlds) & (worlds < b)))


class TestAxesFollowViews:
    def test_slices_steps_and_flips(self, image: lt.LazyTensor) -> None:
        y = image[:, 2::3].axes[1]
        assert (y.offset, y.scale) == (11.0, 1.5)
        assert image[::-1].axes[0].labels == ("RFP", "GFP", "DAPI")
        y = image[:, ::-2].axes[1]
        assert (y.offset, y.scale) == (13.5, -1.0)

    def test_index_arrays(self, image: lt.LazyTensor) -> None:
        assert image[[2, 1]].axes[0].labels == ("RFP", "GFP")
        assert image[:, [1, 3, 5]].axes[1].scale == 1.0
        assert image[:, [1, 2, 5]].axes[1].scale is None

    def test_downsampling_moves_to_the_block_centre(self, image: lt.LazyTensor) -> None:
        y = image[:, 1:].downsample(y=2).axes[1]
        # coordinates 1..7 in blocks [0, 2), [2, 4), ...: the first block starts half outside
        assert (y.offset, y.scale) == (10.5 + (0 * 2 - 1 + 0.5) * 0.5, 1.0)
        y = image[:, 1:].downsample(y=2, method="stride").axes[1]
        assert (y.offset, y.scale) == (11.0, 1.0)

    def test_translation_and_labels_leave_them_alone(self, image: lt.LazyTensor) -> None:
        y = image.translate_by[5, 5, 5].axes[1]
        assert (y.offset, y.scale) == (10.0, 0.5)
        assert image.label["", "v", ""].axes[1].name == "v"

    def test_pad_and_overlay(self, image: lt.LazyTensor) -> None:
        padded = lt.pad(image, {"y": (3, 1)})
        assert padded.axes[1].offset == 8.5 and padded.origin == (0, -3, 0)
        moved = image[:, 4:].translate_by[0, -6, 0]
        assert lt.overlay([image, moved]).axes[1].offset == 9.0


def test_index_arrays_without_elements_keep_the_names_of_their_dims() -> None:
    x = lt.asarray(np.arange(24).reshape(2, 3, 4), dims=("z", "y", "x"))
    nothing = np.zeros(3, bool)
    for picked, shape in (
        (x.oindex[[], :, [0, 1]], (0, 3, 2)),
        (x.oindex[[0, 1], nothing, []], (2, 0, 0)),
        (x[[]], (0, 3, 4)),
        (x[:, nothing], (2, 0, 4)),
        (x.isel(y=[], x=[1, 2]), (2, 0, 2)),
    ):
        assert (picked.dims, picked.shape) == (("z", "y", "x"), shape)
        assert picked.collect().shape == shape
    assert x.oindex[0, [], :].dims == ("y", "x")
    assert x[..., :, :, []].dims == ("z", "y", "x")
    assert x.vindex[[], []].dims == ("", "x")


def test_what_one_index_array_picks_keeps_the_name_of_its_dim() -> None:
    x = lt.zeros((4, 5, 6)).label["c", "y", "x"]
    assert x[[0, 2]].dims == ("c", "y", "x")
    assert x[:, np.array([True, False, True, True, False])].dims == ("c", "y", "x")
    assert x[0, :, [1, 2]].dims == ("x", "y")
    assert x.oindex[[0, 1], [1], [2, 3]].dims == ("c", "y", "x")
    assert x.vindex[[0, 1], [1, 2]].dims == ("", "x")
    assert x[[[0, 1], [2, 3]]].dims == ("", "", "y", "x")
    assert x.coord[[0, 2]].dims == ("", "y", "x")
