"""A proxy on the loopback that passes everything on and counts it."""

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Counted:
    """What has passed so far, both ways; `pieces` are the reads, about one a TCP segment when little is said."""

    port: int
    bytes: int = 0
    pieces: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    def take(self, size: int) -> None:
        self.bytes += size
        self.pieces += 1


@contextmanager
def counting_proxy(to_port: int) -> Iterator[Counted]:
    listener = socket.create_server(("127.0.0.1", 0))
    counted = Counted(listener.getsockname()[1])
    watched = selectors.DefaultSelector()
    watched.register(listener, selectors.EVENT_READ, None)

    def drop(end: socket.socket, other: socket.socket) -> None:
        for one in (end, other):
            with suppress(KeyError):
                watched.unregister(one)
            one.close()

    def serve() -> None:
        while not counted.stopping.is_set():
            for key, _ in watched.select(0.2):
                if key.data is None:
                    ours, _ = listener.accept()
                    theirs = socket.create_connection(("127.0.0.1", to_port))
                    watched.register(ours, selectors.EVENT_READ, theirs)
                    watched.register(theirs, selectors.EVENT_READ, ours)
                    continue
                end, other = key.fileobj, key.data
                try:
                    piece = end.recv(65536)
                    other.sendall(piece)
                except OSError:
                    piece = b""
                if not piece:
                    drop(end, other)
                    break
                counted.take(len(piece))

    worker = threading.Thread(target=serve, daemon=True)
    worker.start()
    try:
        yield counted
    finally:
        counted.stopping.set()
        worker.join(5)
        for key in list(watched.get_map().values()):
            key.fileobj.close()
        watched.close()
