"""Shards: the groups that teams are kept and rated in."""

from __future__ import annotations

from functools import lru_cache
from zlib import crc32

SHARDS = 8
"""How many there are; part of the layout, so it never changes for a home."""


@lru_cache(maxsize=1 << 16)
def shard_of(team_id: str) -> int:
    """The shard that a team's usage is kept in."""
    return crc32(team_id.encode()) % SHARDS
