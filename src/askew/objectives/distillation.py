"""Log-ratio distillation: the student's ratios of distances follow the teacher's.

A log-ratio is a difference of log distances, and student minus teacher is a difference again. Rows are texts, columns
are images, and

    delta[i, j] = log ||text_i - image_j|| of the student, minus the same of the teacher

Every term is a penalty rho on the difference of two deltas. Multiplying all of the student's distances by a constant
changes nothing, and a teacher equal to the student gives exactly 0.

The paper leaves parts of its equations open. Each reading is a function of its own here, `reading(ratios, rho)`, and
NEGATIVE and NOISY list them under the names that MCD's config uses. docs/equations.md says which is which, and
docs/deviations.md gives the reasons.

Letters: A anchors (rows, texts), C candidates (columns, images).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from jaxtyping import Bool, Float, Float32
from torch import Tensor

from askew.objectives.log_ratio import Penalty, log_distance, paired_log_distance, squared
from askew.objectives.reduce import mean_per_anchor


@dataclass(frozen=True)
class LogRatios:
    """What all readings draw on: log distances between unit vectors, in nats, student minus teacher unless noted.

    A sample's own pair is its text with its own image. Raises AssertionError if the shapes do not fit together.

    Attributes:
        delta: every text with every image.
        delta_aug: every text with every augmented image.
        match: whether text and image belong together.
        own_rows: each row's text with its own image.
        own_columns: each column's image with its own text.
        own_aug_columns: each column's augmented image with its own text.
        teacher_rows: the teacher's log distance between each row's text and its own image.
        teacher_columns: the teacher's log distance between each column's image and its own text.
    """

    delta: Float[Tensor, "A C"]
    delta_aug: Float[Tensor, "A C"]
    match: Bool[Tensor, "A C"]
    own_rows: Float[Tensor, " A"]
    own_columns: Float[Tensor, " C"]
    own_aug_columns: Float[Tensor, " C"]
    teacher_rows: Float[Tensor, " A"]
    teacher_columns: Float[Tensor, " C"]

    def __post_init__(self) -> None:
        # Shapes that broadcast would give a wrong loss without an error.
        rows, columns = self.match.shape
        matrices, of_rows = (self.delta, self.delta_aug), (self.own_rows, self.teacher_rows)
        of_columns = (self.own_columns, self.own_aug_columns, self.teacher_columns)
        assert all(matrix.shape == (rows, columns) for matrix in matrices), "delta, delta_aug and match must fit"
        assert all(vector.shape == (rows,) for vector in of_rows), "one own pair per row of match"
        assert all(vector.shape == (columns,) for vector in of_columns), "one own pair per column of match"


Reading = Callable[[LogRatios, Penalty], Tensor]


def log_ratios(local: dict[str, Tensor], gathered: dict[str, Tensor], match: Bool[Tensor, "A C"]) -> LogRatios:
    """The log-ratios of local texts (rows) with gathered images (columns), from unit-length embeddings by name.

    Both dictionaries hold text, image, aug, teacher_image and teacher_aug, (A, D) and (C, D) each. The teacher has no
    text tower: its images are compared with the student's texts, which are detached there.
    """
    text, teacher_text = local["text"], local["text"].detach()
    delta = log_distance(text, gathered["image"]) - log_distance(teacher_text, gathered["teacher_image"])
    delta_aug = log_distance(text, gathered["aug"]) - log_distance(teacher_text, gathered["teacher_aug"])
    own_rows, teacher_rows = _own_pairs(local, "image")
    own_columns, teacher_columns = _own_pairs(gathered, "image")
    own_aug_columns, _ = _own_pairs(gathered, "aug")
    return LogRatios(delta, delta_aug, match, own_rows, own_columns, own_aug_columns, teacher_rows, teacher_columns)


def text_log_ratios(ratios: LogRatios, local: dict[str, Tensor], gathered: dict[str, Tensor]) -> LogRatios:
    """The same log-ratios with shortened captions, `text_short` (A, D) and (C, D), in the augmented images' place.

    A shortened caption is to a caption what an augmented image is to an image: a view that its partner knows nothing
    of. `delta_aug` is then every shortened caption with every original image, `own_aug_columns` each column's image
    with its own shortened caption. The readings of positive and negative pairs take them as they take augmented images.
    """
    local, gathered = ({**samples, "text": samples["text_short"]} for samples in (local, gathered))
    teacher = log_distance(local["text"].detach(), gathered["teacher_image"])
    own_columns, _ = _own_pairs(gathered, "image")
    return replace(
        ratios, delta_aug=log_distance(local["text"], gathered["image"]) - teacher, own_aug_columns=own_columns
    )


def _own_pairs(embedded: dict[str, Tensor], view: str) -> tuple[Tensor, Tensor]:
    """Each text with its own `view`: the log distance, student minus teacher, and the teacher's alone."""
    student = paired_log_distance(embedded["text"], embedded[view])
    teacher = paired_log_distance(embedded["text"].detach(), embedded[f"teacher_{view}"])
    return student - teacher, teacher


