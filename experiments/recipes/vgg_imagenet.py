"""VGG on ImageNet: Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, 2015,
section 3.1.

    python experiments/train.py vgg_imagenet                       # vgg16 (D); tfds:imagenet2012
    python experiments/train.py vgg_imagenet --data folder:FOLDER
    python experiments/train.py vgg_imagenet --model vgg19         # or vgg11, vgg11_lrn, vgg13, vgg16_1x1, and vgg16_bn

Batches of 256, momentum .9, L2 of 5e-4, dropout .5 on the first two dense layers, rate .01, divided by 10 when the
validation accuracy stops improving, three times; 74 epochs (370,000 steps: 370,000 x 256 / 1,281,167 = 73.9). Windows
of 224 of the photograph scaled to S = 256, mirrored, with a shift of colours (AlexNet's PCA noise).

Kernels start from Glorot's uniform, which the paper found to need no other network (end of "3.1 Training"). As it did
its experiments, the deep networks began with the first four convolutions and the dense layers of net A, which starts
from a normal of variance .01, biases of 0:

    python experiments/train.py vgg_imagenet --model vgg11 --model-options initialization paper --workdir runs/vgg_a
    python experiments/train.py vgg_imagenet --begin-with runs/vgg_a --model-options initialization paper \\
        --begin-pattern '^(block1_conv1|block2_conv1|block3_conv[12]|fc[12]|predictions)/' --workdir runs/vgg_d

Other training scales S (same section): 384 begins with the network of 256 at a rate of 1e-3, and S between 256 and 512
with that of 384:

    python experiments/train.py vgg_imagenet --begin-with runs/vgg_d --learning-rate 1e-3 --workdir runs/vgg_d_384 \\
        --augmentation-options smallest_side 384 largest_side 384
    python experiments/train.py vgg_imagenet --begin-with runs/vgg_d_384 --learning-rate 1e-3 \\
        --augmentation vgg_jitter --workdir runs/vgg_d_jitter

Deviation: the dense layers keep their whole shape in `--begin-with`; "stops improving" is five epochs. Batch
normalization (`*_bn`) is not the paper's.

Takes weeks on a GPU (two to three, on four of theirs); only its first steps are run, by a test. Reaches, in the paper
(Table 3, S = Q = 256, dense: `evaluate.py RUN --protocol vgg_dense`), 73.0 % top-1 and 91.2 % top-5 on validation:
errors of 27.0 and 8.8 %; 25.5 and 8.0 % for vgg19 with S in [256, 512]. The figures of `*_bn` are torchvision's, of one
crop.
"""

from dataclasses import replace

from recipes import IMAGENET, Published
from xxnet_jax.optimizers import ScheduleConfig

NETWORKS = (
    *("vgg11", "vgg11_lrn", "vgg13", "vgg16_1x1", "vgg16", "vgg19"),
    *("vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"),
)
PUBLISHED: Published = {
    "dense, S = Q = 256": {
        "vgg11": (70.4, 89.6),
        "vgg11_lrn": (70.3, 89.5),
        "vgg13": (71.3, 90.1),
        "vgg16_1x1": (71.9, 90.6),
        "vgg16": (73.0, 91.2),
        "vgg19": (72.7, 91.0),
    },
    "torchvision, one crop": {
        "vgg11_bn": (70.37, 89.81),
        "vgg13_bn": (71.59, 90.37),
        "vgg16_bn": (73.36, 91.52),
        "vgg19_bn": (74.22, 91.84),
    },
}

RECIPE = replace(
    IMAGENET,
    model="vgg16",
    augmentation="vgg",
    optimizer="momentum",
    learning_rate=0.01,
    schedule=ScheduleConfig("vgg"),
    l2=5e-4,
    batch_size=256,
    epochs=74,
)
