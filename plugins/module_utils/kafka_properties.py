# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""A file of Java's properties, as Kafka reads its server.properties."""

from __future__ import annotations

import re

COMMENTS = ("#", "!")
BLANK = " \t\f"
UNEVEN_BACKSLASHES = re.compile(r"(?<!\\)(\\\\)*\\$")
KEY_AND_VALUE = re.compile(r"((?:\\.|[^\\=: \t\f])*)[ \t\f]*[=:]?[ \t\f]*(.*)")
ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.)|$)")
CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


def read_properties(text: str) -> dict[str, str]:
    """Values by name; of a name that is there twice, the last. Kafka strips values."""
    found: dict[str, str] = {}
    lines = iter(re.split(r"\r\n|\n|\r", text))
    for line in lines:
        line = line.lstrip(BLANK)
        if not line or line.startswith(COMMENTS):
            continue
        while UNEVEN_BACKSLASHES.search(line):
            line = line[:-1] + next(lines, "").lstrip(BLANK)
        parts = KEY_AND_VALUE.fullmatch(line)
        if parts is not None:
            found[_unescaped(parts[1])] = _unescaped(parts[2]).strip()
    return found


def _unescaped(text: str) -> str:
    return ESCAPE.sub(
        lambda each: chr(int(each[1], 16)) if each[1] else CONTROLS.get(each[2], each[2] or ""),
        text,
    )
