# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The faults of pg_hba, from rows of pg_hba_file_rules."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.bss.platform.plugins.modules.citus_node_verify import hba_faults


def rule(kind: str, method: str | None, error: str | None = None) -> dict[str, Any]:
    return {
        "line_number": 3,
        "type": kind,
        "user_name": ["all"],
        "auth_method": method,
        "error": error,
    }


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (rule("local", "peer"), None),
        (rule("hostssl", "scram-sha-256"), None),
        (rule("hostnossl", "reject"), None),
        (rule("host", "reject"), None),
        (rule("host", "scram-sha-256"), "line 3 admits connections without TLS"),
        (rule("hostnossl", "cert"), "line 3 admits connections without TLS"),
        (rule("local", "trust"), "line 3 trusts whoever comes"),
        (rule("hostssl", "trust"), "line 3 trusts whoever comes"),
        (rule("", None, "invalid authentication method"), "line 3 is not understood"),
    ],
)
def test_rules(row: dict[str, Any], fault: str | None) -> None:
    found = hba_faults([row])
    assert [text[: len(fault or "")] for text in found] == ([fault] if fault else [])
