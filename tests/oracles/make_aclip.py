"""Run the official A-CLIP code on inputs.py and write aclip.json. Not part of the test suite: see README.md.

python tests/oracles/make_aclip.py CHECKOUT_OF_ACLIP
"""

import json
import sys
from pathlib import Path

import timm
import torch
from torch import nn
from torchvision.transforms import _functional_tensor

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), sys.argv[1]]
timm.models.registry = timm.models  # where the timm of today keeps what that of 2021 kept elsewhere
sys.modules["timm.models.registry"] = sys.modules["timm.models.layers"] = timm.models
timm.models.trunc_normal_ = timm.layers.trunc_normal_
timm.models.vision_transformer.default_cfgs = {}
sys.modules["torchvision.transforms.functional_tensor"] = _functional_tensor

import losses  # noqa: E402  the official ones
import models  # noqa: E402
from inputs import (  # noqa: E402
    ACLIP_GRID,
    ACLIP_HEADS,
    ACLIP_MOMENTUM,
    ACLIP_RATE,
    ACLIP_STEPS,
    ACLIP_TEMPERATURE,
    BATCH,
    DIMENSION,
    WIDTH,
    aclip_attention,
    aclip_crops,
    linear,
    scale,
    uniform,
)


class StandIn(nn.Module):
    """Gives the features that it gets as those of the class token, and a given attention; keeps the mask."""

    def forward(self, features, mask=None, need_attn=False):
        self.mask = mask
        return features[:, None], torch.tensor(aclip_attention()), None


def with_weights(name, layers):
    """The official layers with the weights of inputs.py. Biases in front of a BatchNorm have no effect."""
    maps = [layer for layer in layers if isinstance(layer, nn.Linear)]
    norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm1d)]
    with torch.no_grad():
        for number, layer in enumerate(maps):
            layer.weight.copy_(torch.tensor(linear(f"aclip {name} {number}", layer.in_features, layer.out_features)))
        for number, norm in enumerate(norms):
            norm.weight.copy_(torch.tensor(scale(f"aclip {name} scale {number}", norm.num_features)))
            norm.bias.copy_(torch.tensor(uniform(f"aclip {name} shift {number}", norm.num_features)))
        if maps[-1].bias is not None:
            maps[-1].bias.copy_(torch.tensor(uniform(f"aclip {name} bias", maps[-1].out_features)))
    return layers


def official():
    """The official model with narrow heads. It is not initialised, because its heads have fixed widths."""
    model = models.ACLIP.__new__(models.ACLIP)
    nn.Module.__init__(model)
    hidden, output = ACLIP_HEADS
    model.visual, model.visual_ema = StandIn(), StandIn()
    model.transformer, model.transformer_e = nn.Module(), nn.Module()
    model.image_mlp = with_weights("head", model._build_mlp(WIDTH, hidden, output))
    model.im_proj_byol = with_weights("projector", model._build_mlp_byol(2, WIDTH, hidden, output, False))
    model.im_proj_byol_e = with_weights("projector", model._build_mlp_byol(2, WIDTH, hidden, output, False))
    model.im_pred_byol = with_weights("predictor", model._build_mlp_byol(2, output, hidden, output, False))
    model.image_projection = nn.Parameter(torch.tensor(uniform("aclip projection", WIDTH, DIMENSION)))
    model.image_projection_e = nn.Parameter(model.image_projection.detach().clone())
    model.text_projection, model.text_projection_e = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    model.logit_scale = nn.Parameter(-torch.tensor(ACLIP_TEMPERATURE).log())
    model.encode_text = lambda text: text
    return model


def step(model, number):
    """One step of the official loop: the released loss, and the same with SimCLR between both views."""
    leaves = {name: torch.tensor(uniform(f"aclip {name} {number}", BATCH, WIDTH)) for name in ("aug", "aug2")}
    leaves["text"] = torch.tensor(uniform(f"aclip text {number}", BATCH, DIMENSION))
    for leaf in leaves.values():
        leaf.requires_grad_()
    teacher = torch.tensor(uniform(f"aclip teacher {number}", BATCH, WIDTH))
    views = torch.cat([leaves["aug"], leaves["aug2"]])
    outputs = model(views, teacher, leaves["text"], aclip_crops(), ACLIP_MOMENTUM)
    released = losses.ACLIPLoss(temperature=0.1)(outputs)
    first, second = outputs["image_ssl_embed"].chunk(2)
    both = losses.SIMCLRLoss(temperature=0.1)({"aug1_embed": first, "aug2_embed": second})["ssl_loss"]
    totals = {"first_twice": released["loss"], "both": released["loss"] - released["simclr_loss"] + both}
    wanted = {**leaves, "projection": model.image_projection, "log_scale": model.logit_scale}
    kept = {
        views: {
            "loss": total.item(),
            "simclr": (both if views == "both" else released["simclr_loss"]).item(),
            "gradients": {
                name: gradient.tolist()
                for name, gradient in zip(
                    wanted, torch.autograd.grad(total, list(wanted.values()), retain_graph=True), strict=True
                )
            },
        }
        for views, total in totals.items()
    }
    model.zero_grad()
    released["loss"].backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= ACLIP_RATE * parameter.grad
    contrast = (released["contra_loss_1"] + released["contra_loss_2"]).item() / 2
    return {**kept, "contrast": contrast, "byol": released["im_byol_loss"].item()}


def attention_scores():
    """The attention of the class token, mean over heads and two layers, as `forward_features` takes it."""
    tokens, scores = torch.tensor(uniform("aclip tokens", BATCH, 7, 12)), []
    for number in range(2):
        block = timm.models.vision_transformer.Block(12, 3, qkv_bias=True)
        block.drop_path = nn.Identity()
        with torch.no_grad():
            for name, parameter in block.named_parameters():
                parameter.copy_(torch.tensor(uniform(f"aclip block {number} {name}", *parameter.shape)) / 2)
        tokens, attention = models.forward_block(block, tokens)
        scores.append(attention[:, :, 0, 1:].mean(1))
    return (sum(scores) / 2).tolist()


model = official()
crops, attention = torch.tensor(aclip_crops()), torch.tensor(aclip_attention())
maps = [model.get_mask(attention, crops[:, view], crops[:, 2]) for view in range(2)]
blocks = [(~models.get_att_mask(one)).view(BATCH, *ACLIP_GRID)[:, ::2, ::2].flatten(1) for one in maps]
result = {
    "code": "https://github.com/microsoft/A-CLIP",
    "commit": "0e51942",
    "torch": torch.__version__,
    "timm": timm.__version__,
    "steps": [step(model, number) for number in range(ACLIP_STEPS)],
    "teacher_projector": {name: value.tolist() for name, value in model.im_proj_byol_e.named_parameters()},
    "scores": attention_scores(),
    "map": maps[0][0].tolist(),
    "blocks": [[row.nonzero().flatten().tolist() for row in one] for one in blocks],
    "best": [
        row.nonzero().flatten().tolist()
        for row in (~models.get_att_mask(attention)).view(BATCH, *ACLIP_GRID)[:, ::2, ::2].flatten(1)
    ],
}
(HERE / "aclip.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
