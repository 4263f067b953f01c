"""SuperCLIP's term as plain loops in float64, in its two forms: with counts, and step by step as its code has it."""

import math

import numpy as np

NO_WORD = -1


def term(z, captions, counts, seen) -> float:
    """z (B, V), captions as lists of ids, counts and seen with this batch included."""
    total = 0.0
    for row, caption in zip(z, captions, strict=True):
        words = {v for v in caption if v != NO_WORD}
        log_total = math.log(sum(math.exp(x) for x in row))
        rarity = {v: math.log((seen + 1) / (counts[v] + 1)) for v in words}
        weight = sum(rarity.values())
        total += sum(rarity[v] / weight * (log_total - row[v]) for v in words) if weight > 0 else 0.0
    return total / len(z)


def terms_step_by_step(batches) -> list[float]:
    """The term of each successive batch (z, captions) of one size: shares of captions, summed over steps."""
    shares, values = None, []
    for step, (z, captions) in enumerate(batches, 1):
        size = len(captions)
        target = np.zeros(np.shape(z))
        for i, caption in enumerate(captions):
            for v in caption:
                if v != NO_WORD:
                    target[i, v] = 1.0
        shares = target.mean(axis=0) + (0 if shares is None else shares)
        target *= np.log((step + 1 / size) / (shares + 1 / size))
        norms = target.sum(axis=1, keepdims=True)
        target = np.divide(target, norms, out=np.zeros_like(target), where=norms > 0)
        log_softmax = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        values.append(float(-(target * log_softmax).sum(axis=1).mean()))
    return values
