"""Late taxes: invoices that stand and would have borne another one, with the exact amount (rules 3.6 and 6.2)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from billing.core.instants import from_day
from billing.core.invoicing import Buyers
from billing.core.model import TaxTreatment
from billing.core.quantity import decimal_of_micro, minor_digits
from billing.core.reference import Reference
from billing.core.tax import tax_on
from billing.steps.late_closed import Hit, cycle_of, named
from billing.steps.late_in_force import NOTHING, InForce, in_force
from billing.steps.reference_versions import Version
from billing.store.invoices import from_minor, stands
from billing.store.late_rows import Figure, Touched
from billing.store.tables import cycles, invoices

TAXING = ("seller", "customers", "teams", "tax_rates")
"""The tables that a tax depends on."""


def tax_hits(
    connection: Connection, found: Mapping[str, Sequence[Version]], before: Reference, after: Reference
) -> Iterator[Hit]:
    """Invoices that would have borne another tax, with each row that makes it another one."""
    causes = _Causes.of(found, before, after)
    known = set(before["teams"]["team_id"]) & set(after["teams"]["team_id"])
    teams = known & (causes.teams(before) | causes.teams(after))
    if not teams:
        return
    were, are = Buyers.from_reference(before), Buyers.from_reference(after)
    for invoice in _invoices(connection, teams):
        day = from_day(invoice.period_last_day)
        was, is_now = were.treatment(invoice.team_id, day), are.treatment(invoice.team_id, day)
        if was == is_now:
            continue
        for version in causes.of_invoice(invoice, were, are):
            yield Hit(
                version=version,
                team_id=invoice.team_id,
                cycle_start_us=invoice.cycle_start_us,
                touched=frozenset({Touched.TAX}),
                figures=tuple(_figures(invoice, is_now)),
            )


def _invoices(connection: Connection, team_ids: Collection[str]) -> Iterator[Any]:
    query = select(invoices, cycles.c.period_last_day).join(cycles, cycle_of(invoices)).where(stands())
    return named(connection, query.order_by(invoices.c.number), invoices.c.team_id, team_ids)


def _figures(invoice: Any, is_now: TaxTreatment | None) -> Iterator[Figure]:
    """None where no rate would have been in force: the team would have been parked (rule 3.8)."""
    if is_now is None:
        return
    currency = invoice.currency
    tax = tax_on(from_minor(invoice.net_minor, currency), is_now.percent, minor_digits(currency))
    rate = f"{invoice.tax_category} {decimal_of_micro(invoice.tax_percent_micro):f} %"
    stands = f"{from_minor(invoice.tax_minor, currency):f} {currency} ({rate})"
    would_be = f"{tax:f} {currency} ({is_now.category} {is_now.percent:f} %)"
    if stands != would_be:
        yield Figure(what=f"{invoice.number}: tax", stands=stands, would_be=would_be)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Causes:
    """Rows of a load that a tax depends on: the seller's country, buyers' countries and VAT ids, whose team it is, and
    the rates of countries before and after.
    """

    seller: Sequence[Version]
    customers: Mapping[str, Version]
    teams_by_id: Mapping[str, Version]
    rates: Mapping[str, Sequence[Version]]
    were: Mapping[tuple[str, ...], InForce]
    are: Mapping[tuple[str, ...], InForce]

    @classmethod
    def of(cls, found: Mapping[str, Sequence[Version]], before: Reference, after: Reference) -> _Causes:
        rates: dict[str, list[Version]] = {}
        for version in found.get("tax_rates", ()):
            rates.setdefault(version.row.country, []).append(version)
        wanted = [(country,) for country in rates]
        were, are = (in_force(one["tax_rates"], ("country",), ("percent",), wanted) for one in (before, after))
        return cls(
            seller=_changed(found, "seller", "country"),
            customers={v.row.customer_id: v for v in _changed(found, "customers", "country", "vat_id")},
            teams_by_id={v.row.team_id: v for v in _changed(found, "teams", "customer_id")},
            rates=rates,
            were=were,
            are=are,
        )

    def teams(self, reference: Reference) -> set[str]:
        """Teams whose invoices may bear another tax, by who they belong to in a reference."""
        customers, teams = reference["customers"], reference["teams"]
        if self.seller:
            return set(teams["team_id"])
        there = customers["country"].isin(self.rates.keys()) | customers["customer_id"].isin(self.customers.keys())
        theirs = teams["customer_id"].isin(customers["customer_id"][there])
        return set(teams["team_id"][theirs | teams["team_id"].isin(self.teams_by_id.keys())])

    def of_invoice(self, invoice: Any, were: Buyers, are: Buyers) -> Iterator[Version]:
        """The rows that may have changed the tax of one invoice."""
        team_id = invoice.team_id
        customers = {buyers.parties.customer_by_team[team_id] for buyers in (were, are)}
        countries = {buyers.parties.country_of(one) for buyers in (were, are) for one in customers}
        yield from self.seller
        yield from (self.teams_by_id[one] for one in (team_id,) if one in self.teams_by_id)
        yield from (self.customers[one] for one in sorted(customers) if one in self.customers)
        for country in sorted(filter(None, countries)):
            yield from self._of_country(country, invoice.period_last_day)

    def _of_country(self, country: str, day: int) -> Iterator[Version]:
        """Rates of which one was in force, or is, on a day for which they differ."""
        was, is_now = self.were.get((country,), NOTHING), self.are.get((country,), NOTHING)
        if was.at(day) != is_now.at(day):
            starts = (was.start_at(day), is_now.start_at(day))
            yield from (version for version in self.rates.get(country, ()) if version.row.valid_from in starts)


def _changed(found: Mapping[str, Sequence[Version]], table: str, *columns: str) -> list[Version]:
    """Versions of rows that were there before and are there now, with another value in one of the columns."""
    return [v for v in found.get(table, ()) if v.what == "changed" and v.changed(*columns)]
