"""A contender's process and the pipe to it: both ends.

A request is a line of JSON, a verb and its keywords, and so is its answer, on what was standard
output when the process started; what libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from peers import Unsupported

__all__ = ["Process", "serve"]

_HERE = Path(__file__).parent


class Process:
    """A process that runs a script of this folder, which calls ``serve``."""

    def __init__(self, name: str, *, script: str = "server.py", python: str = sys.executable):
        self.name = name
        # The package is the one that lies beside this folder, installed or not.
        environ = {**os.environ, "PYTHONPATH": str(_HERE.parent)}
        self.process = subprocess.Popen(
            [python, str(_HERE / script), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environ,
        )

    def ask(self, verb: str, **keywords: Any) -> dict[str, Any]:
        """The answer to one request; one with the key ``error`` if it failed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(json.dumps([verb, keywords]), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            return {"error": f"{self.name} is not running"}
        line = self.process.stdout.readline()
        if not line:
            return {"error": f"{self.name} ended with status {self.process.wait()}"}
        return dict(json.loads(line))

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def serve(verbs: Mapping[str, Callable[..., dict[str, Any]]]) -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        verb, keywords = json.loads(line)
        print(json.dumps(_answer(verbs[verb], keywords)), file=answers, flush=True)


def _answer(verb: Callable[..., dict[str, Any]], keywords: dict[str, Any]) -> dict[str, Any]:
    try:
        return verb(**keywords)
    except Unsupported as reason:
        return {"unsupported": str(reason)}
    except Exception:  # noqa: BLE001  (the coordinator shows it and goes on with the others)
        return {"error": traceback.format_exc()}
