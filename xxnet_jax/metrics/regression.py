"""Errors of regression, with scikit-learn's names, arguments and values where it has the metric.

Targets and predictions are [n] or [n, outputs], NumPy arrays or lists (float64 results) or JAX arrays (float32 or more,
also under `jit` and `grad`). `multioutput` says how the errors of several outputs become one: "uniform_average", the
mean; "raw_values", all of them, [outputs]; or their weights, [outputs].

All raise `InvalidArgument` for shapes that differ, no examples, NaN or infinity, and for weights that are negative or
all zero; the values are looked at where they are known, which is not under `jit`.
"""

import dataclasses
from types import ModuleType
from typing import Any

import numpy as np

from xxnet_jax.arrays import Array, divide, floats, known, namespace, root
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.metrics.checks import average, check_finite, check_same_length, check_weights

MULTIOUTPUT = ("uniform_average", "raw_values")
SMALLEST_TARGET = float(np.finfo(np.float64).eps)  # a relative error divides by this at least, as in scikit-learn


def mean_absolute_error(
    y_true: Any, y_pred: Any, *, sample_weight: Any = None, multioutput: Any = "uniform_average"
) -> Array:
    """Mean of |y - ŷ|, the l1 loss: sum_i w_i |y_i - ŷ_i| / sum_i w_i.

    Args:
        y_true: y, [n] or [n, outputs].
        y_pred: ŷ, of the same shape.
        sample_weight: w [n]; all ones by default.
        multioutput: see the module.

    Returns:
        float [], or [outputs] for "raw_values".
    """
    targets = _Targets.of(y_true, y_pred, sample_weight, multioutput)
    return targets.over_outputs(targets.mean(abs(targets.error)))


def mean_squared_error(
    y_true: Any, y_pred: Any, *, sample_weight: Any = None, multioutput: Any = "uniform_average"
) -> Array:
    """Mean of (y - ŷ)^2, the l2 loss, in the squared unit of the target.

    Arguments and result as of `mean_absolute_error`.
    """
    targets = _Targets.of(y_true, y_pred, sample_weight, multioutput)
    return targets.over_outputs(targets.mean(targets.error**2))


def root_mean_squared_error(
    y_true: Any,
    y_pred: Any,
    *,
    sample_weight: Any = None,
    multioutput: Any = "uniform_average",
    root_of_mean: bool = False,
) -> Array:
    """Root of the mean squared error, in the unit of the target; its gradient at no error is 0.

    Arguments and result as of `mean_absolute_error`, and

    Args:
        root_of_mean: with several outputs, take the root of their mean, as scikit-learn did up to version 0.23
            (`squared=False`), and not the mean of their roots.
    """
    targets = _Targets.of(y_true, y_pred, sample_weight, multioutput)
    squared = targets.mean(targets.error**2)
    if root_of_mean:
        return root(targets.xp, targets.over_outputs(squared))
    return targets.over_outputs(root(targets.xp, squared))


def r2_score(
    y_true: Any,
    y_pred: Any,
    *,
    sample_weight: Any = None,
    multioutput: Any = "uniform_average",
    force_finite: bool = True,
) -> Array:
    """Coefficient of determination, R^2 = 1 - SSE / SST = 1 - sum (y - ŷ)^2 / sum (y - mean of y)^2.

    1 is a perfect prediction, 0 is as good as the mean, and there is no lower bound.

    Arguments and result as of `mean_absolute_error`, and

    Args:
        multioutput: also "variance_weighted": outputs weigh as their SST, and equally if all are 0. An output of
            weight 0 does not count, also where its R^2 is not finite.
        force_finite: a constant target has SST = 0. True: R^2 is 1 if the prediction is perfect, else 0. False: NaN
            and -infinity.

    Raises:
        InvalidArgument: also for fewer than two examples.
    """
    targets = _Targets.of(y_true, y_pred, sample_weight, multioutput, allowed=(*MULTIOUTPUT, "variance_weighted"))
    xp, total = targets.xp, _total_sum_of_squares(targets)
    unexplained = targets.sum(targets.error**2)
    perfect, imperfect = (1.0, 0.0) if force_finite else (np.nan, -np.inf)
    of_constant = xp.where(unexplained > 0, imperfect, perfect)
    scores = xp.where(total > 0, 1 - divide(xp, unexplained, total, 0.0), of_constant)
    if _is_name(multioutput, "variance_weighted"):
        return average(xp, scores, xp.where(total.sum() > 0, total, 1))
    return targets.over_outputs(scores)


