"""Log-ratio distillation: the student's ratios of distances follow the teacher's.

A ratio is a difference of logarithms, and student minus teacher is a difference again. With

    delta[i, j] = log ||text_i - image_j|| of the student - the same of the teacher      (rows texts, columns images)

and delta_aug the same for the augmented images, every term is the square of one subtraction. Student and teacher enter
by delta only; the caller detaches the teacher. Multiplying all distances of the student by a constant changes nothing,
and a teacher equal to the student gives exactly 0.

Letters: A anchors (rows, texts), C candidates (columns, images), D joint embedding, rho the penalty of a difference.
"""

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from askew.objectives.reduce import mean_per_anchor


def squared(difference: Float[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    """The penalty rho of every term in this module: the square, element by element. By hand: -3 gives 9."""
    return difference.float().square()


def log_distance(
    text: Float[Tensor, "A D"], image: Float[Tensor, "C D"], floor: float = 1e-3
) -> Float32[Tensor, "A C"]:
    """Logarithm of the Euclidean distance of every text to every image, the quantity whose differences make up Eq. (6).

    Both inputs must be of unit length: then distance^2 = 2 - 2 cos, and no other form is computed.

        for i in texts, j in images:  out[i, j] = log(max(floor, sqrt(2 - 2 * dot(text[i], image[j]))))

    Natural logarithm, from log(floor) to log 2. No reduction. The gradient of a logarithm grows as 1 / distance: below
    `floor` it is 0, and it is at most about 1 / floor in the embeddings. In float32 the rounding of the cosine moves
    distance^2 by some 1e-7, so a floor far below 1e-3 would let rounding in. Raises AssertionError unless floor > 0.

    By hand: orthogonal unit vectors have distance sqrt(2) and give log(2) / 2 = 0.3466; equal ones give log(floor).
    """
    assert floor > 0, f"floor must be positive, not {floor}"
    # Autocast would run this product in bfloat16, whose error in 2 - 2 cos is larger than most differences.
    with torch.autocast(text.device.type, enabled=False):
        cosine = text.float() @ image.float().T  # (A, C)
    squared_distance = (2 - 2 * cosine).clamp(min=floor**2)
    return 0.5 * squared_distance.log()


def paired_log_distance(
    text: Float[Tensor, "A D"], image: Float[Tensor, "A D"], floor: float = 1e-3
) -> Float32[Tensor, " A"]:
    """The diagonal of `log_distance` in O(A D): text i to image i. Same inputs, range, floor and errors.

        for i in pairs:  out[i] = log(max(floor, sqrt(2 - 2 * dot(text[i], image[i]))))

    By hand: orthogonal unit vectors have distance sqrt(2) and give log(2) / 2 = 0.3466; equal ones give log(floor).
    """
    assert floor > 0, f"floor must be positive, not {floor}"
    cosine = (text.float() * image.float()).sum(dim=1)
    return 0.5 * (2 - 2 * cosine).clamp(min=floor**2).log()


def positive_pairs(
    delta: Float[Tensor, "A C"], delta_aug: Float[Tensor, "A C"], match: Bool[Tensor, "A C"]
) -> Float32[Tensor, ""]:
    """Original against augmented image, seen from their own text: Eq. (7).

        for i in texts:  row[i] = mean(rho(delta[i, j] - delta_aug[i, j]) for j where match[i, j])
        return mean(row)

    Takes student-minus-teacher log distances of unit vectors. Squared nats, 0 or more. Mean over a row's matches, then
    over all rows; a row with none counts 0. Raises AssertionError if the shapes differ.

    By hand: delta [[1, 0], [0, 2]], delta_aug 0 and the diagonal as matches give (1 + 4) / 2 = 2.5.
    """
    assert delta.shape == delta_aug.shape, "delta and delta_aug must have one shape"
    return mean_per_anchor(squared(delta.float() - delta_aug.float()), match)


def negative_pairs(
    delta: Float[Tensor, "A C"], delta_aug: Float[Tensor, "A C"], match: Bool[Tensor, "A C"]
) -> Float32[Tensor, ""]:
    """Original against augmented image, seen from the texts of other samples: Eq. (8).

        for i in texts:  row[i] = mean(rho(delta[i, j] - delta_aug[i, j]) for j where not match[i, j])
        return mean(row)

    Takes student-minus-teacher log distances of unit vectors. Squared nats, 0 or more. Mean over a row's non-matches,
    then over all rows; a row with none counts 0. Raises AssertionError if the shapes differ.

    By hand: delta [[5, 1], [3, 5]], delta_aug 0 and the diagonal as matches give (1 + 9) / 2 = 5.
    """
    assert delta.shape == delta_aug.shape, "delta and delta_aug must have one shape"
    return mean_per_anchor(squared(delta.float() - delta_aug.float()), ~match)


def own_against_other(
    delta: Float[Tensor, "A C"],
    own_rows: Float[Tensor, " A"],
    own_columns: Float[Tensor, " C"],
    match: Bool[Tensor, "A C"],
) -> Float32[Tensor, ""]:
    """A sample's own pair against the other pairs of its text, and of its image: Eq. (9), own_against_other.

    `own_rows[i]` is the delta of text i with its own image, `own_columns[j]` that of image j with its own text. The
    equation adds for each i the images j seen from text i and the texts j seen from image i. The second sum runs over
    all ordered pairs, so i and j may change places in it: then it needs the columns' own deltas and no other row.

        for i in texts:
            row[i] = mean((rho(own_rows[i] - delta[i, j]) + rho(own_columns[j] - delta[i, j])) / 2
                          for j where not match[i, j])
        return mean(row)

    Takes student-minus-teacher log distances of unit vectors. Squared nats, 0 or more. Mean over a row's non-matches,
    then over all rows; a row with none counts 0. Where groups repeat unevenly, the images' half too is averaged by the
    texts' rows. Raises AssertionError if the shapes do not fit.

    By hand: delta [[0, 1], [2, 3]], its diagonal (0, 3) for both own_*, the diagonal as matches: the pair (0, 1) gives
    ((0 - 1)^2 + (3 - 1)^2) / 2 = 2.5, the pair (1, 0) gives ((3 - 2)^2 + (0 - 2)^2) / 2 = 2.5; the mean is 2.5.
    """
    # Shapes that broadcast would give a wrong loss without a word.
    assert delta.shape == (*own_rows.shape, *own_columns.shape), "own_rows and own_columns must fit delta"
    delta = delta.float()
    from_text = squared(own_rows.float()[:, None] - delta)
    from_image = squared(own_columns.float()[None, :] - delta)
    return mean_per_anchor((from_text + from_image) / 2, ~match)


def own_against_own(
    own_rows: Float[Tensor, " A"], own_columns: Float[Tensor, " C"], match: Bool[Tensor, "A C"]
) -> Float32[Tensor, ""]:
    """A sample's own pair against the own pairs of other samples: Eq. (9), own_against_own.

    `own_rows[i]` is the delta of text i with its own image, `own_columns[j]` that of image j with its own text. Where
    all groups differ this is twice the unbiased variance of the own deltas.

        for i in texts:  row[i] = mean(rho(own_rows[i] - own_columns[j]) for j where not match[i, j])
        return mean(row)

    Takes student-minus-teacher log distances of unit vectors. Squared nats, 0 or more. Mean over a row's non-matches,
    then over all rows; a row with none counts 0. Raises AssertionError if the shapes do not fit.

    By hand: own deltas (0, 3) for both and the diagonal as matches give (9 + 9) / 2 = 9.
    """
    return mean_per_anchor(squared(own_rows.float()[:, None] - own_columns.float()[None, :]), ~match)
