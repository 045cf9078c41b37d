"""The benchmarks: their arithmetic, that they run, and that a peer is the same network."""

import csv
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import apart
import compile as compile_benchmark
import detection_metrics
import inference
import input as input_benchmark
import input_peers
import jax
import jax.numpy as jnp
import loop
import measuring
import metrics
import numpy as np
import operations
import peers
import provenance
import psutil
import pytest
import report
import script
import train_step
from measuring import OURS, Timing, against_ours, in_turns
from PIL import Image

import xxnet_jax as xx
from xxnet_jax.errors import ConfigMismatch, InvalidArgument, XXNetError

oracle = [pytest.mark.oracle, pytest.mark.filterwarnings("default")]


def read_results(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_ratios_are_taken_within_a_round():
    """A machine that is slower for a while, for both, does not change a ratio; medians and ranges are NumPy's."""
    random = np.random.default_rng(0)
    ours, slowness = random.uniform(1, 2, 9), random.uniform(1, 50, 9)
    factors = random.uniform(2, 3, 9)
    timings = {OURS: Timing(7.0, list(ours * slowness)), "peer": Timing(8.0, list(ours * factors * slowness))}
    (row,) = against_ours(timings, units=10)
    found = [
        row[key] for key in ("ratio", "lowest", "highest", "ours_ms", "ours_per_s", "ours_first_s", "peer_first_s")
    ]
    median = np.median(ours * slowness)
    expected = [np.median(factors), factors.min(), factors.max(), 1e3 * median, 10 / median, 7, 8]
    np.testing.assert_allclose(found, expected, rtol=1e-3)  # four digits are kept
    assert (row["peer"], row["rounds"]) == ("peer", 9)


def test_turns():
    """All have a first call, then a turn each in every round: a call that does not count, and two that do."""
    calls: list[str] = []
    timings = in_turns({name: lambda name=name: calls.append(name) for name in "abc"}, rounds=2)
    assert "".join(calls) == "abc" + 2 * "aaabbbccc"
    assert [len(timing.rounds) for timing in timings.values()] == [2, 2, 2]


def test_figures_of_another_machine_are_not_mixed(tmp_path, monkeypatch):
    """A folder with figures of another machine is refused, with what differs."""
    measuring.results(tmp_path, "train_step", {}, ("peer",)).add({"peer": "x", "ratio": 2.0})
    assert ("x",) in measuring.results(tmp_path, "train_step", {}, ("peer",))
    monkeypatch.setattr(provenance, "_processor", lambda: "another one")
    with pytest.raises(ConfigMismatch, match=r"device: .*another one"):
        measuring.results(tmp_path, "train_step", {}, ("peer",))


def test_training_steps(tmp_path, call, monkeypatch):
    """Figures are written, and what is there is not measured again; further peers are added."""
    words = ["lenet5", "--batch-size", 4, "--rounds", 2, "--out", tmp_path]
    status, output, _ = call(train_step.train_step, *words)
    assert status == 0
    assert "flax_plain" in output
    (row,) = read_results(tmp_path)
    assert (row["network"], row["input"], row["precision"], row["rounds"]) == ("lenet5", "4x32x32x1", "f32", "2")
    assert float(row["ratio"]) > 0
    # 416,520 multiply-accumulates of an image (the notes' arithmetic), three times, 4 images
    per_step = 1e9 * float(row["ours_gmacs_per_s"]) * float(row["ours_ms"]) / 1e3
    np.testing.assert_allclose(per_step, 3 * 4 * xx_macs("lenet5"), rtol=2e-3)
    monkeypatch.setattr("networks.in_turns", lambda *_: pytest.fail("measured again"))
    assert call(train_step.train_step, *words)[0] == 0
    assert json.loads((tmp_path / "config.json").read_text())["benchmark"] == "train_step"


def xx_macs(network: str) -> int:
    from xxnet_jax.analysis import count_macs

    return count_macs(xx.create_model(network), xx.model_info(network).input_shape)


def test_inference_is_beside_the_unfolded_network(tmp_path, call):
    """Ours is folded; the network before folding has a row of its own."""
    status, _, _ = call(
        inference.inference, "resnet20", "--batch-size", 2, "--rounds", 1, "--peer", "flax_plain", "--out", tmp_path
    )
    assert status == 0
    assert [row["peer"] for row in read_results(tmp_path)] == ["flax_plain", "unfolded"]


@pytest.mark.parametrize("options", [{}, {"plain": True}, {"folded": True}])
def test_our_contestants_compute(options):
    """Steps advance the state, and the plain network's outputs are those of ours."""
    task = peers.make_task("lenet5", 4, "f32")
    contestant = peers.Ours(task, **options)
    contestant.predict()
    contestant.train()
    contestant.train()
    assert int(contestant._state.step) == 2


def test_a_contestant_apart_works_in_its_own_process(capfd):
    """Its calls come back when they are done; what it cannot be is said, and is an error here."""
    with apart.Apart("unfolded", "peers.py", "lenet5", 4, "f32") as contestant:
        contestant.method("predict")()
        contestant.method("train")()
        process = contestant._process
        assert process.poll() is None
    assert process.poll() is not None
    with pytest.raises(XXNetError, match="the contestant keras ended with status 2"):
        apart.Apart("keras", "peers.py", "zfnet", 4, "f32")
    said = capfd.readouterr().err
    assert "zfnet" in said or "needs Keras" in said


def test_other_networks_are_refused():
    """A network that a peer lacks is named, and so is a different number of parameters."""
    with pytest.raises(ValueError, match="peer keras 'zfnet'"):
        peers._made("keras", peers.KERAS, "zfnet", None)
    with pytest.raises(InvalidArgument, match="61,706 trainable parameters, the one of torch 5"):
        peers.check_parameters("torch", "lenet5", 5)


@pytest.mark.parametrize("network", peers.KERAS)
@pytest.mark.oracle
@pytest.mark.filterwarnings("default")
def test_keras_has_the_same_network(network):
    """As many trainable parameters, and a step runs."""
    pytest.importorskip("keras")
    with jax.numpy_rank_promotion("allow"):
        contestant = peers.Keras(peers.make_task(network, 2, "f32"))
        contestant.predict()
        contestant.train()


@pytest.mark.parametrize("network", peers.TORCH)
@pytest.mark.oracle
@pytest.mark.filterwarnings("default")
def test_torch_has_the_same_network(network):
    """As many parameters, and a step runs."""
    pytest.importorskip("torch")
    contestant = peers.Torch(peers.make_task(network, 2, "f32"))
    contestant.predict()
    contestant.train()


def test_operations(tmp_path, call):
    """Forward and gradients of the operations that were asked for."""
    status, _, _ = call(operations.measure_operations, "LeNet-5 C3", "--rounds", 1, "--out", tmp_path)
    assert status == 0
    assert [(row["operation"], row["pass"]) for row in read_results(tmp_path)] == [
        ("LeNet-5 C3", "forward"),
        ("LeNet-5 C3", "gradients"),
    ]
    status, _, errors = call(operations.measure_operations, "LeNet C9", "--out", tmp_path)
    assert status == 2
    assert "LeNet-5 C1" in errors


def test_metrics(tmp_path, call):
    """The metric that was asked for, of NumPy's arrays and compiled."""
    words = ("AUC", "--examples", 1000, "--rounds", 1, "--out", tmp_path)
    assert call(metrics.measure_metrics, *words)[0] == 0
    assert [(row["metric"], row["as"]) for row in read_results(tmp_path)] == [("AUC", "NumPy"), ("AUC", "compiled")]
    status, _, errors = call(metrics.measure_metrics, "AUK", "--out", tmp_path)
    assert (status, "did you mean AUC" in errors) == (2, True)


def test_compilation(tmp_path, call):
    """Seconds of tracing, compiling, and starting again, for both ways to write a network."""
    status, output, _ = call(compile_benchmark.measure_compilation, "lenet5", "--peer", "flax_plain", "--out", tmp_path)
    assert status == 0
    assert "trace_s" in output
    rows = read_results(tmp_path)
    assert [row["operations"] for row in rows] == [OURS, "flax_plain"]
    assert all(float(row[key]) > 0 for row in rows for key in ("trace_s", "compile_s", "cached_s"))


def test_loop(tmp_path, call):
    """An epoch through the loop beside the bare step."""
    data = "fake:28x28x1/10?examples=64"
    status, _, _ = call(loop.measure_loop, "--data", data, "--batch-size", 16, "--rounds", 1, "--out", tmp_path)
    assert status == 0
    (row,) = read_results(tmp_path)
    assert (row["data"], row["steps"], row["peer"]) == ("fake", "4", "bare step")


@pytest.fixture
def photographs(tmp_path) -> Path:
    """Six JPEG files in a folder, sides from 20 to 40 pixels."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(6):
        rows, columns = rng.integers(20, 40, 2)
        Image.fromarray(rng.integers(0, 256, (rows, columns, 3), np.uint8)).save(folder / f"{number}.JPEG")
    return folder


def test_input(tmp_path, call, photographs):
    """Every file twice, in batches of four; a row for a peer, and one for each part of our pipeline."""
    words = ["--peer", "grain", "--side", 16, "--batch-size", 4, "--rounds", 1, "--out", tmp_path / "input"]
    status, _, _ = call(input_benchmark.measure_input, photographs, *words)
    assert status == 0
    (row,) = read_results(tmp_path / "input")
    assert (row["images"], row["peer"], row["peer_is"].split()[0]) == ("12", "grain", "grain")
    assert min(float(row["ours_mib"]), float(row["peer_mib"])) > 20  # an interpreter with its packages
    stages = {row["stage"]: float(row["share"]) for row in read_results(tmp_path / "input_stages")}
    assert set(stages) == {"whole", "decode", "resize", "decode_pil", "rest"}
    assert stages["whole"] == 1
    status, _, errors = call(input_benchmark.measure_input, tmp_path / "input", *words)
    assert (status, "no photographs in" in errors) == (2, True)


def test_parts_are_of_the_whole():
    """Shares within a round, and what is left of it."""
    timings = {
        "whole": Timing(0, [10.0, 20.0, 40.0]),
        "decode": Timing(0, [5.0, 10.0, 20.0]),
        "resize": Timing(0, [4.0, 8.0, 16.0]),
    }
    rows = {row["stage"]: (row["ms"], row["share"]) for row in input_benchmark.shares(timings, images=1000)}
    assert rows == {"whole": (20, 1), "decode": (10, 0.5), "resize": (8, 0.4), "rest": (2, 0.1)}


def arranged(photographs: Path, folder: Path) -> input_peers.Task:
    input_benchmark.arrange(photographs, folder / "train", repeat=2)
    return input_peers.Task(folder, side=16, batch_size=4)


@pytest.mark.parametrize("name", [OURS, "processes_1", "grain", "stages"])
def test_pipelines_give_batches(name, photographs, tmp_path):
    """An epoch, and another, of each pipeline without another framework; every method of the stages works."""
    contestant = input_peers.make_contestant(name, arranged(photographs, tmp_path))
    if name == "stages":
        for stage in ("whole", "decode", "resize", "decode_pil"):
            getattr(contestant, stage)()
        return
    contestant.epoch()
    batch = next(contestant._batches)
    assert (batch.shape, batch.dtype) == ((4, 16, 16, 3), np.uint8)
    if name != "grain":
        contestant._batches.close()


@pytest.mark.parametrize("name", ["torch_0", "tf_data", "tf_data_antialias"])
@pytest.mark.oracle
@pytest.mark.filterwarnings("default")
def test_other_pipelines_give_batches(name, photographs, tmp_path):
    pytest.importorskip({"torch": "torchvision"}.get(name.split("_")[0], "tensorflow"))
    contestant = input_peers.make_contestant(name, arranged(photographs, tmp_path))
    contestant.epoch()
    contestant.epoch()


def test_pipelines_that_cannot_be(photographs, tmp_path):
    task = arranged(photographs, tmp_path)
    with pytest.raises(ValueError, match="unknown contestant 'dali'"):
        input_peers.make_contestant("dali", task)
    with pytest.raises(InvalidArgument, match="12 photographs do not fill a batch of 13"):
        input_peers.make_contestant(OURS, task._replace(batch_size=13))


def test_peak_of_memory():
    """What a call takes and gives back is seen, here 200 MiB."""
    before = measuring._mebibytes(psutil.Process())

    def take() -> None:
        taken = np.ones(200 * 2**20, np.uint8)
        time.sleep(0.3)
        del taken

    peak = measuring.peak_memory(os.getpid(), take)
    assert 190 < peak - before < 260


def test_detection_metrics(tmp_path, call, monkeypatch):
    """Both evaluate the same boxes to the same numbers; what is there is not measured again."""
    words = ["--images", 6, "--boxes", 5, "--classes", 2, "--rounds", 1, "--out", tmp_path]
    status, output, _ = call(detection_metrics.measure_detection_metrics, *words)
    assert status == 0
    assert "pycocotools" in output
    (row,) = read_results(tmp_path)
    assert (row["images"], row["boxes"], row["classes"], row["peer"]) == ("6", "5", "2", "pycocotools")
    assert float(row["ratio"]) > 0
    monkeypatch.setattr(detection_metrics, "in_turns", lambda *_: pytest.fail("measured again"))
    assert call(detection_metrics.measure_detection_metrics, *words)[0] == 0
    assert call(detection_metrics.measure_detection_metrics, "--images", 0, "--out", tmp_path)[0] == 2
    monkeypatch.undo()
    monkeypatch.setattr(detection_metrics, "ours", lambda *_: [0.5] * 12)  # another number is not passed over
    with pytest.raises(AssertionError, match="Not equal"):
        call(detection_metrics.measure_detection_metrics, *words[:-1], tmp_path / "other")


def test_report(tmp_path, call):
    """Tables of a machine as Markdown with a picture; a folder without any is an error."""
    machine = tmp_path / "docs" / "benchmarks" / "machine"
    words = ["lenet5", "--batch-size", 4, "--rounds", 1, "--out", machine / "train_step"]
    assert call(train_step.train_step, *words)[0] == 0
    markdown = tmp_path / "docs" / "benchmarks.md"
    assert call(report.write_report, machine, "--markdown", markdown)[0] == 0
    text = markdown.read_text()
    assert "## machine" in text
    assert "| lenet5 | 4x32x32x1 | f32 | flax_plain |" in text
    assert "(benchmarks/machine/train_step/ratios.png)" in text
    assert (machine / "train_step" / "ratios.png").stat().st_size > 1000
    status, _, errors = call(report.write_report, tmp_path, "--markdown", markdown)
    assert status == 2
    assert "no benchmark has left a results.csv" in errors


def test_what_is_compiled_is_kept(tmp_path, capsys):
    """Within, compiled programs are written to the folder; afterwards JAX is as before; no folder is only a warning."""
    before = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    least = jax.config.jax_persistent_cache_min_compile_time_secs  # type: ignore[attr-defined]
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    try:
        with script.compilation_cache(tmp_path / "programs"):
            jax.jit(lambda x: jnp.sin(x) + 17)(jnp.ones(3)).block_until_ready()
    finally:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", least)
    assert list((tmp_path / "programs").iterdir())
    assert jax.config.jax_compilation_cache_dir == before  # type: ignore[attr-defined]
    (tmp_path / "file").touch()
    with script.compilation_cache(tmp_path / "file" / "programs"):
        pass
    assert "compiled programs are not kept" in capsys.readouterr().err


def test_where_programs_are_kept(monkeypatch):
    """In the user's cache, by host; a folder that the user chose for JAX stays."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    monkeypatch.setattr(script.platform, "node", lambda: "host")
    assert script.kept_programs() == Path("/somewhere/xxnet_jax/host")
    seen: list[str | None] = []
    monkeypatch.setattr(script, "jax", SimpleNamespace(config=SimpleNamespace(jax_compilation_cache_dir="/chosen")))
    monkeypatch.setattr(script, "compilation_cache", lambda folder: pytest.fail("changed"))
    with pytest.raises(SystemExit):
        script.main(lambda: seen.append("ran"))
    assert seen == ["ran"]