def explained_sum_of_squares_ratio(
    y_true: Any, y_pred: Any, *, sample_weight: Any = None, multioutput: Any = "uniform_average"
) -> Array:
    """SSR / SST = sum (ŷ - mean of y)^2 / sum (y - mean of y)^2, the share of the variation that predictions have.

    It is `r2_score` only where SST = SSR + SSE holds: for a least-squares fit with an intercept, on its own training
    targets. For other predictions it can be above 1, and a large one does not mean a good prediction.

    Arguments and result as of `mean_absolute_error`.

    Raises:
        InvalidArgument: also for fewer than two examples, and a target that is constant (NaN under `jit`).
    """
    targets = _Targets.of(y_true, y_pred, sample_weight, multioutput)
    total = _total_sum_of_squares(targets)
    if known(total) and not np.all(np.asarray(total) > 0):
        raise InvalidArgument("the target is constant: there is no variation of which a share could be explained")
    explained = targets.sum((targets.predicted - targets.mean(targets.true)[None]) ** 2)
    return targets.over_outputs(divide(targets.xp, explained, total, np.nan))


def median_absolute_percentage_error(
    y_true: Any,
    y_pred: Any,
    *,
    quantile: float = 0.5,
    sample_weight: Any = None,
    multioutput: Any = "uniform_average",
) -> Array:
    """Median, or another quantile, of the relative errors |y - ŷ| / |y|, which outliers do not move; .1 is 10 %.

    Arguments and result as of `mean_absolute_error`, and

    Args:
        quantile: in [0, 1]: the smallest error that this share of the weight does not exceed, and the middle between
            two where both are (definition 2 of Hyndman and Fan, 1996, NumPy's "averaged_inverted_cdf"). With
            weights that are whole numbers it is that of repeated examples.

    A target nearer to 0 than 2.2e-16 is replaced by that, as in scikit-learn's `mean_absolute_percentage_error`:
    its relative error is huge, which is seldom the median.
    """
    if not 0 <= quantile <= 1:
        raise InvalidArgument(f"expected a quantile in [0, 1], got {quantile}")
    targets = _Targets.of(y_true, y_pred, sample_weight, multioutput)
    return targets.over_outputs(_quantile(targets.xp, _relative_error(targets), targets.weights, quantile))


def trimmed_mean_absolute_error(
    y_true: Any, y_pred: Any, *, threshold: float, sample_weight: Any = None, multioutput: Any = "uniform_average"
) -> Array:
    """Mean of |y - ŷ| without outliers: those whose relative error |y - ŷ| / |y| is above a threshold.

    Arguments and result as of `mean_absolute_error`, and

    Args:
        threshold: 0 or more; .5 drops examples that are wrong by more than half of the target. With several outputs,
            each drops its own examples.

    Raises:
        InvalidArgument: also if all examples of an output are dropped (NaN under `jit`).
    """
    if not threshold >= 0:
        raise InvalidArgument(f"expected a threshold of 0 or more, got {threshold}")
    targets = _Targets.of(y_true, y_pred, sample_weight, multioutput)
    kept = targets.xp.where(_relative_error(targets) <= threshold, targets.weights[:, None], 0)
    if known(kept) and not np.all(np.asarray(kept.sum(0)) > 0):
        raise InvalidArgument(f"all relative errors are above {threshold}: nothing is left, take a larger threshold")
    return targets.over_outputs(divide(targets.xp, (kept * abs(targets.error)).sum(0), kept.sum(0), np.nan))


