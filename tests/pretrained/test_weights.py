"""Files of weights in and out, without other frameworks; with them: test_frameworks.py."""

import pickle
from pathlib import Path
from typing import Any, ClassVar

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xxnet_jax as xx
from xxnet_jax.errors import XXNetError
from xxnet_jax.models import count_parameters
from xxnet_jax.pretrained import load_network, load_weights, save_weights
from xxnet_jax.pretrained.conversion import shapes_of, variables_from
from xxnet_jax.pretrained.readers import keras_weights, read_weights, torch_weights


def random_variables(name: str, dtype: Any = np.float32, **options: Any) -> dict[str, Any]:
    """Each array with other numbers."""
    random = np.random.default_rng(0)
    tree: dict[str, Any] = {}
    for path, shape in shapes_of(xx.create_model(name, **options), name).items():
        *owners, leaf = path.split("/")
        node = tree
        for owner in owners:
            node = node.setdefault(owner, {})
        node[leaf] = jnp.asarray(random.normal(size=shape), dtype)
    return tree


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """ResNet-20 with three classes that have names."""
    path = tmp_path / "resnet20.safetensors"
    save_weights(
        random_variables("resnet20", num_classes=3),
        path,
        model="resnet20",
        classes=["cat", "dog", "fox"],
        preprocessing="torch",
    )
    return path


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", ["resnet20", "lenet5", "mobilenet_v2.tflite"])
def test_export_and_import_are_bit_identical(name: str, dtype: Any, tmp_path: Path):
    """All arrays come back as they were, in every type."""
    variables = random_variables(name, dtype)
    save_weights(variables, tmp_path / "weights.safetensors", model=name)
    found = load_weights(name, tmp_path / "weights.safetensors")
    chex.assert_trees_all_equal_shapes_and_dtypes(found, variables)
    chex.assert_trees_all_equal(found, variables)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]


def test_the_file_knows_its_classes_and_its_preprocessing(saved: Path):
    """So it predicts as the run did that it is from."""
    network = load_network("resnet20", saved)
    assert network.classes == ("cat", "dog", "fox")
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    inputs = jnp.asarray((image / 255 - mean) / deviation, jnp.float32)[None]
    logits: Any = network.model.apply(network.variables, inputs, train=False)
    expected = jax.nn.softmax(logits)
    np.testing.assert_allclose(network.predict([image]), expected, rtol=1e-4)


def test_the_classifier_can_be_left_out(saved: Path):
    """The rest is as in the file."""
    whole, features = (load_weights("resnet20", saved, num_classes=number) for number in (3, None))
    assert set(whole["params"]) - set(features["params"]) == {"predictions"}
    del whole["params"]["predictions"]
    chex.assert_trees_all_equal(features, whole)


def test_another_number_of_classes_is_refused(saved: Path):
    """With both shapes, and what to do."""
    with pytest.raises(ValueError, match=r"predictions/kernel has shape \(64, 3\), expected \(64, 10\)") as error:
        load_weights("resnet20", saved)
    assert "num_classes=None" in str(error.value)
    assert "conv1" not in str(error.value)


def test_another_network_is_refused_with_every_difference(saved: Path):
    """What is missing, and whose weights these are."""
    with pytest.raises(ValueError, match="of resnet20") as error:
        load_weights("resnet32", saved, num_classes=3)
    missing = [
        path for path in shapes_of(xx.create_model("resnet32"), "resnet32") if "block4" in path or "block5" in path
    ]
    assert all(f"{path} is missing" in str(error.value) for path in missing)


def torch_names() -> dict[str, np.ndarray]:
    """torchvision's names and shapes for a VGG-11, with numbers."""
    random = np.random.default_rng(0)
    state = {}
    widths = (3, 64, 128, 256, 256, 512, 512, 512, 512)
    for place, inputs, features in zip((0, 3, 6, 8, 11, 13, 16, 18), widths, widths[1:], strict=False):
        state[f"features.{place}.weight"] = random.normal(size=(features, inputs, 3, 3)).astype(np.float32)
        state[f"features.{place}.bias"] = random.normal(size=features).astype(np.float32)
    return state


