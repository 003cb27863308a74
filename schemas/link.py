"""This file knows paho, and nobody else does: one MQTT connection that heals itself and never lies about it.

Paho's traps are dealt with here once: an exception in its callback would kill its thread while it still says it is
connected; an acknowledgement sent after a reconnect would acknowledge another message of the same number; a
payload larger than the broker takes would make it reconnect for ever.
"""

import contextlib
import logging
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from schemas.errors import ContractError, SecretMissing
from schemas.logs import event
from schemas.settings import BrokerSettings, read_secret

log = logging.getLogger(__name__)

RECEIVE_MAXIMUM = 500  # unacknowledged messages the broker may have under way to us: our back-pressure
UNREADABLE_PAUSE_S = 1.0  # a broker that sends nonsense is not asked for more of it at once
MQTT_OVERHEAD_BYTES = 512  # topic, properties and header on top of a payload


class PayloadTooLarge(ContractError):
    """A payload that the broker would answer with a disconnect."""


@dataclass(frozen=True, slots=True)
class Received:
    """One message as it came, with what is needed to acknowledge it."""

    topic: str
    payload: bytes
    qos: int
    retained: bool
    packet_id: int
    connection: int

    def is_of_older_connection_than(self, other: "Received") -> bool:
        """Whether the broker may have sent this message again, on the connection on which `other` came."""
        return self.connection < other.connection


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says for us when we fall silent."""

    topic: str
    payload: bytes
    retained: bool = True


class Connection(Protocol):
    """What those who speak over a connection rely on, whichever library makes it."""

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and not gone since."""

    @property
    def max_payload_bytes(self) -> int:
        """The largest payload that both our settings and the broker allow."""

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retained: bool = False) -> bool:
        """Hand a message to the broker; False when it is away or has too much of ours unanswered already."""

    def wait_window(self, timeout_s: float) -> bool:
        """Wait until there is room for one more message, or the broker is back."""

    def acknowledge(self, received: Received) -> None:
        """Tell the broker that a message is safe with us; ignored after a reconnect (it comes again)."""

    def acknowledge_all(self, messages: Iterable[Received]) -> None:
        """The same for many, in their order."""


_CLOCK_WORDS = ("not yet valid", "has expired", "not yet active")


def why_unreached(error: Exception) -> str:
    """Why a broker could not be reached; of a certificate out of its time also what our own clock says."""
    text = str(error) or type(error).__name__
    if isinstance(error, ssl.SSLError) and any(word in text for word in _CLOCK_WORDS):
        now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        text += f"; the clock of this machine says {now}: if that is wrong set it, else renew the certificate"
    return text


class LinkState:
    """What a connection knows of itself, and how to wait for it; `_state` guards all of it.

    Attributes:
        fault: What a handler raised last, if anything.
    """

    def __init__(self, settings: BrokerSettings, max_in_flight: int) -> None:
        self._settings = settings
        self._max_in_flight = max_in_flight
        self._broker_limit_bytes = settings.max_packet_bytes
        self._state = threading.Condition()
        self._up = False
        self._connection = 0
        self._in_flight: set[int] = set()
        self._stopping = threading.Event()
        self.fault: Exception | None = None

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and not gone since."""
        return self._up

    def wait_connected(self, timeout_s: float) -> bool:
        """Wait until connected; tell whether it came to that."""
        with self._state:
            return self._state.wait_for(lambda: self._up, timeout_s)

    @property
    def max_payload_bytes(self) -> int:
        """The largest payload that both our settings and the broker allow."""
        return self._broker_limit_bytes - MQTT_OVERHEAD_BYTES

    def wait_published(self, timeout_s: float) -> bool:
        """Wait until the broker has answered for everything handed to it."""
        with self._state:
            return self._state.wait_for(lambda: not self._in_flight, timeout_s)

    def wait_window(self, timeout_s: float) -> bool:
        """Wait until there is room for one more message, or the broker is back."""
        with self._state:
            return self._state.wait_for(lambda: self._up and len(self._in_flight) < self._max_in_flight, timeout_s)


def _send_at_once(_client: paho.Client, _: Any, sock: Any) -> None:
    """Have no packet wait for the acknowledgement of the one before: 40 ms each time, several times a round."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class _Client(paho.Client):
    """Paho ends its thread at a packet it cannot read and still says it is connected; this one connects again."""

    on_unreadable: Callable[[Exception], None]
    unreached: str = ""
    """Why the last try to connect came to nothing; paho itself does not say."""

    def reconnect(self) -> MQTTErrorCode:
        """Connect, and keep why when it cannot be."""
        try:
            code = super().reconnect()
        except OSError as error:
            self.unreached = why_unreached(error)
            raise
        self.unreached = ""
        return code

    def loop_forever(self, timeout: float = 1.0, retry_first_connection: bool = False) -> MQTTErrorCode:
        """Serve the connection until told to stop; called by paho's own thread."""
        while True:
            try:
                return super().loop_forever(timeout, retry_first_connection)
            except Exception as error:  # whatever a broken packet makes paho trip over
                log.exception("message_handler_failed")
                self.on_unreadable(error)
                with contextlib.suppress(OSError):  # then the loop tries again, as after every lost connection
                    self.reconnect()


