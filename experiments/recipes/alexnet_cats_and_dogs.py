"""The notes' own application: AlexNet tells cats from dogs, in one folder as cat.0.jpg and dog.0.jpg.

python experiments/train.py alexnet_cats_and_dogs --data "folder:FOLDER?classes=cat,dog"
"""

from xxnet_jax.training import Recipe

RECIPE = Recipe(
    model="alexnet.tf1",
    data="folder:cats_and_dogs?classes=cat,dog",
    skip_corrupt=True,
    batch_size=10,
    epochs=10,
    optimizer="adam",
    like="keras",
    optimizer_options={"eps": 1e-8},
    learning_rate=1e-3,
)
