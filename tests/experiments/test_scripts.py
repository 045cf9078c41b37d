"""The scripts as a user meets them."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import evaluate
import list_models
import numpy as np
import predict
import prepare_data
import pytest
import script
import train
from PIL import Image

import xxnet_jax as xx
from xxnet_jax.training import Recipe

SHORT = ["--steps", "40", "--evaluate-every", "20", "--devices", "1"]


@pytest.fixture
def call(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Run a script's function as `script.main` does; returns exit status, output and errors."""

    def run(function: Callable[[], int | None], *words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [function.__name__, *map(str, words)])
        with pytest.raises(SystemExit) as end:
            script.main(function)
        output = capsys.readouterr()
        return end.value.code or 0, output.out, output.err  # type: ignore[return-value]

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("scripts") / "run"
    words = [sys.executable, str(Path(train.__file__)), "lenet5_digits", *SHORT, "--workdir", str(workdir)]
    result = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "lenet5 (61,706 parameters) on digits?side=24: 1,149 examples, 40 steps of 32" in result.stdout
    assert re.search(r"test/accuracy +0\.\d{4}", result.stdout)
    assert result.stderr == ""
    return workdir


def test_training_again_says_that_it_is_finished(trained, call):
    """The same command once more prints the result and trains nothing."""
    status, output, _ = call(train.train, "lenet5_digits", *SHORT, "--workdir", trained)
    assert status == 0
    assert "is finished: 40 of 40 steps" in output
    assert "test/accuracy" in output


def test_another_optimizer_has_its_own_rate(call, monkeypatch):
    """The rate of a recipe belongs to its optimizer: another one takes its default, or what the command says."""
    recipes = []
    monkeypatch.setattr(train, "run", lambda recipe, *_, **__: recipes.append(recipe) or {})
    for words in ((), ("--optimizer", "adam"), ("--optimizer", "adam", "--learning-rate", "0.01")):
        with pytest.raises(KeyError):  # the script wants to show a report
            call(train.train, "lenet5_tf1_mnist", *words)
    assert [recipe.learning_rate for recipe in recipes] == [0.01, None, 0.01]


def test_evaluation_repeats_the_report(trained, call):
    """evaluate.py on the test split gives the figure of report.json."""
    status, output, _ = call(evaluate.evaluate, trained)
    report = json.loads((trained / "report.json").read_text())
    assert status == 0
    assert f"test: accuracy {report['test/accuracy']:.4f}" in output
    assert f"after {report['best_step']} training steps" in output


def test_watching_a_finished_run_ends(trained, call):
    """--watch evaluates the last checkpoint on validation and ends, as the run is finished."""
    status, output, _ = call(evaluate.evaluate, trained, "--watch", "--interval", "0.1")
    assert status == 0
    assert "after 40 training steps, validation: accuracy" in output
    assert output.endswith("the run is finished\n")


def test_watching_gives_up(trained, call):
    """--timeout ends the watch of a run that makes no progress."""
    report = trained / "report.json"
    hidden = report.rename(trained / "hidden.json")
    try:
        status, output, _ = call(evaluate.evaluate, trained, "--watch", "--interval", "0.1", "--timeout", "0.3")
    finally:
        hidden.rename(report)
    assert status == 0
    assert "no new checkpoint in 0.3 s" in output


def test_exported_images_are_predicted_like_the_dataset(trained, call, tmp_path):
    """Digits written to files and read again get the classes that evaluation counts, whatever their size or shade."""
    call(prepare_data.prepare, "export", "digits", "--split", "test[:12]", "--out", tmp_path)
    files = sorted(tmp_path.rglob("*.png"))
    assert len(files) == 12
    status, output, _ = call(predict.predict, trained, *files, "--json", "--top-k", "10")
    predictions = [json.loads(line)["top"] for line in output.splitlines()]
    assert status == 0
    assert all(sum(p for _, p in top) == pytest.approx(1, abs=1e-4) for top in predictions)

    inverted = []
    for file in files:
        inverted.append(tmp_path / f"inverted_{file.parent.name}_{file.name}")
        Image.fromarray(255 - np.asarray(Image.open(file))).convert("RGB").save(inverted[-1])
    _, output, _ = call(predict.predict, trained, *inverted, "--json", "--top-k", "10", "--invert")
    again = [json.loads(line)["top"] for line in output.splitlines()]
    assert [top[0][0] for top in again] == [top[0][0] for top in predictions]

    _, output, _ = call(evaluate.evaluate, trained, "--split", "test[:12]")
    hits = sum(top[0][0] == file.parent.name for top, file in zip(predictions, files, strict=True))
    assert f"accuracy {hits / 12:.4f}" in output


