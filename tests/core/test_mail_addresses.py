"""Addresses of mail, and places of files: nothing that a person or a database writes there leads elsewhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.core.file_layout import Layout
from billing.core.mail_addresses import one_line, parse_address, parse_mailbox


@pytest.mark.parametrize(
    ("text", "address", "needs_utf8"),
    [
        ("ap@example.com", "ap@example.com", False),
        (" ap+x.y@Example.COM ", "ap+x.y@example.com", False),
        ("ap@mailhost", "ap@mailhost", False),
        ("ap@büro.example", "ap@xn--bro-hoa.example", False),
        ("rené@example.com", "rené@example.com", True),
        ("o'neil@example.com", "o'neil@example.com", False),
    ],
)
def test_addresses_that_mail_carries(text: str, address: str, needs_utf8: bool) -> None:
    found = parse_address(text)
    assert (found.address, found.needs_utf8) == (address, needs_utf8)


@pytest.mark.parametrize(
    "text",
    ["", " ", "ap", "@example.com", "ap@", "a@b@c", "a b@c.com", "a..b@c.com", ".a@c.com", "a@c..com", "a@-c.com"]
    + ["a@c.com, b@c.com", "a@[127.0.0.1]", '"a b"@c.com', "a@c.com\r\nBcc: x@y.z", "a\u2028@c.com", "a\x00@c.com"]
    + [
        "<a@c.com>",
        f"{'a' * 65}@c.com",
        f"a@{'c' * 64}.com",
        f"a@{'.'.join(['c' * 60] * 5)}",
        "a\x85b@c.com",
        "a@c_d.com",
    ],
)
def test_those_that_it_does_not(text: str) -> None:
    with pytest.raises(ValueError):
        parse_address(text)


def test_an_address_with_a_name() -> None:
    found = parse_mailbox('"Accounts, Example" <billing@example.com>')
    assert (found.name, found.address) == ("Accounts, Example", "billing@example.com")
    assert parse_mailbox("billing@example.com").name == ""


@given(st.text())
def test_one_line_has_no_line_breaks(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1
    assert one_line(one_line(text)) == one_line(text)


@given(st.text(), st.text())
def test_an_address_is_never_more_than_one(local: str, domain: str) -> None:
    try:
        found = parse_address(f"{local}@{domain}")
    except ValueError:
        return
    assert not set(' \r\n<>,;:"\\()[]') & set(found.address) and found.address.count("@") == 1


# --- places


LAYOUT = Layout.parse("{year}/{month}/{customer_id}/{number}.{kind}")


def path(customer_id: str, number: str = "INV-1") -> str:
    return LAYOUT.path({"year": "2026", "month": "08", "customer_id": customer_id, "number": number, "kind": "pdf"})


@pytest.mark.parametrize(
    ("customer_id", "folder"),
    [("c1", "c1"), ("..", "%2E%2E"), ("../../etc", "..%2F..%2Fetc"), ("", "%"), ("a b", "a%20b"), ("C:\\x", "C%3A%5Cx")]
    + [("é", "%C3%A9"), ("a%2F", "a%252F"), (".", "%2E"), ("a\x00b", "a%00b")],
)
def test_no_id_leads_out_of_its_folder(customer_id: str, folder: str) -> None:
    assert path(customer_id) == f"2026/08/{folder}/INV-1.pdf"


@given(st.text(), st.text())
def test_other_ids_have_other_places(one: str, other: str) -> None:
    assert (path(one) == path(other)) == (one == other)
    parts = path(one, other).split("/")
    assert len(parts) == 4 and all(0 < len(part) <= 110 and part.strip(".") and part.isascii() for part in parts)


def test_long_ids_that_begin_alike_have_other_places() -> None:
    assert path("x" * 500) != path("x" * 501) and len(path("x" * 500)) < 150


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("/{number}.{kind}", "relative"),
        ("../{number}.{kind}", "relative"),
        ("a//{number}.{kind}", "relative"),
        ("{year}/{customer}/{number}.{kind}", "no field {customer}"),
        ("{year}/{number}.pdf", "needs"),
        ("{number}.{kind}\\x", "letters, digits"),
        ("{number}.{kind", "letters, digits"),
        ("", "relative"),
    ],
)
def test_patterns_that_are_refused(pattern: str, says: str) -> None:
    with pytest.raises(ValueError, match=says.replace("{", r"\{").replace("}", r"\}")):
        Layout.parse(pattern)
