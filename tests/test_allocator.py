import ctypes
import subprocess
import sys

import pytest

from bystander import allocator

PROGRAM = """
import numpy as np
from bystander.allocator import return_large_blocks
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
CALL
np.ones(1_400_000, np.uint8)
kept = []
for _ in range(200):  # pictures, and between them small blocks that stay
    kept += [np.ones(900_000, np.uint8), bytearray(64 * 1024)]
before = resident()
del kept[::2]
print(before - resident())
"""


def given_back(call):
    program = PROGRAM.replace("CALL", call)
    return int(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
def test_large_blocks_go_back_at_once():
    """Of 180 MB between small blocks that stay nearly all is given back; without the call most is not."""
    assert given_back("return_large_blocks()") > 150e6
    assert given_back("") < 90e6


def test_another_library_is_no_fault(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())
    assert not allocator.return_large_blocks()
