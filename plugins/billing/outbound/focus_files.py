"""Charges as files of FOCUS: CSV and Parquet, by the columns of version 1.4 or of 1.2.

Columns of 1.4: the data set "Cost and Usage" of the specification (65 columns). Columns of 1.2: those of the
requirements model 1.2.0.1 that ``focus-validator`` checks. Ours, with the prefix ``x_``, come last. What does not apply
is null; in CSV it is empty. Texts are as they are: a machine reads these files, and FOCUS asks that values are kept.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from billing.core.focus import TOKENS, Category, Charge, CommitmentStatus, Service
from billing.core.instants import format_us
from billing.core.quantity import decimal_of_micro, format_micro

VERSIONS = ("1.4", "1.2")
COST, QUANTITY = pa.decimal128(38, 18), pa.decimal128(38, 6)
INSTANT, TEXT = pa.timestamp("us", "UTC"), pa.string()
Cell = str | int | Decimal | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column: its type, what a charge has in it, and the versions that know it. Instants are microseconds."""

    name: str
    kind: Any
    cell: Callable[[Charge, Service], Cell]
    versions: tuple[str, ...] = VERSIONS


def _text(read: Callable[[Charge], str | None]) -> Callable[[Charge, Service], Cell]:
    return lambda charge, _: read(charge) or None


def _null(charge: Charge, service: Service) -> Cell:
    return None


def _frequency(charge: Charge) -> str:
    return "One-Time" if charge.category is Category.PURCHASE else "Usage-Based"


def _pricing_category(charge: Charge) -> str:
    if not charge.sku_price_id:
        return ""
    return "Committed" if charge.commitment is not None and charge.commitment.status is not None else "Standard"


def _pricing_price(charge: Charge, service: Service) -> Cell:
    return Decimal(1) if charge.pays_in_tokens else charge.unit_price


def _pricing_effective(charge: Charge, service: Service) -> Cell:
    return charge.pricing_quantity if charge.pays_in_tokens else charge.effective


def _commitment(read: Callable[[Any], Cell]) -> Callable[[Charge, Service], Cell]:
    return lambda charge, _: None if charge.commitment is None else read(charge.commitment)


def _consumed(charge: Charge, service: Service) -> Cell:
    return None if charge.consumed_micro is None else decimal_of_micro(charge.consumed_micro)


def _consumed_unit(charge: Charge) -> str:
    return charge.metered.usage_unit if charge.metered is not None and charge.consumed_micro is not None else ""


def _contract(charge: Charge) -> str:
    """Which tokens of which agreement a charge takes: an object of FOCUS 1.4."""
    held = charge.commitment
    if held is None or held.status is not CommitmentStatus.USED:
        return ""
    element = {
        "ContractId": held.grant.subscription_id,
        "ContractCommitmentId": held.grant.grant_id,
        "ContractCommitmentAppliedQuantity": "@",
        "ContractCommitmentAppliedUnit": TOKENS,
    }
    # A number of JSON by its digits: a float would lose some.
    return _json({"Elements": [element]}).replace('"@"', format_micro(held.tokens_micro), 1)


def _eligible(charge: Charge) -> str:
    """The commitments that could pay for it: an API that tokens can pay for."""
    if charge.metered is None or not charge.metered.takes_tokens:
        return ""
    return _json({"CommitmentPrograms": [{"ProgramType": "Flex"}, {"ProgramType": "Token Flex"}]})


def _service_name(charge: Charge) -> str:
    if charge.metered is not None:
        return charge.metered.name
    return "Tokens" if charge.commitment is not None else "VAT"


def _meter(charge: Charge) -> str:
    if charge.metered is not None:
        return charge.metered.usage_unit
    return TOKENS if charge.sku_id else ""


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


_NEW, _OLD = ("1.4",), ("1.2",)

