"""One contender of ``packets.py`` in a process of its own: lazytensor, tenso or NumPy.

Methods of a contender are the jobs of ``packets.py``. Each gets the folder of files and the array
that they hold, and returns what is timed: a function of no arguments, whose result is an array.
Writing jobs return the file.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from data import digest
from peers import Unsupported
from serving import serve

__all__ = ["main", "make_files", "values_of"]

Ready = Callable[[], Any]
SLICE = 4 << 20
GROUP = 128


def values_of(n: int, *, repeated: int = 1) -> np.ndarray:
    """``n`` x ``n`` normal numbers, float32, always the same; each ``repeated`` times in a row."""
    draws = np.random.default_rng(5).standard_normal(-(-n * n // repeated), np.float32)
    return np.repeat(draws, repeated)[: n * n].reshape(n, n)


def make_files(folder: Path, n: int) -> None:
    """The files that are read, written by tenso itself where that is installed."""
    import tenso

    folder.mkdir(parents=True, exist_ok=True)
    plain, runs = values_of(n), values_of(n, repeated=14)
    np.save(folder / "plain.npy", plain)
    (folder / "plain.tenso").write_bytes(tenso.dumps(plain))
    (folder / "checked.tenso").write_bytes(tenso.dumps(plain, check_integrity=True))
    (folder / "lz4.tenso").write_bytes(tenso.dumps(runs, compress=True))


class _Files:
    """What all contenders have: the folder, and the array."""

    def __init__(self, folder: Path, n: int) -> None:
        self.folder, self.n = folder, n
        self.values = values_of(n)

    def _written(self, name: str, write: Callable[[Any], Any]) -> Ready:
        path = self.folder / name

        def work() -> Path:
            path.unlink(missing_ok=True)
            with path.open("wb") as file:
                write(file)
            return path

        return work

    def _read(self, name: str, read: Callable[[Any], Any]) -> Ready:
        path = self.folder / name

        def work() -> Any:
            with path.open("rb") as file:
                return read(file)

        return work


class NumPy(_Files):
    """``np.save`` and ``np.load``."""

    def write(self) -> Ready:
        return self._written("numpy.npy", lambda file: np.save(file, self.values))

    def read(self) -> Ready:
        return self._read("plain.npy", np.load)

    def open_and_cut(self) -> Ready:
        rows = SLICE // (4 * self.n)
        path = self.folder / "plain.npy"
        return lambda: np.array(np.load(path, mmap_mode="r")[rows : 2 * rows])

    def cut(self) -> Ready:
        rows = SLICE // (4 * self.n)
        mapped = np.load(self.folder / "plain.npy", mmap_mode="r")
        return lambda: np.array(mapped[rows : 2 * rows])


class Tenso(_Files):
    """The package itself."""

    def __init__(self, folder: Path, n: int) -> None:
        import tenso

        super().__init__(folder, n)
        self.tenso = tenso

    def write(self) -> Ready:
        return self._written("tenso.tenso", lambda file: self.tenso.dump(self.values, file))

    def write_checked(self) -> Ready:
        return self._written(
            "tenso.tenso", lambda file: self.tenso.dump(self.values, file, check_integrity=True)
        )

    def read(self) -> Ready:
        return self._read("plain.tenso", self.tenso.load)

    def read_checked(self) -> Ready:
        return self._read("checked.tenso", self.tenso.load)

    def loads_lz4(self) -> Ready:
        data = (self.folder / "lz4.tenso").read_bytes()
        return lambda: self.tenso.loads(data)

    def quantize(self, dtype: str, scheme: str, axis: int = 0, group_size: int = 0) -> Ready:
        make = self.tenso.QuantizedTensor.quantize
        return lambda: make(self.values, dtype, scheme, group_size=group_size, axis=axis)

    def dequantize(self) -> Ready:
        quantized = self.quantize("qint8", "per_tensor")()
        return quantized.dequantize


class Ours(_Files):
    """Files and bytes as the package does it; slices, and quantization, as plans on one thread."""

    def __init__(self, folder: Path, n: int) -> None:
        import lazytensor as lt

        super().__init__(folder, n)
        self.lt = lt
        self.engine = lt.LocalEngine(threads=1, kernels="numba")

    def write(self) -> Ready:
        return self._written("ours.tenso", lambda file: self.lt.io.tenso.dump(self.values, file))

    def write_checked(self) -> Ready:
        return self._written(
            "ours.tenso",
            lambda file: self.lt.io.tenso.dump(self.values, file, check_integrity=True),
        )

    def read(self) -> Ready:
        return self._read("plain.tenso", self.lt.io.tenso.load)

    def read_checked(self) -> Ready:
        return self._read("checked.tenso", self.lt.io.tenso.load)

    def loads_lz4(self) -> Ready:
        data = (self.folder / "lz4.tenso").read_bytes()
        return lambda: self.lt.io.tenso.loads(data)

    def open_and_cut(self) -> Ready:
        rows = SLICE // (4 * self.n)
        path = self.folder / "plain.tenso"
        return lambda: self.lt.scan_tenso(path)[rows : 2 * rows].collect(engine=self.engine)

    def cut(self) -> Ready:
        rows = SLICE // (4 * self.n)
        scanned = self.lt.scan_tenso(self.folder / "plain.tenso")
        return lambda: scanned[rows : 2 * rows].collect(engine=self.engine)

    def quantize(self, dtype: str, scheme: str, axis: int = 0, group_size: int = 0) -> Ready:
        quantized = self.lt.quantize(
            self.values, dtype, scheme, axis=axis, group_size=group_size, mode="tenso"
        )
        return lambda: quantized.collect(engine=self.engine)

    def dequantize(self) -> Ready:
        stored = self.quantize("qint8", "per_tensor")()
        plan = self.lt.dequantize(stored.data, stored.scales, stored.zero_points)
        room = np.empty(plan.nbytes + 64, np.uint8)
        start = -room.ctypes.data % 64
        out = room[start : start + plan.nbytes].view(plan.dtype).reshape(plan.shape)
        return lambda: plan.collect(out=out, engine=self.engine)


CONTENDERS: dict[str, Callable[[Path, int], _Files]] = {
    "lazytensor": Ours,
    "numpy": NumPy,
    "tenso": Tenso,
}


class Server:
    """What a process remembers between requests: the work that is prepared."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.work: Ready | None = None

    def prepare(self, *, job: str, settings: dict[str, Any], folder: str, n: int) -> dict[str, Any]:
        """Make work ready, do it once and describe what came of it."""
        contender = CONTENDERS[self.name](Path(folder), n)
        make = getattr(contender, job, None)
        if make is None:
            raise Unsupported(f"{self.name} has no {job}")
        self.work = make(**settings)
        result = self.work()
        if isinstance(result, Path):
            return {"digest": digest(_body(result, contender.values.nbytes))}
        if not isinstance(result, np.ndarray):
            result = result.dequantize()  # the same bits for the same parameters
        return {"digest": digest(np.ascontiguousarray(result))}

    def measure(self, *, times: int = 1) -> dict[str, Any]:
        """Seconds of one run, of what is short the mean of several ``times``."""
        assert self.work is not None
        gc.collect()
        start = time.perf_counter()
        for _ in range(times - 1):
            self.work()
        # This one dies after the clock was read: giving memory back is not part of a row.
        result = self.work()
        seconds = time.perf_counter() - start
        del result
        return {"seconds": seconds / times}


def _body(path: Path, nbytes: int) -> np.ndarray:
    """The values in a file that was written, whose header is one of 64 or 128 bytes."""
    start = 128 if path.suffix == ".npy" else 64
    return np.fromfile(path, np.float32, nbytes // 4, offset=start)


def main() -> None:
    """Serve until standard input ends: ``packet_server.py NAME``."""
    os.environ["LAZYTENSOR_THREADS"] = "1"
    server = Server(sys.argv[1])
    serve({"prepare": server.prepare, "measure": server.measure})


if __name__ == "__main__":
    main()
