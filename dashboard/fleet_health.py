"""This file knows what is wrong with a gateway by what it says of itself, in words, each with what to do next.

Pure: the numbers are the site's, the limits stand here with their reasons.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from dashboard import round_words, words
from dashboard.languages import tr
from dashboard.queries.fleet import FleetGateway
from schemas.messages import GatewayStatus

SITE_SILENT_S = 3600.0  # a site acknowledges every record within seconds
QUEUE_OLD_S = 600.0  # records go up about once a second
CLOCK_S = 5.0  # beyond it, captures of two gateways no longer line up on one axis
LEAST_FREE_BYTES = 1_000_000_000
LEAST_FREE_SHARE = 0.05
CERTIFICATE_DAYS = 7.0  # issued for 30, renewed by `aggregator renew`
BUSY_SHARE = 0.9  # of all processors over a minute
DAY_US = 86_400_000_000
DECLINED = "refused"  # the gateway's own word that it had too little to learn from: nothing to be mended
REFUSED_SHOWN_US = DAY_US  # every shift has seen it once

Badness = Literal["bad", "watch"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: what was found, and the next step."""

    badness: Badness
    found: str
    step: str


def usual_software(fleet: Iterable[FleetGateway]) -> str | None:
    """The version most gateways run; of equals the higher one. None while nobody has said."""
    counted = Counter(one.status.software for one in fleet if one.status is not None)
    return max(counted, key=lambda version: (counted[version], _order(version)), default=None)


def usual_settings(fleet: Iterable[FleetGateway]) -> dict[str, str]:
    """The hash of shared settings that more than half of the gateways of each software version have, if any has."""
    counted: dict[str, Counter[str]] = {}
    for one in fleet:
        if one.status is not None and one.status.settings_hash:
            counted.setdefault(one.status.software, Counter())[one.status.settings_hash] += 1
    best = {version: found.most_common(1)[0] for version, found in counted.items()}
    return {version: name for version, (name, count) in best.items() if 2 * count > counted[version].total()}


def differs(status: GatewayStatus, usual: Mapping[str, str]) -> bool:
    """Whether a gateway's shared settings are other than those of most of its software version."""
    return bool(status.settings_hash) and usual.get(status.software, status.settings_hash) != status.settings_hash


def problems(
    one: FleetGateway, *, now_us: int, software: str | None, current: int | None,
    settings: Mapping[str, str] | None = None,
) -> list[Problem]:  # fmt: skip
    """What is wrong with one gateway, worst first.

    Args:
        one: The gateway.
        now_us: Now.
        software: What most run.
        current: The release that is current.
        settings: As `usual_settings` gives them.
    """
    found = _of_presence(one, now_us)
    if one.status is not None:
        found += _of_host(one.status, now_us)
        found += _of_records(one.status)
        found += _of_versions(one, one.status, software, current)
        found += _of_settings(one.status, settings or {})
        found += _of_learning(one.status, now_us)
    if one.clock_ahead_s is not None and abs(one.clock_ahead_s) > CLOCK_S:
        seconds = f"{abs(one.clock_ahead_s):.1f}"
        ahead = one.clock_ahead_s > 0
        found.append(
            Problem(
                "watch",
                tr("its clock is {seconds} s ahead of the site's", seconds=seconds)
                if ahead
                else tr("its clock is {seconds} s behind the site's", seconds=seconds),
                tr(
                    "run a time service there (chrony, systemd-timesyncd): the order of data is safe, its times are not"
                ),
            )
        )
    return sorted(found, key=lambda problem: problem.badness != "bad")


def _of_presence(one: FleetGateway, now_us: int) -> list[Problem]:
    if one.online:
        return []
    if one.last_seen_us is None:
        seen = tr("it has never been heard")
        return [Problem("bad", seen, tr("start it with its bundle: `gateway-agent run --settings gateway.toml`"))]
    seen = tr("away since {span}", span=words.span((now_us - one.last_seen_us) / 1e6))
    step = tr(
        "look at power and network there, then at `gateway-agent status`; it goes on measuring by itself and delivers "
        "what it has stored"
    )
    return [Problem("bad", seen, step)]


