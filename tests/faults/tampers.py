"""Every tamper done once, and who tells of it: what an auditor runs, and the check of a home."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby

from billing.steps.audit.chain import verify_log
from billing.store.home import Home
from tests.faults import tampering
from tests.faults.tally import Tally
from tests.faults.work import Where
from tests.faults.worlds import World

RERUN, USAGE, LAWS, LOG = "audit rerun", "audit usage", "audit laws", "audit log"
AGAINST, CHECK = "audit log --against", "status"


def tampers(world: World, names: Sequence[str] = tuple(tampering.TAMPERS)) -> Iterator[Tally]:
    """A row a kind of tamper. Of each tamper ``seen_by`` says who told of it."""
    head = str(world.call(head_of, world.before["end"]))
    for kind, mine in groupby(names, key=lambda name: name.partition(":")[0]):
        tally = Tally(kind=f"tamper: {kind}", database=world.engine)
        for name in mine:
            with world.copied(world.before["end"]) as where:
                world.call(partial(tampering.tamper, name=name), where)
                by = told_by(world, where, head)
            tally.found(name, by)
            tally.seen_by[name] = by
        yield tally


def told_by(world: World, where: Where, head: str) -> list[str]:
    """Which commands say that something is wrong: each ends with another status than 0."""
    asked = {
        CHECK: ["status"],
        LAWS: ["audit", "laws"],
        LOG: ["audit", "log"],
        AGAINST: ["audit", "log", "--against", head],
        USAGE: ["audit", "usage"],
        RERUN: ["audit", "rerun", "--all"],
    }
    statuses = world.statuses(where, list(asked.values()))
    return [name for name, status in zip(asked, statuses, strict=True) if status]


def head_of(home: Home) -> str:
    """The log's head, as somebody keeps it elsewhere."""
    return str(verify_log(home))
