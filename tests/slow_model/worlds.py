"""Reference data for random histories: a first load that is full of edges, and what later loads change.

Valid by the data contract: keys are unique, validities and `payg` subscriptions do not overlap, nothing is removed and
no grant shrinks.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from . import cycles, intake
from .outputs import decimal_text, instant_text

DAY = timedelta(days=1)
NUDGES = (timedelta(0), timedelta(0), timedelta(0), -cycles.MICROSECOND, cycles.MICROSECOND)

# Month ends, leap days, changes of clocks and of years, the day that Apia skipped (30 December 2011), the midnight
# that St John's saw twice within the day before (7 November 2010).
EPOCHS = (
    "2024-01-29", "2024-01-30", "2024-01-31", "2023-12-31", "2024-02-29", "2023-11-30", "2024-03-30", "2024-08-31",
    "2024-09-29", "2025-07-15", "2011-11-29", "2011-11-30", "2018-10-03", "2023-02-28",
    "2010-10-06",
)  # fmt: skip
ZONES = (
    "UTC", "Europe/Paris", "Europe/Helsinki", "Asia/Beirut", "Africa/Cairo", "Africa/Casablanca", "America/Havana",
    "America/Sao_Paulo", "America/Santiago", "America/Asuncion", "America/St_Johns", "America/Los_Angeles",
    "Pacific/Apia", "Pacific/Auckland", "Australia/Lord_Howe", "Asia/Kathmandu", "Asia/Tokyo",
)  # fmt: skip
CURRENCIES = ("EUR", "USD", "JPY", "KWD")
PRICES = ("0", "0.005", "0.125", "0.3333", "1.15", "2.40", "2.4", "7", "1234.5678")
BUYERS = (  # country, VAT id
    ("FR", "FR83404833048"), ("FR", ""), ("DE", "DE136695976"), ("DE", "DE 811-569-869"), ("DE", ""),
    ("ES", "ESA28015865"), ("IE", "IE6433435F"), ("FI", "FI01120389"), ("FI", ""), ("GR", "EL094259216"),
    ("GR", "GR094259216"), ("GR", ""), ("DE", "FR44732829320"), ("US", ""), ("JP", ""),
)  # fmt: skip
RATED = {  # api -> unit size, tokens per unit: dear ones, cheap ones, and one that tokens cannot pay for
    "automation": ("20", "1"),
    "model_derivative": ("1", "0.5"),
    "reality_capture": ("3", "2.75"),
    "flow_graph": ("0.5", "0.05"),
    "no_tokens": ("2.5", ""),
}
SIZES = ("20", "10", "1", "3", "0.5", "2.5", "7", "1.000001")
TOKENS_PER_UNIT = ("1", "0.5", "2.75", "0.05", "0.333333", "")
LATE_SIZED, LATE_KNOWN, SHOWN, ASSETS = "late_sized", "late_known", "data_management", "assets"
REFERENCE_COLUMNS = {
    "seller": "legal_name address_line1 postal_code city country vat_id invoice_prefix time_zone iban email",
    "customers": "customer_id legal_name address_line1 address_line2 postal_code city region country vat_id email"
    " locale",
    "teams": "team_id customer_id name",
    "hubs": "hub_id name",
    "hub_teams": "hub_id team_id valid_from valid_to",
    "apps": "app_id name",
    "app_hubs": "app_id hub_id valid_from valid_to",
    "apis": "api name usage_unit billing",
    "unit_rates": "api valid_from unit_size tokens_per_unit",
    "unit_prices": "api currency valid_from unit_price",
    "subscriptions": "subscription_id team_id kind purchased_at time_zone ends_at currency payment_method_id",
    "free_allowances": "subscription_id api units_per_period",
    "token_grants": "grant_id subscription_id tokens valid_from expires_at",
    "capacity_grants": "grant_id subscription_id api quantity valid_from expires_at",
    "tax_rates": "country valid_from percent",
}


@dataclass(kw_only=True)
class World:
    """What a history grows from: the reference data as of the latest load, and all usage so far."""

    rng: object
    epoch: datetime
    tables: dict = field(default_factory=lambda: {table: [] for table in REFERENCE_COLUMNS})
    events: list = field(default_factory=list)  # good records, as cells
    serial: int = 0

    def add(self, table, *cells):
        """Add one reference row, its cells in the order of the columns."""
        self.tables[table].append(dict(zip(REFERENCE_COLUMNS[table].split(), cells, strict=True)))

    def chance(self, percent):
        """True so often."""
        return self.rng.randrange(100) < percent

    def next_id(self, prefix):
        """An id that no other row has."""
        self.serial += 1
        return f"{prefix}{self.serial}"

    def subscriptions(self):
        """The subscriptions as values."""
        return [intake.subscription_of(row) for row in self.tables["subscriptions"]]

    def days(self, low, high):
        """An instant so many days after the epoch, seldom round."""
        instant = self.epoch + timedelta(seconds=self.rng.randrange(low * 86400, high * 86400))
        return instant + timedelta(microseconds=self.rng.choice((0, 0, 1, 999999, 123456)))


# Reference data


def edges(world, start, end):
    """Instants in (start, end] at which something begins, ends or refreshes."""
    found = set()
    for row in (row for table in world.tables.values() for row in table):
        for column in ("valid_from", "valid_to", "expires_at", "purchased_at", "ends_at"):
            if "T" in row.get(column, ""):
                found.add(intake.instant_of(row[column]))
    for one in world.subscriptions():
        k = 1
        while cycles.anniversary(one, k) <= end:
            found.add(cycles.anniversary(one, k))
            k += 1
    return sorted(instant for instant in found if start < instant <= end)


def near_edge(world, start, end):
    """An instant in (start, end]: often an edge, or a microsecond beside one."""
    found = edges(world, start, end)
    if found and world.chance(60):
        instant = world.rng.choice(found) + world.rng.choice(NUDGES)
        if start < instant <= end:
            return instant
    micros = (end - start) // cycles.MICROSECOND
    step = world.rng.choice((1, 10**6)) if micros > 10**6 else 1
    return end - timedelta(microseconds=world.rng.randrange(0, micros, step))


def first_world(rng):
    """The first load: seller, APIs, rates, prices, tax, then teams with what they bought."""
    epoch = datetime.fromisoformat(rng.choice(EPOCHS)).replace(tzinfo=UTC)
    world = World(rng=rng, epoch=epoch)
    zone = rng.choice(("Europe/Paris", "Asia/Tokyo", "America/Los_Angeles"))
    world.add(
        "seller", "Example Platform SAS", "1 rue Exemple", "75002", "Paris", "FR", "FR40303265045",
        rng.choice(("INV", "INV", "É-1")), zone, "", "billing@example.com",
    )  # fmt: skip
    add_apis(world)
    add_tax_rates(world)
    for number in range(rng.randrange(1, 5)):
        add_team(world, f"t{number}")
    if world.chance(50):
        # Owned by nobody yet: a hub could be moved to it.
        country, vat_id = rng.choice(BUYERS)
        add_customer(world, "c-spare", country, vat_id)
        world.add("teams", "T-spare", "c-spare", "Spare")
        buy_free(world, "T-spare")
    for move in (move_app, swap_hubs, hand_hub_over):
        if world.chance(25):
            move(world)
    return world


def add_apis(world):
    """APIs with sizes and prices; some of them change within the months that are played."""
    rng, always = world.rng, "2010-01-01T00:00:00Z"
    for api, (size, tokens) in RATED.items():
        world.add("apis", api, api.title(), "unit", "rated")
        world.add("unit_rates", api, always, size, tokens)
        for currency in CURRENCIES:
            if not world.chance(10):
                world.add("unit_prices", api, currency, always, rng.choice(PRICES))
    world.add("apis", SHOWN, "Data Management", "call", "unrated")
    world.add("apis", ASSETS, "Info Assets", "asset", "capacity")
    if world.chance(30):
        world.add("apis", LATE_SIZED, "Late", "unit", "rated")
        world.add("unit_prices", LATE_SIZED, "EUR", always, rng.choice(PRICES))
    for _ in range(rng.randrange(3)):
        change_size(world)
    for _ in range(rng.randrange(3)):
        change_price(world)


def add_tax_rates(world):
    """Germany's and Finland's may be missing until a later load; Finland's may change on a day of a cycle."""
    for country, percent in (("FR", "20"), ("ES", "21"), ("IE", "23"), ("GR", "24")):
        world.add("tax_rates", country, "2000-01-01", percent)
    for country, percent in (("DE", "19"), ("FI", "24")):
        if world.chance(80):
            world.add("tax_rates", country, "2000-01-01", percent)
    if world.chance(50):
        world.add("tax_rates", "FI", str((world.epoch + world.rng.randrange(20, 100) * DAY).date()), "25.5")


