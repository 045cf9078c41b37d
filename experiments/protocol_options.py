"""Test protocols on the command line: how images are looked at, and how networks are combined."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from script import progress

from xxnet_jax.data.source import Examples
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.training.protocols import (
    AS_TRAINED,
    Classifier,
    Combination,
    Predictions,
    Protocol,
    combine,
    make_protocol,
    predict_examples,
)


@dataclass(frozen=True)
class ProtocolOptions:
    """How images are tested; see docs/protocols.md.

    Attributes:
        protocol: as_trained, centre_crop, ten_crop, googlenet_144, vgg_150, vgg_dense, vgg_multi_scale or
            resnet_multi_scale.
        scales: shorter sides of the scaled photograph, in pixels, in place of the paper's.
        multiple_of: by how much the longer side of whole photographs exceeds the shorter one, so that few shapes are
            compiled: what is more is cut off; with 1 nothing is.
        combine: several networks: the mean of their probabilities, the largest, or a vote.
        combine_views: of an image, in the same ways.
        batch_size: views that are looked at together.
    """

    protocol: str | None = None
    scales: tuple[int, ...] = ()
    multiple_of: int | None = None
    combine: Combination = "mean"
    combine_views: Combination = "mean"
    batch_size: int = 32

    @property
    def name(self) -> str:
        return self.protocol or AS_TRAINED

    def of(self, classifier: Classifier) -> Protocol:
        """The protocol for this network."""
        return make_protocol(self.name, classifier.image_shape, scales=self.scales, multiple_of=self.multiple_of)

    def describe(self, networks: int) -> str:
        """In words."""
        views = "" if self.combine_views == "mean" else f" ({self.combine_views} of views)"
        return f"{self.name}{views}" + (f", {self.combine} of {networks} networks" if networks > 1 else "")

    def facts(self) -> dict[str, Any]:
        """For report.json."""
        return {"protocol": self.name, "combine": self.combine, "combine_views": self.combine_views}


def predict_with_all(
    classifiers: Sequence[Classifier], examples: Examples, options: ProtocolOptions, skip_corrupt: bool
) -> Predictions:
    """The combined predictions of the networks, one after another, with a progress bar for each.

    Raises:
        ValueError: a network cannot be tested so, or an image is corrupt.
    """
    protocols = [options.of(classifier) for classifier in classifiers]
    ready = [each.ready_for(protocol) for each, protocol in zip(classifiers, protocols, strict=True)]
    found = []
    for number, (classifier, protocol) in enumerate(zip(ready, protocols, strict=True), start=1):
        name = "images" if len(ready) == 1 else f"network {number}"
        with progress(name, len(examples)) as advance:
            found.append(
                predict_examples(
                    classifier,
                    protocol,
                    examples,
                    views=options.combine_views,
                    batch_size=options.batch_size,
                    skip_corrupt=skip_corrupt,
                    advance=advance,
                )
            )
    if any(len(each.labels) != len(found[0].labels) for each in found):
        raise InvalidArgument("the networks did not see the same images: did files change meanwhile?")
    return found[0]._replace(probabilities=combine(np.stack([each.probabilities for each in found]), options.combine))
