"""What a warehouse and the buyers' FinOps tools read, placed anew once a day where `[exports]` of `billing.toml` says.

Below the place (a folder, or object storage): `outputs/`, every output table as Parquet with types, and
`focus/YYYY-MM/`, the charges of what was issued in a month of the seller's calendar as FOCUS, CSV and Parquet, a
file a buyer; of the month that runs and of the one before it, so that a day's delay loses nothing. Each set has a
`manifest.json` that is written last: a reader who waits for it sees a whole set. Running it again places the same
bytes where the books have not changed.

Without `[exports]` the run is skipped. By hand: `billing export FOLDER --format parquet` and
`billing export focus FOLDER`. The journal is not placed by itself: finance takes it when a month is over
(`billing month journal`).
"""

# mypy: allow-untyped-decorators
from __future__ import annotations

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from observed import done_within
from wiring import COMMON, home_and_settings, instant_of, instant_param, run_instant


@dag(
    schedule=CronTriggerTimetable("40 4 * * *", timezone="UTC"),
    doc_md=__doc__,
    deadline=done_within(timedelta(hours=2)),
    params={
        "at": instant_param("As of", "FOCUS of the month that holds this instant, and of the one before. Empty: now.")
    },
    **COMMON,
)
def exports() -> None:
    @task
    def place_exports() -> dict[str, int]:
        from billing import connections
        from billing.steps.placed_exports import Exports, place

        context = get_current_context()
        at = instant_of(context["params"]["at"]) or run_instant(context)
        with home_and_settings() as (home, settings):
            given = settings.exports
            if given is None:
                raise AirflowSkipException("billing.toml has no [exports]: nothing is placed.")
            where = Exports.at(given.location, given.connection, connections)
            done = place(home, where, at, settings.service)
        for name, rows in done.items():
            print(f"{given.location}/{name}: {rows} rows")
        return done

    place_exports()


exports()
