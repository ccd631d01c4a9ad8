"""Measure a trained model on images with known answers: ``python -m ignite_pipeline.evaluate``."""

from ignite_pipeline.evaluate.__main__ import main

if __name__ == "__main__":
    main()
