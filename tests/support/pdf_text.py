"""Reads the text of a PDF as a reader would: page by page, through each font's own table of characters.

Enough of PDF for reports as they are written here: one object after the other, Flate and ASCII85, single-byte fonts.
"""

import base64
import re
import zlib

_OBJECT = re.compile(rb"(\d+) 0 obj\s(.*?)\sendobj", re.DOTALL)
_STREAM = re.compile(rb"stream\r?\n(.*?)\r?\n?endstream", re.DOTALL)
_SHOWN = re.compile(rb"/(F\d+(?:\+\d+)?)\s+[\d.]+\s+Tf|\(((?:\\.|[^\\)])*)\)\s*Tj|(T\*|ET)", re.DOTALL)
_ESCAPED = re.compile(rb"\\([0-7]{1,3}|.)", re.DOTALL)
_PLAIN = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}


def pages(content: bytes) -> list[str]:
    """The text of each page.

    Raises:
        AssertionError: It is no whole PDF.
    """
    assert content.startswith(b"%PDF-1."), "no PDF header"
    assert content.rstrip().endswith(b"%%EOF"), "cut off"
    objects = {int(number): body for number, body in _OBJECT.findall(content)}
    fonts = {
        name.decode(): _characters(objects, objects[int(number)])
        for name, number in re.findall(rb"/(F\d+(?:\+\d+)?)\s+(\d+) 0 R", b"".join(objects.values()))
    }
    found = []
    for body in objects.values():
        if re.search(rb"/Type\s*/Page\b", body):
            number = re.search(rb"/Contents\s+(\d+) 0 R", body)
            assert number is not None
            found.append(_text(_stream(objects[int(number.group(1))]), fonts))
    assert found, "no page"
    return found


def words(content: bytes) -> str:
    """All text in one line."""
    return " ".join(" ".join(pages(content)).split())


def _stream(body: bytes) -> bytes:
    found = _STREAM.search(body)
    assert found is not None
    data = found.group(1)
    if b"ASCII85Decode" in body:
        data = base64.a85decode(data.strip().removesuffix(b"~>"))
    return zlib.decompress(data) if b"FlateDecode" in body else data


def _characters(objects: dict[int, bytes], font: bytes) -> dict[int, str]:
    number = re.search(rb"/ToUnicode\s+(\d+) 0 R", font)
    if number is None:
        return {}
    table = _stream(objects[int(number.group(1))])
    known: dict[int, str] = {}
    for part in re.findall(rb"beginbfrange(.*?)endbfrange", table, re.DOTALL):
        for low, high, start in re.findall(rb"<(\w+)>\s*<(\w+)>\s*<(\w+)>", part):
            known |= {
                code: chr(int(start, 16) + code - int(low, 16)) for code in range(int(low, 16), int(high, 16) + 1)
            }
        for low, _, listed in re.findall(rb"<(\w+)>\s*<(\w+)>\s*\[(.*?)\]", part, re.DOTALL):
            codes = re.findall(rb"<(\w+)>", listed)
            known |= {int(low, 16) + index: chr(int(code, 16)) for index, code in enumerate(codes)}
    for part in re.findall(rb"beginbfchar(.*?)endbfchar", table, re.DOTALL):
        known |= {int(code, 16): chr(int(said, 16)) for code, said in re.findall(rb"<(\w+)>\s*<(\w+)>", part)}
    return known


def _text(stream: bytes, fonts: dict[str, dict[int, str]]) -> str:
    said, font = [], {}
    for name, shown, ended in _SHOWN.findall(stream):
        if name:
            font = fonts.get(name.decode(), {})
        elif ended:
            said.append(" ")
        else:
            raw = _ESCAPED.sub(_unescape, shown)
            said.append("".join(font.get(code, chr(code)) for code in raw))
    return "".join(said)


def _unescape(found: re.Match[bytes]) -> bytes:
    code = found.group(1)
    return bytes([int(code, 8) & 255]) if code.isdigit() else _PLAIN.get(code, code)
