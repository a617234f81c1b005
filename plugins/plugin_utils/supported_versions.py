# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Which versions of the platform's services go together."""

from __future__ import annotations

# PostgreSQL majors that a release line of Citus can be built for: the check
# "Citus is not compatible with the detected PostgreSQL version" in configure.ac
# of the line's newest release at https://github.com/citusdata/citus/tags.
POSTGRESQL_OF_CITUS: dict[str, tuple[int, ...]] = {
    "12.0": (14, 15),
    "12.1": (14, 15, 16),
    "13.0": (15, 16, 17),
    "13.1": (15, 16, 17),
    "13.2": (15, 16, 17),
    "14.0": (16, 17, 18),
}

# Patroni 3 registers no secondaries in Citus' metadata and can leave a group
# blocked after a failed call to the coordinator: https://patroni.readthedocs.io/en/latest/releases.html
PATRONI_MAJOR = 4
