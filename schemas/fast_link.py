"""This file knows a connection made for receiving: many large messages a second, handed over in handfuls.

It speaks the part of MQTT 5 that a gateway's intake needs and keeps every promise of `Link`, which stands on paho:
both pass the same tests. What it saves: one thread wake-up, one lock and one system call a handful instead of
several a message. Measured in docs/adr/0015.
"""

import contextlib
import logging
import random
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from schemas.errors import SecretMissing
from schemas.link import RECEIVE_MAXIMUM, LinkState, PayloadTooLarge, Received, why_unreached
from schemas.logs import event
from schemas.mqtt_packets import (
    GOOD_BYE,
    PINGREQ,
    Accepted,
    Kind,
    Packet,
    PacketBuffer,
    PacketError,
    connect_packet,
    puback_packets,
    publish_packet,
    read_connack,
    read_packet_id,
    read_publish,
    read_reason,
    read_suback,
    subscribe_packet,
)
from schemas.settings import BrokerSettings, read_secret

log = logging.getLogger(__name__)

HANDFUL_BYTES = 256 << 10  # read at a time before what is whole is handed over
CONNECT_WITHIN_S = 10.0  # each of: a connection, TLS over it, the broker's answer
LONGEST_PAUSE_S = 30.0
UNSENT_MOST_BYTES = 4 << 20  # what waits for a slow broker; then publishing answers no
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class _Lost(Exception):
    """The connection is over; the message says why."""


class _Refused(Exception):
    """The broker does not let us in; the message is its reason."""


