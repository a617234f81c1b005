# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What kafka_feature would do: the declared levels of features against the finalised ones.

Pure: ``plan`` reads and writes nothing. It is the only place that decides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.plan import Action, Plan, Refusal

API = "UpdateFeatures"
UPGRADE = 1
LATEST = "latest"
METADATA = "metadata.version"

Levels = Mapping[str, tuple[int, int]]
"""The least and the highest level of features, by name."""


@dataclass(frozen=True)
class Current:
    """All that is there."""

    finalized: Mapping[str, int]
    """By name; a feature that is not in it is at level 0."""
    supported: Mapping[int, Levels]
    """By the broker's number."""

    @property
    def common(self) -> dict[str, tuple[int, int]]:
        """What all of these brokers support; a feature that one does not know, it has at 0."""
        names = {name for levels in self.supported.values() for name in levels}
        of_all = {
            name: [levels.get(name, (0, 0)) for levels in self.supported.values()] for name in names
        }
        return {
            name: (max(least for least, _most in each), min(most for _least, most in each))
            for name, each in sorted(of_all.items())
        }

    def short_of(self, name: str, level: int) -> list[int]:
        """The brokers that do not support that level."""
        return [
            broker
            for broker, levels in sorted(self.supported.items())
            if not levels.get(name, (0, 0))[0] <= level <= levels.get(name, (0, 0))[1]
        ]


@dataclass(frozen=True)
class FeaturePlan(Plan):
    """A plan that also tells of all features once it is done."""

    features: Mapping[str, dict[str, int]] = field(default_factory=dict)


def plan(current: Current, declared: Mapping[str, Any]) -> FeaturePlan:
    """What to raise, in one request; metadata.version first, since others ask for it."""
    refusals: list[Refusal] = []
    levels: dict[str, int] = {}
    common = current.common
    for name, asked in sorted(declared.items()):
        wrong = list(_refusals_of(name, asked, current))
        refusals += wrong
        if not wrong:
            levels[name] = common[name][1] if asked == LATEST else int(asked)
    raised = {
        name: level
        for name, level in sorted(levels.items(), key=lambda each: each[0] != METADATA)
        if level > current.finalized.get(name, 0)
    }
    return FeaturePlan(
        actions=tuple(_action(current, name, level) for name, level in raised.items()),
        before={name: current.finalized.get(name, 0) for name in levels},
        after={**{name: current.finalized.get(name, 0) for name in levels}, **raised},
        refusals=tuple(refusals),
        features={
            name: {
                "finalized_before": current.finalized.get(name, 0),
                "finalized": raised.get(name, current.finalized.get(name, 0)),
                "supported_min": least,
                "supported_max": most,
            }
            for name, (least, most) in common.items()
        },
    )


def refused_too(decided: FeaturePlan, refusals: Collection[Refusal]) -> FeaturePlan:
    """The plan with what Kafka said of it."""
    return replace(decided, refusals=(*decided.refusals, *refusals))


def _refusals_of(name: str, asked: Any, current: Current) -> Iterator[Refusal]:
    common = current.common
    if name not in common:
        near = get_close_matches(name, common, n=1)
        yield Refusal(
            f"feature {name}",
            f"features {', '.join(common)}",
            "the brokers have no such feature",
            f"write {near[0]}, if that is meant" if near else "leave it out",
        )
        return
    finalized = current.finalized.get(name, 0)
    least, most = common[name]
    if asked != LATEST and not str(asked).isdecimal():
        yield Refusal(
            f"feature {name}: {asked}",
            f"levels {least} to {most}",
            f"a level is a whole number, or {LATEST}",
            "declare one of these",
        )
        return
    level = most if asked == LATEST else int(asked)
    if level < finalized:
        yield Refusal(
            f"feature {name}: {asked}",
            f"level {finalized} is finalised",
            "a cluster does not go back, since metadata that only the new level can write could "
            "be lost",
            f"declare {finalized} or more; for the old level, make a new cluster with it and "
            "mirror the topics to it",
        )
    elif level > finalized and current.short_of(name, level):
        short = current.short_of(name, level)
        yield Refusal(
            f"feature {name}: {asked}",
            f"all brokers support {least} to {most}",
            f"broker {', '.join(map(str, short))} does not support it",
            f"upgrade these first, or declare {LATEST}",
        )


def _action(current: Current, name: str, level: int) -> Action:
    finalized = current.finalized.get(name, 0)
    sentence = f"raise {name} from {finalized} to {level}"
    older = current.short_of(name, level + 1)
    if 0 < len(older) < len(current.supported):
        sentence += f", the highest that broker {', '.join(map(str, older))} supports"
    body = {"feature": name, "max_version_level": level, "upgrade_type": UPGRADE}
    return Action(sentence, API, (body,))
