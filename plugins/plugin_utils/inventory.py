# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""An inventory as its author wrote it, read without touching a host.

Ansible's own objects stop here: the rules of ``inventory_rules`` see plain
groups, hosts and values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jinja2
import jinja2.meta
from ansible.errors import AnsibleError, AnsibleUndefinedVariable
from ansible.inventory.manager import InventoryManager
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible.utils.vars import load_extra_vars
from ansible.vars.plugins import get_vars_from_inventory_sources
from ansible_collections.bss.platform.plugins.plugin_utils.role_variables import (
    Specs,
    own_prefixes,
    prefix,
)

# Ansible's, not ours, but judged too.
ADDRESS_SPECS: Specs = {"ansible_host": {"type": "str"}, "ansible_port": {"type": "int"}}

_LOOKUPS = {"lookup", "query", "q"}
_FACT = re.compile(r"\bansible_\w+")
_JINJA = jinja2.Environment(  # noqa: S701 - parses templates of variables, renders none
    extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"]
)


@dataclass(frozen=True)
class BadValue:
    """A value that is not of the type its specification gives."""

    value: str
    """As Python shows it; ``(secret)`` for a variable with no_log."""
    error: str
    """What Ansible's own check says of it."""


@dataclass(frozen=True)
class Host:
    """A host and what it has for the variables of the collection."""

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    """Templated and of their specified type, as far as the controller can know them."""
    undecided: frozenset[str] = frozenset()
    """Variables whose value a fact, a lookup or a role completes later."""
    untemplatable: Mapping[str, str] = field(default_factory=dict)
    """Variables whose template fails, with what Ansible says of it."""
    ill_typed: Mapping[str, BadValue] = field(default_factory=dict)

    def has_unknown(self, name: str) -> bool:
        """Whether a variable is set, but not to a value that a rule could judge."""
        return any(name in names for names in (self.undecided, self.untemplatable, self.ill_typed))


@dataclass(frozen=True)
class Declaration:
    """One place of an inventory that gives variables their values."""

    place: str
    """``group us_east``, ``host us-c1`` or ``command line``."""
    hosts: frozenset[str]
    values: Mapping[str, Any]
    """As written: templates are not rendered."""


@dataclass(frozen=True)
class Inventory:
    """What a run was given: every host of it, whatever ``--limit`` says."""

    groups: Mapping[str, tuple[str, ...]]
    hosts: Mapping[str, Host]
    declarations: tuple[Declaration, ...]
    specs: Specs
    """What is known of each variable that the collection reads."""

    def value(self, host: str, name: str) -> Any:
        """The value that a role would see on a host; None where that is not known here."""
        if name in self.hosts[host].values:
            return self.hosts[host].values[name]
        if self.hosts[host].has_unknown(name):
            return None
        default = self.specs.get(name, {}).get("default")
        return None if _is_template(default) else default

    def places(self, name: str, hosts: Sequence[str]) -> str:
        """Where a variable of these hosts is set: ``group us_east, host us-w1``."""
        places = [
            declaration.place
            for declaration in self.declarations
            if name in declaration.values and not declaration.hosts.isdisjoint(hosts)
        ]
        return ", ".join(places) or ", ".join(f"host {host}" for host in hosts)


def read_inventory(
    loader: DataLoader,
    sources: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    hostvars: Any,
    specs: Specs,
) -> Inventory:
    """Read the inventory of a run.

    loader: the run's, which knows its directory and vault passwords.
    sources: what was given with ``-i`` (the variable ansible_inventory_sources).
    groups, hostvars: the variables of these names.
    """
    return Inventory(
        groups={name: tuple(hosts) for name, hosts in groups.items()},
        hosts={name: _read_host(name, hostvars, specs, loader) for name in groups["all"]},
        declarations=tuple(_declarations(loader, sources)),
        specs=specs,
    )


def _declarations(loader: DataLoader, sources: Sequence[str]) -> Iterator[Declaration]:
    """Who gives which values. The run's hostvars cannot tell: they also hold facts
    and what earlier plays registered, and know nothing of groups."""
    inventory = InventoryManager(loader=loader, sources=list(sources))
    for kind, entities in (("group", inventory.groups), ("host", inventory.hosts)):
        for name, entity in entities.items():
            beside = get_vars_from_inventory_sources(loader, list(sources), [entity], "all")
            hosts = [name] if kind == "host" else [host.name for host in entity.get_hosts()]
            yield Declaration(f"{kind} {name}", frozenset(hosts), {**entity.vars, **beside})
    everywhere = frozenset(inventory.hosts)
    yield Declaration("command line", everywhere, load_extra_vars(loader))


def _read_host(name: str, hostvars: Any, specs: Specs, loader: DataLoader) -> Host:
    variables = hostvars.raw_get(name)
    templar = Templar(loader=loader, variables={**variables, "hostvars": hostvars})
    prefixes = own_prefixes(specs)
    values: dict[str, Any] = {}
    undecided: set[str] = set()
    untemplatable: dict[str, str] = {}
    ill_typed: dict[str, BadValue] = {}
    for variable, spec in {**specs, **ADDRESS_SPECS}.items():
        if variable not in variables:
            continue
        try:
            value = _render(variables[variable], variables, templar, prefixes)
        except _CompletedLater:
            undecided.add(variable)
            continue
        except (AnsibleError, jinja2.TemplateSyntaxError) as error:
            untemplatable[variable] = str(error)
            continue
        check = ArgumentSpecValidator({variable: dict(spec)}).validate({variable: value})
        if not check.error_messages:
            values[variable] = check.validated_parameters[variable]
        elif spec.get("no_log"):
            ill_typed[variable] = BadValue("(secret)", "a value that is not shown")
        else:
            ill_typed[variable] = BadValue(repr(value), "; ".join(check.error_messages))
    return Host(name, values, frozenset(undecided), untemplatable, ill_typed)


class _CompletedLater(Exception):
    """A value has parts that only the host, or a role that runs there, knows."""


def _render(
    value: Any, variables: Mapping[str, Any], templar: Templar, prefixes: frozenset[str]
) -> Any:
    """The value with its templates rendered; raises what Ansible or Jinja raises."""
    names, texts = _references(value, variables)
    # A lookup may make what it reads (a password): not before its time.
    if names & _LOOKUPS:
        raise _CompletedLater
    try:
        return templar.template(value)
    except AnsibleUndefinedVariable:
        of_a_role = any(prefix(name) in prefixes for name in names - variables.keys())
        if of_a_role or any(_FACT.search(text) for text in texts):
            raise _CompletedLater from None
        raise


def _references(value: Any, variables: Mapping[str, Any]) -> tuple[set[str], list[str]]:
    """The names that a value's templates use, directly or through other variables,
    and the texts of those templates. Raises jinja2.TemplateSyntaxError."""
    names: set[str] = set()
    texts: list[str] = []
    waiting = [value]
    while waiting:
        for text in _templates(waiting.pop()):
            texts.append(text)
            used = jinja2.meta.find_undeclared_variables(_JINJA.parse(text)) - names
            names |= used
            waiting += [variables[name] for name in used if name in variables]
    return names, texts


def _templates(value: Any) -> Iterator[str]:
    """Every string with a template in a value, however deep."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _templates(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _templates(item)
    elif _is_template(value):
        yield str(value)


def _is_template(value: Any) -> bool:
    return isinstance(value, str) and ("{{" in value or "{%" in value)
