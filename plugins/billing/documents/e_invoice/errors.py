"""Why an e-invoice could not be written or checked."""

from __future__ import annotations

from billing.core.errors import BillingError


class NotInTheNorm(BillingError):
    """EN 16931 has no way to write this invoice exactly. It is valid without XML; ``reason`` says why there is none."""

    def __init__(self, number: str, reason: str) -> None:
        self.number = number
        self.reason = reason
        super().__init__(f"{number}: no e-invoice: {reason}")


class ValidatorUnavailable(BillingError):
    """The rules could not be run: a package is missing, or Saxon's process ends each time. Nothing was checked."""
