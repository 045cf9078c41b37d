"""The notes' example of Keras Applications: Inception v3 of ImageNet, for other classes.

A dense layer of 1,024 features and the classes are trained with RMSProp in front of the frozen network; then the last
two modules are trained with it, by SGD at 1e-4 with momentum .9.

    python experiments/finetune.py finetune_inception_v3 --weights imagenet --data folder:PHOTOS
    python experiments/finetune.py finetune_inception_v3 --weights FILE.h5 --data folder:PHOTOS --frozen-through mixed7

Takes about .15 s an image and epoch on 2 CPU cores, that is 20 minutes for ten epochs of 800 photographs.
Reaches what is asked of it, on your photographs: 2,303,176 parameters are trained in the first phase, 13,418,056 in the
second, with 200 classes.
"""

from xxnet_jax.training import Recipe

RECIPE = Recipe(
    model="inception_v3",
    data="folder:photographs",
    batch_size=32,
    optimizer="momentum",
    learning_rate=1e-4,
    epochs=10,
)
