"""Every metric of a gateway has its place in `status --json`, also before the agent has ever said anything."""

from pathlib import Path

from gateway_agent.figures import FIGURES, families
from gateway_agent.meters import Meters
from gateway_agent.settings import GatewaySettings, StoreSettings
from gateway_agent.status import read_status
from gateway_agent.store import Store
from schemas.exposition import exposition
from tests.support.captures import gateway_settings


def of_a_new_store(folder: Path) -> GatewaySettings:
    Store(StoreSettings(folder=folder)).close()
    return gateway_settings().model_copy(update={"store": StoreSettings(folder=folder)})


def test_every_figure_can_be_read_from_the_status_of_a_new_store(tmp_path: Path) -> None:
    status = read_status(of_a_new_store(tmp_path))
    for figure in FIGURES:
        assert figure.label or figure.samples(status) == (((), 0.0),), figure.name


def test_names_are_unique_and_say_what_they_are(tmp_path: Path) -> None:
    told = families(read_status(of_a_new_store(tmp_path)), Meters())
    names = [family.name for family in told]
    assert len(names) == len(set(names))
    for family in told:
        assert family.name.endswith("_total") == (family.kind == "counter"), family.name
    assert exposition(told).decode().count("# HELP") == len(names)
