"""The paper's runs on YFCC15M: ViT-B/32, 32 epochs (Sec. 5.1). Name the data by --data."""

from askew.config import Recipe
from askew.methods.base import MethodConfig
from askew.methods.clip import CLIP
from askew.methods.declip import DeCLIP
from askew.methods.mcd import MCD
from askew.methods.slip import SLIP
from askew.methods.uniclip import UniCLIP
from askew.recipes.paper import of_paper


def on_yfcc15m(method: MethodConfig) -> Recipe:
    """A method on YFCC15M."""
    return of_paper(f"{method.name}-yfcc15m-vitb32", method, "ViT-B-32", 32, learning_rate=1e-3, weight_decay=0.2)


def clip_yfcc15m_vitb32() -> Recipe:
    """CLIP on YFCC15M as the paper trains it: ViT-B/32, 32 epochs."""
    return on_yfcc15m(CLIP.Config())


def slip_yfcc15m_vitb32() -> Recipe:
    """SLIP on YFCC15M as the paper trains it: ViT-B/32, 32 epochs."""
    return on_yfcc15m(SLIP.Config())


def declip_yfcc15m_vitb32() -> Recipe:
    """DeCLIP on YFCC15M as the paper trains it: ViT-B/32, 32 epochs."""
    return on_yfcc15m(DeCLIP.Config())


def uniclip_yfcc15m_vitb32() -> Recipe:
    """UniCLIP on YFCC15M as the paper trains it: ViT-B/32, 32 epochs."""
    return on_yfcc15m(UniCLIP.Config())


def mcd_yfcc15m_vitb32() -> Recipe:
    """MCD on YFCC15M as the paper trains it: ViT-B/32, 32 epochs."""
    return on_yfcc15m(MCD.Config())
