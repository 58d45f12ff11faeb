"""All settings of a run in one place: defaults, a TOML file, flags; later ones win. An unknown key is an error."""

from __future__ import annotations

import difflib
import re
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bystander.errors import SettingsError
from bystander.media.writer import WriterSettings
from bystander.models import RuntimeSettings
from bystander.run.face_filter import Click, FilterSettings
from bystander.stages.cover import CoverSettings
from bystander.stages.detector import DetectorSettings
from bystander.stages.policy import PolicySettings
from bystander.stages.tracker import TrackerSettings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CLICK = re.compile(r"(?P<x>\d+(\.\d+)?),(?P<y>\d+(\.\d+)?)@(?P<t>\d+(\.\d+)?)")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a person can choose, flat, as in the TOML file."""

    keep: str = "none"  # none, largest or X,Y@TIME
    style: str = "pixelate"
    shape: str = "ellipse"
    grow: float = 1.0
    model: str = "n"
    device: str = "auto"
    precision: str = "auto"
    imgsz: int = 640
    min_score: float = TrackerSettings().new_score  # a face counts from this score on; 0-1
    crf: int = 20
    keep_metadata: bool = False
    overwrite: bool = False

    def detector(self) -> DetectorSettings:
        if not 0 < self.min_score < 1:
            raise SettingsError(f"min-score {self.min_score}: must lie between 0 and 1")
        weakest = min(self.min_score, DetectorSettings().min_score)  # weaker than min_score only prolongs a track
        return DetectorSettings(imgsz=self.imgsz, min_score=weakest)

    def runtime(self) -> RuntimeSettings:
        return RuntimeSettings(self.device, self.precision, self.imgsz)

    def writer(self) -> WriterSettings:
        return WriterSettings(self.crf, self.overwrite, self.keep_metadata)

    def filter(self) -> FilterSettings:
        """The stages' settings. SettingsError names the value that does not fit."""
        click = CLICK.fullmatch(self.keep)
        clicks = (Click(float(click["x"]), float(click["y"]), float(click["t"])),) if click else ()
        rule: Any = "none" if click else self.keep
        shape: Any = self.shape
        style: Any = self.style
        tracker = TrackerSettings(new_score=self.min_score)
        return FilterSettings(tracker, PolicySettings(rule, self.grow, shape), CoverSettings(style), clicks)


def load_settings(path: Path | None, flags: dict[str, Any]) -> Settings:
    """Defaults, then the TOML file's keys, then the flags that were given. SettingsError for an unknown key or type."""
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as e:
            raise SettingsError(f"{path}: cannot be read as TOML ({e})") from e
    known = {f.name: f.type for f in fields(Settings)}
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
            raise SettingsError(f"{path}: unknown key {key!r}{hint}")
        if not fits(value, str(known[key])):
            raise SettingsError(f"{path}: {key} must be of type {known[key]}, not {value!r}")
    return Settings(**{**values, **{k: v for k, v in flags.items() if v is not None}})


def fits(value: object, kind: str) -> bool:
    """Whether a TOML value has the field's type; a whole number is fine for a float, a bool is no number."""
    kinds: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}
    return isinstance(value, kinds[kind]) and (kind == "bool" or not isinstance(value, bool))
