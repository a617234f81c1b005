# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What changes a Patroni group, each with the wait until the group says that it is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from ansible_collections.bss.platform.plugins.module_utils.patroni import (
    AnswerLost,
    Api,
    CannotReachPatroni,
    Group,
    Member,
    PatroniRefused,
    read_declared,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError

POLL_S = 0.5

# Patroni says so (status 503) when it stops watching before the end.
UNDECIDED = ("status unknown", "still starting", "already in progress")

T = TypeVar("T")


class WaitedTooLong(PlatformError):
    """What was waited for did not come within its time."""


def switch_over(
    api: Api,
    members: Sequence[Mapping[str, Any]],
    group: int,
    leader: str,
    candidate: str,
    timeout_s: float,
) -> None:
    """Hand ``group`` from ``leader`` to ``candidate``; return when it is whole again.

    No ``candidate`` means the best when it comes to it. Raises PatroniRefused
    when Patroni will not, WaitedTooLong when within ``timeout_s`` nobody can take
    over, or the group does not get back its primary and the standbys it had.
    """

    def ready() -> tuple[Group, Member] | None:
        now = read_declared(api, members, group)
        able = [member for member in now.candidates() if candidate in ("", member.name)]
        if now.primary is None or now.primary.name != leader or not able:
            return None
        # A standby that came (back) a moment ago is not synchronous yet.
        return None if now.synchronous and not able[0].is_sync else (now, able[0])

    before, heir = wait_for(
        f"{candidate or 'a standby'} of group {group} to be able to take over from {leader}",
        ready,
        timeout_s,
        lambda: _state_of(api, members, group),
    )
    _ask(
        api,
        f"{_url(before, leader)}/switchover",
        {"leader": leader, "candidate": heir.name},
        timeout_s,
    )
    standbys = {member.name for member in before.standbys if member.streams} - {heir.name}
    wait_for(
        f"group {group} to be led by {heir.name} with its standbys streaming",
        lambda: _works(
            api, read_declared(api, members, group), heir.name, {*standbys, leader}, heir.is_sync
        ),
        timeout_s,
        lambda: _state_of(api, members, group),
    )


def restart(
    api: Api, members: Sequence[Mapping[str, Any]], group: int, member: str, timeout_s: float
) -> None:
    """Restart ``member``; return when it and its group serve as they did before.

    Waits first until the group is whole. Raises as switch_over does.
    """

    def ready() -> Group | None:
        now = read_declared(api, members, group)
        return now if now.is_whole and now.member(member) else None

    before = wait_for(
        f"group {group} to be whole, so that {member} can be restarted",
        ready,
        timeout_s,
        lambda: _state_of(api, members, group),
    )
    leader = next(each.name for each in before.members if each.is_primary)
    standbys = {each.name for each in before.standbys}
    synchronous = any(each.is_sync for each in before.standbys)
    url = _url(before, member)
    started = api.get(f"{url}/patroni").get("postmaster_start_time")
    _ask(api, f"{url}/restart", {"timeout": timeout_s}, timeout_s)

    def back() -> bool:
        status = api.get(f"{url}/patroni")
        return (
            status.get("postmaster_start_time") not in (None, started)
            and not status.get("pending_restart")
            and _works(api, read_declared(api, members, group), leader, standbys, synchronous)
        )

    wait_for(
        f"{member} of group {group} to be back after its restart",
        back,
        timeout_s,
        lambda: _state_of(api, members, group),
    )


def wait_for(
    what: str, look: Callable[[], T | None], timeout_s: float, note: Callable[[], str] = lambda: ""
) -> T:
    """Look until there is something, and return it; Patroni has no events to subscribe to.

    Raises WaitedTooLong, naming what was waited for and what there was (``note``).
    """
    deadline = time.monotonic() + timeout_s
    while True:
        unreached = ""
        try:
            if (found := look()) not in (None, False):
                return found
        except CannotReachPatroni as error:  # who restarts does not answer for a moment
            unreached = str(error)
        if time.monotonic() > deadline:
            raise WaitedTooLong(
                f"Waited {timeout_s:g} s for {what}, and it did not come about. "
                f"{unreached or note()} What was done before stays; run the same again, it goes on "
                "from there."
            )
        time.sleep(POLL_S)


def _url(group: Group, name: str) -> str:
    return next(member.api_url for member in group.members if member.name == name)


def _ask(api: Api, url: str, body: Mapping[str, Any], timeout_s: float) -> None:
    """Send what is watched afterwards: a lost or undecided answer is left to that watch."""
    try:
        api.send("POST", url, body, timeout_s)
    except AnswerLost:
        pass
    except PatroniRefused as refusal:
        if not any(words in str(refusal) for words in UNDECIDED):
            raise


def _works(
    api: Api, group: Group, leader: str, standbys: Collection[str], synchronous: bool
) -> bool:
    """Whether ``leader`` leads, and ``standbys`` stream, one of them synchronously if so wished.

    Asks each of them: what etcd, and so ``group``, holds of a member is as old as its last loop.
    """
    if group.primary is None or group.primary.name != leader:
        return False
    if synchronous and not any(standby.is_sync for standby in group.standbys):
        return False
    if any(group.member(name) is None for name in standbys):
        return False
    said = {name: api.get(f"{_url(group, name)}/patroni") for name in (leader, *sorted(standbys))}
    return (
        all(status.get("state") == "running" for status in said.values())
        and said[leader].get("role") == "primary"
        and all(said[name].get("replication_state") == "streaming" for name in standbys)
    )


def _state_of(api: Api, members: Iterable[Mapping[str, Any]], group: int) -> str:
    try:
        return f"There is: {read_declared(api, members, group)}."
    except CannotReachPatroni as error:
        return str(error)
