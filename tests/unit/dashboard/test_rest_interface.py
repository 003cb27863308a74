"""The interface for programs: it answers what its description promises, to whom it may, and nothing more."""

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from starlette.applications import Starlette

from dashboard.access import Visitor
from dashboard.api.acting import ACTIONS
from dashboard.api.callers import BURST, WRONG_BURST, Allowance
from dashboard.api.routes import MAX_BODY_BYTES, PREFIX, api_routes
from dashboard.components.session_cookie import cookie_name
from dashboard.runtime import Dashboard
from schemas.database import open_database, sqlite_url
from schemas.requests import ALLOWED, REQUEST_TOPIC, ROLES, Request
from schemas.site_tables import audit, machine_case, person, request
from tests.support.asgi import Client, served
from tests.support.dashboards import make_dashboard, token_of
from tests.support.people import add_person, add_token, bearer, desk_of, ring_of
from tests.support.site_database import NOW_US

PROBLEM = "application/problem+json"
FILLED = {"machine": "pump-07", "position": "nde", "case_id": "1", "request_id": "0" * 32}


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def engine(plant_copy: Path) -> Iterator[Engine]:
    opened = open_database(sqlite_url(plant_copy))
    for role in ROLES:
        add_person(opened, role, role)
    yield opened
    opened.dispose()


@pytest.fixture
def board(plant_copy: Path, tmp_path: Path) -> Dashboard:
    return make_dashboard(tmp_path, plant_copy, by="people")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(board: Dashboard, engine: Engine, clock: Clock) -> Iterator[Client]:
    with served(Starlette(routes=api_routes(board, now_s=clock))) as opened:
        yield opened


@pytest.fixture
def admin(engine: Engine) -> dict[str, str]:
    return bearer(add_token(engine, "admin", "admin"))


def described(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"{PREFIX}/openapi.json").json()
    return found


def reading_paths(client: Client) -> list[str]:
    return [path for path, methods in described(client)["paths"].items() if "get" in methods]


def filled(path: str, client: Client, headers: dict[str, str]) -> str:
    if "{position}" in path:
        points = client.get(f"{PREFIX}/points?machine=pump-07", headers=headers).json()
        path = path.replace("{position}", points[0]["point"].partition("/")[2])
    if "{evidence_id}" in path:
        point = client.get(f"{PREFIX}/points?machine=pump-07", headers=headers).json()[0]["point"]
        listed = client.get(f"{PREFIX}/points/{point}/evidence", headers=headers).json()
        path = path.replace("{evidence_id}", listed["items"][0]["evidence_id"])
    return PREFIX + re.sub(r"\{(\w+)\}", lambda found: FILLED[found.group(1)], path)


def require_promised(answer: Any, promised: dict[str, Any], components: dict[str, Any]) -> None:
    """What came is what the description says: status, kind, every field."""
    said = promised["responses"][str(answer.status_code)]["content"]
    kind = answer.headers["content-type"].partition(";")[0]
    assert kind in said
    schema = {**said[kind]["schema"], "components": components}
    jsonschema.Draft202012Validator(schema).validate(answer.json())


def test_every_reading_path_answers_as_it_is_described(client, admin):
    whole = described(client)
    for path in reading_paths(client):
        answer = client.get(filled(path, client, admin), headers=admin)
        assert answer.status_code == (404 if path.startswith("/requests") else 200), path
        require_promised(answer, whole["paths"][path]["get"], whole["components"])
        assert answer.headers["cache-control"] == "no-store"


def test_every_path_is_closed_without_a_token_and_says_so_as_described(client, admin):
    whole = described(client)
    for path, methods in whole["paths"].items():
        for method, promised in methods.items():
            answer = client.request(method, filled(path, client, admin), json={} if method == "post" else None)
            assert answer.status_code == 401, path
            assert answer.headers["content-type"] == PROBLEM
            require_promised(answer, promised, whole["components"])


def test_every_action_of_the_pages_is_there_and_none_about_people(client):
    paths = described(client)["paths"]
    assert {path.removeprefix("/actions/") for path in paths if path.startswith("/actions/")} == set(ACTIONS)
    assert not [path for path in paths if "person" in path or "password" in path]


