"""What a folder of images holds, before anything is trained on it: ``python -m ignite_pipeline.look``."""
