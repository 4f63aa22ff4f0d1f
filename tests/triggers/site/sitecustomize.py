"""Takes a mend out of this process, before it imports anything; where it stands on the path of a child, of that too."""

import os
import sys
from pathlib import Path

if named := os.environ.get("INTURN_TEST_PLANTED"):
    sys.path.append(str(Path(__file__).resolve().parents[3]))
    from tests.triggers import planted

    planted.plant(planted.named(named))
