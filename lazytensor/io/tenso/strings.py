"""Strings as packets hold them: one UTF-8 text and where each of them begins in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pickle import PickleBuffer
from typing import SupportsIndex, overload

import numpy as np

from lazytensor.errors import DTypeError, FormatError, ShapeError

__all__ = ["StringTensor", "check_offsets"]

Buffer = bytes | bytearray | memoryview


class StringTensor(Sequence[str]):
    """A sequence of strings, packed as they lie in a packet and decoded when they are asked for.

    What is not UTF-8 raises ``FormatError`` when it is asked for, and no earlier. ``np.asarray``
    gives an array of NumPy's ``StringDType``.

    >>> text = StringTensor(["hi", "", "world"])
    >>> len(text), text[-1], list(text[:2])
    (3, 'world', ['hi', ''])
    >>> np.asarray(text)
    array(['hi', '', 'world'], dtype=StringDType())
    """

    __slots__ = ("offsets", "payload")

    def __init__(self, strings: Iterable[str] = ()) -> None:
        """Pack strings; anything else among them is a ``DTypeError``."""
        texts = list(strings)
        for position, text in enumerate(texts):
            if not isinstance(text, str):
                raise DTypeError(f"expected strings, found {type(text).__name__} at {position}")
        packed = [text.encode() for text in texts]
        self.offsets = np.zeros(len(packed) + 1, "<u8")
        np.cumsum([len(one) for one in packed], out=self.offsets[1:])
        self.payload: Buffer = b"".join(packed)

    @classmethod
    def packed(cls, offsets: np.ndarray, payload: Buffer, where: str = "strings") -> StringTensor:
        """Of offsets (uint64, one more than strings) into a payload, which are checked.

        Raises ``FormatError`` naming ``where`` if they do not begin at 0, do not increase, or do
        not end where the payload does.
        """
        check_offsets(offsets, len(payload), where)
        made = cls.__new__(cls)
        made.offsets, made.payload = offsets, payload
        return made

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> StringTensor: ...

    def __getitem__(self, index: int | slice) -> str | StringTensor:
        if isinstance(index, slice):
            return self._cut(range(len(self))[index])
        return self._decoded(range(len(self))[index])

    def _decoded(self, position: int) -> str:
        start, stop = int(self.offsets[position]), int(self.offsets[position + 1])
        try:
            return bytes(self.payload[start:stop]).decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"string {position} of {len(self)} is no UTF-8: {error}") from None

    def _cut(self, positions: range) -> StringTensor:
        """The strings at some positions, still packed: nothing is decoded."""
        payload = memoryview(self.payload)
        parts = [payload[int(self.offsets[i]) : int(self.offsets[i + 1])] for i in positions]
        offsets = np.zeros(len(parts) + 1, "<u8")
        np.cumsum([len(part) for part in parts], out=offsets[1:])
        return StringTensor.packed(offsets, b"".join(parts))

    def __iter__(self) -> Iterator[str]:
        return map(self._decoded, range(len(self)))

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("strings of a packet become an array by a copy only")
        kind = np.dtypes.StringDType() if dtype is None else dtype
        return np.array(list(self), kind)  # type: ignore[call-overload,no-any-return]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StringTensor):
            return NotImplemented
        same = np.array_equal(self.offsets, other.offsets)
        return same and memoryview(self.payload) == memoryview(other.payload)

    __hash__ = None  # type: ignore[assignment]

    @property
    def shape(self) -> tuple[int]:
        """The number of strings."""
        return (len(self),)

    @property
    def nbytes(self) -> int:
        """Bytes of the text."""
        return len(self.payload)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[object, ...]:
        """From protocol 5 on the text goes out of band, as arrays do."""
        if int(protocol) < 5:
            return StringTensor.packed, (self.offsets, bytes(self.payload))
        return StringTensor._unpickled, (self.offsets, PickleBuffer(self.payload))

    @classmethod
    def _unpickled(cls, offsets: np.ndarray, payload: Buffer) -> StringTensor:
        return cls.packed(offsets, memoryview(payload).toreadonly().cast("B"))

    def __repr__(self) -> str:
        shown = ", ".join(repr(text) for text in self[:3])
        return f"StringTensor([{shown}{', ...' if len(self) > 3 else ''}], {len(self)} strings)"


def as_strings(values: np.ndarray) -> StringTensor:
    """The strings of an array with one dim of NumPy's ``StringDType`` or ``U``.

    Raises ``ShapeError`` for other dims, ``DTypeError`` for missing ones.
    """
    if values.ndim != 1:
        raise ShapeError(f"a packet holds strings along one dim, not {values.ndim}: ravel() them")
    return StringTensor(values.tolist())


def check_offsets(offsets: np.ndarray, nbytes: int, where: str) -> None:
    """Raise ``FormatError`` for offsets that do not cut a text of ``nbytes`` into strings."""
    fits = len(offsets) > 0 and int(offsets[0]) == 0 and int(offsets[-1]) == nbytes
    if not fits or bool((offsets[1:] < offsets[:-1]).any()):
        raise FormatError(f"{where}: the offsets of its strings do not rise from 0 to {nbytes}")
