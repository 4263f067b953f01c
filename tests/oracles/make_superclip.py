"""Run the official SuperCLIP code on inputs.py and write superclip.json. Not part of the test suite: see README.md.

python tests/oracles/make_superclip.py CHECKOUT_OF_SUPERCLIP
"""

import importlib.util
import json
import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE)]

from inputs import BATCH, DIMENSION, VOCABULARY, WIDTH, caption_ids, linear, scale, uniform  # noqa: E402

STEPS = 3


def official(name):
    """A module of the checkout by its path: its package is called open_clip, as the installed one is."""
    path = Path(sys.argv[1], "superclip", "open_clip", f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"open_clip.{name}_of_superclip", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


head = official("transformer").MixClsHead(width=WIDTH, layers=0, output_dim=VOCABULARY)
with torch.no_grad():
    head.text_projection.weight.copy_(torch.tensor(linear("words", WIDTH, VOCABULARY)))
    head.text_projection.bias.copy_(torch.tensor(uniform("words bias", VOCABULARY)))
    head.ln_mlp.weight.copy_(torch.tensor(scale("words norm", WIDTH)))
    head.ln_mlp.bias.copy_(torch.tensor(uniform("words shift", WIDTH)))
criterion = official("loss").SuperClipLoss()
# The same buffers as the official model's
counts, steps = torch.zeros(1, VOCABULARY, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
result = {"code": "https://github.com/hustvl/SuperCLIP", "commit": "fb59c6d", "torch": torch.__version__, "steps": []}
for step in range(STEPS):
    features = torch.tensor(uniform(f"features{step}", BATCH, WIDTH)).requires_grad_()
    logits = head(features)
    logits.retain_grad()
    embeddings = [torch.tensor(uniform(f"{name}{step}", BATCH, DIMENSION)) for name in ("image", "text")]
    found = criterion(
        counts, steps, logits, torch.tensor(caption_ids(step)), None, *embeddings, torch.tensor(1.0), output_dict=True
    )
    found["class_loss"].backward()
    result["steps"].append({
        "loss": found["class_loss"].item(),
        "gradients": {"features": features.grad.tolist(), "logits": logits.grad.tolist()},
        "shares": counts[0].tolist(),
        "num_steps": steps.item(),
    })  # fmt: skip
(HERE / "superclip.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
