"""Run the official DeCLIP code on inputs.py and write declip.json. Not part of the test suite: see README.md.

python tests/oracles/make_declip.py CHECKOUT_OF_DECLIP
"""

import json
import os
import sys
import textwrap
import types
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

HERE, CHECKOUT = Path(__file__).parent, Path(sys.argv[1])
sys.path[:0] = [str(HERE), str(CHECKOUT)]

from inputs import BATCH, DIMENSION, QUEUE, TOKENS, VOCABULARY, WIDTH, linear, scale, uniform  # noqa: E402

# What the official files import and this calculation does not use, and the edit of captions: see `Texts`
for name in ("ipdb", "textaugment"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["textaugment"].EDA = type(
    "EDA",
    (),
    {edit: lambda self, text: text + " edited" for edit in ("synonym_replacement", "random_swap", "random_deletion")},
)
package = types.ModuleType("prototype")
package.__path__ = [str(CHECKOUT / "prototype")]
model_package = types.ModuleType("prototype.model")
model_package.__path__ = [str(CHECKOUT / "prototype" / "model")]
sys.modules |= {"prototype": package, "prototype.model": model_package}  # without what their __init__ pulls in
for name, members in {
    "image_encoder.visual_transformer": ("visual_transformer_B32", "visual_transformer_B16"),
    "image_encoder.modified_resnet": ("modified_resnet_R50", "modified_resnet_R101"),
    "text_encoder.text_transformer": ("text_transformers",),
}.items():
    stub = types.ModuleType(f"prototype.model.{name}")
    stub.__dict__.update(dict.fromkeys(members))
    sys.modules[stub.__name__] = stub
sys.modules["linklink"] = link = types.ModuleType("linklink")
link.__path__ = [str(CHECKOUT / "linklink")]
link.allreduce, link.allgather, link.barrier = dist.all_reduce, dist.all_gather, lambda: None
link.get_rank, link.get_world_size = lambda: 0, lambda: 1
torch.Tensor.cuda = lambda self, *args, **kwargs: self
os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29533"}
dist.init_process_group("gloo", rank=0, world_size=1)

from prototype.loss_functions.loss import ClipInfoCELoss, SimsiamLoss  # noqa: E402  the official ones
from prototype.model.declip import DECLIP, prediction_MLP, projection_MLP  # noqa: E402


def leaf(array):
    return torch.tensor(array).requires_grad_()


tensors = {
    "image": leaf(uniform("image", BATCH, DIMENSION)),
    "image2": leaf(uniform("image2", BATCH, DIMENSION)),
    "text": leaf(uniform("text", BATCH, DIMENSION)),
    "text_aug": leaf(uniform("text_aug", BATCH, DIMENSION)),
    "tokens": leaf(uniform("tokens", BATCH, TOKENS, WIDTH)),
}
labels = torch.full((BATCH, TOKENS), -100)
labels[0, 1], labels[0, 4], labels[2, 2], labels[4, 5], labels[4, 0] = 3, 22, 0, 7, 7


class Images(nn.Module):
    """An encoder that gives the first view's features, then the second's."""

    conv1 = types.SimpleNamespace(weight=torch.zeros(1))  # where the official code looks for a dtype

    def __init__(self):
        super().__init__()
        self.views = iter(("image", "image2"))

    def forward(self, image):
        return tensors[next(self.views)]


class Texts(nn.Module):
    """An encoder that gives the features of masked captions, and of edited ones."""

    text_encode_type, vocab_size = "Transformer", VOCABULARY
    text_projection = types.SimpleNamespace(weight=torch.zeros(DIMENSION, WIDTH))

    def forward(self, captions, mask_type=None):
        if mask_type is not None:
            assert captions == [f"caption {n}" for n in range(BATCH)]
            return tensors["text"], tensors["tokens"], labels
        assert captions == [f"caption {n} edited" for n in range(BATCH)]
        return tensors["text_aug"]


model = DECLIP(Images(), Texts(), True, QUEUE, feature_dim=DIMENSION, text_mask_type="MLM", return_nn_bank=True)
model.projector = projection_MLP(DIMENSION, 9, 9)
model.predictor = prediction_MLP(9, 6, 9)
with torch.no_grad():
    model.logit_scale.fill_(uniform("log_scale", 1)[0] + 1.5)
    for name, module, before, after in (
        ("projector1", model.projector.linear1, DIMENSION, 9),
        ("projector2", model.projector.linear2, 9, 9),
        ("projector3", model.projector.linear3, 9, 9),
        ("predictor1", model.predictor.linear1, 9, 6),
        ("predictor2", model.predictor.layer2, 6, 9),
        ("words", model.text_label_predictor, WIDTH, VOCABULARY),
    ):
        module.weight.copy_(torch.tensor(linear(name, before, after)))
        module.bias.copy_(torch.tensor(uniform(f"{name} bias", after)))
    for name, module, width in (
        ("projector norm1", model.projector.bn1, 9),
        ("projector norm2", model.projector.bn2, 9),
        ("projector norm3", model.projector.bn3, 9),
        ("predictor norm1", model.predictor.bn1, 6),
    ):
        module.weight.copy_(torch.tensor(scale(name, width)))
        module.bias.copy_(
            torch.tensor(uniform(f"{name} shift", width)) if name != "projector norm3" else torch.zeros(9)
        )
bank = model.nn_replacer_text
bank.bank = nn.functional.normalize(torch.tensor(uniform("bank", QUEUE, DIMENSION)), dim=1).T.contiguous()
bank.bank_ptr = torch.LongTensor([0])

# The official solver's own lines from the model's output to the total
source = (CHECKOUT / "prototype" / "solver" / "declip_solver.py").read_text(encoding="utf-8").splitlines()
lines = [number for number, line in enumerate(source) if "output_dict = self.model(batch, return_dict=True)" in line]
ends = [number for number, line in enumerate(source) if "'linear':" in line and number > lines[0]]
first_half_end = next(
    n for n in range(lines[0], ends[0]) if source[n].strip() == "else:" and source[n].startswith(" " * 12 + "e")
)
second_half = next(
    n for n in range(first_half_end, ends[0]) if "clip_simsiam_loss_weight.get('type', None):" in source[n]
)
second_half_end = next(n for n in range(second_half, ends[0] + 1) if source[n].strip().startswith("elif"))


class Options(dict):
    """A config that is read by attribute and by `get`, as the official one."""

    __getattr__ = dict.__getitem__


solver = types.SimpleNamespace(
    model=model,
    criterion=ClipInfoCELoss(),
    simsiam_criterion=SimsiamLoss(),
    nt_xent_criterion=lambda *features: torch.zeros(()),  # computed by the solver, in no total of this config
    dist=types.SimpleNamespace(world_size=1),
    config=Options(
        data=Options(train=Options(image_text_two_view=True)),
        clip_simsiam_loss_weight=Options(clip_loss=0.4, nn_text=0.2, simsiam_loss=0.2, masking_language=0.2),
    ),
)
batch = {"images": torch.zeros(BATCH, 6, 1, 1), "captions": [[f"caption {n}"] for n in range(BATCH)]}
model.train()
names = {"self": solver, "batch": batch, "torch": torch}
exec(textwrap.dedent("\n".join(source[lines[0] : first_half_end])), names)
exec(textwrap.dedent("\n".join(source[second_half:second_half_end])), names)
names["loss"].backward()

result = {
    "code": "https://github.com/Sense-GVT/DeCLIP",
    "commit": "5d99a85",
    "torch": torch.__version__,
    "loss": names["loss"].item(),
    "contrast": names["clip_loss"].item(),
    "nns": names["clip_nn_text_loss"].item(),
    "simsiam": names["simsiam_loss"].item(),
    "mlm": names["text_mlm_loss"].item(),
    "gradients": {name: tensor.grad.tolist() for name, tensor in tensors.items()},
    "scale_gradient": model.logit_scale.grad.tolist(),
    "bank": bank.bank.T.tolist(),
}
(HERE / "declip.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
dist.destroy_process_group()
