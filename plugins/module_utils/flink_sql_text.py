# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""A script of Flink SQL taken apart, and what of it counts.

A comment and white space outside of literals do not count; a hint does, although it looks like a
comment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_TOKEN = re.compile(
    r"""
      (?P<hint>    /\*\+ .*? \*/ )
    | (?P<comment> (?: -- | // ) [^\n]* | /\* .*? \*/ )
    | (?P<quoted>  '(?: [^'] | '' )*' | `(?: [^`] | `` )*` | "(?: [^"] | "" )*" )
    | (?P<word>    [\w$]+ )
    | (?P<end>     ; )
    | (?P<space>   \s+ )
    | (?P<sign>    . )
    """,
    re.DOTALL | re.VERBOSE,
)

_PREPARING = ("CREATE", "DROP", "ALTER", "USE", "SET", "LOAD", "ADD")
_SETTING = re.compile(r"SET\s+'?(?P<key>[^'\s=]+)", re.IGNORECASE)
_SET_OPENS = ["EXECUTE", "STATEMENT", "SET", "BEGIN"]


def split_statements(script: str) -> list[str]:
    """The statements of a script in order, without comments; a set of statements is one."""
    return ["".join(parts).strip() for parts in _statements(script)]


def normalised(script: str) -> str:
    """The script with what does not count left out: equal where the meaning is."""
    statements = []
    for statement in split_statements(script):
        tokens = [
            " ".join(token.group().split()) if token.lastgroup == "hint" else token.group()
            for token in _TOKEN.finditer(statement)
            if token.lastgroup not in ("space", "comment")
        ]
        statements.append(" ".join(tokens))
    return ";\n".join(statements)


def words_of(statement: str, count: int) -> list[str]:
    """Its first words, in capitals."""
    found = (token.group().upper() for token in _TOKEN.finditer(statement) if _is_word(token))
    return [word for word, _ in zip(found, range(count), strict=False)]


def starts_job(statement: str) -> bool:
    """Whether it is one that Flink runs as a job: INSERT, or a set of them."""
    first = words_of(statement, 3)
    return (
        first[:1] == ["INSERT"]
        or first[:2] == ["EXECUTE", "INSERT"]
        or first == ["EXECUTE", "STATEMENT", "SET"]
    )


def only_prepares(statement: str) -> bool:
    """Whether it makes what a job needs, and starts none itself, as CREATE TABLE AS does."""
    words = words_of(statement, len(statement))
    if words[0] not in _PREPARING or "MATERIALIZED" in words[:4]:
        return False
    return "TABLE" not in words[:4] or not {*words} & {"SELECT", "VALUES"}


def setting_of(statement: str) -> str | None:
    """The key that a statement sets; None of another statement."""
    found = _SETTING.match(statement)
    return found["key"] if found else None


def explanation_of(statement: str) -> str:
    """The statement that lets Flink plan a job without running it."""
    bare = re.sub(r"^EXECUTE\s+", "", statement, flags=re.IGNORECASE)
    return f"EXPLAIN {bare}"


def _statements(script: str) -> Iterator[list[str]]:
    parts: list[str] = []
    words: list[str] = []
    for token in _TOKEN.finditer(script):
        if token.lastgroup == "comment":
            parts.append(" ")
        elif token.lastgroup == "end" and not _is_open_set(words):
            if words:
                yield parts
            parts, words = [], []
        else:
            if _is_word(token):
                words.append(token.group().upper())
            parts.append(token.group())
    if words:
        yield parts


def _is_open_set(words: Sequence[str]) -> bool:
    """Whether these are of a set of statements whose END has not come; CASE has one too."""
    return words[:4] == _SET_OPENS and words.count("END") <= words.count("CASE")


def _is_word(token: re.Match[str]) -> bool:
    return token.lastgroup == "word"
