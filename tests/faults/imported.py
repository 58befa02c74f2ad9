"""All that a process imports before it is forked: what is killed is work, not imports. Nothing is opened."""

from __future__ import annotations

import alembic.command
import great_expectations
import psycopg
import weasyprint

import billing.intake.expectations.evaluation
import billing.steps.checks
import billing.steps.credit
import billing.steps.inspection
import billing.steps.reconcile
import billing.steps.reissue
import billing.steps.render
import billing.steps.upkeep
import tests.faults.tampering
import tests.faults.work

__all__ = ["alembic", "billing", "great_expectations", "psycopg", "tests", "weasyprint"]
