"""How teams stand, found and kept: balances, the running cycle, forecasts, alerts (rules 8.1, 5.5, 5.6).

A team is looked at again where it was rated again, where a load changed something of it or of everybody, where the
passing of time changes something, and once a day, at a time of its own, when its forecast is made anew. What is kept
is written only where it differs. The teams are written part by part; alerts with their mails and how fresh it all is
come last, in one transaction: a run that is killed before is made up by the next one, which looks at the same teams.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from billing.core.accrual import accrued_lines
from billing.core.alert_rules import AlertRules
from billing.core.alerting import Alert, alerts_of, unassigned
from billing.core.errors import NotFound
from billing.core.forecast import HISTORY_DAYS
from billing.core.frames import rows
from billing.core.instants import DAY_US, to_us
from billing.core.model import SOURCES, Kind, PaymentMethod, Subscription
from billing.core.outlook import Outlook, Outlooks, Pace, outlooks_of
from billing.core.reference import Reference
from billing.core.spans import Opening
from billing.core.standing import (
    OpenFacts,
    Rate,
    Standing,
    StandingApi,
    StandingBalance,
    rates_at,
    running_cycle,
    standing_of,
)
from billing.core.terms import TeamTerms, Terms
from billing.steps import commit_points
from billing.steps.alerts import Addressees, Alerted, settle_alerts
from billing.steps.balances import demand_told
from billing.steps.collector import collector_paused
from billing.steps.open_cycles import OpenUsage, open_usage, opening_of
from billing.steps.open_ratings import OpenBooks, open_books, stale_teams
from billing.steps.reference import reference_at
from billing.steps.reference_touched import teams_standing_otherwise
from billing.steps.telemetry import say
from billing.store.batches import committed, completeness
from billing.store.home import Home
from billing.store.log import canonical
from billing.store.open_ratings import rated_since, read_rating
from billing.store.reference_history import last_load
from billing.store.standings import (
    StandingRefresh,
    changing_by,
    read_paces,
    read_refresh,
    standing_teams,
    write_paces,
    write_refresh,
    write_standings,
)

_TEAMS_AT_ONCE = 2_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """A team's standing with its outlook, and the alerts that hold."""

    standing: Standing
    team: TeamTerms
    outlooks: Outlooks
    alerts: tuple[Alert, ...] = ()

    def outlook(self, balance: StandingBalance) -> Outlook:
        """When a balance of it runs out."""
        return self.outlooks.of(balance)


@dataclass(frozen=True, kw_only=True, slots=True)
class StandingsTold:
    """What a refresh did: of all ``teams`` it looked at some, and wrote those that stand otherwise than before."""

    teams: int
    looked_at: int
    written: int
    alerts: Alerted


@dataclass(frozen=True, kw_only=True, slots=True)
class _View:
    """One state of the books at an instant, and what is found of teams in it."""

    as_of_us: int
    load_no: int
    through_batch: int
    rating_no: int
    reference: Reference
    found: OpenUsage
    stale: Collection[str]
    rates: Mapping[str, Rate]
    methods: Mapping[str, PaymentMethod]

    @property
    def terms(self) -> Terms:
        return self.found.terms


