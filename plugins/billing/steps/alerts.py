"""Alerts: raised once each, ended when they do not hold any more, and told by one mail a team and refresh.

A home's first refresh raises what holds already without a mail to anybody but finance, so that nobody gets mail about
a state that was always there; so does one that would send more than the rules allow at once. A mail is a row beside the
alert, in one transaction: whatever happens, an alert is mailed once or not at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from sqlalchemy import Connection

from billing.core.alert_rules import AlertKind, AlertRules
from billing.core.alerting import Alert
from billing.core.instants import format_us, from_us
from billing.core.mail_addresses import one_line
from billing.core.mail_kinds import MailKind
from billing.core.reference import Reference
from billing.steps.origin import origin
from billing.store import log
from billing.store.alerts import holding_alerts, known_alerts, read_alerts, set_ended, write_raised
from billing.store.home import Home
from billing.store.mailings import enqueue

_NAMED_IN_LOG = 100
_WORDS_MAX, _LINE_MAX = 50, 200
_URGENCY = {kind: number for number, kind in enumerate(AlertKind)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Alerted:
    """What became of alerts at a refresh; ``mails`` were written into the outbox. ``words``: those that were raised, a
    line each, the most urgent first; of very many the first ones, and how many more.
    """

    raised: int = 0
    ended: int = 0
    mails: int = 0
    words: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Addressees:
    """Who is told: by team its name and its customer, blank where that has no address and finance is told."""

    names: Mapping[str, str]
    customers: Mapping[str, str]

    @classmethod
    def from_reference(cls, reference: Reference) -> Addressees:
        """From ``teams`` and ``customers``."""
        teams, customers = reference["teams"], reference["customers"]
        reached = set(customers.loc[customers["email"] != "", "customer_id"])
        owners = zip(teams["team_id"], teams["customer_id"], strict=True)
        return cls(
            names=dict(zip(teams["team_id"], teams["name"], strict=True)),
            customers={team: customer if customer in reached else "" for team, customer in owners},
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedAlert:
    """An alert as it is listed; ``ended_at`` is None where it holds."""

    key: str
    kind: str
    team_id: str
    subject_id: str
    subject: str
    raised_at: datetime
    ended_at: datetime | None
    detail: Mapping[str, object]


def settle_alerts(
    connection: Connection,
    holding: Collection[Alert],
    team_ids: Collection[str],
    addressees: Addressees,
    rules: AlertRules,
    as_of_us: int,
    *,
    is_first: bool,
) -> Alerted:
    """Write what became of the alerts of these teams, of which ``holding`` are all that hold now, with the mails.

    The caller's transaction is of the books. One that ended and holds again is the same one: nobody is told twice.
    """
    by_key = {alert.key: alert for alert in holding}
    known = known_alerts(connection, by_key)
    raised = [by_key[key] for key in sorted(by_key.keys() - known.keys())]
    again = {key for key, ended in known.items() if ended is not None}
    ended = holding_alerts(connection, team_ids) - by_key.keys()
    write_raised(connection, raised, as_of_us)
    set_ended(connection, again, None)
    set_ended(connection, ended, as_of_us)
    mails = _write_mails(connection, raised, addressees, rules, as_of_us, is_first=is_first)
    if raised or again or ended:
        logged = {"raised": _named(a.key for a in raised), "again": _named(again), "ended": _named(ended)}
        entry = {"by": origin(), "as_of": format_us(as_of_us), "mails": mails, **logged}
        log.append(connection, datetime.now(UTC), "alerts", entry)
    return Alerted(raised=len(raised), ended=len(ended), mails=mails, words=_words(raised, addressees.names))


def list_alerts(home: Home, team_id: str | None = None, *, ended: bool = False) -> list[ListedAlert]:
    """Alerts that hold, the newest first; with ``ended`` all that were ever raised. Of one team where it is given."""
    with home.database.read() as connection:
        found = read_alerts(connection, None if team_id is None else {team_id}, ended=ended)
    return [
        ListedAlert(
            key=row.alert_key,
            kind=row.kind,
            team_id=row.team_id,
            subject_id=row.subject_id,
            subject=detail["subject"],
            raised_at=from_us(row.raised_at_us),
            ended_at=None if row.ended_at_us is None else from_us(row.ended_at_us),
            detail=detail,
        )
        for row, detail in found
    ]


def _write_mails(
    connection: Connection,
    raised: Sequence[Alert],
    addressees: Addressees,
    rules: AlertRules,
    as_of_us: int,
    *,
    is_first: bool,
) -> int:
    """One mail a team, of what no other mail tells; one to finance where it is the first time or would be too many."""
    by_team: dict[str, list[Alert]] = {}
    for alert in sorted(raised, key=lambda one: (one.team_id, _URGENCY[one.kind], one.key)):
        if alert.kind not in rules.told_otherwise:
            by_team.setdefault(alert.team_id, []).append(alert)
    if not rules.mail or not raised:
        return 0
    due = from_us(as_of_us)
    if is_first or len(by_team) > rules.mails_at_once_max:
        why = "first" if is_first else "many"
        payload = _summary(raised, why)
        key = f"alerts/{_digest(alert.key for alert in raised)}"
        return int(
            enqueue(connection, key, MailKind.BALANCE_ALERT, subject_id="", customer_id="", payload=payload, due=due)
        )
    written = 0
    for team_id, mine in by_team.items():
        written += enqueue(
            connection,
            f"alerts/{team_id}/{_digest(alert.key for alert in mine)}",
            MailKind.BALANCE_ALERT,
            subject_id=team_id,
            customer_id=addressees.customers.get(team_id, ""),
            payload=_payload(team_id, addressees.names.get(team_id, ""), mine),
            due=due,
        )
    return written


def _words(raised: Sequence[Alert], names: Mapping[str, str]) -> tuple[str, ...]:
    """As ``Alerted`` has them."""
    ordered = sorted(raised, key=lambda one: (_URGENCY[one.kind], one.team_id, one.key))
    lines = [
        one_line(f"{names.get(alert.team_id) or alert.team_id}: {alert.subject}" if alert.team_id else alert.subject)
        for alert in ordered[:_WORDS_MAX]
    ]
    more = [f"and {len(ordered) - _WORDS_MAX} more"] if len(ordered) > _WORDS_MAX else []
    return (*(line if len(line) <= _LINE_MAX else line[: _LINE_MAX - 1] + "…" for line in lines), *more)


def _payload(team_id: str, name: str, mine: Sequence[Alert]) -> dict[str, object]:
    """What the mail's text needs; the most urgent alert gives kind and subject."""
    told = _lowest(mine)
    first = told[0]
    more = f", and {len(told) - 1} more" if len(told) > 1 else ""
    about = f"{name or team_id}: " if team_id else ""
    return {
        "team_id": team_id,
        "team_name": name,
        "kind": first.kind.value,
        "subject": f"{about}{first.subject}{more}",
        "alerts": [{"kind": a.kind.value, "subject": a.subject, "detail": dict(a.detail)} for a in told],
    }


