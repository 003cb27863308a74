"""What an enterprise's page says of a release that sites have tried: who uses it, who took it back, and why."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from dashboard import sentences
from dashboard.languages import speaking
from schemas.messages import GateReport
from schemas.site_tables import release_event, rollout
from tests.support.learning_plant import CANDIDATE, build_learning_database
from tests.support.page_runs import copied_database, run_page, words_of
from tests.support.site_database import NOW_US

WHY = "AUROC on synthetic faults 0.810 against 0.930 of the release in use, 0.01 less allowed"
GATE = GateReport(version=CANDIDATE, digest="d", in_use_version=0, rows=64, auroc=0.81, auroc_in_use=0.93, loss=0.4,
                  loss_in_use=0.3)  # fmt: skip


def learning_script() -> None:
    from dashboard.pages.federation import show_federation

    show_federation()


run = partial(run_page, learning_script)


@pytest.fixture(scope="module")
def enterprise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fleet_releases") / "enterprise.db"
    engine = build_learning_database(path, days=1.0)
    with engine.begin() as connection:
        connection.execute(sa.delete(rollout))
        for site, state, text, gate in (
            ("site-a", "withdrawn", WHY, GATE.model_dump(mode="json")), ("site-b", "running", "", None),
            ("site-c", "refused", "its features are others", None),
        ):  # fmt: skip
            connection.execute(
                sa.insert(rollout).values(
                    release_version=CANDIDATE, gateway=site, state=state, text=text, at_us=NOW_US, gate=gate
                )
            )
        connection.execute(
            sa.insert(release_event).values(
                release_version=CANDIDATE, at_us=NOW_US, stage="imported", actor="anna", text="conv", evidence={}
            )
        )
    engine.dispose()
    return path


@pytest.fixture
def engine(enterprise: Path, tmp_path: Path) -> Iterator[Engine]:
    with copied_database(enterprise, tmp_path) as opened:
        yield opened


@pytest.mark.parametrize(
    ("language", "took_back", "refuses", "heading", "brought_in"),
    [
        ("en", "tried release 5 and took it back", "does not take release 5", "At the sites", "brought in from"),
        ("de", "hat Release 5 erprobt und zurückgenommen", "nimmt Release 5 nicht", "An den Standorten", "eingebracht"),
    ],
)
def test_sites_that_took_a_release_back_or_refuse_it_are_named_with_their_reasons(
    engine: Engine, tmp_path: Path, language: str, took_back: str, refuses: str, heading: str, brought_in: str
) -> None:
    page = run(engine, tmp_path, language=language, part="releases", release=str(CANDIDATE))
    text = words_of(page.subheader, page.markdown) + "".join(one.proto.body for one in page.get("html"))
    text = text.replace("\\", "")
    with speaking(language):
        why = sentences.said(WHY).removesuffix(".")
    assert (why == WHY.removesuffix(".")) == (language == "en")
    for said in (took_back, refuses, heading, why, "its features are others", brought_in):
        assert said in text
    first, *_ = page.dataframe[0].value.to_dict("records")
    assert first["Site" if language == "en" else "Standort"] == "site-a"
    assert any("0.81, 0.93" in str(value) for value in first.values())
