"""Mails and copies, killed by SIGKILL at every commit point: nothing goes twice, nothing is lost without a word."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from billing.steps import commit_points
from billing.steps.audit.logged import disagreements
from billing.steps.homes import home_at
from billing.steps.mail_outbox import list_mails
from billing.steps.place_files import list_placed
from tests.kills import driver
from tests.kills.test_credits import command
from tests.kills.test_kills import LONG_S, Runs, forks
from tests.steps.mail_world import Server, connection_to, issue, keep_document, serving
from tests.steps.small_world import Shop

pytestmark = pytest.mark.kills
__all__ = ["forks"]

ONE, TWO = "INV-2026-000001", "INV-2026-000002"
BUYERS = (
    "c1,Buyer One,1 street,,1000,Town,,FR,FR83404833048,one@example.com,fr-FR",
    "c2,Buyer Two,2 street,,2000,Town,,DE,DE136695976,two@example.com,de-DE",
)


@pytest.fixture(scope="module")
def runs(forks: object, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Where processes come from."""
    return Runs(forks=forks, scenario=tmp_path_factory.mktemp("none"))  # type: ignore[arg-type]


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as made:
        yield made


@pytest.fixture
def shop(tmp_path: Path, database_url: str | None, server: Server) -> Iterator[Shop]:
    """Two invoices of July with documents, a mail server, and a place for copies."""
    home = home_at(tmp_path / "home", database_url)
    home.create()
    made = Shop(home=home, folder=tmp_path / "files")
    issue(made, BUYERS)
    for number in (ONE, TWO):
        keep_document(made, number)
    files = f'[files]\nlocation = "{tmp_path / "out"}"\n'
    (home.folder / "billing.toml").write_text(f"[mail]\nsince = 2026-01-01T00:00:00Z\n{files}")
    yield made
    home.close()


def give(connection: str, lines: list[list[str]], folder: Path, said: Path, kill: str) -> None:
    """``driver.give`` with a mail server: the environment of a forked process is that of the server it comes from."""
    os.environ["AIRFLOW_CONN_SMTP_DEFAULT"] = connection
    driver.give(lines, folder, said, kill)


def ended(runs: Runs, shop: Shop, server: Server, line: list[str], kill: str = "") -> int | None:
    """How a process ends that is given this command, and killed at a point."""
    arguments = (connection_to(server.port), [command(shop, line)], shop.folder, shop.folder / "said", kill)
    process = runs.forks.Process(target=give, args=arguments)
    process.start()
    process.join(LONG_S)
    return process.exitcode


def sent_to(server: Server) -> list[str]:
    return sorted(to[0] for to, *_ in server.mails)


@pytest.mark.parametrize(
    ("point", "delivered", "first"),
    [
        (commit_points.MAIL_CLAIMED, [], "unknown"),
        (commit_points.MAIL_ANSWERED, ["one@example.com"], "unknown"),
        (commit_points.MAIL_RECORDED, ["one@example.com"], "sent"),
    ],
)
def test_a_mail_goes_once_or_waits_for_a_person(
    runs: Runs,
    shop: Shop,
    server: Server,
    point: str,
    delivered: list[str],
    first: str,
) -> None:
    assert ended(runs, shop, server, ["mail", "send"], point) == -signal.SIGKILL
    assert sent_to(server) == delivered
    for _ in range(2):
        assert ended(runs, shop, server, ["mail", "send"]) == 0
    told = (shop.folder / "said").read_text().count("its sender ended before it was known what became of it")
    assert told == (0 if first == "sent" else 2), "what waits is told each time"
    assert sent_to(server) == [*delivered, "two@example.com"]
    states = {one.key: one.state for one in list_mails(shop.home)}
    assert states == {f"invoice:{ONE}": first, f"invoice:{TWO}": "sent"}
    with shop.home.database.read() as connection:
        assert disagreements(connection) == []


@pytest.mark.parametrize("point", [commit_points.FILE_WRITTEN, commit_points.FILE_RECORDED])
def test_a_copy_is_there_once_and_recorded(runs: Runs, shop: Shop, server: Server, tmp_path: Path, point: str) -> None:
    assert ended(runs, shop, server, ["files", "place"], point) == -signal.SIGKILL
    assert ended(runs, shop, server, ["files", "place"]) == 0
    copies = sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert copies == [f"{number}.{suffix}" for number in (ONE, TWO) for suffix in ("pdf", "xml")]
    assert len(list_placed(shop.home)) == 4
    with shop.home.database.read() as connection:
        assert disagreements(connection) == []


def test_every_point_of_delivery_is_killed_at() -> None:
    assert commit_points.DELIVERY == (
        commit_points.MAIL_CLAIMED,
        commit_points.MAIL_ANSWERED,
        commit_points.MAIL_RECORDED,
        commit_points.FILE_WRITTEN,
        commit_points.FILE_RECORDED,
    )
