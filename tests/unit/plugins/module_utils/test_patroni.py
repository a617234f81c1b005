# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What is read from Patroni's REST API, and what becomes of its errors."""

from __future__ import annotations

from http.client import BadStatusLine, RemoteDisconnected
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
from ansible_collections.bss.platform.plugins.module_utils.patroni import (
    AnswerLost,
    Api,
    CannotReachPatroni,
    CannotReadCertificate,
    Group,
    Member,
    PatroniRefused,
    as_bool,
    read_declared,
    read_group,
    read_groups,
    read_members,
)

W1 = Member("us-w1", "leader", "running", "https://us-w1:8008")
LOST = RemoteDisconnected("Remote end closed connection without response")


def standby(name: str = "us-w1b", **others: Any) -> Member:
    url = f"https://{name}:8008"
    values = {"role": "replica", "state": "streaming", "api_url": url, "lag_bytes": 0, **others}
    return Member(name=name, **values)


@pytest.fixture
def api(members: Any) -> Api:
    return Api({**members.options, "client_key": None})


@pytest.mark.parametrize(
    ("said", "member"),
    [
        ({}, {}),
        ({"lag": 5}, {"lag_bytes": 5}),
        ({"lag": "unknown"}, {"lag_bytes": None}),
        ({"lag": None}, {"lag_bytes": None}),
        ({"api_url": None}, {"api_url": ""}),
        ({"tags": {"nofailover": True}}, {"nofailover": True}),
        ({"tags": {"failover_priority": 0}}, {"nofailover": True}),
        ({"tags": {"nofailover": False, "failover_priority": 0}}, {}),
        (
            {"pending_restart": True, "pending_restart_reason": {"ssl": {"old_value": "off"}}},
            {"pending_restart": True, "pending_settings": {"ssl": {"old_value": "off"}}},
        ),
        ({"timeline": 2, "lsn": "0/1", "scheduled_restart": {"schedule": "x"}}, {}),
    ],
)
def test_a_member(members: Any, api: Api, said: dict[str, Any], member: dict[str, Any]) -> None:
    known = members.standby("us-w1b", role="replica", **said)
    members.script = [("GET us-w1/cluster", {"members": [known]})]
    assert read_members(api, "https://us-w1:8008") == (standby(**member),)


@pytest.mark.parametrize(
    ("standbys", "names"),
    [
        ([], []),
        ([standby(state="running")], []),
        ([standby(nofailover=True)], []),
        ([standby("b", lag_bytes=9), standby("a", lag_bytes=9), standby("c")], ["c", "a", "b"]),
        ([standby("b", lag_bytes=None), standby("c", lag_bytes=9)], ["c", "b"]),
        ([standby("b"), standby("c", role="sync_standby", lag_bytes=9)], ["c"]),
        ([standby("b"), standby("c", role="sync_standby", state="starting")], ["b"]),
        ([standby("b"), standby("c", role="quorum_standby", lag_bytes=9)], ["b", "c"]),
    ],
)
def test_candidates(standbys: list[Member], names: list[str]) -> None:
    assert [member.name for member in Group(1, (W1, *standbys)).candidates()] == names


@pytest.mark.parametrize(
    ("group", "whole"),
    [
        (Group(1, (W1,)), True),
        (Group(1, (W1, standby())), True),
        (Group(1, (standby(),)), False),
        (Group(1, (Member("us-w1", "leader", "starting", ""),)), False),
        (Group(1, (W1, standby(), standby("us-w1c", state="running"))), False),
        (Group(1, (W1,), missing=("us-w1b",)), False),
    ],
)
def test_whole(group: Group, whole: bool) -> None:
    assert group.is_whole is whole


def test_a_group_in_words() -> None:
    group = Group(1, (W1, standby(pending_restart=True)), missing=("us-w1c",))
    assert str(group) == (
        "us-w1 (leader, running), us-w1b (replica, streaming, waits for a restart), "
        "us-w1c (unknown to Patroni)"
    )


@pytest.mark.parametrize(
    ("settings", "synchronous"),
    [({}, True), ({"synchronous_mode": "off"}, False), ({"synchronous_mode": "quorum"}, False)],
)
def test_a_group(members: Any, api: Api, settings: dict[str, Any], synchronous: bool) -> None:
    members.script = members.look("us-w1", members.leader("us-w1"), paused=True, **settings)
    group = read_group(api, 1, ["https://us-w1:8008/"])
    assert group == Group(1, (W1,), paused=True, synchronous=synchronous)


