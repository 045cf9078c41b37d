"""Trees of classes: how they are built, their probabilities and descents against loops, and YOLO9000's two losses."""

import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import references
from hypothesis import given, settings
from hypothesis import strategies as st
from rectangles import SHAPE, arguments, rectangles

from xxnet_jax.detection.detector import Objects
from xxnet_jax.detection.wordtree import WordTree
from xxnet_jax.detection.yolo9000 import class_alone, create_yolo9000, yolo9000_loss
from xxnet_jax.detection.yolo_v2 import Lesson, YoloV2Settings, yolo_v2_loss
from xxnet_jax.errors import CorruptData, InvalidArgument, MissingData, UnknownName
from xxnet_jax.losses import Outputs
from xxnet_jax.models.darknet import table
from xxnet_jax.training.state import create_state
from xxnet_jax.training.step import make_train_step

PAIRS = [
    ("animal", "object"),
    ("artifact", "object"),
    ("dog", "animal"),
    ("cat", "animal"),
    ("terrier", "dog"),
    ("hound", "dog"),
    ("car", "artifact"),
    ("toy", "artifact"),
    ("toy dog", "toy"),
    ("toy dog", "dog"),
    ("pug", "toy dog"),
]
TREE = WordTree.from_hypernyms(["terrier", "hound", "cat", "car", "pug"], PAIRS, "object")
SETTINGS = YoloV2Settings(anchors=((1.2, 1.2), (2.6, 2.0)), prior_images=0, max_detections=10)
FEW = settings(max_examples=5)  # each tree is compiled anew


def test_the_tree_of_hypernyms():
    """Parents come before children and siblings are together; of pug's two ways the one is taken by which the tree
    grows by two nodes, not by three."""
    names, parents = TREE.names, TREE.parents
    assert dict(zip(names, [names[p] if p >= 0 else "object" for p in parents], strict=True)) == {
        "animal": "object",
        "artifact": "object",
        "dog": "animal",
        "cat": "animal",
        "car": "artifact",
        "terrier": "dog",
        "hound": "dog",
        "toy dog": "dog",
        "pug": "toy dog",
    }
    assert names == ("animal", "artifact", "dog", "cat", "car", "terrier", "hound", "toy dog", "pug")
    assert TREE.groups.tolist() == [0, 0, 1, 1, 2, 3, 3, 3, 4]
    assert TREE.below.tolist() == [1, 2, 3, -1, -1, -1, -1, 4, -1]
    assert TREE.depth == 4
    assert [names[node] for node in TREE.path(TREE.index("pug"))] == ["pug", "toy dog", "dog", "animal"]
    assert len(TREE) == 9


def random_tree(random: np.random.Generator) -> WordTree:
    """Level by level, up to three children for each node."""
    parents = [-1] * int(random.integers(1, 4))
    node = 0
    while node < len(parents) < 25:
        parents += [node] * int(random.integers(0, 4))
        node += 1
    return WordTree(tuple(f"n{i}" for i in range(len(parents))), tuple(parents))


@FEW
@given(st.integers(0, 2**16))
def test_probabilities_are_products_of_softmaxes(seed):
    """Siblings sum to 1 given their parent; a node has the product of its path; the children of a node sum to it; the
    loss is the negative logarithm. Against loops in float64."""
    random = np.random.default_rng(seed)
    tree = random_tree(random)
    logits = random.normal(0, 3, (4, len(tree))).astype(np.float32)
    labels = random.integers(0, len(tree), 4)
    all_of_them = jax.jit(lambda x, node: (tree.log_conditional(x), tree.probabilities(x), tree.loss(x, node)))
    conditional, absolute, loss = map(np.asarray, all_of_them(logits, labels))
    conditional = np.exp(conditional)
    children: dict[int, list[int]] = {}
    for node, parent in enumerate(tree.parents):
        children.setdefault(parent, []).append(node)
    for row in range(4):
        expected = np.zeros(len(tree))
        for group in children.values():
            expected[group] = references.softmax(logits[row, group].astype(np.float64))
            assert conditional[row, group].sum() == pytest.approx(1, rel=1e-5)
        np.testing.assert_allclose(conditional[row], expected, rtol=2e-5)
        product = np.array([math.prod(expected[node] for node in tree.path(leaf)) for leaf in range(len(tree))])
        np.testing.assert_allclose(absolute[row], product, rtol=1e-4)
        for parent, group in children.items():
            assert absolute[row, group].sum() == pytest.approx(1 if parent < 0 else absolute[row, parent], rel=1e-4)
        assert float(loss[row]) == pytest.approx(-math.log(product[labels[row]]), rel=1e-4, abs=1e-5)


