"""Files written by Keras and PyTorch give the logits that they give there: `pytest -m oracle`."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from carried import coloured_images, redraw_keras, redraw_torch
from weights_manifest import keras_rows, torchvision_rows
from zoo import apply, assert_close, oracle, torch_output

import xxnet_jax as xx
from xxnet_jax.models import count_parameters
from xxnet_jax.pretrained import load_weights, manifest
from xxnet_jax.pretrained.conversion import variables_from
from xxnet_jax.pretrained.readers import keras_weights, torch_weights

pytestmark = oracle

# ours: (Keras's, side, options there, knobs here); the first of a family is not slow
KERAS: dict[str, tuple[str, int, dict[str, Any], dict[str, Any]]] = {
    "densenet121": ("DenseNet121", 32, {}, {}),
    "inception_v3": ("InceptionV3", 75, {}, {}),
    "inception_resnet_v2": ("InceptionResNetV2", 75, {}, {}),
    "mobilenet": ("MobileNet", 32, {"alpha": 0.25}, {"alpha": 0.25}),
    "mobilenet_v2": ("MobileNetV2", 32, {"alpha": 0.35}, {"alpha": 0.35}),
    "nasnet_mobile": ("NASNetMobile", 32, {}, {}),
    "resnet50": ("ResNet50", 32, {}, {}),
    "vgg16": ("VGG16", 32, {}, {"window": 1}),
    "xception": ("Xception", 71, {}, {}),
    "densenet169": ("DenseNet169", 32, {}, {}),
    "densenet201": ("DenseNet201", 32, {}, {}),
    "nasnet_large": ("NASNetLarge", 32, {}, {}),
    "resnet101": ("ResNet101", 32, {}, {}),
    "resnet152": ("ResNet152", 32, {}, {}),
    "resnet50v2": ("ResNet50V2", 32, {}, {}),
    "resnet101v2": ("ResNet101V2", 32, {}, {}),
    "resnet152v2": ("ResNet152V2", 32, {}, {}),
    "vgg19": ("VGG19", 32, {}, {"window": 1}),
}
FIRST = 9


def built(keras: Any, name: str) -> tuple[Any, np.ndarray]:
    """Keras's network with random weights, and images."""
    application, side, options, _ = KERAS[name]
    build = getattr(keras.applications, application)
    theirs = build(weights=None, input_shape=(side, side, 3), classes=11, classifier_activation=None, **options)
    redraw_keras(theirs)
    return theirs, coloured_images(side, side)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if i >= FIRST else []) for i, name in enumerate(KERAS)]
)
def test_keras_files(keras: Any, name: str, tmp_path: Path):
    """Keras 3's .weights.h5."""
    theirs, images = built(keras, name)
    path = tmp_path / "x.weights.h5"
    theirs.save_weights(path)
    knobs = KERAS[name][3]
    found = apply(
        xx.create_model(name, num_classes=11, **knobs), load_weights(name, path, num_classes=11, **knobs), images
    )
    expected = np.asarray(jax.jit(lambda x: theirs(x, training=False))(jnp.asarray(images)))
    # MobileNets without ReLU magnify rounding (see test_mobilenet_oracle.py).
    assert_close(found, expected, 5e-4 if name.startswith(("mobilenet", "nasnet")) else 1e-4)


