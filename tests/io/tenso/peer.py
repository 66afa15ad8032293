"""The real tenso 0.24, in a process of its own: it never gives back what it allocates.

``run`` sends it any number of calls at once and returns what each of them gave, or the exception's
text. Objects travel as plain data: a quantized array as a ``tuple`` that begins with "quantized",
strings as one that begins with "strings".
"""

from __future__ import annotations

import importlib.util
import pickle
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

__all__ = ["needs_tenso", "run"]

needs_tenso = pytest.mark.skipif(
    importlib.util.find_spec("tenso") is None,
    reason="the peer is not installed: pip install tenso==0.24.0",
)

_CHILD = r"""
import pickle, sys
import numpy as np
import tenso
from tenso.quantize import QuantizedTensor
from tenso.ragged import StringTensor

CODES = {"qint8": 16, "quint8": 17, "qint4": 18, "quint4": 19}
SCHEMES = ("per_tensor", "per_channel", "per_group")

def theirs(obj):
    if isinstance(obj, dict):
        return {key: theirs(value) for key, value in obj.items()}
    if isinstance(obj, tuple) and obj[0] == "quantized":
        _, packed, scales, zero_points, shape, dtype, scheme, axis, group_size = obj
        return QuantizedTensor(packed, scales, zero_points, shape, CODES[dtype],
                               SCHEMES.index(scheme), group_size, axis)
    if isinstance(obj, tuple) and obj[0] == "strings":
        return StringTensor(obj[1])
    return obj

def plain(obj):
    if isinstance(obj, dict):
        return {key: plain(value) for key, value in obj.items()}
    if isinstance(obj, QuantizedTensor):
        return ("quantized", np.array(obj.data), obj.scales, obj.zero_points, obj.shape,
                obj.dtype_name, SCHEMES[obj.quant_scheme], obj.axis, obj.group_size,
                obj.dequantize())
    if isinstance(obj, StringTensor):
        return ("strings", obj.to_list())
    return np.array(obj) if isinstance(obj, np.ndarray) else obj

def dumps(obj, **options):
    made = theirs(obj)
    if isinstance(made, StringTensor):
        return bytes(made.dumps(**options))
    return bytes(tenso.dumps(made, **options))

def loads(data):
    return plain(tenso.loads(data))

def quantize(array, *args, **options):
    return plain(QuantizedTensor.quantize(array, *args, **options))

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
    """What ``dumps``, ``loads`` and ``quantize`` of the package give: (name, args, options)."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _CHILD],
        input=pickle.dumps(list(calls)),
        capture_output=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr.decode()
    answers: list[Any] = pickle.loads(done.stdout)
    return answers
