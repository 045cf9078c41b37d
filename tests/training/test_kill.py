"""A training process that is killed in the middle of an epoch, with workers that cut windows out of photographs."""

import sys
from pathlib import Path

import numpy as np
import pytest
from checks import kill_and_resume
from PIL import Image


@pytest.mark.slow
def test_killed_in_an_epoch_and_resumed(tmp_path: Path, monkeypatch, capsys):
    """SIGKILL after step 4 of an epoch of 5, a checkpoint being of step 3: state, metrics and report are those of an
    undisturbed run, with two processes that decode."""
    rng = np.random.default_rng(0)
    for split, number in (("train", 20), ("validation", 6), ("test", 6)):
        for index in range(number):
            path = tmp_path / split / "ab"[index % 2] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            size = (*rng.integers(34, 50, 2), 3)
            Image.fromarray(rng.integers(0, 128, size, np.uint8) + np.uint8(100 * (index % 2))).save(path)
    recipe = {"data": f"folder:{tmp_path}?channels=1", "fit": "resize", "augmentation": "inception_crop"}
    options = recipe | {"batch_size": "4", "workers": "2", "log_every": "1", "evaluate_every": "3"}
    words = ["kill_and_resume.py", "--steps", "4", "--epochs", "2", "--options"]
    monkeypatch.setattr(sys, "argv", words + [word for option in options.items() for word in option])
    kill_and_resume.main()
    output = capsys.readouterr().out
    assert "SIGKILL" in output
    assert "1 kills, 1 finished run(s): state, host state, metrics and report are identical" in output
