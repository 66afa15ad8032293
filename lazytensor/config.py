"""Settings: one table of options, looked up from the narrowest scope outwards.

An option is taken from the argument of a call, else from the engine object, else from the innermost
``with Config(...)`` of this context, else from ``set_config`` (the process), else from the
environment variable ``LAZYTENSOR_<NAME>``, else from its default. The first two are the caller's
business; the rest is here. A context follows the code that runs in it: the tasks a collect starts
see the ``Config`` in force where it was called.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

__all__ = [
    "Config",
    "QueryOptFlags",
    "check_option",
    "environment_variable",
    "get_config",
    "option",
    "parse_bytes",
    "set_config",
]


def parse_bytes(value: int | str) -> int:
    """Number of bytes of ``1024``, ``"1KiB"``, ``"1.5 GB"`` (decimal) or ``"2GiB"`` (binary).

    >>> parse_bytes("1.5KiB"), parse_bytes(10), parse_bytes("2 MB")
    (1536, 10, 2000000)
    """
    if isinstance(value, int) and not isinstance(value, bool):
        number, unit = float(value), ""
    else:
        match = re.fullmatch(r"\s*([0-9.]+)\s*([kmgt]?i?b?)\s*", str(value), re.IGNORECASE)
        if match is None:
            raise ValueError(f"{value!r} is not a number of bytes such as 1048576 or '256MiB'")
        number, unit = float(match[1]), match[2].lower()
    base = 1024 if "i" in unit else 1000
    power = "kmgt".find(unit[:1]) + 1 if unit[:1] in ("k", "m", "g", "t") else 0
    if number <= 0:
        raise ValueError(f"{value!r}: a number of bytes must be positive")
    return int(number * base**power)


def _positive(value: Any) -> int:
    number = int(value)
    if number < 1 or isinstance(value, bool):
        raise ValueError(f"{value!r} is not a positive number")
    return number


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).lower()
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off", ""):
        return False
    raise ValueError(f"{value!r} is neither true nor false")


def _memory(value: Any) -> int | str:
    return "auto" if value == "auto" else parse_bytes(value)


def _cache_bytes(value: Any) -> int:
    return 0 if str(value).strip() == "0" else parse_bytes(value)


def _folder(value: Any) -> str:
    if value is False or str(value) in ("", "0", "false", "off"):
        return ""
    if value is True:
        raise ValueError("True is no folder: give its path")
    return str(os.path.abspath(os.path.expanduser(os.fspath(value))))


def _one_of(*names: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in names:
            raise ValueError(f"{value!r} is not one of {', '.join(names)}")
        return str(value)

    return check


def _as_is(value: Any) -> Any:
    return value


_OPTIONS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    # name: (default, check and convert)
    "max_memory": ("auto", _memory),
    "threads": (None, _positive),
    "io_concurrency": (128, _positive),
    "cache_bytes": (0, _cache_bytes),
    "disk_cache": (None, _folder),
    "disk_cache_bytes": (10 << 30, parse_bytes),
    "disk_cache_local": (False, _flag),
    "engine": ("auto", _as_is),
    "kernels": ("auto", _one_of("auto", "numba", "numpy")),
    "implicit_collect": ("allow", _one_of("allow", "warn", "raise")),
    "recheck": (False, _flag),
    "progress": (False, _as_is),
    "verbose": (False, _flag),
}

_VARIABLES = {name: f"LAZYTENSOR_{name.upper()}" for name in _OPTIONS}

_encoded: dict[str, Any] = {}
"""Names of variables as ``os.environ`` keeps them."""

_process: dict[str, Any] = {}
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_context: ContextVar[Mapping[str, Any]] = ContextVar("lazytensor_config", default=_NOTHING)


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    out = {}
    for name, value in options.items():
        if name not in _OPTIONS:
            raise ValueError(f"unknown option {name!r}; options are {', '.join(sorted(_OPTIONS))}")
        out[name] = None if value is None else _convert(name, value)
    return out


def _convert(name: str, value: Any) -> Any:
    try:
        return _OPTIONS[name][1](value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"option {name}: {error}") from None


def check_option(name: str, value: Any) -> Any:
    """A value for an option, converted; ``ValueError`` naming the option if it is none.

    >>> check_option("max_memory", "1KiB")
    1024
    """
    return _convert(name, value)


def option(name: str) -> Any:
    """Value of an option in this context.

    >>> option("implicit_collect")
    'allow'
    """
    value = _context.get().get(name)
    if value is None:
        value = _process.get(name)
    if value is not None:
        return value
    text = environment_variable(_VARIABLES[name])
    return _OPTIONS[name][0] if text is None else _convert(name, text)


def environment_variable(name: str) -> str | None:
    """A variable of the environment as it is now, None if it is not set.

    As ``os.environ.get``, which takes 40 times as long to say that there is none: it raises an
    error and catches it. Small collects ask half a dozen times.

    >>> environment_variable("LAZYTENSOR_NO_SUCH_OPTION") is None
    True
    """
    environment: Any = os.environ
    known = getattr(environment, "_data", None)
    if known is None:
        return os.environ.get(name)
    key = _encoded.get(name)
    if key is None:
        key = _encoded[name] = environment.encodekey(name)
    return os.environ.get(name) if key in known else None


def get_config() -> dict[str, Any]:
    """Every option as it holds here.

    >>> sorted(get_config())[:2]
    ['cache_bytes', 'disk_cache']
    """
    return {name: option(name) for name in _OPTIONS}


def set_config(**options: Any) -> None:
    """Set options for the whole process; ``None`` unsets one. Unknown names: ``ValueError``.

    >>> set_config(verbose=False); option("verbose")
    False
    """
    _process.update(_checked(options))


class Config:
    """Options that hold in a ``with`` block and in the tasks it starts.

    Options: ``max_memory`` (bytes, ``"2GiB"`` or ``"auto"``), ``threads``, ``io_concurrency``
    (requests that this process has under way at once for each remote URL scheme), ``cache_bytes``
    (how much of decoded chunks this process keeps for later reads of them, in bytes or
    ``"256MiB"``; 0: nothing; chunks whose files have changed are noticed, once in each collect),
    ``disk_cache`` (a folder where decoded chunks of remote stores are kept for later reads, by any
    process of this user; ``False``: none), ``disk_cache_bytes`` (how much it may take on the disk),
    ``disk_cache_local`` (keep chunks of local files there as well: where they lie on a slow disk or
    take long to decode),
    ``engine``, ``kernels`` (``"numpy"``; ``"numba"``, compiled wherever there is such code, which
    the first run waits for; ``"auto"``, compiled where the work repays it, and without waiting),
    ``implicit_collect`` (``"allow"``, ``"warn"`` or ``"raise"``), ``recheck``, ``progress``,
    ``verbose``. Unknown names and wrong values raise
    ``ValueError``.

    >>> with Config(threads=1):
    ...     option("threads")
    1
    """

    def __init__(self, **options: Any) -> None:
        self._options = _checked(options)
        self._tokens: list[Token[Mapping[str, Any]]] = []

    def __enter__(self) -> Config:
        self._tokens.append(_context.set({**_context.get(), **self._options}))
        return self

    def __exit__(self, *exc_info: object) -> None:
        _context.reset(self._tokens.pop())

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{k}={v!r}' for k, v in self._options.items())})"


@dataclass(frozen=True, slots=True)
class QueryOptFlags:
    """Which optimizer passes run, one flag a pass.

    >>> QueryOptFlags(slice_pushdown=False).slice_pushdown
    False
    >>> flags = QueryOptFlags.none().update(simplify_expression=True)
    >>> flags.simplify_expression, flags.slice_pushdown
    (True, False)
    """

    simplify_expression: bool = True
    """Compose views of views, drop what changes nothing, merge like operations on each other."""
    slice_pushdown: bool = True
    """Move views towards the sources, so that only what is needed is read and computed."""
    overlay_culling: bool = True
    """Drop layers outside the window or hidden under later ones."""
    join_flattening: bool = True
    """Joins of joins and overlays of overlays become one; an overlay without overlap a join."""
    cast_pushdown: bool = True
    """Cast where the elements are fewest, and once instead of twice, where that is exact."""
    rechunk_elim: bool = True
    """Drop grids that nobody looks at."""
    constant_folding: bool = True
    """Compute what depends on no data, chunks that are known to be missing among it."""
    reduction_pushdown: bool = True
    """Reduce the parts of a join by themselves, where that saves work."""
    pyramid_substitution: bool = True
    """Read a stored level of a pyramid in place of computing it, where it is proven to be equal (or
    ``approx=True`` allows it to differ)."""
    lookup_tables: bool = True
    """Compute a chain of operations on 8 or 16 bits once for each possible value."""
    fusion: bool = True
    """Compute what follows a read in one pass over its values, as they are decoded."""
    comm_subplan_elim: bool = True
    """Compute what several results, or several parts of one, need of the same once."""

    def __post_init__(self) -> None:
        for field in fields(self):
            flag = getattr(self, field.name)
            if type(flag) is not bool:
                raise TypeError(f"{field.name} is True or False, not {flag!r}")

    def __repr__(self) -> str:
        off = [field.name for field in fields(self) if not getattr(self, field.name)]
        if len(off) == len(fields(self)):
            return "QueryOptFlags.none()"
        return f"QueryOptFlags({', '.join(f'{name}=False' for name in off)})"

    @classmethod
    def none(cls) -> QueryOptFlags:
        """Every pass switched off."""
        return cls(**{field.name: False for field in fields(cls)})

    def update(self, **flags: bool) -> QueryOptFlags:
        """A copy with some flags changed; ``TypeError`` for flags that do not exist.

        >>> QueryOptFlags().update(slices=False)
        Traceback (most recent call last):
        TypeError: no flag 'slices'; flags are simplify_expression, slice_pushdown, ...
        """
        names = [field.name for field in fields(self)]
        for name in flags:
            if name not in names:
                raise TypeError(f"no flag {name!r}; flags are {', '.join(names)}")
        return replace(self, **flags)
