"""`gateway-agent backtest` as people and acceptance runs call it: one line a window, or exit 2 and no results."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway_agent.command import main
from tests.support.captures import noise_g, write_recording

WINDOW_S, RATE_HZ = 0.1, 6000.0
WINDOW = round(WINDOW_S * RATE_HZ)
FIELDS = ["file", "snapshot", "window", "at_s", "quality", "score"]
MORE = ["alarm", "exceeds", "zone", "diagnosis", "rul_s"]


def signal(seed: int, windows: float, *, snapshots: int = 1, channels: int = 1, gain: float = 1.0) -> NDArray[Any]:
    samples = round(windows * WINDOW)
    quiet = np.stack([noise_g(seed + n, samples=samples, channels=channels) for n in range(snapshots)])
    high = np.diff(
        np.stack([noise_g(900 + seed + n, samples=samples + 1, channels=channels) for n in range(snapshots)])
    )
    return quiet + (gain - 1.0) * high


class Bench:
    """A folder with recordings, and the command."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.out = folder / "results.jsonl"
        self._capsys = capsys
        self.healthy = self.file("healthy", signal(1, 60))
        self.sick = self.file("sick", signal(2, 12, gain=20.0))

    def file(self, name: str, values: NDArray[Any], **changes: Any) -> str:
        return str(write_recording(self.folder / f"{name}.npz", values, **{"fs": RATE_HZ, **changes}))

    def run(self, *arguments: str, window_s: float = WINDOW_S) -> tuple[int, str]:
        """Exit code and what was said on stderr; stdout must stay empty."""
        try:
            code = main(["backtest", *arguments, "--window-s", str(window_s), "--out", str(self.out)])
        except SystemExit as error:
            code = int(error.code or 0)
        said = self._capsys.readouterr()
        assert said.out == ""
        assert "Traceback" not in said.err
        return code, said.err

    def lines(self, *arguments: str, window_s: float = WINDOW_S) -> list[dict[str, Any]]:
        code, said = self.run(*arguments, window_s=window_s)
        assert code == 0, said
        return [json.loads(line) for line in self.out.read_text().splitlines()]

    def refusal(self, *arguments: str, window_s: float = WINDOW_S) -> str:
        """The last line on stderr of a run that was refused and left no results."""
        code, said = self.run(*arguments, window_s=window_s)
        assert (code, self.out.exists()) == (2, False), said
        assert sorted(p.suffix for p in self.folder.iterdir() if p.name.startswith(".")) == []
        return said.strip().splitlines()[-1]


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Bench:
    return Bench(tmp_path, capsys)


def test_each_window_has_its_line_in_order(bench: Bench) -> None:
    lines = bench.lines("--commission", f"{bench.healthy}:0-4", "--captures", f"{bench.healthy}:4-6", bench.sick)
    assert [list(line) for line in lines] == [FIELDS + MORE] * 32
    assert [(line["file"], line["snapshot"], line["window"]) for line in lines] == [
        *((f"{bench.healthy}:4-6", 0, n) for n in range(20)), *((bench.sick, 0, n) for n in range(12)),
    ]  # fmt: skip
    assert [line["at_s"] for line in lines[:3]] == [4.0, 4.1, 4.2]
    assert [line["exceeds"] for line in lines] == [False] * 20 + [True] * 12
    assert [line["alarm"] for line in lines] == [False] * 22 + [True] * 10
    assert all(np.isfinite(line["score"]) for line in lines)
    assert {line["quality"] for line in lines} == {"ok"}
    assert {line["zone"] for line in lines} == {None}
    for line in lines:
        confidences = [d["confidence"] for d in line["diagnosis"]]
        assert confidences == sorted(confidences, reverse=True)
        assert 0 <= sum(confidences) <= 1.01


def test_score_only_writes_file_to_score_and_the_same_numbers(bench: Bench) -> None:
    arguments = ["--commission", f"{bench.healthy}:0-4", "--captures", bench.sick]
    whole, short = bench.lines(*arguments), bench.lines(*arguments, "--score-only")
    assert short == [{name: line[name] for name in FIELDS} for line in whole]


