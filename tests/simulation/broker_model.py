"""This file knows a broker as the product has to take it: at least once, bounded, and forgetful when killed.

What is modelled was measured on mosquitto 2.0.11: PUBACK is not durability, a killed broker loses sessions and what
waits in them, or comes back as it was at its last autosave; after a reconnect everything unacknowledged comes again,
not always in the old order. A connection is TCP: in order while it lasts, and what is under way is lost with it.
"""

import random
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from schemas.link import PayloadTooLarge, Received
from tests.simulation.clock import VirtualClock
from tests.simulation.story import Story

MAX_QUEUED = 20_000  # messages for one session; when full the newest is dropped
MAX_PAYLOAD_BYTES = 8_000
TWICE = 0.003  # of messages come twice though nothing went wrong: QoS 1 says at least once
REORDERED = 16  # messages after a reconnect that may change places


@dataclass(frozen=True, slots=True)
class Message:
    """One message in the broker's hands."""

    topic: str
    payload: bytes
    retained: bool = False


@dataclass(slots=True)
class Session:
    """What the broker holds for one client."""

    filters: tuple[str, ...]
    queue: deque[Message] = field(default_factory=deque)
    in_flight: dict[int, Message] = field(default_factory=dict)
    link: "SimulatedLink | None" = None
    next_mid: int = 1

    def held(self) -> list[Message]:
        """Everything not acknowledged, oldest first."""
        return [*self.in_flight.values(), *self.queue]


class BrokerModel:
    """The plant's broker."""

    def __init__(self, clock: VirtualClock, draw: random.Random, story: Story) -> None:
        self.clock = clock
        self.draw = draw
        self.story = story
        self.up = True
        self.starts = 1
        self.dropped = 0
        self._strikes_at: tuple[int, Callable[[], None]] | None = None
        self._sessions: dict[str, Session] = {}
        self._retained: dict[str, Message] = {}
        self._readers: dict[str, list[Session]] = {}
        self._saved: dict[str, tuple[tuple[str, ...], list[Message]]] = {}

    def connect(self, link: "SimulatedLink") -> None:
        """Resume or begin a client's session; send what waits."""
        session = self._sessions.get(link.name)
        fresh = session is None
        if session is None:
            session = self._sessions[link.name] = Session(link.filters)
            self._readers.clear()
        if session.link is not None and session.link is not link:
            session.link.lose()  # taken over by another connection of the same name
        session.link = link
        waiting = session.held()
        if len(waiting) > 1 and self.draw.random() < 0.5:
            head = waiting[:REORDERED]
            self.draw.shuffle(head)
            waiting[:REORDERED] = head
        session.in_flight.clear()
        session.queue = deque(waiting)
        if fresh:
            session.queue.extend(m for topic, m in sorted(self._retained.items()) if _any_match(link.filters, topic))
        self.pump(session)

    def disconnect(self, link: "SimulatedLink") -> None:
        """A connection has ended without a good-bye: say the client's last will."""
        session = self._sessions.get(link.name)
        if session is not None and session.link is link:
            session.link = None
            if self.up and link.will is not None:
                self.route(link.will)

    def route(self, message: Message) -> None:
        """Put a message into every session that wants it."""
        if message.retained:
            self._retained[message.topic] = message
        readers = self._readers.get(message.topic)
        if readers is None:
            readers = [s for s in self._sessions.values() if _any_match(s.filters, message.topic)]
            self._readers[message.topic] = readers
        for session in readers:
            for _ in range(2 if self.draw.random() < TWICE else 1):
                if len(session.queue) >= MAX_QUEUED:
                    self.dropped += 1
                else:
                    session.queue.append(Message(message.topic, message.payload))
            self.pump(session)
            if self._strikes_at and len(session.in_flight) + len(session.queue) >= self._strikes_at[0]:
                self.clock.after(self.draw.uniform(0.0, 0.5), self._strikes_at[1])
                self._strikes_at = None

    def acknowledged(self, name: str, mid: int) -> None:
        """A client has answered for one message."""
        session = self._sessions.get(name)
        if session is not None and session.in_flight.pop(mid, None) is not None:
            self.pump(session)

    def pump(self, session: Session) -> None:
        """Send what the client's window has room for."""
        link = session.link
        while link is not None and session.queue and len(session.in_flight) < link.receive_maximum:
            mid, message = session.next_mid, session.queue.popleft()
            session.next_mid = mid % 65_535 + 1
            session.in_flight[mid] = message
            link.send_down(mid, message)

    def save(self) -> None:
        """Autosave: a killed broker may come back with this."""
        self._saved = {name: (s.filters, s.held()) for name, s in self._sessions.items()}

    def kill(self, *, from_autosave: bool) -> None:
        """End at once; what is held is gone, or what it was at the last autosave."""
        self.up = False
        links = [s.link for s in self._sessions.values() if s.link is not None]
        saved = self._saved if from_autosave else {}
        self._sessions = {name: Session(filters, deque(held)) for name, (filters, held) in saved.items()}
        self._retained.clear()
        self._readers.clear()
        for link in links:
            link.lose()

    def when_holding(self, messages: int, strike: Callable[[], None]) -> None:
        """Call `strike` soon after one client has so many messages waiting or unanswered; once."""
        self._strikes_at = (messages, strike)

    def start(self) -> None:
        """Be there again; clients come back by themselves."""
        self.up = True
        self.starts += 1


