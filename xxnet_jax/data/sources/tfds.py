"""`tfds:NAME`: datasets that TensorFlow Datasets has prepared.

Prepared as array_record (which `experiments/prepare_data.py` writes) they are read without TensorFlow, in any order.
Prepared as tfrecord they need TensorFlow and are a stream. Nothing is downloaded unless asked for.
"""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xxnet_jax.data.source import (
    Example,
    Examples,
    IndexedExamples,
    Source,
    SourceRequest,
    StreamedExamples,
    register_source,
)
from xxnet_jax.errors import InvalidArgument, MissingData


@dataclass(frozen=True)
class DataSourceExamples(IndexedExamples):
    """A random-access data source of TFDS."""

    data_source: Any

    def __len__(self) -> int:
        return len(self.data_source)

    def __getitem__(self, index: int) -> Example:
        return _example(self.data_source[index])


def _example(record: dict[str, Any]) -> Example:
    return {"image": np.asarray(record["image"], np.uint8), "label": int(record["label"])}


@register_source("tfds")
def open_tfds(request: SourceRequest) -> Source:
    import tensorflow_datasets as tfds

    builder = _builder(request)
    info = builder.info
    missing = [key for key in ("image", "label") if key not in (info.features or {})]
    if missing:
        raise InvalidArgument(
            f"{request.uri} has no feature {' and no '.join(missing)}: "
            f"its features are {', '.join(info.features or {})}"
        )
    label = info.features["label"]
    if not isinstance(label, tfds.features.ClassLabel):
        raise InvalidArgument(f"the label of {request.uri} is {label}: only class labels can be read")
    splits: dict[str, Examples] = {}
    for name, split in info.splits.items():
        if info.file_format == tfds.core.FileFormat.ARRAY_RECORD:
            splits[name] = DataSourceExamples(builder.as_data_source(split=name))
        else:
            splits[name] = StreamedExamples(_stream(builder, name), split.num_examples)
    height, width, channels = info.features["image"].shape
    return Source(
        uri=request.uri,
        classes=tuple(label.names),
        image_shape=(height, width, channels),
        splits=splits,
    )


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


def _stream(builder: Any, split: str):
    def stream() -> Iterator[Example]:
        import tensorflow_datasets as tfds

        config = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
        dataset = builder.as_dataset(split=split, shuffle_files=False, read_config=config)
        return (_example(record) for record in tfds.as_numpy(dataset))

    return stream
