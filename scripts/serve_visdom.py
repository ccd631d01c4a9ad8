"""Show runs on a Visdom server of their own: ``python -m ignite_pipeline.board``."""

from ignite_pipeline.board.__main__ import main

if __name__ == "__main__":
    main()
