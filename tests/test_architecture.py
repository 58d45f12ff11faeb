import subprocess
import sys
from pathlib import Path

import bystander

CODE = """
import sys, importlib, pkgutil
sys.modules["torch"] = None
import bystander
names = [m.name for m in pkgutil.walk_packages(bystander.__path__, "bystander.") if not m.name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def test_the_runtime_imports_without_torch():
    """Every runtime module imports while torch is blocked."""
    out = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr
    assert int(out.stdout) > 20


def test_only_cover_builds_covered_frames():
    """No module but the cover stage calls CoveredFrame's constructor."""
    root = Path(bystander.__file__).parent
    users = {p.name for p in root.rglob("*.py") if "CoveredFrame(" in p.read_text()}
    assert users == {"cover.py"}
