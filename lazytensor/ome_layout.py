"""Letters of microscopy images, and tensors brought into an order of letters.

An image has the dims T, Z, C, Y and X, of which H and W are other names for Y and X. Tensors say
them by the names of their dims, or, without names, by their number. What is asked for as a string
of letters is worked out here, for views (``ome``) and for images that are opened in a layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lazytensor.build_views import permute_dims, view
from lazytensor.callsite import about
from lazytensor.errors import DimensionError, ShapeError
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node
from lazytensor.plan.selection import positional
from lazytensor.sources import asarray
from lazytensor.tensor import LazyTensor

__all__ = ["LETTERS", "arranged", "laid_out", "letters_of", "parse_layout", "parse_policy"]

LETTERS = "TZCYX"
"""The dims of an image, in the order that views have by themselves."""

_ALIASES = str.maketrans({"H": "Y", "W": "X"})
_UNNAMED = "TCZYX"
"""What dims without names are: the last letters of this, as files have them."""


def laid_out(x: Any, layout: str | None, *, channel_policy: str = "error") -> LazyTensor:
    """An image with its dims in the order of ``layout``, and named by its letters in lower case.

    Parameters
    ----------
    x
        A tensor, or what ``lt.asarray`` takes, with dims named t, c, z, y, x (or h, w), any of them
        in any order; without names the last dims of TCZYX.
    layout
        Letters of TZCYX, H and W being Y and X, in upper or lower case. A dim that ``x`` does not
        have is new and of size 1; one that is not among the letters is dropped and has to be of
        size 1. None or ``""``: the dims that there are, as they are.
    channel_policy
        ``"first"``: where C is dropped, the first channel of several is kept. ``"error"``: not.

    Raises ``DimensionError`` for other letters, letters that occur twice and dims with other names,
    ``ShapeError`` naming the dim that cannot be dropped. Both are a ``ValueError``. Rule: layouts
    of ome-arrow 0.1.0.

    >>> x = lt.asarray(np.arange(6).reshape(1, 2, 3), dims=("c", "y", "x"))
    >>> laid_out(x, "XYZ")
    LazyTensor(x: 3, y: 2, z: 1)  int64  48 B  chunks (3, 2, 1)
    """
    x = asarray(x)
    with about(x):
        letters = letters_of(x.dims)
        wanted = parse_layout(layout) or letters
        first = parse_policy(channel_policy)
        return LazyTensor._wrap(arranged(x._node, letters, wanted, first_channel=first))


def letters_of(dims: Sequence[str]) -> str:
    """The letter of each dim of an image, by its name or, if none has one, its place.

    Raises ``DimensionError`` for names that are no letters of an image, two dims of one letter, and
    dims of which only some are named, or more than five without names.

    >>> letters_of(("c", "h", "w")), letters_of(("", "", ""))
    ('CYX', 'ZYX')
    """
    if not any(dims):
        if len(dims) > len(_UNNAMED):
            raise DimensionError(
                f"{len(dims)} dims without names: an image has at most 5, t c z y x; index the "
                f"others, or name those of the image"
            )
        return _UNNAMED[len(_UNNAMED) - len(dims) :]
    letters = [name.upper().translate(_ALIASES) for name in dims]
    for name, letter in zip(dims, letters, strict=True):
        if len(letter) != 1 or letter not in LETTERS:
            raise DimensionError(
                f"dim {name!r} of {tuple(dims)} is none of an image, which are named t, c, z, y, "
                f"x (or h, w): rename it with x.label[...], or select one position of it"
            )
        if letters.count(letter) > 1:
            raise DimensionError(f"several of the dims {tuple(dims)} are {letter}")
    return "".join(letters)


def parse_layout(layout: str | None) -> str | None:
    """The letters of a layout with Y and X for H and W; None where none is asked for.

    Raises ``DimensionError`` (a ``ValueError``) for other letters, and letters that occur twice.

    >>> parse_layout(" chw "), parse_layout("")
    ('CYX', None)
    """
    if layout is None or layout == "":
        return None
    if not isinstance(layout, str):
        raise TypeError(f"a layout is a string of letters such as 'CYX', not {layout!r}")
    letters = layout.strip().upper().translate(_ALIASES)
    if not letters:
        raise DimensionError(f"layout {layout!r} has no letters; leave it out for the usual one")
    for letter in letters:
        if letter not in LETTERS:
            raise DimensionError(
                f"layout {layout!r}: {letter!r} is none of T, Z, C, Y, X (H and W are Y and X)"
            )
        if letters.count(letter) > 1:
            raise DimensionError(f"layout {layout!r} has {letter!r} twice (H and W are Y and X)")
    return letters


def parse_policy(channel_policy: str) -> bool:
    """Whether the first of several channels is kept where C is dropped.

    Raises ``ValueError`` for what is neither ``"error"`` nor ``"first"``.

    >>> parse_policy("first")
    True
    """
    policy = str(channel_policy).strip().lower()
    if policy not in ("error", "first"):
        raise ValueError(f"channel_policy={channel_policy!r} is neither 'error' nor 'first'")
    return policy == "first"


def arranged(node: Node, letters: str, layout: str, *, first_channel: bool = False) -> Node:
    """The node with the dims of ``layout``; ``letters`` says what each of its dims is.

    ``first_channel``: dropping C keeps the first of several channels. Raises ``ShapeError`` naming
    the dim that cannot be dropped.
    """
    for letter in LETTERS:
        if letter not in letters or letter in layout:
            continue
        size = node.shape[letters.index(letter)]
        if size != 1 and not (letter == "C" and first_channel and size):
            raise ShapeError(
                f"layout {layout!r} drops non-singleton dimension {letter!r}, of size {size}"
                + (": select one channel, or say channel_policy='first'" * (letter == "C"))
            )
    dropped = [0 if letter not in layout else slice(None) for letter in letters]
    new = [letter for letter in layout if letter not in letters]
    have = new + [letter for letter in letters if letter in layout]
    node = view(node, positional(node.domain, (*[None] * len(new), *dropped)))
    if have != list(layout):
        node = permute_dims(node, [have.index(letter) for letter in layout])
    names = tuple(layout.lower())
    if node.domain.labels == names:
        return node
    return view(node, IndexTransform.identity(node.domain).label[names])
