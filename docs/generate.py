#!/usr/bin/env python3
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Write docs/reference/ from what roles and modules say of themselves.

    docs/generate.py            write the pages
    docs/generate.py --check    write nothing; fail when a page is out of date

Variables come from the argument_specs.yml of the collection and its roles,
modules from ansible-doc, which knows their documentation fragments, alerts
from the rules of Prometheus.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).parents[1]
REFERENCE = CHECKOUT / "docs" / "reference"
MARK = "<!-- Written by docs/generate.py. Change its sources, not this page. -->\n"

Options = Mapping[str, Mapping[str, Any]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say which pages are out of date")
    check = parser.parse_args().check
    stale = list(out_of_date(REFERENCE, pages(CHECKOUT)))
    for page, text in stale:
        if check:
            print(f"{page.relative_to(CHECKOUT)} is out of date: run docs/generate.py")
        elif text is None:
            page.unlink()
        else:
            page.parent.mkdir(exist_ok=True)
            page.write_text(text, encoding="utf-8")
            print(f"wrote {page.relative_to(CHECKOUT)}")
    return 1 if check and stale else 0


def out_of_date(directory: Path, wanted: Mapping[str, str]) -> Iterator[tuple[Path, str | None]]:
    """The pages that differ from what is wanted, with their text; None for one too many."""
    there = {page.name: page.read_text(encoding="utf-8") for page in directory.glob("*.md")}
    for name in sorted(there.keys() | wanted.keys()):
        if there.get(name) != wanted.get(name):
            yield directory / name, wanted.get(name)


def pages(checkout: Path) -> dict[str, str]:
    """Every page of the reference, by file name."""
    modules = module_documentation(checkout)
    return {
        "README.md": MARK + index_page(modules),
        "variables.md": MARK + variables_page(checkout),
        "alerts.md": MARK + alerts_page(checkout),
        **{f"{name}.md": MARK + module_page(name, said) for name, said in modules.items()},
    }


# Pages ------------------------------------------------------------------------


def index_page(modules: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        "# Reference",
        "",
        "- [Variables](variables.md) of an inventory, role by role",
        "- [Alerts](alerts.md): what fires when, and the page that helps",
        *(
            f"- [{name}]({name}.md): {marked(said['doc']['short_description'])}"
            for name, said in modules.items()
        ),
    ]
    return "\n".join(lines) + "\n"


def variables_page(checkout: Path) -> str:
    """All variables that can be set: those of the collection, then those of each role."""
    lines = [
        "# Variables",
        "",
        "What an inventory can set, role by role. A role whose name begins with `_` is part of",
        "others, and its variables are theirs. Where a default is a template, it is worked out",
        "on the host.",
    ]
    role_specs = sorted(
        checkout.glob("roles/*/meta/argument_specs.yml"),
        key=lambda spec_file: (spec_file.parts[-3].startswith("_"), spec_file.parts[-3]),
    )
    for spec_file in [checkout / "meta" / "argument_specs.yml", *role_specs]:
        owner = spec_file.parts[-3] if spec_file in role_specs else None
        specs = yaml.safe_load(spec_file.read_text(encoding="utf-8"))["argument_specs"]
        for entry_point, spec in specs.items():
            lines += ["", f"## {heading(owner, entry_point)}", ""]
            lines += paragraphs([spec["short_description"] + ".", *listed(spec.get("description"))])
            lines += ["", *options_table("Variable", spec.get("options", {}))]
    return "\n".join(lines) + "\n"


def heading(role: str | None, entry_point: str) -> str:
    if role is None:
        return entry_point.capitalize()
    return role if entry_point == "main" else f"{role}: {entry_point}"


def alerts_page(checkout: Path) -> str:
    """All alerts, file by file of the rules, each with the page that it links to."""
    lines = [
        "# Alerts",
        "",
        "What fires, how bad it is, how long it has to last before somebody is told, what is",
        "said, and the page of the handbook that the alert links to. In what is said, *value* is",
        "what was measured, and another name is that of a label.",
    ]
    for rules in sorted(checkout.glob("roles/prometheus/files/rules/*.yml")):
        source = rules.read_text(encoding="utf-8")
        lines += ["", f"## {rules.stem.capitalize()}", "", *introduction(source), ""]
        lines += ["| Alert | Severity | Lasts | Says | Page |", "|---|---|---|---|---|"]
        lines += [
            row(
                f"`{rule['alert']}`",
                rule["labels"]["severity"],
                str(rule.get("for", "")),
                said_by_alert(rule["annotations"]["summary"]),
                page_link(rule["annotations"]["runbook_url"]),
            )
            for group in yaml.safe_load(source)["groups"]
            for rule in group["rules"]
            if "alert" in rule
        ]
    return "\n".join(lines) + "\n"


def introduction(source: str) -> list[str]:
    """The comment that a file of YAML begins with, as text."""
    comment = re.match(r"(?:---\n)?((?:#.*\n)+)", source)
    return [line.lstrip("# ") for line in comment[1].splitlines()] if comment else []


def said_by_alert(summary: str) -> str:
    """A summary with a label's name where Prometheus puts its value."""

    def name(match: re.Match[str]) -> str:
        label = re.search(r"\$labels\.(\w+)", match[0])
        return f"*{label[1] if label else 'value'}*"

    text = re.sub(r"\{\{.*?\}\}", name, summary)
    return " ".join(re.sub(r"\[\[ *(.*?) *\]\]", r"`\1`", text).split())


def page_link(runbook: str) -> str:
    path = runbook.partition("/docs/")[2]
    return f"[{Path(path).stem}](../{path})"


def module_page(name: str, said: Mapping[str, Any]) -> str:
    doc = said["doc"]
    lines = [f"# bss.platform.{name}", ""]
    lines += paragraphs([doc["short_description"] + ".", *listed(doc["description"])])
    if doc.get("requirements"):
        lines += ["", "Needs, where it runs: " + "; ".join(map(marked, doc["requirements"])) + "."]
    lines += ["", "## Options", "", *options_table("Option", doc.get("options", {}))]
    if doc.get("attributes"):
        lines += ["", "## Attributes", "", "| Attribute | Support | Meaning |", "|---|---|---|"]
        lines += [
            row(f"`{key}`", attribute["support"], meaning(attribute))
            for key, attribute in sorted(doc["attributes"].items())
        ]
    if doc.get("notes"):
        lines += ["", "## Notes", "", *(f"- {marked(note)}" for note in listed(doc["notes"]))]
    if said.get("examples"):
        lines += ["", "## Examples", "", "```yaml", said["examples"].strip("\n"), "```"]
    if said.get("return"):
        lines += [
            "",
            "## Return values",
            "",
            "| Value | Type | Returned | Meaning |",
            "|---|---|---|---|",
        ]
        lines += [
            row(f"`{key}`", kind(value), marked(value.get("returned", "")), meaning(value))
            for key, value in flattened(said["return"], "contains")
        ]
    return "\n".join(lines) + "\n"


def options_table(title: str, options: Options) -> list[str]:
    if not options:
        return ["None."]
    return [
        f"| {title} | Type | Default | Meaning |",
        "|---|---|---|---|",
        *(
            row(f"`{name}`", kind(option), default(option), meaning(option))
            for name, option in flattened(options, "options", "suboptions")
        ),
    ]


# What options and values say ----------------------------------------------------


def module_documentation(checkout: Path) -> dict[str, Mapping[str, Any]]:
    """What ansible-doc says of each module of the collection, by its short name."""
    names = sorted(
        path.stem for path in checkout.glob("plugins/modules/*.py") if path.stem != "__init__"
    )
    answer = subprocess.run(
        [
            *(sys.executable, "-m", "ansible", "doc", "--type", "module", "--json"),
            *(f"bss.platform.{name}" for name in names),
        ],
        cwd=checkout,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(checkout / ".collections")},
        stdout=subprocess.PIPE,
        check=True,
    )
    said = json.loads(answer.stdout)
    return {name: said[f"bss.platform.{name}"] for name in names}


