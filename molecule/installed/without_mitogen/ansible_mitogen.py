# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Found before mitogen's package, for a controller that seems to have none."""

raise ImportError("hidden by molecule/installed/without_mitogen")
