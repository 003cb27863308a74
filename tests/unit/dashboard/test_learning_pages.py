"""What the page of the learning says in each state and to each role; read from the page itself, without a browser."""

import csv
import io
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from streamlit.testing.v1 import AppTest

from dashboard import runtime
from dashboard.pages.release_desk import exceeding_of, release_in_question, stage_steps, summed_scores
from dashboard.queries.federation import UPDATES, read_federation, read_fits, read_ledger, read_releases
from dashboard.reports.ledger import ledger_report
from schemas.messages import ShadowSummary
from schemas.site_tables import (
    gateway,
    learning_round,
    ledger,
    machine,
    machine_fit,
    release,
    request,
    rollout,
    round_update,
    site_offer,
)
from tests.support import pdf_text
from tests.support.dashboards import make_dashboard
from tests.support.learning_plant import CANDIDATE, build_learning_database, desk_of_releases
from tests.support.page_runs import copied_database, run_page, words_of
from tests.support.people import ring_of
from tests.support.site_database import NOW_US, create_tables

PARTS = ("rounds", "benefit", "releases", "ledger")
HOSTILE = "<script>alert(1)</script> **b** [x](http://x) $x$ :red[r] | ---"


def learning_script() -> None:
    from dashboard.pages.federation import show_federation

    show_federation()


@pytest.fixture(scope="module")
def learning_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("learning_pages") / "site.db"
    build_learning_database(path, days=1.0).dispose()
    return path


@pytest.fixture
def engine(learning_database: Path, tmp_path: Path):
    with copied_database(learning_database, tmp_path) as opened:
        yield opened


run = partial(run_page, learning_script)


def said(page: AppTest) -> str:
    parts = [words_of(page.header, page.subheader, page.markdown, page.caption, page.button, page.code, page.expander)]
    parts += [element.proto.body for element in page.get("html")]
    return "\n".join(parts).replace("\\", "")


def table(page: AppTest, number: int) -> list[dict[str, Any]]:
    return page.dataframe[number].value.to_dict("records")


@pytest.mark.parametrize("language", ["en", "de"])
def test_every_part_shows_without_an_error_in_both_languages(engine, tmp_path, language):
    for part in PARTS:
        assert len(run(engine, tmp_path, language=language, part=part).header) == 1  # an error has its own


def test_strip_of_the_newest_round_says_who_answered_and_what_it_became(engine, tmp_path):
    text = said(run(engine, tmp_path))
    assert "<dt>Asked</dt><dd>4 of 4 present</dd>" in text
    assert "<dt>Answered in time</dt><dd>3 of 4</dd>" in text
    assert "<dt>Late</dt><dd>1</dd>" in text
    assert "<dt>Rejected</dt><dd>1: it is far larger than the others</dd>" in text
    assert "0.412 → 0.377 (-8.5%) on 118 captures" in text
    assert "gw-c (1 behind, counts 71%)" in text
    assert "<dt>Became</dt><dd>release 5</dd>" in text
    assert "308.0 kB / 306.0 kB" in text


def test_rejected_member_comes_first_with_reason_and_next_step(engine, tmp_path):
    page = run(engine, tmp_path)
    rows = table(page, 0)
    assert [row["Member"] for row in rows] == ["gw-c", "gw-d", "gw-a", "gw-b"]
    assert rows[1]["Verdict"] == "✕ it is far larger than the others"
    assert "✕ gw-d: it is far larger than the others → once: nothing. Again and again: compare its" in said(page)
    assert "✕ gw-c: it came after the round had ended; it waits for the next merge → nothing;" in said(page)
    assert rows[2]["Weight"] == "240 (57%)"
    assert rows[2]["Cosine with the merged"] == "0.91"


def test_outlier_is_drawn_as_a_cross_that_bears_its_name(engine, tmp_path):
    drawn = next(
        element.proto.body for element in run(engine, tmp_path).get("html") if 'class="plot"' in element.proto.body
    )
    assert drawn.count("●") == 9 * 2 + 5
    assert drawn.count("✕") == 1
    assert ">gw-d</span>" in drawn
    assert ">left out beyond</span>" in drawn