def test_without_commissioning_nothing_is_called_an_alarm(bench: Bench) -> None:
    lines = bench.lines("--captures", bench.sick)
    assert not any(line["alarm"] or line["exceeds"] for line in lines)
    assert all(line["diagnosis"] for line in lines)


@pytest.mark.parametrize("windows", [5, 4, 3, 2])
def test_a_handful_of_windows_commissions_honestly(bench: Bench, windows: int) -> None:
    commission = bench.file("few", signal(30, windows))
    lines = bench.lines("--commission", commission, "--captures", f"{bench.healthy}:0-4", bench.sick)
    healthy, sick = lines[:40], lines[40:]
    assert sum(line["exceeds"] for line in healthy) <= 3
    assert all(np.isfinite(line["score"]) for line in healthy + sick)
    if windows >= 4:
        assert all(line["exceeds"] for line in sick)


def test_one_window_shows_no_scatter_so_nothing_exceeds_and_nothing_judged_is_learnt(bench: Bench) -> None:
    commission = bench.file("one", signal(30, 1))
    lines = bench.lines("--commission", commission, "--captures", bench.sick)
    assert not any(line["exceeds"] or line["alarm"] for line in lines)


def test_a_capture_starts_from_the_state_after_commissioning_whatever_came_before_it(bench: Bench) -> None:
    commission = ["--commission", f"{bench.healthy}:0-4", "--captures"]
    alone = bench.lines(*commission, bench.sick)
    behind = bench.lines(*commission, f"{bench.healthy}:4-6", bench.sick, bench.sick)
    assert behind[20:32] == behind[32:] == alone


def test_a_later_window_never_changes_an_earlier_line(bench: Bench) -> None:
    longer = np.concatenate([signal(4, 10), signal(5, 10, gain=20.0)], axis=2)
    half, whole = bench.file("half", longer[:, :, : 10 * WINDOW]), bench.file("whole", longer)
    commission = ["--commission", f"{bench.healthy}:0-4", "--captures"]
    without_name = [{**line, "file": ""} for line in bench.lines(*commission, whole)][:10]
    for line, twin in zip(without_name, bench.lines(*commission, half), strict=True):
        for name in (*FIELDS[1:5], "alarm", "exceeds", "zone"):
            assert line[name] == twin[name]
        assert line["score"] == pytest.approx(twin["score"], rel=0.02)  # the file's scale rounds its counts


@pytest.mark.parametrize(("length", "windows"), [(3.0, 3), (3.99, 3), (1.0, 1), (0.5, 1)])
def test_a_snapshot_holds_whole_windows_only_and_a_shorter_one_is_one_window(
    bench: Bench, length: float, windows: int
) -> None:
    lines = bench.lines("--captures", bench.file("cut", signal(3, length, snapshots=4)))
    assert [(line["snapshot"], line["window"]) for line in lines] == [(s, w) for s in range(4) for w in range(windows)]
    assert [line["at_s"] for line in lines if line["window"] == 0] == [0.0, 10.0, 20.0, 30.0]


@pytest.mark.parametrize(
    ("cut", "kept"),
    [
        ("0-20", [0, 1]),
        ("10-30", [1, 2]),
        ("10-30.5", [1, 2, 3]),
        ("9.9-10", []),
        ("30-1e9", [3]),
        ("0-inf", [0, 1, 2, 3]),
    ],
)
def test_of_many_snapshots_a_cut_keeps_those_that_start_in_it(bench: Bench, cut: str, kept: list[int]) -> None:
    given = bench.file("many", signal(3, 2, snapshots=4)) + f":{cut}"
    if not kept:
        assert "nothing lies within the cut" in bench.refusal("--captures", given)
        return
    assert [(line["snapshot"], line["window"]) for line in bench.lines("--captures", given)] == [
        (s, w) for s in kept for w in (0, 1)
    ]


