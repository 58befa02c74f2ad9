"""Kinds of mail: what the outbox keeps, a template is there for, and a home may switch off."""

from __future__ import annotations

from enum import StrEnum


class MailKind(StrEnum):
    """What a mail tells of; the ``subject_id`` of its row is the number, payment method, close or team it is about."""

    INVOICE = "invoice"
    CREDIT_NOTE = "credit_note"
    PAYMENT_DECLINED = "payment_declined"
    AUTHENTICATION_REQUIRED = "authentication_required"
    PAYMENT_FINAL_NOTICE = "payment_final_notice"
    PAYMENT_OVERDUE = "payment_overdue"
    CARD_EXPIRING = "card_expiring"
    RUN_SUMMARY = "run_summary"
    DELIVERY_PROBLEM = "delivery_problem"
    BALANCE_ALERT = "balance_alert"