class FastLink(LinkState):
    """One connection to a broker with a persistent session under `client_id`, acknowledged by its user.

    `on_messages` runs on the network thread, gets everything that has come whole, and must only hand over; while it
    waits, TCP holds the broker back. What it raises is logged, kept in `fault` and reported through `on_fault`, and
    the messages stay unacknowledged. Of a message larger than `max_packet_bytes` it gets little more than the head.
    Started once and stopped once.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        client_id: str,
        *,
        subscriptions: Sequence[tuple[str, int]],
        on_messages: Callable[[list[Received]], None],
        on_connected: Callable[[], None] | None = None,
        on_fault: Callable[[Exception], None] | None = None,
        max_in_flight: int = 200,
        receive_maximum: int = RECEIVE_MAXIMUM,
    ) -> None:
        super().__init__(settings, max_in_flight)
        self._client_id = client_id
        self._subscriptions = list(subscriptions)
        self._on_messages = on_messages
        self._on_connected = on_connected
        self._on_fault = on_fault
        self._own_in_flight = max_in_flight
        self._receive_maximum = receive_maximum
        self._password = read_secret(settings.password_file) if settings.password_file else None
        self._tls = _tls_context(settings, client_id)
        self._wake_us, self._wake = socket.socketpair()
        self._wake_us.setblocking(False)
        self._wake.setblocking(False)
        self._pipe = threading.RLock()  # one at a time at the socket: an SSL object is not made for two threads
        self._socket: socket.socket | None = None
        self._unsent = bytearray()
        self._packet_id = 0
        self._sent_at_s = self._heard_at_s = self._asked_at_s = 0.0
        self._thread = threading.Thread(target=self._run, name=f"mqtt-{client_id}", daemon=True)

    def start(self) -> None:
        """Connect in the background, now and whenever the connection is lost."""
        self._thread.start()

    def stop(self) -> None:
        """Say good-bye to the broker and end the network thread; the session stays."""
        self._stopping.set()
        self._nudge()
        if self._thread.is_alive():
            self._thread.join(timeout=CONNECT_WITHIN_S + 1)
        if not self._thread.is_alive():
            self._wake.close()
            self._wake_us.close()

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retained: bool = False) -> bool:
        """Hand a message to the broker; False when it is away or has too much of ours unanswered already.

        Raises:
            PayloadTooLarge: The broker would refuse it.
        """
        if len(payload) > self.max_payload_bytes:
            raise PayloadTooLarge(f"payload of {len(payload)} bytes for {topic}, {self.max_payload_bytes} allowed")
        with self._state:
            if not self._up or (qos and len(self._in_flight) >= self._max_in_flight):
                return False
            packet_id = self._next_packet_id() if qos else 0
            if qos:
                self._in_flight.add(packet_id)
            connection = self._connection
        packet = publish_packet(topic, payload, qos=qos, retained=retained, packet_id=packet_id)
        if self._send(packet, connection):
            return True
        with self._state:
            self._in_flight.discard(packet_id)
        return False

    def acknowledge(self, received: Received) -> None:
        """Tell the broker that a message is safe with us; ignored after a reconnect (it comes again)."""
        self.acknowledge_all([received])

    def acknowledge_all(self, messages: Iterable[Received]) -> None:
        """The same for many, at once and in their order."""
        connection = self._connection
        numbers = [m.packet_id for m in messages if m.qos and m.connection == connection]
        if numbers:
            self._send(puback_packets(numbers), connection, limited=False)

    def _run(self) -> None:
        pause_s = random.uniform(0.5, 1.5)  # noqa: S311 - spreads reconnects, no secret
        first_s = pause_s
        try:
            while not self._stopping.is_set():
                try:
                    self._live()
                except _Refused as error:
                    event(log, logging.ERROR, "broker_refused_us", reason=str(error), host=self._settings.host)
                    self._come_down(None)
                except (OSError, _Lost, PacketError) as error:
                    if self._come_down(why_unreached(error)):
                        pause_s = first_s
                if self._stopping.wait(pause_s):
                    return
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        finally:
            self._come_down(None)

    def _live(self) -> None:
        """One connection from its beginning to its end."""
        sock = self._connect()
        buffer = PacketBuffer(largest_bytes=self._settings.max_packet_bytes)
        with self._pipe:
            self._socket = sock
            self._unsent.clear()
        self._sent_at_s = self._heard_at_s = self._asked_at_s = time.monotonic()
        self._write(
            connect_packet(
                self._client_id, clean_start=False, keep_alive_s=self._settings.keepalive_s,
                session_expiry_s=self._settings.session_expiry_s, receive_maximum=self._receive_maximum,
                username=self._settings.username, password=self._password,
            )
        )  # fmt: skip
        accepted = self._wait_for_answer(sock, buffer)
        if accepted is not None:
            self._accepted(accepted)
            keep_alive_s = float(accepted.keep_alive_s or self._settings.keepalive_s)
            self._take_in(buffer)
            while not self._stopping.is_set():
                if self._wait(sock, keep_alive_s):
                    self._read(sock, buffer)
                    self._take_in(buffer)
                    self._heard_at_s = time.monotonic()  # however long handing over took: that is no silence
        self._write(GOOD_BYE)

    def _wait_for_answer(self, sock: socket.socket, buffer: PacketBuffer) -> Accepted | None:
        """What the broker says to CONNECT, before anything else; None when stopped meanwhile."""
        while not self._stopping.is_set():
            for packet in buffer.packets():
                if packet.kind != Kind.CONNACK:
                    raise PacketError(f"a packet of type {packet.kind} before the answer to CONNECT")
                return read_connack(packet)
            if time.monotonic() - self._sent_at_s > CONNECT_WITHIN_S:
                raise _Lost(f"no answer to CONNECT in {CONNECT_WITHIN_S:g} s")
            if self._wait(sock, 0.0):
                self._read(sock, buffer)
        return None

    def _connect(self) -> socket.socket:
        s = self._settings
        sock = socket.create_connection((s.host, s.port), timeout=CONNECT_WITHIN_S)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_hostname=s.host)
            sock.setblocking(False)
        except OSError:
            sock.close()
            raise
        return sock

    def _wait(self, sock: socket.socket, keep_alive_s: float) -> bool:
        """Wait until there is something to read; keep the connection alive meanwhile, unless `keep_alive_s` is 0."""
        now_s = time.monotonic()
        if keep_alive_s:
            if now_s - self._heard_at_s > 1.5 * keep_alive_s:
                raise _Lost(f"the broker was silent for {1.5 * keep_alive_s:g} s")
            if now_s - max(min(self._sent_at_s, self._heard_at_s), self._asked_at_s) > keep_alive_s / 2:
                self._asked_at_s = now_s
                self._write(PINGREQ)
        poll = select.poll()
        with self._pipe:
            if isinstance(sock, ssl.SSLSocket) and sock.pending():
                return True
            poll.register(sock, select.POLLIN | (select.POLLOUT if self._unsent else 0))
        poll.register(self._wake_us, select.POLLIN)
        ready = dict(poll.poll(1000.0 * min(keep_alive_s / 4 or 1.0, 5.0)))
        if self._wake_us.fileno() in ready:
            with contextlib.suppress(BlockingIOError):
                self._wake_us.recv(4096)
        events = ready.get(sock.fileno(), 0)
        if events & select.POLLOUT:
            self._write(b"")
        return bool(events & ~select.POLLOUT)

    def _read(self, sock: socket.socket, buffer: PacketBuffer) -> None:
        """Read what is there, a handful at most."""
        total = 0
        while total < HANDFUL_BYTES:
            try:
                with self._pipe:
                    count = sock.recv_into(buffer.space())
            except _NOT_NOW:
                break
            if not count:
                if total:
                    break  # what came before the end is looked at first: it may say why
                raise _Lost("the broker closed the connection")
            buffer.wrote(count)
            total += count

    def _take_in(self, buffer: PacketBuffer) -> None:
        handful: list[Received] = []
        for packet in buffer.packets():
            if packet.kind == Kind.PUBLISH:
                handful.append(self._received(packet))
            elif packet.kind == Kind.PUBACK:
                self._answered(read_packet_id(packet))
            elif packet.kind == Kind.SUBACK:
                refused = [
                    name for (name, _), code in zip(self._subscriptions, read_suback(packet), strict=False)
                    if code >= 0x80
                ]  # fmt: skip
                if refused:
                    event(log, logging.ERROR, "subscription_refused", topics=refused, host=self._settings.host)
            elif packet.kind == Kind.DISCONNECT:
                raise _Lost(f"the broker disconnects us, reason {read_reason(packet):#x}")
            elif packet.kind == Kind.CONNACK:
                raise PacketError("a second answer to CONNECT")
        if handful:
            self._guarded(lambda: self._on_messages(handful))

    def _received(self, packet: Packet) -> Received:
        message = read_publish(packet)
        if packet.cut_off_bytes:
            event(log, logging.WARNING, "message_cut_off", topic=message.topic[:200],
                  size_bytes=len(message.payload) + packet.cut_off_bytes,
                  allowed_bytes=self._settings.max_packet_bytes)  # fmt: skip
        return Received(
            message.topic, message.payload, message.qos, message.retained, message.packet_id, self._connection
        )

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # this thread must survive whatever a handler raises
            self.fault = error
            log.exception("message_handler_failed")
            if self._on_fault is not None:
                self._on_fault(error)

    def _accepted(self, accepted: Accepted) -> None:
        s = self._settings
        if accepted.reason:
            raise _Refused(f"{accepted.reason:#x} {accepted.text}".strip())
        with self._state:
            self._connection += 1
            self._in_flight.clear()
            self._max_in_flight = min(self._own_in_flight, accepted.receive_maximum)
            limit = accepted.maximum_packet_bytes or s.max_packet_bytes
            self._broker_limit_bytes = min(s.max_packet_bytes, limit)
            packet_id = self._next_packet_id()
        if self._subscriptions:
            self._write(subscribe_packet(packet_id, self._subscriptions))
        with self._state:
            self._up = True
            self._state.notify_all()
        event(log, logging.INFO, "broker_connected", host=s.host, port=s.port,
              session_present=accepted.session_present)  # fmt: skip
        if self._on_connected is not None:
            self._guarded(self._on_connected)

    def _answered(self, packet_id: int) -> None:
        with self._state:
            self._in_flight.discard(packet_id)
            self._state.notify_all()

    def _come_down(self, reason: str | None) -> bool:
        """End the connection, if there is one, and say why unless that is said; tell whether it had been up."""
        with self._pipe:
            sock, self._socket = self._socket, None
            self._unsent.clear()
        if sock is not None:
            sock.close()
        with self._state:
            was_up, self._up = self._up, False
            self._connection += 1
            self._in_flight.clear()
            self._state.notify_all()
        if reason is not None and not self._stopping.is_set():
            s = self._settings
            event(log, logging.WARNING, "broker_lost" if was_up else "broker_away", reason=reason, host=s.host,
                  port=s.port)  # fmt: skip
        return was_up

    def _send(self, packet: bytes, connection: int, *, limited: bool = True) -> bool:
        """Send from any thread; False when the connection is not the one meant, or too much waits already."""
        with self._pipe:
            if self._socket is None or connection != self._connection or not self._up:
                return False
            if limited and len(self._unsent) > UNSENT_MOST_BYTES:
                return False
            try:
                self._write(packet)
            except OSError:  # the network thread meets the same and says so
                self._nudge()
                return False
            waits = bool(self._unsent)
        if waits:
            self._nudge()
        return True

    def _write(self, packet: bytes) -> None:
        """Send what waits and this behind it, as far as the broker takes it now; the rest waits."""
        with self._pipe:
            if self._socket is None:
                return
            self._unsent += packet
            while self._unsent:
                try:
                    count = self._socket.send(self._unsent)
                except _NOT_NOW:
                    return
                del self._unsent[:count]
                self._sent_at_s = time.monotonic()

    def _next_packet_id(self) -> int:
        while True:
            self._packet_id = self._packet_id % 0xFFFF + 1
            if self._packet_id not in self._in_flight:
                return self._packet_id

    def _nudge(self) -> None:
        with contextlib.suppress(OSError):
            self._wake.send(b"x")


def _tls_context(settings: BrokerSettings, client_id: str) -> ssl.SSLContext | None:
    if settings.ca_file is None:
        return None
    try:
        context = ssl.create_default_context(cafile=str(settings.ca_file))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.certificate_file is not None:
            context.load_cert_chain(settings.certificate_file, settings.key_file)
    except OSError as error:
        raise SecretMissing(f"certificate files of {client_id} cannot be read: {error}; enrol again") from error
    return context
