"""Random programs over the public API: every witness has to say the same.

NumPy on whole arrays, the interpreter, the local engine with tiny blocks and with one and three
threads, optimizer passes left out, several results at once, documents and pickles, windows of the
result, estimates, and what ``explain`` prints.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.exec import workgrid
from lazytensor.io.zarr import ZarrSource
from lazytensor.plan.node import walk
from lazytensor.plan.nodes import Scan
from lazytensor.plan.ops import ELEMENTWISE
from tests.engines import ENGINES, SETTINGS, Blocks
from tests.program_others import OTHERS
from tests.program_steps import POINTWISE, VIEWS, index_key, pair
from tests.program_wholes import WHOLES
from tests.programs import Drawn, Pick, Rolled, Value, leaf
from tests.sources import ChunkedArray

INTERPRET = lt.InterpretEngine()
ONE, THREE = Blocks(64, 1), Blocks(64, 3)
FAMILIES = (VIEWS, VIEWS, POINTWISE, WHOLES, WHOLES, OTHERS)


def program(pick: Pick, steps: int = 6) -> list[Value]:
    """Everything that a random program makes, in order."""
    made = [leaf(pick)]
    for _ in range(pick.integer(1, pick.one((3, steps, 2 * steps)))):
        v = made[-1] if pick.integer(0, 3) else pick.one(made)
        if len(made) > 1 and pick.integer(0, 3) == 0:
            following = pair(pick, v, pick.one(made))
        else:
            following = pick.one(pick.one(FAMILIES))(pick, v)
        if following is not None:
            made.append(following)
    return made


def agree(found: Any, v: Value, what: str, slack: float = 1.0) -> None:
    """A result against the mirror."""
    found, want = np.asarray(found), v.values
    assert found.dtype == want.dtype, f"{what}: dtype {found.dtype}, not {want.dtype}\n{v.text}"
    assert found.shape == want.shape, f"{what}: shape {found.shape}, not {want.shape}\n{v.text}"
    if v.bound is None:
        same = same_values(found, want)
    else:
        with np.errstate(all="ignore"):
            apart = np.abs(found.astype(np.longdouble) - want.astype(np.longdouble))
            near = apart <= slack * v.bound
            same = near | same_values(found, want) | ~np.isfinite(v.bound)
    assert same.all(), f"{what}: {found[~same][:5]!r}, not {want[~same][:5]!r}\n{v.text}"


def same_values(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Equal, both NaN, and of the same sign if both are zero."""
    if a.dtype.kind == "c":
        return same_values(a.real, b.real) & same_values(a.imag, b.imag)
    with np.errstate(all="ignore"):
        same: np.ndarray = a == b
        if a.dtype.kind in "fV":
            a, b = a.astype(np.longdouble), b.astype(np.longdouble)
            same = same & (np.signbit(a) == np.signbit(b)) | np.isnan(a) & np.isnan(b)
    return same


def check(pick: Pick, v: Value) -> None:
    """One tensor before NumPy, engines, threads, optimizer passes, and a window of it."""
    x = v.x
    assert x.dims == x.domain.labels == tuple(axis.name for axis in x.axes), v.text
    named = [name for name in x.dims if name]
    assert len(set(named)) == len(named), f"{x.dims}\n{v.text}"
    agree(x.collect(engine=INTERPRET), v, "interpret")
    default = x.collect()
    agree(default, v, "default")
    one, three = x.collect(engine=ONE), x.collect(engine=THREE)
    agree(one, v, "one thread")
    assert one.tobytes() == three.tobytes(), f"threads differ\n{v.text}"
    for _ in range(2):
        flags = pick.one(SETTINGS)
        engine = pick.one((ONE, INTERPRET, "local"))
        agree(x.collect(engine=engine, optimizations=flags), v, f"{flags} {engine}")
    key = index_key(pick, x.shape)
    window = Value(
        x[key], v.values[key], f"({v.text})[{key!r}]", None if v.bound is None else v.bound[key]
    )
    for engine in (ONE, "auto"):
        agree(window.x.collect(engine=engine), window, f"window {engine}")


def check_documents(v: Value) -> None:
    """Plans written down and read again, printed, and profiled."""
    x = v.x
    lasting = not any(kind in v.text for kind in ("virtual(", "ChunkedArray", "zarr("))
    # An array in memory is another one afterwards, all else the very node.
    in_memory = any(node.source.array is not None for node in scans_of(x))
    if lasting:
        again = pickle.loads(pickle.dumps(x))
        document = x.serialize(format="binary")
        read = lt.LazyTensor.deserialize(document, functions=v.functions)
        assert read.serialize(format="binary") == document
        for found in (again, read):
            assert found._node is x._node or in_memory, v.text
            agree(found.collect(), v, "read again")
    for form in ("plain", "tree", "dot", "json", "html"):
        for stage in ("logical", "physical"):
            assert x.explain(format=form, stage=stage, rules=True)
            assert x.explain(format=form, stage=stage, optimized=False)
    result, frame = x.profile(engine=ONE)
    agree(result, v, "profile")
    assert frame.columns


