"""A recipe: everything that decides the result of a training run, as one frozen value."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, Literal, get_type_hints

from xxnet_jax.data.augmentation import Augmentation, make_augmentation
from xxnet_jax.data.images import Fit
from xxnet_jax.data.source import Task
from xxnet_jax.errors import CorruptData, InvalidArgument
from xxnet_jax.optimizers import Like, ParameterGroups, Plateau, ScheduleConfig
from xxnet_jax.precision import Precision

Parallel = Literal["jit", "pmap"]
KnobValue = bool | int | float | str


@dataclass(frozen=True)
class Recipe:
    """How to train one network on one dataset: `dataclasses.replace(recipe, optimizer="nadam")` swaps one thing.

    Attributes:
        model: registered name (list_models.py shows them all).
        model_options: knobs of the network in place of its published values; in Python also None and tuples of
            numbers and strings, also nested.
        data: URI of the dataset: digits, idx:FOLDER, tfds:NAME, folder:PATH, fake:28x28x1/10.
        data_dir: folder of prepared TFDS datasets; by default TFDS's own.
        download: let TFDS download and prepare a dataset that is not there.
        train_split: trained on; split expressions such as train[:-5000] are understood.
        validation_split: the best checkpoint is chosen on it; None: the last one is taken.
        test_split: read once, at the end; None: not at all.
        image_size: side of the images; by default the network's.
        fit: how images get that size: resize, pad with zeros, or crop: scaled as a whole, and the middle cut out.
        shorter_side: of what is cropped, before; by default the side of the images divided by .875.
        preprocessing: how pixels become inputs; by default the network's. channels (mean and deviation of each),
            pixel_mean, pca and zca (whitened) are computed from the training images when a run begins.
        augmentation: how training images are changed at random: mirror, cifar (padded by 4 zeros, cropped, mirrored),
            alexnet, vgg, vgg_jitter, inception, inception_crop, resnet (windows of photographs, colours); None: not at
            all.
        augmentation_options: numbers in place of the preset's, such as mixup .2, rotation 10 or largest_side 512.
        skip_corrupt: leave out images that cannot be decoded, and count them.
        resident: keep the decoded set on the device; by default when it fits, and no windows are cut.
        workers: processes that decode the images of a set that does not live on the device; 0: threads of this one.
        begin_with: a run folder; the network begins with the parameters of its best checkpoint that have the same path
            and shape.
        begin_pattern: of those, the ones whose path this regular expression matches.
        epochs: of training.
        steps: of training, in place of epochs.
        batch_size: over all devices.
        optimizer: sgd, momentum, nesterov, adagrad, rmsprop, adadelta, adam, adamax, nadam or nadamax.
        like: whose definition of it: paper, optax, keras, torch or notes (list_optimizers.py shows them).
        optimizer_options: hyperparameters in place of its defaults, such as momentum 0.99.
        learning_rate: by default the optimizer's own.
        schedule: how the learning rate changes.
        loss: cross_entropy or squared_error.
        label_smoothing: of the cross-entropy.
        auxiliary_weight: of the losses of auxiliary heads.
        auxiliary_half_life: steps in which that weight halves; None: it stays.
        l2: weight of sum(w^2) / 2 over the parameters that l2_pattern matches.
        l2_pattern: regular expression on parameter paths such as F6/kernel.
        weight_decay: decoupled: in each step w -= rate * weight_decay * w where weight_decay_pattern matches.
        weight_decay_pattern: regular expression, as l2_pattern.
        clip_value: every number of the gradient is clipped to [-clip_value, clip_value].
        clip_norm: the gradient is scaled down to this norm; after clip_value.
        accumulate: micro-batches that a batch is divided into, for less memory.
        freeze: regular expressions; the parameters that one matches stay as they are, and batch normalization with all
            of its parameters frozen is in inference mode.
        rate_factors: regular expression -> factor of the learning rate; the first that matches counts.
        ema_decay: evaluate with an exponential moving average of the parameters; None: with the parameters.
        polyak_from: evaluate with the mean of the parameters after each step from this one on (Polyak averaging).
        metrics: of evaluations, besides loss and accuracy: top5 or another top-k, confusion, precision, recall, f1,
            mcc, auc, average_precision (means over classes); dead_units, response_spread (of each layer, and of all).
        early_stopping: evaluations without a better one after which to stop; None: never.
        seed: of parameters, order and dropout.
        log_every: steps between two lines of metrics; by default an epoch, at most 100.
        evaluate_every: steps between two evaluations, each with a checkpoint; by default an epoch.
        keep_last: checkpoints to keep besides the best.
        keep_epochs: epochs after which a checkpoint is saved and kept, too, such as 1 2 5 10 (visualize.py --what
            evolution).
        batch_norm: which examples are normalized together: global (all of the batch), per_device, or a number of them
            ("ghost batches"). With `accumulate`, those of a micro-batch.
        precision: f32; bf16: computed in bfloat16, with parameters, statistics, logits and losses in float32; bf16_all:
            parameters in bfloat16, too; f16: as bf16 in float16, with a scale of the loss.
        matmul_precision: of products of float32 on GPU and TPU, such as tensorfloat32 or highest; by default JAX's.
        devices: how many to use; by default all.
        parallel: jit (one program, divided by XLA) or pmap (the same program on each device): the same results, but for
            other draws of dropout.
        fsdp: parameters, averages and optimizer state are divided over the devices.
        model_devices: devices that share the examples of a place and divide the features.
        steps_per_call: training steps in one compiled call; by default what suits the device.
    """

    task: ClassVar[Task] = "classification"
    of_others: ClassVar[tuple[str, ...]] = ()  # fields that this kind of recipe has no use for

    model: str = "lenet5"
    model_options: dict[str, KnobValue] = field(default_factory=dict)
    data: str = "digits"
    data_dir: str | None = None
    download: bool = False
    train_split: str = "train"
    validation_split: str | None = "validation"
    test_split: str | None = "test"
    image_size: int | None = None
    fit: Fit = "resize"
    shorter_side: int | None = None
    preprocessing: str | None = None
    augmentation: str | None = None
    augmentation_options: dict[str, float] = field(default_factory=dict)
    skip_corrupt: bool = False
    resident: bool | None = None
    workers: int = 0
    begin_with: str | None = None
    begin_pattern: str = ""
    epochs: int = 20
    steps: int | None = None
    batch_size: int = 128
    optimizer: str = "adam"
    like: Like = "paper"
    optimizer_options: dict[str, float] = field(default_factory=dict)
    learning_rate: float | None = None
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    loss: Literal["cross_entropy", "squared_error"] = "cross_entropy"
    label_smoothing: float = 0.0
    auxiliary_weight: float = 0.3
    auxiliary_half_life: int | None = None
    l2: float = 0.0
    l2_pattern: str = "kernel$"
    weight_decay: float = 0.0
    weight_decay_pattern: str = "kernel$"
    clip_value: float | None = None
    clip_norm: float | None = None
    accumulate: int = 1
    freeze: tuple[str, ...] = ()
    rate_factors: dict[str, float] = field(default_factory=dict)
    ema_decay: float | None = None
    polyak_from: int | None = None
    metrics: tuple[str, ...] = ()
    early_stopping: int | None = None
    seed: int = 0
    log_every: int | None = None
    evaluate_every: int | None = None
    keep_last: int = 2
    keep_epochs: tuple[int, ...] = ()
    batch_norm: Literal["global", "per_device"] | int = "global"
    precision: Precision = "f32"
    matmul_precision: Literal["default", "high", "highest", "tensorfloat32", "float32"] | None = None
    devices: int | None = None
    parallel: Parallel = "jit"
    fsdp: bool = False
    model_devices: int = 1
    steps_per_call: int | None = None

    def __post_init__(self) -> None:
        defaults = {item.name: getattr(Recipe, item.name, None) for item in fields(Recipe)}
        for name in self.of_others:
            value = getattr(self, name)
            if value and value != defaults[name]:
                raise InvalidArgument(f"{name} is for classifiers, not for {self.task}: leave it out")
        for name in ("epochs", "batch_size", "keep_last", "accumulate"):
            if getattr(self, name) < 1:
                raise InvalidArgument(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in (
            *("steps", "log_every", "evaluate_every", "image_size", "shorter_side"),
            *("early_stopping", "auxiliary_half_life"),
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidArgument(f"{name} must be at least 1, got {value}")
        if any(epoch < 1 for epoch in self.keep_epochs):
            raise InvalidArgument(f"keep_epochs must be at least 1 each, got {self.keep_epochs}")
        for name in ("seed", "workers"):
            if getattr(self, name) < 0:
                raise InvalidArgument(f"{name} must not be negative, got {getattr(self, name)}")
        if self.shorter_side is not None and self.fit != "crop":
            raise InvalidArgument(f"shorter_side is for fit crop, not for {self.fit}")
        changes = self.changes
        if self.resident and changes.cuts:
            raise InvalidArgument("windows are cut out of photographs on the host: leave resident out, or at False")
        if self.batch_size % 2 and changes.mixes:
            raise InvalidArgument(f"mixup and cutmix need an even batch_size, got {self.batch_size}")
        if self.l2 < 0:
            raise InvalidArgument(f"l2 must not be negative, got {self.l2}")
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise InvalidArgument(f"ema_decay must be in [0, 1), got {self.ema_decay}")
        if self.polyak_from is not None and (self.polyak_from < 0 or self.ema_decay is not None):
            raise InvalidArgument("polyak_from must not be negative, and is one average, ema_decay another: give one")
        if self.batch_size % self.accumulate:
            raise InvalidArgument(
                f"a batch of {self.batch_size} cannot be divided into {self.accumulate} micro-batches"
            )
        if isinstance(self.batch_norm, int) and self.batch_norm < 1:
            raise InvalidArgument(f"batch_norm must normalize at least 1 example, got {self.batch_norm}")
        if self.parallel == "pmap" and (self.fsdp or self.model_devices > 1):
            raise InvalidArgument("parallel pmap keeps the state on each device: fsdp and model_devices need jit")
        if self.validation_split is None:
            for name, used in (
                (f"schedule {self.schedule.name}", self.plateau is not None),
                ("early_stopping", self.early_stopping is not None),
            ):
                if used:
                    raise InvalidArgument(f"{name} needs a validation_split")

    @property
    def changes(self) -> Augmentation:
        """The random changes of training images."""
        return make_augmentation(self.augmentation, self.augmentation_options)

    @property
    def averages(self) -> bool:
        """Whether an average of the parameters is kept, and evaluated."""
        return self.ema_decay is not None or self.polyak_from is not None

    @property
    def plateau(self) -> Plateau | None:
        """The initial state of the schedule's reduction on a plateau, if it is one."""
        schedule = self.schedule.resolved()
        if schedule.name != "plateau":
            return None
        return Plateau(schedule.decay_rate, schedule.patience, schedule.max_reductions)

    @property
    def groups(self) -> ParameterGroups:
        """Frozen parameters, factors of the rate, weight decay."""
        return ParameterGroups(self.freeze, self.rate_factors, self.weight_decay, self.weight_decay_pattern)

    def without_effect(self) -> frozenset[str]:
        """The fields that may differ between the parts of a resumed run: they do not change the result so far."""
        free = {
            *("epochs", "steps", "test_split", "data_dir", "download", "log_every", "metrics"),
            *(
                "keep_last",
                "keep_epochs",
                "resident",
                "workers",
                "steps_per_call",
                "devices",
                "parallel",
                "fsdp",
                "model_devices",
            ),
        }
        if self.batch_norm == "per_device":
            free -= {"devices", "model_devices"}
        if self.schedule.depends_on_total_steps:
            free -= {"epochs", "steps"}
        if self.plateau is None and self.early_stopping is None:
            free |= {"evaluate_every"}
        return frozenset(free)