@pytest.mark.parametrize(
    ("cut", "windows", "at_s"), [("0-0.35", 3, 0.0), ("0.25-1", 7, 0.25), ("5.5-inf", 5, 5.5), ("5.9-99", 1, 5.9)]
)
def test_of_one_snapshot_a_cut_keeps_the_samples_in_it(bench: Bench, cut: str, windows: int, at_s: float) -> None:
    lines = bench.lines("--captures", f"{bench.healthy}:{cut}")
    assert (len(lines), lines[0]["at_s"], lines[0]["window"]) == (windows, at_s, 0)


def test_a_list_of_files_stands_for_its_lines_everywhere(bench: Bench) -> None:
    (bench.folder / "base.txt").write_text(f"{bench.healthy}:0-4\n\n")
    (bench.folder / "test.txt").write_text(f"{bench.healthy}:4-5\n{bench.sick}\n")
    lines = bench.lines("--commission", f"@{bench.folder}/base.txt", "--captures", f"@{bench.folder}/test.txt")
    assert [line["file"] for line in lines] == [f"{bench.healthy}:4-5"] * 10 + [bench.sick] * 12


def test_a_bad_channel_has_its_line_and_does_not_exceed(bench: Bench) -> None:
    values = signal(6, 6, channels=2, gain=20.0)
    values[:, 1, 2 * WINDOW : 4 * WINDOW] = 0.0
    healthy = bench.file("two", signal(1, 30, channels=2))
    lines = bench.lines("--commission", healthy, "--captures", bench.file("dead", values))
    assert [line["quality"] for line in lines] == ["ok", "ok", "stuck", "stuck", "ok", "ok"]
    assert [line["exceeds"] for line in lines] == [True, True, False, False, True, True]


def test_samples_that_are_no_numbers_have_their_line(bench: Bench) -> None:
    values = signal(6, 3).astype(np.float32)
    values[0, 0, WINDOW + 5] = np.nan
    lines = bench.lines("--commission", f"{bench.healthy}:0-4", "--captures",
                        bench.file("nan", signal(6, 3), x=values, scale=np.ones(1)))  # fmt: skip
    assert [line["quality"] for line in lines] == ["ok", "non_finite", "ok"]
    assert lines[1]["score"] is None


def test_commissioning_windows_that_cannot_be_used_are_told(bench: Bench) -> None:
    code, said = bench.run("--commission", bench.file("dead", np.zeros((1, 1, 3 * WINDOW))), "--captures", bench.sick)
    assert code == 0
    assert "only 0 of 3 commissioning windows can be used" in said
    assert not any(json.loads(line)["exceeds"] for line in bench.out.read_text().splitlines())


def test_commissioning_that_mixes_two_machines_is_told_and_neither_is_lost_in_their_mean(bench: Bench) -> None:
    other = bench.file("other", signal(5, 15, gain=40.0))
    between = bench.file("between", signal(6, 8, gain=6.0))
    code, said = bench.run("--commission", bench.healthy, other, "--captures", bench.healthy, other, between)
    assert code == 0
    assert "two groups of 60 and 15" in said
    lines = [json.loads(line) for line in bench.out.read_text().splitlines()]
    by_file = {file: [line["exceeds"] for line in lines if line["file"] == file] for file in (other, between)}
    assert sum(by_file[other]) <= 1
    assert all(by_file[between])


def test_commissioning_on_a_damaged_bearing_is_told(bench: Bench) -> None:
    """Impacts at the outer race's rate, each ringing a resonance."""
    rate_hz, shaft_hz, bpfo = 25_600.0, 25.0, 3.585
    at_s = np.arange(round(6 * rate_hz)) / rate_hz
    since_s = np.mod(at_s, 1.0 / (bpfo * shaft_hz))
    ringing = np.exp(-since_s * 900.0) * np.sin(2 * np.pi * 3000.0 * since_s)
    x = 0.5 * ringing + 0.02 * np.random.default_rng(3).standard_normal(at_s.size)
    damaged = bench.file("damaged", x[None, None], fs=rate_hz, rpm=1500.0, mult=np.array([3.585, 5.415, 2.357, 0.398]))
    code, said = bench.run("--commission", f"{damaged}:0-5", "--captures", f"{damaged}:5-6", window_s=0.5)
    assert code == 0
    assert "already show damage (outer race" in said


