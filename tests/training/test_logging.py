"""What a run writes about itself."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xxnet_jax.files import read_json_lines, write_atomically
from xxnet_jax.metrics import Mean
from xxnet_jax.training.logging import MeanWindow, MetricsFile, Progress


def mean(total, weight) -> dict[str, Mean]:
    return {"loss": Mean(jnp.float32(total), jnp.float32(weight))}


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1e3, 1e3, width=32), st.integers(1, 9)), min_size=1, max_size=8),
    st.integers(0, 8),
)
def test_a_window_is_the_same_wherever_it_is_interrupted(pairs, cut):
    """Saving the sums as JSON after any number of steps, and going on from them, changes no bit of the mean."""
    whole, first = MeanWindow(), MeanWindow()
    for pair in pairs:
        whole.add(mean(*pair))
    for pair in pairs[:cut]:
        first.add(mean(*pair))
    second = MeanWindow(json.loads(json.dumps(first.sums())))
    for pair in pairs[cut:]:
        second.add(mean(*pair))
    assert second.means() == whole.means()
    expected = sum(float(np.float32(t)) for t, _ in pairs) / sum(w for _, w in pairs)
    assert whole.means()["loss"] == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_collect_gives_the_loss_of_each_step():
    """Metrics of a call of several steps count as several steps."""
    window = MeanWindow()
    window.add(mean(6.0, 3.0))
    window.add({"loss": Mean(jnp.array([2.0, 4.0]), jnp.array([1.0, 2.0]))})
    assert window.collect() == [2.0, 2.0, 2.0]
    assert window.means() == {"loss": 2.0}


def test_metrics_of_steps_that_will_be_repeated_are_dropped(tmp_path):
    """Lines after the step that a run resumes from, and a torn last line, go; the others stay."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "a": 0.1}\n{"step": 2, "a": 0.2}\n{"step": 3, "a": 0.3}\n{"step": 4, "a"')
    file = MetricsFile(path, from_step=2)
    file.write({"step": 3, "a": 0.5})
    file.close()
    assert read_json_lines(path) == [{"step": 1, "a": 0.1}, {"step": 2, "a": 0.2}, {"step": 3, "a": 0.5}]


def test_a_full_disk_is_a_clear_error(tmp_path):
    """A write that fails says which file, why, and what to do."""
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.close()
    file._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115 (every write to it fails as on a full disk)
    with pytest.raises(OSError, match=r"cannot write .*metrics\.jsonl: No space left on device\. Free space"):
        file.write({"step": 1})
    file.close()


def test_a_file_is_replaced_whole(tmp_path):
    """Nothing but the file is left behind; into a folder that is not there the error names the file."""
    path = tmp_path / "file"
    write_atomically(path, "old")
    write_atomically(path, b"new")
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    with pytest.raises(OSError, match=r"cannot write .*nowhere"):
        write_atomically(tmp_path / "nowhere" / "file", "text")


def test_progress_without_a_terminal_prints_plain_lines(capsys):
    """Lines have step, epoch, loss, accuracy, rate and time left, and no control characters."""
    progress = Progress(total=10, step=0, batch_size=4)
    progress.update(1, {})
    progress.record(5, 0.5, {"train/loss": 1.25, "train/accuracy": 0.5, "time/data_wait_seconds": 3.0})
    progress.close()
    line = capsys.readouterr().out
    assert "step 5/10  epoch 0.50  loss 1.25  accuracy 0.5" in line
    assert "examples/s" in line
    assert "left" in line
    assert "\x1b" not in line
    Progress(total=10, step=0, batch_size=4, enabled=False).line("silent")
    assert capsys.readouterr().out == ""