def add_customer(world, customer_id, country, vat_id):
    """A buyer."""
    world.add(
        "customers", customer_id, f"Buyer {customer_id}", "1 street", "", "1000", "Town", "", country, vat_id,
        "ap@example.com", "en-GB",
    )  # fmt: skip


def add_team(world, team_id):
    """A team with its hub, one or two apps, and a mixture of subscriptions."""
    rng, always = world.rng, "2010-01-01T00:00:00Z"
    add_customer(world, f"c-{team_id}", *rng.choice(BUYERS))
    world.add("teams", team_id, f"c-{team_id}", f"Team {team_id}")
    world.add("hubs", f"h-{team_id}", f"Hub {team_id}")
    world.add("hub_teams", f"h-{team_id}", team_id, always, "")
    for number in range(rng.randrange(1, 3)):
        app_id = f"a{number}-{team_id}"
        world.add("apps", app_id, f"App {app_id}")
        world.add("app_hubs", app_id, f"h-{team_id}", always, "")
    for percent, buy in ((55, buy_free), (20, buy_free), (45, buy_tokens), (35, buy_tokens), (35, buy_capacity)):
        if world.chance(percent):
            buy(world, team_id)
    if world.chance(65):
        buy_payg(world, team_id)
        while world.chance(45):
            end_payg(world)
            buy_payg(world, team_id)
    if world.chance(25):
        # Bought, and assigned to a team only by a later load, if ever.
        rng.choice((buy_free, buy_tokens, buy_payg))(world, "")