def test_the_network_can_decide_instead_of_the_distance(bench: Bench) -> None:
    asked = ["--commission", bench.healthy, "--captures", bench.sick]
    distance, network = bench.lines(*asked), bench.lines(*asked, "--detector", "autoencoder")
    assert [line["score"] for line in distance] != [line["score"] for line in network]
    assert all(line["exceeds"] for line in network)


def test_a_nameplate_gives_zones(bench: Bench) -> None:
    (bench.folder / "plate.toml").write_text("power_kw = 30\nfoundation = 'rigid'\nkind = 'general'\n")
    whole = ["--captures", bench.healthy, "--nameplate", f"{bench.folder}/plate.toml"]
    assert {line["zone"] for line in bench.lines(*whole, window_s=0.5)} <= {"A", "B", "C", "D"}


def test_a_life_is_commissioned_by_its_first_share_and_judged_to_its_end(bench: Bench) -> None:
    gains = [1.0] * 30 + [20.0] * 10
    life = np.concatenate([signal(40 + n, 1, gain=gain) for n, gain in enumerate(gains)])
    lines = bench.lines("--life", bench.file("life", life), "--commission-share", "0.49")
    assert [(line["snapshot"], line["window"]) for line in lines] == [(n, 0) for n in range(40)]
    assert not any(line["alarm"] or line["exceeds"] for line in lines[:19])
    assert [line["alarm"] for line in lines[28:]] == [False] * 4 + [True] * 8
    assert list(lines[0]) == list(lines[-1]) == FIELDS + MORE


def test_no_share_of_a_life_commissions_nothing(bench: Bench) -> None:
    life = bench.file("life", np.concatenate([signal(n, 1) for n in range(6)]))
    lines = bench.lines("--life", life, "--commission-share", "0")
    assert len(lines) == 6
    assert not any(line["alarm"] or line["exceeds"] for line in lines)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fs": None}, "without a sampling rate"),
        ({"fs": 0.0}, "sampling rate 0.0"),
        ({"scale": np.zeros(1)}, "scale"),
        ({"geometry": np.array([2.0, 7.9, 39.0, 0.0])}, "rolling elements"),
        ({"fs": 24_000.0}, "24000 Hz and 1 channels found, commissioned with 6000 Hz and 1"),
    ],
)
def test_one_bad_file_among_many_is_named_with_its_reason_and_leaves_no_results(
    bench: Bench, changes: dict[str, Any], reason: str
) -> None:
    bad = bench.file("bad", signal(7, 4), **changes)
    told = bench.refusal("--commission", f"{bench.healthy}:0-4", "--captures", bench.sick, bad, bench.sick)
    assert bad in told
    assert reason in told


def test_other_channels_than_commissioned_are_refused(bench: Bench) -> None:
    bad = bench.file("bad", signal(7, 4, channels=3))
    assert bad in bench.refusal("--commission", f"{bench.healthy}:0-4", "--captures", bad)


def test_commissioning_recordings_that_differ_are_refused_by_the_one_that_does(bench: Bench) -> None:
    bad = bench.file("bad", signal(7, 4), fs=24_000.0)
    assert bad in bench.refusal("--commission", bench.healthy, bad, bench.healthy, "--captures", bench.sick)


@pytest.mark.parametrize("where", ["--captures", "--life", "--commission"])
def test_a_file_that_is_missing_or_torn_is_named(bench: Bench, where: str) -> None:
    torn = bench.folder / "torn.npz"
    torn.write_bytes(Path(bench.sick).read_bytes()[:5000])
    more = ["--captures", bench.sick] if where == "--commission" else []
    for bad in (str(torn), str(bench.folder / "gone.npz"), str(bench.folder)):
        assert bad in bench.refusal(where, bad, *more)


