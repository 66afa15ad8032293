"""What the sources of arrays in packets have in common: where the packet is, and what it is called.

How values lie in it is the business of those who derive from this (``dense_source``,
``sparse_source``).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from types import MappingProxyType
from typing import Any, cast

from lazytensor.errors import SerializationError
from lazytensor.io.stored import Stored
from lazytensor.io.tenso.storage import TensoStorage
from lazytensor.plan.source import Storage
from lazytensor.plan.spec import TensorSpec

__all__ = ["InPacket", "Place"]


class Place:
    """Which packet of a file a source reads, and how it was asked to.

    ``path``: number of the packet in the file, then keys of the bundles that it is in. ``part``:
    which part of the packet. ``document``: what reopens it, beside the place of the file.
    """

    __slots__ = ("legacy", "part", "path", "verify")

    def __init__(
        self, path: tuple[int | str, ...], part: str, verify: str, *, legacy: bool
    ) -> None:
        self.path = path
        self.part = part
        self.verify = verify
        self.legacy = legacy

    @property
    def identity(self) -> Hashable:
        """Equal for the same."""
        return self.path, self.part, self.verify, self.legacy

    @property
    def suffix(self) -> str:
        """What names the packet behind the name of the file; nothing of a file of one."""
        keys = self.path[1:] if self.path[0] == 0 else self.path
        return "".join(f"[{key!r}]" for key in keys)

    def to_json(self) -> dict[str, Any]:
        """As a document has it."""
        return {
            "packet": list(self.path),
            "part": self.part,
            "verify": self.verify,
            "legacy": self.legacy,
        }


class InPacket:
    """Base of sources of one array in a packet.

    ``facts``: what ``storage`` says of it. ``make(stored, place, packet)`` makes it anew.
    """

    padded = False

    def __init__(
        self,
        spec: TensorSpec,
        stored: Stored,
        place: Place,
        packet: Any,
        facts: Mapping[str, Any],
        make: Callable[..., Any],
    ) -> None:
        self.spec = spec
        self.key: Hashable = ("tenso", stored.identity, place.identity)
        self._stored = stored
        self._place = place
        self._packet = packet
        self._facts = facts
        self._make = make

    def __reduce__(self) -> tuple[Any, ...]:
        return self._make, (self._stored, self._place, self._packet)

    @property
    def label(self) -> str:
        """``"tenso <place>"``."""
        return f"tenso {self._stored.name}{self._place.suffix}"

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"{name}({self.label!r}, shape={self.spec.shape}, dtype={self.spec.dtype})"

    @property
    def attrs(self) -> Mapping[str, Any]:
        """The format has none."""
        return {}

    def check(self) -> None:
        """``SourceChangedError`` when the file is another one than was scanned."""
        self._stored.check()

    def _storage(
        self,
        chunks: tuple[int, ...],
        codecs: tuple[Any, ...],
        nbytes: int,
        fill_value: Any = None,
    ) -> Storage:
        """How it is stored, in so many bytes."""
        facts = TensoStorage(
            uri=self._stored.store.uri or self._stored.name,
            path="/".join(map(str, self._place.path[1:])),
            shape=self.spec.shape,
            chunks=chunks,
            codecs=codecs,
            metadata=MappingProxyType(dict(self._facts)),
            key=self.key,
            sizes=(nbytes, self.spec.nbytes),
            fill_value=fill_value,
        )
        return cast("Storage", facts)  # the protocol cannot say that its fields are read only

    def to_json(self) -> dict[str, Any]:
        """Where the file and the packet are; ``SerializationError`` for bytes in memory."""
        uri = self._stored.store.uri
        if uri is None:
            raise SerializationError(f"{self.label}: bytes in memory have no location to refer to")
        return {
            "format": "tenso",
            "uri": uri,
            "key": self._stored.key,
            "mmap": self._stored.mapped,
            **self._place.to_json(),
        }
