"""Scopes of TensorFlow's MobileNets -> our names, for files in which batch normalization is part of convolutions."""

from xxnet_jax.models.layers import Network
from xxnet_jax.models.mobilenet import MobileNet, MobileNetV2
from xxnet_jax.pretrained.names import Table

V1, V2 = "MobilenetV1/MobilenetV1", "MobilenetV2"

TFLITE: dict[type[Network], Table] = {
    MobileNet: {
        f"{V1}/Conv2d_0": "conv1/conv",
        f"{V1}/Conv2d_{{n}}_depthwise": "conv_dw_{n}/conv",
        f"{V1}/Conv2d_{{n}}_pointwise": "conv_pw_{n}/conv",
        "MobilenetV1/Logits/Conv2d_1c_1x1": "conv_preds",
    },
    MobileNetV2: {
        f"{V2}/Conv": "Conv1/conv",
        f"{V2}/Conv_1": "Conv_1/conv",
        f"{V2}/expanded_conv/{{layer}}": "expanded_conv_{layer}/conv",
        f"{V2}/expanded_conv_{{n}}/{{layer}}": "block_{n}_{layer}/conv",
        f"{V2}/Logits/Conv2d_1c_1x1": "predictions",
    },
}
