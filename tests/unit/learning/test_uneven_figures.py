"""What cannot be measured is said, and counts as a promise that is not kept."""

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.figures import Figure
from benchmarks.personalisation.__main__ import PARTS, main
from benchmarks.personalisation.figures import FIGURES, FOLDER
from tests.support.recordings import healthy_noise, write_recording


@pytest.fixture(autouse=True)
def no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)


@pytest.mark.parametrize("measure", FIGURES, ids=lambda measure: measure.__name__)
def test_a_figure_without_recordings_is_not_measured_and_does_not_hold(measure: Callable[[], Figure]) -> None:
    figure = measure()
    assert figure.name == measure.__name__
    assert figure.value is None
    assert not figure.holds
    assert FOLDER in figure.note


@pytest.mark.parametrize("measure", FIGURES, ids=lambda measure: measure.__name__)
def test_a_figure_is_not_measured_on_a_folder_of_other_recordings(
    measure: Callable[[], Figure], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_recording(tmp_path / "healthy.npz", healthy_noise(0, samples=8192))
    monkeypatch.setenv(FOLDER, str(tmp_path))
    figure = measure()
    assert figure.value is None
    assert "NOT MEASURED" in figure.note


def test_the_command_on_other_recordings_says_so_of_every_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_recording(tmp_path / "healthy.npz", healthy_noise(0, samples=8192))
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("NOT MEASURED") == len(PARTS)


def test_the_command_without_recordings_says_how_to_name_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert FOLDER in capsys.readouterr().err
