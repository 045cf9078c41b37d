"""The scripts as a user meets them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import evaluate
import huge_pages
import list_models
import list_optimizers
import numpy as np
import predict
import prepare_data
import pytest
import script
import train
from PIL import Image

import xxnet_jax as xx
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.files import read_json_lines
from xxnet_jax.optimizers import ScheduleConfig
from xxnet_jax.training import Recipe

SHORT = ["--steps", "40", "--evaluate-every", "20", "--devices", "1"]


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


def recipe_of(call: Any, monkeypatch: pytest.MonkeyPatch, *words: object, recipe: Recipe | None = None) -> Recipe:
    """The recipe that train.py would run, by default as a change of the default one."""
    recipes: list[Recipe] = []
    monkeypatch.setattr(train, "run", lambda recipe, *_, **__: recipes.append(recipe) or {})
    if recipe is not None:
        monkeypatch.setattr(script, "load_recipe", lambda *_: (recipe, "A recipe."))
        words = ("made_up", *words)
    with pytest.raises(KeyError):  # the script wants to show a report
        call(train.train, *words)
    (found,) = recipes
    return found


def test_another_optimizer_has_its_own_rate(call, monkeypatch):
    """The rate of a recipe belongs to its optimizer: another one takes its default, or what the command says."""
    for words, rate in (
        ((), 0.01),
        (("--optimizer", "adam"), None),
        (("--optimizer", "sgd"), 0.01),
        (("--optimizer", "adam", "--learning-rate", "0.02"), 0.02),
        (("--learning_rate=0.02", "--optimizer=adam"), 0.02),
    ):
        assert recipe_of(call, monkeypatch, "lenet5_tf1_mnist", *words).learning_rate == rate


def test_another_optimizer_has_its_own_options(call, monkeypatch):
    """The options of a recipe belong to its optimizer, too; the same one keeps them; the command has the last word."""
    own = Recipe(optimizer="momentum", learning_rate=0.5, optimizer_options={"momentum": 0.99})
    for words, optimizer, rate, options in (
        ((), "momentum", 0.5, {"momentum": 0.99}),
        (("--optimizer", "momentum", "--seed", "1"), "momentum", 0.5, {"momentum": 0.99}),
        (("--optimizer", "adam"), "adam", None, {}),
        (("--optimizer=nesterov", "--learning-rate", "0.1"), "nesterov", 0.1, {}),
        (("--optimizer-options", "momentum", "0.5"), "momentum", 0.5, {"momentum": 0.5}),
        (("--optimizer", "nesterov", "--optimizer-options", "momentum", "0.5"), "nesterov", None, {"momentum": 0.5}),
    ):
        found = recipe_of(call, monkeypatch, *words, recipe=own)
        assert (found.optimizer, found.learning_rate, found.optimizer_options) == (optimizer, rate, options)


def test_options_that_the_recipe_does_not_have(call, monkeypatch):
    """Another optimizer than the recipe's can be given options of its own; other options of a command join the
    recipe's, and of the factors of the rate, the command's come first."""
    own = Recipe(optimizer="momentum", optimizer_options={"momentum": 0.99}, rate_factors={"bias$": 2.0})
    found = recipe_of(call, monkeypatch, "--optimizer", "adam", "--optimizer-options", "b1", "0.8", recipe=own)
    assert found.optimizer_options == {"b1": 0.8}
    words = ("--rate-factors", "^C1/", "0.1", "--model-options", "activation", "relu")
    own = Recipe(model_options={"activation": "tanh", "subsampling": "max"}, rate_factors={"bias$": 2.0})
    found = recipe_of(call, monkeypatch, *words, recipe=own)
    assert list(found.rate_factors.items()) == [("^C1/", 0.1), ("bias$", 2.0)]
    assert found.model_options == {"activation": "relu", "subsampling": "max"}


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        (
            "--optimizer momentum --like torch --optimizer-options momentum 0.5",
            {"optimizer": "momentum", "like": "torch", "optimizer_options": {"momentum": 0.5}},
        ),
        (
            "--freeze ^C1/ bias$ --rate-factors ^F6/ 0.1 ^C3/ 2",
            {"freeze": ("^C1/", "bias$"), "rate_factors": {"^F6/": 0.1, "^C3/": 2.0}},
        ),
        (
            "--clip-norm 1 --clip-value 0.1 --accumulate 2 --weight-decay 1e-4 --weight-decay-pattern bias$",
            {
                "clip_norm": 1.0,
                "clip_value": 0.1,
                "accumulate": 2,
                "weight_decay": 1e-4,
                "weight_decay_pattern": "bias$",
            },
        ),
        ("--schedule.name densenet", {"schedule": ScheduleConfig("densenet")}),
        (
            "--schedule.name multistep --schedule.unit epochs --schedule.warmup 0.5 --schedule.boundaries 3 4.5",
            {"schedule": ScheduleConfig("multistep", unit="epochs", warmup=0.5, boundaries=(3, 4.5))},
        ),
        (
            "--schedule.name exponential --schedule.every 8 --schedule.decay-rate 0.96 --schedule.staircase",
            {"schedule": ScheduleConfig("exponential", every=8, decay_rate=0.96, staircase=True)},
        ),
        ("--polyak-from 30", {"polyak_from": 30}),
    ],
)
def test_options_of_the_optimizer_on_the_command_line(call, monkeypatch, words, changes):
    """What is written on the command line stands in the recipe, and nothing else changes."""
    assert recipe_of(call, monkeypatch, *words.split(), recipe=Recipe()) == Recipe(**changes)


def test_training_with_everything_on_the_command_line(call, tmp_path):
    """A few steps with another convention, groups, clipping, accumulation and a paper's schedule; the treatment of each
    parameter is printed, and the rate falls where the schedule says."""
    words = (
        "--optimizer momentum --like torch --optimizer-options momentum 0.5 --learning-rate 0.04 "
        "--freeze ^C1/ output/bias --rate-factors ^F6/ 0.1 --weight-decay 0.01 --clip-norm 1 --accumulate 2 "
        "--schedule.name densenet --steps 4 --evaluate-every 4 --log-every 1 --devices 1"
    )
    status, output, errors = call(train.train, *words.split(), "--workdir", tmp_path / "run")
    assert (status, errors) == (0, "")
    assert "momentum at 0.04" in output
    assert re.search(r"^ *frozen: C1/bias, C1/kernel, output/bias$", output, re.MULTILINE)
    assert re.search(r"^ *rate x 0.1, weight decay 0.01: F6/kernel$", output, re.MULTILINE)
    assert re.search(r"^ *rate x 0.1, weight decay 0: F6/bias$", output, re.MULTILINE)
    assert re.search(r"^ *rate x 1, weight decay 0.01: .*output/kernel$", output, re.MULTILINE)
    rates = [
        line["train/learning_rate"]
        for line in read_json_lines(tmp_path / "run" / "metrics.jsonl")
        if "train/learning_rate" in line
    ]
    assert rates == pytest.approx([0.04, 0.04, 0.004, 0.0004])  # divided by 10 at 50 % and 75 %


def test_evaluation_repeats_the_report(trained, call):
    """evaluate.py on the test split gives the figure of report.json."""
    status, output, _ = call(evaluate.evaluate, trained)
    report = json.loads((trained / "report.json").read_text())
    assert status == 0
    assert f"test: accuracy {report['test/accuracy']:.4f}" in output
    assert f"after {report['best_step']} training steps" in output


def test_evaluation_writes_what_was_found(trained, call, tmp_path):
    """report.json has figures, those of each class and the confusion matrix, which agree; pictures lie beside it."""
    words = ("--split", "validation", "--metrics", "top3,mcc", "f1", "--out", tmp_path / "out")
    status, output, _ = call(evaluate.evaluate, trained, *words)
    assert status == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    matrix = np.array(report["confusion"])
    assert report["accuracy"] == pytest.approx(np.trace(matrix) / matrix.sum(), rel=1e-6)
    assert report["accuracy"] < report["top3"] < 1
    assert f"top3 {report['top3']:.4f}" in output
    assert [row["examples"] for row in report["classes"].values()] == matrix.sum(1).tolist()
    assert report["f1"] == pytest.approx(np.mean([row["f1"] for row in report["classes"].values()]))
    assert all(0.5 < row["auc"] <= 1 for row in report["classes"].values())
    for name in ("confusion", "roc", "precision_recall"):
        with Image.open(tmp_path / "out" / f"{name}.png") as picture:
            assert picture.width > 300


def test_evaluation_of_layers(trained, call, tmp_path):
    """A metric of layers has one figure on the terminal, and that of each layer in report.json and in a picture."""
    words = ("--metrics", "response_spread", "dead_units", "--out", tmp_path)
    status, output, _ = call(evaluate.evaluate, trained, *words)
    assert status == 0
    report = json.loads((tmp_path / "report.json").read_text())
    layers = {name: value for name, value in report.items() if name.startswith("response_spread/")}
    assert list(layers) == [f"response_spread/{name}" for name in ("C1", "C3", "C5", "F6", "output")]
    assert report["response_spread"] == pytest.approx(np.mean(list(layers.values())))
    assert f"response_spread {report['response_spread']:.4f}" in output
    assert "response_spread/" not in output
    assert [name for name in report if name.startswith("dead_units/")] == [
        f"dead_units/{name}" for name in ("C1", "S2", "C3", "S4", "C5", "F6")
    ]
    with Image.open(tmp_path / "layers.png") as picture:
        assert picture.width > 300


def test_metrics_of_a_recipe(call, tmp_path):
    """Figures go to metrics.jsonl and report.json, tables to report.json; an unknown name ends it before it trains."""
    words = (*SHORT, "--steps", "2", "--evaluate-every", "1", "--metrics", "top3,confusion", "auc", "--quiet")
    status, _, errors = call(train.train, *words, "--workdir", tmp_path / "run")
    assert (status, errors) == (0, "")
    lines = [line for line in read_json_lines(tmp_path / "run" / "metrics.jsonl") if "validation/accuracy" in line]
    assert [{"validation/top3", "validation/auc"} <= line.keys() for line in lines] == [True, True]
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["validation/top3"] == max(line["validation/top3"] for line in lines[-1:])
    matrix = np.array(report["test/confusion"])
    assert report["test/accuracy"] == pytest.approx(np.trace(matrix) / matrix.sum(), rel=1e-6)
    status, _, errors = call(train.train, *SHORT, "--metrics", "top33", "--workdir", tmp_path / "other")
    assert (status, not (tmp_path / "other" / "metrics.jsonl").exists()) == (2, True)
    assert "top33 needs k in 1..10" in errors


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
    """Every registered name of a pattern is there, with its parameters, and no other."""
    _, output, _ = call(list_models.list_models, "[lz]*")
    for name in xx.list_models("[lz]*"):
        assert re.search(rf"\b{re.escape(name)} .*{xx.model_info(name).parameters:,}", output)
    assert "vgg16" not in output
    _, output, _ = call(list_models.list_models, "*.tf1", "--deviations")
    assert "lenet5.tf1" in output
    assert "lenet5.slim" not in output
    assert "dropout" in output


def test_the_table_of_the_readme_is_up_to_date():
    """README.md has every base name of the registry, in the table that `list_models.py --readme` writes."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert list_models.with_papers(readme, xx.list_models()) == readme
    table = readme[readme.index("<!-- models -->") : readme.index("<!-- /models -->")]
    for name in xx.list_models():
        assert re.search(rf"\b{re.escape(name.split('.')[0])}\b", table)
    with pytest.raises(InvalidArgument, match="no place"):
        list_models.with_papers("nothing", xx.list_models())


