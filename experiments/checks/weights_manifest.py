"""What Keras and torchvision publish for our networks, as xxnet_jax/pretrained/imagenet_weights.csv has it.

    python experiments/checks/weights_manifest.py            compare, with the frameworks that are installed
    python experiments/checks/weights_manifest.py --write    write it anew

Addresses, checksums, sizes of images and torchvision's accuracies come from the installed frameworks; nothing is
downloaded. Keras's accuracies and licences are those of its documentation (keras.io/api/applications).
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import tyro

import xxnet_jax as xx
from xxnet_jax.files import write_csv
from xxnet_jax.pretrained.manifest import MANIFEST, Published, manifest


@dataclass(frozen=True)
class Arguments:
    """Compare the manifest with the frameworks.

    Attributes:
        write: write it instead.
    """

    write: bool = False


# ours: (Keras's, top-1, top-5 in percent, licence)
KERAS = {
    "xception": ("Xception", 79.0, 94.5, "MIT"),
    "vgg16": ("VGG16", 71.3, 90.1, "CC-BY-4.0"),
    "vgg19": ("VGG19", 71.3, 90.0, "CC-BY-4.0"),
    "resnet50": ("ResNet50", 74.9, 92.1, "MIT"),
    "resnet101": ("ResNet101", 76.4, 92.8, "MIT"),
    "resnet152": ("ResNet152", 76.6, 93.1, "MIT"),
    "resnet50v2": ("ResNet50V2", 76.0, 93.0, "BSD-3-Clause"),
    "resnet101v2": ("ResNet101V2", 77.2, 93.8, "BSD-3-Clause"),
    "resnet152v2": ("ResNet152V2", 78.0, 94.2, "BSD-3-Clause"),
    "inception_v3": ("InceptionV3", 77.9, 93.7, "Apache-2.0"),
    "inception_resnet_v2": ("InceptionResNetV2", 80.3, 95.3, "Apache-2.0"),
    "mobilenet": ("MobileNet", 70.4, 89.5, "Apache-2.0"),
    "mobilenet_v2": ("MobileNetV2", 71.3, 90.1, "Apache-2.0"),
    "densenet121": ("DenseNet121", 75.0, 92.3, "BSD-3-Clause"),
    "densenet169": ("DenseNet169", 76.2, 93.2, "BSD-3-Clause"),
    "densenet201": ("DenseNet201", 77.3, 93.6, "BSD-3-Clause"),
    "nasnet_mobile": ("NASNetMobile", 74.4, 91.9, "Apache-2.0"),
    "nasnet_large": ("NASNetLarge", 82.5, 96.0, "Apache-2.0"),
}

# Base names whose network is torchvision's: its name there.
TORCHVISION = {
    "densenet161": "densenet161",
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnext101_32x8d": "resnext101_32x8d",
    "vgg11_bn": "vgg11_bn",
    "vgg13_bn": "vgg13_bn",
    "vgg16_bn": "vgg16_bn",
    "vgg19_bn": "vgg19_bn",
    "wide_resnet50_2": "wide_resnet50_2",
    "resnext50.torchvision": "resnext50_32x4d",
}

GENERATIONS = {"IMAGENET1K_V1": "imagenet", "IMAGENET1K_V2": "imagenet_v2"}


def compare() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    found = [*keras_rows(), *torchvision_rows()]
    if arguments.write:
        write_csv(MANIFEST, [asdict(row) for row in found])
        print(f"{len(found)} rows in {MANIFEST.name}")
        return 0
    differ = sorted(set(found) ^ set(manifest()), key=lambda row: (row.model, row.weights))
    for row in differ:
        print("framework" if row in found else "manifest ", row)
    print(f"{len(found)} rows, {len(differ)} differences")
    return 1 if differ else 0


def keras_rows() -> Iterator[Published]:
    """What each application would download."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras
    from keras.src.utils import file_utils

    class Asked(Exception):
        pass

    def note(file_name: str, origin: str, **options: Any) -> None:
        raise Asked(origin, options.get("file_hash") or options.get("md5_hash"))

    file_utils.get_file = note
    for name, (theirs, top1, top5, licence) in KERAS.items():
        url = md5 = ""
        try:
            getattr(keras.applications, theirs)(weights="imagenet")
        except Asked as asked:
            url, md5 = asked.args
        height, _, _ = xx.model_info(name).input_shape
        checksum = f"md5:{md5}" if md5 else ""
        yield Published(name, "imagenet", url, checksum, licence, height, None, "bilinear", top1, top5)


def torchvision_rows() -> Iterator[Published]:
    """Both generations of weights of each network that is torchvision's."""
    import torchvision

    for name in xx.list_models():
        theirs = TORCHVISION.get(name) or name.removesuffix(".torchvision")
        if name in TORCHVISION or name.endswith(".torchvision"):
            for entry in torchvision.models.get_model_weights(theirs):
                if entry.name not in GENERATIONS:  # VGG-16's features from elsewhere
                    continue
                transform, accuracy = entry.transforms(), entry.meta["_metrics"]["ImageNet-1K"]
                yield Published(
                    name,
                    GENERATIONS[entry.name],
                    entry.url,
                    f"sha256:{entry.url.rsplit('-', 1)[1].removesuffix('.pth')}",
                    "BSD-3-Clause",
                    transform.crop_size[0],
                    transform.resize_size[0],
                    transform.interpolation.value,
                    accuracy["acc@1"],
                    accuracy["acc@5"],
                )


if __name__ == "__main__":
    sys.exit(compare())
