"""Why a document could not be made. ``DocumentFailed`` concerns one invoice; the others concern every invoice."""

from __future__ import annotations

from collections.abc import Iterable

from billing.core.errors import BillingError


class RendererUnavailable(BillingError):
    """WeasyPrint or a library of the system that it needs is missing on this machine."""


class TemplateBroken(BillingError):
    """The folder of templates is incomplete, or one of its files cannot be used."""


class DocumentFailed(BillingError):
    """One invoice could not be rendered. It stays issued under its number; the others are not affected."""

    def __init__(self, number: str, message: str) -> None:
        self.number = number
        super().__init__(f"{number}: {message}")


class MissingGlyphs(DocumentFailed):
    """No font of the bundle has ``characters``; ``text`` is the first text of the invoice that needs one."""

    def __init__(self, number: str, characters: Iterable[str], text: str) -> None:
        self.characters = tuple(sorted(characters))
        self.text = text
        names = ", ".join(f"{character!r} (U+{ord(character):04X})" for character in self.characters)
        where = f" in {text!r}" if text else ""
        super().__init__(
            number, f"no font has {names}{where}; put a font that does into the fonts folder and render again"
        )


class FetchRefused(DocumentFailed):
    """The document referred to something outside itself. Nothing was fetched."""

    def __init__(self, number: str, urls: Iterable[str]) -> None:
        self.urls = tuple(urls)
        super().__init__(number, f"the document may fetch nothing, but refers to {', '.join(map(repr, self.urls))}")
