"""The auditor's tools: closed cycles again, compared (section 7 of the rules)."""
