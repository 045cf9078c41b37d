"""Whole runs on real digits: what they leave behind, how they resume, and how they fail."""

import csv
import dataclasses
import functools
import gc
import importlib
import itertools
import json
import os
import resource
import signal
import threading
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from checks.kill_and_resume import differences, result

from xxnet_jax.data.source import Source, open_source
from xxnet_jax.files import read_json_lines
from xxnet_jax.optimizers import ScheduleConfig
from xxnet_jax.training import LoopResult, Recipe, Run, loop, run
from xxnet_jax.training.checkpoints import Checkpoints
from xxnet_jax.training.folder import RunFolder
from xxnet_jax.training.run import recipe_optimizer
from xxnet_jax.training.state import TrainState, create_state

# Small, but with everything that must survive an interruption: dropout, augmentation, averaging, a penalty, a rate that
# follows the validation, and lines and evaluations that do not fall together.
SMALL = Recipe(
    model="lenet5",
    model_options={"dropout_rate": 0.3},
    data="digits",
    train_split="train[:200]",
    validation_split="validation[:64]",
    test_split="test[:64]",
    augmentation="cifar",
    batch_size=32,
    steps=30,
    optimizer="momentum",
    ema_decay=0.9,
    l2=1e-3,
    schedule=ScheduleConfig(name="plateau", patience=1),
    log_every=4,
    evaluate_every=7,
    devices=1,
)


def finished(recipe: Recipe, workdir: Path) -> dict[str, Any]:
    report = run(recipe, workdir, quiet=True)
    assert isinstance(report, dict)
    return report


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    finished(SMALL, workdir)
    return workdir


def test_what_a_run_leaves(undisturbed):
    """Configuration, metrics at every due step, checkpoints, curves and a report that is consistent with them."""
    lines = read_json_lines(undisturbed / "metrics.jsonl")
    trained = [line["step"] for line in lines if "train/loss" in line]
    validated = [line["step"] for line in lines if "validation/accuracy" in line]
    assert trained == [4, 8, 12, 16, 20, 24, 28, 30]
    assert validated == [7, 14, 21, 28, 30]
    for line in lines:
        assert line["epoch"] == pytest.approx(line["step"] / 6, abs=1e-6)  # 200 // 32 batches an epoch
        assert any(key.startswith("time/") for key in line)

    report = json.loads((undisturbed / "report.json").read_text())
    best = max(
        (line for line in lines if "validation/accuracy" in line),
        key=lambda line: (line["validation/accuracy"], -line["validation/loss"]),
    )
    assert report["best_step"] == best["step"]
    assert report["validation/accuracy"] == best["validation/accuracy"]
    assert 0 <= report["test/accuracy"] <= 1
    assert report["parameters"] == 61_706
    assert report["versions"]["jax"] == jax.__version__
    assert (undisturbed / "curves.png").read_bytes().startswith(b"\x89PNG")
    kept = set(Run(undisturbed).checkpoints().steps())
    assert {28, 30, best["step"]} == kept
    assert json.loads((undisturbed / "config.json").read_text())["recipe"]["seed"] == 0


def test_training_lines_are_exact_means(undisturbed, tmp_path):
    """The mean over 4 steps of a line is the mean of the 4 lines of a run that logs every step."""
    finished(dataclasses.replace(SMALL, log_every=1), tmp_path / "run")
    single = {
        line["step"]: line["train/loss"]
        for line in read_json_lines(tmp_path / "run" / "metrics.jsonl")
        if "train/loss" in line
    }
    for line in read_json_lines(undisturbed / "metrics.jsonl"):
        if "train/loss" in line and line["step"] % 4 == 0:
            steps = range(line["step"] - 3, line["step"] + 1)
            assert line["train/loss"] == pytest.approx(np.mean([single[step] for step in steps]), rel=1e-12)


@pytest.mark.parametrize("moments", [(1, 7, 29), (3, 13, 16, 22)])
def test_interrupted_and_resumed_is_undisturbed(undisturbed, tmp_path, monkeypatch, moments):
    """SIGTERM after any steps, and the same command again: the same bits, metrics and report."""
    workdir = tmp_path / "run"
    advance = loop._Training.advance
    for moment in moments:

        def advance_and_signal(training, moment=moment):
            advance(training)
            if training.host.step == moment:
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(loop._Training, "advance", advance_and_signal)
        end = run(SMALL, workdir, quiet=True)
        assert isinstance(end, LoopResult)
        assert end.interrupted == signal.SIGTERM
        assert end.step == moment
    monkeypatch.setattr(loop._Training, "advance", advance)
    finished(SMALL, workdir)
    assert differences(result(workdir), result(undisturbed)) == []


