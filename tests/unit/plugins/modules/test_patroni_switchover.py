# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What patroni_switchover plans, refuses, and asks of the members of a group."""

from __future__ import annotations

from http.client import RemoteDisconnected
from typing import Any
from urllib.error import URLError

import pytest
from ansible_collections.bss.platform.plugins.module_utils.patroni import Group, Member
from ansible_collections.bss.platform.plugins.modules import patroni_switchover
from ansible_collections.bss.platform.plugins.modules.patroni_switchover import plan

W1 = Member("us-w1", "leader", "running", "https://us-w1:8008")
ARGS = {
    "members": [
        {"name": "us-w1", "url": "https://us-w1:8008", "group": 1},
        {"name": "us-w1b", "url": "https://us-w1b:8008", "group": 1},
    ],
    "switchovers": [{"group": 1, "candidate": "us-w1b"}],
    "timeout": 30,
}
POST = 'POST us-w1/switchover {"leader": "us-w1", "candidate": "us-w1b"}'


def standby(name: str = "us-w1b", **others: Any) -> Member:
    values = {"role": "sync_standby", "state": "streaming", "lag_bytes": 0, **others}
    return Member(name=name, api_url=f"https://{name}:8008", **values)


def wish(candidate: str = "us-w1b", group: int = 1) -> dict[str, Any]:
    return {"group": group, "candidate": candidate}


@pytest.mark.parametrize(
    ("standbys", "candidate", "sentences"),
    [
        pytest.param([standby()], "us-w1b", ["switch group 1 from us-w1 to us-w1b"], id="named"),
        pytest.param([standby()], "", ["switch group 1 from us-w1 to us-w1b"], id="the only one"),
        pytest.param([standby()], "us-w1", [], id="leads already"),
        pytest.param([], "us-w1", [], id="leads already, alone"),
        pytest.param(
            [standby(role="replica"), standby("us-w1c")],
            "",
            ["switch group 1 from us-w1 to us-w1c"],
            id="the synchronous one",
        ),
        pytest.param(
            [standby(role="replica", lag_bytes=9), standby("us-w1c", role="replica")],
            "",
            ["switch group 1 from us-w1 to us-w1c"],
            id="the one with the least lag",
        ),
        pytest.param(
            [standby(role="replica", nofailover=True), standby("us-w1c", role="replica")],
            "",
            ["switch group 1 from us-w1 to us-w1c"],
            id="the one that may",
        ),
        pytest.param(
            [standby(role="replica")],
            "us-w1b",
            ["switch group 1 from us-w1 to us-w1b"],
            id="none is synchronous (yet)",
        ),
    ],
)
def test_plan(standbys: list[Member], candidate: str, sentences: list[str]) -> None:
    todo = plan({1: Group(1, (W1, *standbys))}, [wish(candidate)], 100)
    assert not todo.refusals
    assert todo.sentences == sentences


def test_groups_are_switched_in_the_order_that_is_given() -> None:
    two = Group(2, (Member("us-w2", "leader", "running", ""), standby("us-w2b")))
    todo = plan({1: Group(1, (W1, standby())), 2: two}, [wish("", 2), wish("", 1)], 100)
    assert todo.sentences == [
        "switch group 2 from us-w2 to us-w2b",
        "switch group 1 from us-w1 to us-w1b",
    ]
    assert todo.diff == {
        "before": {"group 1": "us-w1", "group 2": "us-w2"},
        "after": {"group 1": "us-w1b", "group 2": "us-w2b"},
    }


