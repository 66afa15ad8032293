"""Boxes as runs of bytes: every piece against NumPy, and how they are cut."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lazytensor.errors import SourceError
from lazytensor.io.place import BufferStore, split_url
from lazytensor.io.runs import bytes_of, counts_of, pieces_of, read_pieces
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import MemoryObject
from lazytensor.plan.keeping import keeping, kept


@st.composite
def boxes(draw):  # type: ignore[no-untyped-def]
    shape = draw(st.lists(st.integers(1, 7), max_size=4))
    box, steps = [], []
    for n in shape:
        lo = draw(st.integers(0, n - 1))
        box.append((lo, draw(st.integers(lo + 1, n))))
        steps.append(draw(st.integers(1, 4)))
    return tuple(shape), tuple(box), tuple(steps)


@settings(max_examples=300, deadline=None)
@given(boxes(), st.sampled_from([0, 3, 8, 40, 1 << 20]), st.sampled_from([1, 10, 64, 1 << 20]))
def test_pieces_fill_every_element_once(
    found: tuple[tuple[int, ...], tuple[tuple[int, int], ...], tuple[int, ...]], gap: int, most: int
) -> None:
    shape, box, steps = found
    values = np.arange(prod(shape), dtype="<i2").reshape(shape)
    want = values[tuple(slice(lo, hi, by) for (lo, hi), by in zip(box, steps, strict=True))]
    pieces = list(pieces_of(shape, 2, box, steps, gap=gap, most=most))
    assert [p.start for p in pieces] == sorted(p.start for p in pieces)
    assert all(a.start + a.nbytes <= b.start for a, b in pairwise(pieces))
    assert all(p.nbytes <= max(most, 2) for p in pieces)
    whole = MemoryObject(b"xyz" + values.tobytes())
    for out in (np.full(want.shape, -1, "<i2"), np.full((*want.shape, 2), -1, "<i2")[..., 0]):
        seen = list(read_pieces(whole, 3, pieces, values.dtype, out, Scratch()))
        assert np.array_equal(out, want)
        assert [(start, len(data)) for start, data in seen] == [
            (3 + p.start, p.nbytes) for p in pieces
        ]


def test_runs_far_apart_are_pieces_of_their_own() -> None:
    rows = list(pieces_of((5, 1 << 20), 1, ((0, 5), (7, 9))))
    assert [(p.start, p.nbytes) for p in rows] == [((n << 20) + 7, 2) for n in range(5)]
    assert len(list(pieces_of((5, 1 << 10), 1, ((0, 5), (7, 9))))) == 1


def test_what_is_whole_is_read_straight_into_its_place() -> None:
    class Watched(MemoryObject):
        straight = 0

        def read_into(self, start: int, out: memoryview) -> None:
            Watched.straight += len(out)
            super().read_into(start, out)

    values = np.arange(600, dtype="<u2").reshape(20, 30)
    whole, out = Watched(values.tobytes()), np.zeros((5, 30), "<u2")
    pieces = list(pieces_of((20, 30), 2, ((4, 9), (0, 30))))
    assert [len(data) for _, data in read_pieces(whole, 0, pieces, out.dtype, out)] == [300]
    assert np.array_equal(out, values[4:9])
    assert Watched.straight == 300
    turned = out[::-1]
    list(read_pieces(whole, 0, pieces, out.dtype, turned))
    assert np.array_equal(turned, values[4:9])
    assert Watched.straight == 300


def test_empty_boxes_and_counts() -> None:
    assert not list(pieces_of((3, 4), 1, ((1, 1), (0, 4))))
    assert counts_of((), ()) == ()
    assert bytes_of(np.zeros((4, 4))[:, :2]) is None
    assert len(bytes_of(np.zeros(())) or b"") == 8


def test_what_is_too_short_is_an_error() -> None:
    out = np.zeros(4, "<u2")
    pieces = list(pieces_of((4,), 2, ((0, 4),)))
    with pytest.raises(SourceError):
        list(read_pieces(MemoryObject(bytes(7)), 0, pieces, out.dtype, out))


@pytest.mark.parametrize(
    ("url", "folder", "name"),
    [
        ("memory://a.tenso", "memory://", "a.tenso"),
        ("file:///d/e/a.npy", "file:///d/e", "a.npy"),
        ("https://h/p/a.npy?x=1/2", "https://h/p?x=1/2", "a.npy"),
        ("zip://d/a.npy::s3://b/x.zip", "zip://d::s3://b/x.zip", "a.npy"),
        ("simplecache::s3://b/a.npy", "simplecache::s3://b", "a.npy"),
        ("zip://a.npy::simplecache::s3://b/x.zip", "zip://::simplecache::s3://b/x.zip", "a.npy"),
    ],
)
def test_urls_are_cut_into_folder_and_name(url: str, folder: str, name: str) -> None:
    assert split_url(url) == (folder, name)


def test_a_buffer_is_aliased_and_copied_only_where_it_lies_apart() -> None:
    data = bytearray(b"012345")
    store = BufferStore(data, "a")
    data[0] = ord("x")
    assert bytes(store.get("a") or b"") == b"x12345"
    assert bytes(BufferStore(memoryview(b"012345")[::-2], "a").get("a") or b"") == b"531"


def test_what_a_run_keeps_ends_with_it() -> None:
    with keeping():
        first = kept("a", list)
        assert kept("a", list) is first
        with keeping():
            assert kept("a", list) is not first
        assert kept("a", list) is first
    assert kept("a", list) is not first
