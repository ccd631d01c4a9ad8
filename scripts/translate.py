"""Translate images with a trained generator: ``python -m ignite_pipeline.predict.translate``."""

from ignite_pipeline.predict.translate import main

if __name__ == "__main__":
    main()
