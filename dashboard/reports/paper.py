"""This file knows how a report looks on paper: fonts, headings, tables, page numbers; the same bytes for the same data.

Every text goes through `text`: whatever a name contains is printed as it is, never read as markup. Nothing depends on
when a report is made except what is printed as its time.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import reportlab
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfmetrics import registerFont, registerFontFamily
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)

from dashboard.languages import language, tr

INK, GREY, RULE, GROUND = HexColor("#22252a"), HexColor("#5b6068"), HexColor("#b9b9b2"), HexColor("#f0f0ec")
LEVEL_INK = {"danger": HexColor("#a50d18"), "alert": HexColor("#ad4700"), "notice": HexColor("#7a5e00")}
__all__ = [
    "FONT", "GREY", "INK", "RULE", "WIDTH", "Flowable", "Titled", "fonts", "gap", "heading", "line", "marked",
    "print_report", "style", "table", "text",
]  # fmt: skip
MARGIN = 18 * mm
WIDTH: float = A4[0] - 2 * MARGIN
LONGEST = 2000  # characters of one text; a page would not hold more
FONT, BOLD = "Vera", "VeraBd"
_REPLACED = {"→": "->", "✓": "+", "✕": "x", "■": "D", "▲": "C", "●": "N", "◆": "S", "▨": "?", "№": "No."}


@dataclass(frozen=True, slots=True)
class Titled:
    """What stands on every page.

    Attributes:
        plant: Whose report it is.
        about: Machine or span of time.
        made: When it was made, with its zone.
    """

    title: str
    plant: str
    about: str
    made: str


@cache
def fonts() -> frozenset[int]:
    """Make the fonts known; the characters they have."""
    folder = Path(reportlab.__file__).parent / "fonts"
    plain = TTFont(FONT, folder / "Vera.ttf")
    registerFont(plain)
    registerFont(TTFont(BOLD, folder / "VeraBd.ttf"))
    registerFontFamily(FONT, normal=FONT, bold=BOLD, italic=FONT, boldItalic=BOLD)
    return frozenset(plain.face.charToGlyph)


def text(said: object) -> str:
    """Make any text safe to print: no markup, no control characters, what the font lacks by its number."""
    known = fonts()
    plain = "".join(_REPLACED.get(c, c) for c in " ".join(str(said).split())[:LONGEST])
    return escape("".join(c if ord(c) in known else f"[U+{ord(c):04X}]" for c in plain if c.isprintable()))


def style(size: float = 9.0, *, bold: bool = False, grey: bool = False, space: float = 2.0) -> ParagraphStyle:
    """A way to print a paragraph."""
    fonts()
    return ParagraphStyle(
        f"{size}{bold}{grey}{space}", fontName=BOLD if bold else FONT, fontSize=size, leading=1.35 * size,
        textColor=GREY if grey else INK, spaceAfter=space, splitLongWords=True, wordWrap=None,
    )  # fmt: skip


def heading(said: str) -> Flowable:
    """A heading that stays with what follows."""
    made = style(11.5, bold=True, space=3.0)
    made.spaceBefore, made.keepWithNext = 10.0, 1
    return Paragraph(text(said), made)


def line(said: str, *, grey: bool = False, bold: bool = False) -> Flowable:
    """One paragraph."""
    return Paragraph(text(said), style(8.5 if grey else 9.5, grey=grey, bold=bold, space=3.0))


def marked(priority: str, word: str, said: str) -> Flowable:
    """A paragraph that begins with how bad it is: as a word, and in its colour."""
    colour = LEVEL_INK.get(priority, INK)
    return Paragraph(
        f'<font color="{colour.hexval().replace("0x", "#")}"><b>{text(word)}</b></font>  {text(said)}',
        style(9.5, space=2),
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], shares: Sequence[float]) -> Flowable:
    """A table with a heading on every page it runs over; columns as shares of the width."""
    cells: list[list[Any]] = [[Paragraph(text(name), style(7.8, grey=True)) for name in columns]]
    cells += [
        [value if isinstance(value, Flowable) else Paragraph(text(value), style(8.2)) for value in row] for row in rows
    ]
    whole = sum(shares)
    made = Table(cells, colWidths=[WIDTH * share / whole for share in shares], repeatRows=1)
    made.setStyle(
        TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LINEBELOW", (0, 0), (-1, 0), 0.7, RULE),
                ("LINEBELOW", (0, 1), (-1, -1), 0.25, RULE),
                ("LEFTPADDING", (0, 0), (-1, -1), 2),
                ("RIGHTPADDING", (0, 0), (-1, -1), 4),
                ("TOPPADDING", (0, 0), (-1, -1), 2),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 1),
            ]
        )
    )
    return made


def gap(height_mm: float = 3.0) -> Flowable:
    """Empty space."""
    return Spacer(1, height_mm * mm)


def print_report(titled: Titled, story: Sequence[Flowable]) -> bytes:
    """Lay a report out."""
    sink = io.BytesIO()
    document = BaseDocTemplate(
        sink, pagesize=A4, leftMargin=MARGIN, rightMargin=MARGIN, topMargin=26 * mm, bottomMargin=20 * mm,
        invariant=1, title=titled.title, author="Undertone", subject=f"{titled.plant}: {titled.about}",
        pageCompression=1, lang=language(),
    )  # fmt: skip
    frame = Frame(document.leftMargin, document.bottomMargin, document.width, document.height, 0, 0, 0, 0)

    def surround(canvas: Any, _document: Any) -> None:
        canvas.saveState()
        fonts()
        top = A4[1] - 14 * mm
        canvas.setFillColor(GREY)
        canvas.setFont(FONT, 8)
        canvas.drawString(MARGIN, top, _cut(f"{titled.plant} · {titled.title}", 70))
        canvas.drawRightString(A4[0] - MARGIN, top, _cut(titled.about, 60))
        canvas.setStrokeColor(RULE)
        canvas.setLineWidth(0.5)
        canvas.line(MARGIN, top - 2 * mm, A4[0] - MARGIN, top - 2 * mm)
        canvas.drawString(MARGIN, 11 * mm, _cut(titled.made, 90))
        canvas.drawRightString(A4[0] - MARGIN, 11 * mm, tr("Page {number}", number=canvas.getPageNumber()))
        canvas.restoreState()

    document.addPageTemplates([PageTemplate("page", [frame], onPage=surround)])
    first = [
        Paragraph(text(titled.title), style(16, bold=True, space=2)),
        Paragraph(text(f"{titled.plant} · {titled.about}"), style(10, grey=True, space=2)),
        Paragraph(text(titled.made), style(8.5, grey=True, space=4)),
    ]
    document.build([*first, *story])
    return sink.getvalue()


def _cut(said: str, longest: int) -> str:
    """A header's text: as `text`, but for a canvas, which reads no markup."""
    known = fonts()
    plain = "".join(c if ord(c) in known else "?" for c in " ".join(said.split()) if c.isprintable())
    return plain if len(plain) <= longest else plain[: longest - 1] + "…"
