"""Run the official ALBEF code on inputs.py and write albef.json. Not part of the test suite: see README.md.

python tests/oracles/make_albef.py CHECKOUT_OF_ALBEF
"""

import json
import os
import sys
import types
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

HERE, CHECKOUT = Path(__file__).parent, Path(sys.argv[1])
sys.path[:0] = [str(HERE), str(CHECKOUT)]

from inputs import (  # noqa: E402
    ALBEF_MOMENTUM,
    ALBEF_QUEUE,
    ALBEF_RATE,
    ALBEF_STEPS,
    ALBEF_WIDTH,
    DIMENSION,
    PAIRS,
    linear,
    uniform,
)


class Images(nn.Module):
    """In place of the ViT: one map, whose output is the class token."""

    def __init__(self, **sizes):
        super().__init__()
        self.map = nn.Linear(ALBEF_WIDTH, ALBEF_WIDTH, bias=False)

    def forward(self, image):
        return self.map(image)[:, None]


class Words(nn.Module):
    """In place of BERT: one map of the rows that the ids name. The fusion layers change nothing."""

    def __init__(self):
        super().__init__()
        self.map = nn.Linear(ALBEF_WIDTH, ALBEF_WIDTH, bias=False)
        self.rows = torch.zeros(PAIRS, ALBEF_WIDTH)

    def forward(self, input_ids=None, mode=None, encoder_embeds=None, **others):
        hidden = encoder_embeds if mode == "fusion" else self.map(self.rows[input_ids])
        return types.SimpleNamespace(last_hidden_state=hidden)


class Texts(nn.Module):
    """In place of BERT with its head: no masked language modelling."""

    config = types.SimpleNamespace(hidden_size=ALBEF_WIDTH, vocab_size=PAIRS)

    def __init__(self):
        super().__init__()
        self.bert = Words()

    @staticmethod
    def from_pretrained(name, config):
        return Texts()

    def forward(self, input_ids, return_logits=False, **others):
        return torch.zeros(*input_ids.shape, PAIRS) if return_logits else types.SimpleNamespace(loss=torch.zeros(()))


for name, members in {
    "vit": {"VisionTransformer": Images, "interpolate_pos_embed": None},
    "xbert": {
        "BertConfig": types.SimpleNamespace(from_json_file=lambda path: None),
        "BertForMaskedLM": Texts,
    },
}.items():
    stub = types.ModuleType(f"models.{name}")
    stub.__dict__.update(members)
    sys.modules[stub.__name__] = stub
os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29534"}
dist.init_process_group("gloo", rank=0, world_size=1)

from models.model_pretrain import ALBEF  # noqa: E402  the official one

model = ALBEF(
    tokenizer=types.SimpleNamespace(pad_token_id=-1, cls_token_id=-1, mask_token_id=0),
    config={
        "mlm_probability": 0.15,
        "embed_dim": DIMENSION,
        "image_res": 1,
        "temp": 0.07,
        "vision_width": ALBEF_WIDTH,
        "bert_config": "",
        "queue_size": ALBEF_QUEUE,
        "momentum": ALBEF_MOMENTUM,
    },
    init_deit=False,
).train()
student = {
    "image tower": model.visual_encoder.map.weight,
    "image projection": model.vision_proj.weight,
    "text tower": model.text_encoder.bert.map.weight,
    "text projection": model.text_proj.weight,
}
teacher = {
    "image tower": model.visual_encoder_m.map,
    "image projection": model.vision_proj_m,
    "text tower": model.text_encoder_m.bert.map,
    "text projection": model.text_proj_m,
}
with torch.no_grad():
    for name, weight in student.items():
        weight.copy_(torch.tensor(linear(f"albef {name}", ALBEF_WIDTH, len(weight))))
    for projection in (model.vision_proj, model.text_proj):  # askew's have no bias
        projection.bias.zero_()
    model.copy_params()
    for name in ("image", "text"):
        bank = torch.tensor(uniform(f"albef {name} queue", ALBEF_QUEUE, DIMENSION))
        getattr(model, f"{name}_queue").copy_(nn.functional.normalize(bank, dim=1).T)

words = types.SimpleNamespace(
    input_ids=torch.arange(PAIRS)[:, None], attention_mask=torch.ones(PAIRS, 1, dtype=torch.long)
)
steps = []
for number, (_, alpha, temperature) in enumerate(ALBEF_STEPS):
    with torch.no_grad():
        model.temp.fill_(temperature)
    for encoder in (model.text_encoder, model.text_encoder_m):
        encoder.bert.rows = torch.tensor(uniform(f"albef text {number}", PAIRS, ALBEF_WIDTH))
    model.zero_grad()
    _, loss, _ = model(torch.tensor(uniform(f"albef image {number}", PAIRS, ALBEF_WIDTH)), words, alpha=alpha)
    loss.backward()
    gradients = {name: weight.grad.tolist() for name, weight in student.items()}
    steps.append({"contrast": loss.item(), "gradients": gradients, "temperature_gradient": model.temp.grad.item()})
    with torch.no_grad():
        for weight in student.values():
            weight -= ALBEF_RATE * weight.grad
model._momentum_update()  # which the next forward pass would begin with

result = {
    "code": "https://github.com/salesforce/ALBEF",
    "commit": "b9727e4",
    "torch": torch.__version__,
    "steps": steps,
    "teacher": {name: module.weight.tolist() for name, module in teacher.items()},
    "image_queue": model.image_queue.T.tolist(),
    "text_queue": model.text_queue.T.tolist(),
}
(HERE / "albef.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
dist.destroy_process_group()
