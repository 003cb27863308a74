"""This file knows how gateways are shown: what is wrong with each and what to do, then all their figures."""

from collections.abc import Mapping

import streamlit as st

from dashboard import round_words, words
from dashboard.fleet_health import Problem, differs, problems, usual_settings, usual_software
from dashboard.languages import tr
from dashboard.pages.fleet_enrolment import show_enrolment
from dashboard.pages.notice import show_notice
from dashboard.queries.fleet import FleetGateway, Trial, read_current_release, read_fleet, read_trials
from dashboard.runtime import Dashboard
from schemas.messages import GatewayStatus


def show_gateways(board: Dashboard) -> None:
    """Show problems first, each with its next step, then one line a gateway."""
    with board.reader.read() as connection:
        fleet = read_fleet(connection)
        trials = read_trials(connection)
        current = read_current_release(connection)
    if not fleet:
        st.markdown(tr("**No gateway has joined this site.**"))
        show_enrolment(board)
        return
    now_us, usual, settings = board.now_us(), usual_software(fleet), usual_settings(fleet)
    wrong = {
        one.gateway: problems(one, now_us=now_us, software=usual, current=current, settings=settings) for one in fleet
    }
    st.markdown(fleet_words(fleet, wrong))
    for one in sorted(fleet, key=lambda each: not any(p.badness == "bad" for p in wrong[each.gateway])):
        _show_problems(one, wrong[one.gateway])
    st.dataframe(
        [gateway_row(one, wrong[one.gateway], trials.get(one.gateway), usual, now_us, settings) for one in fleet],
        hide_index=True, width="stretch",
    )  # fmt: skip
    st.caption(
        tr(
            "Clock: ahead of the site's at its last status, the way of the message included. Load: of its processors, "
            "over a minute. Settings: the same six signs stand for the same alarm, commissioning, ingest, learning and "
            "store settings; ≠ where most gateways of its version have others. Fields that a gateway does not say "
            "(older software) are left open."
        )
    )
    show_enrolment(board)


def fleet_words(fleet: tuple[FleetGateway, ...], wrong: dict[str, list[Problem]]) -> str:
    """How many there are, how many are there, and how many need somebody."""
    online = sum(one.online for one in fleet)
    bad = sum(any(problem.badness == "bad" for problem in found) for found in wrong.values())
    watch = sum(bool(found) and all(p.badness == "watch" for p in found) for found in wrong.values())
    said = tr("**{online} of {count} gateways online.**", online=online, count=len(fleet))
    if not bad and not watch:
        return f"{said} {tr('Nothing is wrong with any of them.')}"
    return f"{said} {tr('{bad} need somebody, {watch} are to be watched.', bad=bad, watch=watch)}"


def gateway_row(
    one: FleetGateway, wrong: list[Problem], trial: Trial | None, usual: str | None, now_us: int,
    settings: Mapping[str, str],
) -> dict[str, str]:  # fmt: skip
    """One line: what a gateway says of itself."""
    status = one.status
    state = "✓ " + tr("online") if one.online else "✕ " + tr("away")
    release = str(one.release_version)
    if trial is not None and trial.state != "running":
        release += f" ({trial.version}: {round_words.rollout_state(trial.state)})"
    return {
        tr("Gateway"): one.gateway,
        tr("State"): state,
        tr("Last seen"): words.NOT_KNOWN if one.last_seen_us is None else words.age((now_us - one.last_seen_us) / 1e6),
        tr("Problems"): _counted(wrong),
        tr("Points"): str(one.points),
        tr("Software"): _software(status, usual),
        tr("Settings"): _settings(status, settings),
        tr("Nameplates"): _nameplates(status),
        tr("Release"): release,
        tr("Clock"): words.NOT_KNOWN if one.clock_ahead_s is None else f"{round(one.clock_ahead_s, 1) + 0.0:+.1f} s",
        tr("Waiting records"): _queue(status),
        tr("Waiting captures"): words.NOT_KNOWN if status is None else str(status.ingest_queue),
        tr("Disk free"): _disk(status),
        tr("Memory"): words.NOT_KNOWN if status is None or not status.memory_bytes else words.size(status.memory_bytes),
        tr("Load"): words.NOT_KNOWN if status is None or status.load_share is None else f"{status.load_share:.0%}",
        tr("Certificate ends"): _certificate(status, now_us),
        tr("Captures"): words.NOT_KNOWN if status is None else str(status.captures_stored),
        tr("Missing / again"): _captures(status),
        tr("Updates refused"): _refused(status),
        tr("Refused payloads"): words.NOT_KNOWN if status is None else str(sum(status.dead_letters.values())),
    }


def _show_problems(one: FleetGateway, wrong: list[Problem]) -> None:
    if not wrong:
        return
    lines = [
        f"- {'✕' if problem.badness == 'bad' else '△'} **{words.plain(problem.found)}** → {problem.step}"
        for problem in wrong
    ]
    show_notice(f"**{words.plain(one.gateway)}**\n\n" + "\n".join(lines))


def _counted(wrong: list[Problem]) -> str:
    bad = sum(problem.badness == "bad" for problem in wrong)
    parts = ([f"✕ {bad}"] if bad else []) + ([f"△ {len(wrong) - bad}"] if len(wrong) > bad else [])
    return ", ".join(parts) or tr("none")


def _software(status: GatewayStatus | None, usual: str | None) -> str:
    if status is None:
        return words.NOT_KNOWN
    return status.software if status.software == usual else f"≠ {status.software}"


def _settings(status: GatewayStatus | None, usual: Mapping[str, str]) -> str:
    if status is None or not status.settings_hash:
        return words.NOT_KNOWN
    short = status.settings_hash[:6]
    return f"≠ {short}" if differs(status, usual) else short


def _nameplates(status: GatewayStatus | None) -> str:
    if status is None or status.plates_revision is None:
        return words.NOT_KNOWN
    if status.plates_problem:
        return "✕ " + tr("refused")
    return tr("its own") if not status.plates_revision else tr("sent, no. {number}", number=status.plates_revision)


def _queue(status: GatewayStatus | None) -> str:
    if status is None:
        return words.NOT_KNOWN
    if not status.outbox_pending:
        return "0"
    return f"{status.outbox_pending}, {words.span(status.outbox_oldest_s)}"


def _disk(status: GatewayStatus | None) -> str:
    if status is None or not status.disk_free_bytes:
        return words.NOT_KNOWN
    whole = f" ({status.disk_free_bytes / status.disk_size_bytes:.0%})" if status.disk_size_bytes else ""
    return words.size(status.disk_free_bytes) + whole


def _certificate(status: GatewayStatus | None, now_us: int) -> str:
    if status is None or status.certificate_until_us is None:
        return words.NOT_KNOWN
    left_s = (status.certificate_until_us - now_us) / 1e6
    return tr("in {span}", span=words.span(left_s)) if left_s > 0 else "✕ " + words.age(-left_s)


def _refused(status: GatewayStatus | None) -> str:
    """How often the site has not counted what it learnt, and the last reason, since the agent's start."""
    if status is None or status.learning is None:
        return words.NOT_KNOWN
    last = status.learning.last_refused
    count = sum(status.learning.refused.values())
    return str(count) if last is None else f"{count}: {round_words.rejected_because(last.reason)}"


def _captures(status: GatewayStatus | None) -> str:
    if status is None:
        return words.NOT_KNOWN
    expected = status.captures_stored + status.captures_gap
    share = f" ({status.captures_gap / expected:.1%})" if expected else ""
    return f"{status.captures_gap}{share} / {status.captures_duplicate}"
