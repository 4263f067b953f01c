"""Masked language modelling. Letters: M token positions, V vocabulary, B this rank's samples, N all ranks' samples.

In two steps, because a mean of means is not the mean: each sample leaves a sum and a count, and the sum over all
samples is divided by the count over all samples.
"""

from jaxtyping import Float, Float32, Int, Real
from torch import Tensor
from torch.nn.functional import cross_entropy

NOT_MASKED = -100  # the label of a position that is not to be predicted


def cross_entropy_per_sample(
    logits: Float[Tensor, "M V"], labels: Int[Tensor, " M"], sample: Int[Tensor, " M"], num_samples: int
) -> tuple[Float32[Tensor, " B"], Float32[Tensor, " B"]]:
    """Sum of the cross-entropy over each sample's masked positions, and their number, both of length num_samples.

    Pass the masked positions only: logits over the vocabulary are the largest tensor of a step. A position labelled
    -100 is left out of the sum and of the count all the same.

        for m in positions where labels[m] != -100:
            sums[sample[m]] += -log(softmax(logits[m])[labels[m]]);  counts[sample[m]] += 1

    Any finite logits, in no need of unit inputs; `sample` in [0, num_samples). Nats, 0 or more; counts are float32, so
    that both can be gathered alike. No position at all gives zeros, still connected to the logits. Raises IndexError or
    RuntimeError (PyTorch's own) for a label outside the vocabulary or a sample out of range.

    By hand: logits [[log 3, 0], [0, 0]], labels [0, 1], both of sample 1 of 2, give sums [0, log(4/3) + log 2] and
    counts [0, 2].
    """
    token_loss = cross_entropy(logits.float(), labels, ignore_index=NOT_MASKED, reduction="none")  # (M,)
    sums = token_loss.new_zeros(num_samples).index_add(0, sample, token_loss)  # (B,)
    counts = token_loss.new_zeros(num_samples).index_add(0, sample, (labels != NOT_MASKED).float())
    return sums, counts


def masked_language(loss_sum: Float[Tensor, " N"], count: Real[Tensor, " N"]) -> Float32[Tensor, ""]:
    """Mean cross-entropy over all masked positions of all samples: Eq. (11).

        return sum(loss_sum) / max(1, sum(count))

    Takes the sums and counts of cross_entropy_per_sample, from every rank. Nats, 0 or more. A mean over masked
    positions, not over samples; exactly 0 with zero gradient where nothing is masked. Raises AssertionError if the
    lengths differ.

    By hand: sums [2, 4, 0] and counts [1, 2, 0] give 6 / 3 = 2, where a mean of the samples' means would be 4/3.
    """
    assert loss_sum.shape == count.shape, "loss_sum and count must have one length"
    return loss_sum.float().sum() / count.float().sum().clamp(min=1)