@FEW
@given(st.integers(0, 2**16), st.floats(0.05, 0.95))
def test_the_descent_is_that_of_the_loop(seed, threshold):
    """From the root to the likeliest child as long as the product is above the threshold, at least one level."""
    random = np.random.default_rng(seed)
    tree = random_tree(random)
    logits = random.normal(0, 2, (2, 3, len(tree))).astype(np.float32)
    all_of_them = jax.jit(lambda x, t: (tree.probabilities(x), tree.descend(x, t), tree.detected(x, t)))
    probabilities, found, detected = map(np.asarray, all_of_them(logits, np.float32(threshold)))
    for place in np.ndindex(2, 3):
        node, left = -1, True
        while left:
            group = [i for i, parent in enumerate(tree.parents) if parent == node]
            best = max(group, key=lambda i: probabilities[*place, i], default=-1)
            left = best >= 0 and (node < 0 or probabilities[*place, best] > threshold)
            node = best if left else node
            left = left and probabilities[*place, node] > threshold
        assert found[place] == node
        assert np.flatnonzero(detected[place]).tolist() == [node]
        assert detected[*place, node] == probabilities[*place, node]


def test_labels_need_not_be_leaves():
    """A dog of unknown kind: the logits of the kinds have no gradient, those of dog and its siblings have."""
    dog = TREE.index("dog")
    slopes = jax.jit(jax.grad(lambda x: TREE.loss(x[None], jnp.array([dog]))[0]))
    gradient = slopes(jnp.zeros(len(TREE)))
    moved = {name for name, slope in zip(TREE.names, gradient, strict=True) if slope != 0}
    assert moved == {"animal", "artifact", "dog", "cat"}


def test_files_of_trees(tmp_path: Path):
    """As Darknet writes them, and what is no tree."""
    path = tmp_path / "9k.tree"
    path.write_text("".join(f"n{i} {parent}\n" for i, parent in enumerate(TREE.parents)))
    assert WordTree.read(path).parents == TREE.parents
    for text, message in (("n0", "line 1"), ("n0 -1\nn1 2\n", "before it"), ("", "different names")):
        path.write_text(text)
        with pytest.raises(CorruptData, match=message):
            WordTree.read(path)
    with pytest.raises(MissingData):
        WordTree.read(tmp_path / "none")


def test_what_is_no_tree():
    """Each is refused with the word that is wrong."""
    with pytest.raises(InvalidArgument, match="together: c"):
        WordTree(("a", "b", "c"), (-1, 0, -1))
    with pytest.raises(InvalidArgument, match="different names"):
        WordTree(("a", "a"), (-1, 0))
    with pytest.raises(InvalidArgument, match="stone has no path"):
        WordTree.from_hypernyms(["stone"], PAIRS, "object")
    with pytest.raises(InvalidArgument, match="its own hypernym"):
        WordTree.from_hypernyms(["egg"], [("egg", "hen"), ("hen", "egg")], "object")
    with pytest.raises(UnknownName, match="terrier"):
        TREE.index("terier")


# --- YOLO9000 --------------------------------------------------------------------------------------------------------


def random_lesson(seed: int) -> Lesson:
    random = np.random.default_rng(seed)
    raw = random.normal(0, 1, (2, 3, 4, 2, 5 + len(TREE))).astype(np.float32)
    centre, sides = random.uniform(0, (4, 3), (2, 2, 2)), random.uniform(0.5, 3, (2, 2, 2))
    boxes = np.concatenate([centre - sides / 2, centre + sides / 2], -1).astype(np.float32)
    labels = random.integers(0, len(TREE), (2, 2)).astype(np.int32)
    return Lesson(jnp.asarray(raw), Objects(*map(jnp.asarray, (boxes, labels, np.ones((2, 2), bool)))))


