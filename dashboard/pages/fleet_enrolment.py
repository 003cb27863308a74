"""This file knows how a gateway joins: five steps to copy, each with what the site knows of it already."""

from dataclasses import dataclass
from typing import Literal

import streamlit as st

from dashboard import words
from dashboard.languages import tr
from dashboard.queries.fleet import (
    Enrolled,
    FleetGateway,
    UnknownDevice,
    read_enrolled,
    read_fleet,
    read_unknown_devices,
)
from dashboard.runtime import Dashboard
from schemas.errors import NameError_
from schemas.names import check_name

State = Literal["done", "open", "wrong"]
MARKS: dict[State, str] = {"done": "✓", "open": "○", "wrong": "✕"}
MACHINES = """[[machines]]
machine = "pump-07"
power_kw = 37.0
foundation = "rigid"
rpm = 1480.0
"""


@dataclass(frozen=True, slots=True)
class Step:
    """One step.

    Attributes:
        found: What the site knows of it.
        copied: A command, or text for a file; empty where there is nothing to copy.
    """

    title: str
    state: State
    found: str
    copied: str = ""
    language: str = "bash"


def show_enrolment(board: Dashboard) -> None:
    """Ask for a name, and show how far that gateway has come."""
    with board.reader.read() as connection:
        listed = read_enrolled(connection)
        fleet = {one.gateway: one for one in read_fleet(connection)}
        strangers, _ = read_unknown_devices(connection)
    waiting = next((one.name for one in listed.values() if one.kind == "gateway" and one.name not in fleet), "")
    with st.expander(tr("Add a gateway"), expanded=bool(waiting) or not fleet):
        name = st.text_input(
            tr("Name of the gateway"), value=waiting or f"gw-{len(fleet) + 1}", max_chars=32, key="enrol_name",
            width=320,
        )  # fmt: skip
        try:
            check_name(name)
        except NameError_:
            st.markdown("✕ " + tr("A name has 1 to 32 lower-case letters, digits and hyphens, the first no hyphen."))
            return
        for number, step in enumerate(
            steps(name, listed.get(name), fleet.get(name), strangers, now_us=board.now_us()), 1
        ):
            st.markdown(f"{MARKS[step.state]} **{number}. {step.title}**  \n{words.plain(step.found)}")
            if step.copied:
                st.code(step.copied, language=step.language)


def steps(
    name: str, listed: Enrolled | None, heard: FleetGateway | None, strangers: tuple[UnknownDevice, ...], *, now_us: int
) -> tuple[Step, ...]:
    """Say of each step whether it is done.

    Args:
        name: Of the gateway.
        listed: What the aggregator's lists have of it.
        heard: What was heard of it.
        strangers: Who was refused.
        now_us: Now.
    """
    spoke = heard is not None and heard.status is not None
    refused = next((one for one in strangers if one.sender == name), None)
    replace = " --replace" if listed is not None else ""
    again = f"aggregator enroll {name} --settings site.toml --out {name}{replace}"
    return (
        _key(listed, heard, again),
        _certificate(name, listed, heard, now_us),
        Step(
            tr("Carry its folder there"), "done" if spoke else "open",
            tr("it has spoken from there") if spoke else
            tr("the folder {name} holds a private key: by cable, stick or ssh, never by mail", name=name),
            "" if spoke else f"scp -r {name} {name}.local:",
        ),
        _first_message(name, heard, refused, now_us),
        _first_capture(heard),
    )  # fmt: skip


def _key(listed: Enrolled | None, heard: FleetGateway | None, again: str) -> Step:
    title = tr("Enrol it on the site: key, certificate and settings")
    if listed is None:
        if heard is not None and heard.status is not None:
            return Step(title, "done", tr("its key is known: what it signs is believed"))
        return Step(title, "open", tr("not on the site's list"), again)
    if listed.kind != "gateway":
        return Step(title, "wrong", tr("the name is taken by another kind of client: {kind}", kind=listed.kind))
    if listed.revoked or not listed.key_known:
        said = tr("it was revoked") if listed.revoked else tr("it is enrolled, but its key is not on the list of keys")
        return Step(title, "wrong", said, again)
    return Step(title, "done", tr("its key is known: what it signs is believed"))


def _certificate(name: str, listed: Enrolled | None, heard: FleetGateway | None, now_us: int) -> Step:
    title = tr("Its certificate for the broker")
    renew = f"aggregator renew {name} --settings site.toml --out {name}"
    told = heard.status.certificate_until_us if heard is not None and heard.status is not None else None
    until_us = told or (listed.certificate_until_us if listed is not None else None)
    if until_us is None:
        if listed is None:
            return Step(title, "open", tr("made with the key"))
        return Step(title, "done", tr("none: the broker on this machine asks for the password in the folder"))
    left_s = (until_us - now_us) / 1e6
    if left_s <= 0:
        return Step(title, "wrong", tr("it ended {age}", age=words.age(-left_s)), renew)
    return Step(title, "done", tr("holds for another {span}", span=words.span(left_s)))


def _first_message(name: str, heard: FleetGateway | None, refused: UnknownDevice | None, now_us: int) -> Step:
    title = tr("Start it there")
    start = f"gateway-agent run --settings {name}/gateway.toml"
    if heard is not None and heard.last_seen_us is not None:
        return Step(title, "done", tr("heard {age}", age=words.age((now_us - heard.last_seen_us) / 1e6)))
    if refused is not None:
        said = tr("somebody of this name was refused {age}: {text}", age=words.age((now_us - refused.last_us) / 1e6),
                  text=refused.text)  # fmt: skip
        return Step(title, "wrong", said, start)
    return Step(title, "open", tr("nothing was heard of it yet"), start)


def _first_capture(heard: FleetGateway | None) -> Step:
    title = tr("Name its machines in its settings, and let a sensor speak")
    if heard is not None and heard.points:
        return Step(title, "done", tr("{count} measurement points have spoken", count=heard.points))
    aside = heard.status.dead_letters.get("unknown_machine", 0) if heard is not None and heard.status is not None else 0
    if aside:
        said = tr("{count} captures of machines that are not in its settings were put aside", count=aside)
        return Step(title, "wrong", said, MACHINES, "toml")
    return Step(title, "open", tr("no capture yet"), MACHINES, "toml")
