"""Files of Darknet, written here by a writer of its own: activations equal to a transcription in NumPy, and what is
wrong with other files."""

import struct
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xxnet_jax as xx
from xxnet_jax.detection.detector import Objects
from xxnet_jax.detection.wordtree import WordTree
from xxnet_jax.errors import CorruptData, InvalidArgument, MissingData
from xxnet_jax.models.darknet import DARKNET_19, TINY, Convolution
from xxnet_jax.pretrained.darknet import load_darknet, load_yolo_v2

# The authors' files in short: size-features, "linear" for a last convolution, pool with its stride, route, reorg.
BACKBONE = """3-32 pool2 3-64 pool2 3-128 1-64 3-128 pool2 3-256 1-128 3-256 pool2 3-512 1-256 3-512 1-256 3-512 pool2
    3-1024 1-512 3-1024 1-512 3-1024"""
DARKNET19 = f"{BACKBONE} 1-classes"
YOLO_V2 = f"{BACKBONE} 3-1024 3-1024 route:-9 1-64 reorg route:-1,-4 3-1024 1-region"
TINY_YOLO = """3-16 pool2 3-32 pool2 3-64 pool2 3-128 pool2 3-256 pool2 3-512 pool1 3-1024 3-1024 1-region"""
ANCHORS = [(1.08, 1.19), (3.42, 4.41), (6.63, 11.38)]
CLASSES, NARROWER = 4, 16  # as many times fewer features than the authors'


class File:
    """A network with random numbers: as text, as bytes, and computed in float64, channels first."""

    def __init__(self, layers: str, version: tuple[int, int] = (0, 2)):
        random = np.random.default_rng(0)
        self.cfg = ["[net]", "# as the authors write it", "width=64", "channels = 3", ""]
        self.numbers = [struct.pack("<3i", *version, 0), struct.pack("<Q" if version >= (0, 2) else "<I", 12800)]
        self.layers: list[tuple[Any, ...]] = []
        channels = [3]
        for word in layers.split():
            kind, _, rest = word.partition(":")
            if kind.startswith("pool"):
                self.layers.append(("pool", int(kind[4:])))
                self.cfg += ["[maxpool]", "size=2", f"stride={kind[4:]}", ""]
                channels.append(channels[-1])
            elif kind == "route":
                here = len(self.layers)
                chosen = [here + int(number) for number in rest.split(",")]
                self.layers.append(("route", chosen))
                self.cfg += ["[route]", f"layers={rest}", ""]
                channels.append(sum(channels[1 + number] for number in chosen))
            elif kind == "reorg":
                self.layers.append(("reorg",))
                self.cfg += ["[reorg]", "stride=2", ""]
                channels.append(4 * channels[-1])
            else:
                size, _, width = kind.partition("-")
                last = {"classes": CLASSES, "region": len(ANCHORS) * (5 + CLASSES)}.get(width)
                features = last or int(width) // NARROWER
                self._convolution(random, int(size), channels[-1], features, last is None)
                channels.append(features)
        if "classes" in layers:
            self.cfg += ["[avgpool]", "", "[softmax]", "groups=1"]
        else:
            sides = ",  ".join(f"{w},{h}" for w, h in ANCHORS)
            self.cfg += ["[region]", f"anchors = {sides}", f"classes={CLASSES}", "coords=4", f"num={len(ANCHORS)}"]
            self.cfg += ["softmax=1", "rescore=1", "object_scale=5", "thresh = .6"]

    def _convolution(self, random: np.random.Generator, size: int, inputs: int, features: int, norm: bool) -> None:
        kernel = random.normal(0, (2 / (inputs * size**2)) ** 0.5, (features, inputs, size, size))
        rows = [random.normal(0, 0.2, features)]
        if norm:
            rows += [random.uniform(0.5, 1.5, features), random.normal(0, 0.2, features)]
            rows += [random.uniform(0.5, 1.5, features)]
        arrays = [row.astype("<f4") for row in (*rows, kernel)]
        self.numbers += [array.tobytes() for array in arrays]
        self.layers.append(("conv", *arrays))
        self.cfg += ["[convolutional]", *(["batch_normalize=1"] if norm else []), f"filters={features}"]
        self.cfg += [f"size={size}", "stride=1", "pad=1", f"activation={'leaky' if norm else 'linear'}", ""]

    def write(self, folder: Path) -> tuple[Path, Path]:
        cfg, weights = folder / "network.cfg", folder / "network.weights"
        cfg.write_text("\n".join(self.cfg) + "\n")
        weights.write_bytes(b"".join(self.numbers))
        return cfg, weights

    def __call__(self, image: np.ndarray) -> np.ndarray:
        maps = [image.astype(np.float64)]
        for kind, *arguments in self.layers:
            x = maps[-1]
            match kind:
                case "conv":
                    x = convolved(x, arguments)
                case "pool":
                    x = pooled(x, *arguments)
                case "reorg":
                    x = reorganized(x)
                case "route":
                    x = np.concatenate([maps[1 + number] for number in arguments[0]])
            maps.append(x)
        return maps[-1]


