"""Who is parked, on the page of a close: every reason has its words, and what the rules said keeps to the page."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

from pypdf import PdfReader

from billing.core.model import Parked, ParkedReason
from billing.documents.renderer import Renderer

from .test_run_summary_page import SUMMARY, show

PLACE = f"(/*:CrossIndustryInvoice[namespace-uri()='{'x' * 300}'][1])"


def test_rule_3_8_every_reason_has_words_and_places_in_an_xml_are_left_out() -> None:
    detail = f"BR-CO-26: the seller needs an identifier. {PLACE}; XSD: line 3: {'wrong ' * 90}"
    parked = tuple(Parked(team_id=f"t{one}", cycle_start_us=0, reason=one, detail=detail) for one in ParkedReason)
    shown = show(replace(SUMMARY, parked=parked, parked_reasons=tuple((one, 1) for one in ParkedReason)))
    reasons = [reason for _, reason in shown.tables[-1].rows]
    assert [reason.split(":")[0] for reason in reasons] == [one.value.replace("_", " ") for one in ParkedReason]
    invalid = reasons[list(ParkedReason).index(ParkedReason.INVALID_INVOICE)]
    assert invalid.startswith("invalid invoice: BR-CO-26: the seller needs an identifier. XSD: line 3: wrong")
    assert all("namespace" not in reason and len(reason) < 180 for reason in reasons)


def test_it_is_one_page_where_every_invoice_is_invalid(renderer: Renderer) -> None:
    detail = "; ".join([f"BR-CO-26: {'in order for the buyer to identify a supplier ' * 8}{PLACE}"] * 3)
    team = Parked(team_id="team-1", cycle_start_us=0, reason=ParkedReason.INVALID_INVOICE, detail=detail)
    parked = replace(SUMMARY, parked=(team,) * 15, parked_reasons=((ParkedReason.INVALID_INVOICE, 15),))
    assert len(PdfReader(BytesIO(renderer.render_run_summary(parked, "en"))).pages) == 1