def test_a_window_of_31_samples_is_refused_and_one_of_32_is_not(bench: Bench) -> None:
    short = bench.file("short", signal(8, 32 / WINDOW))
    assert len(bench.lines("--captures", short, window_s=32 / RATE_HZ)) == 1
    bench.out.unlink()
    told = bench.refusal("--captures", short, window_s=31 / RATE_HZ)
    assert short in told
    assert "31 samples, 32 needed" in told
    assert "31 samples" in bench.refusal("--captures", bench.file("shorter", signal(8, 31 / WINDOW)))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--window-s", "0"], ["--window-s", "nan"], ["--window-s", "-1"], ["--false-alarm-rate", "0"],
        ["--false-alarm-rate", "0.5"], ["--commission-share", "1"], ["--nameplate", "gone.toml"],
        ["--release", "gone"], ["--surprise"], ["--life", "x"],
    ],
)  # fmt: skip
def test_an_argument_that_cannot_be_is_refused_by_name(bench: Bench, arguments: list[str]) -> None:
    code = main_code(["backtest", "--captures", bench.sick, "--out", str(bench.out), *arguments])
    assert code == 2
    assert not bench.out.exists()


def main_code(arguments: list[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as error:
        return int(error.code or 0)


@pytest.mark.parametrize("cut", ["2-1", "1-1", "nan-2"])
def test_an_empty_cut_is_refused(bench: Bench, cut: str) -> None:
    assert cut.split("-", maxsplit=1)[0] in bench.refusal("--captures", f"{bench.healthy}:{cut}")


@pytest.mark.parametrize("text", ["", "\n \n", None])
def test_a_list_that_is_empty_or_missing_is_named(bench: Bench, text: str | None) -> None:
    path = bench.folder / "list.txt"
    if text is not None:
        path.write_text(text)
    assert str(path) in bench.refusal("--captures", f"@{path}")


@pytest.mark.parametrize("place", ["gone/results.jsonl", "folder"])
def test_results_that_cannot_be_written_are_told(bench: Bench, place: str) -> None:
    (bench.folder / "folder").mkdir()
    assert main_code(["backtest", "--captures", bench.sick, "--out", str(bench.folder / place)]) == 2
    assert not [path for path in bench.folder.iterdir() if path.name.startswith(".")]


def test_results_of_an_earlier_run_are_replaced_only_by_whole_ones(bench: Bench) -> None:
    bench.out.write_text("earlier")
    assert bench.run("--captures", bench.sick, "gone.npz")[0] == 2
    assert bench.out.read_text() == "earlier"
    assert len(bench.lines("--captures", bench.sick)) == 12


def test_times_of_snapshots_may_be_any_finite_number(bench: Bench) -> None:
    given = bench.file("epoch", signal(3, 1, snapshots=2), t=np.array([-5.0, 1.7e12]))
    assert [line["at_s"] for line in bench.lines("--captures", given)] == [-5.0, 1.7e12]


def test_labels_and_answers_are_never_read(bench: Bench) -> None:
    kept = bench.lines("--captures", bench.sick)
    hidden = dict.fromkeys(("label", "severity", "dataset", "part", "n_observed", "rul_true_s", "recording"))
    blind = bench.lines("--captures", bench.file("sick", signal(2, 12, gain=20.0), **hidden))
    assert blind == kept


def test_one_unusable_window_costs_a_commissioning_that_window_and_no_more(bench: Bench) -> None:
    """Five windows of which one was stuck once were calibrated on two, and had no prognosis."""
    values = signal(1, 5)
    values[:, :, 2 * WINDOW : 3 * WINDOW] = 0.0
    torn = bench.file("torn", values)
    without = np.concatenate([values[:, :, : 2 * WINDOW], values[:, :, 3 * WINDOW :]], axis=2)
    whole = bench.file("whole", without)
    four = bench.lines("--commission", whole, "--captures", bench.sick)
    assert bench.lines("--commission", torn, "--captures", bench.sick) == four