@pytest.mark.parametrize(("wrong", "needed", "words"), [
    (2.0, 7.0, "2 wrong members: 7 updates needed"),
    (0.0, 2.0, "none is promised: 2 updates needed; of 6 asked, one wrong member is"),
])  # fmt: skip
def test_strip_says_how_many_wrong_members_the_round_withstands(engine, tmp_path, wrong, needed, words):
    with engine.begin() as connection:
        newest = sa.select(learning_round).order_by(learning_round.c.round_id.desc()).limit(1)
        row = connection.execute(newest).one()
        metrics = {**row.metrics, "withstands": wrong, "needed": needed}
        mine = learning_round.c.round_id == row.round_id
        connection.execute(sa.update(learning_round).where(mine).values(metrics=metrics))
    assert words in said(run(engine, tmp_path))


def test_link_to_an_older_round_shows_that_one(engine, tmp_path):
    assert "Round 5" in [found.value for found in run(engine, tmp_path, round="5").subheader]


@pytest.mark.parametrize("number", ["99", "x", "-1", "9" * 30])
def test_link_to_a_round_that_is_not_there_shows_the_newest(engine, tmp_path, number):
    assert "Round 12" in [found.value for found in run(engine, tmp_path, round=number).subheader]


def test_round_that_hangs_names_the_member_and_what_runs_meanwhile(engine, tmp_path):
    with engine.begin() as connection:
        twelve = learning_round.c.round_id == 12
        connection.execute(sa.update(learning_round).where(twelve).values(ended_at_us=None, state="offered"))
        connection.execute(
            sa.delete(round_update).where(round_update.c.round_id == 12, round_update.c.member == "gw-c")
        )
    text = said(run(engine, tmp_path, now_us=NOW_US + 3_600_000_000))
    assert "Round 12 has been open for 65 min** (usual: 9 s)." in text
    assert "It waits for gw-c (last heard 3 h ago)." in text
    assert "goes on judging by release 4" in text


@pytest.mark.parametrize(("ended_at_us", "verdict"), [
    (None, "answered, waits for the merge"), (NOW_US, "its round did not count"),
])  # fmt: skip
def test_answer_nobody_objects_to_is_not_called_rejected(engine, tmp_path, ended_at_us, verdict):
    with engine.begin() as connection:
        twelve = learning_round.c.round_id == 12
        connection.execute(sa.update(learning_round).where(twelve).values(ended_at_us=ended_at_us, state="void"))
        mine = (round_update.c.round_id == 12) & (round_update.c.member == "gw-a")
        connection.execute(sa.update(round_update).where(mine).values(accepted=False, weight=0.0))
    page = run(engine, tmp_path)
    assert verdict in {row["Verdict"] for row in table(page, 0)}
    assert "✕ gw-a" not in said(page)


def test_learning_without_a_round_for_long_says_so(engine, tmp_path):
    text = said(run(engine, tmp_path, now_us=NOW_US + 5 * 3_600_000_000))
    assert "No round for 5 h** (usual: 15 min)" in text


def test_round_that_just_runs_hangs_on_nobody(engine, tmp_path):
    with engine.begin() as connection:
        twelve = learning_round.c.round_id == 12
        values = {"ended_at_us": None, "state": "offered", "started_at_us": NOW_US - 20_000_000}
        connection.execute(sa.update(learning_round).where(twelve).values(values))
    text = said(run(engine, tmp_path))
    assert "has been open" not in text
    assert "still running" in text


def test_machines_worse_off_are_counted_and_come_first(engine, tmp_path):
    page = run(engine, tmp_path, part="benefit")
    assert "✕ 1 of 4 machines are worse off" in said(page)
    assert "2 better off, 1 the same (less than 0.01 apart). 2 machines were not compared" in said(page)
    rows = table(page, 0)
    assert rows[0]["Machine"] == "machine?machine=conveyor-11"
    assert (rows[0]["With the fleet"], rows[0]["Gain, AUROC"]) == ("✕ worse off", "-0.070")


def test_release_shows_where_it_is_and_what_each_gateway_says_of_it(engine, tmp_path):
    page = run(engine, tmp_path, part="releases")
    text = said(page)
    assert '<span class="here">▶ canary</span>' in text
    assert "runs on 1 of 3 gateways for 1200 of 3600 s" in text
    assert "Release 5** (filled): 7 of 900 healthy captures over their limit" in text
    assert "The other release** (outlined), same captures: 9 of 900" in text
    rows = table(page, 0)
    assert [(row["Gateway"], row["State"]) for row in rows] == [
        ("gw-a", "✓ runs it"), ("gw-b", "tries it"), ("gw-c", "offered"),
    ]  # fmt: skip
    assert rows[0]["Gate: AUROC, before"] == "0.93, 0.92"
    assert rows[0]["Healthy captures over their limit"] == "7 of 900, before 9"


