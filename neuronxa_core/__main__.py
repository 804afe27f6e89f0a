"""`python -m neuronxa_core`: see cli."""

import sys

from neuronxa_core.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
