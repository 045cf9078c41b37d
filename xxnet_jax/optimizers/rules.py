"""Update rules that Optax does not have: each maps gradients to a direction, still to be scaled by minus the rate.

Notation: g gradient, m first moment, v second moment, u infinity norm, t number of the update (the first is 1).
Accumulators have the dtype of the parameters; hyperparameters may be numbers or traced arrays.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Scalar = float | jax.Array


class Moments(NamedTuple):
    """State of the Adam family.

    Attributes:
        step: int32 [], updates made.
        mu: first moments m.
        nu: second moments v, or infinity norms u.
        product: product of the momentum schedule so far; 1 where there is no schedule.
    """

    step: jax.Array
    mu: Any
    nu: Any
    product: jax.Array


class Accumulator(NamedTuple):
    """Sums, or averages, of squared gradients."""

    squares: Any


class Accumulators(NamedTuple):
    """Averages of squared gradients (r) and of squared updates (s)."""

    squared_gradients: Any
    squared_updates: Any


def scale_by_adagrad(initial_accumulator_value: Scalar, eps: Scalar) -> optax.GradientTransformation:
    """r += g^2; g / (sqrt(r) + eps). Optax has epsilon inside the root only; 0 / 0 is 0."""

    def init(params: Any) -> Accumulator:
        return Accumulator(jax.tree.map(lambda p: jnp.full_like(p, initial_accumulator_value), params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        sums = jax.tree.map(lambda g, r: r + g * g, updates, state.squares)
        direction = jax.tree.map(lambda g, r: _quotient(g, jnp.sqrt(r) + eps), updates, sums)
        return direction, Accumulator(sums)

    return optax.GradientTransformation(init, update)


def scale_by_rmsprop_of_notes(decay: Scalar, eps: Scalar) -> optax.GradientTransformation:
    """r = decay r + (1 - decay) g^2; g / sqrt(r), with r starting at eps; 0 / 0, when r has decayed to 0, is 0."""

    def init(params: Any) -> Accumulator:
        return Accumulator(jax.tree.map(lambda p: jnp.full_like(p, eps), params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        r = _moving_average(jax.tree.map(jnp.square, updates), state.squares, decay)
        return jax.tree.map(lambda g, r: _quotient(g, jnp.sqrt(r)), updates, r), Accumulator(r)

    return optax.GradientTransformation(init, update)


def scale_by_adadelta_of_notes(rho: Scalar, eps: Scalar) -> optax.GradientTransformation:
    """r = rho r + (1 - rho) g^2; d = g sqrt(s / r); s = rho s + (1 - rho) d^2, with r and s starting at eps.

    The notes' form: epsilon is only where the averages start. 0 / 0, when they have decayed to nothing, is 0.
    """

    def init(params: Any) -> Accumulators:
        start = jax.tree.map(lambda p: jnp.full_like(p, eps), params)
        return Accumulators(start, jax.tree.map(jnp.copy, start))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        r = _moving_average(jax.tree.map(jnp.square, updates), state.squared_gradients, rho)
        direction = jax.tree.map(
            lambda g, r, s: _quotient(g * jnp.sqrt(s), jnp.sqrt(r)), updates, r, state.squared_updates
        )
        s = _moving_average(jax.tree.map(jnp.square, direction), state.squared_updates, rho)
        return direction, Accumulators(r, s)

    return optax.GradientTransformation(init, update)


def scale_by_adam_epsilon_hat(
    b1: Scalar, b2: Scalar, eps: Scalar, *, initial_value: Scalar = 0.0, nesterov: bool = False
) -> optax.GradientTransformation:
    """sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps): Adam in the order of computation that Kingma and Ba (2015) give
    at the end of their section 2, in which epsilon is not bias-corrected.

    Args:
        b1: decay of m.
        b2: decay of v.
        eps: "epsilon hat".
        initial_value: where v starts.
        nesterov: b1 m + (1 - b1) g in place of m (the notes' Nadam).
    """

    def direction(g: jax.Array, m: jax.Array, v: jax.Array, c1: jax.Array, c2: jax.Array) -> jax.Array:
        ahead = b1 * m + (1 - b1) * g if nesterov else m
        return _quotient(ahead * (jnp.sqrt(c2) / c1).astype(g.dtype), jnp.sqrt(v) + eps)

    def init(params: Any) -> Moments:
        return _no_moments(params)._replace(nu=jax.tree.map(lambda p: jnp.full_like(p, initial_value), params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        t = state.step + 1
        mu = _moving_average(updates, state.mu, b1)
        nu = _moving_average(jax.tree.map(jnp.square, updates), state.nu, b2)
        c1, c2 = jnp.asarray(1 - b1**t), jnp.asarray(1 - b2**t)
        directions = jax.tree.map(lambda g, m, v: direction(g, m, v, c1, c2), updates, mu, nu)
        return directions, Moments(t, mu, nu, state.product)

    return optax.GradientTransformation(init, update)


def scale_by_adamax(
    b1: Scalar, b2: Scalar, eps: Scalar = 0.0, *, nesterov: bool = False
) -> optax.GradientTransformation:
    """u = max(b2 u, |g|); m / ((1 - b1^t) (u + eps)), and 0 where m and u are 0 (Kingma and Ba, 2015, algorithm 2).

    Args:
        b1: decay of m.
        b2: decay of u.
        eps: added to u.
        nesterov: b1 m + (1 - b1) g in place of m (the notes' NadaMax).
    """

    def direction(g: jax.Array, m: jax.Array, u: jax.Array, c1: jax.Array) -> jax.Array:
        ahead = b1 * m + (1 - b1) * g if nesterov else m
        return _quotient(ahead / c1.astype(g.dtype), u + eps)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        t = state.step + 1
        mu = _moving_average(updates, state.mu, b1)
        nu = _infinity_norm(updates, state.nu, b2)
        c1 = jnp.asarray(1 - b1**t)
        directions = jax.tree.map(lambda g, m, u: direction(g, m, u, c1), updates, mu, nu)
        return directions, Moments(t, mu, nu, state.product)

    return optax.GradientTransformation(_no_moments, update)


def scale_by_nadam(
    b1: Scalar,
    b2: Scalar,
    eps: Scalar,
    momentum_decay: Scalar,
    *,
    scheduled_average: bool,
    infinity_norm: bool = False,
) -> optax.GradientTransformation:
    """Adam with Nesterov momentum on a schedule (Dozat, 2016, algorithm 2), with P_t = c_1 ... c_t:

        c_t = b1 (1 - .96^(t momentum_decay) / 2)
        m'  = c_(t+1) m / (1 - P_(t+1)) + (1 - c_t) g / (1 - P_t)
        m' / (sqrt(v / (1 - b2^t)) + eps)

    Args:
        b1: limit of the schedule.
        b2: decay of v.
        eps: outside the root.
        momentum_decay: of the schedule, per update.
        scheduled_average: m decays by c_t, as Dozat has it; otherwise by b1, as Keras and PyTorch do.
        infinity_norm: u = max(b2 u, |g|) in place of the corrected root (NadaMax).
    """

    def schedule(t: jax.Array) -> jax.Array:
        return b1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        t = state.step + 1
        now, ahead = schedule(t), schedule(t + 1)
        product = state.product * now
        of_average, of_gradient = ahead / (1 - product * ahead), (1 - now) / (1 - product)
        mu = _moving_average(updates, state.mu, now if scheduled_average else b1)
        if infinity_norm:
            nu = _infinity_norm(updates, state.nu, b2)
            scale = jax.tree.map(lambda u: u + eps, nu)
        else:
            nu = _moving_average(jax.tree.map(jnp.square, updates), state.nu, b2)
            corrected = jnp.asarray(1 - b2**t)
            scale = jax.tree.map(lambda v: jnp.sqrt(v / corrected.astype(v.dtype)) + eps, nu)
        directions = jax.tree.map(
            lambda g, m, s: _quotient(of_average.astype(g.dtype) * m + of_gradient.astype(g.dtype) * g, s),
            updates,
            mu,
            scale,
        )
        return directions, Moments(t, mu, nu, product.astype(state.product.dtype))

    return optax.GradientTransformation(_no_moments, update)


def _no_moments(params: Any) -> Moments:
    def zeros() -> Any:
        return jax.tree.map(jnp.zeros_like, params)

    return Moments(jnp.zeros((), jnp.int32), zeros(), zeros(), jnp.ones(()))


def _moving_average(values: Any, average: Any, decay: Scalar) -> Any:
    return jax.tree.map(lambda x, a: (decay * a + (1 - decay) * x).astype(a.dtype), values, average)


def _infinity_norm(gradients: Any, norms: Any, decay: Scalar) -> Any:
    return jax.tree.map(lambda g, u: jnp.maximum((decay * u).astype(u.dtype), jnp.abs(g)), gradients, norms)


def _quotient(a: jax.Array, b: jax.Array) -> jax.Array:
    """a / b, and 0 for 0 / 0."""
    return (a / jnp.where((a == 0) & (b == 0), 1, b)).astype(a.dtype)
