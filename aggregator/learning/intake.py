"""This file knows what comes outside a round: late answers of members, and what sites offer unasked.

Whatever comes is put into a queue by the network's thread and stored by a thread of its own: rounds go on meanwhile.
What is stored waits for the next merge. An offer is acknowledged after the commit; of what was not acknowledged, its
site sends the same again.
"""

import logging
import queue
import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import sqlalchemy as sa
from flwr.app import Message
from sqlalchemy.engine import Connection, Engine

from aggregator.carriers.port import Carrier
from aggregator.carriers.verdicts import tell_rejected
from aggregator.database import may_pass, writing
from aggregator.learning.bases import OTHER_MODEL, graphs_of, version_learnt_from
from aggregator.learning.book import RoundBook
from aggregator.learning.strategy import judge_alone
from aggregator.learning.waiting import LateUpdate
from aggregator.merge.validate import Base, Limits, Rejection
from schemas.errors import MessageRejected
from schemas.learning_task import ADOPT, TRAIN, TrainingReply
from schemas.logs import event
from schemas.member_link import node_id_of
from schemas.offer import ACKNOWLEDGE, MAX_KEY, OFFER, Acknowledgement, Offer
from schemas.release import TRAIN_STEP, Release
from schemas.release_fate import FATE, ReleaseFate

log = logging.getLogger(__name__)

