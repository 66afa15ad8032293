"""``lt.ome.view``: the selections and layouts of ome-arrow's ``TensorView``, as lazy tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.ome_layout import laid_out
from lazytensor.plan.memory import MemorySource
from lazytensor.plan.spec import make_spec
from lazytensor.tensor import LazyTensor

SIZES = {"T": 3, "C": 2, "Z": 4, "Y": 6, "X": 7}
VALUES = np.arange(np.prod(list(SIZES.values())), dtype="u2").reshape(*SIZES.values())
IMAGE = lt.asarray(VALUES, dims="tczyx", chunks=(1, 1, 2, 4, 3))


def model(
    values: np.ndarray, t: Any = None, z: Any = None, c: Any = None, roi: Any = None,
    layout: str | None = None, dtype: Any = None, channel_policy: str = "error",
) -> np.ndarray:  # fmt: skip
    """What the keywords mean, on a TCZYX array, position by position."""

    def positions(index: Any, size: int) -> list[int]:
        if index is None:
            return list(range(size))
        if isinstance(index, slice):
            return list(range(size))[index]
        return [range(size)[i] for i in ([index] if isinstance(index, int) else index)]

    x0, y0, w, h = roi or (0, 0, values.shape[4], values.shape[3])
    image = values.transpose(0, 2, 1, 3, 4)
    for axis, index in enumerate((t, z, c)):
        image = np.take(image, positions(index, image.shape[axis]), axis=axis)
    image = image[..., y0 : y0 + h, x0 : x0 + w]
    if layout is None:
        layout = "CHW" if image.shape[:2] == (1, 1) else "TZCHW"
    letters = layout.strip().upper().replace("H", "Y").replace("W", "X")
    if "C" not in letters and channel_policy == "first":
        image = image[:, :, :1]
    gone = tuple(d for d, letter in enumerate("TZCYX") if letter not in letters)
    if any(image.shape[d] != 1 for d in gone):
        raise ValueError(layout)
    kept = [letter for letter in "TZCYX" if letter in letters]
    image = image.squeeze(gone).transpose([kept.index(letter) for letter in letters])
    return image if dtype is None else image.astype(dtype)


def indices(size: int) -> st.SearchStrategy[Any]:
    at = st.integers(-size, size - 1)
    ends = st.none() | st.integers(-size - 2, size + 2)
    steps = st.sampled_from([None, 1, 2, 3, -1, -2])
    return st.none() | at | st.builds(slice, ends, ends, steps) | st.lists(at, max_size=5)


@st.composite
def regions(draw: st.DrawFn) -> Any:
    x, y = draw(st.integers(0, 6)), draw(st.integers(0, 5))
    return x, y, draw(st.integers(1, 7 - x)), draw(st.integers(1, 6 - y))


LAYOUTS = st.none() | st.just("") | st.permutations("TZCYX").map("".join) | st.permutations(
    "tzchw"
).map("".join) | st.sampled_from(["CHW", "ZHW", " yx ", "YXC", "HW", "tcyx"])  # fmt: skip


@given(
    t=indices(3), z=indices(4), c=indices(2), roi=st.none() | regions(), layout=LAYOUTS,
    dtype=st.sampled_from([None, "u1", "f4"]), policy=st.sampled_from(["error", "first"]),
    order=st.permutations(range(5)),
)  # fmt: skip
def test_against_numpy(
    t: Any, z: Any, c: Any, roi: Any, layout: str | None, dtype: Any, policy: str, order: list[int]
) -> None:
    keywords = {"t": t, "z": z, "c": c, "roi": roi, "dtype": dtype, "channel_policy": policy}
    turned = lt.permute_dims(IMAGE, order)
    try:
        expected = model(VALUES, layout=layout or None, **keywords)
    except ValueError:
        with pytest.raises(ValueError, match="drops non-singleton"):
            lt.ome.view(turned, layout=layout, **keywords)
        return
    found = lt.ome.view(turned, layout=layout, **keywords)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    if layout:
        letters = layout.strip().lower().replace("h", "y").replace("w", "x")
        assert "".join(found.dims) == letters
    assert np.array_equal(found.collect(), expected)


def test_names_of_the_usual_layouts() -> None:
    assert lt.ome.view(IMAGE).dims == ("t", "z", "c", "y", "x")
    assert lt.ome.view(IMAGE, t=0, z=-1).dims == ("c", "y", "x")
    assert lt.ome.view(IMAGE, t=0).dims == ("t", "z", "c", "y", "x")
    assert lt.ome.view(VALUES[0, 0, 0]).dims == ("c", "y", "x")
    assert lt.ome.view(VALUES[0, 0]).shape == (1, 4, 1, 6, 7)
    assert lt.ome.view(VALUES[0]).shape == (1, 4, 2, 6, 7)
    assert lt.ome.view(lt.asarray(VALUES[0, :, 0], dims="chw")).shape == (2, 6, 7)


def test_nothing_is_read() -> None:
    def fail(domain: Any, out: Any) -> None:
        raise AssertionError("read")

    x = lt.virtual_chunked(fail, shape=(1, 2, 3, 400, 500), dtype="u2", dims="tczyx")
    with lt.testing.raise_if_collects():
        lt.ome.view(x, z=[0, 2], c=[1, 1], roi=(5, 5, 9, 9), layout="CYXZT", dtype="f4")
        with pytest.raises(RuntimeError, match="iter_tiles"):
            lt.ome.iter_tiles(x, (2, 2))
    lt.ome.iter_tiles(x, (2, 2))


class TestRegions:
    @pytest.mark.parametrize(
        ("keywords", "same"),
        [
            ({"roi": (1, 2, 3, 4)}, {"roi_nd": (2, 1, 6, 4)}),
            ({"roi": (1, 2, 3, 4)}, {"roi_nd": (2, 1, 6, 4), "roi_type": "2d"}),
            ({"roi": (1, 2, 3, 4), "z": slice(1, 3)}, {"roi3d": (1, 2, 1, 3, 4, 2)}),
            (
                {"roi": (1, 2, 3, 4), "z": slice(1, 3)},
                {"roi_nd": (1, 2, 1, 3, 6, 4), "roi_type": "3d"},
            ),
            (
                {"roi": (1, 2, 3, 4), "t": slice(1, 3), "z": 3},
                {"roi_nd": (1, 2, 1, 3, 6, 4), "roi_type": "2d_timelapse", "z": 3},
            ),
            (
                {"roi": (1, 2, 3, 4), "t": slice(0, 2), "z": slice(1, 3)},
                {"roi_nd": (0, 1, 2, 1, 2, 3, 6, 4)},
            ),
            ({"roi": (3, 4, 3, 2)}, {"tile": (1, 1)}),
            ({"roi": (6, 0, 1, 4)}, {"tile": (0, 2)}),
            ({"roi": (1, 2, 3, 4)}, {"roi": np.array([1, 2, 3, 4], "u1")}),
            ({"roi": (1, 2, 3, 4)}, {"roi": (1.0, 2.0, 3.0, 4.0)}),
        ],
    )
    def test_several_ways_to_say_one(self, keywords: Any, same: Any) -> None:
        assert np.array_equal(lt.ome.view(IMAGE, **same).collect(), model(VALUES, **keywords))

    def test_they_compose(self) -> None:
        first = lt.ome.view(IMAGE, roi=(1, 2, 6, 4), z=[3, 1], layout="ZTCXY")
        second = lt.ome.view(first, roi=(2, 1, 3, 2), z=1, c=-1)
        assert np.array_equal(second.collect(), model(VALUES, roi=(3, 3, 3, 2), z=1, c=1))

    def test_cells_of_a_crop(self) -> None:
        crop = lt.ome.view(IMAGE, roi=(1, 2, 6, 4))
        assert np.array_equal(
            lt.ome.view(crop, tile=(0, 0)).collect(), model(VALUES, roi=(1, 2, 2, 2))
        )

    def test_no_cells(self) -> None:
        joined = IMAGE[..., [0, 2, 3, 5]]
        with pytest.raises(ValueError, match="chunk grid"):
            lt.ome.view(joined, tile=(0, 0))


def test_what_numpy_has_for_ints() -> None:
    for z in (np.int64(-1), np.array(3), np.array([3]), [np.uint8(3)], lt.asarray(3)):
        assert np.array_equal(lt.ome.view(IMAGE, z=z).collect(), model(VALUES, z=3))
    assert np.array_equal(lt.ome.view(IMAGE, z=np.array([3, 0])).collect(), model(VALUES, z=[3, 0]))
    assert np.array_equal(lt.ome.view(IMAGE, c=True).collect(), model(VALUES, c=1))


def test_axes_come_along() -> None:
    axes = [
        lt.Axis("c", "channel", labels=("DAPI", "GFP", "RFP")),
        lt.Axis("y", "space", "micrometer", 0.5),
        lt.Axis("x", "space", "micrometer", 0.25, 10.0),
    ]

    spec = make_spec((3, 4, 5), np.dtype("u1"), dims=("c", "y", "x"), axes=axes)
    x = LazyTensor._from_source(MemorySource.standing_in(np.zeros((3, 4, 5), "u1"), spec, {}))
    found = lt.ome.view(x, c=[2, 0], roi=(2, 1, 3, 2), layout="XYC")
    assert [axis.name for axis in found.axes] == ["x", "y", "c"]
    assert found.axes[0].offset == 10.5
    assert found.axes[0].scale == 0.25
    assert found.axes[1].offset == 0.5
    assert found.axes[2].labels == ("RFP", "DAPI")
    assert found.sel(c="DAPI", x=10.6).shape == (2,)


BAD: dict[str, dict[str, Any]] = {
    "t": {"t": 3}, "negative t": {"t": -4}, "one of z": {"z": [0, 4]}, "fraction": {"z": [0.5]},
    "string": {"c": "DAPI"}, "strings": {"c": ["DAPI"]}, "object": {"c": 1.5},
    "step": {"z": slice(None, None, 0)}, "empty roi": {"roi": (0, 0, 0, 1)},
    "negative roi": {"roi": (-1, 0, 2, 1)}, "wide roi": {"roi": (5, 0, 3, 1)},
    "high roi": {"roi": (0, 5, 1, 2)}, "short roi": {"roi": (0, 0, 2)},
    "deep roi3d": {"roi3d": (0, 0, 3, 1, 1, 2)}, "flat roi3d": {"roi3d": (0, 0, 3, 1, 1, 0)},
    "low roi3d": {"roi3d": (0, 0, -1, 1, 1, 2)}, "short roi3d": {"roi3d": (0, 0, 1, 1)},
    "roi3d and z": {"roi3d": (0, 0, 0, 1, 1, 1), "z": 0}, "six": {"roi_nd": (0, 0, 0, 1, 1, 1)},
    "roi3d and roi": {"roi3d": (0, 0, 0, 1, 1, 1), "roi": (0, 0, 1, 1)},
    "five": {"roi_nd": (0, 0, 1, 1, 1)}, "type alone": {"roi_type": "2d"},
    "type": {"roi_nd": (0, 0, 1, 1), "roi_type": "5d"},
    "values": {"roi_nd": (0, 0, 1, 1), "roi_type": "3d"}, "turned": {"roi_nd": (2, 0, 1, 1)},
    "late": {"roi_nd": (0, 0, 0, 4, 1, 1), "roi_type": "2d_timelapse"},
    "deep": {"roi_nd": (3, 0, 0, 5, 1, 1), "roi_type": "3d"},
    "z twice": {"roi_nd": (0, 0, 0, 1, 1, 1), "roi_type": "3d", "z": 0},
    "t twice": {"roi_nd": (0, 0, 0, 1, 1, 1), "roi_type": "2d_timelapse", "t": 0},
    "t too": {"roi_nd": (0, 0, 0, 0, 1, 1, 1, 1), "t": 0},
    "roi and tile": {"roi": (0, 0, 1, 1), "tile": (0, 0)}, "tile": {"tile": (2, 0)},
    "negative tile": {"tile": (0, -1)}, "three": {"tile": (0, 0, 0)},
    "nd and roi": {"roi_nd": (0, 0, 1, 1), "roi": (0, 0, 1, 1)},
    "letter": {"layout": "CQ"}, "twice": {"layout": "YH"}, "again": {"layout": "CC"},
    "blank": {"layout": "  "}, "drops": {"layout": "HW"}, "policy": {"channel_policy": "last"},
    "drops t": {"layout": "CZYX", "channel_policy": "first"},
}  # fmt: skip
"""What is a ``ValueError`` here, when the view is made, and in ome-arrow, at some time."""


@pytest.mark.parametrize("name", BAD)
def test_bad_selections(name: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        lt.ome.view(IMAGE, **BAD[name])


@pytest.mark.parametrize(
    "keywords", [{"t": 3}, {"z": [0, -5]}, {"roi": (0, 0, 8, 1)}, {"tile": (2, 0)}]
)
def test_out_of_bounds_is_an_index_error_too(keywords: Any) -> None:
    with pytest.raises(lt.OutOfBoundsError, match=r"(?s)has|in the .*built at"):
        lt.ome.view(IMAGE, **keywords)
    with pytest.raises(IndexError):
        lt.ome.view(IMAGE, **keywords)


def test_what_the_package_reads_otherwise() -> None:
    """A list of booleans is no list of positions, and fractions are not cut off."""
    for bad in ({"z": [True, False, True, True]}, {"z": np.ones(4, bool)},
                {"roi_nd": (0, 0, 1.5, 2)}, {"roi": (0, 0, 1.5, 2)}):  # fmt: skip
        with pytest.raises(ValueError, match=r"mask|whole number"):
            lt.ome.view(IMAGE, **bad)


@pytest.mark.parametrize(
    ("dims", "match"),
    [("tczyw", None), ("tczhy", "several"), ("abzyx", "dim 'a'"), (("", "", "z", "y", "x"), "''")],
)
def test_names_of_dims(dims: Any, match: str | None) -> None:
    x = lt.asarray(VALUES, dims=dims)
    if match is None:
        assert lt.ome.view(x).dims == ("t", "z", "c", "y", "x")
        return
    with pytest.raises(lt.DimensionError, match=match):
        lt.ome.view(x)


def test_too_many_dims() -> None:
    with pytest.raises(lt.DimensionError, match="6 dims"):
        lt.ome.view(VALUES[None])


def test_laid_out() -> None:
    assert np.array_equal(laid_out(VALUES, "tzchw").collect(), VALUES.transpose(0, 2, 1, 3, 4))
    assert laid_out(VALUES[:1, :1], "ZYX").dims == ("z", "y", "x")
    assert laid_out(VALUES[0, 0], None).dims == ("z", "y", "x")
    assert laid_out(VALUES, "TZYX", channel_policy="first").shape == (3, 4, 6, 7)
    with pytest.raises(lt.ShapeError, match=r"drops non-singleton dimension 'T'"):
        laid_out(VALUES, "HW")
    with pytest.raises(TypeError, match="string of letters"):
        laid_out(VALUES, 5)  # type: ignore[arg-type]
