# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What patroni_config plans for settings that are there, and what it asks of the members."""

from __future__ import annotations

from http.client import RemoteDisconnected
from typing import Any
from urllib.error import URLError

import pytest
from ansible_collections.bss.platform.plugins.modules import patroni_config
from ansible_collections.bss.platform.plugins.modules.patroni_config import plan

URL = {"url": "https://us-w1:8008/"}
SETTINGS = {"ttl": 20, "loop_wait": 3, "postgresql": {"parameters": {"work_mem": "2MB"}}}


def name(of: str) -> tuple[str, dict[str, Any]]:
    return f"GET {of}/patroni", {"patroni": {"name": of}}


def seen(of: str, at: int) -> tuple[str, dict[str, Any]]:
    return f"GET {of}/patroni", {"dcs_last_seen": at}


@pytest.mark.parametrize(
    ("current", "declared", "sentences"),
    [
        ({"ttl": 20}, {"ttl": 20}, []),
        ({"ttl": 20}, {"ttl": "20"}, []),
        ({"ttl": 20, "loop_wait": 3}, {"ttl": 30}, ["set ttl from 20 to 30"]),
        ({}, {"ttl": 30}, ["set ttl from nothing to 30"]),
        ({"ttl": 20}, {"ttl": None}, ["remove ttl, which is 20"]),
        ({}, {"ttl": None}, []),
        ({"synchronous_mode": True}, {"synchronous_mode": "on"}, []),
        ({"synchronous_mode": "true"}, {"synchronous_mode": True}, []),
        (
            {"synchronous_mode": True},
            {"synchronous_mode": "quorum"},
            ["set synchronous_mode from True to quorum"],
        ),
        (
            {"postgresql": {"parameters": {"a": 0.9, "b": "1", "c": 1}}},
            {"postgresql": {"parameters": {"a": 0.9, "b": 2, "c": None}}},
            [
                "set postgresql.parameters.b from 1 to 2",
                "remove postgresql.parameters.c, which is 1",
            ],
        ),
        (
            {"slots": None},
            {"slots": {"a": {"type": "physical"}}},
            ["set slots.a.type from nothing"],
        ),
        ({"a": {"b": 1}}, {"a": 2}, ["set a from {'b': 1} to 2"]),
        ({"a": 2}, {"a": {"b": 1}}, ["set a.b from nothing to 1"]),
    ],
)
def test_plan(current: Any, declared: Any, sentences: list[str]) -> None:
    made = plan(current, declared).sentences
    assert len(made) == len(sentences)
    assert all(is_.startswith(wanted) for is_, wanted in zip(made, sentences, strict=True))


def test_the_diff_has_what_differs_and_nothing_else() -> None:
    todo = plan({"ttl": 20, "pause": True, "a": 1}, {"ttl": 30, "pause": None, "a": 1})
    assert todo.diff == {"before": {"ttl": 20, "pause": True}, "after": {"ttl": 30}}


def test_nothing_is_sent_when_nothing_differs(members: Any) -> None:
    script = [
        name("us-w1"),
        ("GET us-w1/cluster", {"members": [members.leader("us-w1")]}),
        ("GET us-w1/config", SETTINGS),
    ]
    result = members.run(patroni_config, script, {**URL, "config": {"ttl": 20}})
    assert (result["changed"], result["plan"], result["requests"]) == (False, [], [])
    assert result["primary"] is True


@pytest.mark.parametrize("check", [True, False])
def test_a_lease_is_set_in_one_request(members: Any, check: bool) -> None:
    script = [
        name("us-w1"),
        ("GET us-w1/cluster", {"members": [members.leader("us-w1")]}),
        ("GET us-w1/config", SETTINGS),
        ('PATCH us-w1/config {"ttl": 30, "retry_timeout": 5}', {}),
    ]
    args = {**URL, "config": {"ttl": 30, "retry_timeout": 5}}
    result = members.run(patroni_config, script[:3] if check else script, args, check)
    assert result["changed"]
    assert result["plan"] == ["set ttl from 20 to 30", "set retry_timeout from nothing to 5"]
    assert result["diff"] == {"before": {"ttl": 20}, "after": {"ttl": 30, "retry_timeout": 5}}
    sent = ['PATCH https://us-w1:8008/config {"retry_timeout": 5, "ttl": 30}']
    assert result["requests"] == ([] if check else sent)