@dataclasses.dataclass(frozen=True)
class _Targets:
    """Targets and predictions [n, outputs] and weights [n], checked."""

    xp: ModuleType
    true: Array
    predicted: Array
    weights: Array
    multioutput: Any

    @classmethod
    def of(
        cls, y_true: Any, y_pred: Any, sample_weight: Any, multioutput: Any, allowed: tuple[str, ...] = MULTIOUTPUT
    ) -> "_Targets":
        weights_of_outputs = None if isinstance(multioutput, str) else multioutput
        xp = namespace(y_true, y_pred, sample_weight, weights_of_outputs)
        true, predicted = _columns(xp, "y_true", y_true), _columns(xp, "y_pred", y_pred)
        check_same_length(y_true=true, y_pred=predicted)
        examples, outputs = true.shape
        if predicted.shape[1] != outputs:
            raise InvalidArgument(
                f"expected as many outputs in y_pred as in y_true, {outputs}, got {predicted.shape[1]}"
            )
        check_finite(y_true=true, y_pred=predicted)
        if isinstance(multioutput, str) and multioutput not in allowed:
            raise InvalidArgument(f"expected multioutput to be {', '.join(allowed)} or weights, got '{multioutput}'")
        if weights_of_outputs is not None:
            multioutput = _weights(xp, "multioutput", weights_of_outputs, outputs)
        return cls(xp, true, predicted, _weights(xp, "sample_weight", sample_weight, examples), multioutput)

    @property
    def error(self) -> Array:
        return self.true - self.predicted

    def sum(self, values: Array) -> Array:
        """Weighted sum over examples, [n, outputs] -> [outputs]."""
        return (self.weights[:, None] * values).sum(0)

    def mean(self, values: Array) -> Array:
        """Weighted mean over examples, [n, outputs] -> [outputs]."""
        return average(self.xp, values, self.weights)

    def over_outputs(self, values: Array) -> Array:
        """The values of the outputs [outputs] as `multioutput` wants them."""
        if _is_name(self.multioutput, "raw_values"):
            return values
        return average(self.xp, values, None if isinstance(self.multioutput, str) else self.multioutput)


def _is_name(multioutput: Any, name: str) -> bool:
    return isinstance(multioutput, str) and multioutput == name  # an array would compare each of its weights


def _columns(xp: ModuleType, name: str, values: Any) -> Array:
    """[n] or [n, outputs] as floats [n, outputs]."""
    values = floats(xp, values)
    if values.ndim not in (1, 2) or 0 in values.shape[1:]:
        raise InvalidArgument(f"expected {name} of shape [n] or [n, outputs], got {values.shape}")
    return values[:, None] if values.ndim == 1 else values


def _weights(xp: ModuleType, name: str, weights: Any, size: int) -> Array:
    if weights is None:
        return xp.ones(size)
    weights = floats(xp, weights)
    check_weights(weights, size, name)
    return weights


def _total_sum_of_squares(targets: _Targets) -> Array:
    """SST = sum of w (y - mean of y)^2, [outputs], exactly 0 for a constant target."""
    if len(targets.true) < 2:
        raise InvalidArgument("a single example has no variation: give two or more")
    # Counted from a target that has weight: the mean of equal numbers, rounded, need not be that number.
    counted = targets.true - targets.true[targets.weights.argmax()][None]
    return targets.sum((counted - targets.mean(counted)[None]) ** 2)


def _relative_error(targets: _Targets) -> Array:
    """|y - ŷ| / |y|, [n, outputs]."""
    return abs(targets.error) / targets.xp.maximum(abs(targets.true), SMALLEST_TARGET)


def _quantile(xp: ModuleType, values: Array, weights: Array, quantile: float) -> Array:
    """Weighted quantile of each column of `values` [n, outputs]."""
    order = values.argsort(0)
    ordered, heavy = xp.take_along_axis(values, order, 0), weights[order]
    below = heavy.cumsum(0)
    # Sums of weights that would meet the quantile exactly, and the middle be taken, miss it by rounding.
    tolerance = 8 * np.finfo(values.dtype).eps * below[-1:]
    goal = quantile * below[-1:]
    lower = ((below >= goal - tolerance) & (heavy > 0)).argmax(0)
    above = below > goal + tolerance
    upper = xp.where(above.any(0), above.argmax(0), lower)
    return sum(xp.take_along_axis(ordered, index[None], 0)[0] for index in (lower, upper)) / 2
