"""Where object code is kept between processes: one folder, one file a key.

Whoever can write here decides what this process runs, so the folder is the user's alone (mode 0700,
his own), and so are the files. A file carries a checksum: one cut short by a full disk is compiled
again. Everything here is an accelerator: what fails is logged once and done without.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["folder", "read", "sole_writer", "warn", "write"]

_MAGIC = b"lazytensor-object-1\n"
_DIGEST = 32
_said: set[str] = set()


def _base() -> Path:
    """The user's folder for caches by the rules of the platform."""
    from pathlib import Path

    environment = os.environ
    home = Path("~").expanduser()
    chosen = environment.get("LAZYTENSOR_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(environment.get("LOCALAPPDATA") or home / "AppData/Local") / "lazytensor/Cache"
    if sys.platform == "darwin":
        return home / "Library/Caches/lazytensor"
    xdg = environment.get("XDG_CACHE_HOME", "")
    # The rule of XDG: a relative path is as good as none.
    return (Path(xdg) if os.path.isabs(xdg) else home / ".cache") / "lazytensor"


def folder() -> Path | None:
    """The folder, made if missing; ``None``, and one line in the log, if it cannot be used."""
    try:
        found = _base() / "native"
        found.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_mine(found.stat(), found)
        if not os.access(found, os.W_OK | os.X_OK):
            raise PermissionError(f"{found} cannot be written to")
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        _say(f"compiled kernels are not kept: {error}; LAZYTENSOR_CACHE_DIR names another folder")
        return None
    return found


def _check_mine(status: os.stat_result, path: Path | str) -> None:
    if not hasattr(os, "geteuid"):
        return
    if status.st_uid != os.geteuid():
        raise PermissionError(f"{path} belongs to user {status.st_uid}, not to {os.geteuid()}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"{path} can be written to by other users")


def warn(message: str) -> None:
    """One line in the log of kernels, which few processes ever have anything to say in."""
    import logging

    logging.getLogger("lazytensor.native").warning("%s", message)


def _say(message: str) -> None:
    if message not in _said:
        _said.add(message)
        warn(message)


def read(path: Path | str | None) -> bytes | None:
    """The object code in a file; ``None`` if there is none, or not what was written."""
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            _check_mine(os.fstat(file.fileno()), path)
            content = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        _say(f"a compiled kernel is not used: {error}")
        return None
    head, code = content[: len(_MAGIC) + _DIGEST], content[len(_MAGIC) + _DIGEST :]
    return code if head == _MAGIC + _checksum(code) else None


def _checksum(code: bytes) -> bytes:
    from hashlib import sha256

    return sha256(code).digest()


def write(path: Path | str | None, code: bytes) -> None:
    """Keep object code; at no moment does the file hold a part of it."""
    if path is None:
        return
    temporary = None
    try:
        import tempfile

        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(_MAGIC + _checksum(code) + code)
        os.replace(temporary, path)
    except OSError as error:
        _say(f"a compiled kernel is not kept: {error}")
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


@contextlib.contextmanager
def sole_writer(path: Path | str | None) -> Iterator[None]:
    """One process at a time compiles one kernel, where the system has locks on files.

    Many workers start at once and want the same; the others wait and find it done.
    """
    try:
        import fcntl
    except ImportError:  # Windows: all of them compile, the last one's file stays
        yield
        return
    with contextlib.ExitStack() as stack:
        if path is not None:
            with contextlib.suppress(OSError):  # a file system without locks
                # Sixteen files for good, shared by the kernels whose keys end alike.
                last = os.path.splitext(path)[0][-1]
                lock = os.path.join(os.path.dirname(path), f"{last}.lock")
                handle = stack.enter_context(open(lock, "wb"))
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield
