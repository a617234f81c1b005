# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""No file of the project depends on the machine or the occasion it was written on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

# Homes of the machines it is written on. Hosts of the lab have a root user too.
ABSOLUTE_PATH = re.compile(r"(?<![\w.}])/(?:work|root)/(?!\.ssh/)")
EMPTY_NAMES = {"utils", "common", "helpers", "helper", "manager", "misc"}
NAMED_BY_ANSIBLE = {"module_utils", "plugin_utils"}
# What editors, merges and patches leave beside a file.
LEFTOVER = re.compile(r"\.(orig|rej|bak|sw[a-p])$|~$")


def project_files() -> list[Path]:
    """What is committed, or would be."""
    answer = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        check=True,
    )
    paths = [CHECKOUT / name for name in answer.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


@pytest.fixture(scope="module")
def files() -> list[Path]:
    files = project_files()
    assert len(files) > 50
    return files


def test_no_path_of_this_machine(files: list[Path]) -> None:
    found = []
    for path in files:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(CHECKOUT)}:{number}: {line.strip()}"
            for number, line in enumerate(lines, start=1)
            if ABSOLUTE_PATH.search(line)
        ]
    assert found == []


def test_names_say_what_is_inside(files: list[Path]) -> None:
    empty = {
        str(path.relative_to(CHECKOUT))
        for path in files
        for part in path.relative_to(CHECKOUT).with_suffix("").parts
        if part not in NAMED_BY_ANSIBLE and EMPTY_NAMES & set(re.split(r"[_\-.]", part))
    }
    assert empty == set()


def test_no_leftover_of_an_edit(files: list[Path]) -> None:
    assert [str(path) for path in files if LEFTOVER.search(path.name)] == []
