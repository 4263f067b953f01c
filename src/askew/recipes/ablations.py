"""The rows of the paper's Table 5 and other methods, on the embedded data. They differ only in the method.

The table's columns are MP-NCE, augmentation encoding, positive, negative and noisy (docs/deviations.md). Rows (a) and
(b) are UniCLIP without and with its augmentation network, and do not fade. (c) to (e) are MCD, each with one more term.
Masked language modelling and the start temperatures are the same in all rows.
"""

from askew.config import Recipe
from askew.methods.albef import ALBEF
from askew.methods.base import MethodConfig
from askew.methods.clip import CLIP
from askew.methods.declip import DeCLIP
from askew.methods.mcd import MCD
from askew.methods.siglip import SigLIP
from askew.methods.slip import SLIP
from askew.methods.uniclip import UniCLIP
from askew.recipes.tiny import EPOCHS, MOMENTUM, tiny

MLM_WEIGHT = 0.2  # MCD's
QUEUE = 2048  # for 5,162 training images; 65,536 texts would hold every caption a dozen times


def tiny_slip() -> Recipe:
    """SLIP on the samples, towers and schedule of `tiny`."""
    return _tiny("tiny-slip", SLIP.Config())


def tiny_declip() -> Recipe:
    """DeCLIP on the samples, towers and schedule of `tiny`, with a queue in proportion to the data."""
    return _tiny("tiny-declip", DeCLIP.Config(queue_size=QUEUE))


def tiny_uniclip() -> Recipe:
    """UniCLIP on the samples, towers and schedule of `tiny`."""
    return _tiny("tiny-uniclip", UniCLIP.Config())


def tiny_siglip() -> Recipe:
    """SigLIP on the samples, towers and schedule of `tiny`."""
    return _tiny("tiny-siglip", SigLIP.Config())


def tiny_albef() -> Recipe:
    """ALBEF's contrast on the samples, towers and schedule of `tiny`. It has not been tuned.

    The queue is in proportion to the data, the teacher is as fast as that of `tiny`, and alpha rises over one epoch.
    """
    return _tiny("tiny-albef", ALBEF.Config(momentum=MOMENTUM, queue_size=QUEUE, alpha_ramp=1 / EPOCHS))


def tiny_clip_aug() -> Recipe:
    """CLIP that also contrasts augmented images, as if their texts described them: Eqs. (3) and (4)."""
    return _tiny("tiny-clip-aug", CLIP.Config(contrasted=("image", "aug")))


def tiny_ablation_a() -> Recipe:
    """Table 5 (a): MP-NCE without augmentation encoding."""
    return _tiny("tiny-ablation-a", UniCLIP.Config(augmentation_encoding=False, mlm_weight=MLM_WEIGHT))


def tiny_ablation_b() -> Recipe:
    """Table 5 (b): with augmentation encoding; this is UniCLIP."""
    return _tiny("tiny-ablation-b", UniCLIP.Config(mlm_weight=MLM_WEIGHT))


def tiny_ablation_c() -> Recipe:
    """Table 5 (c): MP-NCE and the positive term."""
    return _tiny("tiny-ablation-c", MCD.Config(momentum=MOMENTUM, terms=("positive",)))


def tiny_ablation_d() -> Recipe:
    """Table 5 (d): MP-NCE, the positive and the negative term."""
    return _tiny("tiny-ablation-d", MCD.Config(momentum=MOMENTUM, terms=("positive", "negative")))


def tiny_ablation_e() -> Recipe:
    """Table 5 (e): MP-NCE and all three terms; this is MCD, and the recipe `tiny`."""
    return _tiny("tiny-ablation-e", MCD.Config(momentum=MOMENTUM))


def tiny_ablation_kl() -> Recipe:
    """MCD that distils the soft alignment matrix by a KL divergence, in place of its three terms."""
    return _tiny("tiny-ablation-kl", MCD.Config(momentum=MOMENTUM, terms=("soft_alignment",)))


def _tiny(name: str, method: MethodConfig) -> Recipe:
    return tiny().model_copy(update={"name": name, "method": method})
