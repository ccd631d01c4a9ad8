"""Image models on PyTorch-Ignite: data, models and the step functions that engines run."""
