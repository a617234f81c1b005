# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The handbook has a page for every verb, and its links and commands lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).parents[3]
DOCS = CHECKOUT / "docs"
INDEX = DOCS / "README.md"

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FOLDERS = ("artifacts", "bench", "docs", "lab", "molecule", "roles", "tests")


def pages() -> list[Path]:
    """Every page of the project."""
    found = [*CHECKOUT.glob("*.md")]
    for folder in FOLDERS:
        found += (CHECKOUT / folder).rglob("*.md")
    assert len(found) > 30
    return found


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """What a page links to within the project: the file, and the anchor or ''."""
    for target in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield ((page.parent / path).resolve() if path else page, anchor)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in HEADING.findall(text)
    }


def verbs() -> set[str]:
    playbooks = {playbook.stem for playbook in (CHECKOUT / "playbooks").glob("*.yml")}
    found = {playbook for playbook in playbooks if not playbook.startswith("_")}
    assert "site" in found
    return found


def commands(page: Path) -> list[str]:
    """The commands that a page shows after a prompt."""
    return re.findall(r"^\$ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_every_verb_has_its_page_and_shows_how_to_call_it() -> None:
    missing = {verb for verb in verbs() if not (DOCS / f"{verb}.md").is_file()}
    assert missing == set()
    call = "ansible-playbook playbooks/{0}.yml -i inventories/us-east"
    silent = {
        verb for verb in verbs() if call.format(verb) not in (DOCS / f"{verb}.md").read_text()
    }
    assert silent == set()


def test_every_page_is_in_the_index() -> None:
    listed = {path for path, _anchor in links(INDEX)}
    handbook = {page for page in DOCS.rglob("*.md") if page.parent.name != "reference"}
    assert {str(page.relative_to(DOCS)) for page in handbook - listed - {INDEX}} == set()


def test_links_lead_somewhere() -> None:
    broken = [
        f"{page.relative_to(CHECKOUT)}: {target.name}#{anchor}"
        for page in pages()
        for target, anchor in links(page)
        if not target.exists() or (anchor and anchor not in anchors(target))
    ]
    assert broken == []


def test_the_readme_has_exactly_two_commands_to_set_up_everything() -> None:
    readme = CHECKOUT / "README.md"
    assert [command for command in commands(readme) if command.startswith("make ")] == [
        "make demo",
        "make test",
    ]


def test_every_make_verb_that_is_named_exists() -> None:
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    there = set(re.findall(r"^([a-z-]+):.*## ", makefile, flags=re.MULTILINE))
    named = {
        verb
        for page in pages()
        for verb in re.findall(r"(?:^\$ |`)make ([a-z-]+)", page.read_text(), flags=re.MULTILINE)
    }
    assert {"demo", "test"} <= named
    assert named <= there


def test_every_playbook_that_a_page_calls_exists() -> None:
    called = {
        (page.name, verb)
        for page in pages()
        for verb in re.findall(r"playbooks/([a-z_]+)\.yml", page.read_text(encoding="utf-8"))
    }
    assert {verb for _page, verb in called if not verb.startswith("_")} <= verbs(), called
