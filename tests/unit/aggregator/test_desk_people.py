"""Who may change people, and that a role in a request is worth no more than the role the person has."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.audit_book import verify, write_audit
from aggregator.command import main
from aggregator.database import open_current, writing
from schemas.database import sqlite_url
from schemas.messages import encode
from schemas.requests import REQUEST_TOPIC, Action, Request, Role
from schemas.signing import AllowedKey, KeyRing, Signer
from schemas.site_tables import api_token, audit, person, request
from tests.support.people import add_person, desk_of, hashed

DIGEST = "ab" * 32
HOUR_US = 3_600_000_000
_numbers = itertools.count(1)


class Site:
    """A desk, and a dashboard whose key it knows."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._signer = Signer.generate()
        self.desk = desk_of(engine, KeyRing([AllowedKey("board", "dashboard", self._signer.public)]))

    def ask(self, action: Action, actor: str, role: Role, values: dict[str, Any] | None = None, **more: Any) -> Any:
        request_id = f"{next(_numbers):032x}"
        asked = Request(
            request_id=request_id, action=action, actor=actor, role=role, values=values or {}, asked_at_us=0,
            came_from="10.0.0.7", **more,
        )  # fmt: skip
        with self.engine.begin() as connection:
            connection.execute(
                sa.insert(request).values(
                    request_id=request_id, sealed=self._signer.seal(REQUEST_TOPIC, encode(asked)), created_at_us=0
                )
            )
        self.desk.step()
        with self.engine.connect() as connection:
            return connection.execute(sa.select(request).where(request.c.request_id == request_id)).one()

    def person(self, name: str) -> Any:
        with self.engine.connect() as connection:
            return connection.execute(sa.select(person).where(person.c.name == name)).one_or_none()

    def book(self) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(sa.select(audit).order_by(audit.c.audit_id)))


@pytest.fixture
def site(engine: Engine) -> Site:
    return Site(engine)


@pytest.fixture
def staffed(site: Site) -> Site:
    """An administrator and a technician."""
    add_person(site.engine, "Ada", "admin")
    add_person(site.engine, "Tom", "technician")
    return site


