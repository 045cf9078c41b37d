"""Everything that a training step reads and writes, as one value."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import flax.struct
import flax.traverse_util
import jax
import jax.numpy as jnp
import optax

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.losses import Batch, Metrics
from xxnet_jax.precision import LossScale


@flax.struct.dataclass
class TrainState:
    """The state of a training run.

    Attributes:
        step: int32 [], updates made so far.
        params: trainable parameters.
        batch_stats: running statistics; an empty dict for a network without any.
        opt_state: of the optimizer.
        ema_params: average of the parameters, exponential or Polyak's, or None.
        loss_scale: of float16, or None.
        rng: typed key; the step folds its number in, so it never changes.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    ema_params: Any
    loss_scale: LossScale | None
    rng: jax.Array

    @property
    def evaluation_variables(self) -> dict[str, Any]:
        """The variables to evaluate with: averaged parameters where there are any."""
        params = self.params if self.ema_params is None else self.ema_params
        return {"params": params, "batch_stats": self.batch_stats}


def create_state(
    model: nn.Module,
    tx: optax.GradientTransformation,
    image_shape: tuple[int, int, int],
    *,
    seed: int,
    ema: bool = False,
    loss_scale: bool = False,
    sharding: Any = None,
) -> TrainState:
    """The state before the first step.

    Args:
        model: a network.
        tx: the optimizer.
        image_shape: (height, width, channels) of the training images.
        seed: of the initial parameters and of everything random in the steps.
        ema: keep an average of the parameters; it begins as their copy.
        loss_scale: keep one, for float16.
        sharding: of the state; by default it is on the first device.
    """
    # This runs once: compiled without optimization it is ready several times sooner.
    initialize = jax.jit(
        functools.partial(initial_state, model, tx, image_shape, ema=ema, loss_scale=loss_scale),
        out_shardings=sharding,
        compiler_options={"xla_backend_optimization_level": 0},
    )
    return initialize(jax.random.key(seed))


def abstract_state(
    model: nn.Module,
    tx: optax.GradientTransformation,
    image_shape: tuple[int, int, int],
    *,
    ema: bool = False,
    loss_scale: bool = False,
) -> TrainState:
    """Shapes and dtypes of `create_state`, as `jax.ShapeDtypeStruct`; nothing is computed."""
    initialize = functools.partial(initial_state, model, tx, image_shape, ema=ema, loss_scale=loss_scale)
    return jax.eval_shape(initialize, jax.random.key(0))


def initial_state(
    model: nn.Module,
    tx: optax.GradientTransformation,
    image_shape: tuple[int, int, int],
    key: jax.Array,
    *,
    ema: bool = False,
    loss_scale: bool = False,
) -> TrainState:
    """`create_state` from a key, to be traced."""
    init_key, step_key = jax.random.split(key)
    variables = model.init(init_key, jnp.zeros((1, *image_shape), jnp.float32), train=False)
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=tx.init(params),
        ema_params=jax.tree.map(jnp.copy, params) if ema else None,
        loss_scale=LossScale.initial() if loss_scale else None,
        rng=step_key,
    )


def with_variables(state: TrainState, variables: Mapping[str, Any]) -> TrainState:
    """A state before its first step with these variables in place of its own, in its precision and its sharding.

    Args:
        state: of `create_state`.
        variables: "params" and "batch_stats", or a part of them.

    Raises:
        ValueError: the state has no such variable, or one of another shape.
    """
    own = {"params": state.params, "batch_stats": state.batch_stats}
    leaves: dict[tuple[str, ...], Any] = dict(flax.traverse_util.flatten_dict(own))
    given: dict[tuple[str, ...], Any] = dict(flax.traverse_util.flatten_dict(dict(variables)))
    for path, value in given.items():
        old = leaves.get(path)
        if old is None or old.shape != value.shape:
            found = "there is none" if old is None else f"it has shape {old.shape}"
            raise InvalidArgument(
                f"cannot begin with a {'/'.join(path)} of shape {value.shape}: {found} in the network"
            )
        copy = jnp.array(value, old.dtype)  # steps take the memory of the state, and the caller may keep the variables
        leaves[path] = jax.device_put(copy, old.sharding)
    new = flax.traverse_util.unflatten_dict(leaves)
    average = None if state.ema_params is None else jax.tree.map(jnp.copy, new["params"])
    return state.replace(  # type: ignore[attr-defined]
        params=new["params"], batch_stats=new.get("batch_stats", {}), ema_params=average
    )


def ema_decay_at(step: jax.Array, decay: float) -> jax.Array:
    """min(decay, (1 + n) / (10 + n)) after n updates: TensorFlow's moving average with `num_updates`.

    A young average follows the parameters closely (MNIST chapter of the notes).
    """
    n = step.astype(jnp.float32)
    return jnp.minimum(decay, (1 + n) / (10 + n))


def polyak_decay_at(step: jax.Array, start: int) -> jax.Array:
    """n / (n + 1) for the n-th update after number `start`, and 0 before: the mean of all parameters since then.

    Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992.
    """
    n = jnp.maximum(step - start, 0).astype(jnp.float32)
    return n / (n + 1)


def update_average(average: Any, params: Any, decay: jax.Array) -> Any:
    """average <- d average + (1 - d) params."""
    return jax.tree.map(lambda a, p: a + (1 - decay).astype(a.dtype) * (p - a), average, params)


TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
EvalStep = Callable[[dict[str, Any], Batch], tuple[Metrics, dict[str, Any]]]  # means, counts
