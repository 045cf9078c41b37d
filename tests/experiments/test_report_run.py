"""report_run.py: what the file has, and that a browser shows it."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import report_run
from PIL import Image

from xxnet_jax.files import read_json_lines
from xxnet_jax.training import Recipe, run

CLASSES = ('<img src="x" onerror="boom()">', 'a "quoted" & <b>bold class', "plain")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on images of three classes whose names mean something in HTML."""
    folder = tmp_path_factory.mktemp("report")
    random = np.random.default_rng(0)
    for split, count in (("train", 24), ("validation", 8), ("test", 8)):
        for label, name in enumerate(CLASSES):
            (folder / "data" / split / name).mkdir(parents=True)
            for number in range(count):
                image = random.integers(60 * label, 60 * label + 90, (32, 32, 3), np.uint8)
                Image.fromarray(image).save(folder / "data" / split / name / f"{number}.png")
    recipe = Recipe(
        model="lenet5.notebook",
        data=f"folder:{folder / 'data'}",
        steps=6,
        batch_size=16,
        evaluate_every=2,
        metrics=("dead_units", "response_spread"),
        devices=1,
    )
    run(recipe, folder / "run", quiet=True)
    return folder / "run"


@pytest.fixture(scope="module")
def made(trained: Path) -> str:
    """The report, with all that it can have."""
    with pytest.MonkeyPatch.context() as patch:
        words = ["report_run", str(trained), "--metrics", *report_run.FIGURES, "dead_units", "response_spread"]
        patch.setattr("sys.argv", words)
        assert report_run.report() == 0
    return (trained / "report.html").read_text(encoding="utf-8")


class Page(HTMLParser):
    """Its tags with their attributes, and its text by element."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data.strip())


def test_the_file_needs_nothing_else(made: str):
    """Pictures are data, links lead to its own sections, and there is no script; every picture has an alternative
    text."""
    page = Page(made)
    names = [tag for tag, _ in page.tags]
    assert names.count("script") == 0
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) > 6
    assert all((attributes["src"] or "").startswith("data:image/png;base64,") for attributes in pictures)
    assert all(attributes["alt"] for attributes in pictures)
    anchors = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = [attributes["href"] or "" for tag, attributes in page.tags if tag == "a"]
    assert {f"#{anchor}" for anchor in anchors} == set(links)
    assert not re.search(r"(?:https?:)?//", re.sub(r'"data:[^"]*"', "", made))
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_what_it_says(trained: Path, made: str):
    """Its figures are those of report.json; each class stands in the table with its examples, its name as it is; all
    examples of the split are there as right or wrong, and settings as the recipe has them."""
    report = json.loads((trained / "report.json").read_text())
    page = Page(made)
    for name in CLASSES:
        assert name in page.text
    cards = dict(zip(page.text, page.text[1:], strict=False))
    assert cards["test accuracy"] == f"{report['test/accuracy']:.4g}"
    assert cards["test dead units"] == f"{report['test/dead_units']:.4g}"
    assert cards["parameters"] == f"{report['parameters']:,}"
    assert cards["optimizer"] == "adam"
    assert cards["jax"] == report["versions"]["jax"]
    for layer in ("conv1", "conv2", "dense1", "logits"):
        assert f"test/response_spread/{layer}" in report
        assert layer in page.text
    headings = [text for text in page.text if re.match("(Wrong|Right): ", text)]
    counts = {text.split(":")[0]: int(text.split()[-3]) for text in headings}
    assert sum(counts.values()) == 24
    assert counts.get("Right", 0) == round(24 * report["test/accuracy"])


def test_other_splits_and_mistakes(trained: Path, call: Any, tmp_path: Path):
    """Another split, another file and fewer samples; what is not there is one clear line."""
    words = ("--split", "validation[:5]", "--out", tmp_path / "other.html", "--samples", 1, "--samples-of", 5)
    status, output, _ = call(report_run.report, trained, *words)
    assert (status, output) == (0, f"{tmp_path / 'other.html'}\n")
    text = (tmp_path / "other.html").read_text(encoding="utf-8")
    assert "evaluated on validation[:5]" in text
    assert "among 5" in text
    assert text.count('<div class="samples">') == text.count('alt="an image of')
    for words, message in (((trained, "--split", "tset"), "did you mean test"), (("nowhere",), "no run in nowhere")):
        status, _, errors = call(report_run.report, *words)
        assert (status, message in errors) == (2, True)


def test_layers_are_logged(trained: Path):
    """Where the recipe asks for metrics of layers, each evaluation logs one figure of all and one of each layer."""
    lines = [line for line in read_json_lines(trained / "metrics.jsonl") if "validation/loss" in line]
    assert len(lines) == 3
    for line in lines:
        for name, layers in (
            ("dead_units", ("conv1", "pool1", "conv2", "pool2", "dense1")),
            ("response_spread", ("conv1", "conv2", "dense1", "logits")),
        ):
            logged = [key for key in line if key.startswith(f"validation/{name}")]
            assert logged == [f"validation/{name}", *(f"validation/{name}/{layer}" for layer in layers)]
            values = [line[key] for key in logged[1:]]
            assert min(values) <= line[logged[0]] <= max(values)


# --- In a browser -----------------------------------------------------------------------------------------------------

CHROMIUM = shutil.which("chromium")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--enable-logging=stderr", "--v=0"),
    "--dump-dom",
]
WATCH = """<script>
  const errors = [];
  addEventListener("error", event => errors.push(event.message || event.target.outerHTML.slice(0, 80)), true);
  addEventListener("load", () => {
    const images = [...document.images];
    const shown = images.filter(image => image.complete && image.naturalWidth > 0);
    const element = document.documentElement;
    const sticksOut = element.scrollWidth > element.clientWidth;
    element.dataset.seen = JSON.stringify({errors, images: images.length, shown: shown.length, sticksOut});
  });
