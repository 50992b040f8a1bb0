"""HTML: the page and its style, and what sections are built of."""

from collections.abc import Iterable
from html import escape
from typing import Any


def section(title: str, body: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n{body}\n</section>" if body else ""


def figure(caption: str, body: str, kind: str = "") -> str:
    """Set a picture above its caption, HTML both."""
    focus = ' tabindex="0" role="group" aria-label="scrolls sideways"' if kind == "wide" else ""
    named = f' class="{kind}"' if kind else ""
    return f"<figure{named}><div{focus}>{body}</div><figcaption>{caption}</figcaption></figure>"


def table(values: dict[str, Any]) -> str:
    """Lay out what is known of `values`: a row each."""
    rows = "\n".join(
        f'<tr><th scope="row">{escape(key)}</th><td>{bdi(str(value))}</td></tr>'
        for key, value in values.items()
        if value is not None and value != "–"
    )
    return f'<div class="scrolls" tabindex="0"><table>{rows}</table></div>'


def tiles(figures: Iterable[tuple[str, str, str]]) -> str:
    """Lay out (name, figure, remark) as a list of definitions."""
    shown = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd><dd><small>{escape(remark)}</small></dd></div>"
        for name, value, remark in figures
    )
    return f"<dl>{shown}</dl>"


def bdi(text: str) -> str:
    """Escape a text of any script, right-to-left ones too."""
    return f"<bdi>{escape(text)}</bdi>"


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""

STYLE = """
:root { color-scheme: light dark; --page: #f5f6f8; --card: #fff; --ink: #1b2027; --quiet: #59626f;
  --line: #dde1e7;
  --first: #2563eb; --second: #c2410c; }
@media (prefers-color-scheme: dark) { :root { --page: #0f1216; --card: #181c22; --ink: #e7eaee;
  --quiet: #a0a9b6;
  --line: #323943; --first: #6f9fff; --second: #ff9257; } }
@media print { :root { --page: #fff; --card: #fff; --ink: #000; --quiet: #444; --line: #ccc;
  --first: #2563eb;
  --second: #c2410c; } figure, dl > div, li, tr { break-inside: avoid; } h2, h3 { break-after: avoid; }
  main { max-width: none !important; padding: 0 !important; } * { print-color-adjust: exact; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1, h2, h3 { line-height: 1.2; overflow-wrap: anywhere; text-wrap: balance; }
h1 { font-size: 2rem; margin: 0 0 1rem; }
h2 { font-size: 1.375rem; margin: 3rem 0 .5rem; }
h3 { font-size: 1.0625rem; margin: 2rem 0 .5rem; }
p { margin: 0 0 1rem; max-width: 44rem; }
small { font-size: .8125rem; font-weight: 400; color: var(--quiet); }
h1 small { font-size: 1rem; }
.state { padding: .75rem 1rem; border-left: 4px solid var(--second); border-radius: 6px;
  background: var(--card); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(max(9.5rem, 20%), 1fr)); gap: .75rem;
  margin: 0; }
dl > div, figure { min-width: 0; background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 1rem; }
dt { font-size: .875rem; color: var(--quiet); }
dd { margin: 0; font-size: 1.5rem; font-weight: 600; font-variant-numeric: tabular-nums; line-height: 1.3;
  overflow-wrap: anywhere; }
dd:last-child { font-size: 1rem; }
figure { margin: 0 0 1rem; }
figure svg { display: block; width: 100%; height: auto; }
figure svg * { stroke-linejoin: round; }
figcaption { margin-top: .75rem; font-size: .875rem; color: var(--quiet); max-width: 44rem; }
figcaption b { color: var(--ink); }
.pairs { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem; }
.pairs figure { margin: 0; }
.narrow { max-width: 36rem; }
.wide, .matrix { max-width: 40rem; }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), auto)); gap: 0 2rem;
  align-items: start; }
.beside h3 { margin-top: 0; }
.wide > div, .scrolls { overflow-x: auto; }
.wide svg { min-width: 28rem; }
.columns { columns: 21rem; column-gap: 2.5rem; padding: 0; margin: 0; list-style: none; }
.columns li { break-inside: avoid; padding: .25rem 0; overflow-wrap: anywhere; }
.bars li { display: grid; grid-template-columns: 1fr auto; gap: 0 1rem; padding: .3rem 0; }
.bars span:last-of-type { font-variant-numeric: tabular-nums; white-space: nowrap; }
.bars i { grid-column: 1 / -1; height: 6px; border-radius: 3px;
  background: linear-gradient(var(--first), var(--first)) no-repeat var(--line); }
.filters { display: flex; flex-wrap: wrap; gap: 6px; }
.filters img { width: 48px; height: 48px; border-radius: 3px; }
img { image-rendering: auto; }
img.small { image-rendering: pixelated; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr));
  gap: 1.25rem 1rem; padding: 0;
  margin: 0; list-style: none; }
.pictures li { font-size: .875rem; line-height: 1.35; overflow-wrap: anywhere; }
.pictures img { display: block; width: 96px; height: 96px; border-radius: 6px; margin-bottom: .375rem; }
.pictures span, .pictures small { display: block; }
table { border-collapse: collapse; font-size: .9375rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem 1.25rem .4rem 0;
  border-bottom: 1px solid var(--line); }
th { font-weight: 400; color: var(--quiet); white-space: nowrap; }
td { overflow-wrap: anywhere; min-width: 12rem; }
"""
