"""`python -m attestd` is `attestd`."""

import sys

from attestd.cli import main

sys.exit(main())