def test_killed_between_checkpoints(undisturbed, tmp_path, monkeypatch):
    """A death without warning falls back to the last checkpoint; lines written since then are repeated, not doubled."""
    workdir = tmp_path / "run"
    advance = loop._Training.advance

    def advance_and_die(training):
        advance(training)
        if training.host.step == 18:
            raise MemoryError

    monkeypatch.setattr(loop._Training, "advance", advance_and_die)
    with pytest.raises(MemoryError):
        run(SMALL, workdir, quiet=True)
    assert read_json_lines(workdir / "metrics.jsonl")[-1]["step"] == 16
    monkeypatch.setattr(loop._Training, "advance", advance)
    finished(SMALL, workdir)
    assert differences(result(workdir), result(undisturbed)) == []


def test_a_checkpoint_is_of_the_moment_of_saving(tmp_path, monkeypatch):
    """However late Orbax writes in the background: sums that grow in the meantime are not in it."""
    write = ocp.JsonCheckpointHandler._save_fn
    changed = threading.Event()

    async def write_late(handler, *arguments):
        assert changed.wait(timeout=60)
        await write(handler, *arguments)

    monkeypatch.setattr(ocp.JsonCheckpointHandler, "_save_fn", write_late)
    checkpoints, state, sums = Checkpoints(tmp_path), {"w": jnp.ones(3)}, {"loss": [1.5, 2.0]}
    checkpoints.save(1, state, {"window": sums})
    sums["loss"][0] += 4.0
    changed.set()
    checkpoints.wait()
    assert checkpoints.restore(1, state)[1] == {"window": {"loss": [1.5, 2.0]}}
    checkpoints.close()


def test_kept_epochs(undisturbed, tmp_path, monkeypatch):
    """Their checkpoints, of 6 steps each, are there at the end, also those from before a death and where nothing is
    evaluated; they change no other result, and may be asked for when a run is resumed."""
    workdir = tmp_path / "run"
    advance = loop._Training.advance

    def advance_and_die(training):
        advance(training)
        if training.host.step == 13:
            raise MemoryError

    monkeypatch.setattr(loop._Training, "advance", advance_and_die)
    with pytest.raises(MemoryError):
        run(dataclasses.replace(SMALL, keep_epochs=(1, 2)), workdir, quiet=True)
    assert Run(workdir).checkpoints().steps() == [6, 7, 12]
    monkeypatch.setattr(loop._Training, "advance", advance)
    finished(dataclasses.replace(SMALL, keep_epochs=(1, 2, 4, 99)), workdir)
    assert {6, 12, 24} | set(Run(undisturbed).checkpoints().steps()) == set(Run(workdir).checkpoints().steps())
    assert differences(result(workdir), result(undisturbed)) == []


def test_a_finished_run_says_so(undisturbed, capsys):
    """The same command again trains nothing and gives the same report."""
    before = (undisturbed / "metrics.jsonl").read_bytes()
    report = run(SMALL, undisturbed)
    assert report == json.loads((undisturbed / "report.json").read_text())
    assert "is finished: 30 of 30 steps" in capsys.readouterr().out
    assert (undisturbed / "metrics.jsonl").read_bytes() == before


def test_another_configuration_is_refused(undisturbed):
    """The error lists every difference with both values, and what to do; nothing is changed."""
    other = dataclasses.replace(SMALL, optimizer="adam", seed=3)
    with pytest.raises(ValueError, match="another configuration") as error:
        run(other, undisturbed, quiet=True)
    assert "optimizer: 'momentum' -> 'adam'" in str(error.value)
    assert "seed: 0 -> 3" in str(error.value)
    assert "--workdir" in str(error.value)
    assert Run(undisturbed).config.recipe == SMALL