class Link(LinkState):
    """One connection to a broker, with a persistent session under `client_id`.

    A link that is not `persistent` starts afresh on every connection: nothing waits for it while it is away, and what
    is retained comes again (the embedded broker sends that only to a new subscription).

    `on_message` runs on the network thread and must only hand over; what it raises is logged, kept in `fault` and
    reported through `on_fault`, and the message stays unacknowledged. With `manual_ack` the caller acknowledges
    after its own commit; without, QoS 1 is acknowledged on return.

    Attributes:
        session_present: Whether the broker knew us when it let us in; if not, it has kept nothing for us.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        client_id: str,
        *,
        subscriptions: Sequence[tuple[str, int]] = (),
        on_message: Callable[[Received], None] | None = None,
        on_connected: Callable[[], None] | None = None,
        on_fault: Callable[[Exception], None] | None = None,
        will: Will | None = None,
        manual_ack: bool = False,
        max_in_flight: int = 200,
        receive_maximum: int = RECEIVE_MAXIMUM,
        persistent: bool = True,
    ) -> None:
        super().__init__(settings, max_in_flight)
        self._subscriptions = list(subscriptions)
        self._on_message = on_message
        self._on_connected = on_connected
        self._on_fault = on_fault
        self._receive_maximum = receive_maximum
        self._persistent = persistent
        self._handing_over = 0
        self.session_present = False
        self._answered_early: set[int] = set()  # by the broker, before paho has told us the number
        self._client = self._make_client(client_id, will, manual_ack=manual_ack)

    def _make_client(self, client_id: str, will: Will | None, *, manual_ack: bool) -> _Client:
        s = self._settings
        client = _Client(CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv5, manual_ack=manual_ack)
        client.on_unreadable = self._unreadable
        if s.username is not None:
            client.username_pw_set(s.username, read_secret(s.password_file) if s.password_file else None)
        if s.ca_file is not None:
            try:
                client.tls_set(
                    str(s.ca_file),
                    str(s.certificate_file) if s.certificate_file else None,
                    str(s.key_file) if s.key_file else None,
                )
            except OSError as error:
                raise SecretMissing(f"certificate files of {client_id} cannot be read: {error}; enrol again") from error
        if will is not None:
            client.will_set(will.topic, will.payload, qos=1, retain=will.retained)
        client.max_inflight_messages_set(self._max_in_flight)
        client.max_queued_messages_set(2 * self._max_in_flight)
        first_s = random.uniform(0.5, 1.5)  # noqa: S311 - spreads reconnects, no secret
        client.reconnect_delay_set(min_delay=first_s, max_delay=30)  # type: ignore[arg-type]
        client.on_connect = self._connected
        client.on_connect_fail = self._connect_failed
        client.on_disconnect = self._disconnected
        client.on_message = self._received
        client.on_publish = self._published
        client.on_socket_open = _send_at_once
        return client

    def start(self) -> None:
        """Connect in the background, now and whenever the connection is lost."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = self._settings.session_expiry_s if self._persistent else 0
        properties.ReceiveMaximum = self._receive_maximum
        self._client.connect_async(
            self._settings.host,
            self._settings.port,
            self._settings.keepalive_s,
            clean_start=not self._persistent,
            properties=properties,
        )
        self._stopping.clear()
        self._client.loop_start()

    def stop(self) -> None:
        """Say good-bye to the broker and end the network thread; the session stays."""
        self._stopping.set()
        self._client.disconnect()
        self._client.loop_stop()
        with self._state:
            self._up = False
            self._state.notify_all()

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retained: bool = False) -> bool:
        """Hand a message to the broker; False when it is away or has too much of ours unanswered already.

        Nothing is queued while the broker is away: what must not be lost stays with the caller.

        Raises:
            PayloadTooLarge: The broker would refuse it; cut it into fragments.
        """
        if len(payload) > self.max_payload_bytes:
            raise PayloadTooLarge(
                f"payload of {len(payload)} bytes for {topic}, {self.max_payload_bytes} allowed; cut it into fragments"
            )
        with self._state:
            if not self._up or (qos and len(self._in_flight) + self._handing_over >= self._max_in_flight):
                return False
            self._handing_over += 1
        info = None
        try:  # without our lock: paho calls `_published` with its own held, and takes that one here
            info = self._client.publish(topic, payload, qos, retained)
        finally:
            with self._state:
                self._handing_over -= 1
                taken = info is not None and info.rc == paho.MQTT_ERR_SUCCESS
                if info is not None and taken and qos and info.mid not in self._answered_early:
                    self._in_flight.add(info.mid)
                if not self._handing_over:
                    self._answered_early.clear()
        return taken

    def acknowledge(self, received: Received) -> None:
        """Tell the broker that a message is safe with us; ignored after a reconnect (it comes again)."""
        if received.qos and received.connection == self._connection and self._up:
            self._client.ack(received.packet_id, received.qos)

    def acknowledge_all(self, messages: Iterable[Received]) -> None:
        """The same for many, in their order."""
        for received in messages:
            self.acknowledge(received)

    def _connected(self, client: paho.Client, _: Any, flags: Any, code: Any, properties: Any) -> None:
        if code.is_failure:
            event(log, logging.ERROR, "broker_refused_us", reason=str(code), host=self._settings.host)
            return
        limit = getattr(properties, "MaximumPacketSize", None)
        for topic, qos in self._subscriptions:
            client.subscribe(topic, qos)
        with self._state:
            self._connection += 1
            self._in_flight.clear()
            self._broker_limit_bytes = min(self._settings.max_packet_bytes, limit or self._settings.max_packet_bytes)
            self.session_present = bool(flags.session_present)
            self._up = True
            self._state.notify_all()
        event(log, logging.INFO, "broker_connected", host=self._settings.host, port=self._settings.port,
              session_present=self.session_present)  # fmt: skip
        if self._on_connected is not None:
            self._guarded(self._on_connected)

    def _connect_failed(self, *_: Any) -> None:
        event(log, logging.WARNING, "broker_away", reason=self._client.unreached, host=self._settings.host,
              port=self._settings.port)  # fmt: skip

    def _disconnected(self, _client: paho.Client, _: Any, _flags: Any, code: Any, _properties: Any) -> None:
        with self._state:
            was_up, self._up = self._up, False
            self._connection += 1
            self._in_flight.clear()
            self._state.notify_all()
        if was_up:
            event(log, logging.WARNING, "broker_lost", reason=str(code), host=self._settings.host)
        elif not self._stopping.is_set():
            event(log, logging.WARNING, "broker_away", reason=str(code), host=self._settings.host)

    def _unreadable(self, error: Exception) -> None:
        self._disconnected(self._client, None, None, f"a packet that cannot be read: {error!r}", None)
        self._stopping.wait(UNREADABLE_PAUSE_S)

    def _received(self, _client: paho.Client, _: Any, message: paho.MQTTMessage) -> None:
        if self._on_message is None:
            return
        received = Received(
            message.topic, bytes(message.payload), message.qos, bool(message.retain), message.mid, self._connection
        )
        handler = self._on_message
        self._guarded(lambda: handler(received))

    def _published(self, _client: paho.Client, _: Any, mid: int, *_rest: Any) -> None:
        with self._state:
            if mid not in self._in_flight and self._handing_over:
                self._answered_early.add(mid)
            self._in_flight.discard(mid)
            self._state.notify_all()

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # paho's thread must survive whatever a handler raises
            self.fault = error
            log.exception("message_handler_failed")
            if self._on_fault is not None:
                self._on_fault(error)
