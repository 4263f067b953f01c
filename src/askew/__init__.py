"""askew: language-image pretraining that learns from misalignment (MCD, ICCV 2023) and its rivals.

The import is light on purpose: `askew --help` must answer at once, so torch is imported by the modules that need it.
The names of `__all__` are imported when they are first used.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = [
    "EvaluationError",
    "ImageError",
    "Model",
    "Predictions",
    "Ranked",
    "Results",
    "Run",
    "RunFailed",
    "TaskResult",
    "UserError",
    "ZeroShotClassifier",
    "__version__",
    "evaluate",
    "load",
    "train",
]

if TYPE_CHECKING:
    from askew.api.evaluating import EvaluationError, Results, TaskResult, evaluate
    from askew.api.inputs import ImageError
    from askew.api.model import Model, load
    from askew.api.ranking import Ranked
    from askew.api.training import Run, train
    from askew.api.zero_shot import Predictions, ZeroShotClassifier
    from askew.errors import RunFailed, UserError
else:
    _MODULES = {
        "EvaluationError": "askew.api.evaluating",
        "ImageError": "askew.api.inputs",
        "Model": "askew.api.model",
        "Predictions": "askew.api.zero_shot",
        "Ranked": "askew.api.ranking",
        "Results": "askew.api.evaluating",
        "Run": "askew.api.training",
        "RunFailed": "askew.errors",
        "TaskResult": "askew.api.evaluating",
        "UserError": "askew.errors",
        "ZeroShotClassifier": "askew.api.zero_shot",
        "evaluate": "askew.api.evaluating",
        "load": "askew.api.model",
        "train": "askew.api.training",
    }

    def __getattr__(name: str):
        """A public name, imported now (PEP 562)."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(_MODULES[name]), name)

    def __dir__() -> list[str]:
        """What is there already, and the public names."""
        return sorted({*globals(), *__all__})