def add_subscription(world, team_id, kind, currency="", not_before=None):
    """A subscription bought near the epoch, sometimes at the very instant of another."""
    rng = world.rng
    purchased_at = near_edge(world, world.epoch, world.epoch + 3 * DAY) if world.chance(70) else world.days(0, 45)
    bought = [intake.instant_of(row["purchased_at"]) for row in world.tables["subscriptions"]]
    if bought and world.chance(20):
        purchased_at = rng.choice(bought)
    if not_before and purchased_at < not_before:
        purchased_at = not_before + rng.choice((timedelta(0), timedelta(hours=7), 5 * DAY, 20 * DAY))
    subscription_id = rng.choice("sSz") + world.next_id("-")
    world.add(
        "subscriptions", subscription_id, team_id, kind, instant_text(purchased_at), rng.choice(ZONES), "", currency,
        "pm1" if kind == "payg" else "",
    )  # fmt: skip
    row = world.tables["subscriptions"][-1]
    if kind != "payg" and world.chance(30):
        k, days = rng.randrange(1, 4), rng.randrange(1, 100)
        on_anniversary = cycles.anniversary(intake.subscription_of(row), k)
        row["ends_at"] = instant_text(on_anniversary if world.chance(40) else purchased_at + days * DAY)
    return subscription_id, purchased_at


def buy_free(world, team_id):
    """Rule 5.2: a free subscription with a few units, none among them."""
    subscription_id, _ = add_subscription(world, team_id, "free")
    for api in world.rng.sample(sorted(RATED), world.rng.randrange(1, 4)):
        world.add("free_allowances", subscription_id, api, str(world.rng.choice((0, 1, 1, 2, 3, 5))))


def buy_tokens(world, team_id):
    """Rule 5.3: token_flex or flex with grants that run out in the middle of a unit or on its last token."""
    kind = world.rng.choice(("token_flex", "flex"))
    subscription_id, purchased_at = add_subscription(world, team_id, kind)
    for _ in range(world.rng.randrange(1, 4)):
        tokens = world.rng.choice(("0.5", "1", "1.5", "2.75", "2.749999", "3.3", "5.5", "0.05", "8", "20"))
        valid_from, expires_at = grant_times(world, purchased_at)
        world.add("token_grants", world.next_id("g"), subscription_id, tokens, valid_from, expires_at)


def buy_capacity(world, team_id):
    """Rule 5.6."""
    subscription_id, purchased_at = add_subscription(world, team_id, "capacity")
    for _ in range(world.rng.randrange(1, 4)):
        quantity = world.rng.choice(("1", "1", "2.5", "2.5", "5", "0.000001", "20"))
        valid_from, expires_at = grant_times(world, purchased_at)
        world.add("capacity_grants", world.next_id("k"), subscription_id, ASSETS, quantity, valid_from, expires_at)


