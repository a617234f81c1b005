# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What patroni_restart plans, in which order, what it refuses, and asks of the members."""

from __future__ import annotations

from http.client import RemoteDisconnected
from typing import Any
from urllib.error import URLError

import pytest
from ansible_collections.bss.platform.plugins.module_utils.patroni import Group, Member
from ansible_collections.bss.platform.plugins.modules import patroni_restart
from ansible_collections.bss.platform.plugins.modules.patroni_restart import plan

ARGS: dict[str, Any] = {
    "members": [
        {"name": "us-w1", "url": "https://us-w1:8008", "group": 1},
        {"name": "us-w1b", "url": "https://us-w1b:8008", "group": 1},
    ],
    "timeout": 30,
}
ALONE = {"members": ARGS["members"][:1], "timeout": 30}


def leader(name: str, waits: bool = True, **others: Any) -> Member:
    values = {"role": "leader", "state": "running", **others}
    return Member(name=name, api_url=f"https://{name}:8008", pending_restart=waits, **values)


def standby(name: str, waits: bool = True, **others: Any) -> Member:
    return leader(name, waits, **{"role": "sync_standby", "state": "streaming", **others})


def lowers(setting: str, old: str = "100", new: str = "50") -> dict[str, dict[str, str]]:
    return {setting: {"old_value": old, "new_value": new}}


@pytest.mark.parametrize(
    ("members", "only", "sentences"),
    [
        pytest.param([leader("w", False), standby("wb", False)], [], [], id="nothing waits"),
        pytest.param([leader("w")], [], ["restart primary w of group 1"], id="alone, in place"),
        pytest.param(
            [leader("w"), standby("wb")],
            [],
            ["restart standby wb of group 1", "switch group 1 from w to wb, which restarts w"],
            id="standby first",
        ),
        pytest.param(
            [leader("w", False), standby("wb")],
            [],
            ["restart standby wb of group 1"],
            id="what was interrupted goes on: the standby",
        ),
        pytest.param(
            [leader("w"), standby("wb", False)],
            [],
            ["switch group 1 from w to wb, which restarts w"],
            id="what was interrupted goes on: the primary",
        ),
        pytest.param(
            [leader("w"), standby("wb"), standby("wc", role="replica")],
            [],
            [
                "restart standby wb of group 1",
                "restart standby wc of group 1",
                "switch group 1 from w to its best standby, which restarts w",
            ],
            id="several standbys",
        ),
        pytest.param(
            [leader("w"), standby("wb", role="replica", nofailover=True)],
            [],
            ["restart standby wb of group 1", "restart primary w of group 1"],
            id="the standby may not lead",
        ),
        pytest.param(
            [leader("w", pending_settings=lowers("max_connections")), standby("wb")],
            [],
            [
                "restart primary w of group 1, before its standbys, which may not have less "
                "max_connections",
                "restart standby wb of group 1",
            ],
            id="lowered",
        ),
        pytest.param(
            [leader("w", pending_settings=lowers("shared_buffers", "2GB", "1GB")), standby("wb")],
            [],
            ["restart standby wb of group 1", "switch group 1 from w to wb, which restarts w"],
            id="lowered, but no standby minds",
        ),
        pytest.param(
            [leader("w", pending_settings=lowers("max_connections", "50", "100")), standby("wb")],
            [],
            ["restart standby wb of group 1", "switch group 1 from w to wb, which restarts w"],
            id="raised",
        ),
        pytest.param(
            [leader("w", pending_settings=lowers("max_connections"))],
            [],
            ["restart primary w of group 1"],
            id="lowered, alone",
        ),
        pytest.param(
            [leader("w", False), standby("wb", False)],
            ["wb"],
            ["restart standby wb of group 1"],
            id="named",
        ),
    ],
)
def test_plan(members: list[Member], only: list[str], sentences: list[str]) -> None:
    todo = plan([Group(1, tuple(members))], only)
    assert not todo.refusals
    assert todo.sentences == sentences


def test_the_coordinators_group_comes_last() -> None:
    groups = [Group(0, (leader("c"),)), Group(2, (leader("v"),)), Group(1, (leader("w"),))]
    todo = plan(groups, [])
    assert todo.sentences == [
        "restart primary w of group 1",
        "restart primary v of group 2",
        "restart primary c of group 0",
    ]
    assert todo.diff == {
        "before": dict.fromkeys("cvw", "waits for a restart"),
        "after": dict.fromkeys("cvw", "restarted"),
    }


