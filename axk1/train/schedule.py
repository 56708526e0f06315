"""The course of the learning rate: a pure function of the step, so that a resumed run takes the same values."""

import math

from axk1.train.config import OptimizerConfig


def learning_rate_factor(step: int, total_steps: int, config: OptimizerConfig) -> float:
    """The learning rate of a step as a share of the peak.

    Args:
        step: the step that is about to be taken, from 0 to ``total_steps`` - 1.
        total_steps: all steps of the run.
        config: warm-up, schedule and decay.
    """
    warmup = config.warmup_steps if config.warmup_steps is not None else round(config.warmup_fraction * total_steps)
    if step < warmup:
        return (step + 1) / warmup
    if config.schedule == "constant":
        return 1.0
    share = _cosine(step, warmup, total_steps) if config.schedule == "cosine" else _decay(step, total_steps, config)
    return config.min_lr_ratio + (1 - config.min_lr_ratio) * share


def _cosine(step: int, warmup: int, total_steps: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(total_steps - warmup, 1)))


def _decay(step: int, total_steps: int, config: OptimizerConfig) -> float:
    """1 in the stable part; then falls so that the step after the last would have 0."""
    decay_steps = round(config.decay_fraction * total_steps)
    done = step - (total_steps - decay_steps)
    if done < 0 or decay_steps == 0:
        return 1.0
    progress = (done + 1) / (decay_steps + 1)
    return 1 - math.sqrt(progress) if config.decay_shape == "1-sqrt" else 1 - progress