COLUMNS: tuple[Column, ...] = (
    *(
        Column(name=name, kind=TEXT, cell=_null, versions=_NEW)
        for name in (
            "AllocatedMethodId",
            "AllocatedMethodDetails",
            "AllocatedResourceId",
            "AllocatedResourceName",
            "AllocatedTags",
        )
    ),
    Column(name="AvailabilityZone", kind=TEXT, cell=_null),
    Column(name="BilledCost", kind=COST, cell=lambda c, _: c.billed),
    Column(name="BillingAccountId", kind=TEXT, cell=_text(lambda c: c.payer.customer_id)),
    Column(name="BillingAccountName", kind=TEXT, cell=_text(lambda c: c.payer.customer)),
    Column(name="BillingAccountType", kind=TEXT, cell=_text(lambda c: "Customer")),
    Column(name="BillingCurrency", kind=TEXT, cell=_text(lambda c: c.currency)),
    Column(name="BillingPeriodEnd", kind=INSTANT, cell=lambda c, _: c.period.billing_end_us),
    Column(name="BillingPeriodStart", kind=INSTANT, cell=lambda c, _: c.period.billing_start_us),
    Column(name="CapacityReservationId", kind=TEXT, cell=_null),
    Column(name="CapacityReservationStatus", kind=TEXT, cell=_null),
    Column(name="ChargeCategory", kind=TEXT, cell=_text(lambda c: c.category.value)),
    Column(name="ChargeClass", kind=TEXT, cell=_text(lambda c: "Correction" if c.is_correction else "")),
    Column(name="ChargeDescription", kind=TEXT, cell=_text(lambda c: c.description)),
    Column(name="ChargeFrequency", kind=TEXT, cell=_text(_frequency)),
    Column(name="ChargePeriodEnd", kind=INSTANT, cell=lambda c, _: c.period.end_us),
    Column(name="ChargePeriodStart", kind=INSTANT, cell=lambda c, _: c.period.start_us),
    Column(name="CommitmentDiscountCategory", kind=TEXT, cell=_commitment(lambda h: "Usage")),
    Column(name="CommitmentDiscountId", kind=TEXT, cell=_commitment(lambda h: h.grant.grant_id)),
    Column(name="CommitmentDiscountName", kind=TEXT, cell=_null),
    Column(
        name="CommitmentDiscountQuantity",
        kind=QUANTITY,
        cell=_commitment(lambda h: decimal_of_micro(h.tokens_micro)),
    ),
    Column(
        name="CommitmentDiscountStatus", kind=TEXT, cell=_commitment(lambda h: h.status.value if h.status else None)
    ),
    Column(name="CommitmentDiscountType", kind=TEXT, cell=_commitment(lambda h: h.grant.program)),
    Column(name="CommitmentDiscountUnit", kind=TEXT, cell=_commitment(lambda h: TOKENS)),
    Column(name="CommitmentProgramEligibilityDetails", kind=TEXT, cell=_text(_eligible), versions=_NEW),
    Column(name="ConsumedQuantity", kind=QUANTITY, cell=_consumed),
    Column(name="ConsumedUnit", kind=TEXT, cell=_text(_consumed_unit)),
    Column(name="ContractApplied", kind=TEXT, cell=_text(_contract), versions=_NEW),
    Column(name="ContractedCost", kind=COST, cell=lambda c, _: c.priced),
    Column(name="ContractedUnitPrice", kind=COST, cell=lambda c, _: c.unit_price),
    Column(name="EffectiveCost", kind=COST, cell=lambda c, _: c.effective),
    Column(name="HostProviderName", kind=TEXT, cell=_text(lambda c: c.payer.seller), versions=_NEW),
    Column(name="InvoiceDetailId", kind=TEXT, cell=_text(lambda c: c.detail_id), versions=_NEW),
    Column(name="InvoiceId", kind=TEXT, cell=_text(lambda c: c.invoice_id)),
    Column(name="InvoiceIssuerName", kind=TEXT, cell=_text(lambda c: c.payer.seller)),
    Column(name="ListCost", kind=COST, cell=lambda c, _: c.priced),
    Column(name="ListUnitPrice", kind=COST, cell=lambda c, _: c.unit_price),
    Column(name="PricingCategory", kind=TEXT, cell=_text(_pricing_category)),
    # The requirements model of 1.2 takes codes of ISO 4217 only, so tokens are priced in money there.
    Column(
        name="PricingCurrency",
        kind=TEXT,
        cell=_text(lambda c: TOKENS if c.pays_in_tokens else c.currency),
        versions=_NEW,
    ),
    Column(name="PricingCurrency", kind=TEXT, cell=_text(lambda c: c.currency), versions=_OLD),
    Column(name="PricingCurrencyContractedUnitPrice", kind=COST, cell=_pricing_price, versions=_NEW),
    Column(name="PricingCurrencyContractedUnitPrice", kind=COST, cell=lambda c, _: c.unit_price, versions=_OLD),
    Column(name="PricingCurrencyEffectiveCost", kind=COST, cell=_pricing_effective, versions=_NEW),
    Column(name="PricingCurrencyEffectiveCost", kind=COST, cell=lambda c, _: c.effective, versions=_OLD),
    Column(name="PricingCurrencyListUnitPrice", kind=COST, cell=_pricing_price, versions=_NEW),
    Column(name="PricingCurrencyListUnitPrice", kind=COST, cell=lambda c, _: c.unit_price, versions=_OLD),
    Column(name="PricingQuantity", kind=QUANTITY, cell=lambda c, _: c.pricing_quantity),
    Column(name="PricingUnit", kind=TEXT, cell=_text(lambda c: c.pricing_unit)),
    Column(name="ProviderName", kind=TEXT, cell=_text(lambda c: c.payer.seller), versions=_OLD),
    Column(name="PublisherName", kind=TEXT, cell=_text(lambda c: c.payer.seller), versions=_OLD),
    Column(name="RegionId", kind=TEXT, cell=_null),
    Column(name="RegionName", kind=TEXT, cell=_null),
    Column(name="ResourceId", kind=TEXT, cell=_text(lambda c: c.resource_id)),
    Column(name="ResourceName", kind=TEXT, cell=_null),
    Column(name="ResourceType", kind=TEXT, cell=_text(lambda c: c.resource_type if c.resource_id else "")),
    Column(name="ServiceCategory", kind=TEXT, cell=lambda c, s: s.category),
    Column(name="ServiceName", kind=TEXT, cell=_text(_service_name)),
    Column(name="ServiceProviderName", kind=TEXT, cell=_text(lambda c: c.payer.seller), versions=_NEW),
    Column(name="ServiceSubcategory", kind=TEXT, cell=lambda c, s: s.subcategory),
    Column(name="SkuId", kind=TEXT, cell=_text(lambda c: c.sku_id)),
    Column(name="SkuMeter", kind=TEXT, cell=_text(_meter)),
    Column(name="SkuPriceDetails", kind=TEXT, cell=_null),
    Column(name="SkuPriceId", kind=TEXT, cell=_text(lambda c: c.sku_price_id)),
    Column(name="SubAccountId", kind=TEXT, cell=_text(lambda c: c.payer.team_id)),
    Column(name="SubAccountName", kind=TEXT, cell=_text(lambda c: c.payer.team)),
    Column(name="SubAccountType", kind=TEXT, cell=_text(lambda c: "Team" if c.payer.team_id else "")),
    Column(name="Tags", kind=TEXT, cell=_null),
    Column(name="x_Source", kind=TEXT, cell=_text(lambda c: c.source)),
    Column(name="x_ChargedUnits", kind=pa.int64(), cell=lambda c, _: c.charged_units),
    Column(name="x_CorrectedInvoiceId", kind=TEXT, cell=_text(lambda c: c.about)),
    Column(name="x_TaxCategory", kind=TEXT, cell=_text(lambda c: c.tax_category)),
    Column(name="x_TaxPercent", kind=QUANTITY, cell=lambda c, _: c.tax_percent),
)


