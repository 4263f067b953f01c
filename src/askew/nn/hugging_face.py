"""A text encoder of Hugging Face as a text tower: the parts of open_clip's HFTextEncoder, with its numbers."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from open_clip.hf_model import HFTextEncoder
from torch import Tensor, nn

from askew.nn.encoded import Encoded, unit
from askew.nn.shards import whole
from askew.nn.text_towers import TextTower


class HuggingFaceTower(TextTower):
    """A bidirectional encoder (BERT, RoBERTa, XLM-R, mT5's encoder), a pooler and a projection.

    No token attends to padding. In training, the tower therefore runs only up to the batch's longest caption, which
    changes embeddings by rounding. In eval mode it runs at the full context length, as open_clip does.

    Args:
        text: open_clip's encoder. Its parts are used, not copied.
        context_length: the largest L.
        special: the ids of special tokens, with padding.

    Raises:
        ValueError: a pooler or a projection that open_clip does not have, or cannot compute.
    """

    def __init__(self, text: HFTextEncoder, context_length: int, special: Sequence[int]):
        super().__init__()
        if not hasattr(text, "proj"):
            raise ValueError("this Hugging Face text tower has no projection; set text_cfg.hf_proj_type=linear or mlp")
        self.trunk, self.pooler, self.projection = text.transformer, text.pooler, text.proj
        config: Any = text.config
        self.pad: int = config.pad_token_id
        self._width: int = self.trunk.get_input_embeddings().embedding_dim
        self._rows: int = self.trunk.get_input_embeddings().num_embeddings
        self._context_length = context_length
        self.register_buffer("special", torch.tensor(sorted(special)), persistent=False)

    @property
    def width(self) -> int:
        """F, the width of token features."""
        return self._width

    @property
    def vocab_size(self) -> int:
        """V, including an appended mask token."""
        return self.trunk.get_input_embeddings().num_embeddings

    @property
    def plain_vocab_size(self) -> int:
        """V without an appended mask token."""
        return self._rows

    @property
    def num_positions(self) -> int:
        """The context length."""
        return self._context_length

    def is_word(self, text: Int[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """Which tokens are not special."""
        return ~torch.isin(text, self.get_buffer("special"))

    def num_needed(self, text: Int[Tensor, "B L"]) -> int:
        """Up to the last token that is no padding, which is masked."""
        return int((text != self.pad).sum(dim=1).max())

    def forward(self, text: Int[Tensor, "B L"], wanted: Bool[Tensor, "B L"] | None = None) -> Encoded:
        """Pooled (B, F) and unit-length float32 embeddings (B, D), and token features (R, F) of the R wanted tokens.

        `wanted` may select any token that is not padding. Their features are returned text by text.
        """
        wanted = torch.zeros_like(text, dtype=torch.bool) if wanted is None else wanted
        if self.training and text.device.type == "cpu":
            longest = self.num_needed(text)
            text, wanted = text[:, :longest], wanted[:, :longest]
        present = (text != self.pad).long()
        found = self.trunk(input_ids=text, attention_mask=present)
        pooled = self.pooler(found, present)
        return Encoded(pooled, unit(self.projection(pooled)), found.last_hidden_state[wanted])

    @torch.no_grad()
    def append_mask_token(self) -> None:
        """Add a row to the token embedding, for a tokenizer that has no mask token."""
        old = self.trunk.get_input_embeddings()
        new = nn.Embedding(old.num_embeddings + 1, old.embedding_dim, padding_idx=old.padding_idx)
        new.weight[:-1] = old.weight
        new.weight[-1] = old.weight.mean(dim=0) + 0.02 * torch.randn(old.embedding_dim)
        self.trunk.set_input_embeddings(new)

    def plain_state(self) -> dict[str, Tensor]:
        """Its parameters in open_clip's layout with a separate text tower."""
        state = self.trunk.state_dict()
        ids = next(name for name, p in self.trunk.named_parameters() if p is self.trunk.get_input_embeddings().weight)
        state[ids] = whole(state[ids])[: self._rows]
        projection = {f"text.proj.{name}": value for name, value in self.projection.state_dict().items()}
        return {f"text.transformer.{name}": value for name, value in state.items()} | projection