def link(site: Site) -> dict[str, Any]:
    import time

    return {"link_digest": DIGEST, "link_until_us": time.time_ns() // 1000 + HOUR_US}


def test_first_administrator_is_made_once(site: Site) -> None:
    values = {"password_hash": hashed()}
    assert site.ask("create_first_admin", "Ada", "admin", values).state == "done"
    assert (site.person("Ada").role, site.person("Ada").password_hash) == ("admin", hashed())
    second = site.ask("create_first_admin", "Eve", "admin", values)
    assert (second.state, second.answer) == ("refused", "there are people already; an administrator can add you")
    assert site.person("Eve") is None


def test_password_itself_or_another_kind_of_hash_is_not_taken(site: Site) -> None:
    for wrong in ("hunter2hunter2", "$argon2i$v=19$m=65536,t=3,p=1$c2FsdHNhbHRzYWx0$" + "a" * 43, "", None):
        assert site.ask("create_first_admin", "Ada", "admin", {"password_hash": wrong}).state == "refused"
    assert site.person("Ada") is None


def test_hash_stays_nowhere_but_with_the_person(site: Site) -> None:
    asked = site.ask("create_first_admin", "Ada", "admin", {"password_hash": hashed()})
    assert asked.sealed == b""
    assert not any("argon2" in row.text + row.about for row in site.book())


def test_forged_role_is_refused_whatever_a_dashboard_has_sealed(staffed: Site) -> None:
    refused = staffed.ask("set_person", "Tom", "admin", {"person": "Tom", "role": "admin"})
    assert (refused.state, refused.answer) == ("refused", "Tom is a technician now, not a admin; sign in again")
    assert staffed.person("Tom").role == "technician"
    assert staffed.ask("close", "Tom", "engineer", machine="pump-07").answer.startswith("Tom is a technician now")


def test_stranger_and_barred_person_do_nothing_once_there_are_people(staffed: Site) -> None:
    assert "no person of this site" in staffed.ask("note", "Eve", "admin", machine="pump-07", note="x").answer
    staffed.ask("set_person", "Ada", "admin", {"person": "Tom", "state": "barred"})
    assert "barred" in staffed.ask("note", "Tom", "technician", machine="pump-07", note="x").answer


def test_demoted_persons_open_session_acts_no_more_and_is_over(staffed: Site) -> None:
    add_person(staffed.engine, "Eva", "engineer")
    before = staffed.person("Eva").sessions_from_us
    assert staffed.ask("set_person", "Ada", "admin", {"person": "Eva", "role": "viewer"}).state == "done"
    assert staffed.ask("acknowledge", "Eva", "engineer", machine="pump-07").state == "refused"
    assert staffed.person("Eva").sessions_from_us != before


@pytest.mark.parametrize("action", ["create_person", "set_person", "remove_person"])
@pytest.mark.parametrize("role", ["viewer", "technician", "analyst", "engineer"])
def test_only_administrators_change_people(staffed: Site, action: Action, role: Role) -> None:
    add_person(staffed.engine, "Eva", role)
    refused = staffed.ask(action, "Eva", role, {"person": "Tom", "role": "viewer"})
    assert refused.state == "refused"
    assert f"a {role} may not {action}" in refused.answer
    assert staffed.person("Tom").role == "technician"


def test_link_sets_a_password_once(staffed: Site) -> None:
    assert staffed.ask(
        "create_person", "Ada", "admin", {"person": "Eva", "role": "analyst", **link(staffed)}
    ).state == ("done")
    values = {"password_hash": hashed(), "used_link_digest": DIGEST}
    assert staffed.ask("set_password", "Eva", "analyst", values | {"used_link_digest": "cd" * 32}).state == "refused"
    assert staffed.ask("set_password", "Eva", "analyst", values).state == "done"
    again = staffed.ask("set_password", "Eva", "analyst", values)
    assert (again.state, again.answer[:26]) == ("refused", "this link was used already")


def test_nobody_chooses_a_password_for_somebody_else(staffed: Site) -> None:
    theirs = {"person": "Tom", "password_hash": hashed()}
    assert staffed.ask("set_password", "Ada", "admin", theirs).state == "refused"
    add_person(staffed.engine, "Eva", "engineer")
    refused = staffed.ask("set_password", "Eva", "engineer", {"person": "Tom", **link(staffed)})
    assert "may not set the password of somebody else" in refused.answer
    assert staffed.person("Tom").link_digest is None


@pytest.mark.parametrize(
    ("action", "values"),
    [
        ("remove_person", {"person": "Ada"}),
        ("set_person", {"person": "Ada", "role": "engineer"}),
        ("set_person", {"person": "Ada", "state": "barred"}),
    ],
)
def test_last_administrator_stays(staffed: Site, action: Action, values: dict[str, Any]) -> None:
    assert "last administrator" in staffed.ask(action, "Ada", "admin", values).answer
    add_person(staffed.engine, "Second", "admin")
    assert staffed.ask(action, "Second", "admin", values).state == "done"


@pytest.mark.parametrize("name", ["", " x", "a  b", "site", "Operator", "a\nb", "x" * 65, "\u202eadA", "ada"])
def test_names_that_could_be_taken_for_others_are_refused(staffed: Site, name: str) -> None:
    values = {"person": name, "role": "viewer", **link(staffed)}
    assert staffed.ask("create_person", "Ada", "admin", values).state == "refused"


def test_token_is_never_more_than_its_maker_and_goes_with_them(staffed: Site) -> None:
    import time

    values = {
        "title": "mes", "role": "admin", "token_digest": DIGEST, "expires_at_us": time.time_ns() // 1000 + HOUR_US
    }  # fmt: skip
    assert "cannot be one of a admin" in staffed.ask("create_token", "Tom", "technician", values).answer
    assert staffed.ask("create_token", "Tom", "technician", {**values, "role": "viewer"}).state == "done"
    assert staffed.ask("remove_token", "Ada", "admin", {"token_digest": "cd" * 32}).state == "refused"
    staffed.ask("remove_person", "Ada", "admin", {"person": "Tom"})
    with staffed.engine.connect() as connection:
        assert connection.execute(sa.select(api_token)).all() == []


def test_person_of_the_provider_gets_its_role_at_sign_in_and_never_replaces_one_with_a_password(staffed: Site) -> None:
    assert staffed.ask("sign_in", "Eva", "engineer", {"method": "oidc"}).state == "done"
    assert (staffed.person("Eva").source, staffed.person("Eva").role) == ("oidc", "engineer")
    staffed.ask("sign_in", "Eva", "viewer", {"method": "oidc"})
    assert staffed.person("Eva").role == "viewer"
    assert staffed.ask("sign_in", "Ada", "viewer", {"method": "oidc"}).state == "refused"
    assert staffed.person("Ada").role == "admin"
    staffed.ask("set_person", "Ada", "admin", {"person": "Eva", "state": "barred"})
    assert "barred" in staffed.ask("sign_in", "Eva", "engineer", {"method": "oidc"}).answer


def test_log_says_who_when_what_about_and_from_where(staffed: Site) -> None:
    staffed.ask("sign_in", "Tom", "technician", {"method": "password"})
    staffed.ask("sign_in", "Tom", "viewer", {"method": "password", "refused": "wrong password, 3 in a row"})
    staffed.ask("set_person", "Ada", "admin", {"person": "Tom", "role": "viewer"})
    said = [(row.actor, row.action, row.about, row.text, row.came_from) for row in staffed.book()]
    assert said == [
        ("Tom", "sign_in", "", "done: signed in by password as technician", "10.0.0.7"),
        ("Tom", "sign_in", "", "refused: wrong password, 3 in a row", "10.0.0.7"),
        (
            "Ada",
            "set_person",
            "person Tom",
            "done: Tom is a viewer and active, was a technician and active",
            "10.0.0.7",
        ),
    ]


def written(engine: Engine, rows: int) -> None:
    for number in range(rows):
        with writing(engine) as connection:
            write_audit(connection, at_us=number, actor="Ada", action="note", text=f"row {number}", about="pump-07")


def verified(engine: Engine, head: str | None = None) -> Any:
    with engine.connect() as connection:
        return verify(connection, head=head)


def test_whole_log_verifies_and_says_its_newest_seal(site: Site) -> None:
    written(site.engine, 5)
    found = verified(site.engine)
    assert (found.rows, found.broken_row, found.head) == (5, None, site.book()[-1].seal)


@pytest.mark.parametrize(
    "change", [{"text": "x"}, {"actor": "Eve"}, {"at_us": 99}, {"came_from": "y"}, {"about": ""}, {"seal": None}]
)
def test_changed_row_is_named_by_its_place(site: Site, change: dict[str, Any]) -> None:
    written(site.engine, 5)
    with site.engine.begin() as connection:
        connection.execute(sa.update(audit).where(audit.c.text == "row 2").values(**change))
    assert verified(site.engine).broken_row == 3


def test_removed_row_and_a_cut_end_are_found(site: Site) -> None:
    written(site.engine, 5)
    head = site.book()[-1].seal
    with site.engine.begin() as connection:
        connection.execute(sa.delete(audit).where(audit.c.text == "row 4"))
    assert verified(site.engine).broken_row is None
    assert not verified(site.engine, head).head_found
    with site.engine.begin() as connection:
        connection.execute(sa.delete(audit).where(audit.c.text == "row 1"))
    assert verified(site.engine).broken_row == 2


def test_rows_of_before_there_were_seals_are_counted_and_a_late_one_without_is_a_break(site: Site) -> None:
    bare = sa.insert(audit).values(at_us=0, actor="site", action="release", text="old")
    with site.engine.begin() as connection:
        connection.execute(bare)
    written(site.engine, 2)
    assert (verified(site.engine).unsealed, verified(site.engine).broken_row) == (1, None)
    with site.engine.begin() as connection:
        connection.execute(bare)
    assert verified(site.engine).broken_row == 4


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(
        f'name = "north"\nfolder = "{tmp_path}"\ndatabase_url = "{sqlite_url(tmp_path / "site.db")}"\n'
        "[broker]\nallow_anonymous = true\n"
    )
    return path


def test_commands_promote_remove_and_verify_where_nobody_can_sign_in(
    settings_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = open_current(sqlite_url(settings_file.parent / "site.db"))
    add_person(engine, "Tom", "technician", state="barred")
    use = ["--settings", str(settings_file)]
    assert main(["person", "promote", "Tom", *use]) == 0
    assert (Site(engine).person("Tom").role, Site(engine).person("Tom").state) == ("admin", "active")
    assert main(["person", "remove", "tom", *use]) == 2
    assert "no person 'tom'" in capsys.readouterr().err
    assert main(["person", "remove", "Tom", *use]) == 0
    assert main(["audit", "verify", *use]) == 0
    assert "2 rows hold together; newest seal" in capsys.readouterr().out
    assert main(["audit", "verify", "--head", "ab" * 32, *use]) == 1
    with engine.begin() as connection:
        connection.execute(sa.update(audit).where(audit.c.audit_id == 1).values(text="Tom is nobody"))
    engine.dispose()
    assert main(["audit", "verify", *use]) == 1
    assert "broken at row 1 of 2" in capsys.readouterr().out
