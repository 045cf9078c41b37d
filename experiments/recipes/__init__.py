"""Recipes: one file each, with a `RECIPE` and a docstring that has the command, the time it takes and the result.

A recipe of a paper has, besides, the `NETWORKS` that are trained with the same numbers (`--model` chooses one) and what
the paper reached with them: `PUBLISHED`, of each protocol and each network, the top-1 and top-5 accuracy in percent.
`list_recipes.py` makes docs/recipes.md of them. Where numbers come from the authors' code, the docstring says so.

ImageNet is `tfds:imagenet2012`, prepared as array_record, or `--data folder:FOLDER` with FOLDER/train/CLASS/*.JPEG and
FOLDER/validation/CLASS/*.JPEG. Its test labels are not public: papers report on validation, and so do these recipes.
"""

from xxnet_jax.training import Recipe

Published = dict[str, dict[str, tuple[float, float | None]]]

# What the recipes on ImageNet have in common.
IMAGENET = Recipe(
    data="tfds:imagenet2012",
    validation_split="validation",
    test_split=None,
    fit="crop",
    metrics=("top5",),
)
# And those on CIFAR-10; `--data tfds:cifar100` takes the other set.
CIFAR10 = Recipe(
    data="tfds:cifar10",
    image_size=32,
    train_split="train[:-5000]",
    validation_split="train[-5000:]",
)
