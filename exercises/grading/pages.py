"""Local HTML pages about submissions: nothing of a student's is ever markup, and nothing is fetched.

Every text that a student may have written passes through ``text``.  The pages hold no time and nothing that
depends on the order of work, so a page is the same bytes whenever it is written from the same results.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterable

NAME = 200  # characters of a name that are shown
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

_ANSI = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours and cursor
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles and links
    r"|\x1b[@-_]?"
    r"|\x9b[0-?]*[ -/]*[@-~]"
)
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and newline
    "\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # directions, no width
    "\ud800-\udfff\ufffe\uffff\U000e0000-\U000e007f]"  # surrogates, no characters, tags
)
_STACKED = re.compile(
    "([\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{3})"
    "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+"
)

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --soft: #555; --page: #fff; --box: #f3f4f6; --line: #c4c8cf;
  --good: #0b6b3a; --bad: #a3261b; --bar: #0b62a4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --soft: #b5b8bd; --page: #17181a; --box: #24262a;
  --line: #4a4e55; --good: #6fd39b; --bad: #ff9d92; --bar: #6fb6ee; } }
* { box-sizing: border-box; }
body { font: 1rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); margin: 0 auto;
  padding: 1rem; max-width: 60rem; overflow-wrap: anywhere; }
h1, h2, h3 { line-height: 1.25; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; color: var(--soft); padding-bottom: .3rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem .35rem 0; border-bottom: 1px solid var(--line);
  min-width: 7rem; }
.number { text-align: right; white-space: nowrap; min-width: 0; }
.scroll { overflow-x: auto; }
.soft { color: var(--soft); }
.good { color: var(--good); }
.bad { color: var(--bad); }
.score { font-size: 1.4rem; }
.text { white-space: pre-wrap; overflow: hidden; unicode-bidi: isolate; background: var(--box); padding: .6rem;
  border-radius: .3rem; margin: .4rem 0; }
code.text, pre.text { font: .9rem/1.4 ui-monospace, monospace; }
section { margin: 1.5rem 0; }
li { margin: .25rem 0; }
"""


def clean(value: object, limit: int = 2000) -> str:
    """Text without escape sequences, control characters, changes of direction and surrogates, and not too long."""
    value = str(value)
    kept, rest = value[: 4 * limit], max(0, len(value) - 4 * limit)
    kept = kept.replace("\r\n", "\n").replace("\r", "\n")
    kept = _STACKED.sub(r"\1", _UNSEEN.sub("", _ANSI.sub("", kept)))
    rest += max(0, len(kept) - limit)
    return kept[:limit] + (f" [and {rest} more characters]" if rest else "")


def text(value: object, limit: int = 2000) -> str:
    """``clean`` and escaped: safe between tags and in quoted attributes."""
    return html.escape(clean(value, limit), quote=True)


def line(value: object, limit: int = NAME) -> str:
    """Like ``text``, on one line."""
    return html.escape(" ".join(clean(value, limit).split()), quote=True)


def number(value: float) -> str:
    """Points: at most two decimals, no trailing zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def table(
    header: Iterable[str], rows: Iterable[Iterable[str]], caption: str, numbers: Iterable[int] = ()
) -> str:
    """A table of cells that are HTML already; the columns ``numbers`` stand right."""
    right = set(numbers)

    def cells(row: Iterable[str], tag: str, attributes: str = "") -> str:
        marked = [
            f"<{tag}{attributes}{' class=number' if i in right else ''}>{cell}</{tag}>"
            for i, cell in enumerate(row)
        ]
        return f"<tr>{''.join(marked)}</tr>"

    head = cells(header, "th", ' scope="col"')
    body = "\n".join(cells(row, "td") for row in rows)
    return (
        f'<div class="scroll" tabindex="0"><table>\n<caption>{caption}</caption>\n<thead>{head}</thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def top(title: str, *, style: str = "", scripts: Iterable[str] = ()) -> str:
    """Everything before the page's content; ``title`` is plain text, ``scripts`` are our own and may run."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    policy = "; script-src ".join([POLICY, *filter(None, [" ".join(f"'sha256-{one}'" for one in hashes)])])
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{line(title)}</title>
<style>{STYLE}{style}</style>
</head>
<body>
<main>
"""


def bottom(scripts: Iterable[str] = ()) -> str:
    """Everything after the content; the scripts are those that ``top`` was told of."""
    return f"</main>\n{''.join(f'<script>{script}</script>' for script in scripts)}</body>\n</html>\n"


def document(title: str, body: str, *, style: str = "") -> str:
    """A whole page without scripts."""
    return top(title, style=style) + body + bottom()