def test_an_image_with_a_class_alone():
    """Its loss is that of the class where confidence times probability is highest, which a loop finds; nothing else
    there, and nothing elsewhere, has a gradient. An image with objects has the loss of YOLO v2, but for its classes."""
    lesson = random_lesson(0)
    raw, label = np.asarray(lesson.predictions[0]).reshape(-1, 5 + len(TREE)), int(lesson.objects.labels[0, 0])
    best, expected, where = -1.0, 0.0, 0
    probabilities = np.asarray(jax.jit(TREE.probabilities)(raw[:, 5:]))[:, label]
    for place, (numbers, probability) in enumerate(zip(raw, probabilities, strict=True)):
        if references.sigmoid(numbers[4]) * probability > best:
            best, expected, where = references.sigmoid(numbers[4]) * probability, -math.log(probability), place
    found = jax.jit(class_alone, static_argnums=2)(lesson.predictions[0], lesson.objects.labels[0, 0], TREE)
    assert float(found) == pytest.approx(expected, rel=1e-5)

    loss_fn = yolo9000_loss(SETTINGS, 2, TREE)
    batch = {"mask": jnp.ones(2, bool), "classified": jnp.array([True, False])}

    def loss(predictions: jax.Array) -> Any:
        outputs = Outputs(lesson._replace(predictions=predictions), {}, jnp.asarray(0))
        return loss_fn(outputs, batch, jax.random.key(0))

    (_, metrics), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(lesson.predictions)
    gradient = np.asarray(gradient[0]).reshape(raw.shape)
    assert np.flatnonzero(gradient.any(1)).tolist() == [where]
    assert not gradient[where, :5].any()

    plain = yolo_v2_loss(SETTINGS, 2)
    second = {"mask": jnp.array([False, True])}
    _, of_detection = jax.jit(lambda x: plain(Outputs(x, {}, jnp.asarray(0)), second, jax.random.key(0)))(lesson)
    for name in ("box", "object", "background"):
        assert float(metrics[name].total) == pytest.approx(float(of_detection[name].total), rel=1e-5)
    assert float(metrics["class"].total) > expected


@pytest.mark.slow
def test_joint_training_learns_both():
    """Objects of two kinds with boxes, and a third kind from images with the class alone: afterwards the classes of
    both are the likeliest ones of their images."""
    tree = WordTree(("animal", "car", "dog", "cat"), (-1, -1, 0, 0))
    nodes = np.array([1, 2, 3], np.int32)  # of the three colours: car, dog, cat
    stages = table("3x3 8", "3x3 16", "3x3 24, 3x3 24", "3x3 32")
    knobs = {"stages": stages, "stride": 8, "passthrough": "conv4", "squeezed": 8, "head": (32,), "fused": 32}
    model = create_yolo9000("small", tree, SETTINGS, **knobs)
    batch = rectangles(4, [1] * 8)
    batch["classified"] = batch["labels"][:, 0] == 2
    batch["labels"] = nodes[batch["labels"]]
    assert 0 < batch["classified"].sum() < 8
    tx = optax.adam(3e-3)
    state = create_state(model, tx, SHAPE, seed=0)
    step = jax.jit(make_train_step(model, tx, yolo9000_loss(SETTINGS, 8, tree), arguments=arguments))
    for _ in range(200):
        state, _ = step(state, batch)
    lesson: Any = model.apply(state.evaluation_variables, batch["image"], **arguments(batch), train=False)
    for image in range(8):
        label = batch["labels"][image, 0]
        assert float(class_alone(lesson.predictions[image], label, tree)) < 0.1
    found: Any = model.apply(state.evaluation_variables, batch["image"], train=False)
    for image in np.flatnonzero(~batch["classified"]):
        assert int(found.labels[image, 0]) == batch["labels"][image, 0]
        assert float(found.scores[image, 0]) > 0.5
