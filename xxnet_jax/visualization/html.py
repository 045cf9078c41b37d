"""A report as one HTML file: styles and pictures are inside, it needs no script and asks nothing of a network.

Text is escaped by the functions that make elements of it; `Html` is what has been.
"""

import base64
import html
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NewType

import numpy as np

Html = NewType("Html", str)

_STYLE = """
:root { color-scheme: light dark; --text: #1f2328; --faint: #59636e; --page: #ffffff; --card: #f6f8fa; --line: #d1d9e0;
  --accent: #0a5dc2; --right: #1a7f37; --wrong: #c4232b; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --faint: #9ba7b4; --page: #0f141a; --card: #182029;
  --line: #323b45; --accent: #6cb2ff; --right: #4cc165; --wrong: #ff7b72; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 1.5rem 1.25rem 4rem; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0; }
h2 { font-size: 1.25rem; margin: 2.75rem 0 .9rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 .6rem; }
p { margin: .4rem 0; }
.faint, figcaption, thead th { color: var(--faint); }
a { color: var(--accent); }
nav { margin-top: 1rem; display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: .75rem; margin: 0; }
.cards div { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .9rem; }
.cards dt { color: var(--faint); font-size: .85rem; }
.cards dd { margin: 0; font-size: 1.3rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.scroll { overflow: auto; max-height: 34rem; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .9rem .28rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { font-weight: 500; }
td.number, th.number { text-align: right; }
thead th { position: sticky; top: 0; background: var(--page); }
figure { margin: 0 0 1rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 0 1.25rem; }
figure > img { display: block; max-width: 100%; max-height: 36rem; height: auto; background: #fff;
  border: 1px solid var(--line); border-radius: .5rem; padding: .4rem; }
figcaption { font-size: .9rem; margin-top: .35rem; }
.samples { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: .9rem; }
.samples figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: .6rem; }
.samples img { width: 100%; max-height: none; aspect-ratio: 1; object-fit: contain; border: 0; padding: 0;
  border-radius: .25rem; }
.samples img.small { image-rendering: pixelated; }
.right { color: var(--right); } .wrong { color: var(--wrong); }
details { margin-top: .8rem; } summary { cursor: pointer; color: var(--accent); }
"""


def page(title: str, subtitle: str, sections: Mapping[str, Iterable[Html]]) -> str:
    """The whole file.

    Args:
        title: of the page, text.
        subtitle: text below it.
        sections: heading, as text -> what stands below it; those without anything are left out.
    """
    filled = {heading: content for heading, parts in sections.items() if (content := "\n".join(parts))}
    links = "\n".join(f'<a href="#{_anchor(heading)}">{_text(heading)}</a>' for heading in filled)
    body = "\n".join(
        f'<section id="{_anchor(heading)}">\n<h2>{_text(heading)}</h2>\n{content}\n</section>'
        for heading, content in filled.items()
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{_text(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>{_text(title)}</h1>
<p class="faint">{_text(subtitle)}</p>
<nav aria-label="sections">
{links}
</nav>
</header>
<main>
{body}
</main>
</body>
</html>
"""


def paragraph(text: str) -> Html:
    return Html(f"<p>{_text(text)}</p>")


def heading(text: str) -> Html:
    return Html(f"<h3>{_text(text)}</h3>")


def cards(figures: Mapping[str, Any]) -> Html:
    """A few figures that are seen first, name and value."""
    items = "\n".join(
        f"<div><dt>{_text(name)}</dt><dd>{_text(_shown(value))}</dd></div>" for name, value in figures.items()
    )
    return Html(f'<dl class="cards">\n{items}\n</dl>')


def facts(values: Mapping[str, Any]) -> Html:
    """A table of two columns: names and values."""
    rows = "\n".join(
        f'<tr><th scope="row">{_text(name)}</th><td>{_text(_shown(value))}</td></tr>' for name, value in values.items()
    )
    return Html(f'<div class="scroll"><table><tbody>\n{rows}\n</tbody></table></div>')


def table(rows: Sequence[Mapping[str, Any]]) -> Html:
    """Rows with the same columns; the first is the heading of its row."""
    columns = list(rows[0])
    numbers = {column for column in columns if any(isinstance(row[column], int | float) for row in rows)}

    def cell(tag: str, column: str, text: str) -> str:
        number = ' class="number"' if column in numbers else ""
        return f"<{tag}{number}>{_text(text)}</{tag.split()[0]}>"

    head = "".join(cell('th scope="col"', column, column) for column in columns)
    body = "\n".join(
        "<tr>"
        + cell('th scope="row"', columns[0], _shown(row[columns[0]]))
        + "".join(cell("td", column, _shown(row[column])) for column in columns[1:])
        + "</tr>"
        for row in rows
    )
    return Html(f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>')


def folded(summary: str, *content: Html) -> Html:
    """What is there for those who ask."""
    return Html(f"<details><summary>{_text(summary)}</summary>\n{''.join(content)}\n</details>")


def picture(file: Path, alt: str, caption: str = "") -> Html:
    """A PNG file.

    Args:
        file: to be put inside.
        alt: what it shows, for those who cannot see it.
        caption: text below it.
    """
    below = f"<figcaption>{_text(caption)}</figcaption>" if caption else ""
    return Html(f'<figure><img src="{_data(file.read_bytes())}" alt="{_text(alt)}">{below}</figure>')


def side_by_side(*pictures: Html) -> Html:
    """Pictures in a row, where the window is wide enough."""
    return Html(f'<div class="pair">\n{"".join(pictures)}\n</div>')


def samples(predictions: Sequence[tuple[np.ndarray, str, str, float]]) -> Html:
    """Images, each with its true class and what was predicted.

    Args:
        predictions: image uint8 [height, width, 1 or 3], true class, predicted class, its probability.
    """
    figures = "\n".join(_sample(*prediction) for prediction in predictions)
    return Html(f'<div class="samples">\n{figures}\n</div>')


def _sample(image: np.ndarray, truth: str, predicted: str, probability: float) -> str:
    right = truth == predicted
    small = ' class="small"' if max(image.shape[:2]) < 100 else ""
    alt = f"an image of {truth}, predicted {'rightly' if right else 'as ' + predicted}"
    word, was = ("right", "") if right else ("wrong", f"<br>is {_text(truth)}")
    caption = f'<span class="{word}">{_text(predicted)}</span> {probability:.1%}{was}'
    return (
        f'<figure><img{small} src="{_data(_png(image))}" alt="{_text(alt)}"><figcaption>{caption}</figcaption></figure>'
    )


def _png(image: np.ndarray) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(stream, format="png")
    return stream.getvalue()


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _text(text: str) -> str:
    return html.escape(text)


def _anchor(heading: str) -> str:
    return re.sub(r"\W+", "-", heading.lower()).strip("-")


def _shown(value: Any) -> str:
    match value:
        case None:
            return "—"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"
        case Mapping():
            return ", ".join(f"{name} {_shown(each)}" for name, each in value.items()) or "—"
        case list() | tuple():
            return ", ".join(map(_shown, value)) or "—"
        case _:
            return str(value)
