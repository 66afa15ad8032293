"""Which reader reads which: every edge case of zarr, read by every library, compared exactly.

    python benchmarks/readers.py --markdown --short
    python benchmarks/readers.py --peer-python /path/to/another/python

Each library reads in a process of its own, because some of them crash or hang on some of these
stores: a process that dies or says nothing for too long has failed at the case it was at, and a new
one takes the next. ``yes``: dtype, shape and every byte are right; ``no``: it raised (or crashed,
or hung); ``WRONG``: it returned something else without a word. Of a damaged store only an error is
right.

``--peer-python``: an interpreter for the peers, so that releases of theirs can be compared that
need another Python; lazytensor is always read by the one that runs this.
"""

from __future__ import annotations

import argparse
import json
import pickle
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["READERS", "judge", "main", "prepare"]

_ZIP = "store.zip"
_NOTE = (
    "zarrs is zarr-python with zarrs as its codec pipeline, as its documentation says; both read "
    "n5 through the package zarr-n5. What needs a package that is not installed is a `no`."
)
_SECONDS = 60
Facts = dict[str, Any]


# ---- the readers: from a place to values


def _lazytensor(place: Path, facts: Facts) -> Any:
    import lazytensor as lt

    if not facts["inside"]:
        return lt.scan_zarr(place).collect()
    return lt.open_zarr(place)[facts["inside"]].collect()


def _zarr(place: Path, facts: Facts) -> Any:
    import zarr

    if "array.rectilinear_chunks" in zarr.config:
        zarr.config.set({"array.rectilinear_chunks": True})
    store: Any = zarr.storage.LocalStore(place, read_only=True)
    if facts["zipped"]:
        store = zarr.storage.ZipStore(place, mode="r")
    if facts["format"] == "n5":
        from zarr_n5 import N5WrapperStore  # zarr-python itself no longer reads n5

        store = N5WrapperStore(store)
    if facts["inside"] and "without metadata" not in facts["name"]:
        return zarr.open_group(store, mode="r")[facts["inside"]][...]
    return zarr.open_array(store, path=facts["inside"], mode="r")[...]


def _zarrs(place: Path, facts: Facts) -> Any:
    import zarr
    import zarrs  # noqa: F401

    zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
    return _zarr(place, facts)


def _tensorstore(place: Path, facts: Facts) -> Any:
    import tensorstore

    driver = {"zarr2": "zarr", "zarr3": "zarr3", "n5": "n5"}[facts["format"]]
    kvstore: dict[str, Any] = {
        "driver": "file",
        "path": f"{place}/{facts['inside']}".rstrip("/") + "/",
    }
    if facts["zipped"]:
        kvstore = {"driver": "zip", "base": {"driver": "file", "path": str(place)}}
    spec = {"driver": driver, "kvstore": kvstore}
    names = facts["fields"]
    if not names:
        return tensorstore.open(spec, read=True).result().read().result()
    parts = [
        tensorstore.open({**spec, "field": n}, read=True).result().read().result() for n in names
    ]
    pairs = [(name, part.dtype) for name, part in zip(names, parts, strict=True)]
    records = np.zeros(parts[0].shape, pairs)
    for name, part in zip(names, parts, strict=True):
        records[name] = part
    return records


READERS: dict[str, Callable[[Path, Facts], Any]] = {
    "lazytensor": _lazytensor,
    "zarr-python": _zarr,
    "zarrs": _zarrs,
    "tensorstore": _tensorstore,
}
_PACKAGES = {"lazytensor": "lazytensor-engine", "zarr-python": "zarr"}


# ---- comparing


def judge(found: Any, expected: np.ndarray, format_: str = "zarr3") -> bool:
    """Whether the values are these, to the bit."""
    found = np.asarray(found)
    if format_ == "n5" and found.shape == expected.shape[::-1] != expected.shape:
        found = found.T  # the order of n5's metadata instead of C order: a convention, no error
    if expected.dtype == object:
        return found.shape == expected.shape and list(map(str, found.flat)) == list(expected.flat)
    if expected.dtype.kind == "S" and found.ndim == expected.ndim + 1:
        found = np.ascontiguousarray(found).view(expected.dtype)[..., 0]  # characters on an axis
    native = found.dtype.newbyteorder("=")
    return (
        native == expected.dtype
        and found.shape == expected.shape
        and found.astype(native).tobytes() == expected.tobytes()
    )


def _outcome(reader: str, facts: Facts) -> tuple[str, str]:
    try:
        found = READERS[reader](Path(facts["place"]), facts)
        right = facts["expected"] is not None and judge(found, facts["expected"], facts["format"])
    # Whatever a library raises is an answer; only what it returns can be wrong.
    except Exception as error:  # noqa: BLE001
        verdict = "no" if facts["expected"] is not None else "yes"
        return verdict, f"{type(error).__name__}: {error}"
    return ("yes", "") if right else ("WRONG", f"{np.asarray(found).dtype}: {found!r}"[:300])


