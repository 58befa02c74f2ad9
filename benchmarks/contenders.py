"""Ways to make a PDF of an invoice, each in a process of its own: ``python -m benchmarks.contenders NAME COUNT LINES``.

Prints one line of JSON: documents, CPU seconds and seconds of the measured part (whatever is warm is warmed before it),
peak memory in MB of the process and its children.

=================  ==================================================================================================
ours               the product's renderer: PDF/A-3a, PDF/UA-1, tagged, the XML made, checked by its schema and attached
ours_public        the same by WeasyPrint's public interface alone, the same bytes
naive              ``HTML(string=...).write_pdf()`` each, the same page, neither tags nor XML
chromium_warm      one Chromium, the same page printed over the DevTools protocol, tagged, neither PDF/A nor XML
chromium_tab       one Chromium, a tab for each document, as services do that keep their customers apart; tagged
chromium_each      a Chromium started for each document
typst              a like page in Typst, compiled in this process
=================  ==================================================================================================
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil

from benchmarks.invoice_data import made_invoices

TEMPLATES = Path(__file__).parents[1] / "templates" / "invoices"
WARM = 20


def chromium() -> str | None:
    """Where Chromium is on this machine."""
    return next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)


_QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-dev-shm-usage",
)


def _with_fonts(folder: str) -> dict[str, str]:
    """An environment in which the product's fonts are fonts of the machine: the least work for whoever wants them."""
    conf = Path(folder, "fonts.conf")
    conf.write_text(
        "<fontconfig><include ignore_missing='yes'>/etc/fonts/fonts.conf</include>"
        f"<dir>{TEMPLATES / 'fonts'}</dir><cachedir>{folder}/cache</cachedir></fontconfig>"
    )
    return os.environ | {"FONTCONFIG_FILE": str(conf)}


@dataclass(kw_only=True)
class Measured:
    """The part between ``begin`` and ``end``, of this process and its children."""

    documents: int = 0
    bytes: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_mb: float = 0.0

    def add(self, pdf: bytes) -> None:
        """One more document."""
        self.documents += 1
        self.bytes += len(pdf)


def _cpu_s() -> float:
    """Of this process, its living children, and those that have ended."""
    me = psutil.Process()
    own = me.cpu_times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in me.children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def _memory_mb() -> float:
    """Memory that is not shared: what Chromium's processes share counts for none. Cheap to read, unlike better sums."""
    total = 0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            found = process.memory_info()
            total += found.rss - found.shared
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return float(total / 2**20)


@contextmanager
def _measuring(others: bool = False) -> Iterator[Measured]:
    """Measure the block; memory of ``others``, the children, has to be asked for every second meanwhile."""
    result, done = Measured(), threading.Event()

    def watch() -> None:
        while not done.wait(1):
            result.peak_mb = max(result.peak_mb, _memory_mb())

    watcher = threading.Thread(target=watch, daemon=True)
    if others:
        watcher.start()
    cpu, wall = _cpu_s(), time.perf_counter()
    yield result
    result.cpu_s, result.wall_s = _cpu_s() - cpu, time.perf_counter() - wall
    done.set()
    if others:
        watcher.join()
    result.peak_mb = max(result.peak_mb, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def ours(count: int, lines: int, statement: bool) -> Measured:
    """As ``steps/render.py`` does it."""
    from billing.documents.e_invoice.syntaxes import Syntax
    from billing.documents.e_invoice.validator import schema_findings
    from billing.documents.e_invoice.writing import cii
    from billing.documents.renderer import Renderer

    renderer = Renderer.open(TEMPLATES)

    def one(invoice: Any) -> bytes:
        xml = cii(invoice)
        if wrong := schema_findings(xml, Syntax.CII):
            raise SystemExit(f"{invoice.number}: {wrong}")
        return renderer.render(invoice, xml)

    for invoice in made_invoices(WARM, lines, statement):
        one(invoice)
    gc.collect()
    gc.freeze()
    return _timed(one, made_invoices(count, lines, statement))


def ours_public(count: int, lines: int, statement: bool) -> Measured:
    """As with a version of WeasyPrint whose inside is not known."""
    from billing.documents import warm

    warm.WEASYPRINT = "another"
    return ours(count, lines, statement)


def naive(count: int, lines: int, statement: bool) -> Measured:
    """What the first page of every tutorial does."""
    os.environ |= _with_fonts(tempfile.mkdtemp(prefix="billing-bench-"))
    import weasyprint  # type: ignore[import-untyped]

    pages = _pages(count, lines, statement)
    weasyprint.HTML(string=pages[0]).write_pdf()
    return _timed(lambda page: weasyprint.HTML(string=page).write_pdf(), pages)


def chromium_each(count: int, lines: int, statement: bool) -> Measured:
    """``chromium --print-to-pdf``, once a document."""
    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch, "page.html"), Path(scratch, "page.pdf")

        def one(page: str) -> bytes:
            source.write_text(page, "utf-8")
            command = [str(chromium()), *_QUIET, f"--user-data-dir={scratch}/profile", "--no-pdf-header-footer"]
            command += [f"--print-to-pdf={target}", source.as_uri()]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL, env=_with_fonts(scratch))
            return target.read_bytes()

        return _timed(one, _pages(count, lines, statement), others=True)


