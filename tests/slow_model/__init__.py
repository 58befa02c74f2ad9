"""A slow model of the billing rules: one event and one charged unit at a time, in plain Python.

Written from the rules alone and shares no code with the pipeline, so that the two can check each other.

    intake.py     reads instants, decimals, reference tables and usage files; accepts or rejects events (rules 1.2, 2)
    cycles.py     anniversaries, free periods, billing cycles (rules 3.1-3.3, 3.6, 5.2)
    rating.py     carry-over, charged units, which balance pays, capacity (rules 3.5, 4, 5)
    invoicing.py  invoice lines, tax, numbers (rules 6.1-6.3)
    outputs.py    the rows and files of the data contract
    model.py      the state, the steps of a scenario, closes and balances (rules 3.4-3.8, 8.1); `run` is here
    worlds.py     reference data for random histories, and what later loads change
    histories.py  random small scenarios that sit on edges: `generate` and `write`
    __main__.py   python -m tests.slow_model SCENARIO --out FOLDER
"""
