"""What this process has read and computed so far (``lt.metrics``)."""

from __future__ import annotations

from typing import Any

from lazytensor.plan.counters import GAUGES, snapshot

__all__ = ["metrics"]

_ALWAYS = ("tasks", "units_read", "bytes_read", "bytes_decoded")


def metrics(reset: bool = False) -> dict[str, Any]:
    """Counters of this process since its start, or since the last ``metrics(reset=True)``.

    ``tasks``: tasks run by engines; ``units_read``: stored chunks read; ``bytes_read``: stored
    bytes read; ``bytes_decoded``: bytes they decoded to. Others are there once they are not 0, such
    as ``chunks_missing``, ``cache_hits`` (decoded chunks, and indices of shards, that were kept),
    ``cache_misses`` (chunks that were not, though they may be) and
    ``outputs_recycled`` (results that are in memory of former ones, which nobody had any more).

    ``cache``: a mapping of its own, with ``hits`` and ``misses`` again, and ``nbytes``, which the
    cache of decoded chunks takes now. ``disk_cache``: the same of chunks on the disk, and
    ``evictions``, how many this process has removed there; its ``nbytes`` are those of the folders
    this process has written to, as it last saw them.

    >>> sorted(lt.metrics())[:2]
    ['bytes_decoded', 'bytes_read']
    >>> sorted(lt.metrics()["cache"])
    ['hits', 'misses', 'nbytes']
    """
    found = snapshot(reset)
    nbytes = GAUGES.get("cache_nbytes")
    cache = {
        "hits": found.get("cache_hits", 0),
        "misses": found.get("cache_misses", 0),
        "nbytes": 0 if nbytes is None else nbytes(),
    }
    on_disk = GAUGES.get("disk_cache_nbytes")
    disk_cache = {
        "hits": found.get("disk_cache_hits", 0),
        "misses": found.get("disk_cache_misses", 0),
        "nbytes": 0 if on_disk is None else on_disk(),
        "evictions": found.get("disk_cache_evictions", 0),
    }
    return {**dict.fromkeys(_ALWAYS, 0), **found, "cache": cache, "disk_cache": disk_cache}
