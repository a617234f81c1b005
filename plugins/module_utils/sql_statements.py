# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""An SQL script taken apart into its statements.

A driver sends a script as one message, and Citus then passes the whole message
on for each statement that it distributes. So a script goes statement by
statement, as psql sends it.
"""

from __future__ import annotations

import re

# What may hold a semicolon that ends nothing, what nests, and the semicolon itself.
_TOKEN = re.compile(
    r"""
      (?P<comment> --[^\n]* | /\*.*?\*/ )
    | (?P<quoted>  (?<!\w)[eE]'(?: [^'\\] | \\. | '' )*'
                 | '(?: [^'] | '' )*'
                 | "(?: [^"] | "" )*"
                 | (?<!\w)(?P<tag>\$(?:[A-Za-z_]\w*)?\$).*?(?P=tag) )
    | (?P<open>    \( )
    | (?P<close>   \) )
    | (?P<end>     ; )
    """,
    re.DOTALL | re.VERBOSE,
)


def split_statements(script: str) -> list[str]:
    """The statements of a script, in order, without comments and closing semicolons.

    Bodies of functions are taken as one only when quoted (``$$``); one of the form
    ``BEGIN ATOMIC`` falls apart, which PostgreSQL answers with a syntax error.
    """
    statements = []
    parts: list[str] = []
    depth = position = 0
    for token in _TOKEN.finditer(script):
        parts.append(script[position : token.start()])
        position = token.end()
        depth += (token.lastgroup == "open") - (token.lastgroup == "close")
        if token.lastgroup == "comment":
            parts.append(" ")
        elif token.lastgroup == "end" and depth == 0:
            statements.append("".join(parts).strip())
            parts = []
        else:
            parts.append(token.group())
    parts.append(script[position:])
    statements.append("".join(parts).strip())
    return [statement for statement in statements if statement]
