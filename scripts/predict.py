"""Say what a trained model sees in images: ``python -m ignite_pipeline.predict``."""

from ignite_pipeline.predict.__main__ import main

if __name__ == "__main__":
    main()
