"""Networks by name.

A network is registered with the static facts of its `ModelInfo` and the knob values that make the variant. Nothing is
built, and no array is made, before `create_model` is called.
"""

import fnmatch
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp

from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.models.layers import Dtype, Network, Pooling


@dataclass(frozen=True)
class ModelInfo:
    """The static facts about a registered network.

    Attributes:
        name: the registered name, `base` or `base.tag`.
        paper: authors, title, year.
        year: of publication.
        url: of the paper.
        input_shape: nominal (height, width, channels).
        num_classes: of the published classifier.
        parameters: trainable parameters at the nominal input and number of classes, auxiliary heads not counted.
        total_parameters: the same with running statistics.
        auxiliary_parameters: trainable parameters of the auxiliary heads.
        preprocessing: how 8-bit images become inputs, a name of `xxnet_jax.data.PREPROCESSING`.
        deviations: every difference from the paper, in words.
    """

    name: str
    paper: str
    year: int
    url: str
    input_shape: tuple[int, int, int]
    num_classes: int
    parameters: int
    total_parameters: int
    preprocessing: str
    auxiliary_parameters: int = 0
    deviations: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Entry:
    info: ModelInfo
    network: type[Network]
    knobs: dict[str, Any]


_REGISTRY: dict[str, _Entry] = {}


def register(info: ModelInfo, network: type[Network], **knobs: Any) -> None:
    """Register `network(**knobs)` under `info.name`.

    Raises:
        ValueError: the name is taken, or `network` has no such knob.
    """
    if info.name in _REGISTRY:
        raise InvalidArgument(f"a model named '{info.name}' is registered already")
    _check_knobs(info.name, network, knobs)
    _REGISTRY[info.name] = _Entry(info, network, knobs)


Variants = Mapping[str, tuple[dict[str, Any], dict[str, Any]]]


def counts(parameters: int, statistics: int, **facts: Any) -> dict[str, Any]:
    """Facts of a variant from its trainable parameters and running statistics, and further `facts`."""
    return {"parameters": parameters, "total_parameters": parameters + statistics, **facts}


def register_variants(info: ModelInfo, network: type[Network], variants: Variants) -> None:
    """Register `network` under each name of `variants`: name -> (facts that differ from `info`, knobs).

    A variant that states its parameters has as many in total, unless it states that too.
    """
    for name, (facts, knobs) in variants.items():
        if "parameters" in facts:
            facts = {"total_parameters": facts["parameters"], **facts}
        register(replace(info, name=name, **facts), network, **knobs)


def create_model(
    name: str,
    *,
    num_classes: int | Literal["published"] | None = "published",
    pooling: Pooling = None,
    new_head: int | None = None,
    final_endpoint: str | None = None,
    dtype: Dtype = jnp.float32,
    param_dtype: Dtype = jnp.float32,
    **knobs: Any,
) -> Network:
    """The registered network `name`, a `flax.linen.Module`; see `Network` for what it computes.

    Args:
        name: one of `list_models()`.
        num_classes: size of the classifier; None for features; by default the published number.
        pooling: None, "avg" or "max" for the features; only with `num_classes=None`.
        new_head: another classifier than the published one: the mean of the last map, a dense layer of so many features
            with a ReLU (0: none), and the logits. Parameters are in `head_dense` and `head_logits`.
        final_endpoint: the activation to return in place of logits; nothing behind it is made.
        dtype: of the computation.
        param_dtype: of the parameters.
        **knobs: attributes of the network's class, in place of the variant's values.

    Raises:
        ValueError: unknown name (the nearest ones are suggested), unknown knob, or a value that makes no sense.
    """
    entry = _entry(name)
    _check_knobs(name, entry.network, knobs)
    if num_classes == "published":
        num_classes = entry.info.num_classes
    is_count = isinstance(num_classes, numbers.Integral) and not isinstance(num_classes, bool)
    if num_classes is not None and not (is_count and num_classes >= 1):
        raise InvalidArgument(f"num_classes must be a positive integer or None, got {num_classes!r}")
    if pooling not in (None, "avg", "max"):
        raise InvalidArgument(f"pooling must be None, 'avg' or 'max', not {pooling!r}")
    if new_head is not None and (new_head < 0 or num_classes is None):
        raise InvalidArgument(f"new_head must be 0 or a number of features, and needs num_classes; got {new_head!r}")
    if pooling is not None and num_classes is not None:
        raise InvalidArgument("pooling is for features: it needs num_classes=None")
    return entry.network(
        num_classes=num_classes,
        pooling=pooling,
        new_head=new_head,
        final_endpoint=final_endpoint,
        dtype=dtype,
        param_dtype=param_dtype,
        **{**entry.knobs, **knobs},
    )


def list_models(pattern: str = "*") -> list[str]:
    """Registered names that match the shell pattern, sorted: `list_models("lenet5.*")`."""
    return sorted(fnmatch.filter(_REGISTRY, pattern))


def model_info(name: str) -> ModelInfo:
    """The static facts about the registered network `name`.

    Raises:
        ValueError: unknown name.
    """
    return _entry(name).info


def count_parameters(variables: Any) -> int:
    """Number of scalars in a tree of arrays or of `jax.ShapeDtypeStruct`."""
    return sum(leaf.size for leaf in jax.tree.leaves(variables))


def _entry(name: str) -> _Entry:
    if name not in _REGISTRY:
        raise UnknownName("model", name, _REGISTRY)
    return _REGISTRY[name]


def _check_knobs(name: str, network: type[Network], knobs: dict[str, Any]) -> None:
    interface = {field.name for field in fields(Network)}
    known = {field.name for field in fields(network)} - interface
    for knob in knobs:
        if knob not in known:
            raise UnknownName(f"option of model {name}", knob, known)
