# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""lab_up leaves containers alone that only have the name of one of its hosts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).parents[2]
ASK = "community.docker.docker_host_info"
REFUSE = "ansible.builtin.assert"


def lab_play() -> dict[str, Any]:
    """The play of lab_up that makes the hosts."""
    plays = yaml.safe_load((CHECKOUT / "playbooks/lab_up.yml").read_text(encoding="utf-8"))
    return next(play for play in plays if play.get("hosts") == "localhost")


def container(name: str, lab: str | None) -> dict[str, Any]:
    """A container of a lab, or of none, as Docker Engine tells of it."""
    return {"Names": [f"/{name}"], "Labels": {"bss.platform": lab} if lab else None}


@pytest.fixture
def refusal(run_play: Callable[..., str], tmp_path: Path) -> Callable[..., str]:
    """What lab_up, in a lab bss of us-c1 and us-w1, says to these containers; '' if nothing."""
    inventory = tmp_path / "hosts.json"
    hosts = {name: {"lab_name": "bss"} for name in ("us-c1", "us-w1")}
    inventory.write_text(json.dumps({"lab": {"hosts": hosts}}))

    def refusal(*containers: dict[str, Any]) -> str:
        play = lab_play()
        play["tasks"] = [task for task in play["tasks"] if REFUSE in task]
        there = {"lab_engine": {"containers": containers}}
        said = " ".join(run_play(play, inventory=inventory, variables=there).split())
        refused = said.partition("The lab bss wants to make ")[2]
        assert refused or "failed=0" in said, said
        return refused

    return refusal


def test_it_asks_and_refuses_before_anything_is_made() -> None:
    first, second = lab_play()["tasks"][:2]
    assert ASK in first and REFUSE in second


@pytest.mark.parametrize("lab", [None, "bss-molecule"])
def test_a_stranger_of_the_same_name_is_refused(refusal: Callable[..., str], lab: str) -> None:
    said = refusal(container("us-c1", "bss"), container("us-w1", lab))
    assert said.startswith("us-w1, but Docker Engine has")


def test_its_own_and_others_containers_are_no_reason(refusal: Callable[..., str]) -> None:
    assert refusal(container("us-c1", "bss"), container("registry", None)) == ""
