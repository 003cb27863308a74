"""`aggregator release` as people call it: what may come in, what may not, and that refusing changes nothing."""

import base64
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from aggregator import command
from aggregator.database import open_current
from aggregator.foundry.artefacts import BUILT
from aggregator.registry import Registry
from aggregator.release_making import first_release
from schemas.database import sqlite_url
from schemas.release import (
    EXPIRES,
    GOLDEN,
    MANIFEST,
    PARAMETERS,
    SCORE,
    SIGNATURE,
    TRAIN_STEP,
    VARIATION,
    Release,
    golden_file,
    make_release,
)
from schemas.signing import AllowedKey, KeyRing, Signer
from schemas.site_tables import gateway, release, release_event
from schemas.variation import SessionSums, Variation
from tests.support import tomorrow
from tests.support.learning import CREATED_AT_US, builtin
from vibration.detection_features import DETECTION_COUNT

SITE, MAKER, SENSOR = Signer.generate(), Signer.generate(), Signer.generate()
CONV = first_release(
    BUILT / "conv_autoencoder_48", MAKER, created_at_us=CREATED_AT_US, rule="ditto_step", version=41,
    levels={"output": "machine"}, data={"clients": 3, "fleet_version": 9},
)  # fmt: skip
KNOWN = Variation({(25_600.0, 8192): SessionSums(7.0, np.zeros(DETECTION_COUNT), 1.0, np.full(6, 0.1))})


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with a dense release that knows some variation, and a gateway that runs version 6."""
    folder = tmp_path_factory.mktemp("template")
    (folder / "site.toml").write_text(
        'name = "plant-a"\nfolder = "var"\nsigning_key_file = "signing.key"\nkeys_file = "keys.toml"\n'
        '[broker]\nport = 1\nusername = "plant-a"\npassword_file = "password"\n'
        '[broker_server]\nkind = "embedded"\n'
    )
    SITE.save(folder / "signing.key")
    KeyRing(
        [AllowedKey("plant-a", "site", SITE.public), AllowedKey("maker", "releaser", MAKER.public),
         AllowedKey("gw-1", "gateway", SENSOR.public)]
    ).save(folder / "keys.toml")  # fmt: skip
    engine = open_current(sqlite_url(folder / "var" / "site.db"))
    first = builtin(SITE)
    files = {name: blob for name, blob in first.files.items() if name not in {MANIFEST, SIGNATURE}}
    fields = first.manifest.model_dump(exclude={"files"})
    Registry(engine, SITE, lambda: CREATED_AT_US).start_with(
        make_release(fields, {**files, VARIATION: KNOWN.pack()}, SITE)
    )
    with engine.begin() as connection:
        connection.execute(sa.insert(gateway).values(gateway="gw-1", release_version=6))
    engine.dispose()
    return folder


@pytest.fixture
def site(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its settings."""
    monkeypatch.setattr(command, "start_logging", lambda _level: None)
    return shutil.copytree(template, tmp_path / "plant") / "site.toml"


def run(*words: str | Path) -> int:
    return command.main([str(word) for word in ("release", *words)])


def saved(made: Release, folder: Path) -> Path:
    made.save(folder)
    return folder


def releases(site: Path) -> list[sa.RowMapping]:
    engine = open_current(sqlite_url(site.parent / "var" / "site.db"))
    with engine.connect() as connection:
        rows = list(connection.execute(sa.select(release).order_by(release.c.release_version)).mappings())
    engine.dispose()
    return rows


def remade(files: dict[str, bytes]) -> Release:
    kept = {name: blob for name, blob in CONV.files.items() if name not in {MANIFEST, SIGNATURE}}
    return make_release(CONV.manifest.model_dump(exclude={"files"}), {**kept, **files}, MAKER)


