"""The optimizer's driver: where laws are tried, and in which order.

One sweep visits every node once, consumers before what they consume. When the turn of a node comes,
all its consumers are known: that is what the *sharing gate* needs. A view moves below a node only
if every consumer of that node is a view that can move, for otherwise the node would be computed
twice. A moved view lands on the next node down and waits there for that node's turn, so a slice
travels through a chain of ten thousand operations in one sweep, in linear time and without
recursion. What a law returns takes its turn like every other node. After the sweep the plan is
rebuilt from below. Rebuilding makes nodes that no law has seen; only if one applies to them, or the
sharing gate was shut by a consumer that may be gone now, is there another sweep. Most plans take
one.

Each firing is checked: shape, dtype, names and domain of a replacement are those of what it
replaces. Which laws there are is in ``plan.rules.passes``.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

from lazytensor.config import QueryOptFlags
from lazytensor.plan.chains import through_chain
from lazytensor.plan.cost import reads
from lazytensor.plan.garbage import collector_waits, is_large
from lazytensor.plan.grid import DimGrid
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Rechunk, View
from lazytensor.plan.nodes_block import Call
from lazytensor.plan.rules.law import Law
from lazytensor.plan.rules.passes import PASSES
from lazytensor.plan.windows import settled_window

__all__ = ["Firing", "Trace", "optimize"]

_MAX_SWEEPS = 16
"""Laws only ever move views down and drop nodes, so sweeps end by themselves; two or three do."""

_MAX_ROUNDS = 8

_ALL = QueryOptFlags()


class Firing(NamedTuple):
    """One application of a law."""

    law: Law
    before: Node
    after: Node


class Trace:
    """Record of the laws that fired during one ``optimize``.

    >>> trace = Trace()
    >>> trace.firings, trace.summary()
    ([], '')
    """

    __slots__ = ("firings",)

    def __init__(self) -> None:
        self.firings: list[Firing] = []

    def counts(self) -> dict[str, int]:
        """How often each law fired, by name, in order of first firing."""
        return dict(Counter(firing.law.name for firing in self.firings))

    def summary(self) -> str:
        """``"view_through_cast×2 compose_views×1"``; empty if nothing fired."""
        return " ".join(f"{name}×{n}" for name, n in self.counts().items())


_memo: weakref.WeakKeyDictionary[Node, dict[QueryOptFlags, Node | None]]
_memo = weakref.WeakKeyDictionary()


def optimize(root: Node, flags: QueryOptFlags | None = None, trace: Trace | None = None) -> Node:
    """The plan that the enabled laws make of ``root``: same values, less to read and compute.

    Shape, dtype and domain stay. The result is remembered for as long as ``root`` lives, so asking
    again costs a look-up. With ``trace``, what fires is recorded in it. Nothing is read.

    >>> from lazytensor.plan.memory import array_node
    >>> from lazytensor.plan.nodes import Cast
    >>> import numpy as np
    >>> x = array_node(np.arange(3))
    >>> optimize(Cast(x, x.dtype)) is x
    True
    """
    flags = _ALL if flags is None else flags
    if trace is not None:
        with collector_waits(is_large(root)):
            return _fixpoint(root, flags, trace.firings)
    return settled_window(root, flags) or _remembered(
        root, flags, lambda: _chain(root, flags) or _fixpoint(root, flags, [])
    )


def _remembered(root: Node, flags: QueryOptFlags, make: Callable[[], Node]) -> Node:
    known = _memo.get(root)
    if known is None:
        known = _memo[root] = {}
    else:
        # None stands for the root itself: an entry that held its own key would never die.
        found = known.get(flags, root)
        if found is not root:
            return found or root
    with collector_waits(is_large(root)):
        result = make()
    known[flags] = None if result is root else result
    return result


def _chain(root: Node, flags: QueryOptFlags) -> Node | None:
    """What laws make of a chain of operations, found without the driver; else None."""
    if not (flags.simplify_expression and flags.slice_pushdown):
        return None
    laws = _enabled(flags)

    def has_law(node: Node) -> bool:
        for law in laws.alone.get(type(node), ()):
            after = law.apply(node)
            if after is not None and after is not node:
                return True
        return False

    def below(node: Node) -> Node:
        # By the driver, which does not recur: chains may follow each other by the thousand.
        return _remembered(node, flags, lambda: _fixpoint(node, flags, []))

    return through_chain(root, has_law, below)


def _fixpoint(root: Node, flags: QueryOptFlags, firings: list[Firing]) -> Node:
    laws = _enabled(flags)
    quiet: set[tuple[Node, ...]] = set()
    after = root
    for _ in range(_MAX_SWEEPS):
        sweep = _Sweep(after, laws, firings, quiet)
        after = sweep.run()
        if sweep.is_settled():
            break
    if any(firing.law.flag == "pyramid_substitution" for firing in firings):
        return _unless_dearer(after, root, flags, firings)
    return after


def _unless_dearer(after: Node, root: Node, flags: QueryOptFlags, firings: list[Firing]) -> Node:
    """A plan that reads levels of a pyramid; the one without if that reads less.

    It does where the finer level is read all the same, for something else.
    """
    fired: list[Firing] = []
    without = _fixpoint(root, flags.update(pyramid_substitution=False), fired)
    if reads(after) <= reads(without):
        return after
    firings[:] = fired
    return without


class _Laws(NamedTuple):
    """Laws by the node kind they are tried on, in the order of ``PASSES``."""

    alone: dict[type[Node], tuple[Law, ...]]
    under_view: dict[type[Node], tuple[Law, ...]]
    under: dict[type[Node], dict[type[Node], tuple[Law, ...]]]
    """By the kind below, then by the kind above, other than a view."""
    folding: dict[type[Node], tuple[Law, ...]]
    """Those on one kind that make constants: tried from below too, where constants come from."""
    kinds: frozenset[type[Node]]


@lru_cache(maxsize=64)
def _enabled(flags: QueryOptFlags) -> _Laws:
    alone: dict[type[Node], list[Law]] = {}
    under_view: dict[type[Node], list[Law]] = {}
    under: dict[type[Node], dict[type[Node], tuple[Law, ...]]] = {}
    folding: dict[type[Node], list[Law]] = {}
    for law in PASSES:
        if not getattr(flags, law.flag):
            continue
        *above, kind = law.kinds
        if not above:
            alone.setdefault(kind, []).append(law)
            if law.flag == "constant_folding":
                folding.setdefault(kind, []).append(law)
        elif above[0] is View:
            under_view.setdefault(kind, []).append(law)
        else:
            found = under.setdefault(kind, {})
            found[above[0]] = (*found.get(above[0], ()), law)
    return _Laws(
        {kind: tuple(laws) for kind, laws in alone.items()},
        {kind: tuple(laws) for kind, laws in under_view.items()},
        under,
        {kind: tuple(laws) for kind, laws in folding.items()},
        frozenset([*alone, *under_view]),
    )


_Users = dict[Node | None, None]
"""Consumers of a node, in order; None stands for the caller who wants the root."""


class _Sweep:
    """One visit of every node, and the plan that comes of it."""

    __slots__ = (
        "becomes", "firings", "fresh", "held_back", "laws", "level", "pending",
        "quiet", "root", "rounds", "users", "waiting",
    )  # fmt: skip

    def __init__(
        self, root: Node, laws: _Laws, firings: list[Firing], quiet: set[tuple[Node, ...]]
    ) -> None:
        self.root = root
        self.laws = laws
        self.firings = firings
        self.becomes: dict[Node, Node] = {}
        self.users: dict[Node, _Users] = {}
        # Nodes that no law applies to, from one sweep to the next: a law sees nothing but them.
        self.quiet = quiet
        # A consumer is higher than what it consumes. Moving a view down never adds a consumer to a
        # node above the one whose turn it is, so at a node's turn its consumers are complete.
        self.waiting: list[list[Node]] = []
        self.pending: set[Node] = set()
        self.rounds: dict[Node, int] = {}
        self.level = -1
        # Nodes made while rebuilding; and whether the sharing gate kept a view from moving.
        self.fresh: list[Node] = []
        self.held_back = False

    def run(self) -> Node:
        """Visit, then rebuild from below."""
        self._use(self.root, None)
        while self.level >= 0:
            nodes = self.waiting[self.level]
            if nodes:
                self._turn(nodes.pop())
            else:
                self.level -= 1
        return self._rebuilt() if self.becomes else self.root

    def is_settled(self) -> bool:
        """True if another sweep over the result would find nothing to do."""
        if not self.becomes:
            return True
        if self.held_back:
            return False
        return not any(map(self._has_law, self.fresh))

    def _has_law(self, node: Node) -> bool:
        laws = self.laws.alone.get(type(node))
        if laws is not None and self._find(laws, node) is not None:
            return True
        if type(node) is View and 0 not in node.shape:
            laws = self.laws.under_view.get(type(node.x))
            return laws is not None and self._find(laws, node, node.x) is not None
        for below in node.inputs:
            laws = self.laws.under.get(type(below), {}).get(type(node))
            if laws is not None and self._find(laws, node, below) is not None:
                return True
        return False

    def _use(self, node: Node, user: Node | None) -> None:
        """``user`` consumes ``node``: it takes a turn, or another one, with that known."""
        while (after := self.becomes.get(node)) is not None:
            node = after
        users = self.users.get(node)
        if users is None:
            if node.inputs or type(node) in self.laws.kinds:
                self.users[node] = {user: None}
                self._enqueue(node)
        elif user not in users:
            users[user] = None
            self._enqueue(node)

    def _enqueue(self, node: Node) -> None:
        if node in self.pending:
            return
        self.pending.add(node)
        height = node.height
        if height >= len(self.waiting):
            self.waiting.extend([] for _ in range(height + 1 - len(self.waiting)))
        self.waiting[height].append(node)
        # A replacement may be higher than what it replaces.
        if height > self.level:
            self.level = height

    def _turn(self, node: Node) -> None:
        self.pending.remove(node)
        if node in self.becomes:
            return
        users = self.users[node]
        views = [user for user in users if type(user) is View]
        if views:
            # An empty view asks for nothing: there is no part of the node that it could move to.
            asking = [view for view in views if 0 not in view.shape]
            if asking:
                self._move(node, asking, shared=len(views) < len(users))
            if not users:
                return
        if type(node) in self.laws.under and self._merge(node, users):
            return
        laws = self.laws.alone.get(type(node))
        found = None if laws is None else self._find(laws, node)
        if found is not None:
            self.firings.append(found)
            self._become(node, found.after)
            return
        for child in node.inputs:
            self._use(child, node)

    def _move(self, node: Node, views: list[View], *, shared: bool) -> None:
        """Let the views on ``node`` move below it, as far as laws and the sharing gate allow."""
        laws = self.laws.under_view.get(type(node))
        if laws is None:
            return
        if shared and all(law.gated for law in laws):
            self.held_back = True
            return
        moved = [self._unless_circling(self._find(laws, view, node), node) for view in views]
        # Who stays needs the node: what a gated law moves then would be computed twice.
        stays = shared or any(found is None for found in moved)
        for view, found in zip(views, moved, strict=True):
            if found is None:
                continue
            if stays and found.law.gated:
                self.held_back = True
                continue
            self.firings.append(found)
            del self.users[node][view]
            self._become(view, found.after)

    def _merge(self, node: Node, users: _Users) -> bool:
        """Let the one consumer of ``node`` take it in, if a law says so; then nobody needs it."""
        above = next(iter(users))
        if above is None:
            return False
        laws = self.laws.under[type(node)].get(type(above))
        if laws is None:
            return False
        if len(users) > 1:
            self.held_back = True
            return False
        found = self._find(laws, above, node)
        if found is None:
            return False
        self.firings.append(found)
        del users[above]
        self._become(above, found.after)
        return True

    def _unless_circling(self, found: Firing | None, node: Node) -> Firing | None:
        """None once a view has stayed above the same kind of node again and again.

        A law leaves part of a view above the node it made; a few rounds later nothing should be
        left to do. Should a law never see that, the plan is left as it is: slower is not wrong.
        """
        if found is None or type(found.after) is not View or type(found.after.x) is not type(node):
            return found
        rounds = self.rounds.get(node, 0) + 1
        if rounds > _MAX_ROUNDS:
            return None
        self.rounds[found.after.x] = max(rounds, self.rounds.get(found.after.x, 0))
        return found

    def _find(self, laws: Iterable[Law], *nodes: Node) -> Firing | None:
        """The first law that applies, checked."""
        if nodes in self.quiet:
            return None
        for law in laws:
            after = law.apply(*nodes)
            if after is not None and after is not nodes[0]:
                _check(law, nodes[0], after)
                return Firing(law, nodes[0], after)
        self.quiet.add(nodes)
        return None

    def _become(self, node: Node, after: Node) -> None:
        """Replace ``node``; its consumers consume ``after``, views on it are made anew."""
        self.becomes[node] = after
        for user in self.users.pop(node):
            if type(user) is View:
                self._become(user, View(after, user.transform))
            else:
                self._use(after, user)

    def _rebuilt(self) -> Node:
        final: dict[Node, Node] = {}
        stack = [self.root]
        while stack:
            node = stack[-1]
            after = self.becomes.get(node)
            needed = node.inputs if after is None else (after,)
            missing = [child for child in needed if child not in final]
            if missing:
                stack.extend(missing)
                continue
            stack.pop()
            if after is not None:
                final[node] = final[after]
            elif node not in final:
                rebuilt = _on(node, tuple([final[child] for child in node.inputs]))
                if rebuilt is not node:
                    rebuilt = self._folded(rebuilt)
                    self.fresh.append(rebuilt)
                final[node] = rebuilt
        return final[self.root]

    def _folded(self, node: Node) -> Node:
        """What a new node is if its inputs have become constants."""
        for law in self.laws.folding.get(type(node), ()):
            after = law.apply(node)
            if after is not None and after is not node:
                _check(law, node, after)
                self.firings.append(Firing(law, node, after))
                return after
        return node


def _on(node: Node, inputs: tuple[Node, ...]) -> Node:
    """``node`` on optimised inputs."""
    if inputs == node.inputs:
        return node
    after = node.with_inputs(inputs)
    if type(node) is Call and not _same_cells(node.grid, after.grid):
        # A user's function is given whole cells of its first input: those must not change.
        return _on_cells(node, inputs)
    return after


def _on_cells(call: Call, inputs: tuple[Node, ...]) -> Node:
    """A call on optimised inputs, the first one in the cells that it had."""
    if all(cells is not None for cells in call.grid):
        sizes = tuple([cells.nominal for cells in call.grid if cells is not None])
        after = call.with_inputs((Rechunk(inputs[0], sizes), *inputs[1:]))
        if _same_cells(call.grid, after.grid):
            return after
    return call.with_inputs((call.inputs[0], *inputs[1:]))


_MANY_CELLS = 4096


def _same_cells(before: tuple[DimGrid | None, ...], after: tuple[DimGrid | None, ...]) -> bool:
    """True if both grids cut at the same positions; False also where that is too long to see."""
    for a, b in zip(before, after, strict=True):
        if a == b:
            continue
        if a is None or b is None or a.extent != b.extent:
            return False
        if max(a.count, b.count) > _MANY_CELLS:
            return False
        if a.edges_between(0, a.extent) != b.edges_between(0, b.extent):
            return False
    return True


def _check(law: Law, before: Node, after: Node) -> None:
    """A law that changes what a plan means is a bug here, never the user's."""
    if after.dtype == before.dtype and after.domain == before.domain:
        return
    raise AssertionError(
        f"law {law.name} ({law.statement}) turned {before!r} over {before.domain!r} "
        f"into {after!r} over {after.domain!r}"
    )
