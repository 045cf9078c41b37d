"""The same network in other frameworks, as published there, for the benchmarks to run beside ours.

A peer has a step of SGD with momentum on one batch, and inference on it. Its trainable parameters are as many as ours,
or it would be another network.
"""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from apart import serve
from measuring import OURS
from script import main

import xxnet_jax as xx
from xxnet_jax.errors import InvalidArgument, UnknownName, XXNetError
from xxnet_jax.losses import classification_loss
from xxnet_jax.models.backend import plain_operations
from xxnet_jax.models.folding import fold_batch_norm
from xxnet_jax.precision import FORMATS
from xxnet_jax.training.state import create_state
from xxnet_jax.training.step import make_train_step

PeerName = Literal["flax_plain", "keras", "torch", "torch_compile"]
Precision = Literal["f32", "bf16"]
RATE, MOMENTUM = 1e-3, 0.9
PACKAGES = {"keras": "keras", "torch": "torch", "torch_compile": "torch"}


class Task(NamedTuple):
    """A registered network, a batch for it, and the format that it computes in."""

    network: str
    images: np.ndarray  # [batch, height, width, channels], float32
    labels: np.ndarray  # [batch], int32
    precision: Precision


class Contestant(Protocol):
    """One network in one framework; a call has done its work when it returns."""

    def train(self) -> object:
        """A step."""

    def predict(self) -> object:
        """Logits or probabilities of the batch."""


def make_task(network: str, batch_size: int | None, precision: Precision) -> Task:
    """Random images, as large as the network's, and labels; by default 8, and 128 of at most 32 pixels a side."""
    height, width, channels = xx.model_info(network).input_shape
    batch_size = batch_size or (128 if height <= 32 else 8)
    random = np.random.default_rng(0)
    images = random.standard_normal((batch_size, height, width, channels), np.float32)
    labels = random.integers(0, xx.model_info(network).num_classes, batch_size, np.int32)
    return Task(network, images, labels, precision)


# --- JAX --------------------------------------------------------------------------------------------------------------


class Ours:
    """The compiled step of this project; with `plain`, convolutions, pools and gradients are those of Flax and XLA."""

    def __init__(self, task: Task, *, plain: bool = False, folded: bool = False):
        self._plain, self._folded = plain, folded
        shape = task.images.shape[1:]
        formats = FORMATS[task.precision]
        self._model = xx.create_model(task.network, dtype=formats.dtype, param_dtype=formats.param_dtype)
        self._tx = xx.create_optimizer("momentum", learning_rate=RATE, momentum=MOMENTUM)
        self._batch = jax.device_put(
            {"image": task.images, "label": task.labels, "mask": np.ones(len(task.labels), bool)}
        )
        self._state: Any = create_state(self._model, self._tx, (shape[0], shape[1], shape[2]), seed=0)
        self._step = jax.jit(make_train_step(self._model, self._tx, classification_loss()), donate_argnums=0)
        self._apply = jax.jit(lambda variables, images: self._model.apply(variables, images, train=False))
        self._variables = {"params": self._state.params, "batch_stats": self._state.batch_stats}
        if folded:
            self._variables = fold_batch_norm(self._model, self._variables, (shape[0], shape[1], shape[2]))

    def train(self) -> None:
        self._state, _ = jax.block_until_ready(self._call(self._step, self._state, self._batch))

    def predict(self) -> None:
        jax.block_until_ready(self._call(self._apply, self._variables, self._batch["image"]))

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if not self._plain:
            return function(*arguments)
        with plain_operations():  # it matters while the first call traces
            return function(*arguments)


# --- Keras ------------------------------------------------------------------------------------------------------------


def _keras_residual(keras: Any, x: Any, rows: Sequence[tuple[int, int, int, int]], *, padded_shortcut: bool) -> Any:
    """A block of convolutions (size, features, stride, groups), with a shortcut of zeros or of a projection."""
    layers = keras.layers
    y = x
    for number, (size, features, stride, groups) in enumerate(rows):
        y = layers.ReLU()(y) if number else y
        y = layers.Conv2D(features, size, stride, padding="same", use_bias=False, groups=groups)(y)
        y = layers.BatchNormalization()(y)
    channels, features = x.shape[-1], y.shape[-1]
    stride = max(stride for _, _, stride, _ in rows)
    if channels != features and padded_shortcut:
        half = (features - channels) // 2
        x = keras.ops.pad(layers.MaxPooling2D(1, stride)(x), ((0, 0), (0, 0), (0, 0), (half, half)))
    elif channels != features:
        x = layers.BatchNormalization()(layers.Conv2D(features, 1, stride, use_bias=False)(x))
    return layers.ReLU()(layers.Add()([x, y]))


