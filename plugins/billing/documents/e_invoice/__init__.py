"""An invoice for machines: EN 16931, in the two syntaxes that the norm knows.

``writing``     an invoice as CII (the XML inside a Factur-X PDF) or as UBL 2.1.
``terms``       the one mapping of an invoice to the norm's terms (BT-1 ...); ``parties`` and ``payment`` are of it.
``values``      amounts, prices, texts as the norm writes them, and which invoices it cannot write.
``read_back``   the amounts of a written XML against the invoice's.
``validator``   the norm's own rules: XSD, and Schematron by Saxon in a process of its own (``saxon``).
"""