def test_pytorchs_layout():
    """A kernel [features, inputs, height, width] is ours turned round; names of a parallel wrapper are left out."""
    state = {f"module.{key}": value for key, value in torch_names().items()}
    found = variables_from(torch_weights(state), "vgg11.torchvision", None)
    np.testing.assert_array_equal(
        found["params"]["block3_conv2"]["conv"]["kernel"], state["module.features.8.weight"].transpose(2, 3, 1, 0)
    )
    np.testing.assert_array_equal(found["params"]["block5_conv1"]["conv"]["bias"], state["module.features.16.bias"])


def test_a_map_that_pytorch_flattens_channel_by_channel():
    """A dense layer on a map of features that depend on place and channel gives the same in both orders."""
    random = np.random.default_rng(0)
    image = random.normal(size=(7, 7, 512))
    weight = random.normal(size=(4096, 512 * 7 * 7)).astype(np.float32)
    expected = weight @ image.transpose(2, 0, 1).reshape(-1)
    state = torch_names() | {"classifier.0.weight": weight, "classifier.0.bias": np.zeros(4096, np.float32)}
    state |= {f"classifier.{i}.bias": np.zeros(n, np.float32) for i, n in ((3, 4096), (6, 5))}
    state |= {f"classifier.{i}.weight": np.zeros(s, np.float32) for i, s in ((3, (4096, 4096)), (6, (5, 4096)))}
    kernel = variables_from(torch_weights(state), "vgg11.torchvision", 5)["params"]["fc1"]["kernel"]
    np.testing.assert_allclose(image.reshape(-1) @ np.asarray(kernel), expected, rtol=1e-3, atol=1e-2)


def test_layers_without_a_name_are_taken_in_their_order():
    """Keras counts through a session: numbers may begin anywhere, and 10 comes after 9."""
    model = xx.create_model("xception", num_classes=None)
    random = np.random.default_rng(0)
    layers = keras_layers_of_xception(shapes_of(model, "xception"), random)
    shortcuts = [f"conv2d_{i}" for i in (9, 10, 11, 12)]
    for name, block in zip(shortcuts, (2, 3, 4, 13), strict=True):
        layers[name] = layers.pop(f"shortcut{block}")
    for name, block in zip(
        ("batch_normalization", *[f"batch_normalization_{i}" for i in (1, 2, 30)]), (2, 3, 4, 13), strict=True
    ):
        layers[name] = layers.pop(f"norm{block}")
    found = variables_from(keras_weights(layers.items()), "xception", None)
    for name, block in zip(shortcuts, (2, 3, 4, 13), strict=True):
        np.testing.assert_array_equal(found["params"][f"block{block}_shortcut"]["conv"]["kernel"], layers[name][0])


