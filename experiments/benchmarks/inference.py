"""Inference side by side: this project, the same network of Flax's and XLA's plain operations, Keras, PyTorch.

    python experiments/benchmarks/inference.py resnet50 --peer flax_plain keras
    python experiments/benchmarks/inference.py resnet50.torchvision --peer torch torch_compile

Logits of one random batch that lies on the device. Ours is the network after `fold_batch_norm`; "unfolded" is
the one before. Else as train_step.py.
"""

import tyro
from networks import Arguments, side_by_side
from script import main


def inference() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    return side_by_side(
        "inference",
        arguments,
        "predict",
        passes=1,
        ours="folded",
        more=("unfolded",),
    )


if __name__ == "__main__":
    main(inference)
