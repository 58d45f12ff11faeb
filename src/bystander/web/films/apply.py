"""A process of its own: a film's tracks with its edits applied -> the tracks that ``bystander render`` paints by.

``python -m bystander.web.films.apply FOLDER ROTATION``. Only who is kept changes, and boxes are added; no row is lost.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bystander.run.saved import MAX_ID
from bystander.web.films.edits import Area, Edits, fold, read_history
from bystander.web.films.film import Files
from bystander.web.films.index import Index, load_index, stored
from bystander.web.films.people import apply_edits, first_new
from bystander.web.films.tell import tell


def main(argv: list[str]) -> int:
    files, rotation = Files(Path(argv[0])), int(argv[1])
    index = load_index(files.index)
    history = read_history(files.edits)
    write(files, index, fold(history.done, first_new(index)), rotation)
    tell("edited", version=history.version)
    return 0


def write(files: Files, index: Index, edits: Edits, rotation: int) -> None:
    with files.next.open("w", encoding="utf-8") as out:
        for row in edited(files.tracks, index, edits, rotation):
            out.write(json.dumps(row, separators=(",", ":")) + "\n")


def edited(tracks: Path, index: Index, edits: Edits, rotation: int) -> Iterator[dict[str, Any]]:
    """The file's lines. ValueError where the index is not this file's."""
    kept = apply_edits(index, edits).kept
    with tracks.open(encoding="utf-8") as lines:
        yield json.loads(next(lines))
        row = 0
        for i, line in enumerate(lines):
            frame = json.loads(line)
            for t in frame["tracks"]:
                if t["id"] != index.track[row]:
                    raise ValueError("index and tracks are of different films")
                t["kept"] = bool(kept[row])
                row += 1
            frame["tracks"] += boxes_at(index, i, edits.boxes, rotation)
            yield frame
    if row != len(kept):
        raise ValueError("index and tracks are of different films")


def boxes_at(index: Index, frame: int, areas: list[Area], rotation: int) -> list[dict[str, Any]]:
    """The hand-drawn boxes that a frame shows at any moment of its time, as tracks that nothing keeps."""
    begin = float(index.times[frame])
    end = float(index.times[frame + 1]) if frame + 1 < len(index.times) else begin + index.step_s
    size = (int(index.size[0]), int(index.size[1]))
    return [
        {"id": MAX_ID - 1 - n, "xyxy": list(stored((a.x, a.y, a.x + a.w, a.y + a.h), rotation, size)), "speed": 0.0,
         "kept": False}
        for n, a in enumerate(areas)
        if a.from_s < end and begin <= a.to_s
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