def keras_layers_of_xception(shapes: Any, random: np.random.Generator) -> dict[str, list[np.ndarray]]:
    def draw(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    layers: dict[str, list[np.ndarray]] = {}
    for path, shape in shapes.items():
        _, unit, *rest = path.split("/")
        if rest == ["depthwise", "kernel"]:
            channels = shape[-1]
            features = shapes[f"params/{unit}/pointwise/kernel"][-1]
            layers[unit] = [draw(3, 3, channels, 1), draw(1, 1, channels, features)]
        elif rest == ["conv", "kernel"]:
            layers[unit.replace("_shortcut", "").replace("block", "shortcut") if "shortcut" in unit else unit] = [
                draw(*shape)
            ]
        elif rest == ["bn", "mean"]:
            name = f"norm{unit.removeprefix('block').removesuffix('_shortcut')}" if "shortcut" in unit else f"{unit}_bn"
            layers[name] = [draw(*shape) for _ in range(4)]
    return layers


# --- Files that cannot be used ----------------------------------------------------------------------------------------


def test_a_file_that_is_not_there(tmp_path: Path):
    """Says which."""
    with pytest.raises(FileNotFoundError, match=r"no file of weights .*nothing\.h5"):
        load_weights("resnet20", tmp_path / "nothing.h5")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_truncated_file(saved: Path, share: float):
    """Wherever it is cut off."""
    content = saved.read_bytes()
    saved.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"resnet20\.safetensors"):
        load_weights("resnet20", saved, num_classes=3)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_keras_file(tmp_path: Path, share: float):
    """HDF5 notices."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["conv1"]
        file.create_group("conv1").attrs["weight_names"] = ["kernel:0"]
        file["conv1/kernel:0"] = np.zeros((100, 100))
    assert read_weights(path).layers["conv1"]["0"].shape == (100, 100)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="may be cut off"):
        read_weights(path)


class Bomb:
    """What a pickle of it does when it is opened."""

    opened: ClassVar[list[str]] = []

    def __reduce__(self) -> Any:
        return (Bomb.opened.append, ("bang",))


def test_a_pickle_with_code_is_not_executed(tmp_path: Path):
    """With PyTorch it is refused, without it not even looked at."""
    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps({"state_dict": Bomb()}))
    with pytest.raises((ValueError, XXNetError), match=r"PyTorch refuses|pip install torch"):
        load_weights("resnet20", path)
    assert not Bomb.opened


@pytest.mark.parametrize("content", [b"", b"hello", b"<html>404</html>", b"PK\x03\x04 no archive"])
def test_what_is_no_file_of_weights(tmp_path: Path, content: bytes):
    """Names the kinds that there are, or says that it is broken."""
    path = tmp_path / "page.h5"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"page\.h5"):
        read_weights(path)


def test_a_framework_without_such_a_network():
    """LeNet is nobody's; the families that there are are named."""
    weights = torch_weights({"conv1.weight": np.zeros((6, 1, 5, 5), np.float32)})
    with pytest.raises(ValueError, match=r"no table for LeNet of torch; there are: AlexNet, .*VGG"):
        variables_from(weights, "lenet5", "published")


def test_layers_with_other_arrays_than_expected():
    """A bias too many is named, and so is a layer that nobody knows."""
    state = torch_names() | {"extra.weight": np.zeros(3, np.float32)}
    state["features.0.running_mean"] = np.zeros(64, np.float32)
    with pytest.raises(ValueError, match="are not those of") as error:
        variables_from(torch_weights(state), "vgg11.torchvision", None)
    assert "extra is surplus" in str(error.value)
    assert "features.0 has weight, bias, running_mean, expected params/block1_conv1/conv/kernel" in str(error.value)


def test_unknown_names_are_refused_when_saving(tmp_path: Path):
    """Nothing is written."""
    for options in ({"model": "resnet21"}, {"model": "resnet20", "preprocessing": "caffee"}):
        with pytest.raises(ValueError, match="did you mean"):
            save_weights({"params": {}}, tmp_path / "x.safetensors", **options)
    assert not list(tmp_path.iterdir())


def test_the_folded_mobilenets_have_the_parameters_of_tensorflows_files():
    """Kernels and a bias for each feature: the published counts less scales, and 1,001 classes."""
    for name, normalized, features, pooled in (
        ("mobilenet", 4_231_976, 10_944, 1024),
        ("mobilenet_v2", 3_504_872, 17_056, 1280),
    ):
        shapes = shapes_of(xx.create_model(f"{name}.tflite"), f"{name}.tflite")
        assert sum(np.prod(shape) for shape in shapes.values()) == normalized - features + pooled + 1
        assert xx.model_info(f"{name}.tflite").parameters == normalized - features + pooled + 1
    assert count_parameters({}) == 0
