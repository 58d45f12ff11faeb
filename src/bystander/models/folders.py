"""Where this user's caches lie."""

from __future__ import annotations

import os
from pathlib import Path

from bystander.errors import ModelError


def cache_folder(*below: str) -> Path:
    """The folder, made if it is not there. ModelError when that fails."""
    base = os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        folder = Path(base, "bystander", *below).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as e:  # RuntimeError: no home is known
        raise ModelError(f"{base}: the cache folder cannot be made ({e}); set XDG_CACHE_HOME") from e
    return folder
