"""What a written XML says, against the invoice that it was written from: every amount, digit for digit.

The norm's rules let pass a line that is not units x price, and a tax that is off by less than 1 (BR-CO-17). Here both
syntaxes are read by their places in the XML, not by what wrote them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from billing.core.errors import Finding
from billing.core.model import Invoice
from billing.core.quantity import multiply, round_half_up
from billing.documents.e_invoice.terms import as_written, vat_category
from billing.documents.e_invoice.values import clean


@dataclass(frozen=True, kw_only=True, slots=True)
class _Places:
    """XPaths of terms: of the document, and of a line below ``line``."""

    line: str
    document: dict[str, str]
    of_line: dict[str, str]


_SETTLEMENT = "rsm:SupplyChainTradeTransaction/ram:ApplicableHeaderTradeSettlement"
_SUMS = f"{_SETTLEMENT}/ram:SpecifiedTradeSettlementHeaderMonetarySummation"
_CII = _Places(
    line="rsm:SupplyChainTradeTransaction/ram:IncludedSupplyChainTradeLineItem",
    document={
        "BT-1": "rsm:ExchangedDocument/ram:ID",
        "BT-2": "translate(rsm:ExchangedDocument/ram:IssueDateTime/*, '-', '')",
        "BT-3": "rsm:ExchangedDocument/ram:TypeCode",
        "BT-5": f"{_SETTLEMENT}/ram:InvoiceCurrencyCode",
        "BT-106": f"{_SUMS}/ram:LineTotalAmount",
        "BT-109": f"{_SUMS}/ram:TaxBasisTotalAmount",
        "BT-110": f"{_SUMS}/ram:TaxTotalAmount[1]",
        "BT-111": f"{_SUMS}/ram:TaxTotalAmount[2]",
        "BT-112": f"{_SUMS}/ram:GrandTotalAmount",
        "BT-115": f"{_SUMS}/ram:DuePayableAmount",
        "BT-116": f"{_SETTLEMENT}/ram:ApplicableTradeTax/ram:BasisAmount",
        "BT-117": f"{_SETTLEMENT}/ram:ApplicableTradeTax/ram:CalculatedAmount",
        "BT-118": f"{_SETTLEMENT}/ram:ApplicableTradeTax/ram:CategoryCode",
        "BT-119": f"{_SETTLEMENT}/ram:ApplicableTradeTax/ram:RateApplicablePercent",
    },
    of_line={
        "BT-126": "ram:AssociatedDocumentLineDocument/ram:LineID",
        "BT-129": "ram:SpecifiedLineTradeDelivery/ram:BilledQuantity",
        "BT-131": "ram:SpecifiedLineTradeSettlement/*/ram:LineTotalAmount",
        "BT-146": "ram:SpecifiedLineTradeAgreement/ram:NetPriceProductTradePrice/ram:ChargeAmount",
        "BT-149": "ram:SpecifiedLineTradeAgreement/ram:NetPriceProductTradePrice/ram:BasisQuantity",
        "BT-151": "ram:SpecifiedLineTradeSettlement/ram:ApplicableTradeTax/ram:CategoryCode",
    },
)
_UBL = _Places(
    line="cac:InvoiceLine | cac:CreditNoteLine",
    document={
        "BT-1": "cbc:ID",
        "BT-2": "translate(cbc:IssueDate, '-', '')",
        "BT-3": "cbc:InvoiceTypeCode | cbc:CreditNoteTypeCode",
        "BT-5": "cbc:DocumentCurrencyCode",
        "BT-106": "cac:LegalMonetaryTotal/cbc:LineExtensionAmount",
        "BT-109": "cac:LegalMonetaryTotal/cbc:TaxExclusiveAmount",
        "BT-110": "cac:TaxTotal[1]/cbc:TaxAmount",
        "BT-111": "cac:TaxTotal[2]/cbc:TaxAmount",
        "BT-112": "cac:LegalMonetaryTotal/cbc:TaxInclusiveAmount",
        "BT-115": "cac:LegalMonetaryTotal/cbc:PayableAmount",
        "BT-116": "cac:TaxTotal/cac:TaxSubtotal/cbc:TaxableAmount",
        "BT-117": "cac:TaxTotal/cac:TaxSubtotal/cbc:TaxAmount",
        "BT-118": "cac:TaxTotal/cac:TaxSubtotal/cac:TaxCategory/cbc:ID",
        "BT-119": "cac:TaxTotal/cac:TaxSubtotal/cac:TaxCategory/cbc:Percent",
    },
    of_line={
        "BT-126": "cbc:ID",
        "BT-129": "cbc:InvoicedQuantity | cbc:CreditedQuantity",
        "BT-131": "cbc:LineExtensionAmount",
        "BT-146": "cac:Price/cbc:PriceAmount",
        "BT-149": "cac:Price/cbc:BaseQuantity",
        "BT-151": "cac:Item/cac:ClassifiedTaxCategory/cbc:ID",
    },
)


def amount_findings(invoice: Invoice, xml: bytes) -> list[Finding]:
    """Where a written XML, of either syntax, says something else than its invoice. ``file`` is the invoice's number.

    Numbers are compared by value, exactly; a price for 1000 units is taken back to one.
    """
    from lxml import etree

    try:
        root = etree.fromstring(xml)
    except etree.XMLSyntaxError as error:
        return [Finding(file=invoice.number, message=f"the XML cannot be read: {error}")]
    syntax, places = ("cii", _CII) if etree.QName(root).localname == "CrossIndustryInvoice" else ("ubl", _UBL)
    spaces = {prefix: uri for prefix, uri in root.nsmap.items() if prefix}
    return [
        Finding(file=invoice.number, message=f"{message} ({syntax})")
        for message in (*_of_document(invoice, root, places, spaces), *_of_lines(invoice, root, places, spaces))
    ]


def _of_document(invoice: Invoice, root: Any, places: _Places, spaces: dict[str, str]) -> Iterator[str]:
    for term, expected in _expected(invoice).items():
        yield from _difference(term, root.xpath(f"string({places.document[term]})", namespaces=spaces), expected)


def _expected(invoice: Invoice) -> dict[str, str | Decimal]:
    """By term; a blank text where there must be none."""
    category = vat_category(invoice)
    return {
        "BT-1": clean(invoice.number),
        "BT-2": f"{invoice.issue_date:%Y%m%d}",
        "BT-3": invoice.type.value,
        "BT-5": invoice.currency,
        "BT-106": invoice.net,
        "BT-109": invoice.net,
        "BT-110": invoice.tax,
        "BT-111": "" if invoice.vat_total is None else invoice.vat_total,
        "BT-112": invoice.total,
        "BT-115": invoice.total,
        "BT-116": invoice.net,
        "BT-117": invoice.tax,
        "BT-118": category,
        "BT-119": "" if category == "O" else invoice.tax_treatment.percent,
    }


def _of_lines(invoice: Invoice, root: Any, places: _Places, spaces: dict[str, str]) -> Iterator[str]:
    from lxml import etree

    found = root.xpath(places.line, namespaces=spaces)
    if len(found) != len(invoice.lines):
        yield f"{len(found)} lines in the XML, {len(invoice.lines)} on the invoice"
        return
    readers = {term: etree.XPath(f"string({place})", namespaces=spaces) for term, place in places.of_line.items()}
    category = vat_category(invoice)
    for element, line in zip(found, invoice.lines, strict=True):
        read = {term: reader(element) for term, reader in readers.items()}
        units, unit_price = as_written(line)
        where = f"line {line.line_no}, "
        yield from _difference(f"{where}BT-126", read["BT-126"], str(line.line_no))
        yield from _difference(f"{where}BT-129", read["BT-129"], Decimal(units))
        yield from _difference(f"{where}BT-131", read["BT-131"], line.net)
        yield from _difference(f"{where}BT-151", read["BT-151"], category)
        yield from _price_findings(where, read, units, unit_price, line.net)


def _price_findings(where: str, read: dict[str, str], units: int, unit_price: Decimal, net: Decimal) -> Iterator[str]:
    """BT-146 for BT-149 units is the price, and units x price, rounded half up, is the net amount (rule 6.1)."""
    base = _number(read["BT-149"] or "1")
    if base is None or base <= 0:
        yield f"{where}BT-149: {read['BT-149']!r} is no number of units"
        return
    yield from _difference(f"{where}BT-146", read["BT-146"], multiply(base, unit_price))
    digits = -int(net.as_tuple().exponent)
    if round_half_up(multiply(units, unit_price), digits) != net:
        yield f"{where}BT-131: {net:f} is not {units} x {unit_price:f}"


def _difference(term: str, read: str, expected: str | Decimal) -> Iterator[str]:
    same = _number(read) == expected if isinstance(expected, Decimal) else read == expected
    if not same:
        written = f"{expected:f}" if isinstance(expected, Decimal) else repr(expected)
        yield f"{term}: {read!r} in the XML, {written} on the invoice"


def _number(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except InvalidOperation:
        return None
