"""What admins are told of before it hurts: which alerts hold for a team at its standing's instant.

An alert holds, or it does not. What it is about is in its key (a balance and its period, a grant, a cycle, a
threshold), so that each is raised once, and a new period or a new grant may raise it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from billing.core.alert_rules import AlertKind, AlertRules
from billing.core.collecting import last_day, parse_expiry
from billing.core.cycles import local_date
from billing.core.instants import DAY_US, day_number, format_us
from billing.core.model import Kind, PaymentMethod, Subscription
from billing.core.outlook import Outlook, Why
from billing.core.quantity import format_micro
from billing.core.reference import FOREVER_US
from billing.core.standing import Standing, StandingBalance, instant_text
from billing.core.terms import TeamTerms

_TOKENS: Mapping[str, str] = {Kind.TOKEN_FLEX.value: "Token Flex tokens", Kind.FLEX.value: "Flex tokens"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """One that holds. ``team_id`` is blank where no team is concerned; ``subject`` is a line of plain English;
    ``detail`` is what it says, as JSON holds it: quantities are decimals, instants RFC 3339; names that end in ``_on``
    are days of the running cycle's zone, as a buyer reads them.
    """

    key: str
    kind: AlertKind
    team_id: str
    subject_id: str
    subject: str
    detail: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pool:
    """Balances that pay for the same, in the order in which they pay. Days are told in ``time_zone``."""

    balances: tuple[StandingBalance, ...]
    time_zone: str

    @property
    def last(self) -> StandingBalance:
        return self.balances[-1]

    @property
    def granted_micro(self) -> int:
        return sum(balance.granted_micro for balance in self.balances)

    @property
    def available_micro(self) -> int:
        return sum(balance.available_micro for balance in self.balances)

    @property
    def name(self) -> str:
        """What it is called in a line."""
        last = self.last
        if last.source in _TOKENS:
            return _TOKENS[last.source]
        return last.api if last.source == Kind.CAPACITY else f"free units of {last.api}"

    def key(self, *what: object) -> str:
        """Told apart by the grant that pays last, or by the free balance's period: what is new raises anew."""
        last = self.last
        which = last.grant_id or f"{last.subscription_id}/{last.api}/{format_us(last.begins_at_us)}"
        return "/".join(map(str, (*what, last.source, which)))

    def detail(self) -> dict[str, object]:
        last = self.last
        return {
            "source": last.source,
            "subscription_id": last.subscription_id,
            "grant_id": last.grant_id,
            "api": last.api,
            "granted": format_micro(self.granted_micro),
            "available": format_micro(self.available_micro),
            "ends_at": instant_text(last.ends_at_us),
            "refreshes_at": instant_text(last.refreshes_at_us),
            "left_percent": self.left_percent,
        }

    @property
    def left_percent(self) -> str:
        """The share that is left, with one decimal, rounded up: nothing is called 0 while there is something."""
        tenths = -(-self.available_micro * 1000 // self.granted_micro)
        return f"{tenths // 10}.{tenths % 10}" if tenths % 10 else f"{tenths // 10}"

    def last_day(self, end_us: int) -> str | None:
        """The day of the last instant before an end; None of what does not end."""
        return None if end_us == FOREVER_US else self.day(end_us - 1)

    def day(self, at_us: int) -> str:
        """The local day of an instant."""
        return local_date(self.time_zone, at_us).isoformat()


def alerts_of(
    standing: Standing,
    team: TeamTerms,
    methods: Mapping[str, PaymentMethod],
    outlook: Callable[[StandingBalance], Outlook],
    rules: AlertRules,
) -> tuple[Alert, ...]:
    """All that hold for a team. ``methods``: stored payment methods by id."""
    pools = list(_pools(standing, rules))
    found = [
        *_unfunded(standing),
        *_payment(standing, team, methods, rules),
        *_low(standing, pools, rules),
        *_run_out(standing, pools, outlook, rules),
        *_ending(standing, pools, rules),
    ]
    return tuple(alert for alert in found if alert.kind not in rules.off)


def unassigned(subscriptions: Iterable[Subscription], as_of_us: int, rules: AlertRules) -> tuple[Alert, ...]:
    """Subscriptions that were bought and pay for nobody (rule 1.3), as long as they are active."""
    if AlertKind.UNASSIGNED in rules.off:
        return ()
    return tuple(
        Alert(
            key=f"unassigned/{s.subscription_id}",
            kind=AlertKind.UNASSIGNED,
            team_id="",
            subject_id=s.subscription_id,
            subject=f"Subscription {s.subscription_id} ({s.kind}) was bought and is assigned to no team",
            detail={"subscription_id": s.subscription_id, "source": s.kind.value},
        )
        for s in subscriptions
        if s.purchased_at_us <= as_of_us < s.ends_at_us
    )


def _pools(standing: Standing, rules: AlertRules) -> Iterator[_Pool]:
    """The valid balances that are large enough: grants of one kind together, capacity by its API, free ones alone."""
    together: dict[tuple[str, str, str], list[StandingBalance]] = {}
    for balance in standing.valid:
        alone = balance.subscription_id if balance.source == Kind.FREE else ""
        if balance.source != Kind.FREE or rules.free:
            together.setdefault((balance.source, balance.api, alone), []).append(balance)
    for balances in together.values():
        pool = _Pool(balances=tuple(balances), time_zone=_zone(standing))
        if pool.granted_micro >= max(rules.least_granted_micro, 1):
            yield pool


def _unfunded(standing: Standing) -> Iterator[Alert]:
    if standing.cycle is None or not standing.unfunded_units:
        return
    apis = [one.api for one in standing.apis if one.units.get("unfunded")]
    cycle_start = format_us(standing.cycle.start_us)
    count = "1 unit" if standing.unfunded_units == 1 else f"{standing.unfunded_units} units"
    yield Alert(
        key=f"unfunded/{standing.team_id}/{cycle_start}",
        kind=AlertKind.UNFUNDED,
        team_id=standing.team_id,
        subject_id=standing.team_id,
        subject=f"{count} of {', '.join(apis)} {'was' if count == '1 unit' else 'were'} used that nothing paid for",
        detail={
            "units": standing.unfunded_units,
            "apis": apis,
            "cycle_start": cycle_start,
            "cycle_start_on": local_date(standing.cycle.time_zone, standing.cycle.start_us).isoformat(),
        },
    )


def _payment(
    standing: Standing, team: TeamTerms, methods: Mapping[str, PaymentMethod], rules: AlertRules
) -> Iterator[Alert]:
    """Of the pay as you go that runs now: no stored method, or one that expires before the next charge."""
    active = [s for s in team.payg if s.purchased_at_us <= standing.as_of_us < s.ends_at_us]
    for s in active:
        named = s.payment_method_id or ""
        method = methods.get(named)
        if not named or (methods and method is None):
            yield Alert(
                key=f"payment_missing/{s.subscription_id}",
                kind=AlertKind.PAYMENT_MISSING,
                team_id=standing.team_id,
                subject_id=s.subscription_id,
                subject=f"There is no stored payment method for pay as you go ({s.subscription_id})",
                detail={"subscription_id": s.subscription_id},
            )
        elif method is not None and (month := parse_expiry(method.expires)) is not None:
            cycle_end = standing.cycle.end_us if standing.cycle else 0
            if _expires_us(month) <= max(cycle_end, standing.as_of_us + rules.ends_within_days * DAY_US):
                expires = f"{month[0]}-{month[1]:02}"
                yield Alert(
                    key=f"payment_expires/{s.subscription_id}/{method.payment_method_id}/{expires}",
                    kind=AlertKind.PAYMENT_EXPIRES,
                    team_id=standing.team_id,
                    subject_id=s.subscription_id,
                    subject=f"The stored payment method expires at the end of {expires}",
                    detail={
                        "subscription_id": s.subscription_id,
                        "payment_method_id": method.payment_method_id,
                        "brand": method.brand,
                        "last4": method.last4,
                        "expires": expires,
                    },
                )


def _expires_us(month: tuple[int, int]) -> int:
    """The end of the last month (year, month) in which a method can be used, in UTC."""
    return (day_number(last_day(month)) + 1) * DAY_US


def _low(standing: Standing, pools: Sequence[_Pool], rules: AlertRules) -> Iterator[Alert]:
    for pool in pools:
        for percent in sorted(rules.low_percent, reverse=True):
            if pool.available_micro * 100 <= pool.granted_micro * percent:
                left = f"{format_micro(pool.available_micro)} of {format_micro(pool.granted_micro)}"
                yield Alert(
                    key=pool.key("low", f"{percent}%"),
                    kind=AlertKind.LOW,
                    team_id=standing.team_id,
                    subject_id=pool.last.grant_id or pool.last.subscription_id,
                    subject=f"{left} {pool.name} are left ({percent} % or less)",
                    detail=pool.detail() | {"percent": percent},
                )


def _run_out(
    standing: Standing, pools: Sequence[_Pool], outlook: Callable[[StandingBalance], Outlook], rules: AlertRules
) -> Iterator[Alert]:
    """Pools of which all is expected to be used up soon, and before it ends or refreshes."""
    soon_us = standing.as_of_us + rules.runs_out_within_days * DAY_US
    for pool in pools:
        found = [outlook(balance) for balance in pool.balances]
        times = [one.at_us for one in found if one.at_us is not None]
        if not times or any(one.at_us is None and one.why is not Why.USED_UP for one in found):
            continue
        last = max((one for one in found if one.at_us is not None), key=lambda one: one.at_us or 0)
        if (last.at_us or 0) > soon_us:
            continue
        at = instant_text(last.at_us)
        yield Alert(
            key=pool.key("runs_out"),
            kind=AlertKind.RUNS_OUT,
            team_id=standing.team_id,
            subject_id=pool.last.grant_id or pool.last.subscription_id,
            subject=f"At the pace of the last weeks {pool.name} run out about {str(at)[:10]}",
            detail=pool.detail()
            | {"runs_out_at": at, "earliest": instant_text(last.low_us), "latest": instant_text(last.high_us)}
            | {"runs_out_on": pool.day(last.at_us or 0), "earliest_on": pool.day(last.low_us or last.at_us or 0)},
        )


def _ending(standing: Standing, pools: Sequence[_Pool], rules: AlertRules) -> Iterator[Alert]:
    """Grants that end soon with something left."""
    soon_us = standing.as_of_us + rules.ends_within_days * DAY_US
    for balance in (one for pool in pools for one in pool.balances):
        if balance.grant_id and balance.available_micro > 0 and balance.ends_at_us <= soon_us:
            pool = _Pool(balances=(balance,), time_zone=_zone(standing))
            left = f"{format_micro(balance.available_micro)} of {format_micro(balance.granted_micro)} {pool.name}"
            yield Alert(
                key=pool.key("ends", str(instant_text(balance.ends_at_us))),
                kind=AlertKind.ENDS,
                team_id=standing.team_id,
                subject_id=balance.grant_id,
                subject=f"{left} end on {format_us(balance.ends_at_us)[:10]} unused",
                detail=pool.detail() | {"ends_on": pool.last_day(balance.ends_at_us)},
            )


def _zone(standing: Standing) -> str:
    return standing.cycle.time_zone if standing.cycle else "UTC"
