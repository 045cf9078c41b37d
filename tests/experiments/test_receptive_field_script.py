"""receptive_field.py."""

import csv
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import receptive_field
from PIL import Image

import xxnet_jax as xx
from xxnet_jax.pretrained import save_weights


def test_table(tmp_path: Path, call: Any):
    """Every endpoint with its numbers, on the terminal and as CSV; knobs and the size of the images may be others: of
    dense layers as convolutions the fields go on."""
    status, output, _ = call(receptive_field.tell_receptive_fields, "alexnet", "--out", tmp_path)
    assert status == 0
    with (tmp_path / "fields.csv").open(newline="") as file:
        rows = {row["endpoint"]: row for row in csv.DictReader(file)}
    assert (rows["pool5"]["size_rows"], rows["pool5"]["jump_columns"], rows["fc6"]["size_rows"]) == ("195", "32", "355")
    assert all(name in output for name in rows)
    words = ("vgg16", "--size", 256, "--model-options", "spatial", "True")
    status, output, _ = call(receptive_field.tell_receptive_fields, *words)
    assert status == 0
    assert re.search(r"fc1 +404 +32 +112", output)


def test_picture(tmp_path: Path, call: Any):
    """What a unit sees, on an image, and with weights how much each pixel matters."""
    model = xx.create_model("resnet20")
    variables: Any = model.init(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32), train=False)
    save_weights(variables, tmp_path / "resnet20.safetensors", model="resnet20")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)).save(tmp_path / "image.png")
    words = ["resnet20", "--unit", "conv3_block1_out,3,4", "--image", tmp_path / "image.png", "--out", tmp_path]
    widths = []
    for more in ([], ["--weights", tmp_path / "resnet20.safetensors"]):
        status, output, _ = call(receptive_field.tell_receptive_fields, *words, *more)
        assert status == 0
        assert "at column 3, row 4 sees" in output
        with Image.open(tmp_path / "conv3_block1_out_3_4.png") as picture:
            widths.append(picture.width)
    assert widths[1] > 1.5 * widths[0]


@pytest.mark.parametrize(
    ("unit", "message"),
    [("conv5", "expected --unit LAYER,x,y"), ("C1,30,0", "C1 has 28 x 28 units"), ("C9,0,0", "unknown endpoint 'C9'")],
)
def test_units_that_are_not_there(unit: str, message: str, call: Any):
    """Are one line that says what there is."""
    status, _, errors = call(receptive_field.tell_receptive_fields, "lenet5", "--unit", unit)
    assert (status, message in errors) == (2, True)
