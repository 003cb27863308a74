"""This file knows one hour by heart: the way to the site is cut for 30 minutes, and a machine fails meanwhile."""

from tests.simulation.faults import Fault
from tests.simulation.gateways import Sizes
from tests.simulation.world import Plan

CUT_S, HEAL_S = 300.0, 2100.0
BACKLOG = 700  # results that wait when the machine fails; some twenty messages
FAILING = "gw-01-m1/de"

OUTAGE = Plan(
    gateways=1,
    sensors=("says_once", "says_once"),
    sizes=Sizes(queue_captures=64, batch_captures=16, raw_bytes=8 << 20, outbox_bytes=8 << 20),
    faults=(
        Fault(CUT_S, "link_cut", "gw-01", HEAL_S - CUT_S, "control"),
        Fault(310.0, "burst", "gw-01", 0.0, count=BACKLOG, sensor=0),
        Fault(1700.0, "burst", "gw-01", 0.0, count=8, sensor=1),
        Fault(1900.0, "machine_fails", "gw-01", 0.0, count=8, sensor=1),
        Fault(1901.0, "burst", "gw-01", 0.0, count=8, sensor=1),
    ),
)
