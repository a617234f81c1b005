# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Every role says the same of its variables in its defaults and in its argument specs."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.bss.platform.plugins.plugin_utils.role_variables import (
    entry_points,
    spec_files,
)

CHECKOUT = Path(__file__).parents[2]
ROLES = sorted(path.name for path in (CHECKOUT / "roles").iterdir() if path.is_dir())

# Ways to call a role, and what they call it by.
ROLE_TASKS = ("ansible.builtin.include_role", "ansible.builtin.import_role")


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None


def role_options(role: str) -> dict[str, dict[str, Any]]:
    """Options of all entry points of a role."""
    spec_file = CHECKOUT / "roles" / role / "meta" / "argument_specs.yml"
    options: dict[str, dict[str, Any]] = {}
    for _name, entry_point in entry_points(spec_file):
        options |= entry_point.get("options", {})
    return options


def own_defaults(role: str) -> dict[str, Any]:
    return load(CHECKOUT / "roles" / role / "defaults" / "main.yml") or {}


def seen_defaults(role: str) -> dict[str, Any]:
    """Defaults of a role and of the roles that it depends on."""
    meta = load(CHECKOUT / "roles" / role / "meta" / "main.yml") or {}
    defaults: dict[str, Any] = {}
    for dependency in meta.get("dependencies", []):
        defaults |= seen_defaults(dependency["role"].removeprefix("bss.platform."))
    return defaults | own_defaults(role)


def task_files() -> Iterator[Path]:
    for pattern in ("roles/*/tasks/**/*.yml", "roles/*/handlers/*.yml", "playbooks/**/*.yml"):
        yield from CHECKOUT.glob(pattern)


def dictionaries(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping in a document, however deep: plays, blocks, tasks."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from dictionaries(item)


def called_entry_points() -> list[tuple[str, str]]:
    """(role, entry point) of every call of one of our roles by a task."""
    calls = set()
    for path in task_files():
        for mapping in dictionaries(load(path)):
            for module in ROLE_TASKS:
                call = mapping.get(module)
                if isinstance(call, dict) and call["name"].startswith("bss.platform."):
                    role = call["name"].removeprefix("bss.platform.")
                    calls.add((role, call.get("tasks_from", "main").removesuffix(".yml")))
    return sorted(calls)


def as_text(value: Any) -> Any:
    """Templates compare without the white space that their YAML style adds."""
    return " ".join(value.split()) if isinstance(value, str) else value


def has_template(value: Any) -> bool:
    return "{{" in str(value)


def test_there_are_roles() -> None:
    assert {"citus_coordinator", "citus_worker", "etcd"} <= set(ROLES)


@pytest.mark.parametrize("role", ROLES)
def test_every_default_is_specified(role: str) -> None:
    assert own_defaults(role).keys() <= role_options(role).keys()


@pytest.mark.parametrize("role", ROLES)
def test_defaults_are_as_specified(role: str) -> None:
    specified = {
        name: as_text(option["default"])
        for name, option in role_options(role).items()
        if "default" in option
    }
    defaults = {name: as_text(value) for name, value in seen_defaults(role).items()}
    assert specified == {name: defaults[name] for name in specified if name in defaults}
    assert own_defaults(role).keys() <= specified.keys() | {
        # What a caller must give may have an empty default, for ansible-lint's sake.
        # A computed number cannot be specified: a template is no number to antsibull-docs.
        name
        for name, option in role_options(role).items()
        if option.get("required")
        or (
            option["type"] in ("int", "float", "bool")
            and has_template(own_defaults(role).get(name))
        )
    }


@pytest.mark.parametrize("role", ROLES)
def test_defaults_are_of_their_type(role: str) -> None:
    for name, option in role_options(role).items():
        value = option.get("default")
        if value is not None and not has_template(value):
            check = ArgumentSpecValidator({name: dict(option)}).validate({name: value})
            assert check.error_messages == []


@pytest.mark.parametrize("role", ROLES)
def test_every_option_says_what_it_means(role: str) -> None:
    for name, option in role_options(role).items():
        assert option.get("type") and option.get("description"), name


@pytest.mark.parametrize(("role", "entry_point"), called_entry_points())
def test_called_entry_points_are_specified(role: str, entry_point: str) -> None:
    spec_file = CHECKOUT / "roles" / role / "meta" / "argument_specs.yml"
    assert entry_point in dict(entry_points(spec_file))


@pytest.mark.parametrize("role", ROLES)
def test_specified_entry_points_have_tasks(role: str) -> None:
    tasks = CHECKOUT / "roles" / role / "tasks"
    if not any(tasks.glob("*.yml")):
        assert list(dict(entry_points(tasks.parent / "meta" / "argument_specs.yml"))) == ["main"]
        return
    for name, _spec in entry_points(tasks.parent / "meta" / "argument_specs.yml"):
        assert (tasks / f"{name}.yml").exists(), name


@pytest.mark.parametrize("said", ["type", "elements", "choices", "default"])
def test_specs_that_share_a_variable_agree_on_its(said: str) -> None:
    values: dict[str, set[str]] = defaultdict(set)
    for spec_file in spec_files(CHECKOUT):
        for _name, entry_point in entry_points(spec_file):
            for variable, option in entry_point.get("options", {}).items():
                if said in option:
                    values[variable].add(repr(as_text(option[said])))
    assert {variable: found for variable, found in values.items() if len(found) > 1} == {}


@pytest.mark.parametrize("role", ROLES)
def test_no_second_default_in_tasks_and_templates(role: str) -> None:
    """A default of a role's own variable stands in defaults/main.yml and nowhere else."""
    home = CHECKOUT / "roles" / role
    names = "|".join(map(re.escape, own_defaults(role)))
    second = (
        re.compile(rf"\b({names})\s*\|\s*(ansible\.builtin\.)?(d|default)\(") if names else None
    )
    for folder in ("tasks", "templates", "vars", "handlers"):
        for path in home.glob(f"{folder}/**/*"):
            if path.is_file() and second is not None:
                found = second.findall(path.read_text(encoding="utf-8"))
                assert not found, f"{path.relative_to(CHECKOUT)}: {found}"
