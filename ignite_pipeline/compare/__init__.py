"""What differs between runs, and which are slower or worse: ``python -m ignite_pipeline.compare``."""
