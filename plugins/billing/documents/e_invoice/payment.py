"""How an invoice is paid (BG-16) and when (BT-9, BT-20). Codes are UNTDID 4461's."""

from __future__ import annotations

from typing import Any

from billing.core.model import Invoice, InvoiceType, PaymentMethod
from billing.documents.e_invoice.values import clean

NOT_DEFINED = "1"
CREDIT_TRANSFER = "30"
CARD = "48"
SEPA_CREDIT_TRANSFER = "58"
SEPA_DIRECT_DEBIT = "59"
ONLINE_PAYMENT_SERVICE = "68"


def payment_terms(invoice: Invoice) -> dict[str, Any]:
    """BT-9, BT-20 and BT-81 to BT-90; nothing where there is nothing to pay.

    A positive total needs a due date or a text (BR-CO-25).
    """
    if not invoice.total:
        return {}
    terms = _means(invoice)
    if invoice.type is InvoiceType.INVOICE and invoice.due_date is not None:
        return terms | {"BT-9": invoice.due_date}
    return terms | {"BT-20": _when(invoice)}


def _means(invoice: Invoice) -> dict[str, str]:
    method = invoice.payment_method
    if method is not None:
        return _stored(method, invoice)
    return _transfer(invoice)


def _stored(method: PaymentMethod, invoice: Invoice) -> dict[str, str]:
    if clean(method.mandate):
        found = {"BT-89": clean(method.mandate), "BT-90": clean(invoice.seller.creditor_id)}
        return {"BT-81": SEPA_DIRECT_DEBIT} | {term: text for term, text in found.items() if text}
    last_digits, brand = clean(method.last4)[-4:], clean(method.brand)
    if last_digits:
        # The network is no business term, but UBL has no card without one.
        return {"BT-81": CARD, "BT-87": last_digits, "BT-87-1": brand or "unknown"}
    return {"BT-81": CARD if brand else ONLINE_PAYMENT_SERVICE}


def _transfer(invoice: Invoice) -> dict[str, str]:
    """To the seller's account; a credit note names none, as the money goes the other way."""
    seller = invoice.seller
    iban = "".join(clean(seller.iban).split()).upper()
    if not iban or invoice.type is InvoiceType.CREDIT_NOTE:
        return {"BT-81": NOT_DEFINED}
    found = {
        "BT-81": SEPA_CREDIT_TRANSFER if invoice.currency == "EUR" else CREDIT_TRANSFER,
        "BT-84": iban,
        "BT-85": clean(seller.legal_name),
        "BT-86": "".join(clean(seller.bic).split()).upper(),
    }
    return {term: text for term, text in found.items() if text}


def _when(invoice: Invoice) -> str:
    if invoice.type is InvoiceType.CREDIT_NOTE:
        if invoice.preceding is None:
            return "Given back"
        return clean(f"Given back on invoice {invoice.preceding.number}")
    return "Charged to the stored payment method" if invoice.payment_method else "Due on receipt"
