"""What the pages and the JSON show, read from the books: a file a page.

Each has its nouns (frozen dataclasses: aware instants in UTC, exact ``Decimal``, money with its currency's digits) and
functions that take a connection of one snapshot, a ``Viewer`` and what is asked for. They ask the viewer themselves
(``NotForYou``) and raise ``NotFound`` for what is not there, to operators only. Nothing is written here, and no table
of reference data is read in full: names come by key. The instant that counts is an argument, ``at``.
"""