def _any_match(filters: Sequence[str], topic: str) -> bool:
    levels = topic.split("/")
    for one in filters:
        wanted = one.split("/")
        if len(wanted) == len(levels) and all(w in {"+", got} for w, got in zip(wanted, levels, strict=True)):
            return True
    return False


class SimulatedLink:
    """A connection as `schemas.link.Link` offers it, over the broker model."""

    def __init__(
        self, broker: BrokerModel, name: str, *, filters: Sequence[str] = (),
        on_message: Callable[[Received], None] = lambda _: None, on_connected: Callable[[], None] = lambda: None,
        on_room: Callable[[], None] = lambda: None, takes: Callable[[], bool] = lambda: True,
        will: Message | None = None, manual_ack: bool = False, receive_maximum: int = 100, max_in_flight: int = 50,
    ) -> None:  # fmt: skip
        self._broker = broker
        self.name = name
        self.filters = tuple(filters)
        self._on_message = on_message
        self._on_connected = on_connected
        self._on_room = on_room
        self._takes = takes
        self.will = will
        self._manual_ack = manual_ack
        self.receive_maximum = receive_maximum
        self._max_in_flight = max_in_flight
        self._latency_s = broker.draw.uniform(0.001, 0.03)
        self._connection = self._last_words = 0
        self._up = self._ended = self._refused = False
        self._down_at_us = self._up_at_us = 0
        self._next_pid = 0
        self._in_flight: set[int] = set()
        self._unanswered: dict[int, Message] = {}
        self._inbox: deque[Received] = deque()
        self.on_answered: Callable[[str, bytes], None] | None = None
        """Who wants to know what the broker has answered for; nobody who knows brokers."""
        self.open = True
        """Whether the network lets anything through; see `cut` and `heal`."""

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and not gone since."""
        return self._up

    @property
    def max_payload_bytes(self) -> int:
        """The largest payload."""
        return MAX_PAYLOAD_BYTES

    def start(self) -> None:
        """Connect, now and whenever the connection is lost."""
        self._broker.clock.after(self._latency_s, self._try)

    def end(self) -> None:
        """The process is gone, and the connection with it; what it has written to the socket may still arrive."""
        self._ended = True
        self._last_words = self._connection if self._up and self._broker.draw.random() < 0.7 else 0
        self.lose()

    def cut(self) -> None:
        """Let nothing through until healed."""
        self.open = False
        self.lose()

    def heal(self) -> None:
        """Let everything through."""
        self.open = True

    def lose(self) -> None:
        """The connection breaks: what is under way either way is lost."""
        if not self._up:
            return
        self._up = False
        self._connection += 1
        self._in_flight.clear()
        self._inbox.clear()
        self._broker.story.tell(self.name, "lost_connection")
        self._broker.disconnect(self)
        if not self._ended:
            self._broker.clock.after(self._broker.draw.uniform(0.5, 4.0), self._try)

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retained: bool = False) -> bool:
        """Hand a message to the broker; False when it is away or has too much of ours unanswered already."""
        assert qos == 1, "only QoS 1 is modelled"
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise PayloadTooLarge(f"payload of {len(payload)} bytes for {topic}, {MAX_PAYLOAD_BYTES} allowed")
        if not self._up or len(self._in_flight) >= self._max_in_flight:
            self._refused = self._up
            return False
        self._next_pid += 1
        self._unanswered[self._next_pid] = Message(topic, payload, retained)
        self._send_up(self._next_pid)
        return True

    def wait_window(self, _timeout_s: float) -> bool:
        """Nobody can wait here: `on_room` is called when there is some again."""
        return self._up and len(self._in_flight) < self._max_in_flight

    def acknowledge(self, received: Received) -> None:
        """Tell the broker that a message is safe with us; ignored after a reconnect (it comes again)."""
        if self._up and received.connection == self._connection:
            broker, mid = self._broker, received.packet_id
            broker.story.tell(self.name, "acknowledged", mid, zlib.adler32(received.payload))
            self._travel_up(lambda: broker.acknowledged(self.name, mid))

    def acknowledge_all(self, messages: Iterable[Received]) -> None:
        for received in messages:
            self.acknowledge(received)

    def drain(self) -> None:
        """Hand over what has come, as far as the other side takes it; TCP holds the rest back."""
        while self._inbox and self._takes():
            received = self._inbox.popleft()
            self._on_message(received)
            if not self._manual_ack:
                self.acknowledge(received)

    def send_down(self, mid: int, message: Message) -> None:
        """The broker sends a message to this client."""

        def arrive() -> None:
            self._inbox.append(Received(message.topic, message.payload, 1, message.retained, mid, connection))
            self.drain()

        connection = self._connection
        self._travel_down(arrive)

    def _try(self) -> None:
        if self._ended or self._up:
            return
        if not (self.open and self._broker.up):
            self._broker.clock.after(self._broker.draw.uniform(1.0, 6.0), self._try)
            return
        self._up = True
        self._connection += 1
        self._broker.story.tell(self.name, "connected", self._connection)
        self._broker.connect(self)
        for pid in list(self._unanswered):  # as paho does: what was not answered goes out again
            self._send_up(pid)
        self._on_connected()

    def _send_up(self, pid: int) -> None:
        message = self._unanswered[pid]
        self._in_flight.add(pid)
        self._broker.story.tell(self.name, "published", pid, len(message.payload), zlib.adler32(message.payload))

        def arrive() -> None:
            self._broker.route(message)
            self._travel_down(answered)

        def answered() -> None:
            self._in_flight.discard(pid)
            if self._unanswered.pop(pid, None) is not None and self.on_answered is not None:
                self.on_answered(message.topic, message.payload)
            if self._refused:
                self._refused = False
                self._on_room()

        self._travel_up(arrive)

    def _travel_up(self, arrive: Callable[[], None]) -> None:
        connection, epoch = self._connection, self._broker.starts

        def if_it_gets_there() -> None:
            alive = self._up and self._connection == connection
            if alive or (self._last_words == connection and self._broker.up and self._broker.starts == epoch):
                arrive()

        self._up_at_us = self._travel(self._up_at_us, if_it_gets_there)

    def _travel_down(self, arrive: Callable[[], None]) -> None:
        connection = self._connection

        def if_still_connected() -> None:
            if self._up and self._connection == connection:
                arrive()

        self._down_at_us = self._travel(self._down_at_us, if_still_connected)

    def _travel(self, not_before_us: int, arrive: Callable[[], None]) -> int:
        clock = self._broker.clock
        at_us = max(not_before_us, clock.now_us + round(self._latency_s * self._broker.draw.uniform(0.5, 2.0) * 1e6))
        clock.at(at_us, arrive)
        return at_us
