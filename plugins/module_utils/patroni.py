# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Patroni's REST API: what a member says of itself and of its group."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError, URLError

from ansible.module_utils.urls import open_url

from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError

CLIENT_OPTIONS: dict[str, dict[str, Any]] = {
    "ca_cert": {"type": "path", "required": True},
    "client_cert": {"type": "path", "required": True},
    "client_key": {"type": "path"},
}

MEMBER_OPTIONS: dict[str, dict[str, Any]] = {
    "members": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "url": {"type": "str", "required": True},
            "group": {"type": "int", "required": True},
        },
    },
}

REQUEST_TIMEOUT_S = 10
# A switchover or a restart is answered when it is done.
ACTION_TIMEOUT_S = 120
POLL_S = 0.5


class CannotReachPatroni(PlatformError):
    """No member that was asked answered."""


class PatroniRefused(PlatformError):
    """Patroni answered, and said no; carries the HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        self.status = status
        super().__init__(message)


class WaitedTooLong(PlatformError):
    """What was waited for did not come within its time."""


class Api:
    """Requests with a client certificate; ``sent`` holds the writing ones."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self.sent: list[str] = []

    def get(self, url: str) -> dict[str, Any]:
        """The JSON of a member's answer, also of one that says it is not well."""
        return self._request("GET", url, None, REQUEST_TIMEOUT_S)

    def send(self, method: str, url: str, body: Mapping[str, Any]) -> str:
        """Send a change; raises PatroniRefused with Patroni's own words."""
        self.sent.append(f"{method} {url} {json.dumps(body, sort_keys=True)}")
        answer = self._request(method, url, body, ACTION_TIMEOUT_S)
        return str(answer.get("text", ""))

    def _request(
        self, method: str, url: str, body: Mapping[str, Any] | None, timeout_s: int
    ) -> dict[str, Any]:
        try:
            with open_url(
                url,
                method=method,
                data=None if body is None else json.dumps(body),
                headers={"Content-Type": "application/json"},
                timeout=timeout_s,
                ca_path=self._options["ca_cert"],
                client_cert=self._options["client_cert"],
                client_key=self._options["client_key"],
                use_proxy=False,
            ) as response:
                return _json_or_text(response.read())
        except HTTPError as error:
            answer = error.read()
            if method == "GET" and error.code == 503:
                return _json_or_text(answer)
            raise PatroniRefused(
                f"Patroni refused {method} {url}: {_plain(answer) or error.reason} "
                f"(status {error.code}).",
                error.code,
            ) from error
        except (URLError, OSError, ValueError) as error:
            raise CannotReachPatroni(
                f"Patroni did not answer {method} {url}: {getattr(error, 'reason', error)}. "
                "Check that the host is up and its unit patroni runs, and the certificate options."
            ) from error


@dataclass(frozen=True)
class Member:
    """One member of a group, as Patroni's /cluster tells it."""

    name: str
    role: str
    state: str
    api_url: str
    lag_bytes: int | None = None
    pending_restart: bool = False

    @property
    def is_primary(self) -> bool:
        return self.role == "leader"

    @property
    def is_sync(self) -> bool:
        return self.role in ("sync_standby", "quorum_standby")

    @property
    def serves(self) -> bool:
        return self.state in ("running", "streaming")


@dataclass(frozen=True)
class Group:
    """One group of the Citus cluster: its primary and its standbys."""

    number: int
    members: tuple[Member, ...]
    paused: bool = False

    @property
    def primary(self) -> Member | None:
        return next((member for member in self.members if member.is_primary), None)

    @property
    def standbys(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if not member.is_primary)

    def member(self, name: str) -> Member | None:
        return next((member for member in self.members if member.name == name), None)

    def best_standby(self) -> Member | None:
        """Who takes over with the least to lose: synchronous first, then least lag."""
        able = [member for member in self.standbys if member.state == "streaming"]
        return min(
            able,
            key=lambda member: (not member.is_sync, member.lag_bytes or 0, member.name),
            default=None,
        )


def read_groups(api: Api, members: Iterable[Mapping[str, Any]]) -> dict[int, Group]:
    """Read each group from the first of its declared members that answers.

    ``members`` are mappings with ``url`` and ``group``. Raises
    CannotReachPatroni when no member of a group answers.
    """
    urls: dict[int, list[str]] = {}
    for member in members:
        urls.setdefault(int(member["group"]), []).append(member["url"].rstrip("/"))
    return {number: read_group(api, number, urls[number]) for number in sorted(urls)}


