"""Seller (BG-4) and buyer (BG-7) as factur-x takes them: its names, blanks left out."""

from __future__ import annotations

from typing import Any

from billing.core.model import Customer, Invoice, Seller, TaxCategory
from billing.core.tax import EU_COUNTRIES, normal_vat_id
from billing.documents.e_invoice.values import clean

# VAT ids of Greece begin with EL (BR-CO-09; Directive 2006/112/EC, Article 215), addresses there with GR.
_VAT_PREFIX = {"GR": "EL"}
_EU_PREFIXES = EU_COUNTRIES | {"EL", "XI"}
_EMAIL_SCHEME = "EM"


def seller_terms(invoice: Invoice) -> dict[str, Any]:
    """BT-27 to BT-43.

    Where the supply is outside the scope of VAT no VAT id may be shown as one (BR-O-02): it is then what identifies a
    seller without a registration (BT-29, BR-CO-26). Without a VAT id the registration is the tax number too (BT-32).
    """
    seller = invoice.seller
    vat_id = vat_identifier(seller.vat_id, seller.country)
    registration = clean(seller.registration_id)
    outside = invoice.tax_treatment.category is TaxCategory.OUT_OF_SCOPE
    return _present(
        name=clean(seller.legal_name),
        identifiers={None: vat_id} if outside and vat_id and not registration else None,
        legal_identifier=registration,
        legal_identifier_schemeid=registration and clean(seller.registration_scheme),
        vat_identifier="" if outside else vat_id,
        tax_identifier="" if outside or vat_id else registration,
        legal_info=clean(seller.legal_information),
        contacts=_contacts(seller),
        **_address(seller),
        **_electronic_address(seller),
    )


def buyer_terms(invoice: Invoice) -> dict[str, Any]:
    """BT-44 to BT-55. The name falls back on the customer's id, as there must be one (BR-07)."""
    customer = invoice.customer
    customer_id = clean(customer.customer_id)
    registration = clean(customer.registration_id)
    outside = invoice.tax_treatment.category is TaxCategory.OUT_OF_SCOPE
    return _present(
        name=clean(customer.legal_name) or customer_id,
        identifiers={None: customer_id} if customer_id else None,
        legal_identifier=registration,
        legal_identifier_schemeid=registration and clean(customer.registration_scheme),
        vat_identifier="" if outside else vat_identifier(customer.vat_id, customer.country),
        **_address(customer),
        **_electronic_address(customer),
    )


def vat_identifier(vat_id: str, country: str) -> str:
    """A VAT id as it is written in an e-invoice: without blanks, dots and dashes, with the prefix that BR-CO-09 wants.

    An id without the prefix of its party's country or of a member state gets the former: outside the EU ids have none,
    and may begin with any letters.
    """
    bare = clean(normal_vat_id(vat_id))
    if not bare:
        return ""
    prefix = _VAT_PREFIX.get(country, country)
    if bare.startswith(country):
        return prefix + bare[len(country) :]
    return bare if bare[:2] in _EU_PREFIXES else prefix + bare


def _contacts(seller: Seller) -> list[dict[str, str]]:
    contact = _present(name=clean(seller.contact_name), phone=clean(seller.phone), email=clean(seller.email))
    return [contact] if contact else []


def _address(party: Seller | Customer) -> dict[str, str]:
    return {
        "addr_l1": clean(party.address_line1),
        "addr_l2": clean(party.address_line2),
        "city": clean(party.city),
        "postcode": clean(party.postal_code),
        "country_subdivision": clean(party.region),
        "country_code": party.country,
    }


def _electronic_address(party: Seller | Customer) -> dict[str, str]:
    """BT-34 and BT-49 with their scheme; e-mail is one (EAS code EM)."""
    address, scheme = clean(party.electronic_address), clean(party.electronic_address_scheme)
    if not (address and scheme):
        address, scheme = clean(party.email), _EMAIL_SCHEME
    return {"einvoicing_addr": address, "einvoicing_addr_schemeid": scheme if address else ""}


def _present(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}
