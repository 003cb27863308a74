"""This file knows who takes part in the next round: all that are there, some of them, or sites that have offered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from aggregator.carriers.port import Carrier
from aggregator.learning.book import OpenRound, RoundBook
from aggregator.learning.selection import Choice, choose, everybody
from aggregator.learning.standings import Standings
from aggregator.settings import LearningSettings


@dataclass(frozen=True, slots=True)
class Participants:
    """Members of one level, as rounds see them."""

    book: RoundBook
    standings: Standings
    carrier: Carrier
    takes_offers: bool

    def present(self) -> list[str]:
        """Names of all that say they are there."""
        names = (self.carrier.member_of(node) for node in self.carrier.get_node_ids())
        return sorted(name for name in names if name is not None)

    def candidates(self) -> list[str]:
        """Whose updates a round could merge: of sites that offer, those that have."""
        return sorted(self.book.waiting.waiting_members()) if self.takes_offers else self.present()

    def buffer_is_ready(self, settings: LearningSettings, now_us: int) -> bool:
        """Whether enough sites have offered, or all that are there, or the first has waited for a round's interval."""
        waiting = self.book.waiting.waiting_members()
        if not waiting or len(waiting) < settings.min_members:
            return False
        waited_s = (now_us - min(waiting.values())) / 1e6
        enough = min(settings.buffer_sites, len(self.present()))
        return 0 < enough <= len(waiting) or waited_s >= settings.round_interval_s

    def open_round(
        self, settings: LearningSettings, base_version: int, members: list[str], *, seed: int, for_enterprise: bool
    ) -> OpenRound:
        """Choose of those that are there, and write down who was and who is asked, and why."""
        few = settings.participants == "auto" and len(members) < settings.choose_from
        all_of_them = self.takes_offers or settings.participants == "all" or few or len(members) <= settings.places
        choice = everybody(members) if all_of_them else choose(self.standings.of(members), settings.places, seed=seed)
        root = settings.root_member
        if root in members and root not in choice.members:
            choice = Choice((*choice.members, root), {**choice.why, root: "root"})
        notes: dict[str, Any] = {"present": members}
        if not all_of_them:
            notes["selection"] = choice.notes()
        return self.book.open_round(
            base_version, choice.members, for_enterprise=for_enterprise, from_buffer=self.takes_offers,
            max_staleness=settings.max_staleness, notes=notes,
        )  # fmt: skip

    def note_round(self, connection: Connection, opened: OpenRound, contributed: Mapping[str, float]) -> None:
        """Remember how those did that were asked."""
        if not opened.from_buffer:
            present = self.book.present(connection, opened.round_id)
            self.standings.note_round(connection, present, opened.invited, contributed)