def test_more_steps_go_on_where_a_finished_run_ended(tmp_path):
    """10 steps and then 20 are the same parameters as 20 at once."""
    recipe = dataclasses.replace(SMALL, schedule=ScheduleConfig(), evaluate_every=10)
    finished(dataclasses.replace(recipe, steps=10), tmp_path / "parts")
    finished(dataclasses.replace(recipe, steps=20), tmp_path / "parts")
    finished(dataclasses.replace(recipe, steps=20), tmp_path / "whole")
    chex.assert_trees_all_equal(result(tmp_path / "parts")["state"], result(tmp_path / "whole")["state"])


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.fixture
def remains_collected():
    """Orbax leaves coroutines behind when it cannot read: they are collected before the next test."""
    yield
    gc.collect()


@pytest.mark.usefixtures("remains_collected")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", [flip_a_byte, Path.unlink])
def test_a_damaged_checkpoint_is_passed_over(undisturbed, tmp_path, caplog, damage):
    """With the last checkpoint's largest file damaged, the one before is used with a warning; the end is the same."""
    workdir = tmp_path / "run"
    finished(dataclasses.replace(SMALL, steps=28), workdir)
    (workdir / "report.json").unlink()
    files = [path for path in (workdir / "checkpoints" / "28").rglob("*") if path.is_file()]
    damage(max(files, key=lambda path: path.stat().st_size))
    finished(SMALL, workdir)
    assert "28" in caplog.text
    assert "the checkpoint before it is used" in caplog.text
    assert (workdir / "corrupt" / "28").is_dir()
    assert differences(result(workdir), result(undisturbed)) == []


@pytest.mark.usefixtures("remains_collected")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_readable_checkpoint_is_an_error(tmp_path):
    """Training does not silently begin anew over checkpoints that cannot be read."""
    workdir = tmp_path / "run"
    finished(dataclasses.replace(SMALL, steps=7), workdir)
    (workdir / "report.json").unlink()
    for path in (workdir / "checkpoints").rglob("metadata"):
        truncate(path)
    with pytest.raises(ValueError, match=r"none of the checkpoints \[7\].* can be read"):
        run(SMALL, workdir, quiet=True)
    assert (workdir / "checkpoints" / "7").is_dir()


def test_half_a_checkpoint_is_no_checkpoint(undisturbed, tmp_path):
    """What a kill leaves of a checkpoint that was being written is ignored and removed."""
    workdir = tmp_path / "run"
    finished(dataclasses.replace(SMALL, steps=14), workdir)
    (workdir / "report.json").unlink()
    half = workdir / "checkpoints" / "21.orbax-checkpoint-tmp"
    half.mkdir()
    (half / "state").write_text("half")
    assert max(Run(workdir).checkpoints().steps()) == 14
    finished(SMALL, workdir)
    assert not half.exists()
    chex.assert_trees_all_equal(result(workdir)["state"], result(undisturbed)["state"])


def test_a_diverging_run_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    """The error has the step, the loss and advice; the checkpoint before is finite."""
    workdir = tmp_path / "run"
    good = dataclasses.replace(SMALL, steps=7)
    finished(good, workdir)
    (workdir / "report.json").unlink()
    config = json.loads((workdir / "config.json").read_text())
    config["recipe"]["l2"] = 1e30
    (workdir / "config.json").write_text(json.dumps(config))
    bad = dataclasses.replace(good, l2=1e30, steps=30)
    with pytest.raises(
        FloatingPointError, match=r"the loss of step \d+ is (nan|inf); the checkpoint of step 7 is kept"
    ):
        run(bad, workdir, quiet=True)
    state = Run(workdir).load().variables
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


def test_a_plateau_lowers_the_rate_in_the_log(undisturbed):
    """The logged rate only falls, by the factor, and is what the plateau of the last checkpoint says."""
    rates = [
        line["train/learning_rate"]
        for line in read_json_lines(undisturbed / "metrics.jsonl")
        if "train/learning_rate" in line
    ]
    assert rates[0] == pytest.approx(0.01)
    assert all(later == pytest.approx(rate) or later < rate for rate, later in itertools.pairwise(rates))
    powers = -np.log10(np.array(rates) / 0.01)
    np.testing.assert_allclose(powers, np.round(powers), atol=1e-4)