def test_who_is_declared_and_unknown_to_patroni_is_missing(members: Any, api: Api) -> None:
    members.script = members.look("us-w1", members.leader("us-w1"))
    declared = [
        {"name": "us-w1", "url": "https://us-w1:8008", "group": 1},
        {"name": "us-w1b", "url": "https://us-w1b:8008", "group": 1},
        {"name": "us-w2", "url": "https://us-w2:8008", "group": 2},
    ]
    assert read_declared(api, declared, 1).missing == ("us-w1b",)


def test_each_group_is_read_from_the_first_of_its_members_that_answers(
    members: Any, api: Api
) -> None:
    members.script = [
        *members.look("us-c1", members.leader("us-c1")),
        ("GET us-w1/cluster", LOST),
        *members.look("us-w1b", members.leader("us-w1b")),
    ]
    declared = [
        {"name": "us-w1", "url": "https://us-w1:8008", "group": 1},
        {"name": "us-w1b", "url": "https://us-w1b:8008", "group": 1},
        {"name": "us-c1", "url": "https://us-c1:8008", "group": 0},
    ]
    groups = read_groups(api, declared)
    assert list(groups) == [0, 1]
    assert groups[1].primary == Member("us-w1b", "leader", "running", "https://us-w1b:8008")
    assert not members.script


def test_all_who_did_not_answer_are_named(members: Any, api: Api) -> None:
    members.script = [
        ("GET us-w1/cluster", LOST),
        ("GET us-w1b/cluster", {"something": "else"}),
    ]
    with pytest.raises(CannotReachPatroni) as raised:
        read_group(api, 1, ["https://us-w1:8008", "https://us-w1b:8008"])
    assert str(raised.value) == (
        "Patroni did not answer GET https://us-w1:8008/cluster (Remote end closed connection "
        "without response); GET https://us-w1b:8008/cluster (something else than Patroni answers "
        "there). Check that the hosts are up, that their unit patroni runs and reaches etcd, and "
        "the certificate options."
    )


@pytest.mark.parametrize(
    ("method", "answer", "error", "text"),
    [
        ("GET", URLError("Connection refused"), CannotReachPatroni, "(Connection refused)"),
        ("GET", ValueError("unknown url type: 'x'"), CannotReachPatroni, "(unknown url type"),
        ("GET", LOST, CannotReachPatroni, "(Remote end closed"),
        ("GET", BadStatusLine("SSH-2.0"), CannotReachPatroni, "(SSH-2.0)"),
        ("GET", (502, "<html>"), PatroniRefused, "GET https://us-w1:8008/x: reason (status 502)"),
        ("POST", URLError("Connection refused"), CannotReachPatroni, "(Connection refused)"),
        ("POST", LOST, AnswerLost, "may have been done all the same"),
        ("POST", TimeoutError("timed out"), AnswerLost, "(timed out)"),
        ("POST", (412, "no"), PatroniRefused, "POST https://us-w1:8008/x: no (status 412)"),
        ("POST", (503, "failed"), PatroniRefused, "failed (status 503)"),
    ],
)
def test_errors(
    members: Any, api: Api, method: str, answer: Any, error: type[Exception], text: str
) -> None:
    members.script = [(f"{method} us-w1/x {'{}' if method == 'POST' else ''}".strip(), answer)]
    asks = {"GET": lambda url: api.get(url), "POST": lambda url: api.send("POST", url, {})}
    with pytest.raises(error) as raised:
        asks[method]("https://us-w1:8008/x")
    assert type(raised.value) is error
    assert text in str(raised.value)


def test_a_member_that_says_it_is_not_well_answers(members: Any, api: Api) -> None:
    members.script = [("GET us-w1/patroni", (503, '{"state": "stopped"}'))]
    assert api.get("https://us-w1:8008/patroni") == {"state": "stopped"}


def test_only_changes_are_told_as_sent(members: Any, api: Api) -> None:
    members.script = [("GET us-w1/patroni", {}), ('PATCH us-w1/config {"b": 1, "a": 2}', {})]
    api.get("https://us-w1:8008/patroni")
    api.send("PATCH", "https://us-w1:8008/config", {"b": 1, "a": 2})
    assert api.sent == ['PATCH https://us-w1:8008/config {"a": 2, "b": 1}']


def test_a_certificate_that_cannot_be_read_is_named(members: Any, tmp_path: Path) -> None:
    api = Api({**members.options, "client_key": str(tmp_path / "host.key")})
    with pytest.raises(CannotReadCertificate, match=r"Cannot read client_key /.+/host\.key\. Corr"):
        api.get("https://us-w1:8008/patroni")


@pytest.mark.parametrize(
    ("value", "is_"),
    [(True, True), ("On", True), ("off", False), ("quorum", "quorum"), (1, 1), (None, None)],
)
def test_as_bool(value: Any, is_: Any) -> None:
    assert as_bool(value) is is_
