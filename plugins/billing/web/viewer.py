"""Who looks, and what they may see: the rules of access, without a database and without Airflow.

Operators see everything. Members see the teams that they are members of (table ``team_members``), each as their role
says: buyers and admins all of a team, hub admins and developers what the apps of its hub used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from billing.core.errors import BillingError
from billing.core.model import Role

NO_MONEY = "This is for the buyer and the admins of the team, or there is nothing of this id."
"""What is said of balances, spend and invoices to who may not see them, whether they are there or not."""


class NotForYou(BillingError):
    """The viewer may not see this, or it does not exist: who is no operator is told the same of both."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Viewer:
    """Somebody who is logged in. ``roles``: by team what the person is to it, as known now; operators need none."""

    user: str
    is_operator: bool = False
    roles: Mapping[str, frozenset[Role]] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def teams(self) -> tuple[str, ...]:
        """The teams that a member may see at all, in order."""
        return tuple(sorted(self.roles))

    @property
    def money_teams(self) -> tuple[str, ...]:
        """Those of them whose balances, spend and invoices a member may see."""
        return tuple(team_id for team_id in self.teams if self.sees_money(team_id))

    def sees_team(self, team_id: str) -> bool:
        """Whether at least the usage of the team's hub may be shown."""
        return self.is_operator or bool(self.roles.get(team_id))

    def sees_money(self, team_id: str) -> bool:
        """Whether balances, spend and invoices of the team may be shown, and all of its usage."""
        return self.is_operator or any(role.sees_money for role in self.roles.get(team_id, ()))

    def demand_operator(self) -> None:
        """Raise ``NotForYou`` unless this is somebody who runs billing."""
        if not self.is_operator:
            raise NotForYou("This is for those who run billing.")

    def demand_some_team(self) -> None:
        """Raise ``NotForYou`` unless there is anything that this person may see."""
        if not self.is_operator and not self.roles:
            raise NotForYou("You are not a member of any team here; ask those who run billing (table team_members).")

    def demand_team(self, team_id: str) -> None:
        """Raise ``NotForYou`` where not even the usage of the team's hub may be shown."""
        if not self.sees_team(team_id):
            raise NotForYou("This team is not for you to see, or there is none of this id.")

    def demand_money(self, team_id: str) -> None:
        """Raise ``NotForYou`` where balances, spend and invoices of the team may not be shown."""
        if not self.sees_money(team_id):
            raise NotForYou(NO_MONEY)
