"""Scale jitter: windows of images scaled to a fixed side, and to one that is drawn anew each time.

Small: 3 cells x 3 seeds of a narrow VGG for windows of 24x24, 6 epochs of 5,000 images. Full: all of CIFAR-10.
"""

from paper_experiments import CIFAR10, FULL_CIFAR10, Better, Experiment, changed

from xxnet_jax.models.vgg import kernels

WINDOWS = {
    "model": "vgg11_bn",
    "model_options": {"blocks": kernels("3", "3", "3 3", "3 3"), "head": "gap"},
    "image_size": 24,
    "fit": "crop",
    "shorter_side": 32,
    "augmentation": "vgg",
}
SIDES = {"28": (28, 28), "38": (38, 38), "28 to 48": (28, 48)}

EXPERIMENT = Experiment(
    claim="training on images of many scales is better than on any fixed scale",
    source="Simonyan, Zisserman, Very Deep Convolutional Networks, 2015, Table 3 (S of 256, 384 and 256 to 512)",
    small=changed(CIFAR10, WINDOWS, model_options={"features_of_blocks": (12, 24, 48, 48)}, learning_rate=2e-3),
    full=changed(FULL_CIFAR10, WINDOWS, model_options={"features_of_blocks": (64, 128, 256, 512)}),
    cells={
        name: {"augmentation_options": {"smallest_side": low, "largest_side": high, "pca_noise": 0.0}}
        for name, (low, high) in SIDES.items()
    },
    expected=(Better("28 to 48", "28"), Better("28 to 48", "38")),
)
