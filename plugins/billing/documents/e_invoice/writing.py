"""An invoice as XML: what factur-x makes of the business terms, mended where it loses some (see
``docs/decisions/e-invoice.md``).

UTF-8, the same bytes for the same invoice in every process; what decides them beside the invoice is ``versions()``.
"""

from __future__ import annotations

from importlib.metadata import version

from billing.core.model import Invoice
from billing.documents.e_invoice.syntaxes import Syntax
from billing.documents.e_invoice.terms import business_terms
from billing.documents.e_invoice.values import demand_expressible

_LEVEL = "en16931"


def cii(invoice: Invoice) -> bytes:
    """The XML that makes a PDF a Factur-X (``factur-x.xml``). ``NotInTheNorm`` where there can be none."""
    from facturx.generate_xml import generate_cii_xml

    demand_expressible(invoice, Syntax.CII)
    written: bytes = generate_cii_xml(business_terms(invoice), level=_LEVEL, check_xsd=False, check_schematron=None)
    return written


def ubl(invoice: Invoice) -> bytes:
    """UBL 2.1: an ``Invoice``, or a ``CreditNote``. ``NotInTheNorm`` where there can be none."""
    from facturx.generate_xml import generate_ubl_xml

    demand_expressible(invoice, Syntax.UBL)
    terms = business_terms(invoice)
    xml: bytes = generate_ubl_xml(dict(terms), level=_LEVEL, check_xsd=False, check_schematron=None)
    return _with_mandate(xml, terms["BT-89"]) if "BT-89" in terms else xml


def written(invoice: Invoice, syntax: Syntax) -> bytes:
    """``cii`` or ``ubl``."""
    return cii(invoice) if syntax is Syntax.CII else ubl(invoice)


def versions() -> dict[str, str]:
    """What decides the bytes beside the invoice and this package's code."""
    from lxml import etree

    libxml2 = ".".join(map(str, etree.LIBXML_VERSION))
    packages = {name: version(name) for name in ("factur-x", "iso4217", "lxml", "python-stdnum")}
    return packages | {"libxml2": libxml2}


def _with_mandate(xml: bytes, mandate: str) -> bytes:
    """factur-x leaves a mandate (BT-89) out of UBL unless it knows the payer's account, which a seller need not.

    Its place is after the accounts, last in ``cac:PaymentMeans``.
    """
    from lxml import etree

    root = etree.fromstring(xml)
    spaces = {prefix: uri for prefix, uri in root.nsmap.items() if prefix}
    means = root.find("cac:PaymentMeans", spaces)
    group = etree.SubElement(means, f"{{{spaces['cac']}}}PaymentMandate")
    etree.SubElement(group, f"{{{spaces['cbc']}}}ID").text = mandate
    etree.indent(means, level=1)
    mended: bytes = etree.tostring(root, pretty_print=True, xml_declaration=True, encoding="UTF-8")
    return mended
