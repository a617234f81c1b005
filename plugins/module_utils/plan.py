# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The form that every declarative module of this collection shares.

A module reads what is there, plans (a pure function, the only place that
decides), and applies the plan. Check mode and diff mode print that same plan,
so they cannot disagree with what a run does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class PlatformError(Exception):
    """A condition that a user can cause or mend; its text is shown to them.

    Raise a subclass named for what went wrong. Only a module's ``main()``
    turns it into ``fail_json``.
    """


@dataclass(frozen=True)
class Refusal:
    """Why one part of what was declared cannot be done."""

    asked: str
    """What was asked, with the declared value: ``table orders: column cid``."""
    found: str
    """What is there: ``orders has the columns id, customer_id``."""
    why: str
    """Why the one does not go with the other."""
    remedy: str
    """What the user does about it, as an instruction."""

    def __str__(self) -> str:
        return f"{self.asked}: {self.why}. There is: {self.found}. To go on: {self.remedy}."


class PlanRefused(PlatformError):
    """At least one part of a plan cannot be done, so none of it is."""

    def __init__(self, refusals: tuple[Refusal, ...]) -> None:
        self.refusals = refusals
        super().__init__("Nothing was changed. " + " | ".join(str(refusal) for refusal in refusals))


@dataclass(frozen=True)
class Action:
    """One step of a plan: what people read and what the service is sent."""

    sentence: str
    """What it does, for people: ``move shard group 102011 from w1 to w3``."""
    statement: str
    """What is sent: an SQL statement with %s in it, or ``PATCH /config``."""
    parameters: tuple[Any, ...] = ()
    """The values of the statement, in order (or the body of a request)."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What ``apply`` needs beside the statement (such as ``background``)."""


@dataclass(frozen=True)
class Plan:
    """What a run would do, whole: nothing is applied if a part is refused."""

    actions: tuple[Action, ...] = ()
    before: Mapping[str, Any] = field(default_factory=dict)
    """The declared part of the present state, by name of the thing."""
    after: Mapping[str, Any] = field(default_factory=dict)
    """The same once all actions are done."""
    refusals: tuple[Refusal, ...] = ()

    @property
    def changed(self) -> bool:
        return bool(self.actions)

    @property
    def sentences(self) -> list[str]:
        return [action.sentence for action in self.actions]

    @property
    def diff(self) -> dict[str, Any]:
        """Only the things that differ, so that a long list stays readable."""
        names = [
            name
            for name in sorted({*self.before, *self.after})
            if self.before.get(name) != self.after.get(name)
        ]
        return {
            "before": {name: self.before[name] for name in names if name in self.before},
            "after": {name: self.after[name] for name in names if name in self.after},
        }

    def raise_if_refused(self) -> None:
        """Raise PlanRefused with every refusal at once, not only the first."""
        if self.refusals:
            raise PlanRefused(self.refusals)


def counted(count: int, thing: str) -> str:
    """A number of things in a sentence: ``1 partition``, ``2 partitions``."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
