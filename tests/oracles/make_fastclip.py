"""Run the official FastCLIP code on inputs.py and write fastclip.json. Not part of the test suite: see README.md.

python tests/oracles/make_fastclip.py CHECKOUT_OF_FASTCLIP
"""

import importlib.util
import json
import sys
from pathlib import Path

import torch
from torch.nn.functional import normalize

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE)]
from inputs import BATCH, DIMENSION, FASTCLIP_ROWS, FASTCLIP_SAMPLES, FASTCLIP_VISITS, uniform  # noqa: E402

# The file alone: its package imports what this environment does not have
spec = importlib.util.spec_from_file_location("official", Path(sys.argv[1]) / "src" / "fast_clip" / "loss.py")
official = importlib.util.module_from_spec(spec)
spec.loader.exec_module(official)

RHO, EPS = 6.5, 1e-14
criterion = official.FastCLIPLoss(
    FASTCLIP_SAMPLES, gamma=0.2, gamma_decay_epochs=18, rho=RHO, eps=EPS, multiply_tau=True, device=torch.device("cpu")
)


def visit(number):
    """One step of the official loop, train.py, in one process: what it gathers over ranks has no gradient."""
    gamma, rows = FASTCLIP_VISITS[number], torch.tensor(FASTCLIP_ROWS[number])
    criterion.gamma = gamma
    tensors = {name: torch.tensor(uniform(f"{name}{number}", BATCH, DIMENSION)) for name in ("image", "text")}
    tensors["log_scale"] = torch.tensor(uniform(f"log_scale{number}", 1)[0] + 1.5)
    for tensor in tensors.values():
        tensor.requires_grad_()
    features = [normalize(tensors[name], dim=-1) for name in ("image", "text")]
    remote, scale = [feature.detach() for feature in features], tensors["log_scale"].exp()
    image, text, sim_image, sim_text, u = criterion.local(features, (rows, rows), remote, scale, offset=0)
    remote_u = [value.detach() for value in u]
    criterion.set_params(rows, rows, *remote_u)
    sim = (sim_text.T, sim_image.T)
    criterion(features, remote, remote_u, (image, text), u, sim, scale, offset=0).backward()
    return {
        "gradients": {name: tensor.grad.tolist() for name, tensor in tensors.items()},
        "u": torch.cat([criterion.u_im, criterion.u_tt], dim=1).tolist(),
    }


result = {
    "code": "https://github.com/Optimization-AI/fast_clip",
    "commit": "efd89d5",
    "torch": torch.__version__,
    "rho": RHO,
    "eps": EPS,
    "visits": [visit(number) for number in range(len(FASTCLIP_VISITS))],
}
(HERE / "fastclip.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
