"""The rules as properties and tables: one module of tests for each module of ``billing.core``."""
