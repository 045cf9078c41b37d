"""From photographs to shuffled batches in several frameworks: what input.py measures, each in a process of its own.

All decode every file, cut a window of 8 to 100 % of the area with an aspect of 3/4 to 4/3 (`AreaCrop`), resize it to
a square and mirror every other one: uint8 [batch, side, side, 3] (PyTorch: [batch, 3, side, side]). Bilinear and
antialiased, but for tf.data as it is usually written (`tf_data`).
"""

import functools
import io
import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from apart import serve
from measuring import OURS
from PIL import Image
from script import main

from xxnet_jax.data import AUGMENTATION, Decoder, ImageFormat, make_loader, open_source
from xxnet_jax.data.augmentation import move_pixels
from xxnet_jax.data.crops import AreaCrop, crop_of
from xxnet_jax.data.images import cut, decode_image
from xxnet_jax.data.loader import IndexedLoader
from xxnet_jax.errors import InvalidArgument, UnknownName, XXNetError

WINDOWS = AUGMENTATION["inception_crop"]
SMALLEST, LARGEST, ASPECT = WINDOWS.smallest_area, WINDOWS.largest_area, WINDOWS.largest_aspect
PACKAGES = {
    **dict.fromkeys(("torch_0", "torch_1", "torch_2"), "torchvision"),
    **dict.fromkeys(("tf_data", "tf_data_antialias"), "tensorflow-cpu"),
    "grain": "grain",
}


class Task(NamedTuple):
    """What all make batches of: photographs as FOLDER/train/CLASS/*, and how large."""

    folder: Path
    side: int
    batch_size: int

    @property
    def files(self) -> list[Path]:
        return sorted((self.folder / "train").rglob("*.*"))

    @property
    def batches(self) -> int:
        """In an epoch."""
        return len(self.files) // self.batch_size


class Contestant(Protocol):
    """One pipeline; a call has its last batch when it returns."""

    def epoch(self) -> None:
        """As many batches as an epoch has."""


class Endless:
    """A pipeline that is an iterator without end."""

    def __init__(self, task: Task, batches: Iterator[Any]):
        self._task, self._batches = task, batches

    def epoch(self) -> None:
        for _ in islice(self._batches, self._task.batches):
            pass


def our_loader(task: Task, workers: int) -> IndexedLoader:
    source = open_source(f"folder:{task.folder}")
    decoder = Decoder(ImageFormat(task.side, task.side, 3), source.num_classes, crop=crop_of(WINDOWS))
    loader = make_loader(source.examples("train"), decoder, task.batch_size, train=True, workers=workers)
    assert isinstance(loader, IndexedLoader)
    return loader


class Ours(Endless):
    """The loader, and the part of the compiled step that mirrors."""

    def __init__(self, task: Task, workers: int = 0):
        mirrored = jax.jit(functools.partial(move_pixels, augmentation=WINDOWS))
        batches = our_loader(task, workers).batches()
        super().__init__(task, (jax.block_until_ready(mirrored(batch["image"], batch["draw"])) for batch in batches))


class Stages:
    """The parts of our pipeline, one after the other by one thread, each for all photographs of an epoch.

    Windows are cut out of the photographs of a batch at a time, which are decoded before.
    """

    def __init__(self, task: Task):
        self._task = task
        self._loader = our_loader(task, workers=0)
        self._contents = [path.read_bytes() for path in task.files[: task.batches * task.batch_size]]
        self._decoded = [self.pixels(content) for content in self._contents[: task.batch_size]]
        rng, square = np.random.default_rng(0), (task.side, task.side)
        crop = AreaCrop(SMALLEST, LARGEST, ASPECT)
        repeats = task.batches
        self._windows = [(image, crop(rng, image.shape[:2], square)) for image in self._decoded for _ in range(repeats)]

    @staticmethod
    def pixels(content: bytes) -> np.ndarray:
        return decode_image(io.BytesIO(content), "a photograph", 3)

    def whole(self) -> None:
        """All of it: files are read, decoded, cut, resized, stacked."""
        for number in range(self._task.batches):
            self._loader.read(number)

    def decode(self) -> None:
        for content in self._contents:
            self.pixels(content)

    def resize(self) -> None:
        for image, window in self._windows:
            cut(image, window, self._task.side, self._task.side)

    def decode_pil(self) -> None:
        for content in self._contents:
            with Image.open(io.BytesIO(content)) as image:
                np.asarray(image.convert("RGB"))

    def decode_opencv(self) -> None:
        cv2 = _imported("cv2", "opencv-python-headless")
        cv2.setNumThreads(1)
        for content in self._contents:
            cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)

    def decode_imagecodecs(self) -> None:
        imagecodecs = _imported("imagecodecs", "imagecodecs")
        for content in self._contents:
            imagecodecs.jpeg8_decode(content, outcolorspace="RGB")


