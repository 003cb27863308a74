"""This file knows how a gateway learns where a SuperNode beside it carries the learning: a socket file, and no more.

The agent trains on its own rows, in its own process, with its own limits on what it may be asked, as over the broker.
A SuperNode gets what the site gets: updates, losses and sums. One task at a time, in a thread of its own; more wait.
A task that comes again after the SuperLink was restarted is done again from where it began, see `PersonalShelf`.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from flwr.app import Context, Message

from gateway_agent.supernode_app import HEARD_WITHIN_S, REPLY, TASK
from schemas.errors import RejectedInput
from schemas.flower_codec import ClientCall, answer, dump_message, empty_reply, load_message, new_context
from schemas.local_socket import Channel, Listener, PeerGone
from schemas.logs import event
from schemas.member_link import MAX_TASK_BYTES, UPDATE_REFUSED, node_id_of, report_of
from schemas.messages import MemberReport
from schemas.verdict_task import VERDICT, Verdict

log = logging.getLogger(__name__)

LOOK_S = 0.5
STOP_PATIENCE_S = 20.0
MOST_HEAD_BYTES = 1 << 16  # of a frame around a task


class SuperNodeDoor:
    """Serves one gateway's app to the SuperNode of its machine.

    Args:
        socket: Where; made here.
        group: Whose members may ask; the SuperNode's user is one.
        member: Who answers.
        app: Answers.
        clock_us: Microseconds since 1970 UTC.

    Attributes:
        counters: Tasks answered, and what was refused by reason.
        fault: What ended the thread, if anything did.

    Raises:
        SettingsError: The socket cannot be made.
    """

    def __init__(
        self, socket: Path, group: str | None, member: str, app: ClientCall, *, clock_us: Callable[[], int]
    ) -> None:
        self._listener = Listener(socket, group)
        self._app = app
        self._clock_us = clock_us
        self._context = new_context(node_id_of(member), {})
        self._member = member
        self._verdict: Verdict | None = None
        self._verdict_at_us = 0
        self._stopping = threading.Event()
        self.counters: Final[Counter[str]] = Counter()
        self.fault: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"learning-{member}", daemon=True)

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the task under way, and answer no more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_PATIENCE_S)
        self._listener.close()

    def report(self) -> MemberReport | None:
        """What this member's people should know; None while nothing was asked."""
        return report_of(self.counters.copy(), self._verdict, self._verdict_at_us)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                channel = self._listener.accept(LOOK_S)
                if channel is not None:
                    self._serve(channel)
        except Exception as error:
            self.fault = error
            log.exception("learning_member_failed")

    def _serve(self, channel: Channel) -> None:
        """Do one task; whoever hangs up before its answer is there gets none."""
        try:
            _, blobs = channel.receive(timeout_s=HEARD_WITHIN_S, max_bytes=MAX_TASK_BYTES + MOST_HEAD_BYTES)
            task = load_message(blobs.get(TASK, b""))
            reply = answer(self._hear if task.metadata.message_type == VERDICT else self._app, self._context, task)
            channel.send({}, {REPLY: dump_message(reply)}, timeout_s=HEARD_WITHIN_S)
            self.counters["refused" if reply.has_error() else "answered"] += 1
        except RejectedInput as error:
            self._refuse(error.reason, str(error))
        except PeerGone as error:
            self._refuse("peer_gone", str(error))
        finally:
            channel.close()

    def _hear(self, task: Message, _context: Context) -> Message:
        """Note that the site has refused what we sent it, where this gateway's people look."""
        verdict = Verdict.read(task)
        self.counters[UPDATE_REFUSED + verdict.reason] += 1
        self._verdict_at_us, self._verdict = self._clock_us(), verdict
        event(log, logging.WARNING, "update_refused", round=verdict.round_number, reason=verdict.reason,
              text=verdict.text)  # fmt: skip
        return empty_reply(task)

    def _refuse(self, reason: str, text: str) -> None:
        self.counters[reason] += 1
        event(log, logging.WARNING, "task_refused", reason=reason, member=self._member, text=text)
