"""Many at once: closes of the same cycles, and sixteen issuers whose connections are cut while they work."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess

from sqlalchemy import make_url

from tests.faults import work
from tests.faults.tally import Tally
from tests.faults.work import Where
from tests.faults.worlds import LINES, LONG_S, World

ISSUERS = 16
CUTS_EVERY_S = 0.15


def closes(world: World, rounds: int) -> Tally:
    """Two closes of the same cycles at once, so many times."""
    tally = Tally(kind="race: two closes", database=world.engine)
    for number in range(rounds):
        with world.copied(world.before["close"]) as where:
            for process in [world.start(where, [LINES["close"]]) for _ in range(2)]:
                process.join(LONG_S)
            tally.compare(f"round {number}", world.undisturbed["close"].rows, world.finish(where, []))
    return tally


def issuers(world: World, rounds: int, drawn: random.Random) -> Tally:
    """Sixteen processes give out numbers at once: closes of the same cycles, then credit notes of all invoices. On
    PostgreSQL connections are cut meanwhile, so that transactions roll back; who was cut tries again.
    """
    kind = "race: 16 issuers, cut off" if world.server else "race: 16 issuers"
    tally = Tally(kind=kind, database=world.engine)
    notes = credit_lines(world)
    with world.copied(world.before["issue"]) as calm:
        wanted = world.finish(calm, [LINES["issue"], *notes])
    tally.wrong += wanted.wrong
    for number in range(rounds):
        with world.copied(world.before["issue"]) as where:
            cuts = at_once(world, where, [[LINES["issue"]]] * ISSUERS, drawn)
            shares = [notes[place::ISSUERS] for place in range(ISSUERS)]
            cuts += at_once(world, where, [*shares, *shares], drawn)
            tally.cuts += cuts
            tally.compare(f"round {number} ({cuts} cut)", _unnumbered(wanted), _seen(world, where))
    return tally


def credit_lines(world: World) -> list[list[str]]:
    """A command for each of the invoices that there will be: all of it is given back."""
    count = sum(1 for row, _ in world.undisturbed["issue"].rows.items() if row[0] == "invoices.csv")
    numbers = [f"INV-2026-{n:06d}" for n in range(1, count + 1)]
    as_of = ["--as-of", "2026-09-03T00:00:00Z"]
    return [["invoices", "credit", number, "--reason", "all of it", *as_of] for number in numbers]


def at_once(world: World, where: Where, pieces: Sequence[Sequence[list[str]]], drawn: random.Random) -> int:
    """Give each piece in a process of its own, all at once, cut their connections, and give those again that were cut
    until all is done; how many connections were cut.
    """
    cuts = 0
    pending = list(pieces)
    for attempt in range(4):
        running = [world.start(where, piece) for piece in pending]
        # The last time nobody disturbs them: an operator goes on until it is done.
        cuts += _cut(world, where, running, drawn) if attempt < 3 else 0
        for process in running:
            process.join(LONG_S)
        pending = [piece for piece, p in zip(pending, running, strict=True) if p.exitcode]
        if not pending:
            break
    return cuts


def _cut(world: World, where: Where, running: Sequence[ForkServerProcess], drawn: random.Random) -> int:
    """Terminate one connection of the database after the other, as long as somebody works there."""
    if world.server is None or where.url is None:
        return 0
    name, cut = make_url(where.url).database, 0
    one = f"(select pid from pg_stat_activity where datname = '{name}' order by random() limit 1)"  # noqa: S608
    end = time.monotonic() + 5
    while any(process.is_alive() for process in running) and time.monotonic() < end:
        cut += world.server.run(f"select pg_terminate_backend(pid) from {one} as mine")  # noqa: S608
        time.sleep(drawn.uniform(0, 2 * CUTS_EVERY_S))
    return cut


def _seen(world: World, where: Where) -> work.Seen:
    """What is in the home, with credit notes told apart by their invoices: who comes first is chance."""
    seen = world.finish(where, [])
    return work.Seen(status=seen.status, rows=_unnumbered(seen), wrong=seen.wrong, left=seen.left, swept=seen.swept)


def _unnumbered(seen: work.Seen) -> work.Rows:
    rows: work.Rows = work.Rows()
    for row, count in seen.rows.items():
        if row[0] == "credit_notes.csv":
            rows["credit note", row[1].partition(",")[2]] += count
        elif not row[0].startswith("credit_note"):
            rows[row] += count
    return rows
