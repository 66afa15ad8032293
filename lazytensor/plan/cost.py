"""What a plan will read and hold, as one small record.

The numbers are worked out in ``exec``, where tasks are known; the record is here because plans
print it (``explain``) and tests compare it, without an engine.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Estimate", "format_bytes", "format_count"]

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def format_count(n: int) -> str:
    """``2304`` as ``"2 304"``: thousands set off by spaces.

    >>> format_count(1234567)
    '1 234 567'
    """
    return f"{n:_}".replace("_", " ")


def format_bytes(n: int) -> str:
    """A number of bytes in the largest binary unit that leaves at least 1.

    >>> format_bytes(8192), format_bytes(1_150_000), format_bytes(300), format_bytes(288 << 20)
    ('8 KiB', '1.1 MiB', '300 B', '288 MiB')
    """
    value = float(n)
    unit = 0
    # 1023.5 would be printed as 1024 of its unit.
    while value >= 1023.5 and unit < len(_UNITS) - 1:
        value /= 1024
        unit += 1
    text = f"{value:.1f}" if unit and value < 9.95 else f"{value:.0f}"
    return f"{text.removesuffix('.0')} {_UNITS[unit]}"


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a collect will do, in tasks, chunks and bytes.

    Attributes
    ----------
    tasks
        Number of tasks.
    chunks_read, chunks_total
        Read units that are needed, and that the sources of the plan have; exact, but for gathers
        from an operation that they cannot move below: of those, what the whole result needs,
        which may be more than its tasks read one by one.
    bytes_read
        Stored bytes that will be fetched; extrapolated unless an exact estimate was asked for.
    bytes_decoded
        Bytes of the needed units once decoded; exact where ``chunks_read`` is.
    peak_memory
        Upper bound of the bytes held at one time, the result included.

    >>> print(Estimate(1, 1, 4, 115_000, 524_288, 1_150_000))
    reads 1 of 4 chunks, ~112 KiB · peak memory ≤ 1.1 MiB · 1 task
    """

    tasks: int
    chunks_read: int
    chunks_total: int
    bytes_read: int
    bytes_decoded: int
    peak_memory: int

    def __str__(self) -> str:
        return (
            f"reads {format_count(self.chunks_read)} of {format_count(self.chunks_total)} chunks, "
            f"~{format_bytes(self.bytes_read)} · peak memory ≤ {format_bytes(self.peak_memory)} · "
            f"{format_count(self.tasks)} task{'s' * (self.tasks != 1)}"
        )
