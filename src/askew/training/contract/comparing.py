"""Comparisons between steps, with messages."""

import torch
from torch import Tensor

from askew.methods.base import Method, Terms
from askew.nn.heads import GlobalBatchNorm


def magnifies_rounding(method: Method) -> bool:
    """BatchNorm over six rows divides by how little they differ."""
    return any(isinstance(module, GlobalBatchNorm) for module in method.modules())


def difference(gradients: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Relative error over all parameters."""
    assert gradients.keys() == expected.keys(), "other parameters get a gradient"
    error = torch.stack([(gradients[name] - value).norm() for name, value in expected.items()]).norm()
    return (error / torch.stack([value.norm() for value in expected.values()]).norm()).item()


def close(found: Tensor, expected: Tensor | float, relative: float) -> bool:
    """Whether two scalars differ by no more than a relative error."""
    expected = expected.item() if isinstance(expected, Tensor) else expected
    return abs(found.item() - expected) <= max(relative * abs(expected), 1e-12)


def assert_terms_close(found: Terms, expected: Terms) -> None:
    """The same terms, each with a relative error of at most 1e-5."""
    assert found.keys() == expected.keys(), f"terms {', '.join(found)}, not {', '.join(expected)}"
    for name, value in expected.items():
        assert close(found[name], value, 1e-5), f"{name} is {found[name].item()}, not {value.item()}"


def assert_close(found: Tensor, expected: Tensor, problem: str, rtol: float = 1.3e-6, atol: float = 1e-5) -> None:
    """Two tensors are close, by default as torch.testing has it. Otherwise the message starts with the problem."""
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol, msg=lambda details: f"{problem}. {details}")


def assert_finite(terms: Terms, gradients: dict[str, Tensor]) -> None:
    """No term and no gradient is infinite or NaN."""
    for name, value in terms.items():
        assert value.isfinite(), f"{name} is {value.item()}"
    for name, gradient in gradients.items():
        assert gradient.isfinite().all(), f"the gradient of {name} is not finite"