</script>"""


def browse(text: str, folder: Path, width: int) -> dict[str, Any]:
    """What Chromium makes of a page: errors, lines of its console, how many images there are and are shown, and whether
    the page is wider than the window."""
    assert CHROMIUM is not None
    page = folder / "watched.html"
    page.write_text(text.replace("<head>", f"<head>{WATCH}", 1), encoding="utf-8")
    words = [CHROMIUM, *FLAGS, f"--window-size={width},900", f"--user-data-dir={folder / f'profile{width}'}"]
    result = subprocess.run([*words, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    seen = Page(result.stdout).tags[0][1]["data-seen"]
    assert seen is not None
    return {**json.loads(seen), "console": [line for line in result.stderr.splitlines() if "CONSOLE" in line]}


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")
@pytest.mark.parametrize("width", [1280, 500])
def test_a_browser_shows_it(made: str, tmp_path: Path, width: int):
    """Opened in Chromium there is no error on its console, every image is shown, and nothing sticks out at the side."""
    seen = browse(made, tmp_path, width)
    assert seen == {
        "errors": [],
        "console": [],
        "images": made.count("<img"),
        "shown": made.count("<img"),
        "sticksOut": False,
    }


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")
def test_a_browser_would_tell(made: str, tmp_path: Path):
    """A picture that is damaged, an error of a script and a line that is too wide are noticed."""
    first = re.search('src="data:image/png;base64,[^"]*"', made)
    assert first is not None
    worse = made.replace(first[0], 'src="data:image/png;base64,AAAA"', 1)
    worse = worse.replace("<main>", '<main><div style="width: 3000px">x</div><script>missing();</script>')
    seen = browse(worse, tmp_path, 1280)
    assert seen["shown"] == seen["images"] - 1
    assert len(seen["errors"]) == 2
    assert any("missing is not defined" in line for line in seen["console"])
    assert seen["sticksOut"]
