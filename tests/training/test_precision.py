"""Number formats of a training run, and the scale of the loss in float16."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from examples import noisy_patterns

import xxnet_jax as xx
from xxnet_jax.losses import classification_loss
from xxnet_jax.models import Network
from xxnet_jax.optimizers import training_optimizer
from xxnet_jax.precision import FORMATS, GROWTH_STEPS, LossScale
from xxnet_jax.training.state import TrainState, create_state
from xxnet_jax.training.step import make_train_step

SHAPE = (16, 16, 3)


@functools.cache
def train(precision: str, steps: int, accumulate: int = 1) -> tuple[np.ndarray, TrainState]:
    """The loss of each step, and the last state, of a small ResNet."""
    formats = FORMATS[precision]._asdict()
    model = xx.create_model("resnet20", num_classes=10, depths=(1, 1, 1), widths=(4, 8, 16), stem_features=4, **formats)
    tx = training_optimizer("momentum", 0.01)
    state = create_state(model, tx, SHAPE, seed=0, ema=True, loss_scale=precision == "f16")
    step = jax.jit(
        make_train_step(
            model, tx, classification_loss(), accumulate=accumulate, average_decay=lambda n: jnp.float32(0.9)
        )
    )
    losses, start = [], state
    for number in range(steps):
        state, metrics = step(state, noisy_patterns(number, SHAPE))
        losses.append(float(metrics["loss"].value()))
    assert jax.tree.map(jnp.result_type, state.params) == jax.tree.map(jnp.result_type, start.params)
    return np.array(losses), state


@pytest.mark.parametrize(
    ("precision", "accumulate"),
    [
        ("bf16", 1),
        ("f16", 1),
        *(pytest.param(*case, marks=pytest.mark.full_size) for case in (("bf16_all", 2), ("f16", 2))),
    ],
)
def test_narrow_formats_train(precision: str, accumulate: int):
    """Losses begin as those of float32, to the bits that there are (where the parameters do), and fall as they do."""
    expected, _ = train("f32", 40, accumulate)
    losses, state = train(precision, 40, accumulate)
    if precision != "bf16_all":
        np.testing.assert_allclose(losses[:3], expected[:3], rtol=0.03)
    assert losses[-5:].mean() < 0.8 * losses[:5].mean()
    assert abs(losses[-5:].mean() / expected[-5:].mean() - 1) < 0.2
    formats = FORMATS[precision]
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype(formats.param_dtype)}
    assert {leaf.dtype for leaf in jax.tree.leaves(state.batch_stats)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("precision", FORMATS)
def test_activations_and_logits(precision: str):
    """Activations have the format of the computation, logits float32."""
    formats = FORMATS[precision]
    model = xx.create_model("resnet20", num_classes=10, **formats._asdict())
    images = jax.ShapeDtypeStruct((2, *SHAPE), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    points = jax.eval_shape(lambda v, x: xx.endpoints(model, v, x), variables, images)
    assert points.pop("predictions").dtype == jnp.float32
    assert {point.dtype for point in points.values()} == {jnp.dtype(formats.dtype)}


class Steep(Network):
    """One weight, whose gradient is `slope` times the images' mean, computed in `dtype`."""

    slope: float = 1.0

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        del train
        weight = self.param("weight", nn.initializers.zeros, (), self.param_dtype).astype(self.dtype)
        return (images.astype(self.dtype).mean(axis=(1, 2, 3)) * weight * jnp.asarray(self.slope, self.dtype))[:, None]


def steep_step(slope: float, *, scaled: bool) -> tuple[TrainState, TrainState]:
    """The state before and after a step on 4 ones, whose loss is the mean output, with plain SGD at rate 1."""
    model = Steep(slope=slope, dtype=jnp.float16, num_classes=1)

    def loss_fn(outputs: Any, batch: Any, rng: jax.Array) -> Any:
        del rng, batch
        return jnp.mean(outputs.prediction.astype(jnp.float32)), {}

    tx = optax.sgd(1.0)
    state = create_state(model, tx, (2, 2, 1), seed=0, loss_scale=scaled)
    ones = {"image": np.ones((4, 2, 2, 1), np.float32), "label": np.zeros(4, np.int32), "mask": np.ones(4, bool)}
    return state, jax.jit(make_train_step(model, tx, loss_fn))(state, ones)[0]


def test_small_gradients_survive_with_a_scale():
    """Each of 4 examples has a quarter of the gradient 2^-24, float16's smallest number: without scale, nothing."""
    kept, lost = (steep_step(2.0**-24, scaled=scaled)[1] for scaled in (True, False))
    assert float(kept.params["weight"]) == -(2.0**-24)
    assert float(lost.params["weight"]) == 0


def test_a_step_that_overflows_changes_nothing():
    """Gradients beyond float16's 65,504: the scale is halved, the number of the step goes on, all else stays."""
    before, after = steep_step(64.0, scaled=True)  # 64 * 2^15 / 4 is too large
    assert int(after.step) == 1
    assert float(after.params["weight"]) == float(before.params["weight"]) == 0
    assert before.loss_scale is not None
    assert after.loss_scale is not None
    assert float(after.loss_scale.factor) == float(before.loss_scale.factor) / 2 == 2.0**14


def test_loss_scale():
    """It doubles after 2,000 good steps, halves after a bad one, and is never less than 1."""
    scale = LossScale.initial()
    for _ in range(GROWTH_STEPS - 1):
        scale = LossScale(scale.factor, scale.good_steps + 1)
    assert float(scale.after(jnp.asarray(True)).factor) == 2.0**16
    assert int(scale.after(jnp.asarray(True)).good_steps) == 0
    bad = scale.after(jnp.asarray(False))
    assert (float(bad.factor), int(bad.good_steps)) == (2.0**14, 0)
    assert float(LossScale(jnp.float32(1), jnp.int32(5)).after(jnp.asarray(False)).factor) == 1