def grant_times(world, purchased_at):
    """Mostly from the purchase on; sometimes from before it, or with another grant's end."""
    valid_from = purchased_at + world.rng.choice((0, 0, 0, 3, 31, -2)) * DAY
    expires_at = valid_from + world.rng.choice((10, 31, 31, 60, 365)) * DAY
    ends = [row["expires_at"] for row in world.tables["token_grants"] + world.tables["capacity_grants"]]
    ends = [intake.instant_of(text) for text in ends if intake.instant_of(text) > valid_from]
    if ends and world.chance(30):
        expires_at = world.rng.choice(ends)
    return instant_text(valid_from), instant_text(expires_at)


def payg_rows(world, team_id):
    """The team's `payg` subscriptions in the order they were bought."""
    rows = [row for row in world.tables["subscriptions"] if (row["team_id"], row["kind"]) == (team_id, "payg")]
    return sorted(rows, key=lambda row: intake.instant_of(row["purchased_at"]))


def buy_payg(world, team_id):
    """Rule 1.3: at most one at a time. An unassigned one is a row of its own."""
    rows = payg_rows(world, team_id) if team_id else []
    if rows and not rows[-1]["ends_at"]:
        return
    not_before = intake.instant_of(rows[-1]["ends_at"]) if rows else None
    add_subscription(world, team_id, "payg", world.rng.choice(CURRENCIES), not_before)


# What changes, at first or in a later load


def change_size(world):
    """Rule 4.1: while something may be carried over."""
    api, valid_from = world.rng.choice(sorted(RATED)), instant_text(world.days(0, 120))
    if not any((row["api"], row["valid_from"]) == (api, valid_from) for row in world.tables["unit_rates"]):
        size, tokens = world.rng.choice(SIZES), world.rng.choice(TOKENS_PER_UNIT)
        world.add("unit_rates", api, valid_from, size, tokens)


def change_price(world):
    """Rule 5.4: another price, perhaps the same in another spelling."""
    api, currency = world.rng.choice(sorted(RATED)), world.rng.choice(CURRENCIES)
    valid_from = instant_text(world.days(0, 120))
    rows = world.tables["unit_prices"]
    if not any((row["api"], row["currency"], row["valid_from"]) == (api, currency, valid_from) for row in rows):
        world.add("unit_prices", api, currency, valid_from, world.rng.choice(PRICES))


def end_payg(world):
    """Rule 3.3: a final invoice; others may be bought later."""
    rows = [row for row in world.tables["subscriptions"] if row["kind"] == "payg" and not row["ends_at"]]
    if rows:
        row = world.rng.choice(rows)
        purchased_at = intake.instant_of(row["purchased_at"])
        row["ends_at"] = instant_text(near_edge(world, purchased_at, purchased_at + 70 * DAY))


def buy_more(world):
    """A purchase that becomes known by a later load."""
    team_id = world.rng.choice(world.tables["teams"])["team_id"]
    world.rng.choice((buy_payg, buy_payg, buy_free, buy_tokens, buy_capacity))(world, team_id)


def assign(world):
    """Rule 1.3: a subscription bought before is assigned to a team."""
    rows = [row for row in world.tables["subscriptions"] if not row["team_id"]]
    if not rows:
        return
    row, team_id = world.rng.choice(rows), world.rng.choice(world.tables["teams"])["team_id"]
    begins, ends = intake.instant_of(row["purchased_at"]), intake.ends(row["ends_at"], "ends_at")
    others = [intake.subscription_of(other) for other in payg_rows(world, team_id)]
    if row["kind"] == "payg" and any(one.purchased_at < ends and begins < one.ends_at for one in others):
        return
    row["team_id"] = team_id


def grow_grant(world):
    """A grant grows; it never shrinks below what is used of it."""
    table, column = world.rng.choice((("token_grants", "tokens"), ("capacity_grants", "quantity")))
    if world.tables[table]:
        row = world.rng.choice(world.tables[table])
        row[column] = decimal_text(intake.micro_of(row[column]) + world.rng.choice((1, 500_000, 2_750_000, 10**7)))


def extend_grant(world):
    """Rule 5.3: a grant expires later than it was to, which may change who is used first."""
    rows = world.tables["token_grants"] + world.tables["capacity_grants"]
    if rows:
        row = world.rng.choice(rows)
        row["expires_at"] = instant_text(intake.instant_of(row["expires_at"]) + world.rng.choice((1, 40)) * DAY)


