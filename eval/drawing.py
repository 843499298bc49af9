"""The templates that turn charts and pages into text."""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

import jinja2


def asset(name: str) -> str:
    """A file of the templates, as text."""
    return resources.files("pim.eval").joinpath("templates", name).read_text(encoding="utf-8")


def environment() -> jinja2.Environment:
    """Templates in which whatever came from files is escaped, and characters that cannot be seen are spelled out."""
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )


def _visible(value: Any) -> Any:
    r"""Text in which nothing is hidden: control characters, marks of direction and broken text become escapes.

    >>> print(_visible("a\u202eb"))
    a\u202eb
    """
    if not isinstance(value, str) or hasattr(value, "__html__") or value.isprintable():
        return value  # as it is: numbers, and what the template itself wrote
    return re.sub(r"[^\n]", lambda c: c[0] if c[0].isprintable() else ascii(c[0])[1:-1], value)
