"""This file knows the ledger on paper: what left the plant by class and day, with an example, and what it reveals."""

from dashboard import words
from dashboard.languages import speaking, tr
from dashboard.ledger_classes import CLASSES, class_content, class_words, example_of
from dashboard.pages.ledger import class_rows, ledger_rows, privacy_rows, privacy_words, total_words
from dashboard.queries.federation import LedgerRow, read_federation, read_ledger, read_ledger_total
from dashboard.reports import paper
from dashboard.reports.paper import Flowable
from dashboard.runtime import Dashboard


def ledger_report(board: Dashboard, *, language: str, zone: str) -> bytes:
    """Print the ledger as the database has it now."""
    with speaking(language):
        with board.reader.read() as connection:
            found = read_federation(connection)
            rows, total = read_ledger(connection), read_ledger_total(connection)
        made = words.moment(board.now_us(), zone)
        titled = paper.Titled(
            tr("What left the plant"), board.settings.title, _span(rows),
            tr("As of {at}; all times in {zone}", at=made, zone=zone),
        )  # fmt: skip
        examples: list[Flowable] = []
        for topic in CLASSES:
            example = example_of(topic.name, found)
            examples.append(paper.line(f"{class_words(topic.name)}: {class_content(topic.name)}", bold=True))
            examples += [paper.line(text, grey=True) for text in example.text.splitlines()]
            made_up = tr("Made up, of the form of a real one: this site has stored none.")
            examples.append(paper.line(tr("Made of what this site has stored.") if example.stored else made_up))
        story = [
            paper.line(_unmarked(total_words(total))), _table(class_rows(total), (28, 11, 11, 50)),
            paper.heading(tr("What an update reveals")), paper.line(_unmarked(privacy_words())),
            paper.table((tr("Measure"), tr("State"), tr("What it means")), privacy_rows(), (22, 18, 60)),
            paper.heading(tr("An example of each class")), *examples,
            paper.heading(tr("By day")), *_days(rows),
        ]  # fmt: skip
        return paper.print_report(titled, story)


def _days(rows: tuple[LedgerRow, ...]) -> list[Flowable]:
    if not rows:
        return [paper.line(tr("No day has an entry."))]
    return [_table(ledger_rows(rows), (16, 40, 14, 14, 16))]


def _table(rows: list[dict[str, str]], shares: tuple[int, ...]) -> Flowable:
    return paper.table(tuple(rows[0]), [tuple(row.values()) for row in rows], shares)


def _span(rows: tuple[LedgerRow, ...]) -> str:
    if not rows:
        return tr("No day has an entry.")
    return tr("{since} to {until}", since=min(row.day for row in rows), until=max(row.day for row in rows))


def _unmarked(text: str) -> str:
    return text.replace("**", "")