class Torch:
    """`ImageFolder` with torchvision's transforms through a `DataLoader`."""

    def __init__(self, task: Task, workers: int):
        torch, torchvision = _torchvision()
        transforms = torchvision.transforms
        transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(task.side, (SMALLEST, LARGEST), (1 / ASPECT, ASPECT)),
                transforms.RandomHorizontalFlip(),
                transforms.PILToTensor(),
            ]
        )
        self._loader: Any = torch.utils.data.DataLoader(
            torchvision.datasets.ImageFolder(str(task.folder / "train"), transform),
            task.batch_size,
            shuffle=True,
            num_workers=workers,
            drop_last=True,
            persistent_workers=workers > 0,
        )

    def epoch(self) -> None:
        for _ in self._loader:
            pass


def tf_data(task: Task, antialias: bool = False) -> Contestant:
    """tf.data with as many parallel calls as it likes; only the part of a file that a window needs is decoded."""
    tf = _imported("tensorflow", "tensorflow-cpu")

    def image(path: Any) -> Any:
        content = tf.io.read_file(path)
        window, size, _ = tf.image.sample_distorted_bounding_box(
            tf.image.extract_jpeg_shape(content),
            tf.zeros((1, 0, 4)),
            area_range=(SMALLEST, LARGEST),
            aspect_ratio_range=(1 / ASPECT, ASPECT),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        pixels = tf.image.decode_and_crop_jpeg(content, tf.concat((window[:2], size[:2]), 0), channels=3)
        resized = tf.image.resize(pixels, (task.side, task.side), antialias=antialias)
        return tf.cast(tf.image.random_flip_left_right(tf.round(resized)), tf.uint8)

    files = [str(path) for path in task.files]
    dataset = tf.data.Dataset.from_tensor_slices(files).shuffle(len(files)).repeat()
    dataset = dataset.map(image, num_parallel_calls=tf.data.AUTOTUNE).batch(task.batch_size, drop_remainder=True)
    return Endless(task, dataset.prefetch(tf.data.AUTOTUNE).as_numpy_iterator())


def grain_threads(task: Task) -> Contestant:
    """grain with our own functions, a thread for each core."""
    import grain

    crop = AreaCrop(SMALLEST, LARGEST, ASPECT)

    def image(path: Path, rng: np.random.Generator) -> np.ndarray:
        pixels = Stages.pixels(path.read_bytes())
        window = crop(rng, pixels.shape[:2], (task.side, task.side))
        resized = cut(pixels, window, task.side, task.side)
        return resized[:, ::-1] if rng.random() < 0.5 else resized

    dataset = grain.MapDataset.source(task.files).seed(0).shuffle().repeat().random_map(image)  # type: ignore[arg-type]
    options = grain.ReadOptions(num_threads=os.cpu_count() or 1, prefetch_buffer_size=2 * task.batch_size)
    return Endless(task, iter(dataset.to_iter_dataset(options).batch(task.batch_size, drop_remainder=True)))


MAKES: dict[str, Callable[[Task], Any]] = {
    OURS: Ours,
    "processes_1": functools.partial(Ours, workers=1),
    "processes_2": functools.partial(Ours, workers=2),
    "torch_0": functools.partial(Torch, workers=0),
    "torch_1": functools.partial(Torch, workers=1),
    "torch_2": functools.partial(Torch, workers=2),
    "tf_data": tf_data,
    "tf_data_antialias": functools.partial(tf_data, antialias=True),
    "grain": grain_threads,
    "stages": Stages,
}


def make_contestant(name: str, task: Task) -> Any:
    """A pipeline (`Contestant`), or the `Stages` of ours.

    Raises:
        ValueError: unknown name, or less photographs than a batch has.
        XXNetError: the framework is not installed.
    """
    if name not in MAKES:
        raise UnknownName("contestant", name, MAKES)
    if not task.batches:
        raise InvalidArgument(f"{len(task.files)} photographs do not fill a batch of {task.batch_size}")
    return MAKES[name](task)


def _imported(module: str, package: str) -> Any:
    try:
        return __import__(module)
    except ImportError as error:
        raise XXNetError(f"{module} is not installed: pip install {package}") from error


def _torchvision() -> tuple[Any, Any]:
    """PyTorch and torchvision, of which no compiled operation is needed here, should the two builds not fit."""
    torch = _imported("torch", "torch")
    try:
        return torch, _imported("torchvision", "torchvision")
    except RuntimeError:  # operator torchvision::nms does not exist
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _torchvision.library = library  # type: ignore[attr-defined]  # what it defines goes when it goes
        return torch, _imported("torchvision", "torchvision")


def serve_input() -> int:
    """Be a contestant in a process of its own (see `apart`)."""

    def make(name: str, folder: str, side: str, batch_size: str) -> object:
        return make_contestant(name, Task(Path(folder), int(side), int(batch_size)))

    return serve(make, PACKAGES)


if __name__ == "__main__":
    main(serve_input)
