"""Run the official SLIP code on inputs.py and write slip.json. Not part of the test suite: see README.md.

python tests/oracles/make_slip.py CHECKOUT_OF_SLIP
"""

import json
import sys
from pathlib import Path

import timm
import torch
from torch import nn

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), sys.argv[1]]
torch.nn.SyncBatchNorm = nn.BatchNorm1d  # the same layer in one process; the official one refuses a CPU
timm.models.registry = timm.models  # where the timm of today keeps register_model

import losses  # noqa: E402  the official ones
import models  # noqa: E402
from inputs import BATCH, DIMENSION, WIDTH, linear, scale, uniform  # noqa: E402

TEMPERATURE = 0.2


def leaf(array):
    return torch.tensor(array).requires_grad_()


tensors = {
    "image": leaf(uniform("image", BATCH, DIMENSION)),
    "text": leaf(uniform("text", BATCH, DIMENSION)),
    "aug": leaf(uniform("aug", BATCH, WIDTH)),
    "aug2": leaf(uniform("aug2", BATCH, WIDTH)),
}
head = models.SLIP._build_mlp(None, WIDTH, 9, 8)  # the official method; it uses no self
with torch.no_grad():
    for number, (before, after) in enumerate([(WIDTH, 9), (9, 9), (9, 8)], 1):
        head.get_submodule(f"layer{number}").weight.copy_(torch.tensor(linear(f"layer{number}", before, after)))
        if number < 3:
            head.get_submodule(f"layer{number}").bias.zero_()
            head.get_submodule(f"bn{number}").weight.copy_(torch.tensor(scale(f"bn{number}", 9)))
            head.get_submodule(f"bn{number}").bias.copy_(torch.tensor(uniform(f"shift{number}", 9)))
        else:
            head.layer3.bias.copy_(torch.tensor(uniform("bias3", 8)))

outputs = {
    "image_embed": tensors["image"],
    "text_embed": tensors["text"],
    "logit_scale": torch.tensor(1 / TEMPERATURE),
    "aug1_embed": head(tensors["aug"]),
    "aug2_embed": head(tensors["aug2"]),
}
found = losses.SLIPLoss(losses.SIMCLRLoss(temperature=0.1), 1.0)(outputs)
found["loss"].backward()
result = {
    "code": "https://github.com/facebookresearch/SLIP",
    "commit": "c6faf5d",
    "torch": torch.__version__,
    "loss": found["loss"].item(),
    "contrast": found["clip_loss"].item(),
    "simclr": found["ssl_loss"].item(),
    "gradients": {name: tensor.grad.tolist() for name, tensor in tensors.items()},
}
(HERE / "slip.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