def test_every_recipe_has_its_facts():
    """A recipe file has a docstring with its command, time and result, and a `RECIPE`."""
    for name in script.recipe_names():
        recipe, about = script.load_recipe(name)
        assert isinstance(recipe, Recipe)
        command = f"experiments/{'finetune' if name.startswith('finetune') else 'train'}.py {name}"
        for word in (command, "Takes", "Reaches"):
            assert word in about, f"{name} says nothing of '{word}'"


@pytest.mark.parametrize(
    ("function", "words", "message"),
    [
        (train.train, ["lenet5_digit"], "unknown recipe 'lenet5_digit': did you mean lenet5_digits"),
        (train.train, ["--model", "lenet"], "unknown model 'lenet'"),
        (train.train, ["--optimizer", "momentun"], "unknown optimizer 'momentun': did you mean momentum"),
        (train.train, ["--optimizer", "adam", "--like", "torch", "--optimizer-options", "mu", "0.9"], "eps"),
        (train.train, ["--freeze", "^C9/"], "the freeze pattern '^C9/' matches no parameter; paths: C1/bias"),
        (train.train, ["--rate-factors", "C(", "2"], "the rate factor pattern 'C(' is not a regular expression"),
        (train.train, ["--rate-factors", "^C1/", "0"], "0 is --freeze"),
        (train.train, ["--accumulate", "3"], "a batch of 32 cannot be divided into 3 micro-batches"),
        (train.train, ["--accumulate", "8"], "divided over 8 devices x 8 micro-batches: take 64"),
        (train.train, ["--clip-norm", "-1"], "clip_norm must be positive, got -1"),
        (train.train, ["--schedule.name", "step"], "schedule 'step' needs a positive `every`"),
        (train.train, ["--polyak-from", "1", "--ema-decay", "0.9"], "give one"),
        (train.train, ["--data", "idx:nowhere"], "no IDX file train-images-idx3-ubyte.gz"),
        (train.train, ["lenet5_mnist", "--data-dir", "nowhere"], "no prepared dataset 'mnist' in nowhere"),
        (train.train, ["--data", "folder:nowhere"], "no folder nowhere"),
        (evaluate.evaluate, ["nowhere"], "no run in nowhere"),
        (predict.predict, ["nowhere", "image.png"], "no run in nowhere"),
        (list_models.list_models, ["no_such*"], "unknown model 'no_such*'"),
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


def test_optimizers_are_listed(call):
    """Each name with each of its conventions and its rate there; one name is explained."""
    _, output, _ = call(list_optimizers.list_optimizers)
    lines = [line.split() for line in output.splitlines()]
    name = ""
    found: dict[tuple[str, str], str] = {}
    for words in lines[1:]:
        if words[0] in xx.list_optimizers():
            name = words[0]
            assert int(words[1]) == xx.optimizer_info(name).slots
            words = words[4:]
        found[name, words[0]] = words[1]
    for name in xx.list_optimizers():
        for like, convention in xx.optimizer_info(name).conventions.items():
            rate = convention.learning_rate
            assert found.pop((name, like)) == ("to" if rate is None else f"{rate:g}")
    assert not found
    _, output, _ = call(list_optimizers.list_optimizers, "adam")
    assert "Kingma and Ba" in output
    assert "w -= lr m / (1 - b1^t)" in output
    status, _, errors = call(list_optimizers.list_optimizers, "adma")
    assert status == 2
    assert errors.startswith("error: unknown optimizer 'adma': did you mean adam")


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


MADVISE = "always [madvise] never"


@pytest.mark.parametrize(
    ("environment", "mode", "library", "expected"),
    [
        ({}, MADVISE, "glibc", "glibc.malloc.hugetlb=1"),
        (
            {"GLIBC_TUNABLES": "glibc.rtld.optional_static_tls=9"},
            MADVISE,
            "glibc",
            "glibc.rtld.optional_static_tls=9:glibc.malloc.hugetlb=1",
        ),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, MADVISE, "glibc", None),
        ({}, "[always] madvise never", "glibc", None),
        ({}, "always madvise [never]", "glibc", None),
        ({}, "", "glibc", None),
        ({}, MADVISE, "", None),
    ],
)
def test_when_huge_pages_are_asked_for(environment, mode, library, expected):
    """Of glibc, where the kernel leaves it to the program and the user said nothing; other settings stay."""
    found = huge_pages.with_huge_pages({**environment, "HOME": "/"}, mode, library)
    assert found == (None if expected is None else {"HOME": "/", "GLIBC_TUNABLES": expected})


def test_a_script_is_started_anew_once(tmp_path):
    """With the same command, before anything else happens, and in the same process."""
    folder = Path(huge_pages.__file__).parent
    script = tmp_path / "train.py"
    script.write_text(
        "import os, pathlib, sys\n"
        f"sys.path.insert(0, {str(folder)!r})\n"
        "print(os.getpid(), flush=True)\n"
        "import platform; platform.libc_ver = lambda: ('glibc', '')\n"
        f"pathlib.Path.exists = lambda path: True; pathlib.Path.read_text = lambda *_, **__: {MADVISE!r}\n"
        "import huge_pages\n"
        "print(sys.argv[1:], sys.flags.utf8_mode, os.environ['GLIBC_TUNABLES'])\n"
    )
    command = [sys.executable, "-X", "utf8", str(script), "a b", "--c"]
    environment = {key: value for key, value in os.environ.items() if key != "GLIBC_TUNABLES"}
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    first, second, line = result.stdout.splitlines()
    assert first == second
    assert line == "['a b', '--c'] 1 glibc.malloc.hugetlb=1"
