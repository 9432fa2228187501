"""Rendering of HTML and Markdown pages from Jinja templates."""

import re
from html import escape
from pathlib import Path
from typing import Any


def render(template: str, context: dict[str, Any], folder: Path) -> str:
    """Fill `template` of `folder` with `context`; a missing name raises an error, and HTML is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"md": _markdown, "fence": _fence}
    return environment.get_template(template).render(context)


def _markdown(text: Any) -> str:
    """Text escaped for one line of Markdown, without tags, links or table borders."""
    line = " ".join(str(text).split())
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", escape(line, quote=False))


def _fence(text: str) -> str:
    """A Markdown code fence that is longer than any fence in `text`."""
    return "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