def scans_of(x: lt.LazyTensor) -> list[Scan]:
    return [node for node in walk(x._node) if isinstance(node, Scan)]


def check_estimate(v: Value) -> None:
    """Tasks, chunks and bytes are those that are run, decoded and delivered."""
    sources = [node.source for node in scans_of(v.x)]
    stores = {source._store for source in sources if isinstance(source, ZarrSource)}
    counted = [store for store in stores if isinstance(store, lt.testing.CountingStore)]
    for target in (workgrid.TARGET, 64):
        with blocks_of(target), lt.Config(threads=1):
            lt.metrics(reset=True)
            estimate = v.x.estimate(engine="local", exact=True)
            rough = v.x.estimate(engine="local")
            for store in counted:
                store.reset()
            v.x.collect(engine="local")
            ran = lt.metrics()
        delivered = sum(store.bytes for store in counted)
        shown = f"{estimate} {ran}\n{v.text}"
        assert estimate.tasks == rough.tasks == ran.get("tasks", 0), shown
        if not any(kind in v.text for kind in ("virtual(", "ChunkedArray", "filed(")):
            assert estimate.bytes_read == delivered, f"delivered {delivered}: {shown}"
        assert estimate.chunks_read <= rough.chunks_read <= rough.chunks_total, f"{rough} {shown}"


@contextmanager
def blocks_of(target: int) -> Iterator[None]:
    """Tasks of about so many bytes."""
    before = workgrid.TARGET, workgrid._SMALLEST
    workgrid.TARGET = workgrid._SMALLEST = target
    try:
        yield
    finally:
        workgrid.TARGET, workgrid._SMALLEST = before


def check_together(pick: Pick, values: list[Value]) -> None:
    """Several results at once, some of them of the same, are what they are one by one."""
    for _ in range(pick.integer(0, 4)):
        following = pick.one(pick.one((WHOLES, OTHERS)))(pick, pick.one(values))
        if following is not None:
            values = [*values, following]
    for engine in ("auto", ONE):
        outs = [np.empty(v.x.shape, v.x.dtype) if pick.integer(0, 1) else None for v in values]
        found = lt.collect_all([v.x for v in values], engine=engine, out=outs)
        for v, result in zip(values, found, strict=True):
            agree(result, v, f"collect_all {engine}")


def run_all(pick: Pick, values: list[Value]) -> None:
    """Every witness on the last tensor of a program, and all of them together."""
    check(pick, values[-1])
    what = pick.integer(0, 3)
    if what == 0:
        check_documents(values[-1])
    elif what == 1:
        check_together(pick, values[-3:])
    elif what == 2:
        check_estimate(values[-1])


