# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What kafka_broker_config would do: the declared settings against those that a broker has.

Pure: ``plan`` reads and writes nothing. It is the only place that decides. Actions are in rounds:
those of one round are sent together, and hold before the next.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from ansible_collections.bss.platform.plugins.module_utils.kafka_broker_rules import (
    LISTENERS,
    OF_REASSIGNMENTS,
    belongs_to,
    has_placeholder,
    listeners_of,
    refusals_of,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_broker_settings import Setting
from ansible_collections.bss.platform.plugins.module_utils.kafka_config_changes import (
    reset,
    set_to,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_config_values import (
    is_same,
    normal,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_topics import MIN_INSYNC
from ansible_collections.bss.platform.plugins.module_utils.plan import Action, Plan, Refusal

API = "IncrementalAlterConfigs"
CLUSTER = ""
"""The name of all brokers together as a resource."""

AT_START_ONLY = (
    # Kafka says that it takes these at run time, but what was built from them before stays.
    "ssl.",
    "sasl.",
    "principal.builder.class",
    "config.providers",
    # The controllers are not told of a changed listener.
    "listeners",
    LISTENERS,
    # Once it was lowered at run time, a renewed certificate is not taken in by every thread.
    "num.network.threads",
)
DOUBLED_OR_HALVED = (
    "background.threads",
    "log.cleaner.threads",
    "num.io.threads",
    "num.recovery.threads.per.data.dir",
    "num.replica.fetchers",
    "remote.log.manager.copier.thread.pool.size",
    "remote.log.manager.expiration.thread.pool.size",
    "remote.log.manager.follower.thread.pool.size",
    "remote.log.reader.threads",
)
"""What a change at run time can at most do to these."""


@dataclass(frozen=True)
class Current:
    """All that is there."""

    broker: int
    settings: Mapping[str, Setting]
    """Of the running broker."""
    loaded: Mapping[str, str]
    """What the file said when the broker was started."""


@dataclass(frozen=True)
class BrokerPlan(Plan):
    """A plan that also tells what it cannot do."""

    restart_for: tuple[str, ...] = ()
    """Settings that the broker only takes from its file, when it starts."""


def plan(
    current: Current, declared: Mapping[str, str | None], plugin_settings: Collection[str] = ()
) -> BrokerPlan:
    """What to do at run time, and what is left for a restart.

    Where settings are refused, the actions are those of the others: they are to be tried, so that
    Kafka's own refusals can be told together with ours.
    """
    listeners = listeners_of(declared, current.settings)
    refusals: list[Refusal] = []
    accepted: dict[str, str] = {}
    for name, value in sorted(declared.items()):
        wrong = list(refusals_of(name, value, current.settings, listeners, plugin_settings))
        refusals += wrong
        if not wrong and value is not None:
            accepted[name] = value
    draft = _Draft(current)
    for name in sorted({*current.settings, *current.loaded, *declared}):
        if name in accepted or name not in declared:
            draft.add(name, accepted.get(name))
    return BrokerPlan(
        actions=tuple(sorted(draft.actions, key=lambda action: action.options["round"])),
        before=draft.before,
        after=draft.after,
        refusals=tuple(refusals),
        restart_for=tuple(draft.restart_for),
    )


def refused_too(decided: BrokerPlan, refusals: Collection[Refusal]) -> BrokerPlan:
    """The plan with what Kafka said of it."""
    return replace(decided, refusals=(*decided.refusals, *refusals))


class _Draft:
    """A plan in the making."""

    def __init__(self, current: Current) -> None:
        self.current = current
        self.actions: list[Action] = []
        self.before: dict[str, str | None] = {}
        self.after: dict[str, str | None] = {}
        self.restart_for: list[str] = []

    def add(self, name: str, wanted: str | None) -> None:
        """Decide on one setting; ``wanted`` is None where it is not declared."""
        there = self.current.settings.get(name, Setting(name))
        if name in OF_REASSIGNMENTS:
            return
        if name == MIN_INSYNC and there.is_set_on_cluster and not there.is_overridden:
            # With eligible leader replicas, brokers cannot have their own.
            if wanted is not None and not there.means(wanted):
                self._set(there, wanted, CLUSTER)
        elif wanted is None:
            self._leave_to_kafka(there)
        elif _is_taken_at_run_time(there, wanted):
            if not there.means(wanted):
                self._change(there, wanted)
        else:
            if there.is_overridden and not there.means(wanted):
                self._reset(there)
            self._restart_unless(
                there,
                is_same(there.kind, self.current.loaded.get(name), wanted) or there.means(wanted),
            )

    def _leave_to_kafka(self, there: Setting) -> None:
        if there.is_overridden:
            self._reset(there)
        loaded = self.current.loaded.get(there.name)
        self._restart_unless(
            there,
            loaded is None or there.is_set_on_cluster or is_same(there.kind, loaded, there.default),
        )

    def _change(self, there: Setting, wanted: str) -> None:
        if there.is_overridden and is_same(there.kind, there.beneath, wanted):
            self._reset(there)
        else:
            self._set(there, wanted, str(self.current.broker))

    def _restart_unless(self, there: Setting, is_settled: bool) -> None:
        if not is_settled:
            self.restart_for.append(there.name)

    def _set(self, there: Setting, wanted: str, resource: str) -> None:
        value = normal(there.kind, wanted)
        self._walk(there, list(_steps(there.name, there.value, value)), value, resource)
        self.before[there.name], self.after[there.name] = there.value, value

    def _reset(self, there: Setting) -> None:
        resource, goal = str(self.current.broker), there.beneath
        *before, _last = _steps(there.name, there.value, goal or "")
        now = self._walk(there, before, goal, resource)
        if there.secret:
            sentence = f"take the override of {there.name} off broker {resource}"
        else:
            sentence = (
                f"take {there.name} off broker {resource}, from {_shown(now)} to {_shown(goal)}"
            )
            self.before[there.name], self.after[there.name] = there.value, goal
        self._act(there.name, None, sentence, resource)

    def _walk(
        self, there: Setting, values: Collection[str], goal: str | None, resource: str
    ) -> str | None:
        """Set one value after the other; the last, or what was there."""
        now = there.value
        whose = f"broker {resource}" if resource else "all brokers"
        for value in values:
            onward = "" if value == goal else f", on the way to {goal}"
            sentence = f"set {there.name} of {whose} from {_shown(now)} to {_shown(value)}{onward}"
            self._act(there.name, value, sentence, resource)
            now = value
        return now

    def _act(self, name: str, value: str | None, sentence: str, resource: str) -> None:
        """``value`` is None where it is reset."""
        earlier = sum(action.options["name"] == name for action in self.actions)
        body = reset(name) if value is None else set_to(name, value)
        options = {"round": earlier, "resource": resource, "name": name, "value": value}
        self.actions.append(Action(sentence, API, (body,), options))


def _is_taken_at_run_time(there: Setting, wanted: str) -> bool:
    return not (
        there.read_only
        or there.secret
        or belongs_to(there.name, AT_START_ONLY)
        or has_placeholder(wanted)
    )


def _steps(name: str, now: str | None, target: str) -> Iterator[str]:
    """The values on the way to the target, which is the last."""
    if name in DOUBLED_OR_HALVED and now is not None and now.isdecimal() and target.isdecimal():
        value, last = int(now), int(target)
        while value > 0 and last > 0 and (last > value * 2 or last * 2 < value):
            value = value * 2 if last > value else (value + 1) // 2
            yield str(value)
    yield target


def _shown(value: str | None) -> str:
    return "nothing" if value in (None, "") else str(value)
