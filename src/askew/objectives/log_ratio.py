"""Log-ratio distillation: the student's ratios of distances follow the teacher's.

A ratio is a difference of logarithms, and student minus teacher is a difference again. With

    delta[i, j] = log ||text_i - image_j|| of the student - the same of the teacher      (rows texts, columns images)

and delta_aug the same for the augmented images, every term is the square of one subtraction. Student and teacher enter
by delta only; the caller detaches the teacher. Multiplying all distances of the student by a constant changes nothing,
and a teacher equal to the student gives exactly 0. The penalty rho of a difference is the square unless another is
given. Which reading of the paper is which function: docs/equations.md.

Letters: A anchors (rows, texts), C candidates (columns, images), D joint embedding, rho the penalty of a difference.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from askew.objectives.reduce import mean_per_anchor

Penalty = Callable[[Tensor], Tensor]


def squared(difference: Float[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    """The penalty rho of Eq. (6), squared: the square, element by element. By hand: -3 gives 9."""
    return difference.float().square()


def absolute(difference: Float[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    """The penalty rho of Eq. (6), absolute: the absolute value, element by element. By hand: -3 gives 3."""
    return difference.float().abs()


def huber(difference: Float[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    """The penalty rho of Eq. (6), huber: half the square up to 1, beyond it the absolute value less 1/2, by element.

    By hand: -3 gives 2.5, 0.5 gives 0.125.
    """
    size = difference.float().abs()
    return torch.where(size <= 1, 0.5 * size.square(), size - 0.5)


def log_distance(
    text: Float[Tensor, "A D"], image: Float[Tensor, "C D"], floor: float = 1e-3
) -> Float32[Tensor, "A C"]:
    """Logarithm of the Euclidean distance of every text to every image, the quantity of Eq. (6), distance.

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
    delta: Float[Tensor, "A C"],
    delta_aug: Float[Tensor, "A C"],
    match: Bool[Tensor, "A C"],
    rho: Penalty = squared,
) -> Float32[Tensor, ""]:
    """Original against augmented image, seen from their own text: Eq. (7).

        for i in texts:  row[i] = mean(rho(delta[i, j] - delta_aug[i, j]) for j where match[i, j])
        return mean(row)

    Takes student-minus-teacher log distances of unit vectors. Penalties of nats, 0 or more. Mean over a row's matches,
    then over all rows; a row with none counts 0. Raises AssertionError if the shapes differ.

    By hand: delta [[1, 0], [0, 2]], delta_aug 0 and the diagonal as matches give (1 + 4) / 2 = 2.5.
    """
    assert delta.shape == delta_aug.shape, "delta and delta_aug must have one shape"
    return mean_per_anchor(rho(delta.float() - delta_aug.float()), match)


def negative_pairs(
    delta: Float[Tensor, "A C"],
    delta_aug: Float[Tensor, "A C"],
    match: Bool[Tensor, "A C"],
    rho: Penalty = squared,
) -> Float32[Tensor, ""]:
    """Original against augmented image, seen from the texts of other samples: Eq. (8), same_pair.

        for i in texts:  row[i] = mean(rho(delta[i, j] - delta_aug[i, j]) for j where not match[i, j])
        return mean(row)

    Takes student-minus-teacher log distances of unit vectors. Penalties of nats, 0 or more. Mean over a row's
    non-matches, then over all rows; a row with none counts 0. Raises AssertionError if the shapes differ.

    By hand: delta [[5, 1], [3, 5]], delta_aug 0 and the diagonal as matches give (1 + 9) / 2 = 5.
    """
    assert delta.shape == delta_aug.shape, "delta and delta_aug must have one shape"
    return mean_per_anchor(rho(delta.float() - delta_aug.float()), ~match)


def aug_own_against_other(
    delta_aug: Float[Tensor, "A C"],
    own_aug_columns: Float[Tensor, " C"],
    match: Bool[Tensor, "A C"],
    rho: Penalty = squared,
) -> Float32[Tensor, ""]:
    """An augmented image's own text against the texts of other samples: Eq. (8), aug_own_against_other.

    `own_aug_columns[j]` is the delta of augmented image j with its own text.

        for i in texts:  row[i] = mean(rho(own_aug_columns[j] - delta_aug[i, j]) for j where not match[i, j])
        return mean(row)

    Takes student-minus-teacher log distances of unit vectors. Penalties of nats, 0 or more. Mean over a row's
    non-matches, then over all rows; a row with none counts 0. Raises AssertionError if the shapes do not fit.

    By hand: delta_aug [[0, 1], [2, 3]], its diagonal (0, 3), the diagonal as matches give
    ((3 - 1)^2 + (0 - 2)^2) / 2 = 4.
    """
    assert delta_aug.shape[1:] == own_aug_columns.shape, "own_aug_columns must fit delta_aug"
    return mean_per_anchor(rho(own_aug_columns.float()[None, :] - delta_aug.float()), ~match)


