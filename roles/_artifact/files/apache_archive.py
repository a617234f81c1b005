# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Have an archive of the Apache Software Foundation: upstream's own, or one that is put together.

What make_kafka_archive and make_flink_archive share.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import shutil
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TIMEOUT_S = 20


def make(
    name: str,
    mirrors: str,
    gather: Callable[[Path], Mapping[str, Path]],
    description: str,
) -> int:
    """Put the archive `name` into the directory that the command line names, and print its checksum.

    `mirrors` are the addresses of directories that may hold it and its .sha512, separated by
    blanks; `gather` is called with an empty directory where none answers, and returns which file
    becomes which member. An archive that is there already is kept.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("directory", type=Path, help="where the archive goes")
    archive = parser.parse_args().directory / name
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=archive.parent) as work:
            part = Path(work) / name
            if not _download(part, mirrors):
                _pack(part, gather(Path(work)))
            part.rename(archive)  # so that half an archive is never taken for one
    print(f"{_checksum(archive, 'sha256')}  {archive}")
    return 0


def maven(*arguments: str | Path) -> list[str | Path]:
    """The command that runs Maven, as that is set up on this machine."""
    if not shutil.which("mvn"):
        sys.exit("Maven is not installed (Debian: apt-get install maven), and no mirror answers")
    return ["mvn", "--batch-mode", "--quiet", "--strict-checksums", *arguments]


def _download(archive: Path, mirrors: str) -> bool:
    """Upstream's archive from the first mirror that has it; whether there was one."""
    for mirror in mirrors.split():
        url = f"{mirror}/{archive.name}"
        try:
            with urllib.request.urlopen(f"{url}.sha512", timeout=TIMEOUT_S) as answer:  # noqa: S310
                said = answer.read().decode()
            with (
                urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer,  # noqa: S310
                archive.open("wb") as file,
            ):
                shutil.copyfileobj(answer, file)
        except (urllib.error.URLError, OSError) as error:
            print(f"{mirror}: {error}", file=sys.stderr)
            continue
        # "name: ABCD EF01 ..." over several lines, or "abcdef01...  name".
        _, colon, digest = said.partition(":")
        wanted = ("".join(digest.split()) if colon else said.split()[0]).lower()
        if _checksum(archive, "sha512") != wanted:
            sys.exit(f"{url} has another checksum than {url}.sha512 says: nothing was kept")
        return True
    return False


def _pack(archive: Path, members: Mapping[str, Path]) -> None:
    """Equal files make equal bytes, so that a checksum can be declared."""
    with contextlib.ExitStack() as files:
        file = files.enter_context(archive.open("wb"))
        # Jars are compressed already. Stored, the bytes do not depend on zlib's version.
        packed = files.enter_context(
            gzip.GzipFile(filename="", mode="wb", compresslevel=0, fileobj=file, mtime=0)
        )
        tar = files.enter_context(tarfile.open(fileobj=packed, mode="w"))
        for name, path in sorted(members.items()):
            tar.add(path, name, filter=_without_origin)


def _without_origin(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Neither the time nor the owner of this machine's copy."""
    member.mtime, member.uid, member.gid, member.uname, member.gname = 0, 0, 0, "root", "root"
    member.mode = 0o644
    return member


def _checksum(file: Path, algorithm: str) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, algorithm).hexdigest()
