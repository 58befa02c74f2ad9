"""``make bench``: how fast usage becomes charged units, charged units become documents, and pages are answered.

python -m benchmarks [usage | documents | pages] [options of the part]
"""

from __future__ import annotations

import sys

from benchmarks import documents, pages, usage

PARTS = {"usage": usage.main, "documents": documents.main, "pages": pages.main}


def main() -> None:
    """One part, or each in turn."""
    chosen = sys.argv[1] if len(sys.argv) > 1 else ""
    if chosen in PARTS:
        del sys.argv[1]
        PARTS[chosen]()
        return
    for part in PARTS.values():
        part()


if __name__ == "__main__":
    main()