def columns_of(version: str) -> tuple[Column, ...]:
    """The columns of a version, in order, ours last."""
    return tuple(column for column in COLUMNS if version in column.versions)


def types_of(version: str) -> Mapping[str, str]:
    """The columns of a version and their types."""
    return {column.name: str(column.kind) for column in columns_of(version)}


def write_focus_csv(path: Path, version: str, charges: Iterable[Charge], service: Service) -> None:
    """Write charges as CSV (RFC 4180): instants in UTC with ``Z``, decimals by their digits, null as an empty cell."""
    columns = columns_of(version)
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\r\n")
        writer.writerow([column.name for column in columns])
        for charge in charges:
            writer.writerow([_written(column.cell(charge, service), column.kind) for column in columns])


def write_focus_parquet(path: Path, version: str, charges: Sequence[Charge], service: Service) -> None:
    """Write charges as Parquet with types."""
    columns = columns_of(version)
    arrays = [pa.array([column.cell(charge, service) for charge in charges], column.kind) for column in columns]
    schema = pa.schema([pa.field(column.name, column.kind) for column in columns])
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path, compression="zstd", version="2.6")


def _written(cell: Cell, kind: Any) -> str:
    match cell:
        case None:
            return ""
        case Decimal():
            # A column of whole numbers is one of decimals too, for readers that guess types.
            return f"{cell:f}" if "." in f"{cell:f}" else f"{cell:f}.0"
        case int() if kind == INSTANT:
            return format_us(cell)
    return str(cell)
