"""This file knows the page of an enterprise: which site needs somebody first, how fresh that is, what each has learnt.

Nothing is shown but what sites have told; everything they told is in their own ledgers of what left the plant.
"""

from collections import Counter
from collections.abc import Sequence

import streamlit as st

from dashboard import runtime, words
from dashboard.condition import LEVELS, LevelName
from dashboard.errors import DatabaseUnavailable
from dashboard.languages import tr
from dashboard.pages.addresses import machine_address
from dashboard.pages.explaining import explain_unavailable
from dashboard.pages.links import link, plain, show_list
from dashboard.pages.notice import show_notice
from dashboard.pages.strip import SEPARATOR
from dashboard.queries.sites import Enterprise, LastUpdate, read_enterprise
from dashboard.runtime import Dashboard
from dashboard.site_condition import SiteCondition, in_order, judge_site
from schemas.site_summary import NamedMachine


def show_sites() -> None:
    """Show all sites, worst first, and keep the list fresh."""
    board = runtime.current()
    st.fragment(_live_sites, run_every=board.settings.live.refresh_s)()


def show_sites_strip() -> None:
    """Show the line above every page of an enterprise, and keep it fresh."""
    board = runtime.current()
    st.fragment(_strip, run_every=board.settings.live.refresh_s)()


def strip_parts(sites: Sequence[SiteCondition]) -> list[str]:
    """The strip's texts, most important first; of silent sites nothing is counted."""
    if not sites:
        return [tr("no sites yet")]
    heard = [one for one in sites if not one.stale]
    parts = [
        f"**{tr('live')}**, {tr('{heard} of {all} sites heard', heard=len(heard), all=len(sites))}" if heard
        else f"**{tr('▨ stale')}**, {tr('no site is heard')}"
    ]  # fmt: skip
    totals = Counter[LevelName]()
    for one in heard:
        totals.update({level.name: count for level, count in one.needing})
    told = [f"{LEVELS[name].text}\u00a0{totals[name]}" for name in LEVELS if totals[name]]
    return parts + (told or ([tr("nothing abnormal at sites that report")] if heard else []))


def count_words(found: SiteCondition) -> str:
    """How many machines stand how, worst first; what is past has no colour."""
    states = {} if found.record.summary is None else found.record.summary.states
    parts = []
    for name, level in LEVELS.items():
        if states.get(name, 0):
            said = f"{level.mark} {level.letter} {level.said}".replace("  ", " ") if found.stale else level.text
            parts.append(f"{said}\u00a0{states[name]}")
    return "\u2003".join(parts) or tr("no machines yet")


def watch_words(found: SiteCondition) -> str:
    """Whether the watching at the site is in order; ages hold whatever the site's clock says."""
    summary = found.record.summary
    if summary is None:
        return ""
    newest = tr("no data yet")
    if summary.newest_data_us is not None:
        age_s = max(0.0, (summary.at_us - summary.newest_data_us) / 1e6) + (found.age_s or 0.0)
        newest = tr("newest data {age}", age=words.age(age_s))
    assessable = tr("{count} of {all} points assessable", count=summary.points_assessable, all=summary.points)
    online = tr("gateways {online} of {count} online", online=summary.gateways_online, count=summary.gateways)
    return SEPARATOR.join([assessable, online, newest])


def model_words(found: SiteCondition) -> str:
    """Which models run there, and what became of its last update."""
    summary, parts = found.record.summary, []
    if summary is not None:
        parts.append(
            tr("release {version} of the site on {count} of {all} gateways", version=summary.release_version,
               count=summary.gateways_current, all=summary.gateways)
        )  # fmt: skip
    runs = summary.fleet_version if summary is not None else found.record.fleet_version
    if runs:
        behind = tr("up to date") if not found.behind else tr("{count} behind", count=found.behind)
        parts.append(tr("in it release {version} of the enterprise ({behind})", version=runs, behind=behind))
    else:
        parts.append(tr("no release of the enterprise yet"))
    parts.append(_update_words(found.record.update))
    if summary is not None:
        parts.append(tr("software {version}", version=plain(summary.software)))
    return SEPARATOR.join(parts)


def _update_words(update: LastUpdate | None) -> str:
    if update is None:
        return tr("no update in the last rounds")
    if update.accepted:
        return tr("update merged in round {number}", number=update.round_id)
    return tr("update of round {number} refused: {reason}", number=update.round_id,
              reason=plain(words.rejection(update.reason)))  # fmt: skip


