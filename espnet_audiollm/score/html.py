"""report.html: the tables, the pictures and what every system answered, in one file.

Nothing is loaded from elsewhere; all text is escaped; it reads on the width of a phone."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from .report import Origin, Table, extra_tables, main_table, notes
from .results import Results, Row

MOST_LISTED = 500  # utterances of a test set; more would make a page that no browser likes

CSS = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff;
       max-width: 70rem; margin: 0 auto; padding: 1rem; }
h1, h2, h3 { line-height: 1.2; }
pre { background: #f4f4f2; padding: .7rem; overflow-x: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #ddd;
         white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; height: auto; }
article { border: 1px solid #ddd; border-radius: 6px; padding: .5rem .8rem; margin: .6rem 0;
          overflow-wrap: anywhere; }
article h4 { margin: 0; font-size: .8rem; font-weight: normal; color: #666; }
article p { margin: .1rem 0 .4rem; font-weight: 600; }
dl { display: grid; grid-template-columns: minmax(6rem, 14rem) 1fr; gap: .1rem .8rem; margin: 0; }
dt { color: #555; } dd { margin: 0; }
.yes::before { content: "✓ "; color: #0b6e4f; } .no::before { content: "✗ "; color: #b3261e; }
.heard { display: block; color: #777; font-size: .85rem; }
@media (max-width: 34rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .3rem; } }
"""


def page(everything: Sequence[Results], made: Origin, images: Sequence[Path]) -> str:
    body = [
        f"<h1>Results: {escape(made.recipe)}</h1>",
        f"<pre>{escape(made.command)}</pre>",
        f"<p>LLM: {escape(made.llm)}<br>{escape(made.versions)}<br>"
        f"git commit: {escape(made.commit)}<br>{escape(made.date)}</p>",
    ]
    for results in everything:
        body += _tables(results)
    body += [_image(path) for path in images]
    for results in everything:
        body += _listing(results)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Results: {escape(made.recipe)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _tables(results: Results) -> list[str]:
    parts = [f"<h2>{escape(results.test_set.name)}</h2>", _table(main_table(results))]
    parts += [f"<p>{escape(note)}</p>" for note in notes(results)]
    for title, table in extra_tables(results):
        parts += [f"<h3>{escape(title)}</h3>", _table(table)]
    return parts


def _table(table: Table) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    rows = "\n".join(line(row, "td") for row in table.rows)
    return f'<div class="wide"><table>\n{line(table.header, "th")}\n{rows}\n</table></div>'


def _image(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<p><img alt="{escape(path.stem)}" src="data:image/png;base64,{data}"></p>'


def _listing(results: Results) -> list[str]:
    ids = results.test_set.references.ids
    shown = ids[:MOST_LISTED]
    how_many = f"{len(ids)}" if len(ids) == len(shown) else f"the first {len(shown)} of {len(ids)}"
    title = f"<h2>Utterances of {escape(results.test_set.name)}: {how_many}</h2>"
    return [title, *(_utterance(id, results) for id in shown)]


def _utterance(id: str, results: Results) -> str:
    test_set = results.test_set
    head = [id]
    if test_set.categories is not None:
        head.append(test_set.categories[id])
    answers = (test_set.answers or {}).get(id)
    if answers:
        head.append(f"accepted: {answers}")
    text = f"<p>{escape(test_set.texts[id])}</p>" if test_set.texts is not None else ""
    answered = "".join(
        f"<dt>{escape(row.system.label)}</dt>{_answer(id, row)}"
        for row in results.rows
        if row.system.responses is not None
    )
    return (
        f"<article><h4>{escape(' · '.join(head))}</h4>{text}<dl>"
        f"<dt>reference response</dt><dd>{escape(test_set.references.responses[id])}</dd>"
        f"{answered}</dl></article>"
    )


def _answer(id: str, row: Row) -> str:
    mark = "" if row.verdicts is None else ' class="yes"' if row.verdicts[id] else ' class="no"'
    heard = row.system.hyp
    prompt = "" if heard is None else f'<span class="heard">heard: {escape(heard[id])}</span>'
    return f"<dd{mark}>{escape(row.system.responses[id])}{prompt}</dd>"
