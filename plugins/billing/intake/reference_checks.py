"""What reference tables may say, each by itself, together, and beside what is known (data contract, "Reference data").

``check_reference`` runs every check and returns every finding. A check passes over cells that could not be read
(they are findings already), and says nothing about rows of tables that were not read whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from types import MappingProxyType

import numpy as np
import pandas as pd

from billing.core.errors import Finding
from billing.core.model import ApiBilling, Kind, Role
from billing.core.reference import TABLES, Reference, Table
from billing.intake.reference_codes import countries, currencies, time_zones, vat_id_fault
from billing.intake.reference_files import ReferenceFolder
from billing.intake.reference_findings import FindingList, shown
from billing.intake.reference_history import NO_NEEDS, Needs, check_against_known
from billing.intake.reference_intervals import check_ends, check_overlaps
from billing.intake.reference_particulars import INVOICE_PREFIX, check_particulars
from billing.intake.reference_tables import Tables

__all__ = ["NO_NEEDS", "Needs", "check_reference", "in_force"]

_LAST_FOUR = re.compile(r"[0-9]{4}")


def in_force(new: ReferenceFolder, known: Reference | None) -> Reference:
    """What is known once ``new`` is loaded: its tables, and of optional ones that it lacks those known before."""
    return Tables(new, known).frames()


def check_reference(new: ReferenceFolder, known: Reference | None, needs: Needs) -> list[Finding]:
    """Everything for which the contract refuses the load of ``new`` where ``known`` is in force.

    At most ``FINDINGS_MAX`` findings and their count. An empty list, with none from ``read_reference_folder``
    either, means that the load may be taken.
    """
    tables, found = Tables(new, known), FindingList()
    _check_seller(tables, found)
    for table in TABLES.values():
        _check_keys(tables, table, found)
        _check_references(tables, table, found)
    _check_codes(tables, found)
    _check_vat_ids(tables, found)
    check_ends(tables, found)
    check_overlaps(tables, found)
    _check_subscriptions(tables, found)
    _check_kinds(tables, found)
    _check_payment_methods(tables, found)
    check_particulars(tables, found)
    check_against_known(tables, known, needs, found)
    return found.report()


def _check_seller(tables: Tables, found: FindingList) -> None:
    """Refused: more or less than "one row"; the prefix goes into invoice numbers and names of files (rule 6.3)."""
    seller = tables["seller"]
    if not seller.present:
        return
    if seller.whole and len(seller.frame) == 0:
        found.add("seller", seller.file, "has no row; one home bills for one seller, so it needs exactly one")
    if len(seller.frame) > 1:
        seller.report(found, np.arange(len(seller.frame)) > 0, None, "is a second seller; keep exactly one row")
    prefixes = seller.texts("invoice_prefix")
    bad = np.array([text != "" and not INVOICE_PREFIX.fullmatch(text) for text in prefixes], dtype=bool)
    seller.report(
        found,
        bad,
        "invoice_prefix",
        lambda row: f"{shown(prefixes[row])} is no invoice prefix; use 1 to 20 letters, digits, -, _, / and .",
    )


def _check_keys(tables: Tables, table: Table, found: FindingList) -> None:
    """Refused: "two rows with one key", compared by value: 12:00+02:00 is 10:00Z."""
    own = tables[table.name]
    if not table.key or not own.present:
        return
    keys = own.frame[list(table.key)]
    twice = keys.duplicated().to_numpy() & own.readable(*table.key)
    if not twice.any():
        return
    groups = keys.groupby(list(table.key), sort=False).ngroup().to_numpy()
    first = np.unique(groups, return_index=True)[1][groups]
    own.report(
        found,
        twice,
        table.key[0],
        lambda row: f"has the key of {own.line(int(first[row]))} ({', '.join(table.key)}); keep one of the rows",
    )


def _check_references(tables: Tables, table: Table, found: FindingList) -> None:
    """Refused: "unknown references": every ``refers`` of ``core.reference``; blanks name nothing."""
    own = tables[table.name]
    for column in table.columns:
        if column.refers is None or not own.present:
            continue
        other, other_column = column.refers.split(".")
        if not tables[other].whole:
            continue
        values = own.frame[column.name]
        unknown = (~values.isin(tables[other].frame[other_column]) & (values != "")).to_numpy()
        own.report(found, unknown, column.name, _unknown_in(values, other))


def _unknown_in(values: pd.Series, other: str) -> Callable[[int], str]:
    return lambda row: f"{shown(values[row])} is not in {other}; add it there or mend the id"


# --- codes ---------------------------------------------------------------------------------------------------------

_Fault = Callable[[str], str]


def _country_fault(code: str) -> str:
    hint = {"EL": "GR", "UK": "GB"}.get(code, "")
    return f"is no ISO 3166-1 alpha-2 code; {f'write {hint}' if hint else 'write two capitals, like FR'}"


_CODES: MappingProxyType[str, tuple[Callable[[], frozenset[str]], _Fault]] = MappingProxyType(
    {
        "time_zone": (time_zones, lambda _: "is no IANA time zone; write a name like Europe/Paris"),
        "currency": (currencies, lambda _: "is no ISO 4217 code of a currency; write three capitals, like EUR"),
        "country": (countries, _country_fault),
        "kind": (lambda: frozenset(Kind), lambda _: f"is no kind of subscription; write one of {', '.join(Kind)}"),
        "billing": (lambda: frozenset(ApiBilling), lambda _: f"is no billing; write one of {', '.join(ApiBilling)}"),
        "role": (lambda: frozenset(Role), lambda _: f"is no role in a team; write one of {', '.join(Role)}"),
    }
)
"""By column name, in whatever table: the values that are known, and what to say of another."""


def _check_codes(tables: Tables, found: FindingList) -> None:
    """Refused: "an unknown time zone, currency or country", kind, billing or role."""
    for table in TABLES.values():
        own = tables[table.name]
        for column in table.columns:
            if column.name not in _CODES or not own.present:
                continue
            codes, fault = _CODES[column.name]
            values = own.frame[column.name]
            unknown = (~values.isin([str(code) for code in codes()]) & (values != "")).to_numpy()
            own.report(found, unknown, column.name, _code_message(values, fault))


def _code_message(values: pd.Series, fault: _Fault) -> Callable[[int], str]:
    return lambda row: f"{shown(values[row])} {fault(values[row])}"


def _check_vat_ids(tables: Tables, found: FindingList) -> None:
    """Refused: "a malformed VAT id (python-stdnum)", of the seller and of customers."""
    for name in ("seller", "customers"):
        own = tables[name]
        vat_ids, homes = own.texts("vat_id"), own.texts("country")
        faults = [vat_id_fault(vat, home) if vat else None for vat, home in zip(vat_ids, homes, strict=True)]
        own.report(
            found,
            np.array([fault is not None for fault in faults], dtype=bool),
            "vat_id",
            _vat_message(vat_ids, faults),
        )


def _vat_message(vat_ids: list[str], faults: list[str | None]) -> Callable[[int], str]:
    return lambda row: f"{shown(vat_ids[row])} {faults[row]}"


# --- subscriptions and what hangs on them --------------------------------------------------------------------------


def _check_subscriptions(tables: Tables, found: FindingList) -> None:
    """Refused: "`payg` without currency"."""
    own = tables["subscriptions"]
    missing = (own.frame["kind"] == Kind.PAYG) & (own.frame["currency"] == "")
    own.report(found, missing.to_numpy(), "currency", "is blank; a payg subscription needs its currency")


_KINDS_OF = MappingProxyType(
    {
        "free_allowances": (Kind.FREE,),
        "token_grants": (Kind.TOKEN_FLEX, Kind.FLEX),
        "capacity_grants": (Kind.CAPACITY,),
    }
)
_BILLING_OF = MappingProxyType({"free_allowances": ApiBilling.RATED, "capacity_grants": ApiBilling.CAPACITY})


def _check_kinds(tables: Tables, found: FindingList) -> None:
    """Refused: "an allowance or grant on another kind of subscription" (rules 5.2 to 5.6), or of another API."""
    for name, kinds in _KINDS_OF.items():
        words = " or ".join(kinds)
        _check_looked_up(tables, name, "subscription_id", "subscriptions", "kind", tuple(kinds), words, found)
    for name, billing in _BILLING_OF.items():
        _check_looked_up(tables, name, "api", "apis", "billing", (billing,), billing, found)


def _check_looked_up(
    tables: Tables,
    name: str,
    column: str,
    other: str,
    looked_up: str,
    allowed: tuple[str, ...],
    words: str,
    found: FindingList,
) -> None:
    """What ``column`` refers to must have one of ``allowed`` in ``looked_up``; what it does not find is passed over."""
    own = tables[name]
    values = own.frame[column].map(tables[other].unique(column, looked_up))
    known = values.isin([str(code) for code in _CODES[looked_up][0]()])
    bad = (known & ~values.isin([str(code) for code in allowed])).to_numpy()
    own.report(
        found,
        bad,
        column,
        lambda row: f"{shown(own.frame[column][row])} has the {looked_up} {values[row]}; {name} are for {words} only",
    )


def _check_payment_methods(tables: Tables, found: FindingList) -> None:
    """``last4``, and the payment method of a subscription once any is known. No message holds a cell of them."""
    methods, subscriptions = tables["payment_methods"], tables["subscriptions"]
    last_four = methods.texts("last4")
    bad = np.array([text != "" and not _LAST_FOUR.fullmatch(text) for text in last_four], dtype=bool)
    methods.report(found, bad, "last4", "is not four digits; write a card's last four, or leave it blank")
    if len(methods.frame) == 0 or not methods.whole:
        return
    own = subscriptions.frame["payment_method_id"]
    unknown = (~own.isin(methods.frame["payment_method_id"]) & (own != "")).to_numpy()
    message = "is not in payment_methods; add it there, mend the id or leave it blank"
    subscriptions.report(found, unknown, "payment_method_id", message)
    owner = own.map(methods.unique("payment_method_id", "customer_id"))
    payer = subscriptions.frame["team_id"].map(tables["teams"].unique("team_id", "customer_id"))
    foreign = (owner.notna() & payer.isin(tables["customers"].frame["customer_id"]) & (owner != payer)).to_numpy()
    message = "is a payment method of another customer than the team's; name one of its own"
    subscriptions.report(found, foreign, "payment_method_id", message)
