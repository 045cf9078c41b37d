"""Write any source as a TFDS dataset that is read without TensorFlow, and examples of any source as image files."""

import io
import tarfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from xxnet_jax.data.images import png_bytes
from xxnet_jax.data.source import Examples, IndexedExamples, Source
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.files import make_folder, temporary


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


def export_images(examples: Examples, classes: tuple[str, ...], out: Path, count: int | None = None) -> list[Path]:
    """Write the first `count` examples as `OUT/CLASS/NUMBER.png`, a layout that `folder:` reads; returns the files."""
    written = []
    for number, example in enumerate(islice(examples, count)):
        path = out / classes[example["label"]] / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png_bytes(example["image"]))
        written.append(path)
    return written


def write_shards(
    source: Source,
    out: Path,
    shards: int = 1,
    on_image: Callable[[str, int, int], None] = lambda split, number, count: None,
) -> list[Path]:
    """Write each split as tar archives `OUT/SPLIT-NUMBER-of-SHARDS.tar`, to be read by `tar:`; files are copied.

    Args:
        source: whose examples can be read in any order.
        out: folder.
        shards: archives for each split; example n goes into archive n % shards.
        on_image: called with the split, the images written so far and their number.

    Returns:
        The archives. Each is written under a temporary name.

    Raises:
        ValueError: the source is a stream, there are archives already, or fewer examples than shards.
        OSError: an archive could not be written.
    """
    make_folder(out)
    if shards < 1:
        raise InvalidArgument(f"the number of shards must be at least 1, got {shards}")
    if found := sorted(out.glob("*.tar")):
        raise InvalidArgument(f"{found[0]} is there already: remove the archives, or name another folder")
    written = []
    for split, examples in source.splits.items():
        if not isinstance(examples, IndexedExamples):
            raise InvalidArgument(f"{source.uri} is a stream: prepare it as array_record first")
        if len(examples) < shards:
            raise InvalidArgument(f"the split {split} has {len(examples)} examples, fewer than {shards} shards")
        done = 0
        for shard in range(shards):
            path = out / f"{split}-{shard:05}-of-{shards:05}.tar"
            with temporary(path) as unfinished, tarfile.open(unfinished, "w") as archive:
                for index in range(shard, len(examples), shards):
                    image = examples.encoded(index)
                    member = tarfile.TarInfo(f"{source.classes[image.label]}/{index:08}{image.suffix}")
                    member.size = len(image.content)
                    archive.addfile(member, io.BytesIO(image.content))
                    done += 1
                    on_image(split, done, len(examples))
            written.append(path)
    return written
