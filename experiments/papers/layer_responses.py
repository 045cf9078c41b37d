"""Responses of the layers of residual and plain networks: the deviation behind each normalization.

Small: 4 networks x 3 seeds of half the width, 4 epochs of 5,000 images at 16x16. Full: 64,000 steps each, 20 and 56
layers.
"""

from paper_experiments import SMALL_RESNET, Better, Experiment, changed, crossed, models, options
from recipes.resnet20_cifar10 import RECIPE

from xxnet_jax.training import Run


def spread(run: Run) -> dict[str, float]:
    """The mean over the layers."""
    report = run.folder.report()
    assert report is not None
    return {"response_spread": report["test/response_spread"]}


EXPERIMENT = Experiment(
    claim="residual networks have smaller responses than plain ones, and deeper ones smaller than shallow ones",
    source="He, Zhang, Ren, Sun, Deep Residual Learning for Image Recognition, 2015, Figure 7",
    small=changed(SMALL_RESNET, metrics=("response_spread",)),
    full=changed(RECIPE, metrics=("response_spread",)),
    cells=crossed(models("plain20", "resnet20"), options(depths=((1, 1, 1), (3, 3, 3)))),
    expected=(
        Better("resnet20, depths (3, 3, 3)", "plain20, depths (3, 3, 3)", "response_spread", less=True),
        Better("resnet20, depths (3, 3, 3)", "resnet20, depths (1, 1, 1)", "response_spread", less=True),
    ),
    figures=("response_spread", "test_accuracy"),
    measure=spread,
)
