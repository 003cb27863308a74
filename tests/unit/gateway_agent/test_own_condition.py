"""What a gateway says of its power, load and rows, and that nothing is guessed."""

from pathlib import Path

import pytest

from gateway_agent.own_condition import own_condition


def supply(folder: Path, name: str, **files: str) -> None:
    (folder / name).mkdir()
    for file, text in files.items():
        (folder / name / file).write_text(text + "\n")


def test_gateway_on_battery_says_so_and_how_full_it_is(tmp_path: Path) -> None:
    supply(tmp_path, "AC", type="Mains", online="0")
    supply(tmp_path, "BAT0", type="Battery", capacity="42")
    found = own_condition(120, tmp_path)
    assert (found.on_mains, found.battery_share, found.rows) == (0.0, 0.42, 120.0)


def test_gateway_that_does_not_know_its_power_says_nothing_of_it(tmp_path: Path) -> None:
    supply(tmp_path, "odd", type="Mains", online="perhaps")
    found = own_condition(5, tmp_path)
    assert (found.on_mains, found.battery_share) == (None, None)
    assert found.cpu_load is not None
    assert found.cpu_load >= 0.0


@pytest.mark.parametrize(("online", "mains"), [(("0", "1"), 1.0), (("0", "0"), 0.0)])
def test_one_supply_that_has_power_is_enough(tmp_path: Path, online: tuple[str, str], mains: float) -> None:
    for number, one in enumerate(online):
        supply(tmp_path, f"AC{number}", type="Mains", online=one)
    assert own_condition(5, tmp_path).on_mains == mains
