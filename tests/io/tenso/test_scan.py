"""scan_tenso and open_tenso: what there is at a place, and what it holds."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import zipfile
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

import lazytensor as lt
from lazytensor.io import tenso
from lazytensor.plan.registry import scalar_type
from tests.io.tenso.lazily import counted

VECTORS = Path(__file__).parents[2] / "vectors" / "tenso"
MANIFEST = json.loads((VECTORS / "manifest.json").read_text())["vectors"]
MALFORMED = json.loads((VECTORS / "malformed_manifest.json").read_text())["malformed"]
A = np.arange(60, dtype="i4").reshape(5, 12)


def dense(tensor: lt.LazyTensor, expected: dict[str, Any]) -> None:
    values = tensor.collect()
    assert values.shape == tuple(expected["shape"])
    assert (
        values.dtype == scalar_type(expected["dtype"])
        if expected["dtype"] == "bfloat16"
        else (values.dtype == np.dtype(expected["dtype"]))
    )
    assert hashlib.sha256(values.tobytes()).hexdigest() == expected["sha256"]


@pytest.mark.parametrize("vector", MANIFEST, ids=lambda v: v["file"])
@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("verify", ["whole", "always"])
def test_vectors(vector: dict[str, Any], mmap: bool, verify: Any) -> None:
    path, expected = VECTORS / vector["file"], vector["expected"]
    found = lt.open_tenso(path, mmap=mmap, verify=verify)
    match expected["kind"]:
        case "dense":
            dense(found["0"], expected)
            dense(lt.scan_tenso(path, mmap=mmap, verify=verify), expected)
            dense(lt.scan_tenso(path.read_bytes(), verify=verify), expected)
        case "sequence":
            assert list(found) == [str(n) for n in range(len(expected["items"]))]
            for key, item in zip(found, expected["items"], strict=True):
                dense(found[key], item)
        case "bundle":
            for key, item in expected["entries"].items():
                if item["kind"] == "dense":
                    dense(found[key], item)
                else:
                    assert np.array_equal(found[key].collect(), eager(path)[key])
        case "string":
            with pytest.raises(lt.FormatError, match="loads"):
                found["0"]
            with pytest.raises(lt.FormatError, match="loads"):
                lt.scan_tenso(path)
        case _:
            assert np.array_equal(found["0"].collect(), eager(path)["0"], equal_nan=True)


def eager(path: Path) -> dict[str, np.ndarray]:
    """What ``loads`` makes of a file, dense and dequantized, by key."""
    found = tenso.loads(path.read_bytes())
    entries = found if isinstance(found, dict) else {"0": found}
    return {
        key: value.dequantize()
        if hasattr(value, "dequantize")
        else value.toarray()
        if hasattr(value, "toarray")
        else value
        for key, value in entries.items()
    }


@pytest.mark.parametrize("vector", MALFORMED, ids=lambda v: v["file"])
@pytest.mark.parametrize("mmap", [False, True])
def test_malformed_vectors(vector: dict[str, Any], mmap: bool) -> None:
    path = VECTORS / "malformed" / vector["file"]
    legacy = "legacy" in vector["ours_should"]
    if vector["ours_should"].startswith("accept") and "string" not in vector["file"]:
        x = lt.scan_tenso(path, legacy=legacy)
        if x.size < 10**6:
            x.collect()
        if not legacy:
            return
    with pytest.raises(lt.FormatError):
        collect_all_of(path, mmap)


def collect_all_of(path: Path, mmap: bool) -> None:
    for x in lt.open_tenso(path, verify="always", mmap=mmap).values():
        x[(0,) * x.ndim].collect()
        x.collect()


class TestPlaces:
    def test_all_that_names_a_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        packet = bytes(tenso.dumps(A))
        path = tmp_path / "a.tenso"
        path.write_bytes(packet)
        fs = fsspec.filesystem("memory")
        fs.pipe("/tenso-places/a.tenso", packet)
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            archive.writestr("inner/a.tenso", packet)
        monkeypatch.chdir(tmp_path)
        with zipfile.ZipFile(tmp_path / "deflated.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.tenso", packet)
            archive.writestr("b.tenso", packet)
        sources: list[Any] = [
            path, str(path), "a.tenso", os.fspath(path), f"file://{path}", packet,
            bytearray(packet), memoryview(packet), memoryview(packet[::-1])[::-1],
            np.frombuffer(packet, "u1"), array("B", packet),
            "memory://tenso-places/a.tenso", (fs, "/tenso-places/a.tenso"),
            ({"k": packet}, "k"), {"k": packet}, (tmp_path, "a.tenso"), tmp_path / "x.zip",
            "x.zip", (tmp_path / "x.zip", "inner/a.tenso"), "zip://inner/a.tenso::x.zip",
            f"zip://inner/a.tenso::file://{tmp_path}/x.zip", (tmp_path / "deflated.zip", "b.tenso"),
        ]  # fmt: skip
        for source in sources:
            assert np.array_equal(lt.scan_tenso(source)[1:4:2].collect(), A[1:4:2]), source
            assert list(lt.open_tenso(source)) == ["0"]
        assert np.array_equal(lt.scan("a.tenso").collect(), A)
        assert np.array_equal(lt.scan(packet).collect(), A)
        with pytest.raises(lt.FormatError, match="name one of them"):
            lt.scan_tenso(tmp_path / "deflated.zip")

    def test_nothing_there(self, tmp_path: Path) -> None:
        for source in (
            tmp_path / "a.tenso",
            "memory://tenso-none/a.tenso",
            ({}, "a"),
            {},
            (tmp_path, "b"),
        ):
            with pytest.raises(lt.SourceNotFoundError):
                lt.scan_tenso(source)
            with pytest.raises(FileNotFoundError):
                lt.open_tenso(source)

    def test_no_place_at_all(self) -> None:
        with pytest.raises(TypeError, match="no place"):
            lt.scan_tenso(3)
        with pytest.raises(ValueError, match="verify"):
            lt.scan_tenso(bytes(tenso.dumps(A)), verify="perhaps")  # type: ignore[arg-type]

    def test_other_files(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"no packet, but long enough")
        with pytest.raises(lt.FormatError, match="expected a tenso packet"):
            lt.scan_tenso(tmp_path / "a")

    def test_a_folder_of_chunks(self, tmp_path: Path) -> None:
        document = {
            "format": "lazytensor-tenso-chunks", "version": 1, "shape": [5, 12], "chunks": [5, 12],
            "dtype": "int32", "fill_value": 0, "key": "c/{i}/{j}", "compress": False,
            "integrity": True, "quant": None, "origin": [2, 3], "dims": ["y", "x"],
        }  # fmt: skip
        files = {"tenso.json": json.dumps(document).encode(), "c/0/0": bytes(tenso.dumps(A))}
        for key, data in files.items():
            (tmp_path / "x.tnsa" / key).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "x.tnsa" / key).write_bytes(data)
        fs = fsspec.filesystem("memory")
        for key, data in files.items():
            fs.pipe(f"/tenso-chunks.tnsa/{key}", data)
        for source in (
            tmp_path / "x.tnsa",
            files,
            (tmp_path, "x.tnsa"),
            "memory://tenso-chunks.tnsa",
            (fs, "/tenso-chunks.tnsa"),
        ):
            x = lt.scan_tenso(source)
            assert np.array_equal(x.collect(), A)
            assert x.domain.inclusive_min == (2, 3) and x.dims == ("y", "x")
            assert np.array_equal(lt.open_tenso(source)["0"].collect(), A)
        assert np.array_equal(lt.scan(tmp_path / "x.tnsa").collect(), A)
        assert np.array_equal(lt.scan(files).collect(), A)
        assert lt.open_tenso(files).info("0")["chunks"] == [5, 12]
        with pytest.raises(lt.FormatError, match="mmap"):
            lt.scan_tenso(tmp_path / "x.tnsa", mmap=True)

    def test_mmap_is_for_local_files(self, tmp_path: Path) -> None:
        with pytest.raises(lt.FormatError, match="mmap"):
            lt.scan_tenso(bytes(tenso.dumps(A)), mmap=True)
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            archive.writestr("a", bytes(tenso.dumps(A)))
        with pytest.raises(lt.FormatError, match="mmap"):
            lt.scan_tenso(tmp_path / "x.zip", mmap=True)


class TestHeaders:
    def test_one_small_read(self) -> None:
        packet = bytes(tenso.dumps(np.zeros((1000, 1000), "u1"), check_integrity=True))
        store, _ = counted(packet)
        lt.scan_tenso((store, "a.tenso"))
        assert store.log == [("range", "a.tenso", 0, 256)]

    def test_a_file_of_packets_is_walked_by_headers(self) -> None:
        packets = [bytes(tenso.dumps(np.full((100, 100), n, "u2"))) for n in range(9)]
        store, _ = counted(packets[0])
        store._inner._data["b"] = b"".join(packets)  # type: ignore[attr-defined]
        store.reset()
        found = lt.open_tenso((store, "b"))
        assert len(found) == 9 and store.bytes <= 9 * 256
        store.reset()
        assert (found["7"].collect() == 7).all() and store.bytes == 20000
        with pytest.raises(lt.FormatError, match=r"'0', '1', '2'.*open_tenso"):
            lt.scan_tenso(b"".join(packets))

    def test_what_follows_the_last_packet_is_passed_over(self) -> None:
        packet = bytes(tenso.dumps(A))
        assert np.array_equal(lt.scan_tenso(packet + b"\0\0\0rest").collect(), A)
        assert list(lt.open_tenso(packet + bytes(5) + packet)) == ["0"]
        with pytest.raises(lt.FormatError, match="packet 1"):
            lt.scan_tenso(packet + packet[:40])


class TestBundles:
    def test_keys(self) -> None:
        bundle = {"a": A, "g": {"b": A[0], "h": {"c": A.astype("f8")}}, "e": {}, "": A[1]}
        found = lt.open_tenso(tenso.dumps(bundle, compress=True, check_integrity=True))
        assert list(found) == ["a", "g/b", "g/h/c", ""] and len(found) == 4
        assert np.array_equal(found["g/h/c"].collect(), A)
        assert np.array_equal(found[""].collect(), A[1])
        assert "g/b" in found and "g" not in found and 3 not in found
        with pytest.raises(KeyError, match="g/x"):
            found["g/x"]
        with pytest.raises(lt.SourceNotFoundError):
            found.info("g/x")
        with pytest.raises(TypeError, match="by key"):
            found[0]  # type: ignore[index]
        with pytest.raises(lt.FormatError, match=r"bundle with 'a', 'g/b'.*open_tenso"):
            lt.scan_tenso(tenso.dumps(bundle))
        assert repr(found).startswith("TensoFile('bytes', 'a', 'g/b'")

    def test_several_bundles(self) -> None:
        packets = bytes(tenso.dumps({"a": A})) + bytes(tenso.dumps(A[0]))
        found = lt.open_tenso(packets)
        assert list(found) == ["0/a", "1"]
        assert np.array_equal(found["1"].collect(), A[0])

    def test_names_that_mean_two_packets(self) -> None:
        with pytest.raises(lt.FormatError, match="'a/b'"):
            lt.open_tenso(tenso.dumps({"a": {"b": A}, "a/b": A}))

    def test_info(self) -> None:
        found = lt.open_tenso(tenso.dumps({"a": A, "q": lt.quantize(A).collect()}))
        info = found.info("a")
        assert (info["kind"], info["dtype"], info["shape"]) == ("dense", "int32", (5, 12))
        assert info["start"] == 10 + 4 + 1 + 4
        assert found.info("q")["scheme"] == "per_tensor"

    def test_only_what_is_asked_for_is_read(self) -> None:
        bundle = {str(n): np.full((50, 50), n, "u1") for n in range(5)}
        store, _ = counted(tenso.dumps(A))
        store._inner._data["b"] = bytes(tenso.dumps(bundle))  # type: ignore[attr-defined]
        found = lt.open_tenso((store, "b"))
        store.reset()
        assert (found["3"][10:20].collect() == 3).all()
        assert store.bytes == 500 and store.requests == 1


def make_changed(path: Path) -> dict[str, Callable[[], object]]:
    other = bytes(tenso.dumps(A + 1, alignment=128))
    return {
        "replaced": lambda: path.write_bytes(other),
        "cut": lambda: os.truncate(path, 100),
        "removed": path.unlink,
        "longer": lambda: path.write_bytes(path.read_bytes() + b"x"),
    }


@pytest.mark.parametrize("how", ["replaced", "cut", "removed", "longer"])
@pytest.mark.parametrize("kind", ["plain", "lz4", "quantized", "sparse"])
def test_changed_files_are_noticed(tmp_path: Path, how: str, kind: str) -> None:
    path = tmp_path / "a.tenso"
    values = {
        "plain": lambda: tenso.dumps(A),
        "lz4": lambda: tenso.dumps(A, compress=True),
        "quantized": lambda: tenso.dumps(lt.quantize(A).collect()),
        "sparse": lambda: (VECTORS / "sparse_coo.tenso").read_bytes(),
    }
    path.write_bytes(values[kind]())
    os.utime(path, (1, 1))
    x, source = lt.scan_tenso(path), lt.open_tenso(path)._opened.entries["0"].source()
    make_changed(path)[how]()
    with pytest.raises(lt.SourceError) as error:
        x.collect()
    assert isinstance(error.value, (lt.SourceChangedError, lt.SourceNotFoundError))
    with pytest.raises(lt.SourceError):  # also while reading
        source.read_into(tuple((0, n) for n in x.shape), np.empty(x.shape, source.spec.dtype))


class TestPlans:
    def test_documents(self, tmp_path: Path) -> None:
        bundle = {"a": A, "g": {"b": A * 2}, "q": lt.quantize(A.astype("f4"), "qint4").collect()}
        (tmp_path / "a.tenso").write_bytes(tenso.dumps(bundle, check_integrity=True))
        for mmap in (False, True):
            found = lt.open_tenso(tmp_path / "a.tenso", verify="always", mmap=mmap)
            for key in found:
                x = found[key][1:3] + 1
                y = lt.LazyTensor.deserialize(x.serialize())
                assert np.array_equal(x.collect(), y.collect())
                assert str(y.explain()) == str(x.explain())
                z = pickle.loads(pickle.dumps(x))
                assert np.array_equal(x.collect(), z.collect())
            again = pickle.loads(pickle.dumps(found))
            assert list(again) == list(found)
            assert np.array_equal(again["g/b"].collect(), A * 2)

    def test_many_parameters_stay_in_the_file(self, tmp_path: Path) -> None:
        x = np.linspace(0, 1, 20000, dtype="f4").reshape(2, 10000)
        q = lt.quantize(x, "quint8", "per_group", group_size=2).collect()
        (tmp_path / "a.tenso").write_bytes(tenso.dumps(q, check_integrity=True))
        y = lt.scan_tenso(tmp_path / "a.tenso", verify="always")
        text = y.serialize()
        assert len(text) < 4000
        assert np.array_equal(lt.LazyTensor.deserialize(text).collect(), q.dequantize())

    def test_documents_are_checked(self, tmp_path: Path) -> None:
        from lazytensor.io.tenso.scan import from_json

        (tmp_path / "a.tenso").write_bytes(tenso.dumps(A))
        good = {"format": "tenso", "uri": str(tmp_path), "key": "a.tenso", "packet": [0]}
        assert from_json(good).spec.shape == (5, 12)
        for wrong in (
            {"format": "npy"}, {"uri": 3}, {"key": None}, {"packet": []}, {"packet": ["a"]},
            {"packet": [1]}, {"packet": [0, "a"]}, {"part": "scales"}, {"part": "x"},
            {"verify": 1}, {"mmap": "yes"}, {"legacy": 0}, {"packet": [True]},
        ):  # fmt: skip
            with pytest.raises(lt.SerializationError):
                from_json({**good, **wrong})

    def test_bytes_have_no_location(self) -> None:
        x = lt.scan_tenso(bytes(tenso.dumps(A, compress=True)))
        with pytest.raises(lt.SerializationError, match="location"):
            x.serialize()
        y = pickle.loads(pickle.dumps(lt.scan_tenso(memoryview(bytes(tenso.dumps(A))))))
        assert np.array_equal(y.collect(), A)

    def test_explain_names_the_place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        Path("a.tenso").write_bytes(tenso.dumps({"k": A}))
        x = lt.open_tenso("a.tenso")["k"]
        assert "scan tenso ./a.tenso['k']" in str(x[1:3].explain())
        assert "reads 1 of 1 chunks, ~96 B" in str(x[1:3].explain())

    def test_the_same_packet_is_one_source(self, tmp_path: Path) -> None:
        (tmp_path / "a.tenso").write_bytes(tenso.dumps(A))
        one, other = lt.scan_tenso(tmp_path / "a.tenso"), lt.scan_tenso(tmp_path / "a.tenso")
        assert one._node is other._node
        assert lt.scan_tenso(tmp_path / "a.tenso", verify="never")._node is not one._node

    def test_storage(self) -> None:
        x = lt.scan_tenso(bytes(tenso.dumps(A, compress=True)))
        assert x.storage is not None
        assert (x.storage.format, x.storage.codecs[0]["name"]) == ("tenso", "lz4")
        assert x.storage.metadata["shape"] == (5, 12)
        assert x.storage.statistics()["bytes_total"] == A.nbytes
        assert lt.scan_tenso(bytes(tenso.dumps(A))).storage.codecs == ()  # type: ignore[union-attr]


class TestMemory:
    def test_bytes_are_aliased(self) -> None:
        packet = tenso.dumps(A)
        x = lt.scan_tenso(packet)
        assert np.shares_memory(x._node.source.array, np.frombuffer(packet, "u1"))  # type: ignore[attr-defined]

    @pytest.mark.parametrize("alignment", [1, 2, 8, 64, 4096])
    def test_maps_are_aliased_aligned_or_not(self, tmp_path: Path, alignment: int) -> None:
        path = tmp_path / "a.tenso"
        path.write_bytes(tenso.dumps({"a": A, "odd": A.astype("f8")}, alignment=alignment))
        for key, want in {"a": A, "odd": A.astype("f8")}.items():
            x = lt.open_tenso(path, mmap=True)[key]
            array = x._node.source.array  # type: ignore[attr-defined]
            assert not array.flags.owndata and not array.flags.writeable
            assert np.array_equal(x.collect(), want)
            thrice = (x[1:, ::3] * 2 + x[1:, ::3]).sum(axis=0)
            assert np.array_equal(thrice.collect(), (want[1:, ::3] * 3).sum(0))
            for engine in (lt.InterpretEngine(), lt.LocalEngine(kernels="numba")):
                assert np.array_equal((x * 2.5 + 1).collect(engine=engine), want * 2.5 + 1)

    def test_other_bytes_than_0_and_1_are_true(self, tmp_path: Path) -> None:
        values = np.array([[0, 1, 2], [255, 0, 128]], "u1")
        for options in ({}, {"compress": True}):
            packet = bytearray(tenso.dumps(values, **options))
            packet[7] = 7
            (tmp_path / "a").write_bytes(packet)
            for x in (lt.scan_tenso(bytes(packet)), lt.scan_tenso(tmp_path / "a", mmap=True)):
                for part in (np.s_[:], np.s_[:, ::2], np.s_[1], np.s_[::-1, 1:]):
                    found = x[part].collect()
                    assert found.dtype == np.bool_ and np.array_equal(found, values[part] != 0)
                    assert found.view("u1").max() <= 1

    def test_0d_and_empty(self) -> None:
        for values in (np.float32(3.5), np.zeros((3, 0, 2)), np.zeros(0, "i1")):
            for options in ({}, {"compress": True}, {"check_integrity": True}):
                x = lt.scan_tenso(bytes(tenso.dumps(np.asarray(values), **options)))
                assert x.shape == values.shape and x.dtype == values.dtype
                assert np.array_equal(x.collect(), values)

    def test_file_objects_are_no_source(self) -> None:
        with pytest.raises(TypeError):
            lt.scan_tenso(io.BytesIO(tenso.dumps(A)))