def test_early_stopping_ends_a_run(tmp_path):
    """Without any progress (a rate of almost nothing) the run ends after the patience, and stays ended."""
    recipe = dataclasses.replace(
        *(SMALL,),
        optimizer="sgd",
        learning_rate=1e-30,
        ema_decay=None,
        schedule=ScheduleConfig(),
        early_stopping=2,
        evaluate_every=3,
    )
    report = finished(recipe, tmp_path / "run")
    assert report["step"] == 9
    assert report["best_step"] == 3
    assert finished(recipe, tmp_path / "run") == report


def test_the_test_split_is_read_once(tmp_path, monkeypatch):
    """Training and choosing the checkpoint never open the test split; the report opens it once."""
    opened = []
    examples = Source.examples
    monkeypatch.setattr(Source, "examples", lambda source, split: opened.append(split) or examples(source, split))
    finished(SMALL, tmp_path / "run")
    assert opened.count("test[:64]") == 1
    assert opened[-1] == "test[:64]"


def test_without_validation_the_last_checkpoint_counts(tmp_path):
    """No validation split: no validation figures, and the test is of the last step."""
    recipe = dataclasses.replace(SMALL, validation_split=None, schedule=ScheduleConfig(), steps=9)
    report = finished(recipe, tmp_path / "run")
    assert report["best_step"] == 9
    assert "validation/accuracy" not in report
    assert "test/accuracy" in report


@pytest.mark.usefixtures("optimized")
def test_resident_and_streamed_training_are_the_same(tmp_path):
    """Whether the set lives on the device or comes from the host changes no bit."""
    recipe = dataclasses.replace(SMALL, steps=8)
    finished(dataclasses.replace(recipe, resident=True), tmp_path / "resident")
    finished(dataclasses.replace(recipe, resident=False), tmp_path / "host")
    assert differences(result(tmp_path / "host"), result(tmp_path / "resident")) == []


def test_eight_devices_give_the_run_of_one(undisturbed, tmp_path):
    """The same recipe on 8 devices ends with the same parameters, to the order of sums."""
    finished(dataclasses.replace(SMALL, devices=8), tmp_path / "run")
    chex.assert_trees_all_close(
        Run(tmp_path / "run").load(30).variables, Run(undisturbed).load(30).variables, atol=1e-4
    )


def test_a_trained_network_predicts_images_of_any_size(undisturbed):
    """Probabilities sum to one, and an image does not depend on what else is in the batch."""
    trained = Run(undisturbed).load()
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((8, 8, 1), (50, 20, 3), (32, 32, 1))]
    probabilities = trained.predict(images)
    assert probabilities.shape == (3, 10)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    for image, expected in zip(images, probabilities, strict=True):
        np.testing.assert_allclose(trained.predict([image])[0], expected, rtol=1e-4)
    with pytest.raises(ValueError, match="no image"):
        trained.predict([])


def test_prediction_pads_as_training_did(tmp_path):
    """With fit="pad" an image of any size gets the dataset's size first: 8x8 digits are seen as in training."""
    recipe = dataclasses.replace(SMALL, data="digits?side=24", fit="pad", steps=7)
    finished(recipe, tmp_path / "run")
    trained = Run(tmp_path / "run").load()
    enlarged = next(iter(open_source("digits?side=24").examples("test")))["image"]
    original = next(iter(open_source("digits").examples("test")))["image"]
    np.testing.assert_array_equal(trained.batch([original]), trained.batch([enlarged]))
    np.testing.assert_array_equal(trained.batch([enlarged])[0, 4:-4, 4:-4], enlarged)
    assert trained.predict([np.zeros((300, 200, 3), np.uint8)]).shape == (1, 10)


# ------------------------------------------------------------------------------------------------ parameter groups

# Everything at once that `training_optimizer` and `make_train_step` can do.
GROUPED = dataclasses.replace(
    SMALL,
    optimizer="adam",
    steps=8,
    ema_decay=None,
    polyak_from=2,
    accumulate=2,
    freeze=("^C1/", "output/bias"),
    rate_factors={"^F6/": 0.1, "bias$": 2.0},
    weight_decay=0.1,
    clip_norm=0.5,
    clip_value=0.1,
    schedule=ScheduleConfig(warmup=3),
    evaluate_every=1,
    keep_last=8,
)
FROZEN = [("C1", "kernel"), ("C1", "bias"), ("output", "bias")]


