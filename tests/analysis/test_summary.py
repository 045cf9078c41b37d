"""The layers of networks against the notes' table of AlexNet, published counts, activations that were computed, XLA."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

import xxnet_jax as xx
from xxnet_jax.analysis import Row, summarize
from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.parameters import abstract_variables

MIB = 2**20


def test_alexnet_of_the_notes():
    """Weights, multiply-accumulates and elements of outputs of each layer: specification 3, section 7.8."""
    rows = {row.name: row for row in summarize("alexnet").rows}
    table = {
        "conv1": (34_848, 105_415_200, 290_400),
        "conv2": (307_200, 223_948_800, 186_624),
        "conv3": (884_736, 149_520_384, 64_896),
        "conv4": (663_552, 112_140_288, 64_896),
        "conv5": (442_368, 74_760_192, 43_264),
        "fc6": (37_748_736, 37_748_736, 4_096),
        "fc7": (16_777_216, 16_777_216, 4_096),
        "fc8": (4_096_000, 4_096_000, 1_000),
    }
    found = {name: (rows[name].parameters, rows[name].macs, rows[name].activation_bytes // 4) for name in table}
    biases = {name: rows[name].output_shape[-1] for name in table}
    assert found == {name: (weights + biases[name], *rest) for name, (weights, *rest) in table.items()}


def test_memory_of_the_notes():
    """AlexNet with momentum: 697.69 MiB, and 703.66, 888.55 and 2,224.52 MiB with batches of 1, 32 and 256.

    The notes count outputs of convolutions, pools and dense layers, twice for their gradients: a ReLU is in place.
    """
    assert summarize("alexnet").memory.multiple == 2
    summary = summarize("alexnet", optimizer="momentum")
    kept = sum(row.activation_bytes for row in summary.rows if row.kind in ("conv", "max_pool", "dense"))
    assert kept == 4 * 781_736
    memory = summary.memory
    model = memory.parameters + memory.gradients + memory.optimizer
    assert model / MIB == pytest.approx(697.69, abs=0.01)
    totals = [(model + batch * 2 * kept) / MIB for batch in (1, 32, 256)]
    assert totals == pytest.approx([703.66, 888.55, 2224.52], abs=0.01)


@pytest.mark.parametrize(
    "name", ["lenet5.1998", "vgg11_bn", "googlenet", "resnet18", "mobilenet", "nin", "densenet40_12", "nasnet_cifar10"]
)
def test_totals(name: str):
    """The layers together have the published parameters; heads that only run in training are counted apart."""
    summary, info = summarize(name), xx.model_info(name)
    assert summary.parameters == info.parameters
    assert summary.auxiliary_parameters == info.auxiliary_parameters
    assert len({row.name for row in summary.rows}) == len(summary.rows)


def test_rows_of_endpoints():
    """A layer that is an endpoint has its shape, and they come in the order of the computation."""
    model = xx.create_model("vgg16", window=2)
    variables, images = abstract_variables(model, (64, 64, 3))
    activations = jax.eval_shape(lambda v, x: xx.endpoints(model, v, x), variables, images)
    maps = {name: x.shape for name, x in activations.items() if "block" in name}
    rows = [row for row in summarize(model, (64, 64, 3)).rows if row.name in maps]
    assert {row.name: row.output_shape for row in rows} == maps
    assert [row.name for row in rows if row.kind == "max_pool"] == [f"block{block}_pool" for block in range(1, 6)]


class Small(nn.Module):
    """Every kind of layer once; the dense one is used twice."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = nn.Conv(6, (3, 3), padding="VALID", use_bias=False, name="conv")(x)
        y = nn.BatchNorm(use_running_average=not train, name="bn")(y)
        y = nn.relu(y)
        y = y + jnp.tanh(y)
        y = jnp.concatenate([y, nn.avg_pool(y, (3, 3), padding="SAME")], -1)
        y = nn.max_pool(y, (2, 2), (2, 2)).mean((1, 2))
        dense = nn.Dense(12, name="dense")
        return dense(nn.sigmoid(dense(y)))


def test_each_kind():
    """Counted by hand."""
    rows = summarize(Small(), (10, 10, 4), batch_size=2).rows
    a = 2 * 8 * 8 * 6 * 4
    assert rows == (
        Row("conv", "conv", (2, 8, 8, 6), 216, 2 * 64 * 216, a),
        Row("bn", "norm", (2, 8, 8, 6), 12, 0, a),
        Row("relu", "relu", (2, 8, 8, 6), 0, 0, a),
        Row("tanh", "tanh", (2, 8, 8, 6), 0, 0, a),
        Row("add", "add", (2, 8, 8, 6), 0, 0, a),
        Row("avg_pool", "avg_pool", (2, 8, 8, 6), 0, 0, a),
        Row("concatenate", "concatenate", (2, 8, 8, 12), 0, 0, 2 * a),
        Row("max_pool", "max_pool", (2, 4, 4, 12), 0, 0, a // 2),
        Row("global_pool", "global_pool", (2, 12), 0, 0, 96),
        Row("dense", "dense", (2, 12), 156, 2 * 2 * 144, 96),
        Row("sigmoid", "sigmoid", (2, 12), 0, 0, 96),
    )


def test_xla_counts_the_same():
    """Twice the multiply-accumulates are the operations of XLA's own analysis, where nothing is padded, up to additions
    of biases and activations."""
    model = xx.create_model("lenet5")
    variables, images = abstract_variables(model, (32, 32, 1))
    compiled = jax.jit(lambda v, x: model.apply(v, x, train=False)).lower(variables, images).compile()
    analysis = compiled.cost_analysis()
    assert analysis is not None
    macs = summarize("lenet5").macs
    outputs = 28 * 28 * 6 + 14 * 14 * 6 + 10 * 10 * 16 + 5 * 5 * 16 + 120 + 84 + 10
    assert 2 * macs <= analysis["flops"] <= 2 * macs + 7 * outputs


def test_table():
    """What `print` shows: a line for each layer, and the totals."""
    lines = str(summarize("lenet5")).splitlines()
    assert lines[0].split() == ["layer", "kind", "output", "parameters", "MACs", "activations"]
    assert lines[2].split() == ["C1", "conv", "1x28x28x6", "156", "117,600", "18.38", "KiB"]
    assert lines[-1].split()[:3] == ["total", "61,706", "416,520"]


def test_batch_and_size():
    """Multiply-accumulates and activations grow with the batch, parameters do not."""
    one, four = summarize("resnet20", (48, 48, 3)), summarize("resnet20", (48, 48, 3), batch_size=4)
    assert four.macs == 4 * one.macs
    assert four.activation_bytes == 4 * one.activation_bytes
    assert four.parameters == one.parameters
    assert four.training_bytes > one.training_bytes > one.memory.parameters


def test_bad_input():
    with pytest.raises(InvalidArgument, match="give input_shape"):
        summarize(Small())
    with pytest.raises(UnknownName, match="resnet51"):
        summarize("resnet51")
