"""Compare runs, and put them in a table: ``python -m ignite_pipeline.compare``."""

from ignite_pipeline.compare.__main__ import main

if __name__ == "__main__":
    main()