def read_group(api: Api, number: int, urls: Sequence[str]) -> Group:
    """Read one group from the first of ``urls`` that answers."""
    failures = []
    for url in urls:
        try:
            return _group(number, api.get(f"{url}/cluster"))
        except CannotReachPatroni as error:
            failures.append(str(error))
    raise CannotReachPatroni(
        f"No member of group {number} answers, so nobody can say who leads it. "
        + " ".join(failures)
    )


def switch_over(
    api: Api,
    members: Iterable[Mapping[str, Any]],
    group: int,
    leader: str,
    candidate: str,
    timeout_s: float,
) -> None:
    """Hand ``group`` from ``leader`` to ``candidate``; return when it is whole again.

    Raises PatroniRefused when Patroni will not, WaitedTooLong when the group
    does not have its new primary and all its standbys within ``timeout_s``.
    """
    urls = _urls(members, group)
    api.send("POST", f"{urls[leader]}/switchover", {"leader": leader, "candidate": candidate})

    def whole() -> bool:
        now = read_group(api, group, list(urls.values()))
        return (
            now.primary is not None
            and now.primary.name == candidate
            and now.primary.serves
            and all(member.state == "streaming" for member in now.standbys)
        )

    wait_until(
        f"group {group} to be led by {candidate} with its standbys streaming",
        whole,
        timeout_s,
        lambda: _state_of(api, group, urls),
    )


def restart(
    api: Api, members: Iterable[Mapping[str, Any]], group: int, member: str, timeout_s: float
) -> None:
    """Restart ``member``; return when it serves again and nothing waits for a restart.

    Raises PatroniRefused and WaitedTooLong as switch_over does.
    """
    urls = _urls(members, group)
    was_primary = (read_group(api, group, list(urls.values())).primary or Member("", "", "", "")).name
    api.send("POST", f"{urls[member]}/restart", {"timeout": f"{timeout_s:g}s"})

    def back() -> bool:
        now = read_group(api, group, list(urls.values())).member(member)
        if now is None or now.pending_restart:
            return False
        return now.serves if member == was_primary else now.state == "streaming"

    wait_until(
        f"{member} of group {group} to be back after its restart",
        back,
        timeout_s,
        lambda: _state_of(api, group, urls),
    )


def _urls(members: Iterable[Mapping[str, Any]], group: int) -> dict[str, str]:
    return {m["name"]: m["url"].rstrip("/") for m in members if int(m["group"]) == group}


def _state_of(api: Api, group: int, urls: Mapping[str, str]) -> str:
    try:
        now = read_group(api, group, list(urls.values()))
    except CannotReachPatroni as error:
        return str(error)
    return "There is: " + ", ".join(f"{m.name} ({m.role}, {m.state})" for m in now.members) + "."


def wait_until(
    what: str, holds: Callable[[], bool], timeout_s: float, note: Callable[[], str]
) -> None:
    """Poll until ``holds``; Patroni has no events to subscribe to.

    Raises WaitedTooLong, naming what was waited for and what there was (``note``).
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if holds():
                return
        except CannotReachPatroni:
            pass  # a member that restarts does not answer for a moment
        if time.monotonic() > deadline:
            raise WaitedTooLong(
                f"Waited {timeout_s:g} s for {what}, and it did not come about. {note()} "
                "What was done before stays; run the same again, it goes on from there."
            )
        time.sleep(POLL_S)


def _group(number: int, answer: Mapping[str, Any]) -> Group:
    return Group(
        number=number,
        paused=bool(answer.get("pause", False)),
        members=tuple(
            Member(
                name=member["name"],
                role=member["role"],
                state=member["state"],
                api_url=member["api_url"].removesuffix("/patroni"),
                lag_bytes=member["lag"] if isinstance(member.get("lag"), int) else None,
                pending_restart=bool(member.get("pending_restart", False)),
            )
            for member in answer["members"]
        ),
    )


def _plain(answer: bytes) -> str:
    """Patroni's own words; its HTTP server's error page says no more than the reason."""
    text = answer.decode(errors="replace").strip()
    return "" if text.startswith("<") else text


def _json_or_text(answer: bytes) -> dict[str, Any]:
    text = answer.decode(errors="replace")
    try:
        value = json.loads(text)
    except ValueError:
        return {"text": text.strip()}
    return value if isinstance(value, dict) else {"text": text.strip()}
