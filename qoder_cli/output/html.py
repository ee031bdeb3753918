"""A page for a browser, a mail or a CI artefact: one file without scripts, which loads nothing."""

import shlex
from base64 import b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files

from qoder_cli.output.screen import inert
from qoder_cli.output.sheet import ForeignText, Section

_UNFOLDED = 6  # lines of a section

Html = str  # a piece of a page, in which whatever others wrote is escaped


def text(words: str) -> Html:
    """Return a text as it reads; another's text also keeps its direction to itself."""
    shown = escape(inert(words))
    return f"<bdi>{shown}</bdi>" if isinstance(words, ForeignText) else shown


def document(title: str, parts: Iterable[Html]) -> str:
    """Return a whole page, which permits a browser nothing but its own style."""
    style = (files("qoder_cli") / "output" / "page.css").read_text("utf-8")
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = (
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{escape(inert(title))}</title>",
        f"<style>{style}</style>",
    )
    lines = ["<!DOCTYPE html>", '<html lang="en">', *head, "<main>", f"<h1>{text(title)}</h1>", *parts, "</main>"]
    return "\n".join([*lines, "</html>"]) + "\n"


def section(title: str, parts: Iterable[Html]) -> Html:
    """Return a part of a page with a heading."""
    return "\n".join([f'<section id="{anchor(title)}">', f"<h2>{text(title)}</h2>", *parts, "</section>"])


def anchor(title: str) -> str:
    """Return the id of a section of ours."""
    return title.lower().replace(" ", "-")


def sheet(part: Section) -> Html:
    """Return a section of lines, each with the commands to type next. Those behind the first few are folded."""
    items = []
    for line in part.lines:
        label = f"<b>{text(line.label)}</b> " if line.label else ""
        commands = "".join(f"<code>{text(shlex.join(command))}</code>" for command in line.commands if command)
        items.append(f"<li>{label}{''.join(map(text, line.pieces))}{commands}")
    shown, folded = items[:_UNFOLDED], items[_UNFOLDED:]
    parts = ["<ul>", *shown, "</ul>"]
    if folded:
        parts += [f"<details><summary>{len(folded):,} more</summary><ul>", *folded, "</ul></details>"]
    return section(part.title, parts)


def table(header: Sequence[str], rows: Iterable[Sequence[Html]], *, name: str) -> Html:
    """Return a table of which the first column names the rows. It scrolls in its own place, also by keyboard."""
    heads = "".join(f'<th scope="col">{text(word)}' for word in header)
    lines = [f'<div class="scrolls" role="region" aria-label="{name}" tabindex="0"><table>', f"<thead><tr>{heads}"]
    lines.append("<tbody>")
    lines += [f'<tr><th scope="row">{first}' + "".join(f"<td>{cell}" for cell in cells) for first, *cells in rows]
    return "\n".join([*lines, "</table></div>"])


def bar(share: float) -> Html:
    """Return a bar as long as a share, from 0 to 1. What it says stands beside it."""
    return f'<svg class="bar" aria-hidden="true"><rect width="{100 * share:.1f}%" height="100%"/></svg>'
