# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What kafka_user would do: the declared users against those that there are.

Pure: ``plan`` reads and writes nothing. It is the only place that decides. No password is in a
plan: its actions name the user, and what is sent is made from the declaration.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.kafka_users import (
    MECHANISMS,
    QUOTAS,
    SCRAM_SHA_512,
    User,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import Action, Plan, Refusal

MECHANISM = MECHANISMS[SCRAM_SHA_512]
CREDENTIALS = "AlterUserScramCredentials"
ALTER_QUOTAS = "AlterClientQuotas"
FEWEST_ITERATIONS, MOST_ITERATIONS = 4096, 16384
"""What Kafka takes for SCRAM-SHA-512."""


@dataclass(frozen=True)
class Declaration:
    """One user as it was declared."""

    name: str
    password: str | None = field(default=None, repr=False)
    iterations: int | None = None
    update_password: bool = True
    """Whether a password that is another is changed, or only set where there is none."""
    quotas: Mapping[str, Any] = field(default_factory=dict)
    """A number, or None: there is not to be one."""
    state: str = "present"

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Declaration:
        return cls(
            name=options["name"],
            password=options["password"],
            iterations=options["iterations"],
            update_password=options["update_password"] in (None, "always"),
            quotas=options["quotas"] or {},
            state=options["state"] or "present",
        )

    @property
    def is_wanted(self) -> bool:
        return self.state == "present"

    def __str__(self) -> str:
        return f"user {self.name}"


@dataclass(frozen=True)
class Current:
    """All that is there."""

    users: Mapping[str, User]
    accepted: frozenset[str] = frozenset()
    """Declared users that can log in with the password that is declared."""
    login: str = ""
    """Whom this task is logged in as."""


@dataclass(frozen=True)
class UserPlan(Plan):
    """A plan that also tells how the declared users are once it is done."""

    users: tuple[dict[str, Any], ...] = ()


def to_try(declared: Sequence[Declaration], users: Mapping[str, User]) -> list[Declaration]:
    """Whose password has to be tried by a login, since Kafka does not tell it."""
    return [
        each
        for each in declared
        if each.is_wanted
        and each.password
        and each.update_password
        and MECHANISM in users.get(each.name, User(each.name)).iterations
    ]


def plan(current: Current, declared: Sequence[Declaration]) -> UserPlan:
    """What to do: credentials first, then quotas, one request each."""
    refusals = tuple(_refusals(current, declared))
    if refusals:
        return UserPlan(refusals=refusals)
    actions: list[Action] = []
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    facts: list[dict[str, Any]] = []
    for each in declared:
        present = current.users.get(each.name)
        if not each.is_wanted:
            if present is not None:
                actions += _deletion(present)
                before[each.name] = _shown(present.iterations, present.quotas)
            continue
        credential = _credential(each, present, current)
        quotas = _quotas(each, present)
        actions += [*credential, *quotas]
        there = present or User(each.name)
        iterations = dict(there.iterations)
        if credential:
            iterations[MECHANISM] = credential[0].options["iterations"]
        limits = {**there.quotas, **each.quotas}
        left = {key: _quota(value) for key, value in limits.items() if value is not None}
        managed = [key for key in there.quotas if key in each.quotas]
        if present is not None:
            before[each.name] = _shown(
                present.iterations, {key: present.quotas[key] for key in managed}
            )
        after[each.name] = _shown(
            iterations, {key: left[key] for key in left if key in each.quotas}
        )
        if credential:  # a new password is to be seen, not the password
            after[each.name] |= {"password": "(new)"}
        facts.append({"name": each.name, **_shown(iterations, left)})
    return UserPlan(
        tuple(sorted(actions, key=lambda action: action.statement == ALTER_QUOTAS)),
        before,
        after,
        users=tuple(facts),
    )


def _refusals(current: Current, declared: Sequence[Declaration]) -> Iterator[Refusal]:
    for name, count in Counter(each.name for each in declared).items():
        if count > 1:
            yield Refusal(
                f"user {name}",
                f"it is in the list {count} times",
                "a user can be declared only once",
                "leave one of them",
            )
    for each in declared:
        present = current.users.get(each.name)
        has_credential = present is not None and MECHANISM in present.iterations
        if not each.name.strip():
            yield Refusal(
                "a user without a name",
                repr(each.name),
                "nobody could log in as it",
                "give it a name",
            )
        if each.is_wanted:
            yield from _refusals_of_password(each, has_credential)
            yield from _refusals_of_quotas(each)
        elif each.name == current.login:
            yield Refusal(
                f"{each} absent",
                "this task is logged in as that user",
                "it would lock itself out",
                "log in as another user to remove this one",
            )


def _refusals_of_password(each: Declaration, has_credential: bool) -> Iterator[Refusal]:
    if each.password == "":
        yield Refusal(
            f"{each}: password", "it is empty", "Kafka takes no empty password", "set one"
        )
    if each.iterations is None:
        return
    if not FEWEST_ITERATIONS <= each.iterations <= MOST_ITERATIONS:
        yield Refusal(
            f"{each}: iterations {each.iterations}",
            f"{FEWEST_ITERATIONS} to {MOST_ITERATIONS} are possible",
            "Kafka takes no others",
            "set a number between these, or leave it out",
        )
    elif not each.password:
        yield Refusal(
            f"{each}: iterations {each.iterations}",
            "it has a credential" if has_credential else "it has no credential",
            "a credential can only be made from the password",
            "set password as well",
        )


def _refusals_of_quotas(each: Declaration) -> Iterator[Refusal]:
    for key, value in each.quotas.items():
        if key not in QUOTAS:
            near = get_close_matches(str(key), QUOTAS, n=1)
            yield Refusal(
                f"{each}: quota {key}",
                f"quotas are {', '.join(QUOTAS)}",
                "it is none of them",
                f"write {near[0]}, if that is meant" if near else "leave it out",
            )
        elif value is not None and _quota(value) is None:
            yield Refusal(
                f"{each}: quota {key} {value}",
                "a quota is a number above 0",
                "it would be no limit, or the user could do nothing at all",
                "set null to take the quota off, or an ACL that denies",
            )


def _credential(each: Declaration, present: User | None, current: Current) -> list[Action]:
    if not each.password:
        return []
    there = (present or User(each.name)).iterations.get(MECHANISM)
    iterations = each.iterations or there or FEWEST_ITERATIONS
    if there is None:
        sentence = f"give user {each.name} a password ({MECHANISM}, {iterations} iterations)"
    elif each.update_password and each.name not in current.accepted:
        sentence = f"change the password of user {each.name}"
    elif each.update_password and there != iterations:
        sentence = (
            f"make the credential of user {each.name} anew with {iterations} iterations, "
            f"instead of {there}"
        )
    else:
        return []
    return [Action(sentence, CREDENTIALS, options={"name": each.name, "iterations": iterations})]


def _quotas(each: Declaration, present: User | None) -> list[Action]:
    there = (present or User(each.name)).quotas
    actions = []
    for key, declared in sorted(each.quotas.items()):
        value = _quota(declared)
        if value == there.get(key):
            continue
        now = _written(there.get(key))
        if value is None:
            sentence = f"take {key} off user {each.name}, which is {now}"
        else:
            sentence = f"set {key} of user {each.name} from {now} to {_written(value)}"
        actions.append(_quota_action(sentence, each.name, key, value))
    return actions


def _deletion(present: User) -> list[Action]:
    """Quotas of kinds that cannot be declared here go as well: nobody is left to have them."""
    numbers = {name: number for number, name in MECHANISMS.items()}
    return [
        *(
            Action(
                f"remove user {present.name} ({mechanism})",
                CREDENTIALS,
                ({"name": present.name, "mechanism": numbers[mechanism]},),
                {"name": present.name},
            )
            for mechanism in sorted(present.iterations)
            if mechanism in numbers
        ),
        *(
            _quota_action(
                f"take {key} off user {present.name}, which is {_written(value)}",
                present.name,
                key,
                None,
            )
            for key, value in sorted(present.quotas.items())
        ),
    ]


def _quota_action(sentence: str, name: str, key: str, value: float | None) -> Action:
    body = {"key": key, "value": float(value or 0), "remove": value is None}
    return Action(sentence, ALTER_QUOTAS, (body,), {"name": name})


def _quota(declared: Any) -> float | None:
    """As a number; None where it is none that can be a quota."""
    try:
        value = float(declared)
    except (TypeError, ValueError):
        return None
    return value if 0 < value < math.inf else None


def _written(value: float | None) -> str:
    if value is None:
        return "none"
    return str(int(value)) if value == int(value) else str(value)


def _shown(iterations: Mapping[str, int], quotas: Mapping[str, Any]) -> dict[str, Any]:
    return {"credentials": dict(iterations), "quotas": dict(sorted(quotas.items()))}