def test_person_who_may_not_steer_releases_is_offered_no_button(engine, tmp_path):
    page = run(engine, tmp_path, part="releases", role="technician")
    assert "As technician you may read this and change nothing; engineer and those above may." in said(page)
    assert not [button for button in page.button if "release" in button.label]


def press(page: AppTest, label: str) -> AppTest:
    page = next(button for button in page.button if button.label == label).click().run()
    assert not page.exception, page.exception
    return page


def test_rolling_back_asks_for_a_reason_and_a_tick_and_is_carried_out(engine, tmp_path):
    page = run(engine, tmp_path, part="releases")
    page = press(page, "Take release 5 back")
    assert "tick that you mean release 5" in said(page)
    page.checkbox(key="sure:roll_back_release:5").check()
    page = press(page, "Take release 5 back")
    assert "say why it is taken back" in said(page)
    with engine.connect() as connection:
        assert connection.execute(sa.select(request)).all() == []
    page.checkbox(key="sure:roll_back_release:5").check()
    page.text_area(key="note:roll_back_release:5").set_value("false alarms on the kiln")
    page = press(page, "Take release 5 back")
    assert "Take release 5 back: sent to the site service" in said(page)
    desk_of_releases(engine, ring_of(runtime.current())).step()
    page.run()
    assert "release 5 is taken back; the one before goes out again as a new release" in said(page)
    with engine.connect() as connection:
        asked = connection.execute(sa.select(release.c.asked).where(release.c.release_version == CANDIDATE)).scalar()
    assert asked == {"action": "roll_back_release", "actor": "A. Schmidt", "note": "false alarms on the kiln"}


def test_where_two_must_ask_for_a_roll_back_the_page_says_who_waits_for_the_second(engine, tmp_path):
    page = run(engine, tmp_path, part="releases")
    page.checkbox(key="sure:roll_back_release:5").check()
    page.text_area(key="note:roll_back_release:5").set_value("false alarms on the kiln")
    page = press(page, "Take release 5 back")
    desk_of_releases(engine, ring_of(runtime.current()), people=2).step()
    page = run(engine, tmp_path, part="releases")
    assert "A. Schmidt wants it taken back; it is, once a second person asks for the same within an hour." in said(page)
    assert "stopped by a person" in said(page)
    with engine.connect() as connection:
        assert (
            connection.execute(sa.select(release.c.asked).where(release.c.release_version == CANDIDATE)).scalar()
            is None
        )


def test_pause_is_offered_until_it_is_paused_then_going_on(engine, tmp_path):
    labels = [button.label for button in run(engine, tmp_path, part="releases").button]
    assert "Stop release 5 where it is" in labels
    with engine.begin() as connection:
        connection.execute(sa.update(release).where(release.c.release_version == CANDIDATE).values(paused=True))
    page = run(engine, tmp_path, part="releases")
    labels = [button.label for button in page.button]
    assert "Let release 5 go on" in labels
    assert "Stop release 5 where it is" not in labels
    assert "stopped by a person" in said(page)


def test_superseded_release_can_be_looked_at_and_not_steered(engine, tmp_path):
    page = run(engine, tmp_path, part="releases", release="3")
    assert "Release 3, superseded" in [found.value for found in page.subheader]
    assert not [button for button in page.button if "release" in button.label]


def test_server_refuses_what_a_viewer_asks_though_no_button_was_there(engine, tmp_path):
    run(engine, tmp_path, role="viewer")
    board = runtime.current()
    visitor = board.door.admit("V. Iewer")[0]
    asked = board.writer.ask("roll_back_release", visitor, note="because", values={"release_version": CANDIDATE})
    desk_of_releases(engine, ring_of(board)).step()
    with engine.connect() as connection:
        row = connection.execute(sa.select(request).where(request.c.request_id == asked)).one()
        kept = connection.execute(sa.select(release.c.asked).where(release.c.release_version == CANDIDATE)).scalar()
    assert row.state == "refused"
    assert kept is None