QUEUED = 64  # a full queue drops and counts: a site sends its offer again, a late answer is lost
ACKNOWLEDGED_WITHIN_S = 5.0  # a site answers at once; it sends again what it has not heard of
RETRY_S = 1.0
ROUND_NUMBER = r"[0-9]{1,18}"  # as a database holds it


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be stored.

    Attributes:
        limits: Of one update.
        takes_offers: Whether sites offer; else the enterprise asks them, and refuses what comes unasked.
    """

    limits: Limits
    takes_offers: bool


class Intake:
    """Stores late answers and offers of one level.

    Attributes:
        counters: What came, by what became of it.
        fault: What ended the thread, if anything did.
    """

    def __init__(
        self,
        engine: Engine,
        book: RoundBook,
        carrier: Carrier,
        current: Callable[[], Release],
        rules: Callable[[], Rules],
        *,
        on_stored: Callable[[], None],
        on_adopted: Callable[[str, Message], None],
        on_fate: Callable[[str, ReleaseFate], str],
        clock_us: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._book = book
        self._carrier = carrier
        self._current = current
        self._rules = rules
        self._on_stored = on_stored
        self._on_adopted = on_adopted
        self._on_fate = on_fate
        self._clock_us = clock_us
        self._arrived: queue.Queue[tuple[str, Message] | None] = queue.Queue(QUEUED)
        self._stopping = threading.Event()
        self.counters: Final[Counter[str]] = Counter()
        self.fault: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="learning-intake", daemon=True)

    def start(self) -> None:
        """Store what comes, in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Store no more; what is in the queue is dropped, nobody was told that it is safe."""
        self._stopping.set()
        try:
            self._arrived.put_nowait(None)
        except queue.Full:
            self._count("queue_full", "", "stopping")
        if self._thread.is_alive():
            self._thread.join(ACKNOWLEDGED_WITHIN_S + 5.0)

    def put(self, member: str, reply: Message) -> None:
        """Hand over what came; never waits."""
        try:
            self._arrived.put_nowait((member, reply))
        except queue.Full:
            self._count("queue_full", member, f"{QUEUED} wait to be stored")

    def _run(self) -> None:
        try:
            while (arrived := self._arrived.get()) is not None and not self._stopping.is_set():
                self._take(*arrived)
        except Exception as error:
            self.fault = error
            log.exception("learning_intake_failed")

    def _take(self, member: str, reply: Message) -> None:
        while not self._stopping.is_set():
            try:
                self._store(member, reply)
            except sa.exc.OperationalError as error:
                if not may_pass(error):
                    raise
                event(log, logging.WARNING, "intake_waits", problem=str(error.__cause__ or error))
                self._stopping.wait(RETRY_S)
            else:
                return

    def _store(self, member: str, reply: Message) -> None:
        name = reply.metadata.reply_to_message_id
        if name.startswith(OFFER):
            key = name.removeprefix(OFFER)
            if not 0 < len(key) <= MAX_KEY:
                self._count("bad_offer", member, f"the name of an offer has {len(key)} letters, 1 to {MAX_KEY} allowed")
                return
            answer = self._store_offer(member, key, reply)
            if answer is not None:
                self._acknowledge(member, answer)
            return
        if name.startswith(FATE):
            self._store_fate(member, name.removeprefix(FATE), reply)
            return
        group = reply.metadata.group_id
        if reply.metadata.message_type == ADOPT:
            self._on_adopted(member, reply)
        elif reply.metadata.message_type == TRAIN and re.fullmatch(ROUND_NUMBER, group):
            self._store_late(member, int(group), reply)

    def _store_late(self, member: str, round_id: int, reply: Message) -> None:
        asked_on = self._book.asked(round_id, member)
        if asked_on is None:
            if self._book.was_invited(round_id, member):
                self._count("late_unasked", member, f"round {round_id} did not wait for it")
            else:
                self._refuse_uninvited(round_id, member)
            return
        if reply.has_error():
            self._book.note_late(round_id, member, None)
            return
        rules, release = self._rules(), self._current()
        try:
            said = TrainingReply.read(reply)
        except MessageRejected as error:
            self._refuse_late(round_id, member, error.reason, str(error))
            return
        if self._is_of_another_model(asked_on, release):
            text = f"learnt on release {asked_on}, which is of another model than release {release.version}"
            self._refuse_late(round_id, member, OTHER_MODEL, text)
            return
        base = Base(asked_on, release.manifest.parameter_count)
        answer = judge_alone(member, said, base, replace(rules.limits, max_staleness=0))
        behind = release.version - asked_on
        if isinstance(answer, Rejection):
            self._refuse_late(round_id, member, answer.reason, answer.text)
        elif behind > rules.limits.max_staleness:
            text = f"learnt on release {asked_on}, {behind} behind; {rules.limits.max_staleness} allowed"
            self._refuse_late(round_id, member, "too_stale", text)
        elif self._book.note_late(round_id, member, answer):
            self.counters["late_stored"] += 1
            event(log, logging.INFO, "late_update_stored", round=round_id, member=member, behind=behind)
            self._on_stored()

    def _is_of_another_model(self, version: int, release: Release) -> bool:
        graph = release.manifest.files[TRAIN_STEP].sha256
        with self._engine.connect() as connection:
            return graphs_of(connection, [version]).get(version, graph) != graph

    def _refuse_late(self, round_id: int, member: str, reason: str, text: str) -> None:
        self._book.note_late(round_id, member, None, reason)
        self._count(reason, member, text)
        tell_rejected(self._carrier, round_id, [Rejection(member, reason, text)])

    def _refuse_uninvited(self, round_id: int, member: str) -> None:
        refused = Rejection(member, "not_invited", f"round {round_id} has not asked it")
        self._count(refused.reason, member, refused.text)
        if self._book.note_uninvited(round_id, refused):
            tell_rejected(self._carrier, round_id, [refused])

    def _store_offer(self, member: str, key: str, reply: Message) -> Acknowledgement | None:
        """Store an offer once; what its site is told, after the commit. None: nothing yet, it sends it again."""
        release, rules, waiting = self._current(), self._rules(), self._book.waiting
        with writing(self._engine) as connection:
            known = waiting.fate(connection, member, key)
            if known is not None:
                state, reason = known
                return Acknowledgement(key, "refused" if state == "refused" else "stored", reason)
            late = _read_offer(connection, member, key, reply, release, rules)
            if isinstance(late, Rejection):
                self._count(late.reason, member, late.text)
                waiting.note_refused(connection, member, key, late.reason)
                return Acknowledgement(key, "refused", f"{late.reason}: {late.text}")
            if waiting.add(connection, late, make_room=False) == "full":
                self._count("buffer_full", member, "the next merge makes room; the site sends it again")
                return None
        self.counters["offer_stored"] += 1
        event(log, logging.INFO, "offer_stored", site=member, base=late.update.base_version, **late.detail)
        self._on_stored()
        return Acknowledgement(key, "stored")

    def _store_fate(self, member: str, key: str, reply: Message) -> None:
        """Store what became of a release at a site; what cannot be used is acknowledged too, it would come again."""
        try:
            fate = ReleaseFate.read(reply)
            refused = "" if fate.key == key else f"bad_fate: it calls itself {fate.key}, {key[:MAX_KEY]} was sent"
        except MessageRejected as error:
            refused = f"{error.reason}: {error}"
        else:
            refused = refused or self._on_fate(member, fate)
        if refused:
            self._count("bad_fate", member, refused)
        if 0 < len(key) <= MAX_KEY:
            self._acknowledge(member, Acknowledgement(key, "refused" if refused else "stored", refused))

    def _acknowledge(self, member: str, answer: Acknowledgement) -> None:
        name = f"{ACKNOWLEDGE}-{self._clock_us()}"  # never the same: a site does a task it knows only once
        message = self._carrier.create_message(answer.record(), ACKNOWLEDGE, node_id_of(member), name)
        self._carrier.send_and_receive([message], timeout=ACKNOWLEDGED_WITHIN_S)

    def _count(self, reason: str, member: str, text: str) -> None:
        self.counters[reason] += 1
        event(log, logging.WARNING, "outside_a_round", reason=reason, member=member, text=text)


def _read_offer(
    connection: Connection, member: str, key: str, reply: Message, release: Release, rules: Rules
) -> LateUpdate | Rejection:
    """Judge an offer alone, against the release it was learnt from."""
    if not rules.takes_offers:
        text = "this enterprise asks its sites; set learning.upward = 'synchronous' at the site as well"
        return Rejection(member, "not_asynchronous", text)
    try:
        offer = Offer.read(reply)
    except MessageRejected as error:
        return Rejection(member, error.reason, str(error))
    if offer.key != key:
        return Rejection(member, "bad_offer", f"offer calls itself {offer.key}, {key} was sent")
    version = version_learnt_from(connection, offer.base_digest, release.manifest.files[TRAIN_STEP].sha256)
    if version is None and (old := version_learnt_from(connection, offer.base_digest)) is not None:
        text = f"learnt on release {old}, which is of another model than release {release.version}"
        return Rejection(member, OTHER_MODEL, text)
    if version is None or version > release.version:
        return Rejection(member, "wrong_base", f"no release here has the parameters {offer.base_digest}")
    behind, most = release.version - version, rules.limits.max_staleness
    if behind > most:
        return Rejection(member, "too_stale", f"learnt on release {version}, {behind} behind; {most} allowed")
    base, alone = Base(version, release.manifest.parameter_count), replace(rules.limits, max_staleness=0)
    answer = judge_alone(member, replace(offer.learnt, base_version=version), base, alone)
    if isinstance(answer, Rejection):
        return answer
    rounds = {"rounds": offer.rounds, "first_round": offer.first_round, "last_round": offer.last_round}
    return LateUpdate(key, answer.update, rounds)
