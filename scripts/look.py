"""Look at a folder of images before training on it: ``python -m ignite_pipeline.look``."""

from ignite_pipeline.look.__main__ import main

if __name__ == "__main__":
    main()
