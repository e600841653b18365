"""Runs ``python -m placet``."""

import sys

from placet.cli import main

sys.exit(main())
