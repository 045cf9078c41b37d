"""YOLO9000 (Redmon and Farhadi: YOLO9000: Better, Faster, Stronger, 2016, arXiv 1612.08242, section 4): YOLO v2 whose
classes are the nodes of a WordTree, trained on images with objects and on images with a class alone.

The network is that of YOLO v2 (in the paper with three anchors). Of an object it finds the node to which the descent of
the tree leads; its score is the confidence times the probability of that node.

An image with objects has the loss of YOLO v2, with the loss of the tree for classes. An image with a class alone has
the loss of the tree at one place, where the confidence times the probability of the class is highest; its boxes and
confidences are not learnt from. (The paper also raises the confidence there; the authors' code does not.)
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from xxnet_jax.detection.wordtree import WordTree
from xxnet_jax.detection.yolo_v2 import (
    Lesson,
    Parts,
    YoloV2,
    YoloV2Settings,
    create_yolo_v2,
    image_losses,
    is_young,
    loss_of_parts,
)
from xxnet_jax.losses import Batch, LossFn, Metrics, Outputs


def create_yolo9000(
    backbone: str, tree: WordTree, settings: YoloV2Settings | None = None, *, threshold: float = 0.5, **options: Any
) -> YoloV2:
    """The detector of the nodes of a tree.

    Args:
        backbone: a name of `xxnet_jax.detection.yolo_v2.BACKBONES`.
        tree: of classes.
        settings: by default those of the authors for VOC.
        threshold: of the descent.
        **options: as of `create_yolo_v2`.

    Raises:
        ValueError: as of `create_yolo_v2`.
    """
    probabilities = functools.partial(tree.detected, threshold=threshold)
    return create_yolo_v2(backbone, len(tree), settings, probabilities=probabilities, **options)


def yolo9000_loss(settings: YoloV2Settings, batch_size: int, tree: WordTree) -> LossFn:
    """The loss of a batch of both kinds of images; metrics as of `yolo_v2_loss`.

    The batch also has "classified", bool [batch]: the image has a class alone, the label of its first object, whose box
    says nothing.

    Args:
        settings: of the detector.
        batch_size: of training, over all devices.
        tree: of classes.
    """

    def of_image(
        classified: jax.Array,
        predictions: jax.Array,
        boxes: jax.Array,
        labels: jax.Array,
        present: jax.Array,
        young: jax.Array,
    ) -> Parts:
        detected = image_losses(
            predictions, boxes, labels, present, young=young, settings=settings, class_loss=tree.loss
        )
        zero = jnp.zeros((), jnp.float32)
        alone = Parts(zero, zero, zero, settings.class_weight * class_alone(predictions, labels[0], tree))
        return jax.tree.map(functools.partial(jnp.where, classified), alone, detected)

    def loss_fn(outputs: Outputs, batch: Batch, rng: jax.Array) -> tuple[jax.Array, Metrics]:
        del rng
        lesson: Lesson = outputs.prediction
        young = is_young(outputs.step, batch_size, settings)
        each = jax.vmap(of_image, (0, 0, 0, 0, 0, None))
        return loss_of_parts(each(batch["classified"], lesson.predictions, *lesson.objects, young), batch["mask"])

    return loss_fn


def class_alone(predictions: jax.Array, label: jax.Array, tree: WordTree) -> jax.Array:
    """-log of the probability of a node, float32 [], at the place of an image where it times the confidence is highest.

    Args:
        predictions: [rows, columns, anchors, 5 + nodes].
        label: int [].
        tree: of classes.
    """
    said = predictions.reshape(-1, predictions.shape[-1])
    loss = tree.loss(said[:, 5:], jnp.full(len(said), label))
    likely = jax.nn.sigmoid(said[:, 4]) * jnp.exp(-loss)
    return loss[jnp.argmax(jax.lax.stop_gradient(likely))]
