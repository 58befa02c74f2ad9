"""The scenario that faults happen to: its commands, and the home as it is before each of them."""

from __future__ import annotations

import itertools
import multiprocessing
import random
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from billing.core.reference import TABLES
from billing.steps import commit_points
from tests.faults import rating, work
from tests.faults.work import Seen, Where
from tests.postgres import Server

LONG_S = 180
USAGE_HEADER = "event_id,occurred_at,app_id,api,quantity,corrects,team_id"
AFTER_AUGUST = "2026-09-02T00:00:00Z"
FIRST = "INV-2026-000001"
_CLOSE = ["cycles", "close", "--as-of", AFTER_AUGUST, "--no-documents"]
_BY_HAND = ["--as-of", "2026-09-03T00:00:00Z"]

LINES: Mapping[str, list[str]] = {
    "ingest": ["usage", "ingest", "august.csv", "late.csv", "--now", AFTER_AUGUST],
    "close": _CLOSE,
    "issue": _CLOSE,
    "credit": ["invoices", "credit", FIRST, "--reason", "wrong buyer", *_BY_HAND],
    "reissue": ["invoices", "reissue", FIRST, *_BY_HAND],
    "render": ["invoices", "render"],
}
"""The steps in their order. ``issue`` is a close whose cycles are rated already."""

POINTS: Mapping[str, Sequence[str]] = {
    "ingest": [point for point in commit_points.ALL if point.startswith("ingest")],
    "close": [point for point in commit_points.ALL if point.startswith("close")],
    "issue": [commit_points.CLOSE_RATED, commit_points.CLOSE_ISSUED],
    "credit": [commit_points.CREDIT_NOTE_WRITTEN, commit_points.CREDIT_NOTE_ISSUED],
    "reissue": [commit_points.REISSUE_WRITTEN, commit_points.REISSUE_ISSUED],
    "render": [commit_points.RENDER_WRITTEN, commit_points.RENDER_RECORDED],
}


def after(step: str) -> list[list[str]]:
    """The commands that follow a step in the scenario."""
    later = list(LINES)[list(LINES).index(step) + 1 :]
    return [LINES[name] for name in later if name != "issue"]


@dataclass(kw_only=True)
class World:
    """Where processes come from, where homes are copied to, and the homes before each step."""

    forks: ForkServerContext
    folder: Path
    server: Server | None
    before: dict[str, Where] = field(default_factory=dict)
    undisturbed: dict[str, Seen] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def engine(self) -> str:
        """The database's name."""
        return "PostgreSQL" if self.server else "SQLite"

    @property
    def said(self) -> Path:
        """What processes say."""
        return self.folder / "said"

    @property
    def scenario(self) -> Path:
        """Where the usage and reference files are."""
        return self.folder / "scenario"

    def copy(self, where: Where, into: Path | None = None) -> Where:
        """A home and its database as they are, somewhere else. Nothing may be at work there."""
        home = into or self.folder / f"home-{next(self._numbers)}"
        shutil.copytree(where.home, home, dirs_exist_ok=True)
        return Where(home=home, url=self.copied_database(where), folder=where.folder)

    def copied_database(self, where: Where) -> str | None:
        """A copy of a database on the server; None where it lies in the home."""
        if self.server is None or where.url is None:
            return None
        for left in reversed(range(100)):
            try:
                return self.server.make(where.url)
            except Exception:  # whoever was killed there is still being noticed
                if not left:
                    raise
                time.sleep(0.05)
        return None

    def drop(self, where: Where) -> None:
        """Do away with a copy."""
        shutil.rmtree(where.home, ignore_errors=True)
        if self.server is not None and where.url is not None:
            self.server.drop(where.url)

    @contextmanager
    def copied(self, where: Where) -> Iterator[Where]:
        """A copy for as long as it is needed."""
        made = self.copy(where)
        try:
            yield made
        finally:
            self.drop(made)

    def start(self, where: Where, lines: Sequence[Sequence[str]]) -> ForkServerProcess:
        """A process that has begun to give these commands."""
        ready, says = self.forks.Pipe(duplex=False)
        process = self.forks.Process(target=work.at_work, args=(where, lines, self.said, says))
        process.start()
        says.close()
        ready.recv()
        ready.close()
        return process

    def give(self, where: Where, *lines: Sequence[str]) -> int | None:
        """Give commands to their end; the status of the last."""
        process = self.start(where, lines)
        process.join(LONG_S)
        return process.exitcode

    def finish(self, where: Where, lines: Sequence[Sequence[str]], *, documents: bool = False) -> Seen:
        """Give commands to their end in one process, which then looks at everything."""
        found: Seen = self._answer(work.finish, where, lines, self.said, documents)
        return found

    def statuses(self, where: Where, lines: Sequence[Sequence[str]]) -> list[int]:
        """Give commands in one process; how each ended."""
        found: list[int] = self._answer(work.statuses, where, lines, self.said)
        return found

    def call(self, function: object, where: Where) -> object:
        """What a function of a home gives, in a process of its own."""
        return self._answer(work.call, function, where, self.said)

    def _answer(self, target: object, *arguments: object):  # type: ignore[no-untyped-def]  # what the target sends
        answer, says = self.forks.Pipe(duplex=False)
        process = self.forks.Process(target=target, args=(*arguments, says))  # type: ignore[arg-type]
        process.start()
        says.close()
        try:
            if not answer.poll(LONG_S):
                process.kill()
                raise TimeoutError(f"nothing came of {arguments}; see {self.said}")
            if isinstance(found := answer.recv(), Exception):
                raise found
            return found
        finally:
            answer.close()
            process.join(LONG_S)