def test_another_network_comes_in_as_a_candidate_above_all_that_gateways_run(site: Path, tmp_path: Path) -> None:
    assert run("import", saved(CONV, tmp_path / "conv"), "--settings", site) == 0
    first, made = releases(site)
    assert (made["release_version"], made["state"], made["stage"]) == (7, "candidate", None)
    assert first["state"] == "current"
    manifest, files = made["manifest"], made["manifest"]["files"]
    assert manifest["family"] == "conv_autoencoder"
    assert manifest["levels"] == {"output": "machine"}
    until_us = manifest["created_at_us"] + 30 * 86_400_000_000
    assert manifest["data"] == {"clients": 3, EXPIRES: until_us}, "the enterprise of others is none of ours"
    assert manifest["merge"]["signer"] == MAKER.key_id
    assert manifest["merge"]["own_network"] == 1
    for name in (SCORE, TRAIN_STEP, PARAMETERS, GOLDEN):
        assert files[name]["sha256"] == CONV.manifest.files[name].sha256
    assert files[VARIATION] == first["manifest"]["files"][VARIATION], "what is known of machines stays"


def test_at_an_enterprise_it_is_the_fleets_at_once(site: Path, tmp_path: Path) -> None:
    """Its sites try it, each through its own stages."""
    site.write_text('role = "enterprise"\n' + site.read_text())
    (site.parent / "var" / "site.db").rename(site.parent / "var" / "enterprise.db")
    assert run("import", saved(CONV, tmp_path / "conv"), "--settings", site) == 0
    engine = open_current(sqlite_url(site.parent / "var" / "enterprise.db"))
    current = Registry(engine, SITE, lambda: CREATED_AT_US).current()
    assert (current.manifest.level, current.manifest.family) == ("fleet", "conv_autoencoder")
    assert "own_network" not in current.manifest.merge
    with engine.connect() as connection:
        assert connection.execute(sa.select(release.c.state).order_by(release.c.release_version)).scalars().all() == [
            "superseded", "current",
        ]  # fmt: skip
    engine.dispose()


def test_only_another_network_counts_as_one(site: Path, tmp_path: Path) -> None:
    for folder, made in (("better", builtin(MAKER, seed=8)), ("other", CONV)):
        assert run("import", saved(made, tmp_path / folder), "--settings", site) == 0
    engine = open_current(sqlite_url(site.parent / "var" / "site.db"))
    registry = Registry(engine, SITE, lambda: CREATED_AT_US)
    assert [registry.brings_network(version) for version in (1, 7, 8)] == [False, False, True]
    engine.dispose()


def test_who_has_brought_it_in_stands_in_its_history(site: Path, tmp_path: Path) -> None:
    assert run("import", saved(CONV, tmp_path / "conv"), "--settings", site) == 0
    engine = open_current(sqlite_url(site.parent / "var" / "site.db"))
    with engine.connect() as connection:
        (row,) = connection.execute(sa.select(release_event))
    engine.dispose()
    assert (row.release_version, row.stage) == (7, "imported")
    assert row.actor.endswith("(command line)")
    assert "conv_autoencoder" in row.text


def test_a_family_nobody_here_knows_comes_in_from_one_file(site: Path, tmp_path: Path) -> None:
    made = first_release(tomorrow.GRAPHS, MAKER, created_at_us=CREATED_AT_US, rule=tomorrow.RULE)
    (tmp_path / "gated.release").write_bytes(made.bundle())
    assert run("import", tmp_path / "gated.release", "--settings", site) == 0
    assert releases(site)[-1]["manifest"]["family"] == "gated_autoencoder"