def test_withdrawn_release_ends_where_it_was_taken_back(engine, tmp_path):
    with engine.begin() as connection:
        values = {"state": "withdrawn", "stage": "withdrawn", "stage_text": "7 times as many alarms"}
        connection.execute(sa.update(release).where(release.c.release_version == CANDIDATE).values(values))
    text = said(run(engine, tmp_path, part="releases", release="5"))
    assert '<span class="here">▶ taken back</span>' in text
    assert "7 times as many alarms" in text


def test_release_in_question_is_the_candidate_on_its_way_else_the_current_one(engine):
    with engine.begin() as connection:
        assert release_in_question(read_releases(connection)).version == CANDIDATE
        connection.execute(sa.update(release).where(release.c.release_version == CANDIDATE).values(stage=None))
        found = read_releases(connection)
    assert release_in_question(found).version == 4
    assert [step.state for step in stage_steps(found[0])] == ["here", "todo", "todo", "todo", "todo"]


def test_shadow_of_either_side_is_read_from_the_release_that_is_meant():
    before = ShadowSummary(this_version=5, in_use_version=4, points=1, windows=9, exceeding_this=2, exceeding_in_use=1,
                           in_limits_this=(1, 2), in_limits_in_use=(3, 4))  # fmt: skip
    after = ShadowSummary(this_version=4, in_use_version=5, points=1, windows=9, exceeding_this=1, exceeding_in_use=2,
                          in_limits_this=(3, 4), in_limits_in_use=(1, 2, 5))  # fmt: skip
    assert exceeding_of(before, 5) == exceeding_of(after, 5) == (2, 1)
    assert summed_scores((before, after), 5) == ([2, 4, 5], [6, 8])


def test_ledger_has_every_class_with_an_example_and_says_what_an_update_reveals(engine, tmp_path):
    page = run(engine, tmp_path, part="ledger")
    text = said(page)
    assert "5.5 MB in 78 messages** have left this plant since" in text
    assert "No formal privacy guarantee." in text
    assert "which machine it came from" in text
    for row in ("(member)**: 6 messages, 1.2 kB.", "(task)**: 0 messages, 0 B.", "(reply)**: 72 messages, 5.5 MB."):
        assert row in text
    assert "delta: 19088 numbers (float32), 76.4 kB; the first: -0.01000" in text
    assert "Made of what this site has stored." in text


def test_example_of_an_offer_that_was_taken_does_not_pretend_to_hold_its_numbers(engine, tmp_path):
    with engine.begin() as connection:
        connection.execute(sa.update(site_offer).values(delta=None, state="stored"))
    assert "not kept here after the enterprise has taken them" in said(run(engine, tmp_path, part="ledger"))


def test_ledger_as_csv_holds_what_the_table_holds(engine):
    from dashboard.pages.ledger import ledger_csv

    with engine.connect() as connection:
        rows = read_ledger(connection)
    read = list(csv.DictReader(io.StringIO(ledger_csv(rows).decode("utf-8-sig"))))
    assert [(row["day_utc"], row["class"], int(row["bytes"])) for row in read] == [
        (row.day, row.topic, row.size_bytes) for row in rows
    ]


@pytest.mark.parametrize(("language", "words"), [
    ("en", ("What left the plant", "No formal privacy guarantee", "model updates", "1.8 MB", "Page 1")),
    ("de", ("Was das Werk verlassen hat", "Keine formale Datenschutzgarantie", "Modellaktualisierungen", "Seite 1")),
])  # fmt: skip
def test_ledger_on_paper_says_the_same_and_the_same_bytes_each_time(engine, tmp_path, language, words):
    board = make_dashboard(tmp_path, Path(str(engine.url.database)))
    made = ledger_report(board, language=language, zone="Europe/Berlin")
    for word in words:
        assert word in pdf_text.words(made)
    assert made == ledger_report(board, language=language, zone="Europe/Berlin")


