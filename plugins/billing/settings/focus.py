"""``[focus]`` of ``billing.toml``: what a FOCUS export calls the services.

In the file::

    [focus]                              # of the services, in the words of the FOCUS specification
    service_category = "Developer Tools"
    service_subcategory = "Developer Platforms"
"""

from __future__ import annotations

from billing.core.focus import Service, demand_service
from billing.settings.table import Table


def read_service(table: Table | None) -> Service:
    """What it leaves out is the default of ``core/focus.py``."""
    if table is None:
        return Service()
    table.only(("service_category", "service_subcategory"))
    default = Service()
    found = Service(
        category=table.text("service_category") or default.category,
        subcategory=table.text("service_subcategory") or default.subcategory,
    )
    try:
        demand_service(found)
    except ValueError as error:
        raise table.wrong("service_category", str(error)) from None
    return found
