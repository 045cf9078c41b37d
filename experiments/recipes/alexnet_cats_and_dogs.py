"""The notes' own application: AlexNet tells cats from dogs, in one folder as cat.0.jpg and dog.0.jpg.

    python experiments/train.py alexnet_cats_and_dogs --data "folder:FOLDER?classes=cat,dog"

    python experiments/checks/pets_in_one_folder.py CIFAR10 PETS      # a small stand-in: CIFAR-10's, two files damaged
    python experiments/train.py alexnet_cats_and_dogs --data "folder:PETS?classes=cat,dog" --image-size 67 \\
        --model-options window 1 --epochs 3

As the notes have it: images stretched to 227x227, BGR, the mean colour subtracted, no augmentation; batches of 10 and
what does not fill one left out; TensorFlow's Adam at 1e-3, no decay; ten epochs, evaluated after each; kernels from a
truncated normal of deviation .1; a rate of .25 that is the share of units to keep, so that three quarters are dropped.
Otherwise than in the notes: each epoch is shuffled anew, the folder is divided into 80, 10 and 10 % (they have a second
one to test on, after each epoch), files that are no images are left out and listed in report.json.

Takes 2 minutes of processor time for the stand-in's 240 steps (26 minutes on 2 cores of an AMD EPYC that had a load of
20, 2026-11-29), with 21,589,378 parameters at 67x67; the full size was not run. Reaches 51.5 % on test there, which is
chance: 53.0, 51.0 and 49.0 % on validation after its three epochs of 802 photographs at seed 0; the two damaged files
are in the report. Such kernels on values of +-100 make logits of many thousands (a training loss of 66,620 at step 60,
1,050 at step 240), which three epochs do not mend; `--model-options window 1 initialization paper` has the paper's.
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
