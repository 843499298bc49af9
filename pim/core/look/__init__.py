"""The look that all pages share: colours, the button for dark and light, escaping, and what a page may load."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources
from typing import Any

import jinja2


def style(package: str, name: str) -> str:
    """The style sheet of a page: the shared one, then that in the folder `templates` of a package."""
    return _text(__package__, "theme.css") + _template(package, name)


def script(package: str, name: str) -> str:
    """The script of a page: the button for dark and light, then its own."""
    return _text(__package__, "theme.js") + "\n" + _template(package, name)


def environment(package: str) -> jinja2.Environment:
    """Templates of a package, in which whatever came from files is escaped and made visible."""
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: _template(package, name)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible,
    )


def policy(style: str, script: str, **sources: str) -> str:
    """A Content-Security-Policy that allows one style, one script and the sources that are named, as img="data:"."""
    allowed = {"style": _digest(style), "script": _digest(script), **sources}
    listed = "".join(f"{kind}-src {source}; " for kind, source in sorted(allowed.items()))
    return f"default-src 'none'; {listed}base-uri 'none'; form-action 'none'"


def visible(value: Any) -> Any:
    r"""Text in which nothing is hidden: control characters, marks of direction and broken text become escapes.

    >>> print(visible("a\u202eb"))
    a\u202eb
    """
    if not isinstance(value, str) or hasattr(value, "__html__") or value.isprintable():
        return value  # as it is: numbers, and what the template itself wrote
    return re.sub(r"[^\n]", lambda c: c[0] if c[0].isprintable() else ascii(c[0])[1:-1], value)


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _template(package: str, name: str) -> str:
    return resources.files(package).joinpath("templates", name).read_text(encoding="utf-8")


def _text(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")
