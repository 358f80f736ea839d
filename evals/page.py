"""A run's report as one HTML page that needs nothing else: curve, tables, settings."""

import base64
import json
from html import escape
from typing import Any

from evals.tables import (
    Table,
    breakdown_table,
    cost_table,
    cut_share_table,
    difference_table,
    failure_table,
    point_table,
)

_STYLE = """
:root { color-scheme: light dark;
  --paper: #fff; --ink: #1f2328; --soft: #57606a; --line: #d8dde3; --row: #f6f8fa; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #12161c; --ink: #e6e9ee; --soft: #a3adba; --line: #333b46; --row: #1a2029; }
}
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
  margin: 2rem auto; max-width: 68rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .3rem; }
p { color: var(--soft); margin: .2rem 0 .8rem; max-width: 52rem; }
img { display: block; max-width: 46rem; width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .7rem;
  text-align: right; white-space: nowrap; }
th { color: var(--soft); font-weight: 600; } tbody tr:nth-child(even) { background: var(--row); }
th:first-child, td:first-child { text-align: left; }
pre { background: var(--row); overflow-x: auto; padding: .8rem; font-size: .85rem; }
"""


def page(summary: dict[str, Any], light_svg: bytes, dark_svg: bytes) -> str:
    """The page as text. The pictures are embedded; all text is escaped; nothing is requested."""
    settings = summary["settings"]
    title = f"Budget curve of {settings['model']} on {settings['problems']}"
    sampling = settings["sampling"]
    decoding = f"sampling {sampling['preset']}"
    plan = summary["plan"]
    intro = (
        f"{plan['problems']} problems, {plan['samples']} "
        f"{'sample' if plan['samples'] == 1 else 'samples'} each, {settings['mode']} mode, {decoding}. "
        "Intervals are 95 %, clustered by problem."
    )
    tables = [point_table(summary), difference_table(summary)]
    tables += [breakdown_table(summary, field, f"Accuracy by {field}") for field in ("level", "subject")]
    tables += [cut_share_table(summary), cost_table(summary), failure_table(summary)]
    shown = {name: summary[name] for name in ("settings", "plan", "versions")}
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p>{escape(intro)}</p>
<picture>
<source media="(prefers-color-scheme: dark)" srcset="{_data_url(dark_svg)}">
<img alt="Accuracy against thinking budget; the numbers are in the first table" src="{_data_url(light_svg)}">
</picture>
{"".join(_table(table) for table in tables if table.rows)}
<h2>Settings</h2>
<pre>{escape(json.dumps(shown, indent=1, ensure_ascii=False))}</pre>
</body>
</html>
"""


def _data_url(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode('ascii')}"


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.columns)
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    note = f"<p>{escape(table.note)}</p>\n" if table.note else ""
    return f"""<h2>{escape(table.title)}</h2>
{note}<div class="wide"><table>
<thead><tr>{head}</tr></thead>
<tbody>
{rows}
</tbody>
</table></div>
"""
