"""What a pyramid level says of the array it was made from, and how far that is proven.

A level that holds exactly what a downsample would compute may be read in its place. Metadata of
pyramids gives scales but not how a level was made, so a writer that knows *stamps* it: the stamp
names the method, the factors, and the two arrays it is about. It stands in the level's attributes:

``{"lazytensor": {"content": "<id>", "stamp": {"version": 1, "method": "mean", "factors": [1, 2, 2],
"source_key": "<digest>", "own_key": "<digest>"}}}``

Every array that is written so carries a random ``content`` id in its attributes, a new one whenever
a writer changes a value of it. The key of an array is a digest of that id and of its metadata
document without attributes (shape, dtype, chunks, codecs, fill value). A stamp holds while both
arrays still have the keys it names.

What this proves: nobody who keeps to it has written to either array since, neither was resized,
encoded otherwise or replaced, and the level was computed by the rules of version 1 of the methods.
What it cannot prove: a foreign tool that rewrites chunks and leaves all metadata as it was goes
unseen, as no metadata could show it; whoever has such tools switches
``QueryOptFlags(pyramid_substitution=False)``. A writer stamps a level only if both arrays are
stored without loss: of what a lossy codec gives back nothing is known.

Here is the format and what follows from it, without any reading: sources hand over the documents
that they were opened with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from lazytensor.plan.downsampling import METHODS
from lazytensor.plan.source import Source

__all__ = [
    "ATTRIBUTE",
    "Level",
    "LeveledSource",
    "Stamp",
    "content_key",
    "derived_from",
    "describe_level",
    "like_levels",
    "make_attributes",
    "new_content",
    "proven_levels",
    "read_stamp",
]

ATTRIBUTE = "lazytensor"
"""The attribute that holds the content id and the stamp of an array."""

_VERSION = 1
# Documents say these elsewhere, or of other arrays.
_NOT_ITS_OWN = frozenset({"attributes", "consolidated_metadata"})
_LONGEST_ID = 256

_SAME_SCALE = 0.01
"""By how much (relative) the scales of two levels may differ from a whole factor."""


class Stamp(NamedTuple):
    """How a level was made: ``downsample(source, factors, method)``, blocks from coordinate 0.

    ``source_key``, ``own_key``: which arrays that is said of.
    """

    method: str
    factors: tuple[int, ...]
    source_key: str
    own_key: str


class LeveledSource(Source, Protocol):
    """A source that belongs to a pyramid. Laws and faces ask whether the attributes are there.

    All of it is known when the source is opened.
    """

    @property
    def levels(self) -> tuple[Source, ...]:
        """All levels of the pyramid, finest first, this one among them."""
        ...

    @property
    def content(self) -> str | None:
        """The key of the array (``content_key``), None if it has none."""
        ...

    @property
    def stamp(self) -> Stamp | None:
        """How the array was made, as far as its own part holds (``read_stamp``)."""
        ...


class Level(NamedTuple):
    """A coarser array, and the factors by which it is one, per dimension."""

    source: Source
    factors: tuple[int, ...]


def new_content() -> str:
    """A content id that no array has had before: for every array written, and every change to one.

    >>> len(new_content()), new_content() == new_content()
    (32, False)
    """
    from secrets import token_hex

    return token_hex(16)


def content_key(document: Mapping[str, Any], attributes: Mapping[str, Any]) -> str | None:
    """What names the contents of an array: a digest of its metadata and its content id.

    None for an array without a content id, whose contents may change unseen.

    >>> key = content_key({"shape": [4]}, {"lazytensor": {"content": "c0ffee"}, "title": "cells"})
    >>> key == content_key({"shape": [4]}, {"lazytensor": {"content": "c0ffee"}})
    True
    >>> key == content_key({"shape": [5]}, {"lazytensor": {"content": "c0ffee"}})
    False
    """
    ours = attributes.get(ATTRIBUTE)
    content = ours.get("content") if isinstance(ours, Mapping) else None
    if not isinstance(content, str) or not 0 < len(content) <= _LONGEST_ID:
        return None
    own = {name: value for name, value in document.items() if name not in _NOT_ITS_OWN}
    try:
        text = json.dumps([content, own], sort_keys=True, separators=(",", ":"))
    except RecursionError:
        # What is nested too deep to be written down again cannot be compared either.
        return None
    from hashlib import blake2b

    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def make_attributes(content: str, stamp: Stamp | None = None) -> dict[str, Any]:
    """The attributes that give an array a content id and, if it is a level, its stamp.

    A writer of a pyramid takes ``new_content()`` for each array, works out the ``content_key`` of
    each from the document it writes, and then knows what the stamps say.

    >>> make_attributes("c0ffee")
    {'lazytensor': {'content': 'c0ffee'}}
    """
    ours: dict[str, Any] = {"content": content}
    if stamp is not None:
        ours["stamp"] = {
            "version": _VERSION,
            "method": stamp.method,
            "factors": list(stamp.factors),
            "source_key": stamp.source_key,
            "own_key": stamp.own_key,
        }
    return {ATTRIBUTE: ours}


def read_stamp(document: Mapping[str, Any], attributes: Mapping[str, Any]) -> Stamp | None:
    """The stamp of an array, if there is one of a known version that is about what it holds now.

    Whether the array it was computed from is still the same, ``proven_levels`` sees.
    """
    ours = attributes.get(ATTRIBUTE)
    found = ours.get("stamp") if isinstance(ours, Mapping) else None
    if not isinstance(found, Mapping) or found.get("version") != _VERSION:
        return None
    factors, method = found.get("factors"), found.get("method")
    if method not in METHODS or not isinstance(factors, list):
        return None
    if any(type(f) is not int or f < 1 for f in factors):
        return None
    own, source = found.get("own_key"), found.get("source_key")
    if not isinstance(source, str) or own is None or own != content_key(document, attributes):
        return None
    return Stamp(method, tuple(factors), source, own)


def _coarser(source: Source) -> Iterator[Source]:
    """The other levels of its pyramid that a source could have been made into."""
    spec = source.spec
    for level in getattr(source, "levels", ()):
        same_kind = level.spec.dtype == spec.dtype and level.spec.ndim == spec.ndim
        if same_kind and level.spec.size < spec.size:
            yield level


def proven_levels(source: Source, method: str) -> list[Level]:
    """The levels that are stamped as downsamples of ``source``, the coarsest first."""
    content = getattr(source, "content", None)
    if content is None:
        return []
    found = []
    for level in _coarser(source):
        stamp: Stamp | None = getattr(level, "stamp", None)
        if stamp is None or stamp.source_key != content or stamp.method != method:
            continue
        if _fits(source, level, stamp.factors):
            found.append(Level(level, stamp.factors))
    return sorted(found, key=lambda level: level.source.spec.size)


def _fits(source: Source, level: Source, factors: Sequence[int]) -> bool:
    """Whether a level lies where downsampling by some factors would put it."""
    fine, coarse = source.spec.domain, level.spec.domain
    if len(factors) != fine.rank:
        return False
    return all(
        (a // f, -(-b // f)) == (lo, hi)
        for a, b, f, lo, hi in zip(
            fine.inclusive_min,
            fine.exclusive_max,
            factors,
            coarse.inclusive_min,
            coarse.exclusive_max,
            strict=True,
        )
    )


def like_levels(source: Source, wanted: Sequence[int]) -> list[Level]:
    """The levels that look like downsamples of ``source``, however they were made, coarsest first.

    A level looks like one if its extents are those of the source divided by whole factors, rounded
    up or down, and so are its scales where both say one. ``wanted`` settles which factor is meant
    where extents alone leave it open.
    """
    found = []
    for level in _coarser(source):
        factors = [_factor(source, level, d, f) for d, f in enumerate(wanted)]
        if None not in factors:
            found.append(Level(level, tuple([f for f in factors if f is not None])))
    return sorted(found, key=lambda level: level.source.spec.size)


def _factor(source: Source, level: Source, d: int, wanted: int) -> int | None:
    """By how much a level is coarser along a dim; None if by no whole factor."""
    fine, coarse = source.spec.shape[d], level.spec.shape[d]
    if not fine or not coarse:
        return None
    old, new = source.spec.axes[d].scale, level.spec.axes[d].scale
    if old and new:
        ratio = new / old
        factor = max(1, round(ratio)) if abs(ratio) < fine + coarse else 0
        if abs(ratio - factor) > _SAME_SCALE * factor:
            return None
    else:
        factor = wanted if coarse == -(-fine // wanted) else max(1, round(fine / coarse))
    lo = source.spec.domain.inclusive_min[d]
    if not factor or level.spec.domain.inclusive_min[d] != lo // factor:
        return None
    return factor if coarse in (fine // factor, -(-fine // factor)) else None


def derived_from(source: Source) -> Source | None:
    """The level of the same pyramid that the stamp of a source names, if it is still the same."""
    stamp: Stamp | None = getattr(source, "stamp", None)
    if stamp is None:
        return None
    for level in getattr(source, "levels", ()):
        if level is not source and getattr(level, "content", None) == stamp.source_key:
            return level if _fits(level, source, stamp.factors) else None
    return None


def describe_level(source: Source) -> str:
    """Which level of a pyramid a source is and, if that is proven, what it holds; else empty.

    Of the finest nothing is said.
    """
    levels = getattr(source, "levels", ())
    number = next((i for i, level in enumerate(levels) if level.key == source.key), 0)
    if not number:
        return ""
    base = derived_from(source)
    if base is None:
        return f"level {number}"
    stamp: Stamp = source.stamp  # type: ignore[attr-defined]
    of = next(i for i, level in enumerate(levels) if level is base)
    below = "" if of == 0 else f" of level {of}"
    return f"level {number} ← downsample {stamp.factors} {stamp.method}{below} · stamped"
