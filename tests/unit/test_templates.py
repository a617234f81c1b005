# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Every template of the tree is Jinja, and ends with a line feed."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

CHECKOUT = Path(__file__).parents[2]
FOLDERS = ("lab", "molecule", "playbooks", "roles")
TEMPLATES = sorted(path for folder in FOLDERS for path in (CHECKOUT / folder).rglob("*.j2"))


def test_there_are_templates() -> None:
    assert TEMPLATES


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_template_parses(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    jinja2.Environment(extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"]).parse(text)
    assert text.endswith("\n")
