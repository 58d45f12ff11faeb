"""How a process that works on a film tells the server of it: one JSON line on standard output."""

from __future__ import annotations

import json
import sys
from typing import Any


def tell(event: str, **values: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **values}) + "\n")
    sys.stdout.flush()