def grow_allowance(world):
    """Rule 5.2: a free subscription grants more from now on, the running period included."""
    if world.tables["free_allowances"]:
        row = world.rng.choice(world.tables["free_allowances"])
        row["units_per_period"] = str(int(row["units_per_period"]) + world.rng.choice((1, 2)))


def add_late_api(world):
    """Rule 2.4: an API that was unknown; what was rejected may come again."""
    if not any(row["api"] == LATE_KNOWN for row in world.tables["apis"]):
        world.add("apis", LATE_KNOWN, "Late", "unit", "rated")
        world.add("unit_rates", LATE_KNOWN, "2010-01-01T00:00:00Z", "1.5", "0.25")
        world.add("unit_prices", LATE_KNOWN, "EUR", "2010-01-01T00:00:00Z", "0.015")


def change_buyer(world):
    """Rule 6.2: a buyer moves, or gets a VAT id; invoices issued before stand."""
    row = world.rng.choice(world.tables["customers"])
    row["country"], row["vat_id"] = world.rng.choice(BUYERS)


def change_seller(world):
    """Rule 6.3: another prefix begins a series of its own; another zone changes the date of issue."""
    row = world.tables["seller"][0]
    row["invoice_prefix"] = world.rng.choice(("INV", "FAC"))
    row["time_zone"] = world.rng.choice(("Europe/Paris", "Pacific/Apia", "America/Los_Angeles"))


def mend_size(world):
    """Rule 3.8: the API that had no unit size gets one; before it was used, or in the middle."""
    used = any(row["api"] == LATE_SIZED for row in world.tables["apis"])
    if used and not any(row["api"] == LATE_SIZED for row in world.tables["unit_rates"]):
        valid_from = world.rng.choice((world.epoch - 400 * DAY, world.days(0, 60)))
        world.add("unit_rates", LATE_SIZED, instant_text(valid_from), "1.5", world.rng.choice(("0.5", "")))


def mend_tax(world):
    """Rule 3.8: missing tax rates come."""
    for country, percent in (("DE", "19"), ("FI", "24")):
        if not any((row["country"], row["valid_from"]) == (country, "2000-01-01") for row in world.tables["tax_rates"]):
            world.add("tax_rates", country, "2000-01-01", percent)


def move_app(world):
    """Rule 1.2: an app moves to another hub at an edge; usage before stays with the first team."""
    rows = [row for row in world.tables["app_hubs"] if not row["valid_to"]]
    hubs = [row["hub_id"] for row in world.tables["hubs"]]
    if rows:
        row, hub_id = world.rng.choice(rows), world.rng.choice(hubs)
        at = move_instant(world, row)
        row["valid_to"] = at
        if not world.chance(15):
            world.add("app_hubs", row["app_id"], hub_id, at, "")


def move_instant(world, *rows):
    """An instant after all the rows have begun, as text."""
    after = max([world.epoch, *(intake.instant_of(row["valid_from"]) for row in rows)])
    return instant_text(near_edge(world, after, after + 90 * DAY))


def swap_hubs(world):
    """Rule 1.2: two teams exchange their hubs at one instant."""
    rows = [row for row in world.tables["hub_teams"] if not row["valid_to"]]
    if len(rows) >= 2:
        one, other = world.rng.sample(rows, 2)
        at = move_instant(world, one, other)
        one["valid_to"] = other["valid_to"] = at
        world.add("hub_teams", one["hub_id"], other["team_id"], at, "")
        world.add("hub_teams", other["hub_id"], one["team_id"], at, "")


def hand_hub_over(world):
    """Rule 1.2: a hub moves to a team that never had one."""
    rows = [row for row in world.tables["hub_teams"] if not row["valid_to"]]
    owners = {row["team_id"] for row in world.tables["hub_teams"]}
    without = [row["team_id"] for row in world.tables["teams"] if row["team_id"] not in owners]
    if rows and without:
        row = world.rng.choice(rows)
        at = move_instant(world, row)
        row["valid_to"] = at
        world.add("hub_teams", row["hub_id"], without[0], at, "")


CHANGES = (
    change_size, change_price, end_payg, buy_more, buy_more, assign, assign, grow_grant, grow_grant, mend_size,
    mend_size, mend_tax, mend_tax, move_app, swap_hubs, hand_hub_over, extend_grant, grow_allowance, add_late_api,
    change_buyer, change_seller,
)  # fmt: skip