def test_prediction_draws_bars(trained, call, tmp_path):
    """Without --json there is a line for each of the top classes, most probable first."""
    Image.new("L", (20, 30), 255).save(tmp_path / "white.png")
    status, output, _ = call(predict.predict, trained, tmp_path / "white.png", "--threshold", "50")
    assert status == 0
    percents = [float(number) for number in re.findall(r"([\d.]+)%", output)]
    assert len(percents) == 3
    assert percents == sorted(percents, reverse=True)


def test_models_are_listed(call):
    """Every registered name is there, with its parameters; a pattern selects."""
    _, output, _ = call(list_models.list_models)
    for name in xx.list_models():
        assert re.search(rf"\b{re.escape(name)} .*{xx.model_info(name).parameters:,}", output)
    _, output, _ = call(list_models.list_models, "*.tf1", "--deviations")
    assert "lenet5.tf1" in output
    assert "lenet5.slim" not in output
    assert "dropout" in output


def test_every_recipe_has_its_facts():
    """A recipe file has a docstring with its command, time and result, and a `RECIPE`."""
    for name in script.recipe_names():
        recipe, about = script.load_recipe(name)
        assert isinstance(recipe, Recipe)
        for word in (f"experiments/train.py {name}", "Takes", "Reaches"):
            assert word in about, f"{name} says nothing of '{word}'"


@pytest.mark.parametrize(
    ("function", "words", "message"),
    [
        (train.train, ["lenet5_digit"], "unknown recipe 'lenet5_digit': did you mean lenet5_digits"),
        (train.train, ["--model", "lenet"], "unknown model 'lenet'"),
        (train.train, ["--data", "idx:nowhere"], "no IDX file train-images-idx3-ubyte.gz"),
        (train.train, ["lenet5_mnist", "--data-dir", "nowhere"], "no prepared dataset 'mnist' in nowhere"),
        (train.train, ["--data", "folder:nowhere"], "no folder nowhere"),
        (evaluate.evaluate, ["nowhere"], "no run in nowhere"),
        (predict.predict, ["nowhere", "image.png"], "no run in nowhere"),
        (list_models.list_models, ["resnet*"], "unknown model 'resnet*'"),
        (prepare_data.prepare, ["export", "digits", "--split", "tset"], "did you mean test"),
    ],
)
def test_mistakes_are_one_clear_line(call, tmp_path, monkeypatch, function, words, message):
    """Exit status 2, the message on the standard error, and no traceback."""
    monkeypatch.chdir(tmp_path)
    status, _, errors = call(function, *words)
    assert status == 2
    assert errors.startswith("error: ")
    assert message in errors
    assert "Traceback" not in errors


def test_a_model_name_means_its_last_run(trained, call, tmp_path, monkeypatch):
    """predict.py MODEL uses the run of that model below runs/, and says when there is none."""
    monkeypatch.chdir(tmp_path)
    Image.new("L", (9, 9)).save("black.png")
    status, _, errors = call(predict.predict, "lenet5", "black.png")
    assert status == 2
    assert "no run of model 'lenet5' in runs" in errors
    Path("runs").mkdir()
    Path("runs/mine").symlink_to(trained)
    by_name = call(predict.predict, "lenet5", "black.png", "--json")
    assert by_name == call(predict.predict, trained, "black.png", "--json")
    assert by_name[0] == 0


def test_a_missing_image_is_named(trained, call):
    """The file that is not there is in the message."""
    status, _, errors = call(predict.predict, trained, "nowhere.png")
    assert status == 2
    assert "no image file nowhere.png" in errors


@pytest.mark.slow
def test_sigterm_saves_and_leaves(tmp_path):
    """A terminated training exits with 143 and says what it saved and how to go on; going on finishes it."""
    words = [sys.executable, train.__file__, "--steps", "2000", "--devices", "1", "--workdir", str(tmp_path / "run")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    metrics = tmp_path / "run" / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.stat().st_size):
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate()
    assert process.returncode == 143
    assert re.search(r"SIGTERM: saved step \d+ in .*; run the same command again to resume\n$", output)
    step = int(re.findall(r"saved step (\d+)", output)[0])
    words[words.index("2000")] = str(step + 1)
    output = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert f"resuming from the checkpoint of step {step}" in output
