"""Which measures a data set will give, before anything is computed."""

from askew.evaluation.datasets.base import Captioned, Classification, EvaluationSet, TwoByTwo
from askew.evaluation.tasks.few_shot import NAME as FEW_SHOT
from askew.evaluation.tasks.few_shot import SHOTS
from askew.evaluation.tasks.retrieval import KS
from askew.evaluation.tasks.sgd_probe import NAME as SGD_PROBE
from askew.evaluation.tasks.winoground import NAME as WINOGROUND
from askew.evaluation.tasks.winoground import SCORES
from askew.evaluation.tasks.word_order import NAME as WORD_ORDER
from askew.evaluation.tasks.word_order import ORDERS

DIRECTIONS = ("image_to_text", "text_to_image")
MEAN_RECALL = "mean_recall"


def measures_expected(name: str, dataset: EvaluationSet, tasks: tuple[str, ...]) -> list[str]:
    """`TASK/MEASURE` of every measure that is a share and that these tasks give; of retrieval also the mean recall."""
    if isinstance(dataset, Classification):
        one = ["top1", "mean_per_class"] if dataset.metric == "top1" else ["mean_per_class", "top1"]
        shots = [*one, "top5"] if len(dataset.classes) > 5 else one
        orders = [f"{order}/{dataset.metric}" for order, _ in dataset.class_orders]
        found = [f"{name}/zero_shot/{measure}" for measure in (*shots, *orders) if "zero_shot" in tasks]
        probes = [probe for probe in ("linear_probe", SGD_PROBE) if probe in tasks and dataset.train is not None]
        found += [f"{name}/{probe}/{measure}" for probe in probes for measure in one]
        few = FEW_SHOT in tasks and dataset.train is not None
        return found + [f"{name}/{FEW_SHOT}/{k}_shot/{measure}" for k in SHOTS for measure in one if few]
    if isinstance(dataset, Captioned):
        recalls = [f"{name}/{direction}/r@{k}" for direction in DIRECTIONS for k in KS]
        found = [*recalls, f"{name}/{MEAN_RECALL}"] if "retrieval" in tasks else []
        found += [f"{name}/{WORD_ORDER}/{order}" for order in ("all", *ORDERS) if WORD_ORDER in tasks]
        return found + [
            f"{name}/wrong_captions/auroc_{by}" for by in ("distance", "noise") if "wrong_captions" in tasks
        ]
    if isinstance(dataset, TwoByTwo):
        parts = ["", *(f"/{kind}" for kind in dict.fromkeys(dataset.kinds))] if WINOGROUND in tasks else []
        return [f"{name}/{WINOGROUND}{part}/{score}" for part in parts for score in SCORES]
    subsets = dataset if isinstance(dataset, tuple) else (dataset,)
    found = [f"{subset.name}/accuracy" for subset in subsets]
    categories = dict.fromkeys(subset.name.rsplit("/", 1)[-1].split("_")[0] for subset in subsets)
    found += [f"sugarcrepe/{category}/{kind}" for category in categories for kind in ("macro", "items")]
    return found if "sugarcrepe" in tasks else []


def with_mean_recall(values: dict[str, float]) -> dict[str, float]:
    """Values by `TASK/MEASURE`, and of every set with retrieval in both directions the mean of its six recalls."""
    found = dict(values)
    for key in values:
        name, middle, _ = key.partition(f"/{DIRECTIONS[0]}/")
        if middle and f"{name}/{MEAN_RECALL}" not in found:
            recalls = [values.get(f"{name}/{direction}/r@{k}") for direction in DIRECTIONS for k in KS]
            if all(recall is not None for recall in recalls):
                found[f"{name}/{MEAN_RECALL}"] = sum(recall for recall in recalls if recall is not None) / len(recalls)
    return found
