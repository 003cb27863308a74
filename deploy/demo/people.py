"""This file knows who works in the demonstration plant, how they sign in, and how each site gets to know them.

They are made as anybody is: the first administrator by a one-time link, the others by hers. Each step is a sealed
request that the site checks, carries out and writes into its audit log.
"""

from collections.abc import Mapping

from dashboard.access import Visitor
from dashboard.errors import DashboardError
from dashboard.passwords import hash_password
from dashboard.people_door import LINK_US, PeopleDoor, digest_of, new_word
from dashboard.queries.assets import read_channels
from dashboard.queries.people import read_answer
from dashboard.runtime import Dashboard
from dashboard.settings import DashboardSettings
from deploy.demo.errors import StageFailed
from deploy.demo.names import PHONE, PROGRAM, AggregatorPlace
from deploy.demo.secret_files import ADMIN, Secrets
from schemas.notice_routes import Route
from schemas.requests import Role, Values
from schemas.settings import load_settings

OTHERS: Mapping[str, Role] = {"Emil": "engineer", "Nora": "analyst", "Tom": "technician", "Vera": "viewer"}
HERE = "make demo"
TOKEN_US = 365 * 86_400_000_000
ROUTES = (
    Route(name="Shift leader", channel=PHONE, notice=True),
    Route(name="Planning, by day", channel=PROGRAM, after_min=5, quiet_from="22:00", quiet_to="06:00"),
)


def knows_channels(site: AggregatorPlace) -> bool:
    """Whether a site's database lists the channels that routes name."""
    try:
        with _dashboard(site).reader.read() as connection:
            return {PHONE, PROGRAM} <= {channel.name for channel in read_channels(connection)}
    except DashboardError:
        return False


def introduce(site: AggregatorPlace, known: Secrets) -> bool:
    """Have a site know the people, their token and who is told of what; tells whether it did not know anybody yet.

    Raises:
        StageFailed: The site refused, or does not answer.
    """
    board = _dashboard(site)
    door = board.door
    if not isinstance(door, PeopleDoor):
        raise StageFailed(f"{site.name}: people come in by {board.settings.access.by!r}, 'people' expected")
    try:
        if not door.nobody_yet():
            return False
        door.create_first_admin(door.make_first_link(), ADMIN, known.password, HERE)
        hashed = hash_password(known.password)
        asked = [one for name, role in OTHERS.items() for one in _add(board, name, role, hashed)]
        token: Values = {
            "title": "demonstration", "role": "engineer", "token_digest": digest_of(known.token),
            "expires_at_us": board.now_us() + TOKEN_US,
        }  # fmt: skip
        asked.append(board.asker.ask("create_token", Visitor("Emil", "engineer", HERE), token))
        rows: Values = {"rows": [route.model_dump(mode="json") for route in ROUTES]}
        board.asker.ask_and_wait("set_routes", Visitor(ADMIN, "admin", HERE), rows)  # the last: all are answered
        with board.reader.read() as connection:
            answers = [read_answer(connection, request_id) for request_id in asked]
    except DashboardError as error:
        raise StageFailed(f"{site.name} does not get to know its people: {error}") from error
    refused = [answer for state, answer in filter(None, answers) if state != "done"]
    if refused:
        raise StageFailed(f"{site.name} does not get to know its people: {'; '.join(refused)}")
    return True


def _add(board: Dashboard, name: str, role: Role, hashed: str) -> tuple[str, str]:
    """Ask for a person, and as that person, by their link, for their password; the ids of both requests."""
    link = new_word()
    values: Values = {
        "person": name, "role": role, "link_digest": digest_of(link), "link_until_us": board.now_us() + LINK_US,
    }  # fmt: skip
    own: Values = {"password_hash": hashed, "used_link_digest": digest_of(link)}
    made = board.asker.ask("create_person", Visitor(ADMIN, "admin", HERE), values)
    return made, board.asker.ask("set_password", Visitor(name, role, HERE), own)


def _dashboard(site: AggregatorPlace) -> Dashboard:
    return Dashboard.build(load_settings(DashboardSettings, site.dashboard_folder / "dashboard.toml", {}))
