"""Nothing, ReLU or ELU between the depthwise and the pointwise convolution of Xception.

Small: 3 networks x 3 seeds of three narrow blocks, 6 epochs of 5,000 images. Full: Xception on all of CIFAR-10 at
64x64.
"""

from paper_experiments import CIFAR10, FULL_CIFAR10, Experiment, changed, in_order

NARROW = {"stem": (12, 16), "blocks": ((24, 24), (48, 48)), "last": (64, 96)}

EXPERIMENT = Experiment(
    claim="no activation between the two converges faster and ends better than an ELU, and that than a ReLU",
    source="Chollet, Xception, 2016, section 4.7 and Figure 10",
    small=changed(CIFAR10, model="xception", image_size=32, model_options=NARROW, learning_rate=2e-3),
    full=changed(FULL_CIFAR10, model="xception", image_size=64),
    cells={str(name): {"model_options": {"between": name}} for name in (None, "elu", "relu")},
    expected=(*in_order("None", "elu", "relu"), *in_order("None", "elu", "relu", figure="train_loss")),
)
