"""Heads of the log, kept where nobody who writes into the books can write: a file a day, never replaced.

A file is named ``2026-08-02-000814.head`` by the day in UTC and the row's number, and holds the head as it is printed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from billing.core.errors import ConservationBroken, NotFound
from billing.outbound.new_files import create
from billing.steps.audit.chain import Head, verify_log
from billing.steps.places import Place
from billing.store import log
from billing.store.home import Home

SUFFIX = ".head"
_REFUSED = "heads cannot be kept or read"


@dataclass(frozen=True, kw_only=True, slots=True)
class Heads(Place):
    """A place of heads."""

    def read(self) -> dict[str, Head]:
        """Every head by the name of its file, in the order of the names. A file that holds none is refused."""
        with self.reaching(_REFUSED):
            files = self.storage()
            files.invalidate_cache()
            root = self.root(files)
            there = sorted(place for place in files.find(root) if place.endswith(SUFFIX)) if files.exists(root) else []
            found = {place.removeprefix(root).lstrip("/"): files.cat_file(place) for place in there}
        return {name: Head.parse(content.decode("utf-8", "replace")) for name, content in found.items()}

    def keep(self, name: str, head: Head) -> bool:
        """Write one, whole or not at all, and never over one that is there; whether it is new.

        Raises ``ConservationBroken`` where a file of that name holds another head.
        """
        with self.reaching(_REFUSED):
            files = self.storage()
            if create(files, f"{self.root(files)}/{name}", f"{head}\n".encode()):
                return True
        if self.read().get(name) != head:
            raise ConservationBroken(f"{self.location}/{name} holds another head than {head}: somebody wrote it.")
        return False


def keep_head(home: Home, heads: Heads, now: datetime) -> tuple[Head, bool]:
    """Verify the log against every head that was kept, then keep today's; the head, and whether it is new.

    Raises ``ConservationBroken`` where the log does not hold one of them: nothing is kept then.
    """
    head, _ = verify_kept(home, heads)
    return head, heads.keep(f"{now:%Y-%m-%d}-{head.seq:06d}{SUFFIX}", head)


def verify_kept(home: Home, heads: Heads) -> tuple[Head, dict[str, Head]]:
    """Walk the log and find every kept head in it: the log's head, and those. Raises ``ConservationBroken``, naming
    every file that the log does not hold.
    """
    kept, head = heads.read(), verify_log(home)
    with home.database.read() as connection:
        lost = [name for name, one in kept.items() if log.hash_of(connection, one.seq) != one.hash]
    if lost:
        raise ConservationBroken(
            f"The log does not hold {len(lost)} of {len(kept)} heads in {heads.location}, {lost[0]} the first of them: "
            "its rows were written anew, or an older database was restored. Compare it with the backup of that day."
        )
    return head, kept


def demand_some(heads: Heads, kept: dict[str, Head]) -> None:
    """Raise ``NotFound`` where nothing was kept: a proof against nothing is none."""
    if not kept:
        raise NotFound(f"There are no heads (*{SUFFIX}) in {heads.location}.")
