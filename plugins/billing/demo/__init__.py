"""The demo: a small but telling data set of an API platform. ``dataset.write_dataset`` writes it; start there.

``reference``   who buys, what it costs, and what each team shows (``STORIES``).
``traffic``     what their apps did, day by day, and what went wrong on the way.
``formats``     the same records as CSV, gzipped CSV, JSON Lines and Parquet, byte for byte the same everywhere.
"""
