"""This file knows a network that misbehaves: a relay between clients and one port that stands still, cuts or garbles.

Every property may be set while connections are open.
"""

import contextlib
import random
import socket
import threading
import time
from typing import Self

PIECE_BYTES = 16_384
TICK_S = 0.02


class ChaosProxy:
    """Relays TCP connections to a port of the loopback.

    Attributes:
        refuse: New connections are reset at once.
        to_server, to_client: Whether bytes pass in this direction; what stands still is not lost (a TCP black hole).
        garble: Share of pieces towards the client of which one byte is changed.
        bytes_a_second: Of each direction of each connection; 0 for as fast as it goes.
    """

    def __init__(self, port: int, *, host: str = "127.0.0.1", seed: int = 0) -> None:
        self._target = port
        self._listener = socket.create_server((host, 0))
        self.host, self.port = host, int(self._listener.getsockname()[1])
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._draw = random.Random(seed)
        self._closing = False
        self.connected_at_s: list[float] = []
        self.refuse = False
        self.to_server = self.to_client = True
        self.garble = 0.0
        self.garbled = 0
        self.bytes_a_second = 0.0
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def cut(self) -> None:
        """Reset every connection."""
        with self._lock:
            ended, self._open = self._open, []
        for one in ended:
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self.connected_at_s.append(time.monotonic())
                if self.refuse:
                    near.close()
                    continue
                try:
                    far = socket.create_connection(("127.0.0.1", self._target), timeout=5)
                except OSError:
                    near.close()
                    continue
                far.settimeout(None)
                with self._lock:
                    self._open += [near, far]
                for source, sink, direction in ((near, far, "to_server"), (far, near, "to_client")):
                    threading.Thread(target=self._relay, args=(source, sink, direction), daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket, direction: str) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                while not getattr(self, direction) and not self._closing:
                    time.sleep(TICK_S)
                if self.bytes_a_second:
                    time.sleep(len(piece) / self.bytes_a_second)
                if direction == "to_client" and self._draw.random() < self.garble:
                    piece = self._garbled(piece)
                sink.sendall(piece)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _garbled(self, piece: bytes) -> bytes:
        at = self._draw.randrange(len(piece))
        self.garbled += 1
        return piece[:at] + bytes([piece[at] ^ self._draw.randint(1, 255)]) + piece[at + 1 :]
