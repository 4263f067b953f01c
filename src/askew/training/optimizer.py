"""The optimisers of a run (`train.optimizer`), and which parameters decay.

AdamW is the default, and what every method of the papers used. Muon and cautious AdamW take its learning rate and its
weight decay as they are.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn, optim

from askew.config import TrainSettings
from askew.errors import UserError
from askew.methods.base import Method
from askew.nn.shards import is_shard, replicated

# The matrices of a transformer block, by the ends of their names in open_clip, in timm, and in BERT and mT5
BLOCK_MATRICES = (
    "attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight", "attn.qkv.weight",
    "attn.proj.weight", "mlp.fc1.weight", "mlp.fc2.weight", "xca.qkv.weight", "xca.proj.weight",
    *(f"attention.self.{part}.weight" for part in ("query", "key", "value")),
    "intermediate.dense.weight", "output.dense.weight",
    *(f"SelfAttention.{part}.weight" for part in "qkvo"),
    *(f"DenseReluDense.{part}.weight" for part in ("wi_0", "wi_1", "wo")),
)  # fmt: skip
TOWERS = ("image.", "text.")
FEWEST_MOVING = 1e-3  # share of entries that cautious AdamW takes to move, at the least (arXiv 2411.16085, timm)


def make_optimizer(method: nn.Module, config: TrainSettings, device: torch.device) -> optim.Optimizer:
    """The optimiser of a method's trained parameters. Make it after the step was wrapped, which may replace parameters.

    Raises:
        UserError: this PyTorch has no Muon, or no parameter is one that Muon is for.
    """
    rates: dict[str, Any] = {"lr": config.learning_rate, "betas": config.betas, "eps": config.eps}
    if config.optimizer == "cautious_adamw":
        return CautiousAdamW(parameter_groups(method, config.weight_decay), **rates)
    rates["fused"] = device.type in ("cpu", "cuda")
    if config.optimizer == "adamw":
        return optim.AdamW(_apart(parameter_groups(method, config.weight_decay)), **rates)
    if not hasattr(optim, "Muon"):
        raise UserError(
            f"train.optimizer=muon needs PyTorch 2.9 or newer, and this is {torch.__version__}: "
            "install a newer one, or set train.optimizer=adamw"
        )
    matrices = [parameter for name, parameter in method.named_parameters() if is_block_matrix(name, parameter)]
    if not matrices:
        raise UserError(
            "train.optimizer=muon: the towers have no matrices of transformer blocks that are trained; "
            "set train.optimizer=adamw"
        )
    chosen = {id(matrix) for matrix in matrices}
    groups = parameter_groups(method, config.weight_decay, lambda parameter: id(parameter) not in chosen)
    muon = optim.Muon(
        matrices, lr=config.learning_rate, weight_decay=config.weight_decay, momentum=config.muon_momentum,
        nesterov=True, adjust_lr_fn="match_rms_adamw",
    )  # fmt: skip
    return Both(muon, optim.AdamW(groups, **rates))


def parameter_groups(
    method: nn.Module, weight_decay: float, wanted: Callable[[nn.Parameter], bool] = lambda parameter: True
) -> list[dict[str, Any]]:
    """Only matrices decay: vectors, biases and norms do not (SLIP).

    A parameter with a learning rate of its own (`Method.learning_rates`) is a group with its name.
    """
    decayed, plain, apart = [], [], []
    own = method.learning_rates() if isinstance(method, Method) else {}
    for name, parameter in method.named_parameters():
        if parameter.requires_grad and wanted(parameter):
            exempt = parameter.ndim < 2 or any(word in name for word in ("bias", "ln_", "bn", "norm"))
            if name in own:
                apart.append({"params": [parameter], "weight_decay": 0.0, "name": name})
            else:
                (plain if exempt else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}, *apart]


def _apart(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The groups, with parts of sharded parameters in groups of their own: one kernel cannot move both kinds."""
    found = []
    for group in groups:
        whole = replicated(group["params"])
        parts = [parameter for parameter in group["params"] if is_shard(parameter)]
        found += [{**group, "params": params} for params in (whole, parts) if params or not parts]
    return found


def is_block_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Whether Muon is for this parameter: a trained matrix inside a block of one of the two towers.

    Embeddings, projections, the patch convolution and heads are not, although most of them are matrices: by shape alone
    they could not be told apart.
    """
    in_tower = any(f".{tower}" in f".{name}" for tower in TOWERS)
    return parameter.requires_grad and parameter.ndim == 2 and in_tower and name.endswith(BLOCK_MATRICES)


class Both(optim.Optimizer):
    """Two optimisers as one: their groups and states together, so that schedules and checkpoints see no difference."""

    def __init__(self, first: optim.Optimizer, second: optim.Optimizer):
        self.parts = (first, second)

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The groups of the first optimiser, then those of the second; the same objects."""
        return [group for part in self.parts for group in part.param_groups]

    @property
    def state(self) -> dict[torch.Tensor, Any]:  # type: ignore[override]
        """The state of every parameter."""
        return {parameter: state for part in self.parts for parameter, state in part.state.items()}

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of all parameters."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move all parameters."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """As of one optimiser: parameters are numbered in the order of `param_groups`."""
        states, groups, first = {}, [], 0
        for part in self.parts:
            packed = part.state_dict()
            states |= {first + index: state for index, state in packed["state"].items()}
            groups += [{**group, "params": [first + index for index in group["params"]]}
                       for group in packed["param_groups"]]  # fmt: skip
            first += _count(part)
        return {"state": states, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        first, groups = 0, list(state_dict["param_groups"])
        for part in self.parts:
            here, groups = groups[: len(part.param_groups)], groups[len(part.param_groups) :]
            own = range(first, first + _count(part))
            part.load_state_dict({
                "state": {index - first: state for index, state in state_dict["state"].items() if index in own},
                "param_groups": [{**group, "params": [index - first for index in group["params"]]} for group in here],
            })  # fmt: skip
            first += _count(part)


def _count(part: optim.Optimizer) -> int:
    return sum(len(group["params"]) for group in part.param_groups)


class CautiousAdamW(optim.AdamW):
    """AdamW in which an entry moves only if its momentum agrees with the present gradient (arXiv 2411.16085).

    The entries of a tensor that do move, move more: by one over their share of those that have a gradient. timm's code
    takes the share of all entries. In a table of tokens, of which a batch has few, it would move these by a hundred
    times as much. The decay is AdamW's. So is the state, whose momentum is kept as it is.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move all parameters."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)

    def _move(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        rate, (beta1, beta2), state = group["lr"], group["betas"], self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        steps, mean, square = state["step"].item(), state["exp_avg"], state["exp_avg_sq"]
        mean.lerp_(gradient, 1 - beta1)
        square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        agrees = (mean * gradient > 0).to(parameter.dtype)
        agrees.div_((agrees.sum() / gradient.count_nonzero().clamp_(min=1)).clamp_(min=FEWEST_MOVING))
        spread = (square / (1 - beta2**steps)).sqrt_().add_(group["eps"])
        parameter.mul_(1 - rate * group["weight_decay"])
        parameter.addcdiv_(mean * agrees, spread, value=-rate / (1 - beta1**steps))