def positive_pairs(ratios: LogRatios, rho: Penalty = squared) -> Float32[Tensor, ""]:
    """Original against augmented image, seen from their own text: Eq. (7).

        for i in texts:  row[i] = mean(rho(delta[i, j] - delta_aug[i, j]) for j where match[i, j])
        return mean(row)

    Penalties of nats, 0 or more. Mean over a row's matches, then over all rows. A row without any counts 0.

    By hand: delta [[1, 0], [0, 2]], delta_aug 0 and the diagonal as matches give (1 + 4) / 2 = 2.5.
    """
    return mean_per_anchor(rho(ratios.delta.float() - ratios.delta_aug.float()), ratios.match)


def negative_pairs(ratios: LogRatios, rho: Penalty = squared) -> Float32[Tensor, ""]:
    """Original against augmented image, seen from the texts of other samples: Eq. (8), same_pair.

        for i in texts:  row[i] = mean(rho(delta[i, j] - delta_aug[i, j]) for j where not match[i, j])
        return mean(row)

    Penalties of nats, 0 or more. Mean over a row's non-matches, then over all rows. A row without any counts 0.

    By hand: delta [[5, 1], [3, 5]], delta_aug 0 and the diagonal as matches give (1 + 9) / 2 = 5.
    """
    return mean_per_anchor(rho(ratios.delta.float() - ratios.delta_aug.float()), ~ratios.match)


def aug_own_against_other(ratios: LogRatios, rho: Penalty = squared) -> Float32[Tensor, ""]:
    """An augmented image with its own text, against the same with other texts: Eq. (8), aug_own_against_other.

        for i in texts:  row[i] = mean(rho(own_aug_columns[j] - delta_aug[i, j]) for j where not match[i, j])
        return mean(row)

    Penalties of nats, 0 or more. Mean over a row's non-matches, then over all rows. A row without any counts 0.

    By hand: delta_aug [[0, 1], [2, 3]], its diagonal (0, 3) as own pairs and the diagonal as matches give
    ((3 - 1)^2 + (0 - 2)^2) / 2 = 4.
    """
    return mean_per_anchor(rho(ratios.own_aug_columns.float()[None, :] - ratios.delta_aug.float()), ~ratios.match)


def own_against_aug_other(ratios: LogRatios, rho: Penalty = squared) -> Float32[Tensor, ""]:
    """A text with its own original image, against other samples' augmented images: Eq. (8), own_against_aug_other.

        for i in texts:  row[i] = mean(rho(own_rows[i] - delta_aug[i, j]) for j where not match[i, j])
        return mean(row)

    Penalties of nats, 0 or more. Mean over a row's non-matches, then over all rows. A row without any counts 0.

    By hand: delta_aug [[5, 1], [2, 5]], own pairs (0, 3) and the diagonal as matches give
    ((0 - 1)^2 + (3 - 2)^2) / 2 = 1.
    """
    return mean_per_anchor(rho(ratios.own_rows.float()[:, None] - ratios.delta_aug.float()), ~ratios.match)