def _work(reader: str, listing: Path, start: int) -> None:
    """Read the cases from ``start`` on, a line of JSON for each."""
    warnings.simplefilter("ignore")
    print(json.dumps([version(_PACKAGES.get(reader, reader)), ""]), flush=True)
    # The listing was written by the process that started this one.
    for facts in pickle.loads(listing.read_bytes())[start:]:
        print(json.dumps(_outcome(reader, facts)), flush=True)


# ---- the coordinator


def prepare(case: Any, folder: Path) -> Facts:
    """Write the store of a case into a folder of its own, and say what is there."""
    target = folder / "store"
    target.mkdir(parents=True)
    expected = case.write(target)
    place = target
    if case.zipped is not None:
        place = folder / _ZIP
        with zipfile.ZipFile(place, "w", case.zipped) as archive:
            for file in sorted(path for path in target.rglob("*") if path.is_file()):
                archive.write(file, file.relative_to(target).as_posix())
    return {
        "name": case.name,
        "topic": case.topic,
        "format": case.format,
        "inside": case.inside,
        "zipped": case.zipped is not None,
        "fields": [] if expected is None else list(expected.dtype.names or ()),
        "place": str(place),
        "expected": expected,
    }


def _ask(python: str, reader: str, listing: Path, count: int) -> tuple[str, list[tuple[str, str]]]:
    """Version of a reader, and what became of each case."""
    release, results = "?", list[tuple[str, str]]()
    while len(results) < count:
        command = [python, __file__, "--work", reader, str(listing), str(len(results))]
        try:
            done = subprocess.run(command, capture_output=True, timeout=_SECONDS, text=True)
            text, end = done.stdout, f"crash: exit status {done.returncode}"
            if not text:
                return "not installed", [("–", done.stderr.strip()[-300:])] * count
        except subprocess.TimeoutExpired as error:
            text, end = (error.stdout or b"").decode(), f"hang: {_SECONDS} s"
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("[")]
        release = lines[0][0] if lines else release
        results += [(verdict, why) for verdict, why in lines[1:]]
        if len(results) < count:
            results.append(("no", end))
    return release, results


def _markdown(
    columns: dict[str, str], cases: list[Facts], table: dict[str, list[Any]], short: bool
) -> str:
    """The table; topics tell how many of their cases each reader has right."""
    lines = ["| case | " + " | ".join(columns.values()) + " |", "| --- |" + " :-: |" * len(columns)]
    verdicts = [[table[reader][i][0] for reader in columns] for i in range(len(cases))]
    topic = ""
    for facts, row in zip(cases, verdicts, strict=True):
        if facts["topic"] != topic:
            topic = facts["topic"]
            among = [v for f, v in zip(cases, verdicts, strict=True) if f["topic"] == topic]
            lines.append(_totals(topic, among))
        if not (short and set(row) == {"yes"}):
            bold = [f"**{v}**" if v == "WRONG" else v for v in row]
            lines.append(f"| {facts['name'].replace('|', chr(92) + '|')} | {' | '.join(bold)} |")
    return "\n".join([*lines, _totals("all", verdicts), "", _NOTE])


def _totals(name: str, verdicts: list[list[str]]) -> str:
    counts = [sum(verdict == "yes" for verdict in column) for column in zip(*verdicts, strict=True)]
    shown = " | ".join(f"{n} of {len(verdicts)}" for n in counts)
    return f"| **{name}** | {shown} |"


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 1 if lazytensor did not read everything."""
    parser = argparse.ArgumentParser(description="which reader reads which")
    parser.add_argument("--markdown", action="store_true", help="the table alone, without reasons")
    parser.add_argument("--short", action="store_true", help="only rows in which a reader fails")
    parser.add_argument("--readers", nargs="+", choices=READERS, default=list(READERS))
    parser.add_argument("--cases", default="", help="only cases whose name contains this")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter for the peers")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.work:
        _work(given.work[0], Path(given.work[1]), int(given.work[2]))
        return 0
    from reader_cases import CASES

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        chosen = [case for case in CASES if given.cases in case.name and find_spec(case.needs)]
        cases = [prepare(case, home / str(i)) for i, case in enumerate(chosen)]
        listing = home / "cases"
        listing.write_bytes(pickle.dumps(cases))
        table, columns = {}, {}
        for reader in given.readers:
            python = sys.executable if reader == "lazytensor" else given.peer_python
            release, table[reader] = _ask(python, reader, listing, len(cases))
            columns[reader] = f"{reader} {release}"
    print(_markdown(columns, cases, table, given.short))
    if not given.markdown:
        for reader, results in table.items():
            for facts, (verdict, why) in zip(cases, results, strict=True):
                if verdict != "yes":
                    print(f"{reader}: {facts['name']}: {verdict}: {why[:200]}")
    return int(any(verdict != "yes" for verdict, _ in table.get("lazytensor", [])))


if __name__ == "__main__":
    sys.exit(main())
