"""Parts of the documentation that are made from the code itself: the keys of the YAML file, and the commands.

They stand in the pages between `<!-- made: configuration -->` (or `command line`) and `<!-- made: end -->`, so that a
clone has them. `python scripts/docs_hooks.py` writes them anew; a test says when that is needed. mkdocs calls the
function `on_page_content` while it builds.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

KINDS = {"string": "text", "number": "number", "integer": "whole number", "boolean": "true or false"}


PAGES = Path(__file__).parents[1] / "docs"
MADE = re.compile(r"(<!-- made: (configuration|command line) -->\n).*?(<!-- made: end -->)", re.DOTALL)


def on_config(config: Any) -> Any:
    """The site is of one version, and says so at the top and the bottom of each page."""
    from importlib.metadata import version

    config.site_name = f"distfd {version('distfd')}"
    config.copyright = f"distfd {version('distfd')}, {config.copyright}"
    return config


def filled(markdown: str) -> str:
    """A page with what is made from the code as the code is now."""
    makers = {"configuration": configuration, "command line": command_line}
    return MADE.sub(lambda found: f"{found[1]}\n{makers[found[2]]().strip()}\n\n{found[3]}", markdown)


def command_line() -> str:
    """Every command with its arguments and options, by typer's own writer."""
    from typer import main
    from typer.cli import get_docs_for_click

    from distfd.cli.commands import app

    command = main.get_command(app)
    text = get_docs_for_click(
        obj=command, ctx=command.make_context("distfd", [], resilient_parsing=True), name="distfd"
    )
    text = re.sub(r"\A# .*\n", "", text)
    text = re.sub(r"\x08\s*Examples?:\s*\n((?:[ \t]*\S.*\n?)+)", _examples, text)
    text = text.replace("```console", "```shell-session")  # as console, tests would run them
    return re.sub(r"^##? `(distfd[^`]*)`", r"## `\1`", text, flags=re.MULTILINE)


def _examples(found: re.Match[str]) -> str:
    """The end of a command's help, which typer leaves as plain text."""
    lines = "\n".join(f"$ {line.strip()}" for line in found[1].splitlines())
    return f"**Examples**:\n\n```console\n{lines}\n```\n"


def on_page_content(content: str, **_: Any) -> str:
    """Names in docstrings lead to where they are, if that is the same page."""
    here = {name.rpartition(".")[2]: name for name in re.findall(r'id="(distfd\.[\w.]+)"', content)[::-1]}

    def linked(found: re.Match[str]) -> str:
        name = found[1] if f'id="{found[1]}"' in content else here.get(found[1])
        return f'<a href="#{name}">{found[0]}</a>' if name else found[0]

    return re.sub(r"(?<!\">)<code>([\w.]+)</code>", linked, content) if here else content


def configuration() -> str:
    """Every key of the file: its type, its default, what it means."""
    from distfd.config.schema import Config

    schema = Config.model_json_schema()
    made: list[str] = []
    _section("The file", schema, schema["$defs"], path=(), made=made, done=set())
    return "\n".join(made)


def _section(
    title: str, schema: dict[str, Any], known: dict[str, Any], *, path: tuple[str, ...], made: list[str], done: set[str]
) -> None:
    """A table for a mapping, then one for each mapping below it that has had none yet."""
    level = "##" if len(path) < 2 else "###"
    choice = [alternative["required"][0] for alternative in schema.get("oneOf", ())]
    made += [f"{level} {title if not path else f'`{title}`'}", "", schema.get("description", "").replace("\n", " ")]
    if choice:
        made += ["", f"Exactly one of {', '.join(f'`{key}`' for key in choice)} is to be given."]
    made += ["", "| key | type | default | meaning |", "|---|---|---|---|"]
    below = []
    for key, value in schema["properties"].items():
        type_, refs = _type(value)
        needed = key in schema.get("required", ())
        default = "needed" if needed else "" if refs and isinstance(value.get("default"), dict) else _default(value)
        text = html.escape(value.get("description", known[refs[0]].get("description", "") if refs else ""), quote=False)
        text = text.replace("|", "\\|").replace("\n", " ")
        made.append(f"| `{key}` | {type_} | {default} | {text} |")
        kind = value.get("type") or next((part.get("type") for part in value.get("anyOf", ())), None)
        names = "[]" if kind == "array" else ".NAME" if kind == "object" else ""
        below += [(ref, (*path, key + names)) for ref in refs if ref not in done]
    made.append("")
    for ref, place in below:
        if ref not in done:
            done.add(ref)
            _section(".".join(place), known[ref], known, path=place, made=made, done=done)


def _default(schema: dict[str, Any]) -> str:
    text = json.dumps(schema.get("default"))
    return "" if text in ("[]", "{}") else f"`{text.strip(chr(34))}`"


def _type(schema: dict[str, Any]) -> tuple[str, list[str]]:
    """A schema in words, and the names of the mappings in it."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return "mapping", [name]
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{word}`" for word in schema.get("enum", [schema.get("const")])), []
    if "anyOf" in schema or "oneOf" in schema:
        parts = [_type(part) for part in schema.get("anyOf") or schema["oneOf"]]
        words = list(dict.fromkeys(text for text, _ in parts if text != "null"))
        return " or ".join(words), [name for _, names in parts for name in names]
    if schema.get("type") == "array":
        text, names = _type(schema.get("items", {}))
        return f"list of {_plural(text)}", names
    if schema.get("type") == "object":
        inner = schema.get("additionalProperties")
        text, names = _type(inner) if isinstance(inner, dict) else ("any value", [])
        return f"mapping of names to {_plural(text)}", names
    return KINDS.get(schema.get("type", ""), schema.get("type", "any value")), []


def _plural(text: str) -> str:
    return re.sub(r"^(text|number|whole number|mapping|any value|list)\b", r"\1s", text)


if __name__ == "__main__":
    for page in sorted(PAGES.rglob("*.md")):
        before = page.read_text(encoding="utf-8")
        if (after := filled(before)) != before:
            page.write_text(after, encoding="utf-8")
            print(f"written: {page}")
