"""A training run from its parts: the loop, the step that is wrapped, checkpoints, schedules."""
