"""Augmentation: random changes of training images.

Windows are cut out of photographs on the host (see `crops`); all else happens on the device, inside the compiled step:
colours first, then preprocessing, then what moves pixels, then what mixes examples. What happens to an example is
decided by its draw (`Loader`), that is, by the seed, the epoch and its place in the epoch: the same on any number of
devices, in batches of any size, and after a restart.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates

from xxnet_jax.errors import InvalidArgument, UnknownName

# Principal components of the colours of ImageNet's training images, values in [0, 1], one a column, and the variances
# along them: the numbers that implementations of AlexNet's noise use. Of 200 photographs dataset_statistics.py finds
# the same directions within .01, and the variances .191, .0147, .0036.
COLOUR_DIRECTIONS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
COLOUR_VARIANCES = (0.2175, 0.0188, 0.0045)
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601


@dataclass(frozen=True)
class Augmentation:
    """Which random changes are made, in the order in which they are; by default none.

    Attributes:
        smallest_side: the photograph is scaled so that its shorter side is a whole number from here ...
        largest_side: ... to here, each as likely; a window of the network's size is cut out, each place as likely.
        smallest_area: a window with at least this part of the photograph's area ...
        largest_area: ... and at most this one, each as likely, is stretched to the network's size.
        largest_aspect: of that window, width to height or height to width; its logarithm is uniform.
        pca_noise: standard deviation of the factor of noise along the principal components of ImageNet's colours.
        brightness: b: a number between -b and b is added to all values, which are in [0, 1].
        saturation: s: distances from gray are multiplied by a factor between 1 - s and 1 + s.
        hue: h: hues are turned by a part of the circle between -h and h.
        contrast: c: distances from the mean colour are multiplied by a factor between 1 - c and 1 + c.
        rotation: in degrees, between -rotation and rotation, bilinear; zeros come in.
        shift: in pixels: a crop at a random place of the image with so many zeros on each side.
        mirror: probability of being mirrored, left for right.
        mixup: a: two images and their labels are mixed in the proportion of a draw from Beta(a, a).
        cutmix: a: a rectangle of one image, of a part of the area drawn from Beta(a, a), is that of another; with
            mixup, either is as likely.
    """

    smallest_side: float = 0.0
    largest_side: float = 0.0
    smallest_area: float = 0.0
    largest_area: float = 0.0
    largest_aspect: float = 1.0
    pca_noise: float = 0.0
    brightness: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    contrast: float = 0.0
    rotation: float = 0.0
    shift: float = 0.0
    mirror: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for item in fields(self):
            if not getattr(self, item.name) >= 0:
                raise InvalidArgument(f"{item.name} must not be negative, got {getattr(self, item.name)}")
        for smallest, largest in (("smallest_side", "largest_side"), ("smallest_area", "largest_area")):
            low, high = getattr(self, smallest), getattr(self, largest)
            if low > high or (high > 0) != (low > 0):
                raise InvalidArgument(f"{smallest} and {largest} go together, the smaller first; got {low:g}, {high:g}")
        if self.largest_side and self.largest_area:
            raise InvalidArgument("windows are cut by sides or by areas: leave smallest_ and largest_ of one at 0")
        if self.largest_area > 1 or self.largest_aspect < 1:
            raise InvalidArgument("a window has at most the area 1 of its photograph, and largest_aspect is at least 1")
        for name in ("mirror", "saturation", "contrast"):
            if getattr(self, name) > 1:
                raise InvalidArgument(f"{name} must be at most 1, got {getattr(self, name):g}")
        if self.hue > 0.5:
            raise InvalidArgument(f"hue is a part of the circle, at most .5 both ways, got {self.hue:g}")
        if self.shift != int(self.shift):
            raise InvalidArgument(f"shift is a number of whole pixels, got {self.shift:g}")

    @property
    def mixes(self) -> bool:
        """Whether examples are mixed, so that labels become probabilities."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def cuts(self) -> bool:
        """Whether windows are cut out on the host."""
        return self.largest_side > 0 or self.largest_area > 0


