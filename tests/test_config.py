"""Settings: scopes, checks, and how they reach what runs."""

from __future__ import annotations

import threading

import pytest

import lazytensor as lt
from lazytensor.config import option, parse_bytes


def test_the_narrowest_scope_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    assert option("threads") is None
    monkeypatch.setenv("LAZYTENSOR_THREADS", "3")
    assert option("threads") == 3
    lt.set_config(threads=5)
    try:
        assert option("threads") == 5
        with lt.Config(threads=7):
            assert lt.get_config()["threads"] == 7
            with lt.Config(verbose=True):
                assert option("threads") == 7 and option("verbose") is True
            assert option("verbose") is False
    finally:
        lt.set_config(threads=None)
    assert option("threads") == 3


@pytest.mark.parametrize(
    "options",
    [
        {"threads": 0}, {"threads": "many"}, {"max_memory": "lots"}, {"max_memory": -1},
        {"implicit_collect": "maybe"}, {"no_such_option": 1}, {"recheck": "perhaps"},
    ],
)  # fmt: skip
def test_wrong_settings_are_refused_where_they_are_made(options: dict[str, object]) -> None:
    for setter in (lt.Config, lt.set_config):
        with pytest.raises(ValueError, match=next(iter(options))):
            setter(**options)


def test_a_wrong_environment_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAZYTENSOR_IMPLICIT_COLLECT", "perhaps")
    with pytest.raises(ValueError, match="implicit_collect"):
        option("implicit_collect")


@pytest.mark.parametrize(
    ("text", "value"), [("1KiB", 1024), ("1.5 MB", 1_500_000), (7, 7), ("2GiB", 2 << 30), ("9", 9)]
)
def test_bytes(text: object, value: int) -> None:
    assert parse_bytes(text) == value  # type: ignore[arg-type]


def test_a_context_reaches_background_collects_but_not_other_threads() -> None:
    seen: list[object] = []
    x = lt.arange(4).inspect(lambda domain, values: seen.append(option("verbose")))
    with lt.Config(verbose=True):
        x.collect(background=True).result(timeout=30)
        x.collect()
        other = threading.Thread(target=lambda: seen.append(("thread", option("verbose"))))
        other.start()
        other.join()
    assert ("thread", False) in seen
    assert all(value is True for value in seen if not isinstance(value, tuple))


def test_the_engine_is_a_setting() -> None:
    with lt.Config(engine="interpret"):
        assert lt.arange(3).collect().tolist() == [0, 1, 2]
    with lt.Config(engine="abacus"), pytest.raises(ValueError, match="abacus"):
        lt.arange(3).collect()
    with pytest.raises(ValueError, match="not available"):
        lt.arange(3).collect(engine="gpu")


def test_flags() -> None:
    flags = lt.QueryOptFlags.none()
    assert not flags.slice_pushdown and flags.update(slice_pushdown=True).slice_pushdown
    x = (lt.arange(10) + 1)[2:5]
    assert x.collect(optimizations=flags).tolist() == x.collect().tolist() == [3, 4, 5]
