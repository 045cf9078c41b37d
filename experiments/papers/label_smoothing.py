"""Label smoothing: .1 of the target spread over all classes.

Small: 2 cells x 5 seeds of LeNet-5, 20 epochs of 1,000 images. Full: ResNet-20 on CIFAR-10.
"""

from paper_experiments import MNIST, Better, Experiment, changed, fields_of
from recipes.resnet20_cifar10 import RECIPE

EXPERIMENT = Experiment(
    claim="label smoothing of .1 lowers the error by .2 points",
    source="Szegedy et al., Rethinking the Inception Architecture, 2015, section 7 and Table 3",
    small=changed(MNIST, model_options={"activation": "relu"}, train_split="train[:1000]", epochs=20),
    full=RECIPE,
    cells=fields_of(label_smoothing=(0.0, 0.1)),
    expected=(Better("label_smoothing 0.1", "label_smoothing 0.0"),),
    figures=("test_accuracy", "test_loss"),
    seeds=5,
)
