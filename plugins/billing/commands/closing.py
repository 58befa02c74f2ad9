"""How a command that issued a close ends: its documents, who is parked, the laws, and the exit status."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import typer

from billing.commands.terminal import errors, progress_shown
from billing.core.instants import format_us

if TYPE_CHECKING:
    from billing.core.model import Parked
    from billing.settings.settings import Settings
    from billing.store.home import Home

PARKED_STATUS = 3


def finish(home: Home, settings: Settings, close_no: int, parked: Sequence[Parked], *, documents: bool) -> None:
    """Render what has no document yet, if ``documents``; name what failed and who is parked; hold the close against the
    laws. Ends with ``PARKED_STATUS`` where anybody is parked.
    """
    from billing.steps.ledger_checks import check_ledger
    from billing.steps.render import render, unrendered

    if documents:
        with progress_shown() as progress:
            failed = render(home, unrendered(home), settings.templates, progress, theme=settings.theme).failed
        say_failed(failed)
    say_parked(parked)
    check_ledger(home, settings.sql / "checks", close_no=close_no)
    if parked:
        raise typer.Exit(PARKED_STATUS)


def say_failed(failed: Iterable[tuple[str, str]]) -> None:
    """Name the invoices that have no document, and what to do."""
    for number, problem in failed:
        errors.print(
            f"no document for {number}: {problem}. The invoice stands; mend the cause, then `billing invoices render`.",
            markup=False,
        )


def say_parked(parked: Iterable[Parked]) -> None:
    """Name the teams that are parked, and why."""
    for team in parked:
        errors.print(
            f"parked: team {team.team_id}, cycle of {format_us(team.cycle_start_us)}: {team.described}", markup=False
        )