@pytest.mark.parametrize(
    ("group", "why"),
    [
        pytest.param(Group(1, (standby("wb"),)), "group 1 is not whole", id="no primary"),
        pytest.param(
            Group(1, (leader("w"), standby("wb", state="stopped"))), "not whole", id="stopped"
        ),
        pytest.param(
            Group(1, (leader("w"), standby("wb", state="running"))), "not whole", id="not streaming"
        ),
        pytest.param(
            Group(1, (leader("w", state="starting"), standby("wb"))), "not whole", id="starting"
        ),
        pytest.param(Group(1, (leader("w"),), missing=("wb",)), "not whole", id="missing"),
        pytest.param(Group(1, (leader("w"),), paused=True), "Patroni is paused", id="paused"),
    ],
)
def test_a_group_that_is_not_whole_is_refused_and_so_are_the_others(group: Group, why: str) -> None:
    todo = plan([group, Group(2, (leader("v"),))], ["nobody"])
    unknown, refusal = todo.refusals
    assert (unknown.asked, unknown.why) == ("restart of nobody", "no member has that name")
    assert why in refusal.why
    assert refusal.found == str(group)
    assert refusal.remedy


def test_a_group_in_which_nothing_waits_may_be_as_it_is() -> None:
    broken = Group(1, (leader("w", False), standby("wb", False, state="stopped")))
    todo = plan([broken, Group(2, (leader("v"),))], [])
    assert todo.sentences == ["restart primary v of group 2"]
    assert not todo.refusals


def test_nothing_is_sent_when_nothing_waits(members: Any) -> None:
    group = [members.leader("us-w1"), members.standby("us-w1b")]
    result = members.run(patroni_restart, members.look("us-w1", *group), ARGS)
    assert (result["changed"], result["plan"], result["requests"]) == (False, [], [])


def waiting(members: Any) -> list[dict[str, Any]]:
    return [
        members.leader("us-w1", pending_restart=True),
        members.standby("us-w1b", pending_restart=True),
    ]


def test_check_mode_sends_nothing(members: Any) -> None:
    script = members.look("us-w1", *waiting(members))
    result = members.run(patroni_restart, script, ARGS, check=True)
    assert result["changed"]
    assert result["plan"] == [
        "restart standby us-w1b of group 1",
        "switch group 1 from us-w1 to us-w1b, which restarts us-w1",
    ]
    assert result["requests"] == []


def test_standby_then_switchover(members: Any) -> None:
    first = members.look("us-w1", *waiting(members))
    between = members.look(
        "us-w1", members.leader("us-w1", pending_restart=True), members.standby("us-w1b")
    )
    script = [
        *first,
        # the standby
        *first,
        members.streams("us-w1b"),
        ('POST us-w1b/restart {"timeout": 30}', {}),
        members.streams("us-w1b", "after"),
        *between,
        members.leads("us-w1"),
        members.streams("us-w1b", "after"),
        # the lead
        *between,
        ('POST us-w1/switchover {"leader": "us-w1", "candidate": "us-w1b"}', {}),
        *members.look("us-w1", members.leader("us-w1b"), members.standby("us-w1")),
        members.leads("us-w1b", "after"),
        members.streams("us-w1", "after"),
    ]
    result = members.run(patroni_restart, script, ARGS)
    assert result["requests"] == [
        'POST https://us-w1b:8008/restart {"timeout": 30}',
        'POST https://us-w1:8008/switchover {"candidate": "us-w1b", "leader": "us-w1"}',
    ]
    assert members.clock.now == 0


def test_a_lone_primary_restarts_in_place(members: Any) -> None:
    look = members.look("us-w1", members.leader("us-w1", pending_restart=True))
    after = members.look("us-w1", members.leader("us-w1"))
    script = [
        *look,
        *look,
        members.leads("us-w1"),
        ('POST us-w1/restart {"timeout": 30}', {}),
        members.leads("us-w1", "after"),
        *after,
        members.leads("us-w1", "after"),
    ]
    result = members.run(patroni_restart, script, ALONE)
    assert result["plan"] == ["restart primary us-w1 of group 1"]
    assert result["changed"]