def chromium_warm(count: int, lines: int, statement: bool) -> Measured:
    """``Page.setDocumentContent`` and ``Page.printToPDF`` in one tab."""

    async def printer(browser: _Browser) -> _Printer:
        session = await browser.tab()
        frame = (await browser.call("Page.getFrameTree", session))["frameTree"]["frame"]["id"]

        async def one(page: str) -> bytes:
            await browser.call("Page.setDocumentContent", session, frameId=frame, html=page)
            return await browser.printed(session)

        return one

    return asyncio.run(_by_chromium(printer, _pages(count, lines, statement)))


def chromium_tab(count: int, lines: int, statement: bool) -> Measured:
    """A tab, ``Page.navigate`` to the page, its load, ``Page.printToPDF``, and the tab is closed."""

    async def printer(browser: _Browser) -> _Printer:
        source = browser.profile / "page.html"

        async def one(page: str) -> bytes:
            source.write_text(page, "utf-8")
            session = await browser.tab()
            await browser.call("Page.navigate", session, url=source.as_uri())
            await browser.event("Page.loadEventFired", session)
            printed = await browser.printed(session)
            await browser.call("Page.close", session)
            return printed

        return one

    return asyncio.run(_by_chromium(printer, _pages(count, lines, statement)))


_Printer = Callable[[str], Awaitable[bytes]]