@pytest.mark.parametrize("kind", ["x.weights.h5", "x.keras", "model.h5", "legacy.h5"])
def test_every_kind_of_keras_file(keras: Any, kind: str, tmp_path: Path):
    """The same weights from all: those of Keras 3, and those of Keras 2, with a model and without."""
    theirs, _ = built(keras, "mobilenet_v2")
    path = tmp_path / kind
    if kind == "legacy.h5":
        import h5py
        from keras.src.legacy.saving import legacy_h5_format

        with h5py.File(path, "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, theirs)
    elif kind == "x.weights.h5":
        theirs.save_weights(path)
    else:
        theirs.save(path)
    found = load_weights("mobilenet_v2", path, num_classes=11, alpha=0.35)
    memory = keras_weights((layer.name, layer.get_weights()) for layer in theirs.layers)
    expected = variables_from(memory, "mobilenet_v2", 11, alpha=0.35)
    for collection in ("params", "batch_stats"):
        np.testing.assert_array_equal(
            np.concatenate([x.ravel() for x in leaves(found[collection])]),
            np.concatenate([x.ravel() for x in leaves(expected[collection])]),
        )


def leaves(tree: Any) -> list[np.ndarray]:
    import jax

    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


# ours: (library, theirs)
TORCH = {
    **{row.model: ("torchvision", None) for row in manifest() if row.url.startswith("https://download.pytorch.org")},
    "inception_v3.timm": ("timm", "inception_v3"),
    "inception_v4": ("timm", "inception_v4"),
    "inception_resnet_v2.timm": ("timm", "inception_resnet_v2"),
    "mobilenet_v2.torchvision timm": ("timm", "mobilenetv2_100"),
    "nasnet_large.timm": ("timm", "nasnetalarge"),
    "resnext101": ("timm", "resnext101_32x4d"),
    "vgg11_bn timm": ("timm", "vgg11_bn"),
    "vgg16.torchvision timm": ("timm", "vgg16"),
}


@pytest.mark.parametrize("name", TORCH)
def test_names_and_shapes_of_pytorch(torch: Any, name: str):
    """Each array of torchvision's and timm's networks has its place; nothing is computed."""
    library, theirs = TORCH[name]
    ours = name.split()[0]
    module = pytest.importorskip(library)
    other = {"resnext50.torchvision": "resnext50_32x4d"}
    with torch.device("meta"):
        network = (
            getattr(module.models, other.get(ours) or ours.removesuffix(".torchvision"))()
            if library == "torchvision"
            else module.create_model(theirs, pretrained=False)
        )
    state = {key: np.broadcast_to(np.float32(0), tuple(tensor.shape)) for key, tensor in network.state_dict().items()}
    found = variables_from(torch_weights(state), ours, "published")
    assert count_parameters(found["params"]) == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("kind", [".pth", ".safetensors", "wrapped.pth"])
def test_pytorch_files(torch: Any, kind: str, tmp_path: Path):
    """A state dict by itself, inside a checkpoint of a parallel wrapper, and as safetensors."""
    theirs = pytest.importorskip("torchvision").models.resnet18(num_classes=11).eval()
    redraw_torch(torch, theirs)
    path = tmp_path / f"x{kind}"
    state = theirs.state_dict()
    if kind == ".safetensors":
        from safetensors.torch import save_file

        save_file(state, path)
    else:
        wrapped = {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}
        torch.save(wrapped if kind == "wrapped.pth" else state, path)
    images = coloured_images(64, 75)
    found = apply(xx.create_model("resnet18", num_classes=11), load_weights("resnet18", path, num_classes=11), images)
    assert_close(found, torch_output(theirs, images))


def test_timms_mobilenet(torch: Any):
    """With timm's names the logits are timm's."""
    theirs = pytest.importorskip("timm").create_model("mobilenetv2_100", pretrained=False, num_classes=11).eval()
    variables = variables_from(redraw_torch(torch, theirs), "mobilenet_v2.torchvision", 11)
    images = coloured_images(64, 75)
    model = xx.create_model("mobilenet_v2.torchvision", num_classes=11)
    assert_close(apply(model, variables, images), torch_output(theirs, images), 5e-4)


@pytest.mark.slow
def test_the_manifest_of_keras(keras: Any):
    """What each application would download."""
    del keras
    assert set(keras_rows()) == {row for row in manifest() if "tensorflow" in row.url}


def test_the_manifest_of_torchvision(torch: Any):
    """Addresses, checksums, sizes, accuracies."""
    pytest.importorskip("torchvision")
    assert set(torchvision_rows()) == {row for row in manifest() if "pytorch" in row.url}
