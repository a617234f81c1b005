# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Patroni's REST API: what a member says of itself and of its group."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http.client import HTTPException
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


class CannotReadCertificate(PlatformError):
    """A file of the certificate options is missing or not the user's to read."""


class CannotReachPatroni(PlatformError):
    """Nobody who was asked answered; ``failures`` has a text for each."""

    remedy = (
        "Check that the hosts are up, that their unit patroni runs and reaches etcd, and the "
        "certificate options."
    )

    def __init__(self, failures: Sequence[str]) -> None:
        self.failures = tuple(failures)
        super().__init__(f"Patroni did not answer {'; '.join(failures)}. {self.remedy}")


class AnswerLost(CannotReachPatroni):
    """A change was sent and its answer did not come: it may have been done."""

    remedy = "It may have been done all the same. Run this again: it looks first."


class PatroniRefused(PlatformError):
    """Patroni answered, and said no; carries the HTTP status."""

    def __init__(self, request: str, words: str, status: int) -> None:
        self.status = status
        super().__init__(
            f"Patroni refused {request}: {words} (status {status}). See `patronictl list` and "
            "`journalctl -u patroni` on that host, then run the same again."
        )


class Api:
    """Requests with a client certificate; ``sent`` holds the writing ones."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self.sent: list[str] = []

    def get(self, url: str) -> dict[str, Any]:
        """The JSON of a member's answer, also of one that says it is not well."""
        return self._request("GET", url, None, REQUEST_TIMEOUT_S)

    def send(
        self, method: str, url: str, body: Mapping[str, Any], timeout_s: float = REQUEST_TIMEOUT_S
    ) -> None:
        """Send a change and wait for the answer, which comes when it is done.

        Raises PatroniRefused with Patroni's own words, and AnswerLost.
        """
        self.sent.append(f"{method} {url} {json.dumps(body, sort_keys=True)}")
        self._request(method, url, body, timeout_s)

    def _request(
        self, method: str, url: str, body: Mapping[str, Any] | None, timeout_s: float
    ) -> dict[str, Any]:
        for option in CLIENT_OPTIONS:
            path = self._options[option]
            if path and not os.access(path, os.R_OK):
                raise CannotReadCertificate(
                    f"Cannot read {option} {path}. Correct the path, or run as a user that may "
                    "read it (become: true)."
                )
        try:
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
                    return _json(response.read())
            except HTTPError as error:
                answer = error.read()
                if method == "GET" and error.code == 503:
                    return _json(answer)
                words = _plain(answer) or error.reason
                raise PatroniRefused(f"{method} {url}", words, error.code) from error
        except (URLError, ValueError) as error:  # before anything was sent
            why = getattr(error, "reason", error)
            raise CannotReachPatroni([f"{method} {url} ({why})"]) from error
        except (OSError, HTTPException) as error:
            lost = CannotReachPatroni if method == "GET" else AnswerLost
            raise lost([f"{method} {url} ({error})"]) from error


