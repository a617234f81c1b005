# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The variables that this collection reads, as its argument specs give them.

Nothing else lists them: a variable that a role declares in its
``meta/argument_specs.yml`` is known to validation and to the reference pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

# Not resolved: in a clone, the path leads through the link in .collections.
COLLECTION = Path(__file__).parents[2]

Specs = Mapping[str, Mapping[str, Any]]
"""Name of a variable -> its entry in argument_specs (type, default, choices, ...)."""


def spec_files(collection: Path = COLLECTION) -> list[Path]:
    """The collection's own argument specs (what belongs to no single role), then the roles'."""
    return [
        collection / "meta" / "argument_specs.yml",
        *sorted(collection.glob("roles/*/meta/argument_specs.yml")),
    ]


def entry_points(spec_file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each entry point of an argument_specs.yml with what it says of itself."""
    specs = yaml.safe_load(spec_file.read_text(encoding="utf-8"))["argument_specs"]
    yield from specs.items()


def read_specs(collection: Path = COLLECTION) -> Specs:
    """Every variable of the collection; where two roles declare one, they agree on it."""
    specs: dict[str, Mapping[str, Any]] = {}
    for spec_file in spec_files(collection):
        for _name, entry_point in entry_points(spec_file):
            for variable, spec in entry_point.get("options", {}).items():
                specs.setdefault(variable, spec)
    return specs


def read_ports(collection: Path = COLLECTION) -> Mapping[str, int]:
    """The ports that are no matter of choice, by the names that roles know them by."""
    constants = collection / "roles" / "_platform" / "vars" / "main.yml"
    variables = yaml.safe_load(constants.read_text(encoding="utf-8"))
    return {name: port for name, port in variables.items() if name.endswith("_port")}


def prefix(variable: str) -> str | None:
    """``citus_`` of ``citus_group``, ``_tls_`` of ``_tls_names``, None of ``region``."""
    word, underscore, _rest = variable.lstrip("_").partition("_")
    if not underscore:
        return None
    return variable[: len(variable) - len(variable.lstrip("_"))] + word + "_"


def own_prefixes(specs: Specs) -> frozenset[str]:
    """What the names of this collection's variables start with."""
    return frozenset(found for name in specs if (found := prefix(name)) is not None)
