"""Masked language modelling. Letters: M token positions, V vocabulary, B this rank's samples, N all ranks' samples.

It takes two steps, because a mean of means is not the mean. Each sample yields a sum and a count. Then the sum over all
samples is divided by the count over all samples.
"""

from jaxtyping import Float, Float32, Int, Real
from torch import Tensor
from torch.nn.functional import cross_entropy

NOT_MASKED = -100  # the label of a position that is not predicted


def cross_entropy_per_sample(
    logits: Float[Tensor, "M V"], labels: Int[Tensor, " M"], sample: Int[Tensor, " M"], num_samples: int
) -> tuple[Float32[Tensor, " B"], Float32[Tensor, " B"]]:
    """Sum of the cross-entropy over each sample's masked positions, and their number, both of length num_samples.

    Pass only the masked positions: logits over the vocabulary are the largest tensor of a training step. Positions
    labelled -100 are left out of both the sum and the count.

        for m in positions where labels[m] != -100:
            sums[sample[m]] += -log(softmax(logits[m])[labels[m]]);  counts[sample[m]] += 1

    Any finite logits, with `sample` in [0, num_samples). Nats, 0 or more. Counts are float32, so that both can be
    gathered in the same way. Without any position the result is zeros that are still connected to the logits. Raises
    PyTorch's own IndexError or RuntimeError for a label outside the vocabulary or a sample out of range.

    By hand: logits [[log 3, 0], [0, 0]] and labels [0, 1], both of sample 1 of 2, give sums [0, log(4/3) + log 2] and
    counts [0, 2].
    """
    token_loss = cross_entropy(logits.float(), labels, ignore_index=NOT_MASKED, reduction="none")  # (M,)
    sums = token_loss.new_zeros(num_samples).index_add(0, sample, token_loss)  # (B,)
    counts = token_loss.new_zeros(num_samples).index_add(0, sample, (labels != NOT_MASKED).float())
    return sums, counts


def masked_language(loss_sum: Float[Tensor, " N"], count: Real[Tensor, " N"]) -> Float32[Tensor, ""]:
    """Mean cross-entropy over all masked positions of all samples: Eq. (11).

        return sum(loss_sum) / max(1, sum(count))

    Takes the sums and counts of cross_entropy_per_sample from all ranks. Nats, 0 or more. The mean is over masked
    positions, not over samples. It is exactly 0 with zero gradient where nothing is masked. Raises AssertionError if
    the lengths differ.

    By hand: sums [2, 4, 0] and counts [1, 2, 0] give 6 / 3 = 2. A mean of the samples' means would be 4/3.
    """
    assert loss_sum.shape == count.shape, "loss_sum and count must have one length"
    return loss_sum.float().sum() / count.float().sum().clamp(min=1)