def _live_sites() -> None:
    board = runtime.current()
    try:
        enterprise = _read(board)
    except DatabaseUnavailable as problem:
        explain_unavailable(problem, shown_url=board.reader.shown_url)
        return
    if enterprise.machines:
        show_notice(
            tr('**This is the database of a site**: it has {count} machines of its own. Set `role = "site"` in '
               "dashboard.toml, or name the enterprise's database in `database_url`.", count=enterprise.machines)
        )  # fmt: skip
    if not enterprise.sites:
        _explain_no_sites()
        return
    sites = _judged(board, enterprise)
    st.header(tr("Sites"))
    if all(one.stale for one in sites):
        show_notice(
            tr("**No site is heard.** What you see is the past. Check the enterprise's broker and its service "
               "(`aggregator status --json`), then the uplinks of the sites.")
        )  # fmt: skip
    for one in sites:
        _show_site(board, one)
    st.caption(
        tr("Sites tell counts, ages and versions; machines are named only where a site's settings allow it. Whatever "
           "a site tells stands in its own ledger of what left the plant.")
    )  # fmt: skip


def _show_site(board: Dashboard, found: SiteCondition) -> None:
    record, now_us = found.record, board.now_us()
    address = board.settings.site_addresses.get(record.site)
    with st.container(border=True, key=f"site:{record.site}"):
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.markdown(f"**{words.plain(record.site)}** {found.level.text}", width="content")
            if address is not None:
                st.link_button(tr("Open its dashboard"), address, icon=":material/open_in_new:")
        st.markdown(_told_words(found))
        if record.summary is not None:
            st.markdown(count_words(found))
            st.caption(watch_words(found))
        st.caption(model_words(found))
        if record.summary is not None and record.summary.worst:
            show_list(
                (_machine_words(one, address, now_us) for one in record.summary.worst), title=tr("Worst machines")
            )


def _told_words(found: SiteCondition) -> str:
    if found.age_s is None:
        return tr(
            "▨ It has told nothing of its machines: its state is not known. It may be switched off there "
            "(`uplink.summary`), or an older release runs."
        )
    if not found.told:
        return tr("▨ It told something {age} that this release does not understand: its state is not known.",
                  age=words.age(found.age_s))  # fmt: skip
    if found.stale:
        return tr("▨ **Silent**: told {age}; what is below is the past.", age=words.age(found.age_s))
    return tr("told {age}", age=words.age(found.age_s))


def _machine_words(one: NamedMachine, address: str | None, now_us: int) -> str:
    level = LEVELS[one.state]
    title = one.title or one.machine
    named = plain(title) if address is None else link(title, f"{address.rstrip('/')}/{machine_address(one.machine)}")
    cause = f", {plain(words.cause(one.cause))}" if one.cause else ""
    seen = tr("acknowledged") if one.acknowledged else tr("nobody has acknowledged")
    since = words.age(max(0.0, (now_us - one.since_us) / 1e6))
    return f"{level.mark} {level.letter} {plain(level.said)}: {named}{cause}, {plain(since)}, {seen}"


def _strip() -> None:
    board = runtime.current()
    try:
        parts = strip_parts(_judged(board, _read(board)))
    except DatabaseUnavailable as problem:
        parts = [f"{LEVELS['unknown'].mark} **{tr('state not known')}**: {words.plain(problem.detail)}"]
    st.markdown(SEPARATOR.join([f"**{words.plain(board.settings.title)}**", *parts]))


def _read(board: Dashboard) -> Enterprise:
    def read() -> Enterprise:
        with board.reader.read() as connection:
            return read_enterprise(connection)

    return board.shared.get("enterprise", 0.8 * board.settings.live.refresh_s, read)


def _judged(board: Dashboard, enterprise: Enterprise) -> list[SiteCondition]:
    now_us, release = board.now_us(), enterprise.release_version
    return in_order(judge_site(one, now_us=now_us, release_version=release) for one in enterprise.sites)


def _explain_no_sites() -> None:
    st.header(tr("No sites yet"))
    st.markdown(
        tr("The enterprise's database is ready, but no site has told anything or learnt with others. An empty list is "
           "not good news: nothing is being watched here.")
    )  # fmt: skip
    steps = (
        tr("Enrol a site: `aggregator enroll SITE --as site --key FILE --settings enterprise.toml`"),
        tr("Put the enterprise's address into the site's settings, as `[uplink]`"),
        tr("The first summary makes the site appear here by itself, within five minutes"),
    )
    st.markdown(f"**{tr('What to do')}**\n\n" + "\n".join(f"1. {step}" for step in steps))
