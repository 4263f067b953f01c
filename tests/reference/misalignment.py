"""The misalignment of pairs and the effect of operations as plain loops in float64, written from the equations."""

import math

import numpy as np

Array = np.ndarray


def distance(a: Array, b: Array) -> float:
    return math.sqrt(sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)))


def cosine(a: Array, b: Array) -> float:
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def others_of(pool, match: int, words: int) -> list[int]:
    return [j for j in range(len(pool.match)) if pool.match[j] != match and pool.words[j] != words]


def rank(own: float, candidates: list[float]) -> int:
    return 1 + sum(candidate <= own for candidate in candidates)


def half_of_noise(own: float, candidates: list[float], k: int) -> float:
    nearest = sorted(candidates)[:k]
    return sum(math.log(own / other) for other in nearest) / len(nearest)


def info_nce(own: float, candidates: list[float], scale: float) -> float:
    total = math.exp(scale * own) + sum(math.exp(scale * other) for other in candidates)
    return -math.log(math.exp(scale * own) / total)


def pair(text: Array, image: Array, match: int, words: int, pool, scale: float, k: int) -> dict[str, float]:
    """Every number of one pair."""
    others = others_of(pool, match, words)
    own = distance(text, image)
    images = [distance(text, pool.image[j]) for j in others]
    texts = [distance(image, pool.text[j]) for j in others]
    from_text = info_nce(cosine(text, image), [cosine(text, pool.image[j]) for j in others], scale)
    from_image = info_nce(cosine(text, image), [cosine(image, pool.text[j]) for j in others], scale)
    found = {"distance": own, "cosine": cosine(text, image), "pool": len(others)}
    found |= {"text_rank": rank(own, texts), "image_rank": rank(own, images), "loss": (from_text + from_image) / 2}
    found["noise"] = (half_of_noise(own, images, k) + half_of_noise(own, texts, k)) / 2 if others else math.nan
    best = min(others, key=lambda j: distance(image, pool.text[j]), default=-1)
    found["nearest"] = best if best >= 0 and distance(image, pool.text[best]) < own else -1
    return found
