"""A chain of ten operations on 4-d tensors, as users write them, in each library that has them.

The operations are slices, arithmetic with scalars and with tensors, a cast, a downsample, a
transpose and a reduction. Nothing is computed. A run is told its number: slices and scalars depend
on it, so that run after run is a *new* plan and no table of plans already seen can answer.

``python benchmarks/plan_building.py`` prints the microseconds of each operation.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
from case import Case, Step

__all__ = ["CHAINS", "chain"]

_SHAPE = (12, 64, 1024, 1024)
_CHUNKS = (1, 16, 256, 256)

_LABELS = (
    "x[a:b]",
    "x[:, :, ::2, c:d]",
    "astype(float32)",
    "x - scalar",
    "x * 2-d tensor",
    "maximum(x, scalar)",
    "downsample (1, 2, 2, 2)",
    "permute_dims",
    "x + 4-d tensor",
    "mean over an axis",
)

Chain = tuple[Any, tuple[Step, ...]]


def _describe(x: Any) -> list[Any]:
    return [list(x.shape), np.dtype(x.dtype).str]


def _crop(x: Any, run: int) -> Any:
    # Even starts: TensorStore's blocks, and ours, lie at even coordinates; dask's at the first.
    start = 2 * (run % 50)
    return x[:, :, ::2, start : start + 800]


def _ours() -> Chain:
    import lazytensor as lt

    def read(domain: Any, out: np.ndarray) -> None:
        raise AssertionError("a plan was only to be built")

    first = lt.virtual_chunked(read, shape=_SHAPE, dtype="uint16", chunks=_CHUNKS)
    gain = lt.asarray(np.ones((512, 800), np.float32))
    offset = lt.asarray(np.ones((6, 400, 256, 32), np.float32))
    steps: tuple[Step, ...] = (
        lambda x, run: x[2 + run % 4 : 8 + run % 4],
        _crop,
        lambda x, run: x.astype(lt.float32),
        lambda x, run: x - (100.0 + run),
        lambda x, run: x * gain,
        lambda x, run: lt.maximum(x, 0.0),
        lambda x, run: lt.downsample(x, (1, 2, 2, 2)),
        lambda x, run: lt.permute_dims(x, (0, 3, 2, 1)),
        lambda x, run: x + offset,
        lambda x, run: lt.mean(x, axis=0),
    )
    return first, steps


def _dask() -> Chain:
    import dask.array as da

    # One block a plane costs it milliseconds an operation; these blocks are as large as is usual.
    first = da.zeros(_SHAPE, dtype="uint16", chunks=(4, 64, 1024, 1024))
    gain = da.ones((512, 800), dtype="f4", chunks=-1)
    offset = da.ones((6, 400, 256, 32), dtype="f4", chunks=-1)
    steps: tuple[Step, ...] = (
        lambda x, run: x[2 + run % 4 : 8 + run % 4],
        _crop,
        lambda x, run: x.astype(np.float32),
        lambda x, run: x - np.float32(100.0 + run),
        lambda x, run: x * gain,
        lambda x, run: da.maximum(x, np.float32(0.0)),
        lambda x, run: da.coarsen(np.mean, x, {1: 2, 2: 2, 3: 2}),
        lambda x, run: da.transpose(x, (0, 3, 2, 1)),
        lambda x, run: x + offset,
        lambda x, run: da.mean(x, axis=0),
    )
    return first, steps


CHAINS: dict[str, Callable[[], Chain]] = {"lazytensor": _ours, "dask": _dask}
"""By library: the first tensor, and the ten steps."""


def chain(library: str, *, repeated: bool) -> Case:
    """The chain of a library; ``repeated``: each run builds the same plan."""
    first, steps = CHAINS[library]()
    return Case(first, steps, _describe, repeated=repeated)


def _print_operations(library: str, number: int) -> None:
    columns = []
    for repeated in (False, True):
        case = chain(library, repeated=repeated)
        case.answer()
        case.times(number)  # warm
        columns.append([seconds * 1e6 for seconds in case.times(number)])
    median = ("median", *map(statistics.median, columns))
    print(f"{library:26s} new plan µs  same plan µs")
    for label, new, same in (*zip(_LABELS, *columns, strict=True), median):
        print(f"  {label:24s} {new:11.1f}  {same:12.1f}")


if __name__ == "__main__":
    for name, count in (("lazytensor", 2000), ("dask", 50)):
        _print_operations(name, count)
