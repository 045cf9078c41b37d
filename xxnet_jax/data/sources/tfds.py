"""`tfds:NAME`: datasets that TensorFlow Datasets has prepared.

Prepared as array_record (which `experiments/prepare_data.py` writes) they are read without TensorFlow, in any order.
Prepared as tfrecord they need TensorFlow and are a stream. Nothing is downloaded unless asked for.

A detection set, such as voc/2007 or coco/2017, has a feature `objects` with `bbox` and `label`, and maybe
`is_difficult` (VOC) and `is_crowd` (COCO). TFDS divides VOC's numbers of pixels by the sides of the image as they are;
they become the same boxes as of `voc:`.
"""

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xxnet_jax.boxes import swap_xy
from xxnet_jax.data.objects import ObjectsExample, make_example
from xxnet_jax.data.source import (
    AnyExample,
    Example,
    Examples,
    IndexedExamples,
    Source,
    SourceRequest,
    StreamedExamples,
    register_source,
)
from xxnet_jax.data.sources.voc import continuous
from xxnet_jax.errors import InvalidArgument, MissingData


@dataclass(frozen=True)
class DataSourceExamples(IndexedExamples[AnyExample]):
    """A random-access data source of TFDS.

    Attributes:
        data_source: of TFDS.
        convert: makes an example of a record; picklable, for processes that read.
    """

    data_source: Any
    convert: Callable[[dict[str, Any]], AnyExample]

    def __len__(self) -> int:
        return len(self.data_source)

    def __getitem__(self, index: int) -> AnyExample:
        return self.convert(self.data_source[index])


def _example(record: dict[str, Any]) -> Example:
    return {"image": np.asarray(record["image"], np.uint8), "label": int(record["label"])}


def _objects_example(record: dict[str, Any]) -> ObjectsExample:
    """The boxes of a record are (ymin, xmin, ymax, xmax), parts of the sides of the image."""
    image = np.asarray(record["image"], np.uint8)
    objects = record["objects"]
    height, width = image.shape[:2]
    parts = np.reshape(np.asarray(objects["bbox"], np.float64), (-1, 4))
    boxes = swap_xy(parts) * (width, height, width, height)
    return make_example(image, boxes, objects["label"], objects.get("is_difficult"), objects.get("is_crowd"))


def _voc_example(record: dict[str, Any]) -> ObjectsExample:
    example = _objects_example(record)
    return {**example, "boxes": continuous(example["boxes"])}


@register_source("tfds", tasks=("classification", "detection"))
def open_tfds(request: SourceRequest) -> Source:
    import tensorflow_datasets as tfds

    builder = _builder(request)
    info = builder.info
    label = _label(request, info.features or {})
    convert = _example
    if request.task == "detection":
        convert = _voc_example if builder.name == "voc" else _objects_example
    splits: dict[str, Examples[Any]] = {}
    for name, split in info.splits.items():
        if info.file_format == tfds.core.FileFormat.ARRAY_RECORD:
            splits[name] = DataSourceExamples(builder.as_data_source(split=name), convert)
        else:
            splits[name] = StreamedExamples(_stream(builder, name, convert), split.num_examples)
    height, width, channels = info.features["image"].shape
    return Source(
        uri=request.uri,
        classes=tuple(label.names),
        image_shape=(height, width, channels),
        splits=splits,
    )


def _label(request: SourceRequest, features: Any) -> Any:
    """The feature that names the classes; others that the task needs are there too.

    Raises:
        ValueError: they are not, or it names no classes.
    """
    import tensorflow_datasets as tfds

    wanted = ("image", "objects") if request.task == "detection" else ("image", "label")
    if missing := [key for key in wanted if key not in features]:
        raise InvalidArgument(
            f"{request.uri} has no feature {' and no '.join(missing)}, which {request.task} needs: "
            f"its features are {', '.join(features)}"
        )
    if request.task == "detection":
        objects = getattr(features["objects"], "feature", {})
        if not {"bbox", "label"} <= set(objects):
            raise InvalidArgument(f"the objects of {request.uri} must have bbox and label: {features['objects']}")
        label = objects["label"]
    else:
        label = features["label"]
    if not isinstance(label, tfds.features.ClassLabel):
        raise InvalidArgument(f"the label of {request.uri} is {label}: only class labels can be read")
    return label


def _builder(request: SourceRequest) -> Any:
    """The builder of a dataset that is prepared, or that may be."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import read_only_builder
    from tensorflow_datasets.core.constants import DATA_DIR

    if not request.body:
        raise InvalidArgument(f"cannot read '{request.uri}': write tfds:mnist")
    has_tensorflow = importlib.util.find_spec("tensorflow") is not None
    where = request.data_dir or str(Path(DATA_DIR).expanduser())
    try:
        builder = read_only_builder.builder_from_files(request.body, data_dir=where)
    except tfds.core.DatasetNotFoundError as error:
        if not request.download:
            raise MissingData(
                f"no prepared dataset '{request.body}' in {where}. Prepare it from local files with "
                "experiments/prepare_data.py, name its folder with --data-dir, or allow the download with "
                "--download"
            ) from error
        if not has_tensorflow:
            raise MissingData(
                f"preparing '{request.body}' needs TensorFlow: pip install 'xxnet_jax[tensorflow]'"
            ) from error
        builder = tfds.builder(request.body, data_dir=where, file_format="array_record")
        builder.download_and_prepare()
    except ValueError as error:
        raise InvalidArgument(f"cannot read '{request.uri}': {error}; write tfds:mnist") from error
    file_format = builder.info.file_format or tfds.core.FileFormat.TFRECORD
    if file_format != tfds.core.FileFormat.ARRAY_RECORD and not has_tensorflow:
        raise MissingData(
            f"'{request.body}' in {where} is prepared as {file_format.value}, which needs TensorFlow "
            "(pip install 'xxnet_jax[tensorflow]'); prepared as array_record it would not"
        )
    return builder


def _stream(
    builder: Any, split: str, convert: Callable[[dict[str, Any]], AnyExample]
) -> Callable[[], Iterator[AnyExample]]:
    def stream() -> Iterator[AnyExample]:
        import tensorflow_datasets as tfds

        config = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
        dataset = builder.as_dataset(split=split, shuffle_files=False, read_config=config)
        return (convert(record) for record in tfds.as_numpy(dataset))

    return stream
