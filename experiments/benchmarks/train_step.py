"""Training steps side by side: this project, the same network of Flax's and XLA's plain operations, Keras, PyTorch.

    python experiments/benchmarks/train_step.py resnet50 --peer flax_plain keras
    python experiments/benchmarks/train_step.py resnet50.torchvision --peer torch torch_compile
    python experiments/benchmarks/train_step.py resnet20 --precision bf16 --peer torch_compile
    python experiments/benchmarks/train_step.py vgg16.torchvision --peer torch --torch-python OTHER/bin/python

SGD with momentum, cross-entropy and accuracy on one random batch that lies on the device; the rest of training is in
loop.py and input.py. "ratio" says how many times faster than the peer we are: median and range over the rounds, in each
of which everyone, in a process of its own, has one turn. Figures go to results.csv in OUT, and what is there is not
measured again. Keras runs on JAX, and PyTorch with channels_last (eager, or the network compiled by `torch.compile`).
Everyone gains from GLIBC_TUNABLES=glibc.malloc.hugetlb=1 on a CPU (see experiments/huge_pages.py).
"""

import tyro
from networks import Arguments, side_by_side
from script import main


def train_step() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    return side_by_side("train_step", arguments, "train", passes=3)


if __name__ == "__main__":
    main(train_step)
