# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What every part of the bench does: run playbooks, read what they measured, draw bars."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

BIN = Path(sys.executable).parent
PROJECT = Path(__file__).resolve().parent.parent


def say(what: str) -> None:
    """Show how far the bench is; its result alone goes to stdout."""
    print(f"{what} ...", file=sys.stderr, flush=True)


def playbook(
    name: Path | str, inventory: str, *more: str, settings: Mapping[str, str] | None = None
) -> str:
    """Run a playbook and return what it printed; its failure ends the bench."""
    run = subprocess.run(
        [BIN / "ansible-playbook", "-i", inventory, str(name), *more],
        cwd=PROJECT,
        env=os.environ | dict(settings or {}),
        capture_output=True,
        text=True,
    )
    if run.returncode:
        sys.exit(f"{name} failed:\n{run.stdout[-4000:]}\n{run.stderr[-2000:]}")
    return run.stdout


def measure(
    name: str, inventory: str, strategy: str | None = None, **variables: Any
) -> dict[str, Any]:
    """What the bench's playbook of this name has written."""
    say(f"{name} {strategy or ''}".rstrip())
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "output.json"
        settings = {"ANSIBLE_STRATEGY": strategy} if strategy else {}
        given = json.dumps({"bench_output": str(output), **variables})
        playbook(f"bench/{name}.yml", inventory, "-e", given, settings=settings)
        measured: dict[str, Any] = json.loads(output.read_text())
        return measured


def inventory_of(inventory: str) -> dict[str, Any]:
    """The inventory as ``ansible-inventory --list`` gives it: by group, and ``_meta.hostvars``."""
    listing = subprocess.run(
        [BIN / "ansible-inventory", "-i", inventory, "--list"],
        cwd=PROJECT,
        check=True,
        capture_output=True,
    )
    tree: dict[str, Any] = json.loads(listing.stdout)
    return tree


def hosts_of(inventory: str, group: str) -> list[str]:
    hosts: list[str] = inventory_of(inventory)[group]["hosts"]
    return hosts


def title(figure: plt.Figure, result: dict[str, Any], what: str) -> None:
    where = result["machine"]
    figure.suptitle(
        f"bss.platform, {result['when']}: {where['cores']} x {where['cpu']}, "
        f"{where['memory_gib']} GiB, {what}",
        fontsize=9,
    )


def bars(axis: plt.Axes, title: str, values: dict[str, float], unit: str) -> None:
    drawn = axis.barh(list(values), list(values.values()))
    axis.bar_label(
        drawn, fmt=lambda value: f"{value:{',.0f' if value >= 100 else '.3g'}}", padding=3
    )
    axis.invert_yaxis()
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(unit)
    axis.margins(x=0.15)
