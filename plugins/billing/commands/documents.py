"""``billing invoices render``, ``pdf``, ``xml``, ``again``, ``preview``: the documents of what was issued."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from billing.commands.terminal import errors, opened_home, progress_shown

RENDERER_DIFFERS_STATUS = 3

Number = Annotated[str, typer.Argument(help="Of an invoice or a credit note, like INV-2026-000042.")]
Out = Annotated[Path, typer.Option(dir_okay=False, help="The file to write.")]


class XmlSyntax(StrEnum):
    """The two syntaxes of EN 16931."""

    CII = "cii"
    UBL = "ubl"


def invoices_render(context: typer.Context) -> None:
    """Render the documents of what was issued and has none yet: PDF with its XML inside, and the XML beside it."""
    from billing.steps.render import render, unrendered

    with opened_home(context) as (home, settings), progress_shown() as progress:
        done = render(home, unrendered(home), settings.templates, progress, theme=settings.theme)
    typer.echo(f"{len(done.rendered)} documents rendered.")
    for number, problem in done.failed:
        errors.print(f"no document for {number}: {problem}", markup=False)
    if done.failed:
        raise typer.Exit(1)


def invoices_pdf(context: typer.Context, number: Number, out: Out) -> None:
    """Copy the PDF that was issued, checked against its hash."""
    from billing.steps.render import stored_document

    with opened_home(context) as (home, _):
        out.write_bytes(stored_document(home, number))
    typer.echo(f"{number} is in {out}.")


def invoices_xml(
    context: typer.Context,
    number: Number,
    out: Out,
    syntax: Annotated[
        XmlSyntax, typer.Option(help="cii: the XML inside the PDF (Factur-X). ubl: UBL 2.1, as Peppol takes it.")
    ] = XmlSyntax.CII,
) -> None:
    """Write the e-invoice (EN 16931) as a file of its own. UBL is made, checked and kept at the first request,
    and so is the CII of an invoice that was issued before there was any.
    """
    from billing.steps.render import cii_of, ubl_of

    with opened_home(context) as (home, _):
        out.write_bytes(ubl_of(home, number) if syntax is XmlSyntax.UBL else cii_of(home, number))
    typer.echo(f"{number} is in {out}.")


def invoices_again(
    context: typer.Context,
    number: Number,
    out: Annotated[Path | None, typer.Option(dir_okay=False, help="Keep what was made, to look at.")] = None,
) -> None:
    """Make a PDF again from the templates and fonts that it was issued with, and compare it with the one that was kept.

    Exit status: 0 the same bytes; 3 other bytes, by another version of the renderer, which is named; 1 other bytes by
    the very same one. Nothing in the home changes.
    """
    from billing.steps.render import render_again

    with opened_home(context) as (home, _):
        made = render_again(home, number)
    if out is not None:
        out.write_bytes(made.pdf)
    if made.same:
        typer.echo(f"{number}: the same bytes.")
        return
    errors.print(f"{number}: other bytes than were issued. The renderer differs:", markup=False)
    for difference in made.differing or ("in nothing: this should not be",):
        errors.print(f"  {difference}", markup=False)
    raise typer.Exit(RENDERER_DIFFERS_STATUS if made.differing else 1)


def invoices_preview(
    context: typer.Context,
    out: Out,
    theme: Annotated[str | None, typer.Option(help="A folder in the templates' themes. Default: the home's.")] = None,
    locale: Annotated[str, typer.Option(help="The buyer's: en, fr, fi, de, es, ja ...")] = "en",
) -> None:
    """Render an invented invoice with a theme, to see what it looks like. It needs no home, and issues nothing."""
    from billing.settings.settings import Settings
    from billing.steps.render import preview

    settings = Settings.read(*context.obj)
    out.write_bytes(preview(settings.templates, theme or settings.theme, locale))
    typer.echo(f"A sample is in {out}.")
