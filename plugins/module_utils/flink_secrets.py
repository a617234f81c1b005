# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What must not be shown of a job: values whose key says that they are secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "********"

# As Flink itself has it (GlobalConfiguration), and Kafka's way to give a password.
_SECRET = re.compile(
    r"password|secret|fs\.azure\.account\.key|apikey|api-key|auth-params|service-key|token"
    r"|basic-auth|http-headers|jaas",
    re.I,
)
_SQL_OPTION = re.compile(r"'(?P<key>(?:[^']|'')*)'(?P<is>\s*=\s*)'(?:[^']|'')*'")
_ARGUMENT = re.compile(r"-{1,2}[^=]*")


def masked(value: Any) -> Any:
    """The same with secret values of mappings, SQL texts and program arguments hidden."""
    if isinstance(value, Mapping):
        return {
            key: MASK if _SECRET.search(str(key)) else masked(each) for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return _masked_arguments(list(value))
    return masked_sql(value) if isinstance(value, str) else value


def masked_sql(text: str) -> str:
    """The text with the values of secret table options hidden."""

    def hidden(option: re.Match[str]) -> str:
        if not _SECRET.search(option["key"]):
            return option.group()
        return f"'{option['key']}'{option['is']}'{MASK}'"

    return _SQL_OPTION.sub(hidden, text)


def _masked_arguments(values: list[Any]) -> list[Any]:
    shown: list[Any] = []
    for number, value in enumerate(values):
        before = values[number - 1] if number else None
        if isinstance(before, str) and _ARGUMENT.fullmatch(before) and _SECRET.search(before):
            shown.append(MASK)
        elif isinstance(value, str) and value.startswith("-") and "=" in value:
            key = value.partition("=")[0]
            shown.append(f"{key}={MASK}" if _SECRET.search(key) else value)
        else:
            shown.append(masked(value))
    return shown
