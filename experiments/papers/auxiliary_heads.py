"""Auxiliary heads of GoogLeNet: none, one with the weights .1, .3 and 1, and one whose weight halves every 78 steps.

Small: 5 cells x 3 seeds of two narrow stages, 5 epochs of 5,000 images. Full: GoogLeNet on all of CIFAR-10 at 64x64.
"""

from paper_experiments import CIFAR10, FULL_CIFAR10, Better, Experiment, changed

from papers.inception_modules import STAGES

HEAD = {"auxiliary_heads": ("inception_3b",)}

EXPERIMENT = Experiment(
    claim="auxiliary heads help, by half a point",
    source="Szegedy et al., Going Deeper with Convolutions, 2015, section 5",
    small=changed(
        CIFAR10,
        model="googlenet.torchvision",
        model_options={"stages": STAGES, "initialization": "he_normal"},
        learning_rate=2e-3,
        epochs=5,
    ),
    full=changed(FULL_CIFAR10, model="googlenet.torchvision", image_size=64),
    cells={
        "none": {"model_options": {"auxiliary_heads": ()}},
        **{f"weight {w}": {"model_options": HEAD, "auxiliary_weight": w} for w in (0.1, 0.3, 1.0)},
        "halved": {"model_options": HEAD, "auxiliary_weight": 1.0, "auxiliary_half_life": 78},
    },
    expected=(Better("weight 0.3", "none"),),
)
