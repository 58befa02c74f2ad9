# Each target says what it does by `make`. What a target runs may be given more words: `make test ARGS="-k carry"`.

ARGS =
PYTHON = .venv/bin/python

help:
	@echo 'make setup   make .venv from uv.lock, and see that the system libraries for PDF are there'
	@echo 'make demo    bill a small platform from raw usage to PDF invoices'
	@echo 'make test    run the tests'
	@echo 'make check   lint, formatting and types'
	@echo 'make ui      show the demo in Airflow, its DAGs and pages, on this machine; Ctrl-C stops it'
	@echo 'make bench   measure how fast usage becomes charged units and documents, and pages answer'
	@echo 'make faults  kills, races, full disks, tampers and restores; about an hour'
	@echo 'make lock    write uv.lock again after pyproject.toml was changed'

setup:
	@sh scripts/setup.sh

demo: setup
	@$(PYTHON) -m billing.demo $(ARGS)

test: setup
	@$(PYTHON) -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

check: setup
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy --strict -p billing.core
	$(PYTHON) -m mypy plugins/billing dags

ui: setup
	@$(PYTHON) -m billing.demo.local_airflow $(ARGS)

bench: setup
	@$(PYTHON) -m benchmarks $(ARGS)

faults: setup
	@$(PYTHON) -m tests.faults $(ARGS)

lock:
	@sh scripts/setup.sh lock

.PHONY: help setup demo test check ui bench faults lock
