"""Creation functions against NumPy, and that they cost nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lazytensor as lt


@pytest.mark.parametrize("dtype", [None, "u1", "f4", "c8", "?"])
@pytest.mark.parametrize("name", ["zeros", "ones", "full"])
def test_filled(name: str, dtype: Any) -> None:
    more = (3,) if name == "full" else ()
    for shape in ((), 3, (2, 3), (0, 2)):
        got = getattr(lt, name)(shape, *more, dtype=dtype)
        wanted = getattr(np, name)(shape, *more, dtype=dtype)
        lt.testing.assert_equal(got, wanted)


def test_fill_values_keep_their_bits() -> None:
    assert np.signbit(lt.full(2, -0.0).collect()).all()
    assert lt.full(2, True).dtype == np.bool_ and lt.full(2, 1j).dtype == np.complex128
    assert lt.full(2, np.float32(1)).dtype == np.float32
    with pytest.raises(lt.ShapeError, match="scalar"):
        lt.full(2, [1, 2])
    with pytest.raises(lt.ShapeError, match="negative"):
        lt.zeros((2, -1))
    with pytest.raises(lt.ShapeError, match="integers"):
        lt.zeros((2, 1.5))
    with pytest.raises(lt.ShapeError, match="64"):
        lt.zeros((1,) * 65)
    with pytest.raises(lt.DTypeError):
        lt.zeros(2, dtype=object)
    with pytest.raises(ValueError, match="cuda"):
        lt.zeros(2, device="cuda")


def test_like_keeps_domain_and_dtype() -> None:
    x = lt.asarray(np.arange(6, dtype="u2").reshape(2, 3), dims=("y", "x"))[1:]
    for y in (lt.zeros_like(x), lt.ones_like(x), lt.empty_like(x), lt.full_like(x, 4)):
        assert y.domain == x.domain and y.dtype == x.dtype
    assert lt.zeros_like(x, dtype="f4").dtype == np.float32


@pytest.mark.parametrize(
    "arguments",
    [(5,), (2, 9), (2, 9, 3), (9, 2, -3), (0.5, 3), (0, 1, 0.1), (5, 2), (-3, 3, 2), (0,)],
)
@pytest.mark.parametrize("dtype", [None, "f4", "i2"])
def test_arange(arguments: tuple[Any, ...], dtype: Any) -> None:
    lt.testing.assert_equal(lt.arange(*arguments, dtype=dtype), np.arange(*arguments, dtype=dtype))


@pytest.mark.parametrize(
    ("arguments", "dtype"),
    [
        ((100_000,), None),
        ((5, 200_000, 2), "i4"),
        ((0.1, 5000, 0.3), None),
        ((0.1, 5000, 0.3), "f4"),
        ((100_000, 0, -1), "u4"),
        ((0, 30_000), "i2"),
        ((1000.0, -4000.0, -0.25), None),
    ],
)
def test_long_progressions_are_numpys_bit_for_bit(arguments: tuple[Any, ...], dtype: Any) -> None:
    lt.testing.assert_equal(lt.arange(*arguments, dtype=dtype), np.arange(*arguments, dtype=dtype))


def test_arange_costs_nothing_and_can_be_written_down() -> None:
    x = lt.arange(10**15)
    assert x[10**14 : 10**14 + 2].collect().tolist() == [10**14, 10**14 + 1]
    again = lt.LazyTensor.deserialize(x.serialize())
    assert again._node is x._node
    with pytest.raises(ValueError, match="step"):
        lt.arange(0, 5, 0)


def test_linspace() -> None:
    for arguments, options in (
        ((0, 1, 5), {}), ((0, 1, 1), {}), ((2, -3, 0), {}),
        ((0, 1, 4), {"endpoint": False}), ((0, 10, 4), {"dtype": "i4"}), ((0, 1j, 3), {}),
    ):  # fmt: skip
        lt.testing.assert_equal(
            lt.linspace(*arguments, **options),  # type: ignore[arg-type]
            np.linspace(*arguments, **options),  # type: ignore[arg-type]
        )
    with pytest.raises(lt.ShapeError):
        lt.linspace(0, 1, -1)


@pytest.mark.parametrize("k", [-4, -1, 0, 2, 5])
def test_matrices(k: int) -> None:
    lt.testing.assert_equal(lt.eye(3, k=k), np.eye(3, k=k))
    lt.testing.assert_equal(lt.eye(3, 5, k=k, dtype="u1"), np.eye(3, 5, k=k, dtype="u1"))
    a = np.arange(24, dtype="i2").reshape(2, 3, 4) + 1
    lt.testing.assert_equal(lt.tril(a, k=k), np.tril(a, k))
    lt.testing.assert_equal(lt.triu(a, k=k), np.triu(a, k))
    with pytest.raises(lt.ShapeError):
        lt.tril(np.arange(3))


def test_huge_matrices_cost_nothing() -> None:
    with lt.testing.raise_if_collects():
        x = lt.tril(lt.eye(10**9) + lt.zeros((10**9, 10**9)))
    assert x[123_456_789, 123_456_788:123_456_791].collect().tolist() == [0, 1, 0]


@pytest.mark.parametrize("indexing", ["xy", "ij"])
def test_meshgrid(indexing: Any) -> None:
    arrays = [np.arange(2), np.arange(3.0), np.arange(4, dtype="u1")]
    for n in range(4):
        got = lt.meshgrid(*arrays[:n], indexing=indexing)
        wanted = np.meshgrid(*arrays[:n], indexing=indexing)
        assert len(got) == len(wanted)
        for a, b in zip(got, wanted, strict=True):
            lt.testing.assert_equal(a, b)
    with pytest.raises(lt.ShapeError):
        lt.meshgrid(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="indexing"):
        lt.meshgrid(indexing="yx")


class TestAsarray:
    @pytest.mark.parametrize(
        "obj",
        [
            3, 2.5, True, 1j, [1, 2], [[1.5, 2], [3, 4]], (1, 2), np.arange(3), np.float32(2),
            range(4), memoryview(b"abc"), bytearray(b"abc"), [], [[]], [True, False],
        ],
    )  # fmt: skip
    def test_forms(self, obj: Any) -> None:
        lt.testing.assert_equal(lt.asarray(obj), np.asarray(obj))

    def test_tensors_stay_themselves(self) -> None:
        x = lt.zeros((2, 3))
        assert lt.asarray(x)._node is x._node and lt.asarray(x, copy=True)._node is x._node
        assert lt.asarray(x, dims=("y", "x")).dims == ("y", "x")
        assert lt.asarray(x, chunks=(1, 3)).chunks == (1, 3)
        assert lt.asarray(x, dtype="u1").dtype == np.uint8

    def test_lists_of_tensors(self) -> None:
        x = lt.arange(3)
        np.testing.assert_array_equal(lt.asarray([x, x + 1]).collect(), [[0, 1, 2], [1, 2, 3]])

    def test_copy(self) -> None:
        a = np.arange(3)
        alias, snapshot = lt.asarray(a), lt.asarray(a, copy=True)
        a[0] = 9
        assert alias.collect()[0] == 9 and snapshot.collect()[0] == 0
        assert lt.asarray(a, copy=False).collect()[0] == 9
        for refused in ([1, 2], 3, (1.5,)):
            with pytest.raises(ValueError, match="copy=False"):
                lt.asarray(refused, copy=False)
        with pytest.raises(ValueError, match="converted"):
            lt.asarray(a, dtype="f4", copy=False)

    def test_dtype_goes_straight_there(self) -> None:
        assert lt.asarray([2**63], dtype="u8").collect()[0] == 2**63
        assert lt.asarray([2**53 + 1], dtype="i8").collect()[0] == 2**53 + 1
        assert lt.asarray([1.5], dtype="bfloat16").dtype == lt.bfloat16
        assert lt.asarray(2, dtype=lt.float32).dtype == np.float32

    def test_refusals(self) -> None:
        for refused in (np.array([None]), object(), [object()], {"a": 1}, None, {1, 2}):
            with pytest.raises(lt.DTypeError):
                lt.asarray(refused)
        with pytest.raises(lt.ShapeError, match="unequal"):
            lt.asarray([[1, 2], [3]])
        with pytest.raises(ValueError, match="cuda"):
            lt.asarray([1], device="cuda")

    def test_chunks_and_dims(self) -> None:
        x = lt.asarray(np.zeros((4, 6)), chunks=(2, (1, 5)), dims=("y", None))
        assert x.chunks == (2, 5) and x.dims == ("y", "")
        with pytest.raises(lt.ShapeError):
            lt.asarray(np.zeros(4), chunks=((1, 2),))
        with pytest.raises(lt.DimensionError):
            lt.asarray(np.zeros(4), dims=("y", "x"))
        with pytest.raises(lt.DimensionError, match="alike"):
            lt.asarray(np.zeros((2, 2)), dims=("y", "y"))

    def test_from_dlpack(self) -> None:
        a = np.arange(3)
        assert lt.from_dlpack(a).collect().tolist() == [0, 1, 2]
        snapshot = lt.from_dlpack(a, copy=True)
        a[0] = 7
        assert lt.from_dlpack(a).collect()[0] == 7 and snapshot.collect()[0] == 0
        x = lt.arange(3)
        assert lt.from_dlpack(x)._node is x._node


@pytest.mark.parametrize(
    "make",
    [
        lambda: lt.zeros(2**62),
        lambda: lt.arange(2**62),
        lambda: lt.concat([lt.zeros(2**61)] * 2),
        lambda: lt.broadcast_to(lt.asarray(1), (2**62,)),
        lambda: lt.reshape(lt.zeros((2**40, 2**40)), (-1,)),
        lambda: lt.tile(lt.zeros(2**60), 4),
        lambda: lt.pad(lt.zeros(3), 2**62),
        lambda: lt.pad(lt.zeros(3), 2**62, "edge"),
    ],
)
def test_no_dimension_leaves_the_finite_indices(make: Any) -> None:
    with pytest.raises(lt.ShapeError, match=r"2\*\*62"):
        make()


def test_the_longest_dimension_is_readable_at_its_end() -> None:
    assert lt.ones(2**62 - 1)[-2:].collect().tolist() == [1.0, 1.0]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_long_arange_does_not_wrap(sign: int) -> None:
    with pytest.raises(lt.DTypeError, match="does not fit int64"):
        lt.arange(0, sign * 10**20, sign * 1000)