REFUSED = {
    "an altered file": ("it was cut or changed", lambda: {**CONV.files, PARAMETERS: CONV.files[GOLDEN]}),
    "golden vectors of another model": (
        "golden scores differ",
        lambda: remade({GOLDEN: golden_file(CONV.golden()[0], CONV.golden()[1] + 1)}).files,
    ),
    "a graph of another network": ("takes", lambda: remade({SCORE: builtin(MAKER).files[SCORE]}).files),
    "no graph": ("score.onnx", lambda: remade({SCORE: b"no graph"}).files),
    "lives that are none": ("knowledge", lambda: remade({"lives.bin": b"none"}).files),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_in_one_line_and_nothing_has_changed(
    site: Path, tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words, files = REFUSED[case]
    (tmp_path / "bad").mkdir()
    for name, content in files().items():
        (tmp_path / "bad" / name).write_bytes(content)
    assert run("import", tmp_path / "bad", "--settings", site) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert words in line
    assert len(releases(site)) == 1


def test_nan_among_the_parameters_is_refused(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    """`make_release` would not make it; whoever has a key and other software can."""
    made = first_release(tomorrow.GRAPHS, MAKER, created_at_us=CREATED_AT_US, rule=tomorrow.RULE)
    theta = made.parameters().copy()
    theta[7] = np.nan
    bad = theta.tobytes()
    text = made.files[MANIFEST].replace(
        made.manifest.files[PARAMETERS].sha256.encode(), hashlib.sha256(bad).hexdigest().encode()
    )  # fmt: skip
    folder = saved(made, tmp_path / "bad")
    (folder / PARAMETERS).write_bytes(bad)
    (folder / MANIFEST).write_bytes(text)
    (folder / SIGNATURE).write_bytes(_signature(text))
    assert run("import", folder, "--settings", site) == 2
    assert "NaN" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("signer", "who"), [(Signer.generate(), "not on the list"), (SENSOR, "on the list as gateway")]
)
def test_a_signer_who_may_not_is_named_and_taken_only_when_a_person_vouches_for_the_key(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], signer: Signer, who: str
) -> None:
    folder = saved(builtin(signer, seed=5, version=3), tmp_path / "strange")
    assert run("import", folder, "--settings", site) == 2
    assert f"{signer.key_id}, which is {who}" in capsys.readouterr().err
    assert run("import", folder, "--vouch-for", MAKER.key_id, "--settings", site) == 2
    assert len(releases(site)) == 1
    assert run("import", folder, "--vouch-for", signer.key_id, "--settings", site) == 0
    assert len(releases(site)) == 2


def test_the_model_that_is_here_already_is_not_brought_in_twice(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = saved(CONV, tmp_path / "conv")
    assert run("import", folder, "--settings", site) == 0
    assert run("import", folder, "--settings", site) == 2
    assert "release 7, the newest here, has the same graphs and parameters" in capsys.readouterr().err


def test_settings_that_the_new_training_would_refuse_are_said_at_once(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.write_text(site.read_text() + "[learning]\nproximal = 9.0\nrule_settings = { sigma = 1.0 }\n")
    made = first_release(tomorrow.GRAPHS, MAKER, created_at_us=CREATED_AT_US, rule=tomorrow.RULE)
    assert run("import", saved(made, tmp_path / "gated"), "--settings", site) == 0
    assert "rule_settings has sigma, this release's training has learning_rate" in capsys.readouterr().err


def test_an_exported_release_can_be_imported_and_list_and_show_tell_of_it(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("import", saved(CONV, tmp_path / "conv"), "--settings", site) == 0
    assert run("export", "7", "--out", tmp_path / "seven.release", "--settings", site) == 0
    assert run("roll-back", "7", "--note", "only looked", "--settings", site) == 0
    capsys.readouterr()
    assert run("list", "--settings", site) == 0
    newest, oldest = capsys.readouterr().out.splitlines()
    assert newest.split()[:4] == ["7", "candidate", "site", "conv_autoencoder"]
    assert oldest.split()[0] == "1"
    assert run("show", "7", "--settings", site) == 0
    assert json.loads(capsys.readouterr().out)["asked"]["note"] == "only looked"
    assert run("import", tmp_path / "seven.release", "--settings", site) == 2
    assert "has the same graphs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "99"], "there is no release 99"), (["show", "seven"], "'seven' found"), (["export", "1"], "--out"),
        (["import"], "needs a folder"), (["import", "/none"], "cannot be read"),
        (["roll-back", "--note", "because"], "nothing to go back to"), (["roll-back", "1"], "say in the note"),
    ],
)  # fmt: skip
def test_what_a_command_lacks_is_said(
    site: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert run(*words, "--settings", site) == 2
    assert said in capsys.readouterr().err


def _signature(text: bytes) -> bytes:
    said = {"public": MAKER.public, "signature": MAKER.sign(text)}
    return json.dumps({name: base64.b64encode(value).decode() for name, value in said.items()}).encode()