def convolved(x: np.ndarray, arrays: list[np.ndarray]) -> np.ndarray:
    """Convolution, normalization and leaky ReLU; epsilon as Darknet has it on GPU."""
    *rows, kernel = (array.astype(np.float64) for array in arrays)
    reach = kernel.shape[-1] // 2
    padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach)))
    _, height, width = x.shape
    y = np.zeros((len(kernel), height, width))
    for row in range(kernel.shape[2]):
        for column in range(kernel.shape[3]):
            window = padded[:, row : row + height, column : column + width]
            y += np.einsum("oc,chw->ohw", kernel[:, :, row, column], window)
    bias, *norm = (each[:, None, None] for each in rows)
    if not norm:
        return y + bias
    scale, mean, var = norm
    y = (y - mean) / np.sqrt(var + 1e-5) * scale + bias
    return np.where(y > 0, y, 0.1 * y)


def pooled(x: np.ndarray, stride: int) -> np.ndarray:
    """The maximum of 2x2; windows may reach over the right and the lower edge."""
    padded = np.pad(x, ((0, 0), (0, 1), (0, 1)), constant_values=-np.inf)
    _, height, width = x.shape
    parts = [
        padded[:, row : row + height : stride, column : column + width : stride] for row in (0, 1) for column in (0, 1)
    ]
    return np.max(parts, 0)


