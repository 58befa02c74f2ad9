"""Carryover: usage billing that can be derived again.

A map of the package. Arrows point the way imports go; ``tests/test_house.py`` enforces them::

    dags, cli -> commands -> steps -> intake, store, documents, outbound -> core
    airflow_plugin -> web -> store -> core

``core``        the rules, pure: values and frames in, values and frames out. Start at ``core/model.py``.
``intake``      what comes in: sources, usage files, reference files, the checks of every row, what is expected of all.
``store``       what is kept: the billing database, the usage table, the index of ids, archive and documents.
``documents``   an invoice, its statement, a run's summary, a customer's month: as HTML, PDF and e-invoice XML; charts.
                Formats; never computes.
``outbound``    what leaves: the output tables, spreadsheets.
``steps``       one file a step of the work; the only place where ``core`` meets ``store``.
``settings``    the only reader of the environment; ``connections``: the bridge to Airflow's credentials.
``cli``         ``billing ...``: the steps without Airflow; ``commands``: a file a group of them.
``web``         pages inside Airflow, and the same as JSON: read models, and who may see what.

Words used everywhere: an **instant** is an aware ``datetime`` in values and ``int64`` microseconds since
1970-01-01T00:00Z in frames (columns end in ``_us``); a **quantity**, token or price is ``int64`` of 10^-6
(names end in ``_micro``); every interval is half-open, ``[start, end)``.
"""
