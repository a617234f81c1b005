# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The faults of a group, from what Patroni's REST API says of it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.bss.platform.plugins.module_utils.patroni import Group, Member
from ansible_collections.bss.platform.plugins.modules.patroni_verify import (
    primary_faults,
    standby_faults,
    status_faults,
)

LEADER = Member("us-w1", "leader", "running", "https://us-w1:8008")
STATUS = {"state": "running", "role": "primary", "patroni": {"name": "us-w1"}}


def standby(**others: Any) -> Member:
    values = {"role": "sync_standby", "state": "streaming", **others}
    return Member(name="us-w1b", api_url="https://us-w1b:8008", **values)


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({}, None),
        ({"state": "starting"}, "PostgreSQL is starting"),
        ({"failsafe_mode_is_active": True}, "the quorum is lost"),
        ({"cluster_unlocked": True}, "no member holds the leader's lock"),
        ({"pause": True}, "failover is paused"),
    ],
)
def test_status(said: dict[str, Any], fault: str | None) -> None:
    found = status_faults({**STATUS, **said})
    assert [text[: len(fault or "")] for text in found] == ([fault] if fault else [])


@pytest.mark.parametrize(
    ("members", "status", "faults"),
    [
        ([LEADER, standby()], STATUS, []),
        ([standby()], STATUS, ["none of us-w1b leads", "us-w1 is declared but no member"]),
        ([LEADER], STATUS, ["us-w1b is declared but no member"]),
        (
            [Member("us-w1", "leader", "stopped", ""), standby()],
            STATUS,
            ["the leader us-w1 is stopped"],
        ),
        (
            [LEADER, standby()],
            {**STATUS, "patroni": {"name": "us-w1b"}},
            ["this member takes writes although us-w1 leads"],
        ),
        ([LEADER, standby()], {"role": "replica", "patroni": {"name": "us-w1b"}}, []),
    ],
)
def test_primary(members: list[Member], status: dict[str, Any], faults: list[str]) -> None:
    assert primary_faults(Group(1, tuple(members)), ["us-w1", "us-w1b"], status) == faults


@pytest.mark.parametrize(
    ("standbys", "lag", "fault"),
    [
        ([], 0, None),
        ([standby()], 1000, None),
        ([standby()], 1001, "us-w1b is 1001 bytes behind, allowed are 1000"),
        ([standby()], "unknown", "how far us-w1b is behind is unknown"),
        ([standby(state="running")], 0, "us-w1b does not stream, it is running"),
        ([standby(role="replica")], 0, "the group is set to be synchronous"),
    ],
)
def test_standbys(standbys: list[Member], lag: int | str, fault: str | None) -> None:
    group = Group(1, (LEADER, *standbys))
    found = standby_faults(group, {"us-w1b": lag}, synchronous=True, max_lag_bytes=1000)
    assert [text[: len(fault or "")] for text in found] == ([fault] if fault else [])


def test_an_asynchronous_group_needs_no_synchronous_standby() -> None:
    group = Group(1, (LEADER, standby(role="replica")))
    assert standby_faults(group, {"us-w1b": 0}, synchronous=False, max_lag_bytes=0) == []