def standing_at(home: Home, team_id: str, as_of: datetime, rules: AlertRules | None = None) -> Told:
    """How one team stands at an instant, found now. Raises ``NotFound`` for a team without any subscription, and
    ``DataRefused`` for an instant before any team's last close.
    """
    as_of_us = to_us(as_of)
    with home.database.read() as connection:
        view = _view(home, connection, as_of_us)
        if view is None or team_id not in view.terms.teams:
            raise NotFound(f"No team {team_id} holds a subscription; `billing reference load` says who does.")
        paces = _paces_of(home, connection, team_id, as_of_us // DAY_US)
        opening = opening_of(connection, view.found, [team_id])
        (told,) = _told(connection, view, [team_id], opening, {team_id: paces}, rules or AlertRules())
    return told


@collector_paused()
def refresh_standings(home: Home, as_of: datetime, rules: AlertRules | None = None) -> StandingsTold:
    """Find and keep how every team stands at ``as_of``, and raise and end alerts.

    Alerts are left alone at an instant before the last refresh's. Raises ``DataRefused`` for an instant before any
    team's last close.
    """
    with home.database.holding("standings"):
        paces_day = _refresh_paces(home, to_us(as_of) // DAY_US)
        return _refresh(home, to_us(as_of), rules or AlertRules(), paces_day)


def _refresh(home: Home, as_of_us: int, rules: AlertRules, paces_day: int) -> StandingsTold:
    with home.database.read() as connection:
        view = _view(home, connection, as_of_us)
        if view is None:
            return StandingsTold(teams=0, looked_at=0, written=0, alerts=Alerted())
        before = read_refresh(connection)
        looked_at, gone = _to_look_at(connection, view, before)
        written, alerts = 0, list(unassigned(_unassigned(view.reference), as_of_us, rules))
        for part in _parts(connection, view, looked_at, rules):
            written += len(_write(home, view, part))
            alerts += [alert for told in part for alert in told.alerts]
    done = _settle(home, view, before, alerts, {*looked_at, *gone}, rules, gone, paces_day)
    say("standings told", teams=len(view.terms.teams), looked_at=len(looked_at), written=written)
    return StandingsTold(
        teams=len(view.terms.teams), looked_at=len(looked_at), written=written + len(gone), alerts=done
    )


def _view(home: Home, connection: Connection, as_of_us: int) -> _View | None:
    """None before the first load."""
    load_no = last_load(connection)
    if not load_no:
        return None
    reference = reference_at(home, load_no)
    found, kept = open_usage(home, connection, reference, as_of_us), read_rating(connection)
    demand_told(found.last.values(), as_of_us)
    return _View(
        as_of_us=as_of_us,
        load_no=load_no,
        through_batch=committed(connection).through,
        rating_no=kept.rating_no if kept else 0,
        reference=reference,
        found=found,
        stale=stale_teams(connection, found, kept, load_no),
        rates=rates_at(found.terms, as_of_us),
        methods=_payment_methods(reference),
    )


def _to_look_at(
    connection: Connection, view: _View, before: StandingRefresh | None
) -> tuple[list[str], frozenset[str]]:
    """The teams that may stand otherwise than is kept, in order, and those that are no more."""
    kept, now = standing_teams(connection), view.terms.teams.keys()
    gone = frozenset(kept - now)
    if before is None or view.as_of_us < before.as_of_us:
        return sorted(now), gone
    touched = teams_standing_otherwise(connection, before.load_no, view.load_no)
    if touched is None:
        return sorted(now), gone
    changed = rated_since(connection, before.rating_no) | set(view.stale) | changing_by(connection, view.as_of_us)
    return sorted(((now - kept) | changed | touched) & now), gone


def _parts(connection: Connection, view: _View, team_ids: Sequence[str], rules: AlertRules) -> Iterator[list[Told]]:
    """The teams, some at a time: no more than a part is held."""
    opening = opening_of(connection, view.found, team_ids)
    for low in range(0, len(team_ids), _TEAMS_AT_ONCE):
        part = team_ids[low : low + _TEAMS_AT_ONCE]
        yield list(_told(connection, view, part, opening, _kept_paces(connection, part), rules))


def _told(
    connection: Connection,
    view: _View,
    team_ids: Sequence[str],
    opening: Opening,
    paces: Mapping[str, Mapping[str, Pace]],
    rules: AlertRules,
) -> Iterator[Told]:
    books = open_books(connection, view.found, view.load_no, team_ids, again=view.stale, opening=opening)
    used, facts = books.used, _facts(books)
    asked = []
    for team_id in team_ids:
        team, closed = view.terms.teams[team_id], view.found.last.get(team_id)
        cycle = running_cycle(team, closed.end_us if closed else None, view.as_of_us)
        mine = facts.get(team_id, OpenFacts())
        standing = standing_of(team_id, view.terms, used, mine, cycle, view.rates, view.as_of_us)
        asked.append((team, standing, paces.get(team_id, {})))
    for (team, standing, _), outlooks in zip(asked, outlooks_of(view.terms, view.rates, asked), strict=True):
        alerts = alerts_of(standing, team, view.methods, outlooks.of, rules)
        yield Told(standing=standing, team=team, outlooks=outlooks, alerts=alerts)


def _facts(books: OpenBooks) -> dict[str, OpenFacts]:
    """What is open, by team."""
    found: dict[str, tuple[list[Any], list[Any], dict[str, int], list[Any]]] = {}

    def of(team_id: str) -> tuple[list[Any], list[Any], dict[str, int], list[Any]]:
        return found.setdefault(team_id, ([], [], {}, []))

    for row in rows(books.draws):
        of(row.team_id)[0].append(row)
    for row in rows(books.carry.sort_values("cycle_start_us", kind="stable")):
        of(row.team_id)[1].append(row)
    for (team_id, api), micro in books.opening.carry_micro.items():
        of(team_id)[2][api] = micro
    cycles = set(zip(books.draws["team_id"], books.draws["cycle_start_us"], strict=True))
    for line in accrued_lines(books.draws, cycles):
        of(line.team_id)[3].append(line)
    return {
        team_id: OpenFacts(draws=draws, carry=carry, closed_carry_micro=closed, lines=lines)
        for team_id, (draws, carry, closed, lines) in found.items()
    }


def _payment_methods(reference: Reference) -> dict[str, PaymentMethod]:
    names = ("payment_method_id", "gateway", "brand", "last4", "expires", "mandate")
    table = reference["payment_methods"]
    columns = zip(*(table[name] for name in names), strict=True)
    return {one[0]: PaymentMethod(**dict(zip(names, one, strict=True))) for one in columns}


def _unassigned(reference: Reference) -> Iterator[Subscription]:
    table = reference["subscriptions"]
    for row in rows(table[table["team_id"] == ""]):
        yield Subscription(
            subscription_id=row.subscription_id,
            team_id=None,
            kind=Kind(row.kind),
            purchased_at_us=int(row.purchased_at),
            time_zone=row.time_zone,
            ends_at_us=int(row.ends_at),
            currency=row.currency or None,
            payment_method_id=row.payment_method_id or None,
        )


# --- paces -----------------------------------------------------------------------------------------------------------


def _refresh_paces(home: Home, day: int) -> int:
    """Once a UTC day that is in: what every API of every team used on each of the whole days before it. Returns the day
    before which they tell.
    """
    with home.database.read() as connection:
        before, until = read_refresh(connection), _paces_until(connection, day)
        if before is not None and before.paces_day == until:
            return until
        first = until - HISTORY_DAYS
        pairs, sums = home.usage.of_teams_by_day(committed(connection), first, HISTORY_DAYS)
    with home.database.exclusive("standings written") as connection:
        write_paces(connection, first, dict(zip(pairs, sums.tolist(), strict=True)))
    commit_points.reached(commit_points.STANDINGS_PACES)
    return until


def _paces_of(home: Home, connection: Connection, team_id: str, day: int) -> dict[str, Pace]:
    """One team's, as they are kept, or summed now."""
    before, until = read_refresh(connection), _paces_until(connection, day)
    if before is not None and before.paces_day == until:
        return _kept_paces(connection, [team_id]).get(team_id, {})
    first = until - HISTORY_DAYS
    pairs, sums = home.usage.of_teams_by_day(committed(connection), first, HISTORY_DAYS, team_id)
    found = zip(pairs, sums.tolist(), strict=True)
    return {api: Pace(first_day=first, quantities_micro=days) for (_, api), days in found}


def _paces_until(connection: Connection, day: int) -> int:
    """The UTC day before which paces tell: a day that is not in as a whole is no day without usage, so they end before
    the first one of these. They end with yesterday where nothing is known of that, and where none of the days is in.
    """
    through_us = completeness(connection, committed(connection).through).through_us
    whole = day if through_us is None else through_us // DAY_US
    return whole if day - HISTORY_DAYS < whole < day else day


def _kept_paces(connection: Connection, team_ids: Sequence[str]) -> dict[str, dict[str, Pace]]:
    return {
        team_id: {api: Pace(first_day=first, quantities_micro=days) for api, (first, days) in mine.items()}
        for team_id, mine in read_paces(connection, team_ids).items()
    }


# --- what is written -------------------------------------------------------------------------------------------------


def _write(home: Home, view: _View, part: Sequence[Told]) -> list[str]:
    rows_of = {told.standing.team_id: _rows(view, told) for told in part}
    with home.database.exclusive("standings written") as connection:
        changed = write_standings(connection, list(rows_of), rows_of)
    commit_points.reached(commit_points.STANDINGS_TEAMS)
    return changed


def _settle(
    home: Home,
    view: _View,
    before: StandingRefresh | None,
    alerts: Sequence[Alert],
    team_ids: Collection[str],
    rules: AlertRules,
    gone: Collection[str],
    paces_day: int,
) -> Alerted:
    """Alerts with their mails, teams that are no more, and how fresh it all is: in one transaction."""
    goes_back = before is not None and view.as_of_us < before.as_of_us
    with home.database.exclusive("books") as connection:
        write_standings(connection, gone, {})
        done = Alerted()
        if not goes_back:
            addressees = Addressees.from_reference(view.reference)
            done = settle_alerts(
                connection, alerts, {*team_ids, ""}, addressees, rules, view.as_of_us, is_first=before is None
            )
        refresh = StandingRefresh(
            as_of_us=view.as_of_us,
            through_batch=view.through_batch,
            load_no=view.load_no,
            rating_no=view.rating_no,
            paces_day=paces_day,
        )
        write_refresh(connection, refresh)
        commit_points.reached(commit_points.STANDINGS_ALERTS)
    commit_points.reached(commit_points.STANDINGS_TOLD)
    return done


def _rows(view: _View, told: Told) -> dict[str, list[dict[str, object]]]:
    standing = told.standing
    return {
        "standings": [_head(view, told)],
        "standing_balances": [_balance(standing.team_id, one, told.outlook(one)) for one in standing.balances],
        "standing_apis": [_api(standing.team_id, one) for one in standing.apis],
    }


def _head(view: _View, told: Told) -> dict[str, object]:
    standing, cycle, projection = told.standing, told.standing.cycle, told.outlooks.projection
    return {
        "team_id": standing.team_id,
        "as_of_us": view.as_of_us,
        "through_batch": view.through_batch,
        "load_no": view.load_no,
        "cycle_start_us": cycle.start_us if cycle else None,
        "cycle_end_us": cycle.end_us if cycle else None,
        "time_zone": cycle.time_zone if cycle else "",
        "subscription_id": standing.subscription_id,
        "currency": standing.currency,
        "spend_minor": standing.spend_minor,
        "projected_low_minor": projection.low_minor if projection else None,
        "projected_minor": projection.minor if projection else None,
        "projected_high_minor": projection.high_minor if projection else None,
        "unfunded_units": standing.unfunded_units,
        "least_left_micro": standing.least_left_micro,
        "first_end_us": standing.first_end_us,
        "changes_at_us": standing.changes_at_us,
    }


def _balance(team_id: str, one: StandingBalance, outlook: Outlook) -> dict[str, object]:
    return {
        "team_id": team_id,
        "source": one.source,
        "subscription_id": one.subscription_id,
        "grant_id": one.grant_id,
        "api": one.api,
        "state": one.state.value,
        "begins_at_us": one.begins_at_us,
        "granted_micro": one.granted_micro,
        "used_micro": one.used_micro,
        "available_micro": one.available_micro,
        "ends_at_us": one.ends_at_us,
        "refreshes_at_us": one.refreshes_at_us,
        "per_day_micro": outlook.per_day_micro,
        "runs_out_low_us": outlook.low_us,
        "runs_out_us": outlook.at_us,
        "runs_out_high_us": outlook.high_us,
        "forecast": canonical({"why": outlook.why.value, "days": outlook.days}),
    }


def _api(team_id: str, one: StandingApi) -> dict[str, object]:
    return {
        "team_id": team_id,
        "api": one.api,
        "unit_size_micro": one.unit_size_micro,
        "opening_micro": one.opening_micro,
        "usage_micro": one.usage_micro,
        "carry_micro": one.carry_micro,
        **{f"{source}_units": one.units.get(source, 0) for source in SOURCES},
        "spend_minor": one.spend_minor,
    }
