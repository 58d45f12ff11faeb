"""``python -m bystander``."""

import sys

from bystander.cli import main

sys.exit(main())
