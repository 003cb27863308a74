"""This file knows a whole site on a virtual clock: many machines and sensors, one stream of deliveries.

Nothing here waits, sends or looks at a clock: the same seed gives the same bytes in the same order.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping

from sensor_sim.delivery import Delivery, Route, plan_delivery
from sensor_sim.errors import ScenarioError
from sensor_sim.machine import MachineModel
from sensor_sim.randomness import seed_of, stream
from sensor_sim.scenario import Scenario
from sensor_sim.sensor import Sensor

RADIO_S = 0.02
"""From the end of a capture to the broker."""


class Plant:
    """The sensors of one site.

    Args:
        scenario: Its machines.
        site: The site's name.
        gateway_of: Which gateway listens to a machine; `gateway_by_machine` makes one from a map.
        seed: Of everything that is left to chance.
        run: Decides the sensors' boots only; a second run on a plant that remembers needs another.
        epoch_us: The scenario's start, microseconds since 1970 UTC.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        site: str,
        gateway_of: Callable[[str], str],
        seed: int,
        run: int = 0,
        epoch_us: int,
    ) -> None:
        self._seed = seed
        self.models = {machine.name: MachineModel(scenario, machine.name, seed) for machine in scenario.machines}
        self.sensors: list[Sensor] = []
        self._routes: list[Route] = []
        for machine in scenario.machines:
            model = self.models[machine.name]
            for point in machine.points:
                sensor = Sensor(model, point.position, seed=seed, run=run, epoch_us=epoch_us)
                self.sensors.append(sensor)
                self._routes.append(Route(site, gateway_of(machine.name), sensor.name))

    def deliveries(self, *, from_s: float = 0.0, to_s: float | None = None) -> Iterator[Delivery]:
        """Yield everything that is delivered, in order of time.

        Args:
            from_s: Sensors begin to measure here, in seconds since the scenario's start.
            to_s: They measure before this; for ever if None.
        """
        order = 0
        due: list[tuple[float, int, int | Delivery]] = []  # a sensor's number, or what is on its way
        for number, sensor in enumerate(self.sensors):
            offset_s = float(stream((self._seed,), "offset", sensor.name).uniform(0.0, sensor.point.interval_s))
            heapq.heappush(due, (from_s + offset_s, number, number))
        order = len(self.sensors)
        counts = [0] * len(self.sensors)
        while due:
            at_s, _, item = heapq.heappop(due)
            if isinstance(item, Delivery):
                yield item
                continue
            if to_s is not None and at_s >= to_s:
                continue
            for delivery in self._measure(item, at_s, counts[item]):
                order += 1
                heapq.heappush(due, (delivery.at_s, order, delivery))
            counts[item] += 1
            order += 1
            heapq.heappush(due, (at_s + self.sensors[item].point.interval_s, order, item))

    def _measure(self, number: int, at_s: float, count: int) -> list[Delivery]:
        sensor = self.sensors[number]
        measured = sensor.measure(at_s, count)
        if measured is None:
            return []
        return plan_delivery(
            measured.capture,
            self._routes[number],
            ready_s=measured.ended_s + RADIO_S,
            started_s=measured.started_s,
            shortcomings=sensor.point.imperfections,
            chance=stream(seed_of(self._seed, "way", sensor.name), count),
        )


def gateway_by_machine(gateways: Mapping[str, str], default: str | None) -> Callable[[str], str]:
    """Make the rule by which machines find their gateway.

    Args:
        gateways: Machine to gateway.
        default: For machines that are not listed.
    """

    def gateway_of(machine: str) -> str:
        gateway = gateways.get(machine, default)
        if gateway is None:
            raise ScenarioError(f"machine {machine} has no gateway; list it under [gateways] or set `gateway`")
        return gateway

    return gateway_of
