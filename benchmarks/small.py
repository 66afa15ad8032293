"""Small plans: what building, indexing and collecting cost when there is next to nothing to do.

Where a library has no such operation it has no case.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import plan_building
from case import Case, Step
from data import digest
from peers import Unsupported

__all__ = ["small_case"]


def small_case(library: str, key: str) -> Case:
    """The case of this library; raises ``Unsupported`` where it has none."""
    make = _CASES.get((library, key))
    if make is None:
        raise Unsupported(f"{library} has no {key}")
    return make()


# Every dimension has its own bounds, so that mixing two up would show in the answer.
def _shape(rank: int) -> tuple[int, ...]:
    return tuple(100 + 10 * dim for dim in range(rank))


def _cut(rank: int) -> tuple[slice, ...]:
    return tuple(slice(3 + dim, 60 + dim, 1 + dim % 2) for dim in range(rank))


def _transform(library: Any, rank: int) -> Any:
    return library.IndexTransform(library.IndexDomain(shape=_shape(rank)))


def _index_box(library: Any, rank: int) -> Case:
    transform, cut = _transform(library, rank), _cut(rank)
    return Case(transform, [lambda x, run: x[cut]], lambda x: x.to_json())


def _compose(library: Any, rank: int) -> Case:
    outer = _transform(library, rank)[_cut(rank)]
    low = outer.domain.inclusive_min
    inner = library.IndexTransform(outer.domain)[tuple(slice(a + 2, a + 20, 3) for a in low)]
    return Case(outer, [lambda x, run: x[inner]], lambda x: x.to_json())


def _index_cases(rank: int, case: Callable[[Any, int], Case]) -> dict[str, Callable[[], Case]]:
    def ours() -> Case:
        import lazytensor

        return case(lazytensor, rank)

    def tensorstore() -> Case:
        import tensorstore

        return case(tensorstore, rank)

    return {"lazytensor": ours, "tensorstore": tensorstore}


def _values(x: Any) -> str:
    return digest(np.asarray(x))


def _collect_ours(shape: tuple[int, ...]) -> Case:
    import lazytensor as lt

    array = np.arange(np.prod(shape, dtype=int), dtype=np.float64).reshape(shape)
    return Case(lt.asarray(array), [lambda x, run: (x + 1).collect()], _values)


def _collect_dask(shape: tuple[int, ...]) -> Case:
    import dask.array

    array = np.arange(np.prod(shape, dtype=int), dtype=np.float64).reshape(shape)
    first = dask.array.from_array(array, chunks=shape)  # type: ignore[no-untyped-call]
    # Its threaded scheduler costs more than this one for a single block.
    step: Step = lambda x, run: (x + 1).compute(scheduler="synchronous")  # noqa: E731
    return Case(first, [step], _values)


_SIDE = 100_000
_CORNER = (slice(0, 8),) * 3


def _fill(domain: Any, out: np.ndarray) -> None:
    z, y, x = (
        np.arange(lo, hi, dtype=np.int64)
        for lo, hi in zip(domain.inclusive_min, domain.exclusive_max, strict=True)
    )
    out[...] = (z[:, None, None] * 31 + y[:, None] * 7 + x) % 65521


def _corner_ours() -> Case:
    import lazytensor as lt

    first = lt.virtual_chunked(_fill, shape=(_SIDE,) * 3, dtype="uint16", chunks=(64, 64, 64))
    return Case(first, [lambda x, run: x[_CORNER].collect()], _values)


def _corner_tensorstore() -> Case:
    import tensorstore as ts

    first = ts.virtual_chunked(
        lambda domain, out, _: _fill(domain, out),
        dtype=ts.uint16,
        shape=[_SIDE] * 3,
        chunk_layout=ts.ChunkLayout(read_chunk_shape=[64, 64, 64]),
    )
    return Case(first, [lambda x, run: x[_CORNER].read().result()], _values)


_CASES: dict[tuple[str, str], Callable[[], Case]] = {
    ("lazytensor", "collect-0d"): lambda: _collect_ours(()),
    ("lazytensor", "collect-10x10"): lambda: _collect_ours((10, 10)),
    ("dask", "collect-0d"): lambda: _collect_dask(()),
    ("dask", "collect-10x10"): lambda: _collect_dask((10, 10)),
    ("lazytensor", "corner"): _corner_ours,
    ("tensorstore", "corner"): _corner_tensorstore,
}
for _rank in (3, 5):
    for _key, _case in (("index-box", _index_box), ("compose", _compose)):
        for _library, _make in _index_cases(_rank, _case).items():
            _CASES[_library, f"{_key}-{_rank}"] = _make
for _library in plan_building.CHAINS:
    _CASES[_library, "plan-new"] = partial(plan_building.chain, _library, repeated=False)
    _CASES[_library, "plan-again"] = partial(plan_building.chain, _library, repeated=True)
