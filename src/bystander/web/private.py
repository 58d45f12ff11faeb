"""Small files that only this user may read: keys and secrets."""

from __future__ import annotations

import os
from pathlib import Path


def write_private(path: Path, data: bytes) -> None:
    """Readable by this user alone from its first byte on; at once or not at all."""
    part = path.with_suffix(".partial")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
        f.write(data)
    part.replace(path)
