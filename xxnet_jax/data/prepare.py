"""Write any source as a TFDS dataset that is read without TensorFlow, and examples of any source as image files."""

import io
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from PIL import Image

from xxnet_jax.data.source import Examples, Source
from xxnet_jax.errors import InvalidArgument


def prepare_tfds(
    source: Source,
    name: str,
    data_dir: Path,
    version: str = "1.0.0",
    on_split: Callable[[str, int], None] = lambda split, count: None,
) -> Path:
    """Write `source` as the TFDS dataset `name`, as array_record with losslessly compressed PNG images.

    A dataset with a name that TFDS knows, such as mnist, should have the version that TFDS has (3.0.1), so that
    `tfds.data_source(name)` finds it too.

    Args:
        source: what to write.
        name: of the dataset, lower case.
        data_dir: folder of prepared datasets.
        version: of the dataset.
        on_split: called with the name and size of each split before it is written.

    Returns:
        The folder of the dataset. TFDS writes to a temporary folder and renames it at the end.

    Raises:
        ValueError: a name that TFDS does not accept, or a dataset that is there already.
    """
    import tensorflow_datasets as tfds

    if not (name.isidentifier() and name == name.lower()):
        raise InvalidArgument(f"'{name}' cannot name a dataset: use lower-case letters, digits, _")
    if not tfds.core.Version.is_valid(version):
        raise InvalidArgument(f"'{version}' cannot be a version: write 1.0.0")
    folder = data_dir / name / version
    if folder.exists():
        raise InvalidArgument(f"{folder} is there already: remove it to prepare it anew")
    class_names = list(source.classes)

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(version)

        def _info(self) -> tfds.core.DatasetInfo:
            features = {
                "image": tfds.features.Image(shape=source.image_shape, encoding_format="png"),
                "label": tfds.features.ClassLabel(names=class_names),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                description=f"Prepared by xxnet_jax from {source.uri}.",
                features=tfds.features.FeaturesDict(features),
                supervised_keys=("image", "label"),
                disable_shuffling=True,  # a position in the split means the same example as in the source
            )

        def _split_generators(self, dl_manager):
            del dl_manager
            return {split: self._generate_examples(split) for split in source.splits}

        def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
            examples = source.splits[split]
            on_split(split, len(examples))
            for key, example in enumerate(examples):
                image = io.BytesIO(png_bytes(example["image"]))
                yield key, {"image": image, "label": example["label"]}

    Builder.name = name
    builder = Builder(data_dir=str(data_dir), file_format="array_record")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    return folder


def png_bytes(image) -> bytes:
    """uint8 [height, width, 1 or 3] as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(stream, format="png")
    return stream.getvalue()


def export_images(examples: Examples, classes: tuple[str, ...], out: Path, count: int | None = None) -> list[Path]:
    """Write the first `count` examples as `OUT/CLASS/NUMBER.png`, a layout that `folder:` reads; returns the files."""
    written = []
    for number, example in enumerate(islice(examples, count)):
        path = out / classes[example["label"]] / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png_bytes(example["image"]))
        written.append(path)
    return written
