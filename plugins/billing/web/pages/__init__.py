"""The pages inside Airflow: teams, a team, its usage, an invoice, a month of finance, operations.

``routes``    addresses: what is asked for is read by ``web/reading`` and shown by a template of ``web/templates``
``rendering`` templates, headers of a page, refusals as pages, the two static files
``wording``   figures, instants and states in words
``bars``      usage by day as SVG

Nothing is computed here that is money or a balance; the pages show what the read models give, in words.
"""
