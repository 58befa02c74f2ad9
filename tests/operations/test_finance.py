"""``docs/finance.md`` acted out: a month's commands, one after the other in one home, say what the page says."""

from __future__ import annotations

from billing.steps.ingest import SourceFile, ingest
from tests.steps.small_world import REFERENCE, USAGE_HEADER

from .test_operations import run, world  # noqa: F401  # the fixture
from .transcript import differs, entries
from .worlds import CHECKOUT, World, instant

STEPS = entries(CHECKOUT / "docs" / "finance.md")
MID_JUNE = [line.replace("2026-07-01T00", "2026-06-15T00") for line in REFERENCE["subscriptions"]]
GRANTS = [
    "g2,flex2,10,2026-06-15T00:00:00Z,2026-07-31T00:00:00Z,100.00,EUR",
    "g3,flex2,20,2026-07-20T00:00:00Z,2027-07-01T00:00:00Z,180.00,EUR",
]
USAGE = [
    "e1,2026-06-20T00:00:00Z,a1,render,65,,",
    "e2,2026-06-21T00:00:00Z,a2,translate,3,,",
    "e3,2026-06-22T00:00:00Z,a2,render,65,,",
    "e4,2026-07-16T00:00:00Z,a1,render,95,,",
    "e5,2026-07-17T00:00:00Z,a2,render,40,,",
]


def before_the_month_ends(world: World) -> None:  # noqa: F811
    """Two teams that bought on 15 June, and their usage until the end of July."""
    world.load(subscriptions=MID_JUNE, token_grants=GRANTS)
    path = world.folder / "usage.csv"
    path.write_text("\n".join([USAGE_HEADER, *USAGE, ""]), "utf-8")
    ingest(world.home, [SourceFile(path=path, name=path.name)], instant("2026-08-01T00:00:00Z"))


AUGUST = "e6,2026-08-02T00:00:00Z,a2,translate,10,,"


def test_what_the_page_says_is_what_one_sees(world: World) -> None:  # noqa: F811
    before_the_month_ends(world)
    (world.folder / "august.csv").write_text("\n".join([USAGE_HEADER, AUGUST, ""]), "utf-8")
    assert len(STEPS) == 9
    for commands in STEPS.values():
        for command in commands:
            said = run(command.line)
            missing = differs(command.says, said)
            assert missing is None, f"$ {command.line}\nis said to print:\n{missing}\nand prints:\n" + "\n".join(said)
