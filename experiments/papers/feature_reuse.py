"""Feature reuse in a DenseNet: how strongly the layers of the last two blocks use what the transition before gives.

Small: 1 network x 3 seeds of three blocks of six layers, 6 epochs of 5,000 images at 16x16. Full: 40 layers, 300
epochs.
"""

import numpy as np
from paper_experiments import Better, Experiment, changed

from papers.densenet import EXPERIMENT as DENSENET
from xxnet_jax.analysis.feature_reuse import feature_reuse
from xxnet_jax.training import Run


def strengths(run: Run) -> dict[str, float]:
    """Mean |weight| of the layers of blocks 2 and 3: on the input of the block, and on the layers before them."""
    blocks = list(feature_reuse(run.model, run.load().variables).values())[1:]
    layers = [block[:, 1 : len(block) - 1] for block in blocks]
    return {
        "on_transition": float(np.mean([block[0].mean() for block in layers])),
        "on_layers": float(np.mean([np.nanmean(block[1:]) for block in layers])),
    }


EXPERIMENT = Experiment(
    claim="layers use all that come before in their block; least the outputs of the transition",
    source="Huang, Liu, van der Maaten, Weinberger, Densely Connected Convolutional Networks, 2016, Figure 5",
    small=changed(DENSENET.small, model="densenet40_12", model_options={"depths": (6, 6, 6)}),
    full=changed(DENSENET.full, model="densenet40_12"),
    cells={"densenet": {}},
    expected=(Better("densenet", "densenet", "on_transition", "on_layers", less=True),),
    figures=("on_transition", "on_layers", "test_accuracy"),
    measure=strengths,
    smoke=DENSENET.smoke,
)
