"""A Visdom server that shows run directories: ``python -m ignite_pipeline.board``."""