@pytest.mark.parametrize("role", ROLES)
def test_actions_are_taken_from_those_who_may_and_refused_to_others(client, engine, board, role):
    whole, headers = described(client), bearer(add_token(engine, role, role))
    for action in ACTIONS:
        answer = client.post(f"{PREFIX}/actions/{action}", json={"machine": "pump-07"}, headers=headers)
        assert answer.status_code == (202 if role in ALLOWED[action] else 403), action
        require_promised(answer, whole["paths"][f"/actions/{action}"]["post"], whole["components"])
    with engine.connect() as connection:
        rows = connection.execute(sa.select(request)).all()
    assert {row.action for row in rows} == {action for action in ACTIONS if role in ALLOWED[action]}
    for row in rows:
        asked = Request.model_validate_json(ring_of(board).open(REQUEST_TOPIC, row.sealed, role="dashboard"))
        assert (asked.actor, asked.role, asked.came_from) == (role, role, "127.0.0.1")


def test_acknowledging_by_a_program_reaches_the_case_and_the_answer_is_found(client, engine, board):
    headers = bearer(add_token(engine, "technician", "technician"))
    body = {"machine": "pump-07", "case_id": 1, "note": "on it"}
    answer = client.post(f"{PREFIX}/actions/acknowledge", json=body, headers=headers)
    desk_of(engine, ring_of(board)).step()
    followed = client.get(answer.json()["follow"], headers=headers).json()
    assert (followed["state"], followed["actor"]) == ("sent", "technician")
    with engine.connect() as connection:
        assert connection.scalar(sa.select(machine_case.c.acknowledged_by).where(machine_case.c.case_id == 1))
        assert connection.execute(sa.select(audit.c.came_from).order_by(audit.c.audit_id.desc())).scalars().first()
    other = bearer(add_token(engine, "viewer", "viewer"))
    assert client.get(answer.json()["follow"], headers=other).status_code == 404


def test_token_never_does_more_than_its_person_may_now(client, engine):
    headers = bearer(add_token(engine, "admin", "admin"))
    assert client.get(f"{PREFIX}/audit", headers=headers).status_code == 200
    with engine.begin() as connection:
        connection.execute(sa.update(person).where(person.c.name == "admin").values(role="viewer"))
    assert client.get(f"{PREFIX}/audit", headers=headers).status_code == 403
    assert client.get(f"{PREFIX}/me", headers=headers).json() == {"name": "admin", "role": "viewer"}
    with engine.begin() as connection:
        connection.execute(sa.update(person).where(person.c.name == "admin").values(state="barred"))
    assert client.get(f"{PREFIX}/me", headers=headers).status_code == 401


def test_token_of_a_lower_role_stays_there(client, engine):
    headers = bearer(add_token(engine, "admin", "viewer"))
    assert client.get(f"{PREFIX}/me", headers=headers).json()["role"] == "viewer"
    assert client.get(f"{PREFIX}/audit", headers=headers).status_code == 403


def test_old_token_opens_nothing(client, engine):
    assert client.get(f"{PREFIX}/me", headers=bearer(add_token(engine, "admin", "admin", expires_at_us=NOW_US)))\
        .status_code == 401  # fmt: skip


