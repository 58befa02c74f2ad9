"""Rate open cycles again where there is new usage, and find how every team stands: balances, forecasts, alerts; bring
usage by day up to date.

After each ten minutes of usage this run looks which teams used anything, were closed, or hold something else now,
and rates those provisionally: from the end of their last closed cycle to the last event. Then it finds how these teams
stand, and those of which the passing of time changes something; every team once a day, at a time of its own, with a new
forecast. What admins are to be told of is raised, once each, with a mail in the outbox; notifiers of `[[notify]]` whose
`on` has `alerts` are told at once.

Nothing is billed by it, and nothing that is closed changes. A run that was missed is made up by the next; without one,
balances are still right by `billing balances`, and only slower to tell. By hand: `billing cycles refresh`, and
`billing standing TEAM` for one team now.

Usage by day, as it is shown for 24 months, gets what the new batches brought (by hand: `billing usage days`). What
arrived at a source is shown so within 30 minutes: it is ingested every ten, and this run follows four minutes later.

*From scratch* rates every team, whatever was kept: the result is the same, or what was kept was wrong.
"""

# mypy: allow-untyped-decorators
from __future__ import annotations

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, Param, dag, get_current_context, task

from notified import tell_alerts
from observed import count, done_within, gauge
from wiring import COMMON, home_and_settings


@dag(
    schedule=CronTriggerTimetable("4/10 * * * *", timezone="UTC"),
    doc_md=__doc__,
    deadline=done_within(timedelta(minutes=15)),
    params={
        "from_scratch": Param(
            False,
            type="boolean",
            title="From scratch",
            description_md="Rate every team again, also those without new usage; derive all usage by day again.",
        ),
    },
    **COMMON,
)
def balances_refresh() -> None:
    @task
    def tell_how_teams_stand() -> dict[str, int]:
        from datetime import UTC, datetime

        from billing.steps.open_ratings import refresh_open
        from billing.steps.standings import refresh_standings

        # One task for both: what teams hold is read and arranged once, which takes longer than either.
        with home_and_settings() as (home, settings):
            done = refresh_open(home, from_scratch=get_current_context()["params"]["from_scratch"])
            told = refresh_standings(home, datetime.now(UTC), settings.alerts)
            tell_alerts(settings, told.alerts, get_current_context())
        gauge("open.teams", done.teams)
        gauge("open.teams_rated", done.rated)
        gauge("standings.looked_at", told.looked_at)
        gauge("standings.written", told.written)
        count("alerts.raised", told.alerts.raised)
        count("alerts.mails", told.alerts.mails)
        return {
            "teams": done.teams,
            "rated": done.rated,
            "through_batch": done.through_batch,
            "standings_written": told.written,
            "alerts_raised": told.alerts.raised,
            "alerts_ended": told.alerts.ended,
        }

    @task
    def refresh_usage_by_day() -> dict[str, int]:
        from datetime import UTC, datetime

        from billing.steps.usage_views import refresh_views

        with home_and_settings() as (home, _):
            rebuild = get_current_context()["params"]["from_scratch"]
            done = refresh_views(home, datetime.now(UTC), rebuild=rebuild)
        return {"rows": done.rows, "forgotten": done.forgotten, "through_batch": done.through_batch}

    tell_how_teams_stand()
    refresh_usage_by_day()


balances_refresh()
