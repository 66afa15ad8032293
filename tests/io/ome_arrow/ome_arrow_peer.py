"""The real ome-arrow 0.1.0, in a process of its own: it pulls in far more than a test needs.

``run`` sends it any number of calls at once and returns what each of them gave, or the exception's
text. ``LAZYTENSOR_OME_ARROW_PYTHON`` may name another interpreter that has it.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest

__all__ = ["PYTHON", "needs_ome_arrow", "run"]

PYTHON = os.environ.get("LAZYTENSOR_OME_ARROW_PYTHON") or sys.executable


@cache
def _installed() -> bool:
    code = "import importlib.util as u, sys; sys.exit(u.find_spec('ome_arrow') is None)"
    return subprocess.run([PYTHON, "-c", code], check=False, timeout=60).returncode == 0


needs_ome_arrow = pytest.mark.skipif(
    not _installed(),
    reason="the peer is not installed: pip install ome-arrow==0.1.0 somewhere, and name its "
    "interpreter in LAZYTENSOR_OME_ARROW_PYTHON",
)

_CHILD = r"""
import pickle, sys
import numpy as np
from ome_arrow.core import OMEArrow
from ome_arrow.dataset import OMEArrowDataset, write_ome_arrow_dataset
from ome_arrow.export import to_numpy, to_ome_parquet
from ome_arrow.ingest import from_numpy, from_ome_parquet

META = ("id", "name", "image_type", "acquisition_datetime", "pixels_meta")

def write_file(path, image, *, compression="zstd", **options):
    made = from_numpy(image, clamp_to_uint16=False, **options)
    to_ome_parquet(made, path, column_name="ome_arrow", compression=compression)

def write_folder(path, images, **options):
    write_ome_arrow_dataset(images, path, **options)

def read_file(path, row=0):
    made = from_ome_parquet(path, row_index=row, strict_schema=True).as_py()
    dtype = np.dtype(made["pixels_meta"]["type"])
    return to_numpy(made, dtype=dtype), {key: made[key] for key in META}

def read_folder(path):
    opened = OMEArrowDataset(path)
    return [(key, opened.read_image(key), opened.image_metadata(key)) for key in opened.image_ids]

def planes(path, places):
    opened = OMEArrowDataset(path)
    return [opened.read_plane(key, t=t, c=c, z=z) for key, t, c, z in places]

def viewed(path, options):
    return np.array(OMEArrow(path).tensor_view(**options).to_numpy(contiguous=True))

def call(name, args, options):
    try:
        return globals()[name](*args, **options)
    except Exception as error:
        return f"{type(error).__name__}: {error}"

calls = pickle.load(sys.stdin.buffer)
answers = [call(*one) for one in calls]
pickle.dump(answers, sys.stdout.buffer)
"""

Call = tuple[str, tuple[Any, ...], dict[str, Any]]


def run(calls: Sequence[Call]) -> list[Any]:
    """What functions of the child give: (name, args, options)."""
    done = subprocess.run(
        [PYTHON, "-W", "ignore", "-c", _CHILD],
        input=pickle.dumps(list(calls)),
        capture_output=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr.decode()
    answers: list[Any] = pickle.loads(done.stdout)
    return answers