def test_session_of_a_page_reads_from_its_own_origin_alone_and_never_acts(client, board, engine):
    word = board.door._sessions.open(Visitor("analyst", "analyst"), generation=1)
    client.cookies[cookie_name(board.settings.port)] = word
    assert client.get(f"{PREFIX}/me").json() == {"name": "analyst", "role": "analyst"}
    assert client.get(f"{PREFIX}/me", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200
    assert client.get(f"{PREFIX}/me", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    acted = client.post(f"{PREFIX}/actions/close", json={"machine": "pump-07"})
    assert acted.status_code == 403
    with engine.connect() as connection:
        assert connection.execute(sa.select(request)).first() is None


def test_trend_is_read_in_pieces_without_a_hole_or_a_row_twice(client, admin):
    point = client.get(f"{PREFIX}/points?machine=pump-07", headers=admin).json()[0]["point"]
    whole = client.get(f"{PREFIX}/points/{point}/trend?limit=300", headers=admin).json()["items"]
    pieces: list[int] = []
    cursor = ""
    while len(pieces) < 200:
        found = client.get(f"{PREFIX}/points/{point}/trend?limit=70{cursor}", headers=admin).json()
        pieces += [item["measured_at"]["us"] for item in found["items"]]
        if found["next"] is None:
            break
        cursor = f"&cursor={found['next']}"
    wanted = [item["measured_at"]["us"] for item in whole]
    assert pieces == wanted[: len(pieces)]
    assert len(pieces) >= 200
    assert pieces == sorted(set(pieces), reverse=True)


def test_times_are_utc_and_microseconds_and_say_the_same(client, admin):
    said = client.get(f"{PREFIX}/plant", headers=admin).json()["now"]
    assert said["utc"].endswith("Z")
    stamp = dt.datetime.fromisoformat(said["utc"])
    assert (stamp - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1) == said["us"] == NOW_US


@pytest.mark.parametrize(
    "path",
    ["cases?limit=501", "cases?limit=0", "cases?state=x", "cases?cursor=x", "rounds?cursor=1:2", "machines/UPPER",
     "evidence/gw:1", "points/a/b/trend?from_us=-1", "ledger?cursor=1"],
)  # fmt: skip
def test_what_cannot_be_understood_is_said_as_a_problem(client, admin, path):
    answer = client.get(f"{PREFIX}/{path}", headers=admin)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json()["detail"]


def test_unknown_things_and_paths_are_problems_too(client, admin):
    for path in ("machines/nobody", "cases/999", "no-such-path"):
        answer = client.get(f"{PREFIX}/{path}", headers=admin)
        assert (answer.status_code, answer.headers["content-type"]) == (404, PROBLEM)
    assert client.put(f"{PREFIX}/plant", headers=admin).headers["content-type"] == PROBLEM


def test_body_that_is_too_large_is_not_read(client, admin):
    answer = client.post(f"{PREFIX}/actions/note", content=b"x" * (MAX_BODY_BYTES + 1), headers=admin)
    assert answer.status_code == 413


def test_too_many_requests_are_told_how_long_to_wait(client, admin, clock):
    for _ in range(int(BURST)):
        assert client.get(f"{PREFIX}/me", headers=admin).status_code == 200
    answer = client.get(f"{PREFIX}/me", headers=admin)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    clock.now_s += 1.0
    assert client.get(f"{PREFIX}/me", headers=admin).status_code == 200


def test_guessing_tokens_is_slowed_and_told_once_a_minute(client, engine, clock):
    statuses = [client.get(f"{PREFIX}/me", headers=bearer(f"ut_{i}")).status_code for i in range(int(WRONG_BURST) + 3)]
    assert statuses == [401] * int(WRONG_BURST) + [429] * 3
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(request)) == 1


def test_callers_remembered_are_bounded(clock):
    from dashboard.api.callers import MAX_CALLERS

    allowance = Allowance(1.0, 1.0, clock)
    for number in range(MAX_CALLERS + 50):
        allowance.take(str(number))
    assert len(allowance._left) == MAX_CALLERS


def test_health_says_when_the_database_is_gone(client, plant_copy, tmp_path):
    assert client.get("/healthz").json() == {"status": "ok"}
    plant_copy.rename(tmp_path / "away.db")
    answer = client.get("/healthz")
    assert (answer.status_code, answer.headers["content-type"]) == (503, PROBLEM)


def test_description_for_people_needs_no_foreign_host_and_no_script(client):
    page = client.get(f"{PREFIX}/docs")
    assert page.status_code == 200
    assert "<script" not in page.text
    assert not re.search(r"(?:src|href)=.?(?:https?:)?//", page.text)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "/api/v1/actions/acknowledge" in page.text


def test_token_of_a_demonstration_reads_and_acts_in_the_role_of_the_settings(plant_copy, tmp_path, clock):
    board = make_dashboard(tmp_path, plant_copy, role="technician")
    with served(Starlette(routes=api_routes(board, now_s=clock))) as client:
        assert client.get(f"{PREFIX}/me", headers=bearer(token_of(board))).json()["role"] == "technician"
        assert client.get(f"{PREFIX}/me", headers=bearer("wrong")).status_code == 401
