"""Stripe as the tests have it, and the gateway that asks it."""
