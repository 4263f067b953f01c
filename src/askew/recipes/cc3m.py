"""The paper's runs on CC3M: ViT-B/16, 40 epochs (Sec. 5.1). Name the data by --data."""

from askew.config import Recipe
from askew.methods.base import MethodConfig
from askew.methods.clip import CLIP
from askew.methods.declip import DeCLIP
from askew.methods.mcd import MCD
from askew.methods.slip import SLIP
from askew.methods.uniclip import UniCLIP
from askew.recipes.paper import of_paper


def on_cc3m(method: MethodConfig) -> Recipe:
    """A method on CC3M."""
    return of_paper(f"{method.name}-cc3m-vitb16", method, "ViT-B-16", 40, learning_rate=5e-4, weight_decay=0.5)


def clip_cc3m_vitb16() -> Recipe:
    """CLIP on CC3M as the paper trains it: ViT-B/16, 40 epochs."""
    return on_cc3m(CLIP.Config())


def slip_cc3m_vitb16() -> Recipe:
    """SLIP on CC3M as the paper trains it: ViT-B/16, 40 epochs."""
    return on_cc3m(SLIP.Config())


def declip_cc3m_vitb16() -> Recipe:
    """DeCLIP on CC3M as the paper trains it: ViT-B/16, 40 epochs."""
    return on_cc3m(DeCLIP.Config())


def uniclip_cc3m_vitb16() -> Recipe:
    """UniCLIP on CC3M as the paper trains it: ViT-B/16, 40 epochs."""
    return on_cc3m(UniCLIP.Config())


def mcd_cc3m_vitb16() -> Recipe:
    """MCD on CC3M as the paper trains it: ViT-B/16, 40 epochs."""
    return on_cc3m(MCD.Config())