def test_settings_of_postgresql_are_waited_for_on_every_member_that_answers(members: Any) -> None:
    group = [members.leader("us-w1"), members.standby("us-w1b"), members.standby("us-w1c")]
    script = [
        name("us-w1"),
        ("GET us-w1/cluster", {"members": group}),
        ("GET us-w1/config", SETTINGS),
        ('PATCH us-w1/config {"postgresql": {"parameters": {"work_mem": null}}}', {}),
        ("GET us-w1/cluster", {"members": group}),
        seen("us-w1", 100),
        seen("us-w1b", 99),
        ("GET us-w1c/patroni", URLError("Connection refused")),  # takes them when it starts
        seen("us-w1", 101),  # reads the settings
        seen("us-w1b", 99),
        seen("us-w1", 104),  # has told which of them wait for a restart
        seen("us-w1b", 102),
        seen("us-w1", 104),
        seen("us-w1b", 105),
    ]
    config = {"postgresql": {"parameters": {"work_mem": None}}}
    result = members.run(patroni_config, script, {**URL, "config": config})
    assert result["plan"] == ["remove postgresql.parameters.work_mem, which is 2MB"]
    assert members.clock.now == 3 * 0.5


def test_a_member_whose_loop_stands_still_is_told_of(members: Any) -> None:
    group = {"members": [members.leader("us-w1")]}
    script = [
        name("us-w1"),
        ("GET us-w1/cluster", group),
        ("GET us-w1/config", {**SETTINGS, "loop_wait": 1}),
        ('PATCH us-w1/config {"postgresql": {"parameters": {"work_mem": "4MB"}}}', {}),
        ("GET us-w1/cluster", group),
        *[seen("us-w1", 100)] * 66,
    ]
    config = {"postgresql": {"parameters": {"work_mem": "4MB"}}}
    result = members.run(patroni_config, script, {**URL, "config": config})
    assert result["failed"]
    assert "Waited 32 s for the members of the group of https://us-w1:8008 to take" in result["msg"]


def test_only_the_primary_acts(members: Any) -> None:
    group = [members.leader("us-w1b"), members.standby("us-w1")]
    script = [name("us-w1"), ("GET us-w1/cluster", {"members": group})]
    result = members.run(patroni_config, script, {**URL, "config": {"ttl": 30}})
    assert (result["changed"], result["plan"], result["primary"]) == (False, [], False)


def test_a_group_that_is_being_founded_is_waited_for(members: Any) -> None:
    script = [
        name("us-w1"),
        ("GET us-w1/cluster", {"members": [members.leader("us-w1", role="replica")]}),
        ("GET us-w1/cluster", {"members": [members.leader("us-w1")]}),
        ("GET us-w1/config", (502, "<!DOCTYPE HTML>")),
        ("GET us-w1/config", SETTINGS),
    ]
    result = members.run(patroni_config, script, {**URL, "config": {"ttl": 20}})
    assert (result["failed"], result["changed"], members.clock.now) == (False, False, 1.0)


def test_a_group_that_gets_no_primary_is_told_of(members: Any) -> None:
    alone = {"members": [members.leader("us-w1", role="replica")]}
    script = [name("us-w1"), *[("GET us-w1/cluster", alone)] * 62]
    result = members.run(patroni_config, script, {**URL, "config": {"ttl": 30}})
    assert "Waited 30 s for the group of https://us-w1:8008 to have a primary" in result["msg"]


def test_a_refusal_is_told_in_patronis_words(members: Any) -> None:
    script = [
        name("us-w1"),
        ("GET us-w1/cluster", {"members": [members.leader("us-w1")]}),
        ("GET us-w1/config", SETTINGS),
        ('PATCH us-w1/config {"ttl": 30}', (403, "client certificate required")),
    ]
    result = members.run(patroni_config, script, {**URL, "config": {"ttl": 30}})
    assert result["failed"]
    assert (
        "Patroni refused PATCH https://us-w1:8008/config: client certificate required (status 403)"
        in result["msg"]
    )
    assert "run the same again" in result["msg"]


def test_a_lost_answer_leaves_a_state_from_which_the_same_converges(members: Any) -> None:
    look = [name("us-w1"), ("GET us-w1/cluster", {"members": [members.leader("us-w1")]})]
    lost = RemoteDisconnected("Remote end closed connection without response")
    script = [*look, ("GET us-w1/config", SETTINGS), ('PATCH us-w1/config {"ttl": 30}', lost)]
    args = {**URL, "config": {"ttl": 30}}
    result = members.run(patroni_config, script, args)
    assert "did not answer PATCH https://us-w1:8008/config (Remote end closed" in result["msg"]
    assert "may have been done all the same. Run this again" in result["msg"]

    done = [*look, ("GET us-w1/config", {**SETTINGS, "ttl": 30})]
    assert not members.run(patroni_config, done, args)["changed"]


def test_a_member_that_is_down_is_told_of(members: Any) -> None:
    script = [("GET us-w1/patroni", URLError("Connection refused"))]
    result = members.run(patroni_config, script, {**URL, "config": {"ttl": 30}})
    assert result["msg"].startswith(
        "Patroni did not answer GET https://us-w1:8008/patroni (Connection refused). Check that"
    )
