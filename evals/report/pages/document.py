"""Put a page together: one HTML file with its style, its script and its data, that requests nothing.

Everything that comes from a run is hostile. Text is escaped into the markup here; data travels as JSON in a
block no script engine runs, and the script turns it into text nodes only. The page's own style and script
are allowed by their hashes, so that nothing else would run even if it got in.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from evals.report.tables import Table, clean

_STYLES = ("page.css", "charts.css", "trace.css", "print.css")
_SCRIPTS = (
    "dom.js",
    "scale.js",
    "lines.js",
    "chart.js",
    "bars.js",
    "figures.js",
    "uncertainty.js",
    "trace.js",
    "samples.js",
    "compare.js",
    "main.js",
)


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page: prose, a picture, figures by the names `main.js` knows, and tables.

    picture: what it shows in words, and a PNG. figures: each a name and the attributes of its element.
    shown: tables in view; tables: those folded away.
    """

    id: str
    name: str
    title: str
    text: str = ""
    figures: Sequence[tuple[str, dict[str, str]]] = ()
    shown: Sequence[Table] = ()
    tables: Sequence[Table] = ()
    picture: tuple[str, bytes] | None = None


def document(
    *, kind: str, title: str, headline: str, setup: str, sections: Sequence[Section], data: Any, footer: str
) -> str:
    """The page as text; all arguments but `data` are plain text. `data`: JSON values for the script."""
    style, script = _style(), _script()
    return Template(_asset("page.html")).substitute(
        kind=_text(kind),
        title=_text(title),
        headline=_text(headline),
        setup=_text(setup),
        links="".join(f'<li><a href="#{s.id}">{_text(s.name)}</a></li>' for s in sections),
        sections="\n".join(map(_section, sections)),
        footer=_text(footer),
        data=json_block(data),
        images="; img-src data:" if any(section.picture for section in sections) else "",
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
    )


def json_block(data: Any) -> str:
    """JSON that can stand in a script element: ASCII, and without a `<` that could end or open one."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _section(section: Section) -> str:
    figures = "".join(_figure(name, attributes) for name, attributes in section.figures)
    text = f"<p>{_text(section.text)}</p>\n" if section.text else ""
    name = f"{section.id}-title"
    return (
        f'<section id="{section.id}" aria-labelledby="{name}">\n<h2 id="{name}">{_text(section.title)}</h2>\n'
        f"{text}{_picture(section)}{figures}{_shown(section)}{_folded(section)}</section>"
    )


def _picture(section: Section) -> str:
    if section.picture is None:
        return ""
    words, image = section.picture
    data = base64.b64encode(image).decode("ascii")
    return f'<img alt="{_text(words)}" src="data:image/png;base64,{data}">\n'


def _figure(name: str, attributes: Mapping[str, str]) -> str:
    written = "".join(f' {key}="{_text(value)}"' for key, value in attributes.items())
    return f'<div data-figure="{name}"{written}></div>\n'


def _shown(section: Section) -> str:
    tables = [table for table in section.shown if table.rows]
    return f'<div class="tables">{"".join(map(_table, tables))}</div>\n' if tables else ""


def _folded(section: Section) -> str:
    tables = [table for table in section.tables if table.rows]
    if not tables:
        return ""
    names = ", ".join(table.title[0].lower() + table.title[1:] for table in tables)
    body = "\n".join(map(_table, tables))
    return f'<details><summary>Tables: {_text(names)}</summary>\n<div class="tables">{body}</div></details>\n'


def _table(table: Table) -> str:
    numeric = [table.numeric(i) for i in range(len(table.columns))]
    classes = [' class="number"' if right else "" for right in numeric]
    head = "".join(
        f'<th scope="col"{kind}>{_text(cell)}</th>' for cell, kind in zip(table.columns, classes, strict=True)
    )
    note = f'<span class="note">{_text(table.note)}</span>' if table.note else ""
    rows = "\n".join(_row(row, numeric) for row in table.rows)
    return (
        f'<div class="table wide"><table><caption>{_text(table.title)}{note}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


def _row(row: Sequence[str], numeric: Sequence[bool]) -> str:
    cells = [f'<th scope="row">{_text(row[0])}</th>']
    for cell, right in zip(row[1:], numeric[1:], strict=True):
        kind = ' class="number"' if right else ' class="words"' if len(cell) > 40 else ""
        cells.append(f"<td{kind}>{_text(cell)}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def _text(text: str) -> str:
    return escape(clean(text))


def _style() -> str:
    return "\n".join(map(_asset, _STYLES))


def _script() -> str:
    """All scripts as one, in a scope of their own."""
    script = '"use strict";\n(() => {\n' + "\n".join(map(_asset, _SCRIPTS)) + "})();\n"
    assert not re.search(r"</script|<!--", script), "the page's own script would end its element"
    return script


def _asset(name: str) -> str:
    return (files("evals.report.pages") / name).read_text("utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
