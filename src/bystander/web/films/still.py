"""A process of its own: one picture of a film, upright.

``python -m bystander.web.films.still FILM SECONDS OUT.png``
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import cv2

from bystander.media.reader import open_reader
from bystander.web.films.prepare import upright


def main(argv: list[str]) -> int:
    source, moment, out = Path(argv[0]), float(argv[1]), Path(argv[2])
    with closing(open_reader(source)) as reader:
        for frame in reader:
            if frame.time_s >= moment - 1e-4:
                out.write_bytes(cv2.imencode(".png", upright(frame, reader.info.rotation_deg))[1].tobytes())
                return 0
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
