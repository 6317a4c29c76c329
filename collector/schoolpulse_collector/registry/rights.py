"""Who may do what, where: roles granted in a unit (and all below it), in a school, or everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from schoolpulse_collector.registry import org
from schoolpulse_collector.registry.model import Grant

ROLES = ("viewer", "technician", "area_it", "operator", "administrator")  # each may do what those before it may
NONE = -1


@dataclass(frozen=True)
class Rights:
    """The highest role, as its place in ROLES, everywhere and in single schools."""

    everywhere: int = NONE
    schools: Mapping[str, int] = field(default_factory=dict)

    def may(self, role: str, school: str = "") -> bool:
        """Whether this role is granted in a school; without one: in the whole centre."""
        return max(self.everywhere, self.schools.get(school, NONE)) >= ROLES.index(role)

    def anywhere(self, role: str) -> bool:
        """Whether this role is granted in at least one place."""
        return max(self.everywhere, *self.schools.values(), NONE) >= ROLES.index(role)

    def places(self, role: str) -> frozenset[str] | None:
        """The schools where this role is granted; None: everywhere."""
        rank = ROLES.index(role)
        if self.everywhere >= rank:
            return None
        return frozenset(school for school, highest in self.schools.items() if highest >= rank)


def of(session: Session, grants: Iterable[Grant], day: str) -> Rights:
    """What these grants come to on a day (ISO)."""
    everywhere, schools = NONE, dict[str, int]()
    for grant in grants:
        rank = ROLES.index(grant.role)
        if grant.unit is None and grant.school is None:
            everywhere = max(everywhere, rank)
            continue
        inside = (
            org.keys_of(session, grant.school) if grant.school else org.schools_below(session, [grant.unit or ""], day)
        )
        for school in inside:
            schools[school] = max(schools.get(school, NONE), rank)
    return Rights(everywhere, schools)