def flattened(
    options: Options, *below: str, path: str = ""
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Options with what is within them: ``tables``, then ``tables[].name``."""
    for name, option in options.items():
        yield path + name, option
        inner: Options = next((option[key] for key in below if option.get(key)), {})
        many = "[]" if option.get("type") == "list" else ""
        yield from flattened(inner, *below, path=f"{path}{name}{many}.")


def kind(option: Mapping[str, Any]) -> str:
    """``list of str``; ``str: `a`, `b` `` where only these are taken."""
    words = str(option.get("type", "str"))
    if option.get("elements"):
        words += f" of {option['elements']}"
    if option.get("choices"):
        words += ": " + ", ".join(f"`{choice}`" for choice in option["choices"])
    return words


def default(option: Mapping[str, Any]) -> str:
    if option.get("required"):
        return "(required)"
    value = option.get("default")
    if value is None:
        return ""
    if isinstance(value, str) and value:
        return f"`{' '.join(value.split())}`"
    return f"`{json.dumps(value)}`"


def meaning(option: Mapping[str, Any]) -> str:
    return " ".join(marked(paragraph) for paragraph in listed(option.get("description")))


def listed(description: str | Iterable[str] | None) -> list[str]:
    if description is None:
        return []
    return [description] if isinstance(description, str) else list(description)


def paragraphs(texts: Iterable[str]) -> list[str]:
    """Lines of Markdown, with an empty one between paragraphs."""
    lines: list[str] = []
    for text in texts:
        lines += ["", marked(text)]
    return lines[1:]


def marked(text: str) -> str:
    """Markdown of Ansible's markup: ``O(name)`` is code, ``L(text,url)`` a link, ..."""
    text = re.sub(r"\bL\(([^,)]+),\s*([^)]+)\)", r"[\1](\2)", text)
    text = re.sub(r"\bU\(([^)]+)\)", r"<\1>", text)
    text = re.sub(r"\bB\(([^)]+)\)", r"**\1**", text)
    text = re.sub(r"\bI\(([^)]+)\)", r"*\1*", text)
    text = re.sub(r"\bP\(([^)#]+)#\w+\)", r"`\1`", text)
    text = re.sub(r"\b(?:O|RV)\([\w.]+\.(\w+)#\w+:([^)]*)\)", r"`\1: \2`", text)
    text = re.sub(r"\b(?:O|V|C|E|RV|M)\(((?:\\.|[^)\\])*)\)", code, text)
    return " ".join(text.split())


def code(match: re.Match[str]) -> str:
    """The argument of a markup as code, without the backslashes that guard its brackets."""
    return "`" + re.sub(r"\\(.)", r"\1", match[1]) + "`"


def row(*cells: str) -> str:
    """A row of a table; a bar within a cell would end it."""
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