@settings(max_examples=120)
@given(st.data())
def test_programs(data: st.DataObject) -> None:
    pick = Drawn(data.draw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_all(pick, program(pick))


@pytest.mark.parametrize("seed", range(8))
def test_programs_by_seed(seed: int) -> None:
    for n in range(40):
        pick = Rolled(f"suite-{seed}-{n}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run_all(pick, program(pick))


# What they found.


def chunked(values: np.ndarray, chunk: int) -> lt.LazyTensor:
    return lt.scan_source(ChunkedArray(values, [chunk] * values.ndim))


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_memory_of_what_is_handed_on_is_not_freed_before_its_owner(engine: str) -> None:
    """``cache``, ``inspect`` and joins of which one part is seen hand their input itself on."""
    values = np.random.default_rng(0).integers(0, 1000, (64, 64)).astype("f4")
    x = chunked(values, 16)
    cached = (lt.floor(x.cache() / 3) * 2).astype("f8") + x
    expected = (np.floor(values / 3) * 2).astype("f8") + values
    np.testing.assert_array_equal(cached.collect(engine=ENGINES[engine]), expected)
    least = np.sqrt(values.reshape(32, 2, 32, 2).max(axis=(1, 3))) - values[:32, :32]
    flags = lt.QueryOptFlags.none()
    for same in (lt.concat([x, x]), x.inspect(lambda domain, block: None), x.cache()):
        found = lt.sqrt(lt.downsample(same, (2, 2), "max"))[:32] - x[:32, :32]
        result = found.collect(engine=ENGINES[engine], optimizations=flags)
        np.testing.assert_array_equal(result, least)


@pytest.mark.parametrize("engine", sorted(ENGINES))
@pytest.mark.parametrize("name", ["var", "std", "mean", "sum", "prod", "argmax", "argmin"])
def test_reductions_of_what_has_no_dims(engine: str, name: str) -> None:
    """NumPy gives scalars there, and scalars are no arrays to the next operation."""
    x = lt.max(lt.full((), 14, dtype="u2"))
    for y in (getattr(lt, name)(x), getattr(lt, name)(x, keepdims=True)[None], lt.stack([x, x])):
        for flags in SETTINGS:
            found = y.collect(engine=ENGINES[engine], optimizations=flags)
            assert found.shape == y.shape


@pytest.mark.parametrize("engine", sorted(ENGINES))
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_quantiles_of_zeros_have_numpys_sign(engine: str, dtype: str) -> None:
    for zeros in ([-0.0], [-0.0, -0.0], [-1.0, -0.0], [-0.0, 0.0, 3.0]):
        values = np.array(zeros, dtype)
        for q in (0.0, 0.3, 0.5, 1.0, [0.0, 0.9]):
            found = lt.quantile(chunked(values, 1), q).collect(engine=ENGINES[engine])
            assert found.tobytes() == np.asarray(np.quantile(values, q)).tobytes()


def test_steps_with_arrays_for_arguments_are_explained() -> None:
    plan = lt.quantile(chunked(np.arange(20.0), 4), [0.1, 0.9])
    assert "quantile" in plan.explain(stage="physical")


@pytest.mark.parametrize("method", ["median", "mode"])
@pytest.mark.parametrize("dtype", ["u1", "i4", "f4"])
def test_windows_are_sorted_in_copies(dtype: str, method: Any) -> None:
    """The planes of windows as large as the first dims are parts of the block itself."""
    values = np.random.default_rng(0).integers(0, 5, (3, 2000)).astype(dtype)
    before = values.copy()
    for x in (lt.asarray(values), chunked(values, 2000)):
        reduced = lt.downsample(x, (3, 1), method)
        for engine in ENGINES.values():
            found, again = lt.collect_all([reduced + x, reduced], engine=engine)
            np.testing.assert_array_equal(values, before)
            np.testing.assert_array_equal(found, again + before)
    if method == "median":
        np.testing.assert_array_equal(again, np.sort(values, axis=0)[1:2])


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_products_have_the_same_bits_whichever_way_operands_lie(engine: str) -> None:
    rng = np.random.default_rng(0)
    a, b = ((rng.normal(size=(9, 99)) + 1j * rng.normal(size=(9, 99))).astype("c8") for _ in "ab")
    x, back = lt.asarray(a), lt.asarray(b[::-1, ::-1].copy())[::-1, ::-1]
    for product, expected in ((x * back, a * b), (back * back, b * b), (lt.square(back), b * b)):
        found = product.collect(engine=ENGINES[engine])
        assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", ["isnan", "isinf", "isfinite", "signbit", "square", "multiply"])
@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", "c8", "c16", "i4"])
def test_operations_do_not_care_where_results_lie(name: str, dtype: str) -> None:
    """NumPy's loops for some of them leave results that lie apart unwritten."""
    op = ELEMENTWISE[name]
    if name == "signbit" and dtype[0] == "c":
        return
    values = np.random.default_rng(0).integers(-9, 9, (40, 21)).astype(dtype)
    for x in (
        values,
        np.asfortranarray(values),
        values[::-1, ::-1],
        values[::2, ::3],
        values[:, 0],
    ):
        operands = (x,) * len(op.parameters)
        expected = op.evaluate(*(array.copy() for array in operands))
        apart = np.zeros((*x.shape, 3), expected.dtype)[..., 1]
        across = np.zeros(x.shape[::-1], expected.dtype).T
        for out in (None, apart, across, np.zeros(x.shape, expected.dtype)):
            found = op.evaluate(*operands, out=out)
            assert out is None or found is out
            assert found.tobytes() == expected.tobytes()


def test_a_name_that_would_stand_on_two_dims_stands_on_none() -> None:
    x = lt.asarray(np.arange(24.0).reshape(2, 3, 4), dims=("z", "y", "x"))
    pairs = x[:, None] - x
    assert pairs.dims == ("", "", "y", "x")
    assert (pairs + x).dims == ("", "z", "y", "x")
    np.testing.assert_array_equal(pairs[1].collect(), (x[1] - x).collect())
    left, right = lt.ones((2, 2)).label["z", ""], lt.ones((2, 2)).label["", "z"]
    assert lt.concat([left, right]).dims == lt.where(left > 0, left, right).dims == ("", "")


def test_an_outer_product_keeps_the_sign_of_zeros() -> None:
    found = np.outer(lt.asarray([0.0, 2.0]), lt.asarray([-3.0, 0.0])).collect()
    assert found.tobytes() == np.outer([0.0, 2.0], [-3.0, 0.0]).tobytes()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: lt.roll([1, 2, 3], 1.5), "shifts are integers, not 1.5"),  # type: ignore[arg-type]
        (lambda: lt.pad([1, 2, 3], 1, constant_values="a"), "constant_values are no int64"),
    ],
)
def test_mistakes_are_named(call: Any, says: str) -> None:
    with pytest.raises(lt.LazyTensorError, match=says):
        call()