@dataclass(frozen=True)
class Member:
    """One member of a group, as Patroni's /cluster tells it."""

    name: str
    role: str
    state: str
    api_url: str
    lag_bytes: int | None = None
    """None where Patroni does not know it, and for the primary."""
    pending_restart: bool = False
    pending_settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Settings that wait for a restart: ``old_value`` and ``new_value`` of each."""
    nofailover: bool = False

    @property
    def is_primary(self) -> bool:
        return self.role == "leader"

    @property
    def is_sync(self) -> bool:
        return self.role in ("sync_standby", "quorum_standby")

    @property
    def serves(self) -> bool:
        return self.state in ("running", "streaming")

    @property
    def streams(self) -> bool:
        return not self.is_primary and self.state == "streaming"


@dataclass(frozen=True)
class Group:
    """One group of the Citus cluster: its primary and its standbys."""

    number: int
    members: tuple[Member, ...]
    paused: bool = False
    synchronous: bool = False
    """Commits wait for the standbys that are named synchronous; only they may take over."""
    missing: tuple[str, ...] = ()
    """Names that are declared and that Patroni does not know (any more)."""

    @property
    def primary(self) -> Member | None:
        return next((member for member in self.members if member.is_primary), None)

    @property
    def standbys(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if not member.is_primary)

    @property
    def is_whole(self) -> bool:
        """Whether the primary serves, all standbys stream and nobody is missing."""
        primary = self.primary
        return (
            primary is not None
            and primary.serves
            and all(member.streams for member in self.standbys)
            and not self.missing
        )

    def member(self, name: str) -> Member | None:
        return next((member for member in self.members if member.name == name), None)

    def candidates(self) -> tuple[Member, ...]:
        """Who can take over, least to lose first; where some are synchronous, only they."""
        able = [member for member in self.standbys if member.streams and not member.nofailover]
        synchronous = [member for member in able if member.role == "sync_standby"]
        return tuple(sorted(synchronous or able, key=_least_lag))

    def __str__(self) -> str:
        said = [
            f"{member.name} ({member.role}, {member.state}"
            f"{', waits for a restart' if member.pending_restart else ''})"
            for member in self.members
        ]
        return ", ".join([*said, *(f"{name} (unknown to Patroni)" for name in self.missing)])


def read_groups(api: Api, members: Sequence[Mapping[str, Any]]) -> dict[int, Group]:
    """Read each group from the first of its declared members that answers.

    ``members`` are mappings with ``name``, ``url`` and ``group``. Raises
    CannotReachPatroni when no member of a group answers.
    """
    numbers = sorted({int(member["group"]) for member in members})
    return {number: read_declared(api, members, number) for number in numbers}


def read_declared(api: Api, members: Iterable[Mapping[str, Any]], number: int) -> Group:
    """As read_groups, of one group."""
    of_group = [member for member in members if int(member["group"]) == number]
    group = read_group(api, number, [member["url"] for member in of_group])
    missing = tuple(m["name"] for m in of_group if group.member(m["name"]) is None)
    return replace(group, missing=missing)


def read_group(api: Api, number: int, urls: Iterable[str]) -> Group:
    """Read one group from the first of ``urls`` that answers."""
    failures: list[str] = []
    for url in urls:
        base = url.rstrip("/")
        try:
            cluster = api.get(f"{base}/cluster")
            members = _members(base, cluster)
            settings = api.get(f"{base}/config")
        except CannotReachPatroni as error:
            failures.extend(error.failures)
            continue
        return Group(
            number=number,
            members=members,
            paused=bool(cluster.get("pause", False)),
            synchronous=as_bool(settings.get("synchronous_mode")) is True,
        )
    raise CannotReachPatroni(failures)


def read_members(api: Api, url: str) -> tuple[Member, ...]:
    """The members of the group that the member at ``url`` belongs to."""
    return _members(url, api.get(f"{url}/cluster"))


def as_bool(value: Any) -> Any:
    """A boolean where ``value`` is one in PostgreSQL's words, else ``value``."""
    return {"true": True, "on": True, "false": False, "off": False}.get(str(value).lower(), value)


def _least_lag(member: Member) -> tuple[bool, int, str]:
    return member.lag_bytes is None, member.lag_bytes or 0, member.name


def _members(url: str, cluster: Mapping[str, Any]) -> tuple[Member, ...]:
    if "members" not in cluster:
        raise CannotReachPatroni([f"GET {url}/cluster (something else than Patroni answers there)"])
    return tuple(_member(said) for said in cluster["members"])


def _member(said: Mapping[str, Any]) -> Member:
    tags = said.get("tags", {})
    no_priority = str(tags.get("failover_priority")) == "0"
    return Member(
        name=said["name"],
        role=said["role"],
        state=said["state"],
        api_url=(said.get("api_url") or "").removesuffix("/patroni"),
        lag_bytes=said["lag"] if isinstance(said.get("lag"), int) else None,
        pending_restart=bool(said.get("pending_restart", False)),
        pending_settings=said.get("pending_restart_reason", {}),
        nofailover=as_bool(tags.get("nofailover", no_priority)) is True,
    )


def _plain(answer: bytes) -> str:
    """Patroni's own words; its HTTP server's error page says no more than the reason."""
    text = answer.decode(errors="replace").strip()
    return "" if text.startswith("<") else text


def _json(answer: bytes) -> dict[str, Any]:
    """An answer that is no object (as the plain words for a POST) is an empty one."""
    try:
        value = json.loads(answer)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
