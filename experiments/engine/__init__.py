"""Training: the step, the loop around it, evaluation, checkpoints, run directories."""