def _of_host(status: GatewayStatus, now_us: int) -> list[Problem]:
    found = []
    free, whole = status.disk_free_bytes, status.disk_size_bytes
    if 0 < free < max(LEAST_FREE_BYTES, LEAST_FREE_SHARE * (whole or 0)):
        found.append(
            Problem(
                "bad", tr("only {free} of its disk are free", free=words.size(free)),
                tr("make room there, or lower `store` limits in gateway.toml; when it is full, captures wait in the "
                   "broker and the oldest are given up, which is counted"),
            )
        )  # fmt: skip
    if status.load_share is not None and status.load_share > BUSY_SHARE:
        load = status.load_share
        found.append(
            Problem(
                "watch",
                tr("its processors are busy to {share}", share=f"{load:.0%}") if load <= 1.0
                else tr("{count} tasks want each of its processors", count=f"{load:.1f}"),
                tr("see what else runs there; captures are judged later, none is lost"),
            )
        )  # fmt: skip
    if status.certificate_until_us is not None:
        left_us = status.certificate_until_us - now_us
        step = tr(
            "renew it: `aggregator renew {name} --settings site.toml --out DIR`, and put the bundle there",
            name=status.gateway,
        )
        if left_us <= 0:
            text = tr("its certificate ended {age}: the broker lets it in no more", age=words.age(-left_us / 1e6))
            found.append(Problem("bad", text, step))
        elif left_us < CERTIFICATE_DAYS * DAY_US:
            text = tr("its certificate ends in {span}", span=words.span(left_us / 1e6))
            found.append(Problem("watch", text, step))
    return found


def _of_records(status: GatewayStatus) -> list[Problem]:
    found = []
    if status.outbox_pending and status.outbox_oldest_s > QUEUE_OLD_S:
        text = tr("{count} records wait for the site, the oldest for {span}", count=status.outbox_pending,
                  span=words.span(status.outbox_oldest_s))  # fmt: skip
        found.append(Problem("bad", text, tr("see whether broker and site service run: `aggregator status`")))
    if status.site_heard_s is not None and status.site_heard_s > SITE_SILENT_S:
        text = tr("it has not heard the site for {span}", span=words.span(status.site_heard_s))
        found.append(
            Problem("bad", text, tr("its messages arrive and the answers do not: check its rights on the broker"))
        )
    unknown = status.dead_letters.get("unknown_machine", 0)
    if unknown:
        text = tr("{count} captures of machines that are not in its settings", count=unknown)
        step = tr(
            "add a `[[machines]]` table to gateway.toml; `gateway-agent dead-letters` names them and takes them in "
            "afterwards"
        )
        found.append(Problem("watch", text, step))
    others = sum(status.dead_letters.values()) - unknown
    if others:
        text = tr("{count} payloads could not be read", count=others)
        found.append(Problem("watch", text, tr("`gateway-agent dead-letters` shows each with its reason")))
    return found


def _of_versions(
    one: FleetGateway, status: GatewayStatus, software: str | None, current: int | None
) -> list[Problem]:  # fmt: skip
    found = []
    if status.release_problem:
        text = tr("trouble with a release: {problem}", problem=status.release_problem)
        found.append(Problem("bad", text, tr("it goes on with the one it has; the reason says what it lacks")))
    if software is not None and status.software != software:
        text = tr("software {version}, most run {usual}", version=status.software, usual=software)
        found.append(Problem("watch", text, tr("bring all gateways to one version; both understand each other")))
    if current is not None and one.release_version < current:
        text = tr("runs release {version}, current is {current}", version=one.release_version, current=current)
        found.append(Problem("watch", text, tr("it takes the current one by itself once it is online")))
    return found


def _of_learning(status: GatewayStatus, now_us: int) -> list[Problem]:
    last = status.learning.last_refused if status.learning is not None else None
    if last is None or last.reason == DECLINED or now_us - last.at_us > REFUSED_SHOWN_US:
        return []
    why, age = round_words.rejected_because(last.reason), words.age((now_us - last.at_us) / 1e6)
    told = f" ({last.text})" if last.text else ""
    if last.round_number:
        text = tr("what it learnt for round {number} did not count, {age}: {why}{told}", number=last.round_number,
                  age=age, why=why, told=told)  # fmt: skip
    else:
        text = tr("a message in its name was refused, {age}: {why}{told}", age=age, why=why, told=told)
    return [Problem("watch", text, round_words.what_to_do(last.reason))]


def _of_settings(status: GatewayStatus, usual: Mapping[str, str]) -> list[Problem]:
    found = []
    if status.plates_problem:
        text = tr("it does not take the uploaded nameplates: {problem}", problem=status.plates_problem)
        found.append(Problem("bad", text, tr("mend the row on the page of settings; until then it judges as before")))
    if differs(status, usual):
        text = tr("its settings differ from those of most gateways of version {version}", version=status.software)
        step = tr(
            "compare what `gateway-agent run --check-settings` shows on both: alarm, commissioning, ingest, learning, "
            "store; leave it if it is meant"
        )
        found.append(Problem("watch", text, step))
    return found


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdecimal() else -1 for part in version.split("."))