@pytest.mark.parametrize(
    ("group", "candidate", "why"),
    [
        pytest.param(Group(1, (standby(),)), "us-w1b", "the group has no primary", id="headless"),
        pytest.param(Group(1, (W1, standby()), paused=True), "", "Patroni is paused", id="paused"),
        pytest.param(Group(1, (W1,)), "", "the group has no standby to hand over", id="alone"),
        pytest.param(
            Group(1, (W1,), missing=("us-w1b",)), "", "no standby streams", id="standby gone"
        ),
        pytest.param(
            Group(1, (W1,), missing=("us-w1b",)),
            "us-w1b",
            "Patroni does not know us-w1b",
            id="candidate gone",
        ),
        pytest.param(Group(1, (W1, standby())), "us-w9", "us-w9 is no member", id="stranger"),
        pytest.param(
            Group(1, (W1, standby(state="stopped"))), "us-w1b", "does not stream", id="stopped"
        ),
        pytest.param(
            Group(1, (W1, standby(state="running"))), "", "no standby streams", id="not streaming"
        ),
        pytest.param(
            Group(1, (W1, standby(nofailover=True))),
            "us-w1b",
            "the tag nofailover",
            id="nofailover",
        ),
        pytest.param(
            Group(1, (W1, standby(role="replica"), standby("us-w1c"))),
            "us-w1b",
            "commits wait for us-w1c and not for us-w1b",
            id="not synchronous",
        ),
        pytest.param(
            Group(1, (W1, standby(lag_bytes=101))), "us-w1b", "more than 100 may not be", id="lag"
        ),
        pytest.param(
            Group(1, (W1, standby(lag_bytes=None))), "", "more than 100 may not", id="lag unknown"
        ),
    ],
)
def test_refusals_say_asked_found_why_and_remedy(group: Group, candidate: str, why: str) -> None:
    (refusal,) = plan({1: group}, [wish(candidate)], 100).refusals
    assert refusal.asked == f"switchover of group 1 to {candidate or 'its best standby'}"
    assert "us-w1" in refusal.found
    assert why in refusal.why
    assert refusal.remedy


def test_all_refusals_come_at_once_and_nothing_is_switched() -> None:
    groups = {1: Group(1, (W1, standby())), 2: Group(2, (W1,))}
    todo = plan(groups, [wish(), wish("", 2), wish("", 7), wish("us-w1")], 100)
    assert [refusal.why for refusal in todo.refusals] == [
        "the group has no standby to hand over to",
        "no member of it was given",
        "it is listed twice",
    ]


def test_the_group_that_the_candidate_leads_is_left_alone(members: Any) -> None:
    group = [members.standby("us-w1"), members.leader("us-w1b")]
    result = members.run(patroni_switchover, members.look("us-w1", *group), ARGS)
    assert (result["changed"], result["plan"], result["requests"]) == (False, [], [])
    assert result["primaries"] == {"1": "us-w1b"}


def test_check_mode_sends_nothing(members: Any) -> None:
    group = [members.leader("us-w1"), members.standby("us-w1b")]
    result = members.run(patroni_switchover, members.look("us-w1", *group), ARGS, check=True)
    assert result["changed"]
    assert result["plan"] == ["switch group 1 from us-w1 to us-w1b"]
    assert result["requests"] == []
    assert result["primaries"] == {"1": "us-w1b"}


@pytest.mark.parametrize(
    "answer",
    [
        {},
        (503, "Switchover status unknown"),
        RemoteDisconnected("Remote end closed connection without response"),
        TimeoutError("timed out"),
    ],
    ids=["done", "undecided", "lost", "late"],
)
def test_a_switchover_ends_when_the_group_is_whole_again(members: Any, answer: Any) -> None:
    leader, follower = members.leader, members.standby
    before = members.look("us-w1", leader("us-w1"), follower("us-w1b"))
    stopped = follower("us-w1", role="replica", state="stopped", lag="unknown")
    back = [leader("us-w1b"), follower("us-w1", role="replica")]
    whole = [leader("us-w1b"), follower("us-w1")]
    script = [
        *before,
        *before,
        (POST, answer),
        # the old primary's registration has expired
        *members.look("us-w1", leader("us-w1b"), follower("us-w1c")),
        # nobody leads
        *members.look("us-w1", stopped, follower("us-w1b")),
        # commits do not wait for the old primary yet
        *members.look("us-w1", *back),
        # by etcd all is well, but the new primary is still in recovery
        *members.look("us-w1", *whole),
        members.streams("us-w1b"),
        members.streams("us-w1"),
        # the old primary says that it does not stream yet
        *members.look("us-w1", *whole),
        members.leads("us-w1b"),
        members.streams("us-w1", replication_state=None),
        *members.look("us-w1", *whole),
        members.leads("us-w1b"),
        members.streams("us-w1"),
    ]
    result = members.run(patroni_switchover, script, ARGS)
    assert result["changed"]
    sent = 'POST https://us-w1:8008/switchover {"candidate": "us-w1b", "leader": "us-w1"}'
    assert result["requests"] == [sent]
    assert result["primaries"] == {"1": "us-w1b"}
    assert members.clock.now == 5 * 0.5


