"""What the loop relies on in every method, as checks that anyone can run on a method of their own.

    from askew.training.contract import check_method
    check_method(MyMethod.Config())

Each check takes a new method on micro towers and raises AssertionError if the method breaks the contract.
"""

from collections.abc import Callable

import torch

from askew.methods.base import Method, MethodConfig
from askew.training.contract import objective, reading, state
from askew.training.contract.micro import micro_method

Check = Callable[[Method], None]
CHECKS: tuple[Check, ...] = (
    reading.reads_its_declared_views,
    reading.needs_only_its_declared_views,
    reading.encodes_sample_by_sample,
    reading.only_embeddings_have_gradient,
    reading.every_trainable_parameter_gets_a_gradient,
    reading.only_teachers_are_frozen,
    reading.bfloat16_is_close_to_float32,
    state.a_step_changes_nothing,
    state.a_step_is_reproducible,
    state.after_step_limits_the_scale,
    state.after_step_keeps_trained_parameters,
    objective.the_order_of_samples_does_not_matter,
    objective.the_values_of_ids_do_not_matter,
    objective.equal_match_ids_are_positives,
    objective.one_match_id_leaves_finite_gradients,
    objective.equal_ranks_average_to_the_whole,
    objective.chunks_equal_the_whole,
    objective.micro_batches_equal_the_whole,
    objective.new_tensors_are_on_the_embeddings_device,
    objective.starts_at_chance,
    objective.overfits_one_batch,
)


def check_method(config: MethodConfig) -> None:
    """Run every check on the method that a configuration builds.

    Raises:
        AssertionError: the first check that fails, with what is wrong.
    """
    for check in CHECKS:
        with torch.random.fork_rng(devices=[]):
            try:
                check(micro_method(config))
            except AssertionError as error:
                raise AssertionError(f"{config.name} fails {check.__name__}: {error}") from error
