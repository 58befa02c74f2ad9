"""The XMP packet of a document: what it is, when it was issued, and which standards it keeps.

PDF/A reads its part and level here, PDF/UA its part, and Factur-X which attached file is the invoice. PDF/A wants
each property that it does not define itself to be described in the packet: hence the extension schemas.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

# The name that Factur-X and ZUGFeRD 2 want for the XML, and the profile whose rules are those of EN 16931.
FACTUR_X_FILE = "factur-x.xml"
FACTUR_X_LEVEL = "EN 16931"

_NAMESPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "pdf": "http://ns.adobe.com/pdf/1.3/",
    "pdfaid": "http://www.aiim.org/pdfa/ns/id/",
    "pdfuaid": "http://www.aiim.org/pdfua/ns/id/",
    "fx": "urn:factur-x:pdfa:CrossIndustryDocument:invoice:1p0#",
}
_START = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
)
_END = '</rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="r"?>'


def xmp_packet(*, title: str, authors: Sequence[str], producer: str, stamped_at: str, factur_x: bool) -> bytes:
    """The packet, UTF-8, with one ``rdf:RDF``; ``stamped_at`` is an instant as ISO 8601 writes it."""
    creators = "".join(f"<rdf:li>{escape(author)}</rdf:li>" for author in authors)
    parts = [
        _about("pdfaid", part="3", conformance="A"),
        _about("pdfuaid", part="1"),
        _about("pdf", Producer=escape(producer)),
        _about("xmp", CreateDate=stamped_at, ModifyDate=stamped_at),
        _about("dc", title=f'<rdf:Alt><rdf:li xml:lang="x-default">{escape(title)}</rdf:li></rdf:Alt>'),
        _about("dc", creator=f"<rdf:Seq>{creators}</rdf:Seq>") if authors else "",
        _about("fx", **_FACTUR_X) if factur_x else "",
        _EXTENSIONS_WITH_FACTUR_X if factur_x else _EXTENSIONS,
    ]
    return "".join((_START, *parts, _END)).encode()


def _about(prefix: str, **properties: str) -> str:
    """What one schema says of the document."""
    lines = "".join(f"<{prefix}:{name}>{value}</{prefix}:{name}>" for name, value in properties.items())
    return f'<rdf:Description rdf:about="" xmlns:{prefix}="{_NAMESPACES[prefix]}">{lines}</rdf:Description>\n'


def _schema(prefix: str, name: str, *properties: tuple[str, str, str]) -> str:
    """The description of a schema that PDF/A does not know: of each property its name, type and meaning."""
    described = "".join(
        f'<rdf:li rdf:parseType="Resource"><pdfaProperty:name>{key}</pdfaProperty:name>'
        f"<pdfaProperty:valueType>{type_}</pdfaProperty:valueType>"
        f"<pdfaProperty:category>{'internal' if type_ == 'Integer' else 'external'}</pdfaProperty:category>"
        f"<pdfaProperty:description>{meaning}</pdfaProperty:description></rdf:li>"
        for key, type_, meaning in properties
    )
    return (
        f'<rdf:li rdf:parseType="Resource"><pdfaSchema:schema>{name}</pdfaSchema:schema>'
        f"<pdfaSchema:namespaceURI>{_NAMESPACES[prefix]}</pdfaSchema:namespaceURI>"
        f"<pdfaSchema:prefix>{prefix}</pdfaSchema:prefix>"
        f"<pdfaSchema:property><rdf:Seq>{described}</rdf:Seq></pdfaSchema:property></rdf:li>"
    )


def _extensions(*schemas: str) -> str:
    names = "".join(
        f' xmlns:pdfa{name}="http://www.aiim.org/pdfa/ns/{name.lower()}{mark}"'
        for name, mark in (("Extension", "/"), ("Schema", "#"), ("Property", "#"))
    )
    return (
        f'<rdf:Description rdf:about=""{names}><pdfaExtension:schemas><rdf:Bag>{"".join(schemas)}</rdf:Bag>'
        "</pdfaExtension:schemas></rdf:Description>\n"
    )


_FACTUR_X = {
    "DocumentType": "INVOICE",
    "DocumentFileName": FACTUR_X_FILE,
    "Version": "1.0",
    "ConformanceLevel": FACTUR_X_LEVEL,
}
_UA_SCHEMA = _schema("pdfuaid", "PDF/UA identification schema", ("part", "Integer", "Part of ISO 14289"))
_EXTENSIONS = _extensions(_UA_SCHEMA)
_EXTENSIONS_WITH_FACTUR_X = _extensions(
    _UA_SCHEMA,
    _schema(
        "fx",
        "Factur-X PDFA Extension Schema",
        ("DocumentFileName", "Text", "The name of the embedded XML document"),
        ("DocumentType", "Text", "The type of the hybrid document in capital letters, e.g. INVOICE or ORDER"),
        ("Version", "Text", "The actual version of the standard applying to the embedded XML document"),
        ("ConformanceLevel", "Text", "The conformance level of the embedded XML document"),
    ),
)
