"""Inputs of the oracles, by seed: the same numbers for the official code and for ours."""

import zlib

import numpy as np

BATCH, WIDTH, DIMENSION, TOKENS, VOCABULARY, QUEUE = 5, 11, 7, 6, 23, 16
# Three batches of FastCLIP: gamma of each, and which of the samples are in it; the sixth is first seen in the second
FASTCLIP_SAMPLES, FASTCLIP_VISITS = 7, (1.0, 0.6, 0.2)
FASTCLIP_ROWS = ([0, 1, 2, 3, 4], [3, 0, 5, 1, 2], [5, 2, 4, 0, 3])

# ALBEF: pairs a step, a divisor of the queue's size; the learning rate is that of plain gradient descent
PAIRS, ALBEF_WIDTH, ALBEF_QUEUE, ALBEF_MOMENTUM, ALBEF_RATE = 4, 5, 8, 0.9, 0.3
ALBEF_STEPS = (  # progress of ours with a ramp of 0.5, alpha of theirs, temperature
    (0.0, 0.0, 0.2),
    (0.25, 0.2, 0.15),
    (0.5, 0.4, 0.07),
    (0.75, 0.4, 0.3),
    (0.9, 0.4, 0.05),
)

# A-CLIP: hidden and output widths of every head, tau, steps of plain gradient descent; images of 900 x 1200 pixels
ACLIP_HEADS, ACLIP_TEMPERATURE, ACLIP_MOMENTUM, ACLIP_RATE, ACLIP_STEPS = (9, 8), 0.2, 0.9, 0.3, 2
ACLIP_IMAGE, ACLIP_GRID = (900, 1200), (14, 14)


def uniform(name: str, *shape: int) -> np.ndarray:
    """Numbers in [-1, 1), float32, a stream of its own for each name."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    return (2 * generator.random(shape) - 1).astype(np.float32)


def linear(name: str, before: int, after: int) -> np.ndarray:
    """The weight (after, before) of a map in a head."""
    return uniform(name, after, before) / np.float32(np.sqrt(before))


def scale(name: str, width: int) -> np.ndarray:
    """The scale of a BatchNorm, in [0.5, 1.5)."""
    return 1 + uniform(name, width) / 2


def caption_ids(step: int) -> np.ndarray:
    """Token ids (BATCH, TOKENS), with repeated ids and with pads, which are 0."""
    ids = np.floor((uniform(f"caption{step}", BATCH, TOKENS) + 1) / 2 * VOCABULARY).astype(np.int64)
    ids[1, 3:] = 0
    ids[2, 1] = ids[2, 0]
    return ids


def aclip_attention() -> np.ndarray:
    """How much the teacher's class token attends to each patch, (BATCH, patches)."""
    scores = np.exp(2 * uniform("aclip attention", BATCH, ACLIP_GRID[0] * ACLIP_GRID[1]))
    return scores / scores.sum(axis=1, keepdims=True)


def aclip_crops() -> np.ndarray:
    """Top, left, height and width in pixels (BATCH, 3, 4): of two views, and of the teacher's, which covers both."""
    shares, image = (uniform("aclip crops", BATCH, 2, 4) + 1) / 2, np.array(ACLIP_IMAGE)
    size = np.floor((0.55 + 0.4 * shares[..., 2:]) * image)
    start = np.floor(shares[..., :2] * (image - size))
    first, last = start.min(axis=1), (start + size).max(axis=1)
    views, teachers = np.concatenate([start, size], axis=2), np.concatenate([first, last - first], axis=1)
    return np.concatenate([views, teachers[:, None]], axis=1).astype(np.int64)