def _keras_resnet20(keras: Any) -> Any:
    layers = keras.layers
    images = layers.Input((32, 32, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same", use_bias=False)(images)))
    for width, first in ((16, 1), (32, 2), (64, 2)):
        for stride in (first, 1, 1):
            x = _keras_residual(keras, x, ((3, width, stride, 1), (3, width, 1, 1)), padded_shortcut=True)
    return keras.Model(images, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def _keras_resnext50(keras: Any) -> Any:
    layers = keras.layers
    images = layers.Input((224, 224, 3))
    x = layers.Conv2D(64, 7, strides=2, padding="same", use_bias=False)(images)
    x = layers.MaxPooling2D(3, 2, padding="same")(layers.ReLU()(layers.BatchNormalization()(x)))
    for width, blocks, first in ((128, 3, 1), (256, 4, 2), (512, 6, 2), (1024, 3, 2)):
        for stride in (first, *[1] * (blocks - 1)):
            rows = ((1, width, 1, 1), (3, width, stride, 32), (1, 2 * width, 1, 1))
            x = _keras_residual(keras, x, rows, padded_shortcut=False)
    return keras.Model(images, layers.Dense(1000)(layers.GlobalAveragePooling2D()(x)))


def _keras_lenet5(keras: Any) -> Any:
    layers = keras.layers
    tanh = {"activation": "tanh"}
    return keras.Sequential(
        [
            layers.Input((32, 32, 1)),
            layers.Conv2D(6, 5, **tanh),
            layers.AveragePooling2D(2),
            layers.Conv2D(16, 5, **tanh),
            layers.AveragePooling2D(2),
            layers.Conv2D(120, 5, **tanh),
            layers.Flatten(),
            layers.Dense(84, **tanh),
            layers.Dense(10),
        ]
    )


def _keras_application(name: str) -> Callable[[Any], Any]:
    return lambda keras: getattr(keras.applications, name)(weights=None, classifier_activation=None)


KERAS: dict[str, Callable[[Any], Any]] = {
    "densenet121": _keras_application("DenseNet121"),
    "inception_v3": _keras_application("InceptionV3"),
    "lenet5": _keras_lenet5,
    "mobilenet_v2": _keras_application("MobileNetV2"),
    "resnet20": _keras_resnet20,
    "resnet50": _keras_application("ResNet50"),
    "resnext50": _keras_resnext50,
    "vgg16": _keras_application("VGG16"),
    "xception": _keras_application("Xception"),
}


class Keras:
    """Keras 3 on JAX: `train_on_batch` and the model's call, compiled."""

    def __init__(self, task: Task):
        keras, self._model = keras_model(task.network, task.precision)
        self._model.compile(
            optimizer=keras.optimizers.SGD(RATE, MOMENTUM),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=True,
        )
        self._images, self._labels = jnp.asarray(task.images), jnp.asarray(task.labels)

    def train(self) -> None:
        self._model.train_on_batch(self._images, self._labels)  # gives numbers: it waits

    def predict(self) -> None:
        self._model.predict_on_batch(self._images)  # gives NumPy arrays: it waits


def keras_model(network: str, precision: Precision = "f32") -> tuple[Any, Any]:
    """Keras on JAX, and a network of it.

    Raises:
        ValueError: Keras has no such network, or it is another one.
        XXNetError: Keras is not installed, or runs on another backend.
    """
    os.environ["KERAS_BACKEND"] = "jax"  # read when Keras is imported
    try:
        import keras
    except ImportError as error:
        raise XXNetError("the peer keras needs Keras: pip install -c constraints.txt -e '.[oracle]'") from error
    if keras.backend.backend() != "jax":
        raise XXNetError("Keras was imported before with another backend than jax")
    keras.mixed_precision.set_global_policy("mixed_bfloat16" if precision == "bf16" else "float32")
    keras.utils.set_random_seed(0)
    model = _made("keras", KERAS, network, keras)
    check_parameters("keras", network, sum(int(np.prod(w.shape)) for w in model.trainable_weights))
    return keras, model


# --- PyTorch ----------------------------------------------------------------------------------------------------------


def _torch_resnet20(torch: Any) -> Any:
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, channels: int, width: int):
            super().__init__()
            self.stride = 2 if channels != width else 1
            self.conv1 = nn.Conv2d(channels, width, 3, self.stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)

        def forward(self, x: Any) -> Any:
            y = torch.relu(self.bn1(self.conv1(x)))
            y = self.bn2(self.conv2(y))
            if self.stride == 2:
                half = x.shape[1] // 2
                x = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, half))
            return torch.relu(x + y)

    widths = (16, 16, 16, 32, 32, 32, 64, 64, 64)
    blocks = [Block(a, b) for a, b in zip((16, *widths), widths, strict=False)]
    stem = (nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def _torch_lenet5(torch: Any) -> Any:
    nn = torch.nn
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(16, 120, 5), nn.Tanh(), nn.Flatten()),
        *(nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10)),
    )


