"""Find out whether a model waits for data: ``python -m ignite_pipeline.profiling``."""

from ignite_pipeline.profiling.__main__ import main

if __name__ == "__main__":
    main()
