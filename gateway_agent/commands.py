"""This file knows what a gateway does when its site tells it to, at most once a command, and how it answers."""

import logging

from gateway_agent.batch import BULK, URGENT, Batch
from gateway_agent.errors import StoreError
from gateway_agent.judge import Judge
from gateway_agent.point_monitor import assess
from gateway_agent.store import Store
from schemas.capture import decode_capture
from schemas.errors import CaptureRejected
from schemas.logs import event
from schemas.messages import Command, CommandResult, Record
from schemas.requests import evidence_reason

log = logging.getLogger(__name__)


class CommandDesk:
    """Carries commands out in the ingest worker's thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def carry_out(self, command: Command, judge: Judge, batch: Batch) -> None:
        """Do what is asked and put the answer into the batch; a repeated command is answered by nothing new."""
        if self._store.command_was_done(command.command_id):
            return
        try:
            text = self._do(command, judge, batch)
            done = True
        except (LookupError, StoreError) as error:
            text, done = str(error.args[0] if error.args else error), False
        batch.commands_done.append(command.command_id)
        batch.records.append(
            (URGENT, CommandResult(command_id=command.command_id, done=done, text=text, at_us=batch.now_us))
        )
        event(log, logging.INFO, "command", action=command.action, point=command.point, done=done, text=text)

    def _do(self, command: Command, judge: Judge, batch: Batch) -> str:
        if command.action == "roll_back":
            raise LookupError("a gateway goes back to no older release; the site sends what was good as a newer one")
        if command.point is None or command.point not in judge.monitors:
            raise LookupError(f"point {command.point} is not known here; it has sent nothing yet")
        if command.action == "request_evidence":
            return self._evidence(command, judge, batch)
        if command.action == "label":
            self._store.pin_newest(command.point, f"label {command.label} by {command.actor}", now_us=batch.now_us)
        monitor = judge.monitors[command.point]
        records: list[Record] = []
        match command.action:
            case "acknowledge":
                records = monitor.alarm_records(monitor.alarm.acknowledge(), batch.now_us)
                text = "acknowledged" if records else f"nothing to acknowledge, the alarm is {monitor.alarm.state}"
            case "shelve":
                until_us = command.until_us or batch.now_us
                records = monitor.alarm_records(monitor.alarm.shelve(until_us, now_us=batch.now_us), batch.now_us)
                text = "shelved"
            case "unshelve":
                records = monitor.alarm_records(monitor.alarm.unshelve(), batch.now_us)
                text = "unshelved"
            case "maintenance":
                records = monitor.maintain(batch.now_us)
                text = "learning anew what healthy is"
            case "label" if monitor.teach(command.label or ""):
                judge.labels_changed()
                text = f"learnt from: {command.label}"
            case _:
                text = f"noted: {command.label}" if command.label else "noted"
        batch.records += [(URGENT, record) for record in records]
        batch.point_states[command.point] = monitor.dump()
        return text

    def _evidence(self, command: Command, judge: Judge, batch: Batch) -> str:
        assert command.point is not None
        boot, sequence = command.capture_boot, command.capture_sequence
        named = (boot, sequence) if boot is not None and sequence is not None else None
        key = named or self._store.newest_capture(command.point)
        raw = self._store.raw_capture(command.point, *key) if key else None
        if raw is None and named:
            raise LookupError("this capture is no longer kept: raw captures leave the gateway by size and age")
        if raw is None:
            raise LookupError("no raw capture of this point is kept any more")
        try:
            capture = decode_capture(raw)
        except CaptureRejected as error:
            raise LookupError("this sensor sends single values: there is no spectrum behind them") from error
        monitor = judge.monitors[command.point]
        quality = assess(capture, monitor.plate.rpm)
        if not quality.ok:
            which = "this" if named else "the newest"
            raise LookupError(f"{which} capture shows a sensor that is {quality.verdict}: {quality.detail}")
        found = monitor.diagnose_capture(capture)
        why = evidence_reason(command.actor, command.note)
        batch.records.append((BULK, monitor.evidence(capture, found, why=why, waveform=True)))
        return "evidence is on its way"
