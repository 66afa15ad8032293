"""World meaning through views: every rule says where position 0 ends up, and nothing is guessed."""

from __future__ import annotations

from math import ceil, floor
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from tests.sources import ChunkedArray

VALUES = np.arange(2 * 9 * 12).reshape(2, 9, 12)
AXES = (
    lt.Axis("c", "channel", labels=("DAPI", "GFP")),
    lt.Axis("y", "space", "micrometer", 0.5, 10.0),
    lt.Axis("x", "space", "micrometer", 0.25, -1.0),
)
X = lt.scan_source(ChunkedArray(VALUES, (1, 3, 4), dims=("c", "y", "x"), axes=AXES))


def world(x: lt.LazyTensor, d: int) -> list[float]:
    """World positions along a dim."""
    return [x.axes[d].world(p) for p in range(x.shape[d])]


@pytest.mark.parametrize(
    "key",
    [
        slice(2, None), slice(None, None, -1), slice(7, 1, -3), slice(1, None, 2), slice(-2, None),
        [1, 3, 5], [5, 3, 1], [4], [-1], np.arange(9) == 6,
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("how", ["getitem", "oindex", "isel"])
def test_positions_keep_their_place_in_the_world(key: Any, how: str) -> None:
    ways = {
        "getitem": lambda: X[:, key],
        "oindex": lambda: X.oindex[:, key],
        "isel": lambda: X.isel(y=key),
    }
    x = ways[how]()
    assert world(x, 1) == [X.axes[1].world(int(p)) for p in np.arange(9)[key]]
    assert x.axes[1].kind == "space" and x.axes[1].unit == "micrometer"
    assert x.axes[2] == X.axes[2]
    np.testing.assert_array_equal(x.collect(), VALUES[:, key])


@pytest.mark.parametrize(
    ("key", "labels"),
    [
        (slice(1, None), ("GFP",)), (slice(None, None, -1), ("GFP", "DAPI")), ([1, 0, 1], None),
        ([1], ("GFP",)), ([True, False], ("DAPI",)), ([0], ("DAPI",)),
    ],
    ids=str,
)  # fmt: skip
def test_labels_go_with_their_elements(key: Any, labels: tuple[str, ...] | None) -> None:
    expected = labels or ("GFP", "DAPI", "GFP")
    assert X[key].axes[0].labels == X.oindex[key].axes[0].labels == expected
    assert X.isel(c=key).axes[0].labels == expected and X.isel(c=key).dims == ("c", "y", "x")


def test_one_label_in_a_list_keeps_its_dim_and_its_name() -> None:
    x = X.sel(c=["GFP"])
    assert x.shape == (1, 9, 12)
    assert x.axes[0] == lt.Axis("c", "channel", labels=("GFP",))
    assert X.sel(c=["GFP"], y=[11.0]).axes[1] == lt.Axis("y", "space", "micrometer", 0.5, 11.0)


def test_arrays_without_a_step_have_no_scale() -> None:
    axis = X[:, [1, 3, 4]].axes[1]
    assert (axis.scale, axis.offset, axis.unit) == (None, 0.0, "micrometer")


@pytest.mark.parametrize(
    "key",
    [
        (None, [1]), ([1], None), (None, slice(None), [1]), (0, [1]), ([1], 0), ([[1]],),
        (slice(0, 0), [1]), ([-1], None, [0]), (..., [1]), ([True, False], slice(None), [2]),
    ],
    ids=str,
)  # fmt: skip
def test_arrays_of_one_element_give_what_numpy_gives(key: tuple[Any, ...]) -> None:
    moved = X.translate_to[5, 0, -3]
    np.testing.assert_array_equal(moved[key].collect(), VALUES[key])


@pytest.mark.parametrize("lo", [0, 1, 2, 5])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_downsampled_axes_point_at_the_middle_of_their_blocks(lo: int, factor: int) -> None:
    x, scale, offset = X[:, lo:], 0.5, 10.0 + lo * 0.5
    first = floor(lo / factor)
    regions = x.downsample(y=factor)
    assert regions.origin[1] == first
    assert regions.axes[1].scale == factor * scale
    assert regions.axes[1].offset == offset + (first * factor - lo + (factor - 1) / 2) * scale
    strided = x.downsample(y=factor, method="stride")
    assert strided.axes[1].scale == factor * scale
    assert strided.axes[1].offset == offset + (ceil(lo / factor) * factor - lo) * scale


def test_joins() -> None:
    padded = lt.pad(X, {"y": (2, 3)})
    assert padded.axes[1].offset == 9.0 and padded.origin == (0, -2, 0)
    merged = lt.overlay([X[:, 3:], X[:, 1:2]], fill_value=0)
    assert merged.origin[1] == 1 and merged.axes[1].offset == 10.5
    stacked = lt.stack([X, X], axis="t")
    assert stacked.dims == ("t", "c", "y", "x") and stacked.axes[0] == lt.Axis("t")
    assert stacked.axes[1:] == X.axes
    assert lt.concat([X[:1], X[1:]], axis="c").axes[0].labels == ("DAPI", "GFP")


def test_names_and_coordinates_are_not_world() -> None:
    moved = X.translate_by[0, 5, 5]
    assert moved.axes == X.axes and moved.origin == (0, 5, 5)
    named = X.label["k", "v", "u"]
    assert [axis.name for axis in named.axes] == ["k", "v", "u"] == list(named.dims)
    assert world(named, 1) == world(X, 1) and named.axes[0].labels == ("DAPI", "GFP")


@pytest.mark.parametrize("make", [lt.zeros_like, lt.ones_like, lt.empty_like])
def test_like_follows_domain_and_chunks(make: Any) -> None:
    y = make(X[:, 1:])
    assert y.domain == X[:, 1:].domain and y.chunks == (1, 3, 4) and y.dtype == X.dtype
    assert lt.zeros_like(X[:, :0]).shape == (2, 0, 12)
    assert lt.full_like(X, 2.5, dtype="f4").collect()[1, 2, 3] == 2.5


def test_a_crop_goes_back_to_where_it_came_from() -> None:
    crop = X[:, 2:5, 3:7] * 10
    back = lt.overlay([lt.zeros_like(X), crop])
    expected = np.zeros_like(VALUES)
    expected[:, 2:5, 3:7] = VALUES[:, 2:5, 3:7] * 10
    assert back.domain == X.domain
    np.testing.assert_array_equal(back.collect(), expected)
