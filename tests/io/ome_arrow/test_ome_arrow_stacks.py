"""Several images as one: rows in front, and no copy more than one image takes."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.errors import (
    DTypeError,
    FormatError,
    ShapeError,
)
from lazytensor.io.ome_arrow.model import Image, Pieces
from lazytensor.io.ome_arrow.source import StackSource
from lazytensor.plan.spec import Axis
from tests.io.ome_arrow.ome_arrow_pieces import (
    AXES,
    CUTS,
    SHAPE,
    FlatUnit,
    MadeUnit,
    MadeUnits,
    distinct,
    made_image,
    of_numpy,
    random_box,
    read,
    whole,
)


@pytest.mark.parametrize("cut", ["planes", "chunks in any order", "one"])
@pytest.mark.parametrize("flat", [False, True])
def test_stacks(cut: str, flat: bool) -> None:
    rng = np.random.default_rng(3)
    array = distinct((6, *SHAPE), np.uint16)
    images = [
        made_image(array[row], CUTS[cut], flat=flat, where=f"made[{row}]", row=row)
        for row in range(6)
    ]
    shared = _in_one_unit(images, flat=flat)
    for stack in (StackSource(images), StackSource(shared)):
        assert stack.spec.shape == array.shape
        assert stack.spec.dims == ("row", "t", "c", "z", "y", "x")
        assert lt.scan_source(stack).chunks[0] == 1
        np.testing.assert_array_equal(whole(stack), array)
        for _ in range(20):
            box, steps = random_box(rng, array.shape)
            np.testing.assert_array_equal(read(stack, box, steps), of_numpy(array, box, steps))
        np.testing.assert_array_equal(whole(pickle.loads(pickle.dumps(stack))), array)
        x = lt.scan_source(stack)
        np.testing.assert_array_equal(x[[4, 1], :, 1].collect(), array[[4, 1], :, 1])


def _in_one_unit(images: list[Image], *, flat: bool) -> list[Image]:
    """The same images with all pixels in one unit, as those of a row group are."""
    elements = [element for image in images for element in image.units.units[0].elements]
    units = MadeUnits([(FlatUnit if flat else MadeUnit)(elements)], encoded=False)
    found, first = [], 0
    for image in images:
        pieces = image.pieces
        moved = Pieces(pieces.origins, pieces.extents, pieces.units, pieces.elements + first)
        found.append(image._replace(pieces=moved, units=units))
        first += len(pieces)
    return found


def test_stacks_of_one_unit_are_one_copy() -> None:
    array = distinct((6, *SHAPE), np.uint16)
    images = _in_one_unit(
        [made_image(array[row], CUTS["planes"], row=row) for row in range(6)], flat=True
    )
    units: Any = images[0].units
    asked: list[int] = []
    several = units.units[0].several
    units.units[0].several = lambda number, many: asked.append(many) or several(number, many)
    np.testing.assert_array_equal(whole(StackSource(images)), array)
    assert asked == [180]
    units.zero_copy = True
    view = StackSource(images).array
    assert view is not None
    np.testing.assert_array_equal(view, array)


def test_stacks_say_which_images_differ() -> None:
    array = distinct(SHAPE, np.uint16)
    one = made_image(array, CUTS["planes"], where="made[0]")
    smaller = made_image(array[:1], [], where="made[3]")
    with pytest.raises(ShapeError, match=r"made\[0\].*made\[3\]"):
        StackSource([one, smaller])
    other = made_image(array.astype(np.int32), CUTS["planes"], where="made[7]")
    with pytest.raises(DTypeError, match=r"made\[0\].*made\[7\]"):
        StackSource([one, other])
    with pytest.raises(ShapeError, match="no images"):
        StackSource([])
    missing = made_image(array, CUTS["planes"][:4], where="made[5]")
    with pytest.raises(FormatError, match=r"made\[5\].*z=4.*is missing"):
        whole(StackSource([one, missing]))


def test_axes_of_stacks_are_those_that_agree() -> None:
    array = distinct(SHAPE, np.uint16)
    one = made_image(array, CUTS["planes"])
    scaled = [Axis("x", "space", "micrometer", scale) for scale in (0.5, 0.25)]
    images = [
        one._replace(meta=one.meta.__class__(array.dtype, array.shape, (*AXES[:4], axis)))
        for axis in scaled
    ]
    assert StackSource([images[0], images[0]]).spec.axes[-1] == scaled[0]
    assert StackSource(images).spec.axes[-1] == Axis("x", "space")
