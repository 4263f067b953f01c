"""Which words occur in an image's caption: SuperCLIP (Zhao et al., NeurIPS 2025, arXiv 2512.14480).

Rare words count more. The weights come from integer counts over all captions so far, so they are the same on any
number of ranks and after a resume. Letters: B this rank's samples, L tokens, V vocabulary.
"""

import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

NO_WORD = -1  # in a list of a caption's words: nothing here


def distinct_words(ids: Int[Tensor, "B L"]) -> Int[Tensor, "B L"]:
    """Each row's ids once, ascending, and NO_WORD in the other places.

        row [5, 3, 5, NO_WORD] gives [NO_WORD, 3, 5, NO_WORD]

    NO_WORD is the only id that may be negative.
    """
    ordered = ids.sort(dim=1).values
    repeated = torch.zeros_like(ordered, dtype=torch.bool)
    repeated[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    return ordered.masked_fill(repeated, NO_WORD)


def document_counts(words: Int[Tensor, "N L"], vocab_size: int) -> Int[Tensor, " V"]:
    """How many of the N captions contain each of the V words. `words` has each word of a caption once, or NO_WORD."""
    return torch.bincount(words[words != NO_WORD], minlength=vocab_size)


def word_prediction(
    log_total: Float[Tensor, " B"],
    logits: Float[Tensor, "B L"],
    words: Int[Tensor, "B L"],
    counts: Int[Tensor, " V"],
    seen: Int[Tensor, " 1"],
) -> Float32[Tensor, ""]:
    """Cross-entropy between the predicted words and those of the caption, weighted by how rare they are. Nats.

        for i in samples:
            w[v] = log((seen + 1) / (counts[v] + 1))   for v in the words of caption i, each once
            row[i] = sum(w[v] * -log softmax(z_i)[v]) / sum(w)   or 0 where all w are 0
        return mean(row)

    Args:
        log_total: logsumexp of each image's V logits z.
        logits: z of the words of its caption, in the order of `words`. What stands at NO_WORD is not used.
        words: as `distinct_words` gives them.
        counts: captions that contain each word, those of this batch included.
        seen: captions so far, those of this batch included.

    A caption without words, and one whose words are in every caption, count 0 and stay in the mean.

    By hand: words 0 and 1, seen 4, counts 3 and 1 give the weights 0.1958 and 0.8042. With z = (0, 1, 0, 0) the loss
    is log(3 + e) - 0.8042 = 0.9395.
    """
    is_word = words != NO_WORD
    occurrences = counts[words.clamp(min=0)]
    rarity = torch.where(is_word, torch.log((seen + 1).float() / (occurrences + 1).float()), 0.0)  # (B, L)
    share = rarity / rarity.sum(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    loss = torch.where(is_word, share * (log_total.float()[:, None] - logits.float()), 0.0)
    return loss.sum(dim=1).mean()
