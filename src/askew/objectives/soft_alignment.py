"""Distillation of soft alignment matrices, the method that the paper contrasts with its log-ratio loss.

Letters: A anchors (rows), C candidates (columns), B this rank's samples, N all ranks' samples.
"""

import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn.functional import log_softmax


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
