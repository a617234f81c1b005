# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What systemd says of a unit. Needs no privilege."""

from __future__ import annotations

import subprocess

from ansible_collections.bss.platform.plugins.module_utils.checks import CheckFailed


def require_active(unit: str) -> None:
    """Raise CheckFailed when a unit is not active. Raises OSError without systemd."""
    answer = subprocess.run(
        ["systemctl", "is-active", unit], capture_output=True, text=True, check=False
    )
    state = answer.stdout.strip() or answer.stderr.strip()
    if state != "active":
        raise CheckFailed(f"the unit {unit} is {state}: see journalctl -u {unit}")
