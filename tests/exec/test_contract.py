"""How contractions are computed: panels, what is read, memory, and the same bits always."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import lazytensor as lt
from lazytensor.exec import contract, workgrid
from lazytensor.exec.contract import with_panels
from lazytensor.exec.demand_contract import Panels
from lazytensor.exec.kernels import contract as kernel
from lazytensor.exec.kernels.contract import Form, contract_into
from lazytensor.plan.node import walk
from tests.plans import distinct
from tests.sources import ChunkedArray

ENGINE = lt.LocalEngine(threads=2)


@pytest.fixture
def tiny() -> Iterator[None]:
    """Limits so small that every contraction is cut into panels, and its result into cells."""
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        yield


def shrink(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(contract, "_SHORT", 0)
    patch.setattr(contract, "_PANEL", 128)
    patch.setattr(contract, "_RESULT", 12)
    patch.setattr(contract, "_FEW", 2)
    patch.setattr(workgrid, "TARGET", 64)
    patch.setattr(workgrid, "_SMALLEST", 64)


def panels_of(x: lt.LazyTensor) -> list[Panels]:
    (root,) = with_panels([x._node])
    return [node for node in walk(root) if isinstance(node, Panels)]


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_panels_add_up_to_the_product(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(["i8", "u1", "f8", "f2", "?", "c8", "i2"]))
    q, m, n = (data.draw(st.integers(1, 5)) for _ in range(3))
    k = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=2))
    one, other = distinct((q, m, *k), np.dtype(dtype)), distinct((*k, q, n), np.dtype(dtype), 1)
    if dtype == "f2":
        one, other = one % 5, other % 5
    sources = [
        ChunkedArray(x, [data.draw(st.integers(1, 4)) for _ in x.shape], origin=[3] * x.ndim)
        for x in (one, other)
    ]
    x, y = (lt.scan_source(source) for source in sources)
    axes = list(range(2, 2 + len(k)))
    whole = lt.tensordot(x, y, axes=(axes, list(range(len(k)))))
    exact = np.tensordot(one, other, axes=(axes, list(range(len(k)))))
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        values = whole.collect(engine=ENGINE)
        batched = whole[lt.d[0, 2].diagonal].collect(engine=ENGINE)
        cut = whole[:1].collect(engine=ENGINE)
    np.testing.assert_array_equal(values, exact)
    np.testing.assert_array_equal(batched, np.moveaxis(np.diagonal(exact, 0, 0, 2), -1, 0))
    np.testing.assert_array_equal(cut, exact[:1])


def test_a_product_of_products_is_cut_at_every_level(tiny: None) -> None:
    x = ChunkedArray(distinct((7, 9), np.dtype("i8")), (2, 3))
    y = lt.scan_source(x)
    twice = (y.T @ y) @ y.T + 1
    assert len(panels_of(twice)) == 2
    exact = (x.values.T @ x.values) @ x.values.T + 1
    np.testing.assert_array_equal(twice.collect(engine=ENGINE), exact)


def test_a_long_contraction_reads_every_chunk_once() -> None:
    values = np.arange(20000 * 64, dtype="f4").reshape(20000, 64) % 7
    source = ChunkedArray(values, (1000, 64))
    x = lt.scan_source(source)
    assert not panels_of(x.T @ x)  # 64 rows of 20 000 fit a task
    long = ChunkedArray(np.tile(values, (8, 1)), (1000, 64))
    y = lt.scan_source(long)
    assert len(panels_of(y.T @ y)) == 1
    np.testing.assert_array_equal((y.T @ y).collect(), long.values.T @ long.values)
    read = Counter(cell for box in long.boxes for cell in long.cells_of(box))
    assert len(read) == 160
    assert set(read.values()) == {1}


def test_inputs_of_a_large_product_are_read_once() -> None:
    a = ChunkedArray(np.arange(2000 * 40, dtype="f8").reshape(2000, 40) % 11, (100, 20))
    b = ChunkedArray(np.arange(40 * 2000, dtype="f8").reshape(40, 2000) % 13, (20, 100))
    product = lt.scan_source(a) @ lt.scan_source(b)
    np.testing.assert_array_equal(product.collect(), a.values @ b.values)
    for source in (a, b):
        read = Counter(cell for box in source.boxes for cell in source.cells_of(box))
        assert len(read) == 40
        assert set(read.values()) == {1}


def test_a_small_product_is_computed_once_for_all_that_follows() -> None:
    a = ChunkedArray(np.arange(64.0 * 500).reshape(64, 500) % 5, (64, 100))
    x = lt.scan_source(a)
    image = lt.scan_source(ChunkedArray(np.ones((4096, 64 * 8)), (256, 512)))
    mean = lt.reshape(x @ lt.ones(500), (1, 64))
    lt.sum(image[:, :64] - mean).collect()
    read = Counter(cell for box in a.boxes for cell in a.cells_of(box))
    assert set(read.values()) == {1}


def test_a_huge_vecdot_streams_within_its_limit() -> None:
    def fill(domain: lt.IndexDomain, out: np.ndarray) -> None:
        out[...] = 2

    x = lt.virtual_chunked(fill, shape=(1 << 27,), dtype="f4", chunks=(1 << 20,))
    engine = lt.LocalEngine(threads=2, max_memory="64MiB")
    assert float(lt.vecdot(x, x).collect(engine=engine)) == 4.0 * (1 << 27)
    estimate = lt.vecdot(x, x).estimate(engine=engine)
    assert estimate.chunks_read == 128
    assert estimate.peak_memory <= 64 << 20


def test_planning_does_not_go_through_the_panels() -> None:
    def never(domain: lt.IndexDomain, out: np.ndarray) -> None:
        raise AssertionError

    n = 10**9
    x = lt.virtual_chunked(never, shape=(n, 100, 3), dtype="f4", chunks=(1000, 100, 3))
    gram = lt.tensordot(x, x, axes=([0, 1], [0, 1]))
    estimate = gram.estimate()
    assert estimate.chunks_read == 10**6
    assert estimate.bytes_decoded == n * 1200


def test_holes_below_a_product_are_found() -> None:
    layer = lt.ones((2, 3))
    open_ = lt.overlay([layer, layer.translate_to[5, 0]])
    product = open_ @ lt.ones((3, 4))
    np.testing.assert_array_equal(product[:2].collect(), np.full((2, 4), 3.0))
    with pytest.raises(lt.HoleError, match="position"):
        product.collect()
    with pytest.raises(lt.HoleError):
        lt.vecdot(open_, open_, axis=0).collect()
    stacked = lt.stack([layer, layer]) @ lt.stack([open_[:, :].T] * 2)
    with pytest.raises(lt.HoleError):
        stacked.collect()
    np.testing.assert_array_equal(stacked[:, :, 5:].collect(), np.full((2, 2, 2), 3.0))


def test_a_float_product_is_the_same_for_any_number_of_threads() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((700, 900), "f4"), rng.standard_normal((900, 800), "f4")
    sources = [lt.scan_source(ChunkedArray(x, (128, 130))) for x in (a, b)]
    long = lt.scan_source(ChunkedArray(rng.standard_normal((9000, 900)), (500, 900)))
    for lazy in (sources[0] @ sources[1], long.T @ long, lt.vecdot(long, long, axis=0)):
        digests = {lazy.collect(engine=lt.LocalEngine(threads=n)).tobytes() for n in (1, 2, 2, 5)}
        assert len(digests) == 1


PROGRAM = """
import hashlib
import numpy as np
from lazytensor.exec.kernels.contract import Form, contract_into
rng = np.random.default_rng(0)
seen = hashlib.sha256()
for dtype in ("f4", "f8", "c8", "c16", "u1", "i4"):
    for m, k, n in [(600, 700, 500), (1, 40000, 1), (1, 700, 900), (900, 700, 1), (3, 9000, 4)]:
        a = (rng.standard_normal((m, k)) * 50).astype(dtype)
        b = (rng.standard_normal((k, n)) * 50).astype(dtype)
        out = np.empty((m, n), dtype)
        contract_into(a, b, Form((), (), (1,), (0,)), out)
        seen.update(out.tobytes())
    x = (rng.standard_normal((900, 130)) * 50).astype(dtype)
    out = np.empty((130, 130), dtype)
    contract_into(x, x, Form((), (), (0,), (0,)), out)
    seen.update(out.tobytes())