# Fields that are for classifiers of images alone.
OF_CLASSIFIERS = (
    *("image_size", "fit", "shorter_side", "augmentation", "augmentation_options"),
    *("loss", "label_smoothing", "auxiliary_weight", "auxiliary_half_life", "metrics"),
)


def differences(old: Recipe, new: Recipe) -> list[str]:
    """The fields in which a resumed run would not continue the old one, as "name: old -> new"."""
    free = old.without_effect() & new.without_effect()
    return [
        f"{item.name}: {getattr(old, item.name)!r} -> {getattr(new, item.name)!r}"
        for item in fields(old)
        if item.name not in free and getattr(old, item.name) != getattr(new, item.name)
    ]


def settings(recipe: Recipe) -> dict[str, Any]:
    """Every setting by the name that it has on the command line, such as schedule.name."""
    return dict(_settings(asdict(recipe)))


def _settings(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _settings(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def varying(recipes: Sequence[Recipe]) -> list[dict[str, Any]]:
    """Of each recipe the settings that are not the same in all of them; None where it has no such option."""
    each = [settings(recipe) for recipe in recipes]
    names = dict.fromkeys(name for one in each for name in one)
    different = [name for name in names if any(one.get(name) != each[0].get(name) for one in each)]
    return [{name: one.get(name) for name in different} for one in each]


def recipe_from_json(values: dict[str, Any], kind: type[Recipe] = Recipe) -> Recipe:
    """The recipe of this kind whose `dataclasses.asdict` went through JSON.

    Raises:
        ValueError: it has fields that this version does not know.
    """
    return _from_json(kind, values)


def _from_json(cls: type, values: dict[str, Any]) -> Any:
    hints = get_type_hints(cls)
    unknown = values.keys() - {item.name for item in fields(cls)}
    if unknown:
        raise CorruptData(f"unknown fields {sorted(unknown)} of {cls.__name__}")
    converted = {}
    for name, value in values.items():
        if is_dataclass(hints[name]) and isinstance(hints[name], type):
            value = _from_json(hints[name], value)
        converted[name] = _tuples(value)
    return cls(**converted)


def _tuples(value: Any) -> Any:
    """With the tuples that JSON made lists of, also those in dictionaries."""
    if isinstance(value, list):
        return tuple(_tuples(each) for each in value)
    if isinstance(value, dict):
        return {name: _tuples(each) for name, each in value.items()}
    return value