@pytest.fixture(scope="module")
def grouped(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("grouped") / "run"
    finished(GROUPED, workdir)
    return workdir


@functools.cache
def template(workdir: Path) -> TrainState:
    return Run(workdir).template()


def restored(workdir: Path, step: int) -> TrainState:
    return Run(workdir).checkpoints().restore(step, template(workdir))[0]


def test_frozen_parameters_stay_to_the_bit(grouped):
    """After training what is frozen is what the seed made, decay and factors or not; everything else has moved."""
    run_ = Run(grouped)
    tx = recipe_optimizer(GROUPED)
    initial = create_state(run_.model, tx, (32, 32, 1), seed=GROUPED.seed, ema=True)
    end = restored(grouped, 8)
    for tree, start in ((end.params, initial.params), (end.ema_params, initial.params)):
        for layer, kinds in start.items():
            for kind, leaf in kinds.items():
                same = np.asarray(tree[layer][kind]).tobytes() == np.asarray(leaf).tobytes()
                assert same == ((layer, kind) in FROZEN), (layer, kind)


def test_frozen_parameters_have_no_optimizer_state(grouped):
    """Adam keeps two arrays of the shape of each trained parameter, and none of the shape of a frozen one."""
    end = restored(grouped, 8)
    shapes = [leaf.shape for leaf in jax.tree.leaves(end.opt_state) if leaf.ndim]
    trained = [
        leaf.shape for layer, kinds in end.params.items() for kind, leaf in kinds.items() if (layer, kind) not in FROZEN
    ]
    assert sorted(shapes) == sorted(2 * trained)


def test_the_groups_of_a_run_are_written_down(grouped):
    """parameters.csv has a line for each parameter, with what was asked for."""
    with (grouped / "parameters.csv").open(newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    params = restored(grouped, 8).params
    assert set(rows) == {f"{layer}/{kind}" for layer, kinds in params.items() for kind in kinds}
    for path, row in rows.items():
        layer, kind = path.split("/")
        frozen = (layer, kind) in FROZEN
        assert row["shape"] == "x".join(map(str, params[layer][kind].shape))
        assert int(row["parameters"]) == params[layer][kind].size
        assert row["frozen"] == str(frozen)
        factor = 0.0 if frozen else 0.1 if layer == "F6" else 2.0 if kind == "bias" else 1.0
        assert float(row["rate_factor"]) == factor
        assert float(row["weight_decay"]) == (0.1 if kind == "kernel" and not frozen else 0.0)


def test_the_step_of_a_recipe(tmp_path, monkeypatch):
    """Accumulation, averaging and penalty are made as the recipe says."""

    class Enough(Exception):
        pass

    def spy(model: Any, tx: Any, loss_fn: Any, **options: Any) -> None:
        raise Enough(options)

    monkeypatch.setattr(importlib.import_module("xxnet_jax.training.run"), "make_train_step", spy)
    with pytest.raises(Enough) as end:
        run(GROUPED, tmp_path / "run", quiet=True)
    options = end.value.args[0]
    assert options["accumulate"] == 2
    decays = [float(options["average_decay"](np.int32(step))) for step in range(5)]
    assert decays == pytest.approx([0, 0, 0, 1 / 2, 2 / 3])  # `polyak_from` 2
    kernels = {"C1": {"kernel": np.full((2, 3), 2.0)}, "C3": {"bias": np.ones(5)}}
    assert float(options["penalty"](kernels)) == pytest.approx(1e-3 * 6 * 4 / 2)


def test_a_run_is_evaluated_with_polyak_averages(grouped):
    """`Run.load` gives the mean of the parameters in the checkpoints after updates 3, 4, ... (`polyak_from` 2)."""
    visited = [restored(grouped, step).params for step in range(1, 9)]
    for step in (2, 3, 8):
        found = Run(grouped).load(step).variables["params"]
        mean = jax.tree.map(lambda *each: np.mean(each, axis=0, dtype=np.float64), *visited[min(2, step - 1) : step])
        chex.assert_trees_all_close(found, mean, atol=1e-6)  # six roundings of numbers below 1
    images = [np.asarray(example["image"]) for example in itertools.islice(open_source("digits").examples("test"), 2)]
    assert Run(grouped).load().predict(images).shape == (2, 10)


def test_a_resumed_run_with_groups_is_undisturbed(grouped, tmp_path, monkeypatch):
    """With groups, accumulation, decay, clipping, warm-up and averaging, too, an interruption changes no bit."""
    workdir = tmp_path / "run"
    advance = loop._Training.advance

    def advance_and_signal(training):
        advance(training)
        if training.host.step in (2, 5):
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop._Training, "advance", advance_and_signal)
    for moment in (2, 5):
        end = run(GROUPED, workdir, quiet=True)
        assert isinstance(end, LoopResult)
        assert end.step == moment
    finished(GROUPED, workdir)
    assert differences(result(workdir), result(grouped)) == []


def test_a_second_training_in_the_same_folder_is_refused(tmp_path):
    """The folder is locked while a process trains in it."""
    folder = RunFolder(tmp_path / "run")
    with folder.locked(), pytest.raises(OSError, match="another process is training"):
        run(SMALL, tmp_path / "run", quiet=True)


def test_a_folder_that_cannot_be_written(tmp_path):
    """The error names the folder before anything is trained."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write the run folder"):
        run(SMALL, tmp_path / "file" / "run", quiet=True)


# The failure reaches us through Orbax's threads, which pytest reports as well.
@pytest.mark.usefixtures("remains_collected")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_no_room_for_a_checkpoint(tmp_path):
    """When checkpoints can no longer be written, as on a full disk, the error says so; the ones before are whole."""
    workdir = tmp_path / "run"
    finished(dataclasses.replace(SMALL, steps=7), workdir)
    (workdir / "report.json").unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # a checkpoint of LeNet-5 takes more
    try:
        with pytest.raises(OSError, match=r"cannot write a checkpoint to .*checkpoints.*mend the cause"):
            run(SMALL, workdir, quiet=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert 7 in Run(workdir).checkpoints().steps()
    assert finished(SMALL, workdir)["step"] == 30


def test_there_is_no_run(tmp_path):
    """A folder without a run is named."""
    with pytest.raises(FileNotFoundError, match="no run in"):
        Run(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "lenet6"}, "did you mean lenet5"),
        ({"data": "digit"}, "did you mean digits"),
        ({"optimizer": "adma"}, "did you mean adam"),
        ({"preprocessing": "units"}, "did you mean unit"),
        ({"augmentation": "cifer"}, "did you mean cifar"),
        ({"model_options": {"activtion": "relu"}}, "did you mean activation"),
        ({"train_split": "tran"}, "did you mean train"),
        ({"image_size": 8}, "smallest size is 32x32"),
        ({"batch_size": 4096}, "larger than the training split"),
        ({"learning_rate": -1.0}, "learning_rate must be positive"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"l2_pattern": "nothing"}, "the L2 pattern 'nothing' matches no parameter"),
        ({"freeze": ("^C2/",)}, r"the freeze pattern '\^C2/' matches no parameter; paths: C1/bias, C1/kernel, C3/bias"),
        ({"freeze": ("^C1/", "(")}, r"the freeze pattern '\(' is not a regular expression"),
        ({"freeze": (".",)}, "leave no parameter to train"),
        ({"rate_factors": {"^C2/": 0.5}}, r"the rate factor pattern '\^C2/' matches no parameter"),
        ({"rate_factors": {"^C1/": 0.0}}, "must be positive, got 0.0; 0 is --freeze"),
        ({"weight_decay": 0.1, "weight_decay_pattern": "gamma"}, "the weight decay pattern 'gamma' matches"),
        ({"weight_decay": -0.1}, "weight_decay must be a number of at least 0"),
        ({"clip_norm": 0.0}, "clip_norm must be positive"),
        ({"optimizer_options": {"b1": 0.9}}, "momentum .* has no hyperparameter 'b1': it has learning_rate, momentum"),
        ({"optimizer": "nadamax", "like": "keras"}, "like='keras' has no nadamax"),
        ({"like": "pytorch"}, "did you mean torch"),
        ({"schedule": ScheduleConfig(name="step")}, "needs a positive `every`"),
        ({"devices": 8, "accumulate": 8}, "a batch of 32 cannot be divided over 8 devices x 8 micro-batches: take 64"),
    ],
)
def test_mistakes_in_a_recipe(tmp_path, change, message):
    """Each is one clear error, of which the message says what was wrong and what is known."""
    with pytest.raises(ValueError, match=message):
        run(dataclasses.replace(SMALL, **change), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "config.json").exists()  # so that the mended command can use the folder