def own_against_other(ratios: LogRatios, rho: Penalty = squared) -> Float32[Tensor, ""]:
    """A sample's own pair against the other pairs of its text and of its image: Eq. (9), own_against_other.

    For each i, the equation sums over the images j seen from text i and over the texts j seen from image i. The second
    sum runs over all ordered pairs, so i and j can be swapped in it. It then needs only this row and the columns' own
    pairs.

        for i in texts:
            row[i] = mean((rho(own_rows[i] - delta[i, j]) + rho(own_columns[j] - delta[i, j])) / 2
                          for j where not match[i, j])
        return mean(row)

    Penalties of nats, 0 or more. Mean over a row's non-matches, then over all rows. A row without any counts 0. Where
    match ids repeat unevenly, the images' half is still averaged over the texts' rows.

    By hand: delta [[0, 1], [2, 3]], its diagonal (0, 3) as own pairs and the diagonal as matches. The pair (0, 1) gives
    ((0 - 1)^2 + (3 - 1)^2) / 2 = 2.5, the pair (1, 0) gives ((3 - 2)^2 + (0 - 2)^2) / 2 = 2.5. The mean is 2.5.
    """
    delta = ratios.delta.float()
    from_text = rho(ratios.own_rows.float()[:, None] - delta)
    from_image = rho(ratios.own_columns.float()[None, :] - delta)
    return mean_per_anchor((from_text + from_image) / 2, ~ratios.match)


def own_against_own(ratios: LogRatios, rho: Penalty = squared) -> Float32[Tensor, ""]:
    """A sample's own pair against the own pairs of other samples: Eq. (9), own_against_own.

    Where all match ids differ and rho is the square, this is twice the unbiased variance of the own pairs.

        for i in texts:  row[i] = mean(rho(own_rows[i] - own_columns[j]) for j where not match[i, j])
        return mean(row)

    Penalties of nats, 0 or more. Mean over a row's non-matches, then over all rows. A row without any counts 0.

    By hand: own pairs (0, 3) of both rows and columns and the diagonal as matches give (9 + 9) / 2 = 9.
    """
    return mean_per_anchor(rho(ratios.own_rows.float()[:, None] - ratios.own_columns.float()[None, :]), ~ratios.match)


def teacher_ranks(ratios: LogRatios, rho: Penalty = squared) -> Float32[Tensor, ""]:
    """A sample's own pair against the own pairs that the teacher finds less noisy: Eq. (9), teacher_ranks.

    Like own_against_own, but only where the teacher sees text i further from its own image than text j from its own.

        for i in texts:
            row[i] = mean(rho(own_rows[i] - own_columns[j])
                          for j where not match[i, j] and teacher_rows[i] > teacher_columns[j])
        return mean(row)

    Penalties of nats, 0 or more. Mean over a row's selected columns, then over all rows. A row without any counts 0.

    By hand: own pairs (0, 3), the teacher's distances (2, 1) and the diagonal as matches. Only the first row is the
    noisier one, with (0 - 3)^2 = 9. The mean over both rows is 4.5.
    """
    noisier = ratios.teacher_rows.float()[:, None] > ratios.teacher_columns.float()[None, :]  # (A, C)
    penalties = rho(ratios.own_rows.float()[:, None] - ratios.own_columns.float()[None, :])
    return mean_per_anchor(penalties, ~ratios.match & noisier)


NEGATIVE: dict[str, Reading] = {
    "same_pair": negative_pairs,
    "aug_own_against_other": aug_own_against_other,
    "own_against_aug_other": own_against_aug_other,
}

NOISY: dict[str, Reading] = {
    "own_against_other": own_against_other,
    "own_against_own": own_against_own,
    "teacher_ranks": teacher_ranks,
}
