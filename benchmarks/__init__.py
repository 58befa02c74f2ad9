"""Measurements: how long and how large. Speed is measured here, never asserted in a timed test."""
