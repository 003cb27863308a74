"""This file knows the ledger of what left the plant, by class, day and byte, and says plainly what it reveals."""

import csv
import io
from collections.abc import Sequence

import streamlit as st

from dashboard import words
from dashboard.languages import LANGUAGES, language, tr
from dashboard.ledger_classes import CLASSES, class_content, class_words, example_of
from dashboard.pages.notice import show_notice
from dashboard.queries.federation import Federation, LedgerRow, read_ledger, read_ledger_total
from dashboard.runtime import Dashboard


def show_ledger(board: Dashboard, found: Federation) -> None:
    """Show what left, an example of each class, what an update reveals, and the same on paper."""
    with board.reader.read() as connection:
        rows, total = read_ledger(connection), read_ledger_total(connection)
    st.markdown(total_words(total))
    st.markdown("\n".join(class_lines(total)))
    _offer_files(board, rows)
    _show_privacy()
    st.subheader(tr("An example of each class"))
    for topic in CLASSES:
        example = example_of(topic.name, found)
        with st.expander(class_words(topic.name)):
            st.caption(class_content(topic.name))
            st.code(example.text, language=None, wrap_lines=True)
            st.caption(
                tr("Made of what this site has stored.") if example.stored
                else tr("Made up, of the form of a real one: this site has stored none.")
            )  # fmt: skip
    st.subheader(tr("By day"))
    if rows:
        st.dataframe(ledger_rows(rows), hide_index=True, width="stretch")
        st.caption(tr("The newest {count} lines; the CSV file holds the same.", count=len(rows)))
    else:
        st.markdown(tr("No day has an entry."))


def total_words(total: Sequence[LedgerRow]) -> str:
    """What left in all, in one sentence."""
    messages = sum(row.messages for row in total)
    if not messages:
        return tr("**Nothing has left this plant.** All classes of messages that could are below.")
    size = words.size(sum(row.size_bytes for row in total))
    return tr("**{size} in {messages} messages** have left this plant since {day}.", size=size, messages=messages,
              day=min(row.day for row in total))  # fmt: skip


def class_rows(total: Sequence[LedgerRow]) -> list[dict[str, str]]:
    """Every class that may leave, also those of which nothing has."""
    known = {row.topic: row for row in total}
    classes = [*(topic.name for topic in CLASSES), *sorted(set(known) - {topic.name for topic in CLASSES})]
    return [
        {
            tr("What"): f"{class_words(name)} ({name})",
            tr("Messages"): str(known[name].messages) if name in known else "0",
            tr("Size"): words.size(known[name].size_bytes) if name in known else "0 B",
            tr("What is in it"): class_content(name),
        }
        for name in classes
    ]


def class_lines(total: Sequence[LedgerRow]) -> list[str]:
    """The same as lines of a list, which a phone can show."""
    return [
        f"- **{words.plain(row[tr('What')])}**: "
        + tr("{messages} messages, {size}.", messages=row[tr("Messages")], size=row[tr("Size")])
        + f" {row[tr('What is in it')]}"
        for row in class_rows(total)
    ]


def ledger_rows(rows: Sequence[LedgerRow]) -> list[dict[str, str]]:
    """What left, by day and class."""
    return [
        {
            tr("Day (UTC)"): row.day,
            tr("What"): class_words(row.topic),
            tr("Class"): row.topic,
            tr("Messages"): str(row.messages),
            tr("Size"): words.size(row.size_bytes),
        }
        for row in rows
    ]


def ledger_csv(rows: Sequence[LedgerRow]) -> bytes:
    """The ledger for a spreadsheet."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\r\n")
    writer.writerow(("day_utc", "class", "messages", "bytes"))
    writer.writerows((row.day, row.topic, row.messages, row.size_bytes) for row in rows)
    return sink.getvalue().encode("utf-8-sig")


def privacy_rows() -> list[tuple[str, str, str]]:
    """What protects an update: the measure, whether it is on, what that means."""
    return [
        (tr("Raw signals and spectra"), tr("stay"), tr("They never leave the plant by these messages.")),
        (tr("Differential privacy"), tr("off"), tr("No formal privacy guarantee: there is no epsilon to state.")),
        (tr("Secure aggregation"), tr("off"), tr("The receiver sees each update by itself, and can reject a bad one.")),
        (tr("Sum of the site"), tr("on, towards the enterprise"),
         tr("It gets the merged update of the site, not those of its gateways; of one gateway these are the same.")),
        (tr("Clipping"), tr("on, from three updates on"),
         tr("At the merge, what is longer than the median is shortened to it. That limits what it does, not what it "
            "tells.")),
        (tr("Signature"), tr("on"), tr("Every message is signed with its sender's own key and refused without.")),
        (tr("Encryption on the way"), tr("with certificates"),
         tr("TLS where the broker asks for certificates; without, only on the machine itself.")),
    ]  # fmt: skip


def privacy_words() -> str:
    """What an update reveals, plainly."""
    return tr(
        "**No formal privacy guarantee.** Who holds a gateway's update can tell which machine it came from (in our "
        "tests among 20 every time) and estimate its mean spectrum (correlation 0.93 to 0.98). So an update is worth "
        "protecting like a measurement."
    )


def _show_privacy() -> None:
    st.subheader(tr("What an update reveals"))
    show_notice(privacy_words())
    st.markdown("\n".join(f"- **{measure}: {state}.** {meaning}" for measure, state, meaning in privacy_rows()))


def _offer_files(board: Dashboard, rows: Sequence[LedgerRow]) -> None:
    spoken, zone = language(), st.context.timezone or "UTC"

    def make() -> bytes:
        from dashboard.reports.ledger import ledger_report

        return ledger_report(board, language=spoken, zone=zone)

    with st.container(horizontal=True):
        st.download_button(
            f"{tr('Ledger as PDF')} ({LANGUAGES[spoken]})", make, "ledger.pdf", "application/pdf",
            key=f"ledger_pdf:{spoken}", on_click="ignore", type="primary", icon=":material/picture_as_pdf:",
        )  # fmt: skip
        st.download_button(
            "CSV", ledger_csv(rows), "ledger.csv", "text/csv", key="ledger_csv", on_click="ignore",
            icon=":material/download:",
        )  # fmt: skip
