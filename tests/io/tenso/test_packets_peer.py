"""The real tenso 0.24 writes the same bytes, and loads what is written here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.io.tenso.encode import dense_parts
from lazytensor.plan.quantization import QuantizedArray, same_quantized
from tests.io.tenso.packets import DTYPES, same
from tests.io.tenso.peer import needs_tenso, run

pytestmark = needs_tenso
tenso = lt.io.tenso


class Maker:
    """Random objects of every kind."""

    def __init__(self, seed: int) -> None:
        self.pick = np.random.default_rng(seed)

    def array(self) -> np.ndarray:
        pick = self.pick
        dtype = np.dtype(DTYPES[pick.integers(len(DTYPES))])
        shape = tuple(map(int, pick.integers(0, 7, pick.integers(0, 6))))
        raw = pick.integers(0, 256, int(np.prod(shape)) * dtype.itemsize, np.uint8)
        values = (raw % 2).view(np.bool_) if dtype == np.bool_ else raw.view(dtype)
        values = values.reshape(shape)
        if values.ndim > 1 and pick.random() < 0.3:
            values = values.T
        return values[::-2] if values.ndim and pick.random() < 0.2 else values

    def options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"check_integrity": bool(self.pick.random() < 0.5)}
        if self.pick.random() < 0.6:
            options["alignment"] = int(2 ** self.pick.integers(0, 13))
        return options

    def matrix(self) -> Any:
        sparse = pytest.importorskip("scipy.sparse", reason="scipy is an extra")
        kind = ["coo", "csr", "csc"][self.pick.integers(3)]
        rows, columns = map(int, self.pick.integers(1, 30, 2))
        made = sparse.random(rows, columns, 0.2, kind, np.float32, self.pick)
        return made.astype(["f4", "f8", "i4", "u1", "?", "c8"][self.pick.integers(6)])

    def tree(self, depth: int = 0) -> dict[str, Any]:
        return {self.text(): self.entry(depth) for _ in range(self.pick.integers(0, 5))}

    def entry(self, depth: int) -> Any:
        chance = self.pick.random()
        if chance < 0.25 and depth < 4:
            return self.tree(depth + 1)
        return self.matrix() if chance < 0.4 else self.array()

    def text(self) -> str:
        return "".join(map(chr, self.pick.integers(33, 3000, self.pick.integers(0, 8))))

    def quantizing(self) -> tuple[np.ndarray, str, dict[str, Any]]:
        pick = self.pick
        shape = tuple(map(int, pick.integers(1, 9, pick.integers(1, 4))))
        dtype = ["qint8", "quint8", "qint4", "quint4"][pick.integers(4)]
        scheme = ["per_tensor", "per_channel", "per_group"][pick.integers(3)]
        options = {
            "scheme": scheme,
            "axis": int(pick.integers(len(shape))) if scheme == "per_channel" else 0,
            "group_size": int(pick.integers(1, 20)) if scheme == "per_group" else 0,
        }
        return pick.normal(size=shape).astype(np.float32), dtype, options


def test_arrays_matrices_and_bundles_are_the_same_bytes() -> None:
    maker = Maker(24)
    objects: list[Any] = [maker.array() for _ in range(300)]
    objects += [maker.matrix() for _ in range(60)] + [maker.tree() for _ in range(80)]
    options = [maker.options() for _ in objects]
    theirs = run([("dumps", (one,), how) for one, how in zip(objects, options, strict=True)])
    for one, how, expected in zip(objects, options, theirs, strict=True):
        assert bytes(tenso.dumps(one, **how)) == expected, (one, how)


def test_strings_are_the_same_bytes() -> None:
    maker = Maker(25)
    texts = [[maker.text() for _ in range(maker.pick.integers(0, 9))] for _ in range(30)]
    calls = [(text, {"check_integrity": number % 2 > 0}) for number, text in enumerate(texts)]
    ours = [bytes(tenso.dumps(tenso.StringTensor(text), **how)) for text, how in calls]
    theirs = run(
        [("dumps", (("strings", text),), how) for text, how in calls]
        + [("loads", (one,), {}) for one in ours]
    )
    assert theirs == ours + [("strings", text) for text in texts]


def test_quantized_arrays_are_the_same_bytes() -> None:
    maker = Maker(26)
    calls = [maker.quantizing() for _ in range(100)]
    made = run([("quantize", (values, dtype), how) for values, dtype, how in calls])
    options = [maker.options() for _ in calls]
    plain = [one[:9] for one in made]
    theirs = run(
        [("dumps", (one,), how) for one, how in zip(plain, options, strict=True)]
        + [("dumps", ({"a": one, "b": {"c": one}},), how)
           for one, how in zip(plain, options, strict=True)]
    )  # fmt: skip
    for number, (one, how) in enumerate(zip(made, options, strict=True)):
        q = tenso.loads(theirs[number])
        assert isinstance(q, QuantizedArray)
        assert same(q.dequantize(), one[9])
        assert bytes(tenso.dumps(q, **how)) == theirs[number]
        bundle = theirs[len(made) + number]
        assert bytes(tenso.dumps({"a": q, "b": {"c": q}}, **how)) == bundle
        assert same_quantized(tenso.loads(bundle)["b"]["c"], q)


def test_compressed_arrays_are_the_same_byte_for_byte() -> None:
    sizes = [0, 1, 11, 12, 13, 14, 18, 19, 20, 100, 65535, 65536, 65537, 262144, 262145, 4 << 20]
    maker = Maker(27)
    values = []
    for n in (*sizes, (4 << 20) + 1, (13 << 20) + 12345):
        noise = maker.pick.integers(0, 256, n, np.uint8)
        runs = (np.arange(n) // 37).astype(np.uint8)
        mixed = np.where(np.arange(n) < n // 2, noise, runs)
        values += [noise, runs, mixed] if n < 1 << 20 else [mixed]
    options = [maker.options() for _ in values]
    ours = [bytes(tenso.dumps(v, compress=True, **o)) for v, o in zip(values, options, strict=True)]
    seekable = [
        b"".join(
            dense_parts(
                v, compress=True, seekable=True, integrity=o["check_integrity"],
                alignment=o.get("alignment", 64),
            )
        )
        for v, o in zip(values, options, strict=True)
    ]  # fmt: skip
    answers = run(
        [("dumps", (v,), {"compress": True, **o}) for v, o in zip(values, options, strict=True)]
        + [("loads", (one,), {}) for one in ours + seekable]
    )
    theirs, loaded = answers[: len(values)], answers[len(values) :]
    for found, expected in zip(loaded, values + values, strict=True):
        assert same(found, expected)
    for number, expected in enumerate(values):
        assert same(tenso.loads(theirs[number]), expected)
        assert ours[number] == theirs[number]


def test_matches_of_many_kinds_are_found_as_the_package_finds_them() -> None:
    pick = np.random.default_rng(28)
    values: list[np.ndarray] = []
    for number in range(200):
        n = int(pick.integers(0, 4000)) if number % 10 else int(pick.integers(60_000, 400_000))
        noise = pick.integers(0, (2, 3, 4, 16, 256)[number % 5], n).astype(np.uint8)
        values.append((noise, np.repeat(noise, 3)[:n], np.tile(noise[: n // 7], 9))[number % 3])
    theirs = run([("dumps", (v,), {"compress": True}) for v in values])
    for v, packet in zip(values, theirs, strict=True):
        assert bytes(tenso.dumps(v, compress=True)) == packet


def test_without_compiled_code_blocks_are_those_of_another_compressor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = np.arange(100_000) // 7
    compiled = tenso.dumps(values, compress=True)
    monkeypatch.setenv("LAZYTENSOR_NATIVE", "0")
    plain = tenso.dumps(values, compress=True)
    assert bytes(plain) != bytes(compiled)
    assert same(tenso.loads(plain), values) and same(tenso.loads(compiled), values)
    (loaded,) = run([("loads", (bytes(plain),), {})])
    assert same(loaded, values)


def test_what_the_package_writes_but_cannot_read() -> None:
    values = {"a": np.arange(300), "b": {"c": np.ones(100)}}
    (theirs,) = run([("dumps", (values,), {"compress": True})])
    assert isinstance(run([("loads", (theirs,), {})])[0], str)
    found = tenso.loads(theirs)
    assert same(found["a"], values["a"]) and same(found["b"]["c"], values["b"]["c"])  # type: ignore[call-overload,index]