class _Browser:
    """The DevTools protocol of one browser; tabs are sessions."""

    def __init__(self, socket: Any, profile: Path) -> None:
        self._socket, self.profile = socket, profile
        self._numbers = iter(range(1, 10**9))
        self._seen: list[Any] = []

    async def call(self, method: str, session: str = "", **parameters: Any) -> Any:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        await self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        return (await self._next(lambda answer: answer.get("id") == number))["result"]

    async def event(self, method: str, session: str) -> None:
        await self._next(lambda answer: (answer.get("method"), answer.get("sessionId")) == (method, session))

    async def tab(self) -> str:
        target = (await self.call("Target.createTarget", url="about:blank"))["targetId"]
        session = (await self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        await self.call("Page.enable", session)
        return str(session)

    async def printed(self, session: str) -> bytes:
        answer = await self.call("Page.printToPDF", session, preferCSSPageSize=True, printBackground=True)
        return b64decode(answer["data"])

    async def _next(self, is_it: Callable[[Any], bool]) -> Any:
        for place, answer in enumerate(self._seen):
            if is_it(answer):
                return self._seen.pop(place)
        while not is_it(answer := json.loads(await self._socket.recv())):
            if "sessionId" in answer:
                self._seen = [*self._seen[-50:], answer]
        return answer


async def _by_chromium(printer: Callable[[_Browser], Awaitable[_Printer]], pages: list[str]) -> Measured:
    """Print the pages one after the other by a Chromium that is warm."""
    import websockets

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:  # Chromium's last words come late
        command = [str(chromium()), *_QUIET, f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"]
        quiet = subprocess.DEVNULL
        running = subprocess.Popen(command, stderr=quiet, stdout=quiet, env=_with_fonts(profile))
        try:
            async with websockets.connect(_address_of(Path(profile)), max_size=None) as socket:
                one = await printer(_Browser(socket, Path(profile)))
                for page in pages[:WARM]:
                    await one(page)
                with _measuring(others=True) as result:
                    for page in pages:
                        result.add(await one(page))
                return result
        finally:
            running.terminate()
            running.wait()


def _address_of(profile: Path) -> str:
    port = profile / "DevToolsActivePort"
    for _ in range(200):
        if port.exists() and port.read_text():
            break
        time.sleep(0.1)
    with urlopen(f"http://127.0.0.1:{port.read_text().splitlines()[0]}/json/version") as answer:
        return str(json.load(answer)["webSocketDebuggerUrl"])  # of the browser that this process has started


def typst(count: int, lines: int, statement: bool) -> Measured:
    """Typst's compiler as a library, with the same fonts."""
    import typst as typst_

    source = str(Path(__file__).with_name("invoice.typ"))
    data = [_as_json(invoice) for invoice in made_invoices(count, lines, statement)]
    compiler = typst_.Compiler(source, font_paths=[str(TEMPLATES / "fonts")], ignore_system_fonts=True)

    def one(text: str) -> bytes:
        return bytes(compiler.compile(format="pdf", sys_inputs={"invoice": text}))

    for text in data[:WARM]:
        one(text)
    return _timed(one, data)


def _as_json(invoice: Any) -> str:
    rows = [
        [line.api_name, line.usage_unit, str(line.charged_units), str(line.unit_price), str(line.net)]
        for line in invoice.lines
    ]
    used = [] if invoice.statement is None else invoice.statement.lines
    usage = [[one.api_name, *map(str, (one.opening, one.usage, one.invoiced_units, one.closing))] for one in used]
    days = [] if invoice.statement is None else invoice.statement.daily
    bars = [[api.api_name, [float(quantity) for quantity in api.quantities]] for api in days]
    names = {"number": invoice.number, "seller": invoice.seller.legal_name, "buyer": invoice.customer.legal_name}
    amounts = {"net": str(invoice.net), "tax": str(invoice.tax), "total": f"{invoice.currency} {invoice.total}"}
    return json.dumps(names | amounts | {"rows": rows, "usage": usage, "bars": bars})


def _pages(count: int, lines: int, statement: bool) -> list[str]:
    """The product's pages with their stylesheet in them."""
    from billing.documents.renderer import Renderer

    renderer = Renderer.open(TEMPLATES)
    style = f"<style>{renderer.stylesheet()}</style></head>"
    pages = [renderer.html(invoice) for invoice in made_invoices(count, lines, statement)]
    return [page.replace("</head>", style, 1) for page in pages]


def _timed(one: Callable[[Any], bytes], inputs: Any, others: bool = False) -> Measured:
    with _measuring(others) as result:
        for each in inputs:
            result.add(one(each))
    return result


def memory(count: int, lines: int, statement: bool) -> dict[str, float]:
    """Resident memory of this process after 100 documents and after all."""
    from billing.documents.e_invoice.writing import cii
    from billing.documents.renderer import Renderer

    renderer, found = Renderer.open(TEMPLATES), {}
    for number, invoice in enumerate(made_invoices(count, lines, statement), start=1):
        renderer.render(invoice, cii(invoice))
        if number in (100, count):
            name = "after_all_mb" if number == count else "after_100_mb"
            found[name] = psutil.Process().memory_info().rss / 2**20
    return found


CONTENDERS: dict[str, Callable[[int, int, bool], Measured]] = {
    "ours": ours,
    "ours_public": ours_public,
    "naive": naive,
    "chromium_warm": chromium_warm,
    "chromium_tab": chromium_tab,
    "chromium_each": chromium_each,
    "typst": typst,
}

if __name__ == "__main__":
    name, count, lines, pages = sys.argv[1:]
    arguments = int(count), int(lines), pages == "statement"
    print(json.dumps(memory(*arguments) if name == "memory" else vars(CONTENDERS[name](*arguments))))
