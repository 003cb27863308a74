"""This file knows healthy pumps, one at each gateway of a plant, that are heard all the time."""

import threading
import time
from collections.abc import Sequence

from schemas.capture import encode_capture
from schemas.link import Link
from schemas.settings import BrokerSettings
from schemas.topics import CAPTURE
from tests.support.captures import capture_of, noise_g
from tests.support.plant import SitePlant


class HealthyPumps:
    """Sensors at position p0, p1 ... of `pump-07`, one at each gateway; heard from now until `stop`."""

    def __init__(self, plant: SitePlant, gateways: Sequence[str], *, captures_per_s: float) -> None:
        broker = BrokerSettings(port=plant.port, username="sensors", password_file=plant.bundle("sensors") / "password")
        self._site, self._gateways, self._captures_per_s = plant.site, gateways, captures_per_s
        self._stop = threading.Event()
        self._link = Link(broker, "sensors", subscriptions=[])
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._link.start()
        assert self._link.wait_connected(10)
        self._thread.start()

    def stop(self) -> None:
        """Be silent."""
        self._stop.set()
        self._thread.join(10)
        self._link.stop()

    def _run(self) -> None:
        sequence = 0
        while not self._stop.wait(1.0 / self._captures_per_s):
            for number, name in enumerate(self._gateways):
                capture = capture_of(
                    noise_g(1000 * sequence + number), sequence, boot=1 + number, measured_at_us=time.time_ns() // 1000
                )
                topic = CAPTURE.path(site=self._site, gateway=name, machine="pump-07", position=f"p{number}")
                self._link.publish(topic, encode_capture(capture))
            sequence += 1