def prepared(folder: Path, server: Server | None, *, teams: int = 4, steps: Sequence[str] = tuple(LINES)) -> World:
    """July closed and rendered for so many teams; then the scenario without any fault, a copy before each step.

    Only the copies before ``steps`` are kept, and that at the end.
    """
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["tests.faults.imported"])
    world = World(forks=forks, folder=folder, server=server)
    _write(world.scenario, teams)
    where = Where(home=folder / "home-0", url=server.make() if server else None, folder=world.scenario)
    july = ["usage", "ingest", "july.csv", "--now", "2026-08-02T00:00:00Z"]
    begun = world.give(
        *(where, ["init"], ["reference", "load", "reference"], july),
        ["cycles", "close", "--as-of", "2026-08-02T00:00:00Z"],
    )
    assert begun == 0, world.said.read_text()
    for step, line in LINES.items():
        if step == "issue":
            where = rated_only(world)
        world.before[step] = where
        again = world.copy(where)
        begin = time.monotonic()
        assert world.give(again, line) == 0, world.said.read_text()
        world.seconds[step] = time.monotonic() - begin
        world.undisturbed[step] = world.finish(again, [], documents=step == "render")
        assert not world.undisturbed[step].wrong, world.undisturbed[step].wrong
        where = again
    world.before["end"] = where
    return world


def rated_only(world: World) -> Where:
    """The home in which a close has rated its cycles and issued nothing."""
    where = world.copy(world.before["close"])
    world.call(rating.rate, where)
    return where


def _write(folder: Path, teams: int) -> None:
    """Reference data of so many teams and usage of July and August, with what goes wrong in every month."""
    from tests.steps.small_world import ALWAYS, BOUGHT, REFERENCE, write_reference

    more = range(3, teams + 1)
    added = {
        "teams": [f"t{n},c{1 + n % 2},Team {n}" for n in more],
        "hubs": [f"h{n},Hub {n}" for n in more],
        "hub_teams": [f"h{n},t{n},{ALWAYS}," for n in more],
        "apps": [f"a{n},App {n}" for n in more],
        "app_hubs": [f"a{n},h{n},{ALWAYS}," for n in more],
        "subscriptions": [f"payg{n},t{n},payg,{BOUGHT},UTC,,EUR," for n in more],
    }
    assert added.keys() <= TABLES.keys()
    write_reference(folder / "reference", {**REFERENCE, **{n: [*REFERENCE[n], *rows] for n, rows in added.items()}})
    drawn = random.Random(1)
    for name, month in (("july", 7), ("august", 8)):
        lines = [_event(f"{name}-{n}", month, 1 + n % teams, drawn) for n in range(40 * teams)]
        lines += [lines[3], f"{name}-x,2026-0{month}-03T00:00:00Z,nobody,render,1,,", "broken"]
        _usage(folder / f"{name}.csv", lines)
    shutil.copyfile(folder / "august.csv", folder / "again.csv")
    late = [_event(f"late-{n}", 7, 1 + n % teams, drawn) for n in range(5 * teams)]
    late += ["again,2026-07-09T00:00:00Z,a1,render,60,,", "back,2026-07-09T00:00:00Z,a1,render,-20,again,"]
    _usage(folder / "late.csv", late)


def _event(event_id: str, month: int, team: int, drawn: random.Random) -> str:
    api, day = drawn.choice(("render", "translate")), drawn.randint(1, 28)
    quantity = drawn.randint(2, 40)
    return f"{event_id},2026-0{month}-{day:02}T{drawn.randint(0, 23):02}:00:00Z,a{team},{api},{quantity},,"


def _usage(path: Path, lines: Sequence[str]) -> None:
    path.write_text("\n".join([USAGE_HEADER, *lines, ""]), "utf-8")