print(seen.hexdigest())
"""


def test_the_threads_of_the_blas_change_no_bit() -> None:
    digests = set()
    for threads in ("1", "2"):
        env = {**os.environ, "OPENBLAS_NUM_THREADS": threads, "PYTHONWARNINGS": "ignore"}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True
        )
        digests.add(done.stdout)
    assert len(digests) == 1


@pytest.mark.parametrize("dtype", ["f4", "f8", "c16", "i4", "u1", "?", "i8", "f2"])
@pytest.mark.parametrize("layout", ["C", "F", "strided", "reversed"])
def test_the_kernel_takes_any_layout(dtype: str, layout: str) -> None:
    for m, k, n in [(70, 65, 66), (1, 5000, 1), (3, 300, 1), (2, 1, 2), (600, 3, 530)]:
        a, b = distinct((m, k), np.dtype(dtype)), distinct((k, n), np.dtype(dtype), 1)
        if dtype in ("f2", "f4"):
            a, b = a % 3, b % 3
        x, y = laid_out(a, layout), laid_out(b, layout)
        holder = np.zeros((m, 2 * n), dtype)
        out = holder[:, ::2] if layout == "strided" else holder[:, :n]
        contract_into(x, y, Form((), (), (1,), (0,)), out)
        expected = a @ b if dtype != "f2" else (a.astype("f4") @ b.astype("f4")).astype("f2")
        np.testing.assert_array_equal(out, expected)


def laid_out(x: np.ndarray, layout: str) -> np.ndarray:
    if layout == "F":
        return np.asfortranarray(x)
    if layout == "strided":
        wide = np.zeros((2 * x.shape[0], 3 * x.shape[1]), x.dtype)
        wide[::2, ::3] = x
        return wide[::2, ::3]
    return x[::-1, ::-1].copy()[::-1, ::-1] if layout == "reversed" else x


def test_many_small_matrices_are_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    matmul = np.matmul
    monkeypatch.setattr(kernel.np, "matmul", lambda *a, **k: calls.append(1) or matmul(*a, **k))
    x = np.arange(20000 * 9.0).reshape(20000, 3, 3)
    out = np.empty_like(x)
    contract_into(x, x, Form((0,), (0,), (2,), (1,)), out)
    np.testing.assert_array_equal(out, matmul(x, x))
    assert len(calls) <= 4


def test_sums_are_accurate() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((3, 200000), "f4"), rng.standard_normal((200000, 3), "f4")
    exact = a.astype("f8") @ b.astype("f8")
    scale = np.abs(a).astype("f8") @ np.abs(b).astype("f8")
    values = (lt.asarray(a) @ lt.asarray(b)).collect()
    assert (np.abs(values - exact) <= 4 * np.sqrt(200000) * 2.0**-24 * scale / 50).all()
    assert hashlib.sha256(values).digest() == hashlib.sha256((lt.asarray(a) @ b).collect()).digest()


def test_workspace_is_an_upper_bound() -> None:
    import tracemalloc

    for dtype, form, shapes in [
        ("f8", Form((), (), (1,), (0,)), ((900, 800), (800, 700))),
        ("u1", Form((), (), (0,), (0,)), ((900, 800), (900, 700))),
        ("i8", Form((), (), (1,), (0,)), ((300, 600), (600, 300))),
        ("f2", Form((0,), (0,), (2,), (1,)), ((50, 60, 70), (50, 70, 60))),
        ("f8", Form((), (), (1, 0), (0, 2)), ((40, 50, 60), (50, 60, 40))),
    ]:
        a, b = (np.ones(shape, dtype) for shape in shapes)
        rows = [n for d, n in enumerate(a.shape) if d not in form.summed1]
        columns = [n for d, n in enumerate(b.shape) if d not in form.summed2 + form.batch2]
        out = np.empty((*rows, *columns), dtype)
        tracemalloc.start()
        contract_into(a, b, form, out)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        bound = kernel.workspace(a.shape, b.shape, form, out.size, a.dtype)
        assert peak <= bound + 65536, (dtype, peak / bound)