def _torchvision(name: str, **options: Any) -> Callable[[Any], Any]:
    def make(torch: Any) -> Any:
        import torchvision

        return getattr(torchvision.models, name)(weights=None, **options)

    return make


def _timm(name: str) -> Callable[[Any], Any]:
    def make(torch: Any) -> Any:
        import timm

        return timm.create_model(name, pretrained=False)

    return make


TORCH: dict[str, Callable[[Any], Any]] = {
    "densenet121": _torchvision("densenet121"),
    "inception_v3.timm": _torchvision("inception_v3", aux_logits=False, init_weights=False),
    "lenet5": _torch_lenet5,
    "mobilenet_v2.torchvision": _torchvision("mobilenet_v2"),
    "resnet20": _torch_resnet20,
    "resnet50.torchvision": _torchvision("resnet50"),
    "resnext50": _torchvision("resnext50_32x4d"),
    "vgg16.torchvision": _torchvision("vgg16"),
    "xception": _timm("legacy_xception"),
}


class Torch:
    """PyTorch with channels_last, on as many threads as there are cores, or on the GPU; eager or compiled."""

    def __init__(self, task: Task, *, compiled: bool = False):
        torch, network = torch_model(task.network)
        self._torch = torch
        self._device = "cuda" if jax.default_backend() == "gpu" else "cpu"
        self._bf16 = task.precision == "bf16"
        layout = {"memory_format": torch.channels_last}
        network = network.to(self._device, **layout)
        self._optimizer = torch.optim.SGD(network.parameters(), RATE, MOMENTUM)
        self._network: Any = torch.compile(network) if compiled else network
        images = torch.from_numpy(task.images.transpose(0, 3, 1, 2).copy())
        self._images = images.to(self._device, **layout)
        self._labels = torch.from_numpy(task.labels.astype(np.int64)).to(self._device)

    def train(self) -> None:
        self._network.train()
        self._optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            loss = self._torch.nn.functional.cross_entropy(self._network(self._images), self._labels)
        loss.backward()
        self._optimizer.step()
        loss.item()
        self._wait()

    def predict(self) -> None:
        self._network.eval()
        with self._torch.inference_mode(), self._autocast():
            self._network(self._images)
        self._wait()

    def _autocast(self) -> Any:
        return self._torch.autocast(self._device, self._torch.bfloat16, enabled=self._bf16)

    def _wait(self) -> None:
        if self._device == "cuda":
            self._torch.cuda.synchronize()


def torch_model(network: str) -> tuple[Any, Any]:
    """PyTorch, and a network of it.

    Raises:
        ValueError: there is no such network, or it is another one.
        XXNetError: PyTorch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise XXNetError(
            "the peers torch and torch_compile need PyTorch: pip install torch torchvision timm"
        ) from error
    torch.manual_seed(0)
    model = _made("torch", TORCH, network, torch)
    check_parameters("torch", network, sum(parameter.numel() for parameter in model.parameters()))
    return torch, model


# --- By name ----------------------------------------------------------------------------------------------------------


def make_contestant(name: str, task: Task) -> Contestant:
    """Ours, by the name "xxnet_jax", "folded" or "unfolded", or a peer, for a network.

    Raises:
        ValueError: unknown name, or there is no such network in that framework, or it is another one.
        XXNetError: the framework is not installed.
    """
    makes: dict[str, Callable[[Task], Contestant]] = {
        OURS: Ours,
        "folded": functools.partial(Ours, folded=True),
        "unfolded": Ours,
        "flax_plain": functools.partial(Ours, plain=True),
        "keras": Keras,
        "torch": Torch,
        "torch_compile": functools.partial(Torch, compiled=True),
    }
    if name not in makes:
        raise UnknownName("contestant", name, makes)
    return makes[name](task)


def _made(peer: str, networks: Mapping[str, Callable[[Any], Any]], name: str, framework: Any) -> Any:
    if name not in networks:
        raise UnknownName(f"network of the peer {peer}", name, networks)
    return networks[name](framework)


def check_parameters(peer: str, network: str, found: int) -> None:
    """Refuse to compare different networks.

    Raises:
        ValueError: the counts differ.
    """
    ours = xx.model_info(network).parameters
    if found != ours:
        raise InvalidArgument(f"{network} has {ours:,} trainable parameters, the one of {peer} {found:,}")


def serve_network() -> int:
    """Be a contestant in a process of its own (see `apart`)."""

    def make(name: str, network: str, batch_size: str, precision: Precision) -> Contestant:
        return make_contestant(name, make_task(network, int(batch_size) or None, precision))

    return serve(make, PACKAGES)


if __name__ == "__main__":
    main(serve_network)