def test_a_candidate_that_came_a_moment_ago_is_waited_for(members: Any) -> None:
    leader, follower = members.leader, members.standby
    fresh = [leader("us-w1"), follower("us-w1b", role="replica")]
    script = [
        *members.look("us-w1", *fresh),
        *members.look("us-w1", *fresh),
        *members.look("us-w1", leader("us-w1"), follower("us-w1b")),
        (POST, {}),
        *members.look("us-w1", leader("us-w1b"), follower("us-w1")),
        members.leads("us-w1b"),
        members.streams("us-w1"),
    ]
    assert members.run(patroni_switchover, script, ARGS)["changed"]


def test_a_lead_that_moves_by_itself_is_not_taken_from_the_new_primary(members: Any) -> None:
    before = members.look("us-w1", members.leader("us-w1"), members.standby("us-w1b"))
    moved = members.look("us-w1", members.leader("us-w1c"), members.standby("us-w1b"))
    result = members.run(patroni_switchover, [*before, *moved * (62 + 1)], ARGS)
    assert result["msg"].startswith(
        "Waited 30 s for us-w1b of group 1 to be able to take over from us-w1, and it did not come "
        "about. There is: us-w1c (leader, running), us-w1b (sync_standby, streaming), us-w1 ("
    )


def test_an_asynchronous_group_is_not_kept_waiting(members: Any) -> None:
    leader, follower = members.leader, members.standby
    before = members.look(
        "us-w1", leader("us-w1"), follower("us-w1b", role="replica"), synchronous_mode=False
    )
    after = members.look(
        "us-w1", leader("us-w1b"), follower("us-w1", role="replica"), synchronous_mode=False
    )
    script = [
        *before,
        *before,
        (POST, {}),
        *after,
        members.leads("us-w1b"),
        members.streams("us-w1"),
    ]
    assert members.run(patroni_switchover, script, ARGS)["changed"]


def test_patronis_refusal_is_told_in_its_words(members: Any) -> None:
    before = members.look("us-w1", members.leader("us-w1"), members.standby("us-w1b"))
    script = [*before, *before, (POST, (412, "leader name does not match"))]
    result = members.run(patroni_switchover, script, ARGS)
    assert result["failed"]
    assert result["msg"].startswith(
        "Patroni refused POST https://us-w1:8008/switchover: leader name does not match "
        "(status 412)."
    )


def test_a_plan_that_is_refused_sends_nothing(members: Any) -> None:
    script = members.look(
        "us-w1", members.leader("us-w1"), members.standby("us-w1b", lag="unknown")
    )
    result = members.run(patroni_switchover, script, ARGS)
    assert result["failed"]
    assert result["msg"].startswith(
        "Nothing was changed. switchover of group 1 to us-w1b: more than"
    )


def test_a_wait_that_is_too_long_says_what_there_is(members: Any) -> None:
    before = members.look("us-w1", members.leader("us-w1"), members.standby("us-w1b"))
    stuck = members.look(
        "us-w1", members.leader("us-w1b"), members.standby("us-w1", role="replica", state="stopped")
    )
    script = [*before, *before, (POST, {}), *stuck * (62 + 1)]
    result = members.run(patroni_switchover, script, ARGS)
    assert result["msg"] == (
        "Waited 30 s for group 1 to be led by us-w1b with its standbys streaming, and it did not "
        "come about. There is: us-w1b (leader, running), us-w1 (replica, stopped). What was done "
        "before stays; run the same again, it goes on from there."
    )


def test_where_a_member_does_not_answer_the_next_one_is_asked(members: Any) -> None:
    refused = URLError("Connection refused")
    group = [members.standby("us-w1"), members.leader("us-w1b")]
    script = [("GET us-w1/cluster", refused), *members.look("us-w1b", *group)]
    assert not members.run(patroni_switchover, script, ARGS)["changed"]

    script = [("GET us-w1/cluster", refused), ("GET us-w1b/cluster", refused)]
    assert members.run(patroni_switchover, script, ARGS)["msg"].startswith(
        "Patroni did not answer GET https://us-w1:8008/cluster (Connection refused); "
        "GET https://us-w1b:8008/cluster (Connection refused). Check that"
    )