def own_against_aug_other(
    delta_aug: Float[Tensor, "A C"],
    own_rows: Float[Tensor, " A"],
    match: Bool[Tensor, "A C"],
    rho: Penalty = squared,
) -> Float32[Tensor, ""]:
    """A text's own original image against the augmented images of other samples: Eq. (8), own_against_aug_other.

    `own_rows[i]` is the delta of text i with its own original image.

        for i in texts:  row[i] = mean(rho(own_rows[i] - delta_aug[i, j]) for j where not match[i, j])
        return mean(row)

    Takes student-minus-teacher log distances of unit vectors. Penalties of nats, 0 or more. Mean over a row's
    non-matches, then over all rows; a row with none counts 0. Raises AssertionError if the shapes do not fit.

    By hand: delta_aug [[5, 1], [2, 5]], own deltas (0, 3), the diagonal as matches give
    ((0 - 1)^2 + (3 - 2)^2) / 2 = 1.
    """
    assert delta_aug.shape[:1] == own_rows.shape, "own_rows must fit delta_aug"
    return mean_per_anchor(rho(own_rows.float()[:, None] - delta_aug.float()), ~match)


def own_against_other(
    delta: Float[Tensor, "A C"],
    own_rows: Float[Tensor, " A"],
    own_columns: Float[Tensor, " C"],
    match: Bool[Tensor, "A C"],
    rho: Penalty = squared,
) -> Float32[Tensor, ""]:
    """A sample's own pair against the other pairs of its text, and of its image: Eq. (9), own_against_other.

    `own_rows[i]` is the delta of text i with its own image, `own_columns[j]` that of image j with its own text. The
    equation adds for each i the images j seen from text i and the texts j seen from image i. The second sum runs over
    all ordered pairs, so i and j may change places in it: then it needs the columns' own deltas and no other row.

        for i in texts:
            row[i] = mean((rho(own_rows[i] - delta[i, j]) + rho(own_columns[j] - delta[i, j])) / 2
                          for j where not match[i, j])
        return mean(row)

    Takes student-minus-teacher log distances of unit vectors. Penalties of nats, 0 or more. Mean over a row's
    non-matches, then over all rows; a row with none counts 0. Where groups repeat unevenly, the images' half too is
    averaged by the texts' rows. Raises AssertionError if the shapes do not fit.

    By hand: delta [[0, 1], [2, 3]], its diagonal (0, 3) for both own_*, the diagonal as matches: the pair (0, 1) gives
    ((0 - 1)^2 + (3 - 1)^2) / 2 = 2.5, the pair (1, 0) gives ((3 - 2)^2 + (0 - 2)^2) / 2 = 2.5; the mean is 2.5.
    """
    # Shapes that broadcast would give a wrong loss without a word.
    assert delta.shape == (*own_rows.shape, *own_columns.shape), "own_rows and own_columns must fit delta"
    delta = delta.float()
    from_text = rho(own_rows.float()[:, None] - delta)
    from_image = rho(own_columns.float()[None, :] - delta)
    return mean_per_anchor((from_text + from_image) / 2, ~match)


def own_against_own(
    own_rows: Float[Tensor, " A"], own_columns: Float[Tensor, " C"], match: Bool[Tensor, "A C"], rho: Penalty = squared
) -> Float32[Tensor, ""]:
    """A sample's own pair against the own pairs of other samples: Eq. (9), own_against_own.

    `own_rows[i]` is the delta of text i with its own image, `own_columns[j]` that of image j with its own text. Where
    all groups differ this is twice the unbiased variance of the own deltas.

        for i in texts:  row[i] = mean(rho(own_rows[i] - own_columns[j]) for j where not match[i, j])
        return mean(row)

    Takes student-minus-teacher log distances of unit vectors. Penalties of nats, 0 or more. Mean over a row's
    non-matches, then over all rows; a row with none counts 0. Raises AssertionError if the shapes do not fit.

    By hand: own deltas (0, 3) for both and the diagonal as matches give (9 + 9) / 2 = 9.
    """
    return mean_per_anchor(rho(own_rows.float()[:, None] - own_columns.float()[None, :]), ~match)


def teacher_ranks(
    own_rows: Float[Tensor, " A"],
    own_columns: Float[Tensor, " C"],
    teacher_rows: Float[Tensor, " A"],
    teacher_columns: Float[Tensor, " C"],
    match: Bool[Tensor, "A C"],
    rho: Penalty = squared,
) -> Float32[Tensor, ""]:
    """Own pairs against those own pairs that the teacher takes for less noisy: Eq. (9), teacher_ranks.

    As own_against_own, of the pairs alone in which the teacher sees text i further from its own image than text j from
    its own: `teacher_rows[i]` and `teacher_columns[j]` are the teacher's log distances.

        for i in texts:
            row[i] = mean(rho(own_rows[i] - own_columns[j])
                          for j where not match[i, j] and teacher_rows[i] > teacher_columns[j])
        return mean(row)

    Takes student-minus-teacher log distances of unit vectors. Penalties of nats, 0 or more. Mean over a row's selected
    columns, then over all rows; a row with none counts 0. Raises AssertionError if the shapes do not fit.

    By hand: own deltas (0, 3), teacher (2, 1), the diagonal as matches: only the first is noisier, (0 - 3)^2 = 9; the
    mean over both rows is 4.5.
    """
    noisier = teacher_rows.float()[:, None] > teacher_columns.float()[None, :]  # (A, C)
    return mean_per_anchor(rho(own_rows.float()[:, None] - own_columns.float()[None, :]), ~match & noisier)
