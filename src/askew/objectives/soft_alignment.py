"""Soft targets from a teacher: whole rows of a softmax, which the paper contrasts with its log-ratio loss.

Letters: A anchors (rows), C candidates (columns), B this rank's samples, N all ranks' samples.
"""

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor
from torch.nn.functional import log_softmax, softplus

from askew.objectives.reduce import mean_per_anchor


def soft_alignment(logits: Float[Tensor, "A C"], teacher_logits: Float[Tensor, "A C"]) -> Float32[Tensor, ""]:
    """Kullback-Leibler divergence of the student's softmax over candidates from the teacher's, for each anchor.

    This is the teacher's part of ALBEF's soft targets (Li et al., NeurIPS 2021). ALBEF's cross-entropy with the targets
    a x teacher + (1 - a) x one-hot equals (1 - a) x InfoNCE + a x this + a x the entropy of the teacher, which has no
    gradient. Unlike a ratio of distances, it needs a temperature, and each entry depends on the whole batch.

        for i in rows:  row[i] = sum(q[i, j] * log(q[i, j] / p[i, j]) for j)   with q, p = softmax(teacher, student)
        return mean(row)

    Logits are scaled similarities of any finite size. The caller detaches the teacher's. Nats, 0 or more, and 0 where
    the two differ by a constant in every row. Sum over a row's columns, mean over rows. Raises AssertionError if the
    shapes differ.

    By hand: logits [[0, 0]] and teacher [[log 3, 0]] give 3/4 log(3/2) + 1/4 log(1/2) = 0.1308.
    """
    assert logits.shape == teacher_logits.shape, "logits and teacher_logits must have one shape"
    student, teacher = log_softmax(logits.float(), dim=1), log_softmax(teacher_logits.float(), dim=1)
    return (teacher.exp() * (teacher - student)).sum(dim=1).mean()


def soft_target_nce(
    logits: Float[Tensor, "A C"],
    teacher_logits: Float[Tensor, "A C"],
    positive: Bool[Tensor, "A C"],
    negative: Bool[Tensor, "A C"],
    share: float,
) -> Float32[Tensor, ""]:
    """ALBEF's contrast with soft targets (Li et al., NeurIPS 2021): InfoNCE whose target is partly the teacher's.

    Each positive is contrasted on its own with the row's negatives. The target is (1 - share) x one-hot + share x the
    teacher's softmax over the same candidates. A column that is neither positive nor negative is ignored. Share 0 is
    InfoNCE.

        for i in rows:
            for p where positive[i, p]:
                candidates = [p, *(n where negative[i, n])]
                q, r = softmax of the teacher's and of the student's logits over the candidates
                term[p] = -sum((share * q[j] + (1 - share) * (j == p)) * log(r[j]) for j in candidates)
            row[i] = mean(term)
        return mean(row)

    Logits are scaled similarities of any finite size. The caller detaches the teacher's. `share` is in [0, 1]. Nats, 0
    or more; never below share x the teacher's entropy. Mean over a row's positives, then over all rows. A row without
    positives or without negatives counts 0 and has zero gradient. Raises AssertionError if the shapes differ.

    By hand: logits and teacher_logits [[log 3, 0]], the first column positive and the second negative, and share 0.4
    give the target (0.9, 0.1) and the loss 0.9 log(4/3) + 0.1 log(4) = 0.3975.
    """
    shapes = {logits.shape, teacher_logits.shape, positive.shape, negative.shape}
    assert len(shapes) == 1, "logits, teacher_logits and masks must have one shape"
    # Only differences matter. Without this shift a small logarithm would be lost next to logits in the thousands.
    student, teacher = (x.float() - x.detach().float().amax(dim=1, keepdim=True) for x in (logits, teacher_logits))
    contrasted = negative.any(dim=1, keepdim=True)  # (A, 1)
    # A row in which everything is -inf has a NaN gradient. Such a row keeps its logits here and is dropped below.
    others = negative | ~contrasted
    of_student, of_teacher = (
        torch.where(others, x, -torch.inf).logsumexp(dim=1, keepdim=True) for x in (student, teacher)
    )  # (A, 1)
    weight = torch.where(others, teacher - of_teacher, -torch.inf).exp()  # the teacher's softmax over negatives
    expected = (weight * student).sum(dim=1, keepdim=True)  # (A, 1)
    # -sum_j y_j log r_j = InfoNCE + share * (the teacher's probability of a negative) * (s_p - expected)
    terms = softplus(of_student - student) + share * (of_teacher - teacher).sigmoid() * (student - expected)
    return mean_per_anchor(torch.where(contrasted, terms, 0.0), positive)


def soft_alignments(
    local: dict[str, Tensor], gathered: dict[str, Tensor], scale: Float[Tensor, "1"]
) -> Float32[Tensor, ""]:
    """Mean of `soft_alignment` over original and augmented images, each from text to image and from image to text.

    Takes unit-length embeddings by name (image, aug, text, teacher_image, teacher_aug), B local rows and N gathered
    ones. Student and teacher share `scale`, the factor on the cosines. The teacher has no text tower: its images are
    compared with the student's texts.
    """
    losses = []
    for view in ("image", "aug"):
        for rows, columns in (("text", view), (view, "text")):
            student = scale * (local[rows].float() @ gathered[columns].float().T)
            of_rows, of_columns = (name if name == "text" else f"teacher_{name}" for name in (rows, columns))
            teacher = scale * (local[of_rows].float() @ gathered[of_columns].float().T)
            losses.append(soft_alignment(student, teacher.detach()))
    return torch.stack(losses).mean()
