"""What data, transforms, a loader, a step and a loop cost: ``python -m ignite_pipeline.profiling``."""
