"""Tables of functions that are imported when one of them is first needed.

A process that reads one window of an array needs few of the functions by which plans are worked
out, and importing all of them takes longer than the reading. So a table names the modules that have
the rest of its entries, a family of them each, and takes in a family when one of it is asked for.
What a table knows is never a matter of what was imported before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, cast

from lazytensor.plan.garbage import importing
from lazytensor.plan.registry import resolve

__all__ = ["Families", "home"]

K = TypeVar("K")
V = TypeVar("V")


def home(kind: type) -> str:
    """The module of a kind of nodes: the kinds of one module are one family.

    >>> from lazytensor.plan.nodes import Cast
    >>> home(Cast)
    'lazytensor.plan.nodes'
    """
    return kind.__module__


class Families(Generic[K, V]):
    """A table, of which families of entries come from modules that are imported at need.

    ``here``: entries that are there at once. ``families``: ``"module:table"`` by the name of a
    family. ``family`` gives the name of the family of a key; without it that is the key itself.

    >>> table = Families({"e": 101}, {"amp": "html.entities:name2codepoint"})
    >>> table["e"], table["amp"], "amp" in table, "qq" in table
    (101, 38, True, False)
    """

    __slots__ = ("_families", "_family", "_known")

    def __init__(
        self,
        here: Mapping[K, V],
        families: Mapping[Any, str],
        family: Callable[[Any], Any] | None = None,
    ) -> None:
        self._known = dict(here)
        self._families = families
        self._family = family

    def __getitem__(self, key: K) -> V:
        try:
            return self._known[key]
        except KeyError:
            self._take_in(key)
        return self._known[key]

    def __contains__(self, key: K) -> bool:
        if key not in self._known:
            self._take_in(key)
        return key in self._known

    def _take_in(self, key: K) -> None:
        target = self._families.get(self._family(key) if self._family else key)
        if target is not None:
            with importing():
                table = cast("Mapping[K, V]", resolve(target))
            # Entries that are here go first, as they did before.
            self._known = {**table, **self._known}

    def whole(self) -> Mapping[K, V]:
        """All entries; imports the modules of all families."""
        for target in self._families.values():
            self._known = {**cast("Mapping[K, V]", resolve(target)), **self._known}
        return self._known
