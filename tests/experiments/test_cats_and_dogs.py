"""The notes' application: cats and dogs in one folder, two files of which are no images."""

import json
from pathlib import Path

import numpy as np
import pytest
import train
from checks import pets_in_one_folder
from PIL import Image
from recipes.alexnet_cats_and_dogs import RECIPE

import xxnet_jax as xx
from xxnet_jax.files import read_json_lines


@pytest.fixture
def cifar(tmp_path: Path) -> Path:
    """Twenty dark cats and twenty light dogs of 8x8."""
    rng = np.random.default_rng(0)
    for pet, light in (("cat", 0), ("dog", 128)):
        folder = tmp_path / "cifar" / "train" / pet
        folder.mkdir(parents=True)
        for number in range(20):
            Image.fromarray(rng.integers(light, light + 128, (8, 8, 3), np.uint8)).save(folder / f"{number:04}.png")
    return tmp_path / "cifar"


def test_numbers_of_the_notes():
    """Batches of 10, Adam at 1e-3 with TensorFlow's epsilon, 10 epochs, three quarters of the units dropped, 227x227,
    BGR without the mean colour."""
    assert (RECIPE.batch_size, RECIPE.epochs, RECIPE.learning_rate) == (10, 10, 1e-3)
    assert (RECIPE.optimizer, RECIPE.like, RECIPE.optimizer_options) == ("adam", "keras", {"eps": 1e-8})
    assert (RECIPE.l2, RECIPE.weight_decay, RECIPE.augmentation, RECIPE.fit) == (0, 0, None, "resize")
    info = xx.model_info(RECIPE.model)
    assert (info.input_shape, info.preprocessing) == ((227, 227, 3), "caffe")
    assert xx.create_model(RECIPE.model).dropout_rate == 0.75  # type: ignore[attr-defined]


def test_cats_and_dogs_in_one_folder(cifar: Path, tmp_path: Path, call):
    """Gathered as the notes have them, and a small network trained on them: evaluated after each epoch, the two files
    that are no images left out and named in the report. The bright and the dark are told apart."""
    pets = tmp_path / "pets"
    status, _, _ = call(pets_in_one_folder.gather, cifar, pets, "--images", 40, "--side", 32)
    assert status == 0
    assert len(list(pets.iterdir())) == 42
    small = ["--model", "lenet5", "--preprocessing", "unit", "--learning-rate", 3e-3]
    words = [
        "alexnet_cats_and_dogs",
        "--data",
        f"folder:{pets}?classes=cat,dog&channels=1",
        *small,
        "--epochs",
        6,
        "--devices",
        1,
    ]
    status, _, errors = call(train.train, *words, "--workdir", tmp_path / "run")
    assert (status, errors) == (0, "")
    lines = read_json_lines(tmp_path / "run" / "metrics.jsonl")
    validated = [line["epoch"] for line in lines if "validation/accuracy" in line]
    assert validated == [1, 2, 3, 4, 5, 6]
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert len(report["skipped_images"]) == 2
    for message, name in zip(report["skipped_images"], ("cat.20.jpg", "dog.20.jpg"), strict=True):
        assert name in message
    assert report["validation/accuracy"] == 1
    status, _, errors = call(pets_in_one_folder.gather, cifar, pets)
    assert (status, "has 20 images, 500 are wanted" in errors) == (2, True)
    status, _, errors = call(pets_in_one_folder.gather, cifar, pets, "--images", 4)
    assert (status, "is not empty" in errors) == (2, True)