def reorganized(x: np.ndarray) -> np.ndarray:
    """Darknet's reorg with stride 2: number by number from a map of a quarter of the channels and twice the sides."""
    channels, height, width = x.shape
    wide = x.reshape(channels // 4, 2 * height, 2 * width)
    out = np.empty_like(x)
    for k in range(channels):
        offset, source = divmod(k, channels // 4)
        out[k] = wide[source, offset // 2 :: 2, offset % 2 :: 2]
    return out.reshape(4 * channels, height // 2, width // 2)


def narrow(stages: Any) -> Any:
    """Stages with so many times fewer features."""
    return tuple(
        tuple(Convolution(size, stride, features // NARROWER) for size, stride, features in row) for row in stages
    )


YOLO: dict[str, tuple[str, dict[str, Any]]] = {
    YOLO_V2: ("darknet19", {"stages": narrow(DARKNET_19), "head": (64, 64), "squeezed": 4, "fused": 64}),
    TINY_YOLO: ("darknet_tiny", {"stages": narrow(TINY[:6]), "head": (64, 64)}),
}


def pixels(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 1, (1, height, width, 3)).astype(np.float32)


@pytest.mark.parametrize("version", [(0, 1), (0, 2)])
def test_darknet19(version, tmp_path):
    """The logits are those of the transcription, from files of both versions."""
    file = File(DARKNET19, version)
    knobs: dict[str, Any] = {"num_classes": CLASSES, "stages": narrow(DARKNET_19)}
    variables = load_darknet("darknet19", *file.write(tmp_path), **knobs)
    images = pixels(64, 96)
    found = xx.create_model("darknet19", **knobs).apply(variables, jnp.asarray(images), train=False)
    expected = file(images[0].transpose(2, 0, 1)).mean((1, 2))
    np.testing.assert_allclose(np.asarray(found)[0], expected, rtol=1e-3, atol=1e-4)  # 19 layers in float32


@pytest.mark.parametrize("layers", list(YOLO), ids=["yolo_v2", "tiny"])
def test_yolo_v2(layers, tmp_path):
    """The numbers of each cell and anchor are those of the transcription, and the settings those of the text."""
    file = File(layers)
    backbone, knobs = YOLO[layers]
    model, variables = load_yolo_v2(backbone, *file.write(tmp_path), **knobs)
    assert model.num_classes == CLASSES
    assert model.settings.anchors == tuple(ANCHORS)
    assert (model.settings.object_weight, model.settings.background_weight, model.settings.rescore) == (5, 1, True)
    images = pixels(64, 96)
    nothing = Objects(jnp.zeros((1, 0, 4)), jnp.zeros((1, 0), jnp.int32), jnp.zeros((1, 0), bool))
    lesson: Any = jax.jit(lambda v, x: model.apply(v, x, objects=nothing, train=False))(variables, images)
    expected = file(images[0].transpose(2, 0, 1))
    found = np.asarray(lesson.predictions)[0].reshape(2, 3, -1).transpose(2, 0, 1)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_a_slip_would_show(tmp_path):
    """With the other order of channels, the numbers are others."""
    file = File(YOLO_V2)
    backbone, knobs = YOLO[YOLO_V2]
    model, variables = load_yolo_v2(backbone, *file.write(tmp_path), reorganization="space_to_depth", **knobs)
    images = pixels(64, 96)
    nothing = Objects(jnp.zeros((1, 0, 4)), jnp.zeros((1, 0), jnp.int32), jnp.zeros((1, 0), bool))
    lesson: Any = jax.jit(lambda v, x: model.apply(v, x, objects=nothing, train=False))(variables, images)
    found = np.asarray(lesson.predictions)[0].reshape(2, 3, -1).transpose(2, 0, 1)
    expected = file(images[0].transpose(2, 0, 1))
    assert np.abs(found - expected).max() > 1e-2 * np.abs(expected).max()


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[Path, Path]:
    return File(TINY_YOLO).write(tmp_path)


def load_tiny(cfg: Path, weights: Path, **options: Any) -> Any:
    backbone, knobs = YOLO[TINY_YOLO]
    return load_yolo_v2(backbone, cfg, weights, **(knobs | options))


@pytest.mark.parametrize("change", [-1, -4, 4, 1, -100_000])
def test_a_file_of_another_length(tiny, change):
    """Numbers that are missing or left over are counted, and nothing is made of the rest."""
    cfg, weights = tiny
    content = weights.read_bytes()
    weights.write_bytes(content[:change] if change < 0 else content + bytes(change))
    with pytest.raises(CorruptData, match="the 9 convolutions"):
        load_tiny(cfg, weights)
    weights.write_bytes(b"\0" * 9)
    with pytest.raises(CorruptData, match="9 bytes"):
        load_tiny(cfg, weights)


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("filters=8\n", "filters=9\n", InvalidArgument, "3x3 4 to 9 with batch_normalize, leaky, but .*3x3 4 to 8"),
        ("activation=linear", "activation=leaky", InvalidArgument, "prediction is 1x1 64 to 27 without .* linear"),
        ("[region]", "[local]", InvalidArgument, "region"),
        ("classes=4", "classes=five", CorruptData, "whole number"),
        ("num=3", "num=5", CorruptData, "2 x 5 numbers"),
        ("softmax=1", "softmax=0", InvalidArgument, "softmax=1"),
        ("softmax=1", "softmax=1\ntree=9k.tree", InvalidArgument, "tree"),
        ("size=2\nstride=1", "size=2\nstride", CorruptData, "name=value"),
        ("[net]", "[network1]", CorruptData, "first section"),
        ("[maxpool]\nsize=2\nstride=1", "[connected]\noutput=256", InvalidArgument, r"\[connected\] are not read"),
        ("[maxpool]\nsize=2\nstride=1", "[route]\nlayers=-40", CorruptData, "route to layer -40"),
        ("[maxpool]\nsize=2\nstride=1", "[route]\nlayers=90", CorruptData, "route to layer 90"),
        ("[maxpool]\nsize=2\nstride=1", "[route]", CorruptData, "route without layers"),
        ("filters=8\n", "filters=8\ngroups=2\n", InvalidArgument, "groups"),
        ("filters=8\n", "filters=-8\n", CorruptData, "1 or more"),
    ],
)
def test_a_text_that_is_not_of_this_network(tiny, old, new, error, message):
    """Each says where, what was found and what was expected."""
    cfg, weights = tiny
    text = cfg.read_text()
    assert old in text
    cfg.write_text(text.replace(old, new, 1))
    with pytest.raises(error, match=message):
        load_tiny(cfg, weights)


def test_files_that_are_not_there_or_of_another_kind(tiny, tmp_path):
    """A missing file, bytes for a text, a network that is no Darknet, a tree that does not fit."""
    cfg, weights = tiny
    with pytest.raises(MissingData):
        load_tiny(tmp_path / "none.cfg", weights)
    with pytest.raises(MissingData):
        load_tiny(cfg, tmp_path / "none.weights")
    with pytest.raises(CorruptData):
        load_tiny(weights, weights)
    with pytest.raises(InvalidArgument, match="no network of Darknet"):
        load_darknet("lenet5", cfg, weights)
    cfg.write_text(cfg.read_text() + "tree=9k.tree\n")
    with pytest.raises(InvalidArgument, match="the tree has 1"):
        load_tiny(cfg, weights, tree=WordTree(("a",), (-1,)))
