# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What the role _tls keeps on the controller."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

KEEP_AUTHORITY = {
    "tasks": [
        {"ansible.builtin.import_role": {"name": "bss.platform._tls", "tasks_from": "authority"}}
    ]
}


def test_secrets_beside_an_inventory_are_kept_out_of_git(
    run_play: Callable[..., str], tmp_path: Path
) -> None:
    inventory = tmp_path / "inventories/mine/hosts"
    inventory.parent.mkdir(parents=True)
    inventory.write_text("us-c1\n")
    said = run_play(KEEP_AUTHORITY, inventory=inventory)
    assert "failed=0" in said and "changed=0" not in said, said
    said = run_play(KEEP_AUTHORITY, "--check", inventory=inventory)
    assert "failed=0" in said and "changed=0" in said, said

    secrets = tmp_path / "inventories/.secrets"
    assert {path.name for path in secrets.iterdir()} == {".gitignore", "ca"}
    assert {path.stat().st_mode & 0o777 for path in (secrets, secrets / "ca")} == {0o700}
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    untracked = subprocess.run(
        ["git", "-C", tmp_path, "ls-files", "--others", "--exclude-standard"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert ".secrets" not in untracked.stdout and "mine/hosts" in untracked.stdout