def test_plant_that_learns_alone_says_so_in_every_part(tmp_path):
    engine = create_tables(tmp_path / "site.db")
    assert "No round yet." in said(run(engine, tmp_path))
    with engine.begin() as connection:
        connection.execute(sa.insert(gateway).values(gateway="gw-a", online=True))
    assert "A single gateway: local learning only. gw-a learns" in said(run(engine, tmp_path)).replace("**", "")
    assert "Nothing to compare yet." in said(run(engine, tmp_path, part="benefit"))
    assert "No release yet:" in said(run(engine, tmp_path, part="releases"))
    page = run(engine, tmp_path, part="ledger")
    assert "Nothing has left this plant." in said(page)
    assert "Made up, of the form of a real one" in said(page)
    assert ledger_report(runtime.current(), language="en", zone="UTC").startswith(b"%PDF")
    engine.dispose()
    runtime.install(None)


def test_hostile_words_are_shown_as_text(engine, tmp_path):
    with engine.begin() as connection:
        connection.execute(sa.update(machine).values(title=HOSTILE))
        connection.execute(sa.update(learning_round).values(text=HOSTILE, state="void"))
        connection.execute(sa.update(release).values(stage_text=HOSTILE))
        connection.execute(sa.update(rollout).values(text=HOSTILE))
        connection.execute(sa.update(round_update).where(round_update.c.member == "gw-d").values(member=HOSTILE[:32]))
    for part in PARTS:
        page = run(engine, tmp_path, part=part)
        for element in [*page.markdown, *page.caption]:
            assert "<script>" not in element.value
            assert "[x](" not in element.value
        for element in page.get("html"):
            assert "<script>" not in element.proto.body


def test_reports_that_are_not_understood_are_left_out_and_the_page_stands(engine, tmp_path):
    with engine.begin() as connection:
        connection.execute(sa.update(rollout).values(gate={"version": "x"}, shadow=["no"]))
        connection.execute(sa.update(learning_round).values(metrics=["no"]))
        connection.execute(sa.update(release).values(evidence=3))
    for part in PARTS:
        run(engine, tmp_path, part=part)


def test_database_that_is_gone_is_explained(engine, tmp_path):
    page_of = Path(str(engine.url.database))
    engine.dispose()
    page_of.rename(tmp_path / "gone.db")
    assert "The site's database is not there" in said(run(engine, tmp_path))


def test_queries_read_by_key_or_index_and_never_the_parameters(engine):
    with engine.begin() as connection:
        connection.execute(sa.insert(ledger).values(day="2025-01-01", topic="reply", messages=1, bytes=1))
        found = read_federation(connection, round_id=1)
        plans = [
            " ".join(str(row) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}").all())
            for query in (
                "SELECT * FROM round_update WHERE round_id IN (1, 2)",
                "SELECT * FROM rollout WHERE release_version = 5",
                "SELECT * FROM release_event WHERE release_version = 5 ORDER BY event_id DESC",
                "SELECT count(*) FROM waiting_update WHERE level IN ('site') AND state = 'waiting'",
                "SELECT * FROM dead_letter WHERE reason = 'unknown_key' ORDER BY letter_id DESC",
            )
        ]
        assert len(read_fits(connection)) == 4
    assert len(found.rounds) == 12
    assert all("SEARCH" in plan and "SCAN" not in plan for plan in plans), plans


def test_comparison_of_a_machine_nobody_knows_any_more_is_still_counted(engine):
    with engine.begin() as connection:
        connection.execute(
            sa.insert(machine_fit).values(
                machine="gone-1", gateway="gw-a", release_version=4, auroc=0.5, auroc_local=0.9, loss=1, loss_local=1,
                rows=9, steps=9, at_us=1,
            )
        )  # fmt: skip
        assert next((fit.machine, fit.title) for fit in read_fits(connection)) == ("gone-1", "")


def test_round_of_a_large_fleet_is_shown_whole_however_many_others_there_are(engine):
    with engine.begin() as connection:
        connection.execute(
            sa.insert(round_update),
            [
                {"round_id": number, "member": f"many-{member:04}", "received_at_us": 1, "accepted": False,
                 "reason": "late" if member % 2 else "no_reply", "metrics": {}}
                for number in (5, 8, 9) for member in range(1200)
            ],
        )  # fmt: skip
        found = read_federation(connection, round_id=5)
    five = next(entry for entry in found.rounds if entry.row.round_id == 5)
    assert len(found.of_round(5)) == 1202
    assert (five.late_answers, five.no_answers) == (600, 600)
    assert len(found.updates) <= 1202 + UPDATES
