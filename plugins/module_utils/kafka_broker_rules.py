# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What cannot be declared of a broker's settings, and why; pure.

What only Kafka can judge (the range of a value) is not here: it is asked by trial requests.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches

from ansible_collections.bss.platform.plugins.module_utils.kafka_broker_settings import Setting
from ansible_collections.bss.platform.plugins.module_utils.kafka_config_values import (
    BITS,
    BOOLEAN,
    DOUBLE,
    UNKNOWN,
    is_fit,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import Refusal

OF_LISTENERS = "listener.name."
LISTENERS = "listener.security.protocol.map"

OF_PLUGINS = (
    "super.users",  # StandardAuthorizer
    "allow.everyone.if.no.acl.found",
    "config.providers.",
    "metrics.jmx.",  # JmxReporter
    "rsm.config.",  # of remote storage
    "rlmm.config.",
)
"""Settings that Kafka does not list, since parts of it read them that can be replaced."""

OF_REASSIGNMENTS = (
    "leader.replication.throttled.rate",
    "follower.replication.throttled.rate",
    "replica.alter.log.dirs.io.max.bytes.per.second",
)
"""Set while replicas are moved, by whoever moves them; a file cannot have them."""

KINDS = {
    BOOLEAN: "true or false",
    DOUBLE: "a number",
    **{kind: f"a whole number of {bits} bits" for kind, bits in BITS.items()},
}


def has_placeholder(value: str) -> bool:
    """Whether a config provider is asked for the value, as in ``${file:/path:key}``."""
    return "${" in value


def belongs_to(name: str, names: Collection[str]) -> bool:
    """Whether it is one of the names; one that ends in a dot stands for all that begin so."""
    return any(name.startswith(each) if each.endswith(".") else name == each for each in names)


def refusals_of(
    name: str,
    value: str | None,
    settings: Mapping[str, Setting],
    listeners: Collection[str],
    plugin_settings: Collection[str],
) -> Iterator[Refusal]:
    """What is wrong with one declared setting. ``settings`` are all that the broker told of."""
    known = [
        each
        for each, setting in settings.items()
        if setting.kind != UNKNOWN and each not in OF_REASSIGNMENTS
    ]
    if name.startswith(OF_LISTENERS):
        defining = _defining(name, known, listeners)
    else:
        defining = name if name in known else None
    if defining is None and not belongs_to(name, (*OF_PLUGINS, *plugin_settings)):
        yield _unknown(name, known, listeners)
    elif value is None:
        yield Refusal(
            f"setting {name}",
            "no value",
            "Kafka has no such value, and would not start or take it for a text",
            "leave it out for Kafka's default",
        )
    elif defining is not None and not has_placeholder(value):
        kind = settings[defining].kind
        if not is_fit(kind, value):
            yield Refusal(
                f"setting {name}: {value}",
                f"{name} is {KINDS[kind]}",
                "the broker would not start with it",
                "declare such a value",
            )


def listeners_of(declared: Mapping[str, str | None], settings: Mapping[str, Setting]) -> list[str]:
    """Names of the listeners there are or are to be, in small letters, as in names of settings."""
    there = settings.get(LISTENERS, Setting(LISTENERS)).value
    pairs = (declared.get(LISTENERS) or there or "").split(",")
    return [pair.partition(":")[0].strip().lower() for pair in pairs]


def _defining(name: str, known: Collection[str], listeners: Collection[str]) -> str | None:
    """Which known setting that of a listener is; with SASL, the mechanism's name is before it."""
    for listener in listeners:
        prefix = f"{OF_LISTENERS}{listener}."
        if name.startswith(prefix):
            own = name[len(prefix) :]
            of_mechanism = own.partition(".")[2]
            return next((each for each in (own, of_mechanism) if each in known), None)
    return None


def _unknown(name: str, known: Collection[str], listeners: Collection[str]) -> Refusal:
    near: list[str] = []
    found = f"{len(known)} settings that Kafka has"
    if name.startswith(OF_LISTENERS):
        listener, _, own = name[len(OF_LISTENERS) :].partition(".")
        found = f"listeners {', '.join(listeners)}, each with settings that Kafka has"
        near = [
            f"{OF_LISTENERS}{one}.{other}"
            for one in get_close_matches(listener, listeners, n=1)
            for other in (own if own in known else None, *get_close_matches(own, known, n=1))
            if other is not None
        ][:1]
    else:
        near = get_close_matches(name, [*known, *OF_PLUGINS], n=1)
    remedy = f"write {near[0]}, if that is meant" if near else "leave it out"
    return Refusal(
        f"setting {name}",
        found,
        "it is none of them, and Kafka would ignore it without a word",
        f"{remedy}; if a plug-in reads it, name it in plugin_settings",
    )
