"""When a kernel is looked up, loaded and compiled, so that no caller ever waits for one.

A kernel is *untried* until its callers have missed enough for a look into the cache, then *ready*,
or *compiling* in a process of its own (see ``compiler``), or *unavailable* with a reason. What only
compiling needs is imported for that: most processes find everything in the cache.

Forked children keep ready code, which is memory like any other, and look into the cache again for
what was being compiled. The lock is held across a fork, so that no child inherits llvmlite's own
lock in the hands of a thread that it does not have.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import sys
import threading
from functools import cache
from typing import TYPE_CHECKING

from lazytensor.config import environment_variable
from lazytensor.native import objects, store
from lazytensor.native.objects import Kernel

if TYPE_CHECKING:
    import subprocess

__all__ = ["Kernel", "kernel", "reason", "wait"]

LOAD_SECONDS = 0.005
"""What callers have missed when a look into the cache is due. It costs 20 to 40 ms once, importing
llvmlite and linking; but who reads for that long goes on reading, and callers count only what one
thread alone would have saved, not what two lose to each other."""

COMPILE_SECONDS = 300
"""A compiler that takes longer hangs, or its machine does."""

_ROOM = os.path.dirname(__file__)
_MODULES = r"\blazytensor\.native\.((?:kernels(?:\.| import ))?[a-z_]+)"
_INTERPRETER = r"(python|pypy)[\w.-]*$"
_OFF = ("0", "false", "no", "off")

_lock = threading.RLock()
_builds: dict[tuple[str, str | None], _Build] = {}


class _Build:
    """One kernel on its way from source text to a callable."""

    def __init__(self, name: str, text: str | None) -> None:
        if not name.isidentifier():
            raise ValueError(f"{name!r} is no name of a kernel: it must be one of a module")
        self.name = name
        self.text = text
        self.missed = 0.0
        self.kernel: Kernel | None = None
        self.reason: str | None = None
        self.compiling: threading.Event | None = None

    def advance(self, saves: float) -> Kernel | None:
        """Take the next step if it is due; the caller holds the lock."""
        if self.kernel is not None or self.reason is not None or self.compiling is not None:
            return self.kernel
        self.missed += saves
        if self.missed < LOAD_SECONDS:
            return None
        try:
            self._look_up()
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            self._give_up(f"{type(error).__name__}: {error}")
        return self.kernel

    def _look_up(self) -> None:
        source = self.text
        if source is None:
            source = _read(os.path.join(_ROOM, "kernels", f"{self.name}.py"))
        place = store.folder()
        path = place and place / f"{self.name}-{_key(source)}.o"
        code = store.read(path)
        if code is not None:
            self.kernel = objects.load(code)
            return
        if importlib.util.find_spec("numba") is None:
            raise ImportError("numba is not installed")
        if getattr(sys, "frozen", False) or not re.match(
            _INTERPRETER, os.path.basename(sys.executable or ""), re.IGNORECASE
        ):
            # Of a frozen or embedding program, sys.executable is the program.
            raise RuntimeError("this program is no Python interpreter that could run a compiler")
        job = {"name": self.name, "source": source, "path": path and str(path)}
        from lazytensor.native.compiler import start

        process = start("compiler.main", json.dumps(job).encode(), separate=True)
        # An event, since a thread whose join was interrupted counts as ended (CPython 3.11).
        done = threading.Event()
        threading.Thread(
            target=self._await, args=(process, done), name="lazytensor-compiler", daemon=True
        ).start()
        self.compiling = done

    def _await(self, process: subprocess.Popen[bytes], done: threading.Event) -> None:
        """What the thread does: wait for the process, without the GIL and without the lock."""
        from lazytensor.native.compiler import finish

        try:
            code = finish(process, COMPILE_SECONDS)
            with _lock:
                self.kernel = objects.load(code)
        except (OSError, RuntimeError) as error:
            self._give_up(str(error))
        finally:
            with _lock:  # held by the caller until it has noted the event
                self.compiling = None
            done.set()

    def _give_up(self, problem: str) -> None:
        self.reason = problem
        store.warn(f"{self.name} is done by slower code, since it cannot be compiled: {problem}")


def kernel(name: str, *, text: str | None = None, saves: float = math.inf) -> Kernel | None:
    """The compiled kernel if there is one by now, else ``None``; never waits for a compiler.

    Parameters
    ----------
    name
        Module in ``lazytensor.native.kernels``, of word characters, which defines ``kernel(p)``.
    text
        Source of such a module made by a program: ``name`` then only says what it is.
    saves
        Seconds that the compiled code would have saved the caller this time, by its estimate.
        Once enough was missed (``LOAD_SECONDS``), the cache is looked into (about 40 ms the first
        time), and if it has nothing, a compilation starts in the background.

    The kernel takes the address of its block of int64 parameters and returns an int64; it releases
    the GIL. The caller keeps the block and whatever it points to alive. ``LAZYTENSOR_NATIVE=0``
    switches kernels off at any time.

    >>> kernel("negate", text="def kernel(p): return -p", saves=0.001) is None  # not worth a look
    True
    """
    switch = environment_variable("LAZYTENSOR_NATIVE")
    if switch is not None and switch.lower() in _OFF:
        return None
    build = _builds.get((name, text))
    if build is None:
        build = _builds.setdefault((name, text), _Build(name, text))
    if build.kernel is not None:
        return build.kernel
    with _lock:
        return build.advance(saves)


def wait(name: str, *, text: str | None = None, timeout: float | None = None) -> Kernel | None:
    """As ``kernel``, but after the compilation, if there is one: for what nothing else can do.

    ``timeout`` is in seconds. ``None`` is returned if no kernel came; ``reason`` says why.
    """
    kernel(name, text=text)
    build = _builds.get((name, text))
    done = build.compiling if build else None
    if done is not None:
        done.wait(timeout)
    return kernel(name, text=text)


def reason(name: str, *, text: str | None = None) -> str | None:
    """Why a kernel is unavailable for good, or ``None`` while it is not.

    >>> reason("negate", text="def kernel(p): return -p") is None
    True
    """
    build = _builds.get((name, text))
    return build.reason if build else None


def _key(source: str) -> str:
    """Hex digest of all that decides what the object code is."""
    from hashlib import sha256

    digest = sha256()
    for part in (*_toolchain(), *_parts_of(source), source):
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _parts_of(source: str) -> list[str]:
    """Text of the modules of this room that a kernel is made of: those that it names, and so on.

    The compiler itself is one of them, however little is named.
    """
    todo, found = {"compiler", "intrinsics", "objects"}, dict[str, str]()
    todo |= _named_in(source)
    while todo:
        name = todo.pop()
        found[name] = text = _text_of(name)
        todo |= _named_in(text) - found.keys()
    return [text for _, text in sorted(found.items())]


def _named_in(source: str) -> set[str]:
    """Modules of this room that are imported, each by an import of its own."""
    return {name.replace(" import ", ".") for name in re.findall(_MODULES, source)}


@cache
def _text_of(module: str) -> str:
    """Source text of a module of this room; nothing for a package, which says nothing."""
    path = os.path.join(_ROOM, *module.split(".")) + ".py"
    return _read(path) if os.path.isfile(path) else ""


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


@cache
def _toolchain() -> tuple[str, ...]:
    """What all kernels share: tools and processor."""
    import llvmlite

    return (_numba_version(), llvmlite.__version__, sys.version, *objects.processor())


def _numba_version() -> str:
    """Text that differs between versions of numba, without the 300 ms of importing it."""
    spec = importlib.util.find_spec("numba")
    if spec is None or spec.origin is None:
        raise ImportError("numba is not installed")
    written = os.path.join(os.path.dirname(spec.origin), "_version.py")
    if os.path.isfile(written):
        return _read(written)
    from importlib.metadata import version

    return str(version("numba"))


def _after_fork_in_child() -> None:
    """The forking thread holds the lock; the threads that waited for compilers are gone."""
    for build in _builds.values():
        build.compiling = None
    _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_lock.acquire,
        after_in_parent=_lock.release,
        after_in_child=_after_fork_in_child,
    )