@pytest.mark.parametrize(
    "answer",
    [
        RemoteDisconnected("Remote end closed connection without response"),
        (503, "postgres is still starting"),
        (503, "restart already in progress"),
    ],
    ids=["lost", "starting", "in progress"],
)
def test_the_restart_itself_is_the_proof_and_not_the_answer(members: Any, answer: Any) -> None:
    look = members.look("us-w1", members.leader("us-w1", pending_restart=True))
    down = URLError("Connection refused")
    script = [
        *look,
        *look,
        members.leads("us-w1"),
        ('POST us-w1/restart {"timeout": 30}', answer),
        ("GET us-w1/patroni", down),
        # not restarted yet
        members.leads("us-w1", pending_restart=True),
        # restarted, and still starting
        members.leads("us-w1", started=None, state="starting"),
        # started, and it still waits for a restart
        members.leads("us-w1", "after", pending_restart=True),
        members.leads("us-w1", "after"),
        *look,
        members.leads("us-w1", "after"),
    ]
    result = members.run(patroni_restart, script, ALONE)
    assert (result["failed"], members.clock.now) == (False, 4 * 0.5)


def test_the_next_step_waits_until_commits_wait_for_a_standby_again(members: Any) -> None:
    first = members.look("us-w1", members.leader("us-w1"), members.standby("us-w1b"))
    fresh = members.standby("us-w1b", role="replica")
    script = [
        *first,
        *first,
        members.streams("us-w1b"),
        ('POST us-w1b/restart {"timeout": 30}', {}),
        members.streams("us-w1b", "after"),
        *members.look("us-w1", members.leader("us-w1"), fresh),
        members.streams("us-w1b", "after"),
        *first,
        members.leads("us-w1"),
        members.streams("us-w1b", "after"),
    ]
    result = members.run(patroni_restart, script, {**ARGS, "only": ["us-w1b"]})
    assert result["diff"] == {"before": {"us-w1b": "runs"}, "after": {"us-w1b": "restarted"}}
    assert members.clock.now == 0.5


@pytest.mark.parametrize(
    ("left", "said"),
    [([], "us-w1b (unknown to Patroni)"), (["starting"], "us-w1b (sync_standby, starting)")],
)
def test_a_group_that_loses_a_member_before_its_turn_is_not_touched(
    members: Any, left: list[str], said: str
) -> None:
    lost = [members.standby("us-w1b", state=state) for state in left]
    now = members.look("us-w1", members.leader("us-w1", pending_restart=True), *lost)
    script = [*members.look("us-w1", *waiting(members)), *now * (62 + 1)]
    result = members.run(patroni_restart, script, ARGS)
    assert result["msg"] == (
        "Waited 30 s for group 1 to be whole, so that us-w1b can be restarted, and it did not come "
        f"about. There is: us-w1 (leader, running, waits for a restart), {said}. What was done "
        "before stays; run the same again, it goes on from there."
    )


def test_a_restart_that_failed_is_told_in_patronis_words(members: Any) -> None:
    look = members.look("us-w1", members.leader("us-w1", pending_restart=True))
    script = [
        *look,
        *look,
        members.leads("us-w1"),
        ('POST us-w1/restart {"timeout": 30}', (503, "restart failed")),
    ]
    result = members.run(patroni_restart, script, ALONE)
    assert result["msg"].startswith(
        "Patroni refused POST https://us-w1:8008/restart: restart failed (status 503)."
    )


def test_a_plan_that_is_refused_sends_nothing(members: Any) -> None:
    script = members.look("us-w1", members.leader("us-w1", pending_restart=True))
    result = members.run(patroni_restart, script, ARGS)
    assert result["failed"]
    assert result["msg"] == (
        "Nothing was changed. restart of us-w1: group 1 is not whole, and a restart would take "
        "away what is left. There is: us-w1 (leader, running, waits for a restart), us-w1b "
        "(unknown to Patroni). To go on: bring its members back first (`patronictl list`, "
        "`journalctl -u patroni`)."
    )


def test_a_run_that_was_interrupted_goes_on_where_it_was(members: Any) -> None:
    """The answer to the switchover was lost for good; the lead has moved meanwhile."""
    script = members.look("us-w1", members.standby("us-w1"), members.leader("us-w1b"))
    assert not members.run(patroni_restart, script, ARGS)["changed"]
