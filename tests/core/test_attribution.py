"""Whose usage it is, against a loop over both histories."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from billing.core.attribution import Owners, places
from billing.core.reference import FOREVER_US, Reference

from .small_reference import SmallReference, frames_of

Spans = list[tuple[str, str, int, int]]
"""What is owned, its owner, from, to."""


@st.composite
def histories(draw: st.DrawFn, owned: str, owners: str) -> Spans:
    """Each is owned by one after the other, with pauses; no two validities of one overlap."""
    result = []
    for one in owned:
        edges = sorted(draw(st.sets(st.integers(0, 30), max_size=6)))
        for start, end in pairwise(edges):
            if draw(st.booleans()):
                result.append((one, draw(st.sampled_from(owners)), start, end))
        if edges and draw(st.booleans()):
            result.append((one, draw(st.sampled_from(owners)), edges[-1], FOREVER_US))
    return result


def reference_of(app_hubs: Spans, hub_teams: Spans, purchases: dict[str, int]) -> Reference:
    """Apps a, b, c; hubs h, i; teams T, U; with these histories."""
    frames = dict(frames_of({"apps": [{"app_id": a} for a in "cab"], "teams": [{"team_id": t} for t in "UT"]}))
    columns = ("valid_from", "valid_to")
    frames["app_hubs"] = pd.DataFrame(app_hubs, columns=["app_id", "hub_id", *columns])
    frames["hub_teams"] = pd.DataFrame(hub_teams, columns=["hub_id", "team_id", *columns])
    for table in ("app_hubs", "hub_teams"):
        frames[table] = frames[table].astype(dict.fromkeys(columns, "int64"))
    frames["subscriptions"] = pd.DataFrame(
        {"team_id": list(purchases), "purchased_at": pd.Series(list(purchases.values()), dtype="int64")}
    )
    return frames


def owner_at(spans: Spans, one: str, at: int) -> str | None:
    """The owner whose validity ``[from, to)`` holds the instant."""
    return next((owner for owned, owner, start, end in spans if owned == one and start <= at < end), None)


def team_of(app_hubs: Spans, hub_teams: Spans, app: str, at: int) -> str | None:
    """Rule 1.2 said plainly."""
    hub = owner_at(app_hubs, app, at)
    return owner_at(hub_teams, hub, at) if hub else None


@given(histories("abc", "hi"), histories("hi", "TU"))
def test_usage_belongs_to_the_team_that_owned_the_app_then(app_hubs: Spans, hub_teams: Spans) -> None:
    """Rule 1.2: at every instant, for apps that moved between hubs and hubs that moved between teams."""
    owners = Owners.from_reference(reference_of(app_hubs, hub_teams, {}))
    asked = [(app, at) for app in "abcz" for at in range(-1, 33)]
    app = places(pd.Series([a for a, _ in asked], dtype=object), owners.app_ids)
    found = owners.team_at(app, np.array([at for _, at in asked], dtype=np.int64)).tolist()
    names = [None if place < 0 else owners.team_ids[place] for place in found]
    assert names == [team_of(app_hubs, hub_teams, app, at) for app, at in asked]


@given(st.dictionaries(st.sampled_from(["T", "U", ""]), st.integers(0, 9)))
def test_a_team_needs_a_subscription_bought_by_then(purchases: dict[str, int]) -> None:
    """Rules 1.3, 2.4: of any kind, from the instant of its purchase on; one of no team counts for nobody."""
    owners = Owners.from_reference(reference_of([], [], purchases))
    at = np.arange(-1, 11, dtype=np.int64)
    for place, team in enumerate([*owners.team_ids, None]):
        team_place = np.full(len(at), place if team else -1, dtype=np.int64)
        bought = purchases.get(team) if team else None
        expected = [bought is not None and instant >= bought for instant in at.tolist()]
        assert owners.had_subscription(team_place, at).tolist() == expected


def test_the_earliest_purchase_counts_even_when_ended() -> None:
    """Rule 2.4: a subscription bought by then, ended or not."""
    small = SmallReference()
    small.bought("s2", "flex", "2026-03-01T00:00:00Z")
    small.bought("s1", "free", "2026-01-01T00:00:00Z", ends="2026-02-01T00:00:00Z")
    owners = Owners.from_reference(small.frames())
    march = np.array([1_772_323_200_000_000], dtype=np.int64)
    assert owners.had_subscription(np.array([0]), march - 10**12 * 2).tolist() == [True]


def test_ids_are_compared_code_point_by_code_point() -> None:
    """Rule 2.2: no trimming, no folding, no normalising."""
    among = sorted(["a", "A", "a ", "é", "e\u0301", "\uff5e", "\U0001f600"])
    asked = ["a", "a ", " a", "A", "é", "e\u0301", "\U0001f600", ""]
    expected = [among.index(one) if one in among else -1 for one in asked]
    assert places(pd.Series(asked, dtype=object), among).tolist() == expected
    assert places(pd.Series(asked, dtype="category"), among).tolist() == expected
    assert among[-1] == "\U0001f600"


def test_a_missing_category_is_not_known() -> None:
    """Rule 1.2: what names no app has no place."""
    assert places(pd.Series(["a", None], dtype="category"), ["a"]).tolist() == [0, -1]
