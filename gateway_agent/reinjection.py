"""This file knows how what was refused is taken in again: through the intake and the judge, like any other capture."""

import logging
from pathlib import Path

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DatabaseError

from gateway_agent.batch import AGAIN_REFUSED, AGAIN_TAKEN, Batch, LetterAnswer
from gateway_agent.dead_letters import Letter, asked_again
from gateway_agent.errors import StoreError
from gateway_agent.healthy_rows import HealthyRows
from gateway_agent.intake import Intake, Payload, Taken
from gateway_agent.judge import Judge
from gateway_agent.store import Store, read_only
from gateway_agent.waiting import Waiting
from gateway_agent.worker import Clocks
from schemas.errors import CaptureRejected, FragmentRejected, RejectedInput
from schemas.logs import event

log = logging.getLogger(__name__)

AT_ONCE = 8  # letters a commit, so that live captures wait for one batch at most


class Reinjection:
    """Gives dead letters in again, in the ingest worker's thread."""

    def __init__(self, folder: Path, store: Store, intake: Intake, healthy: HealthyRows, clocks: Clocks) -> None:
        self._folder = folder
        self._reader: Connection | None = None
        self._store = store
        self._intake = intake
        self._healthy = healthy
        self._clocks = clocks
        self.more = False
        """Whether further letters wait."""

    def wanted(self) -> bool:
        """Whether somebody has asked; for one thread, by a connection of its own: it waits for no commit."""
        try:
            if self._reader is None:
                self._reader = read_only(self._folder)
            asked = bool(asked_again(self._reader, at_most=1))
            self._reader.rollback()
        except (StoreError, DatabaseError) as error:
            event(log, logging.WARNING, "dead_letters_not_readable", text=str(error))
            self.close()
            return False
        return asked

    def close(self) -> None:
        """Look no more."""
        if self._reader is not None:
            self._reader.close()
        self._reader = None

    def carry_out(self, judge: Judge, batch: Batch) -> None:
        """Take in what was asked for; a capture that is stored already is a duplicate, and its letter is done."""
        letters = self._store.letters_asked_again(AT_ONCE)
        self.more = len(letters) == AT_ONCE
        taken: list[Taken] = []
        for letter in letters:
            try:
                one = self._read(letter, batch.now_us)
            except RejectedInput as error:
                batch.letter_answers.append(LetterAnswer(letter.letter, error.reason, str(error)))
                batch.counts[AGAIN_REFUSED] += 1
                event(log, logging.WARNING, "dead_letter_refused_again", letter=letter.letter, reason=error.reason,
                      text=str(error))  # fmt: skip
                continue
            taken.append(one)
            batch.letter_answers.append(LetterAnswer(letter.letter))
            batch.counts[AGAIN_TAKEN] += 1
        if taken:
            judged = judge.process(taken, now_us=batch.now_us)
            batch.take_over(judged.batch)
            for rows in judged.healthy:
                self._healthy.add(rows)

    def _read(self, letter: Letter, now_us: int) -> Taken:
        if letter.payload is None:
            raise CaptureRejected(letter.reason, "only its head is left, for want of room; it cannot be taken in again")
        one = self._intake.take(Payload(letter.topic, letter.payload, now_us), now_s=self._clocks.monotonic_s())
        if isinstance(one, Waiting):
            raise FragmentRejected(
                "piece", "a piece; its capture is stored when all of them are taken in again together"
            )
        return one