_ALEXNET = Augmentation(smallest_side=256, largest_side=256, mirror=0.5, pca_noise=0.1)
_INCEPTION = Augmentation(smallest_area=0.08, largest_area=1, largest_aspect=4 / 3, mirror=0.5)

AUGMENTATION: dict[str, Augmentation] = {
    "mirror": Augmentation(mirror=0.5),
    # Lee et al., Deeply-Supervised Nets, 2014; He et al., Deep Residual Learning, 2015, section 4.2. The mean is
    # subtracted before zeros are added, so that they are the mean colour.
    "cifar": Augmentation(shift=4, mirror=0.5),
    # Krizhevsky et al., 2012, section 4.1, but for the first cut to the square in the middle.
    "alexnet": _ALEXNET,
    # Simonyan and Zisserman, 2015, section 3.1: S = 256, or S between 256 and 512.
    "vgg": _ALEXNET,
    "vgg_jitter": replace(_ALEXNET, largest_side=512),
    # Szegedy et al., Going Deeper with Convolutions, 2015, section 6; the strengths of the distortions are those of
    # TF-Slim's inception_preprocessing: brightness 32/255, saturation and contrast .5 to 1.5, hue .2.
    "inception": replace(_INCEPTION, brightness=32 / 255, saturation=0.5, hue=0.2, contrast=0.5),
    "inception_crop": _INCEPTION,
    # He et al., 2015, section 3.4.
    "resnet": replace(_ALEXNET, largest_side=480),
    # fb.resnet.torch (Gross and Wilber, 2016), which trained DenseNet, ResNeXt and Wide ResNets. It multiplies values
    # by .6 to 1.4: at ImageNet's mean value of .45 that is the .18 which here is added or subtracted.
    "fb_resnet": replace(_INCEPTION, brightness=0.18, saturation=0.4, contrast=0.4, pca_noise=0.1),
}


def make_augmentation(name: str | None, options: Mapping[str, float]) -> Augmentation:
    """The preset `name` of `AUGMENTATION`, or none at all, with other numbers where `options` has them.

    Raises:
        ValueError: no such preset or number, or numbers that make no sense.
    """
    if name is not None and name not in AUGMENTATION:
        raise UnknownName("augmentation", name, AUGMENTATION)
    known = [item.name for item in fields(Augmentation)]
    for option in options:
        if option not in known:
            raise UnknownName("number of an augmentation", option, known)
    return replace(Augmentation() if name is None else AUGMENTATION[name], **options)


# --- Colours: functions of a key and values in [0, 1], float [height, width, channels] --------------------------------


def add_pca_noise(key: jax.Array, image: jax.Array, deviation: float) -> jax.Array:
    """The image plus one colour for all of its pixels: along each of ImageNet's principal components its variance times
    a normal number with this deviation.

    "Fancy PCA" (Krizhevsky et al., 2012, section 4.1, where the deviation is .1).
    """
    along = deviation * jax.random.normal(key, (3,), image.dtype) * jnp.asarray(COLOUR_VARIANCES, image.dtype)
    return image + (jnp.asarray(COLOUR_DIRECTIONS, image.dtype) @ along)[None, None]


def change_brightness(key: jax.Array, image: jax.Array, largest: float) -> jax.Array:
    """The image plus a number between -largest and largest."""
    return image + jax.random.uniform(key, (), image.dtype, -largest, largest)


def change_saturation(key: jax.Array, image: jax.Array, largest: float) -> jax.Array:
    """The image with each pixel's distance from its gray (the luma) times a factor within `largest` of 1."""
    gray = (image @ jnp.asarray(LUMA, image.dtype))[..., None]
    return gray + jax.random.uniform(key, (), image.dtype, 1 - largest, 1 + largest) * (image - gray)


