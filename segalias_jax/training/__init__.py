"""Training: schedules, optimizers, the compiled step, and the loop around it."""