def _lowest(mine: Sequence[Alert]) -> list[Alert]:
    """The same, where a balance fell below several shares at once without all but the smallest share."""
    least: dict[tuple[str, str], int] = {}
    for alert in mine:
        if alert.kind is AlertKind.LOW:
            least[_balance(alert)] = min(_percent(alert), least.get(_balance(alert), 100))
    return [a for a in mine if a.kind is not AlertKind.LOW or _percent(a) == least[_balance(a)]]


def _balance(alert: Alert) -> tuple[str, str]:
    """What is low: a grant, or the free units of one of a subscription's APIs."""
    return alert.subject_id, str(alert.detail["api"])


def _percent(alert: Alert) -> int:
    return int(str(alert.detail["percent"]))


def _summary(raised: Sequence[Alert], why: str) -> dict[str, object]:
    """Many at once, to finance: how many of each kind. ``why``: ``first`` (of this home) or ``many``."""
    kinds = sorted({alert.kind for alert in raised}, key=_URGENCY.__getitem__)
    teams = len({alert.team_id for alert in raised if alert.team_id})
    return {
        "team_id": "",
        "team_name": "",
        "kind": "summary",
        "subject": f"{len(raised)} alerts for {teams} teams hold; they were not mailed one by one",
        "why": why,
        "counts": {kind.value: sum(alert.kind is kind for alert in raised) for kind in kinds},
        "alerts": [],
    }


def _named(keys: Iterable[str]) -> dict[str, object]:
    """Keys for the log: how many, all of them together as a hash, and by name where they are few."""
    ordered = sorted(keys)
    few = {"keys": ordered} if len(ordered) <= _NAMED_IN_LOG else {}
    return {"count": len(ordered), "sha256": _digest(ordered), **few}


def _digest(keys: Iterable[str]) -> str:
    return sha256(log.canonical(sorted(keys)).encode()).hexdigest()