def change_hue(key: jax.Array, image: jax.Array, largest: float) -> jax.Array:
    """The image with each pixel's hue (of HSV) turned by a part of the circle between -largest and largest."""
    turn = jax.random.uniform(key, (), image.dtype, -largest, largest)
    highest, lowest = image.max(-1, keepdims=True), image.min(-1, keepdims=True)
    chroma = highest - lowest
    safe = jnp.where(chroma > 0, chroma, 1)
    # Sixths of the circle from red, by the largest channel: Smith, Color Gamut Transform Pairs, 1978.
    red, green, blue = jnp.split(image, 3, axis=-1)
    sixths = jnp.where(
        highest == red,
        (green - blue) / safe,
        jnp.where(highest == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    offsets = jnp.asarray((5, 3, 1), image.dtype)[None, None]
    place = jnp.mod(offsets + sixths + 6 * turn, 6)
    return highest - chroma * jnp.clip(jnp.minimum(place, 4 - place), 0, 1)


def change_contrast(key: jax.Array, image: jax.Array, largest: float) -> jax.Array:
    """The image with the distance from its mean colour times a factor within `largest` of 1."""
    mean = image.mean((0, 1), keepdims=True)
    return mean + jax.random.uniform(key, (), image.dtype, 1 - largest, 1 + largest) * (image - mean)


# --- Places: functions of a key and the input of the network, [height, width, channels] of any dtype ------------------


def rotate(key: jax.Array, image: jax.Array, degrees: float) -> jax.Array:
    """The image turned about its middle by an angle between -degrees and degrees, bilinear; zeros come in."""
    angle = jnp.deg2rad(jax.random.uniform(key, (), jnp.float32, -degrees, degrees))
    rows, columns = (jnp.arange(size) - (size - 1) / 2 for size in image.shape[:2])
    down, right = jnp.meshgrid(rows, columns, indexing="ij")
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    places = [
        cosine * down + sine * right + (image.shape[0] - 1) / 2,
        cosine * right - sine * down + (image.shape[1] - 1) / 2,
    ]
    planes = jnp.moveaxis(image, -1, 0)
    return jnp.stack([map_coordinates(plane, places, order=1) for plane in planes], axis=-1).astype(image.dtype)


def shift(key: jax.Array, image: jax.Array, pixels: int = 4) -> jax.Array:
    """A crop of the size of `image` from it with `pixels` zeros added on each side.

    Each of the (2 pixels + 1)^2 places is as likely.
    """
    padded = jnp.pad(image, ((pixels, pixels), (pixels, pixels), (0, 0)))
    row, column = jax.random.randint(key, (2,), 0, 2 * pixels + 1)
    return jax.lax.dynamic_slice(padded, (row, column, 0), image.shape)


def mirror(key: jax.Array, image: jax.Array, probability: float = 0.5) -> jax.Array:
    """`image`, or with this probability its mirror image, left for right."""
    return jnp.where(jax.random.bernoulli(key, probability), image[:, ::-1], image)


_COLOURS = {
    "pca_noise": add_pca_noise,
    "brightness": change_brightness,
    "saturation": change_saturation,
    "hue": change_hue,
    "contrast": change_contrast,
}
_PLACES = {"rotation": rotate, "shift": shift, "mirror": mirror}
_NUMBERS = {item.name: number for number, item in enumerate(fields(Augmentation))}


def distort_colours(images: jax.Array, draws: jax.Array | np.ndarray, augmentation: Augmentation) -> jax.Array:
    """Images with the augmentation's changes of colour, values beyond [0, 1] cut off.

    Args:
        images: float [batch, height, width, 3], values in [0, 1].
        draws: uint32 [batch, 2], the `draw` of a training batch.
        augmentation: which changes.

    Raises:
        ValueError: a change that needs colours, and images without.
    """
    if not any(getattr(augmentation, name) for name in _COLOURS):
        return images
    for name in ("pca_noise", "saturation", "hue"):
        if getattr(augmentation, name) and images.shape[-1] != 3:
            raise InvalidArgument(f"{name} is for images with 3 channels, got {images.shape[-1]}: set it to 0")
    return jnp.clip(_changed(images, draws, augmentation, _COLOURS), 0, 1)


def move_pixels(images: jax.Array, draws: jax.Array | np.ndarray, augmentation: Augmentation) -> jax.Array:
    """Network inputs, rotated, shifted and mirrored as the augmentation says.

    Args:
        images: [batch, height, width, channels], of any dtype.
        draws: uint32 [batch, 2], the `draw` of a training batch.
        augmentation: which changes.
    """
    return _changed(images, draws, augmentation, _PLACES)


def _changed(images: jax.Array, draws: Any, augmentation: Augmentation, changes: Mapping[str, Any]) -> jax.Array:
    wanted = {name: strength for name in changes if (strength := getattr(augmentation, name))}
    if not wanted:
        return images

    def changed(key: jax.Array, image: jax.Array) -> jax.Array:
        for name, strength in wanted.items():
            strength = int(strength) if name == "shift" else strength
            image = changes[name](jax.random.fold_in(key, _NUMBERS[name]), image, strength)
        return image

    return jax.vmap(changed)(keys_of(draws), images)


def keys_of(draws: jax.Array | np.ndarray) -> jax.Array:
    """The draws of a batch, uint32 [batch, 2], as keys [batch]."""
    return jax.random.wrap_key_data(jnp.asarray(draws), impl="threefry2x32")


# --- Mixing -----------------------------------------------------------------------------------------------------------


def mix_examples(
    batch: Mapping[str, jax.Array], draws: jax.Array | np.ndarray, augmentation: Augmentation, num_classes: int
) -> dict[str, jax.Array]:
    """A batch whose examples 2 n and 2 n + 1 are mixed with each other, images and labels in the same proportion.

    Mixup (Zhang et al., 2018): x = p x1 + (1 - p) x2. CutMix (Yun et al., 2019): a rectangle, at a place where any
    pixel is as likely to be its middle, is the other's; p is the part of the area that is left. An example that is
    masked mixes with nothing.

    Args:
        batch: "image" [batch, height, width, channels], "label" int [batch], "mask" bool [batch]; batch is even.
        draws: uint32 [batch, 2]; the first of each pair decides.
        augmentation: with mixup, cutmix or both.
        num_classes: of the labels.

    Returns:
        The batch with labels float32 [batch, num_classes].

    Raises:
        ValueError: the batch is odd.
    """
    size = len(batch["label"])
    if size % 2:
        raise InvalidArgument(f"mixup and cutmix need an even number of examples, got {size}")
    images, mask = batch["image"], batch["mask"]
    _, height, width, _ = images.shape
    labels = jax.nn.one_hot(batch["label"], num_classes)
    whole = mask & _swapped(mask)
    keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys_of(draws)[::2], _NUMBERS["mixup"])
    kept = jax.vmap(lambda key: _kept(key, height, width, augmentation))(keys)
    kept = jnp.where(whole[:, None, None], jnp.repeat(kept, 2, axis=0), 1)
    part = kept.mean((1, 2))[:, None]
    weight = kept[..., None].astype(images.dtype)
    return {
        **batch,
        "image": weight * images + (1 - weight) * _swapped(images),
        "label": part * labels + (1 - part) * _swapped(labels),
    }


def _swapped(values: jax.Array) -> jax.Array:
    """`values` [batch, ...] with each pair of neighbours exchanged."""
    return values.reshape(-1, 2, *values.shape[1:])[:, ::-1].reshape(values.shape)


def _kept(key: jax.Array, height: int, width: int, augmentation: Augmentation) -> jax.Array:
    """How much of each pixel stays that of the example itself, float32 [height, width]."""
    choice_key, mixup_key, cutmix_key, place_key = jax.random.split(key, 4)
    whole = jnp.ones((height, width))
    mixed = whole
    if augmentation.mixup:
        mixed = whole * jax.random.beta(mixup_key, augmentation.mixup, augmentation.mixup)
    if not augmentation.cutmix:
        return mixed
    left = jax.random.beta(cutmix_key, augmentation.cutmix, augmentation.cutmix)
    inside = whole > 0
    for axis, (length, one) in enumerate(zip((height, width), jax.random.split(place_key), strict=True)):
        middle = jax.random.randint(one, (), 0, length)
        half = jnp.sqrt(1 - left) * length / 2
        distance = jnp.abs(jnp.arange(length) - middle)
        inside &= jnp.expand_dims(distance < half, 1 - axis)
    cut = jnp.where(inside, 0.0, 1.0)
    if not augmentation.mixup:
        return cut
    return jnp.where(jax.random.bernoulli(choice_key), mixed, cut)
