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
from bystander.run.face_filter import Click, FilterSettings, Zone
from bystander.stages.cover import CELLS, CoverSettings
from bystander.stages.detector import DetectorSettings
from bystander.stages.policy import RULES, PolicySettings
from bystander.stages.tracker import TrackerSettings
from bystander.types import Verdict

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NUMBER = r"(\d+(?:\.\d+)?)"
CLICK = re.compile(f"{NUMBER},{NUMBER}@{NUMBER}")
ZONE = re.compile(",".join([NUMBER] * 4))


@dataclass(frozen=True, slots=True)
class Settings:
    """What a person can choose, flat, as in the TOML file."""

    keep: str = ""  # auto, none or largest, and X,Y@TIME; several with blanks between; empty: auto, if nobody is named
    keep_zone: str = ""  # X,Y,WIDTH,HEIGHT; several with blanks between
    cover: str = ""  # X,Y@TIME; several with blanks between
    max_subjects: int = PolicySettings().max_subjects
    style: str = "pixelate"
    cells: int = CELLS  # across a cover, for pixelate and blur; fewer hide more
    shape: str = "ellipse"
    grow: float = 1.0
    model: str = "n"
    device: str = "auto"
    precision: str = "auto"
    imgsz: int = 640
    min_score: float = TrackerSettings().new_score  # a face counts from this score on; 0-1
    one_pass: bool = False  # decide as the film goes by, as a live run does
    crf: int = 20
    keep_metadata: bool = False
    overwrite: bool = False

    def detector(self) -> DetectorSettings:
        if not 0 < self.min_score < 1:
            raise SettingsError(f"min-score {self.min_score}: must lie between 0 and 1")
        weakest = min(self.min_score, DetectorSettings().min_score)  # weaker than min_score only prolongs a track
        return DetectorSettings(imgsz=self.imgsz, min_score=weakest)

    def weights(self) -> str:
        """The model to open: where no rule asks for roles, the shipped one that finds the same faces in less time."""
        return "n-face" if self.model == "n" and self.rule() != "auto" else self.model

    def runtime(self) -> RuntimeSettings:
        return RuntimeSettings(self.device, self.precision, self.imgsz)

    def writer(self) -> WriterSettings:
        return WriterSettings(self.crf, self.overwrite, self.keep_metadata)

    def filter(self, *, still: bool = False) -> FilterSettings:
        """The stages' settings, for a film or one still picture. SettingsError names the value that does not fit."""
        shape: Any = self.shape
        style: Any = self.style
        policy = PolicySettings(self.rule(), self.grow, shape, self.max_subjects, still)
        named = [w for w in self.keep.split() if w not in RULES]
        clicks = (*clicks_of("keep", named, Verdict.KEEP), *clicks_of("cover", self.cover.split(), Verdict.COVER))
        tracker = TrackerSettings(new_score=self.min_score)
        return FilterSettings(tracker, policy, CoverSettings(style, self.cells), clicks, self.zones())

    def rule(self) -> Any:
        """The rule among the words of ``keep``; who names people or places without a rule means nobody else."""
        rules = [w for w in self.keep.split() if w in RULES]
        if len(rules) > 1:
            raise SettingsError(f"keep {self.keep!r}: choose one of {', '.join(RULES)}")
        return rules[0] if rules else "none" if self.keep.split() or self.keep_zone.split() else "auto"

    def zones(self) -> tuple[Zone, ...]:
        found = []
        for word in self.keep_zone.split():
            match = ZONE.fullmatch(word)
            zone = Zone(*map(float, match.groups())) if match else None
            if zone is None or not zone.width or not zone.height:
                raise SettingsError(f"keep-zone {word!r}: give X,Y,WIDTH,HEIGHT in px of the picture")
            found.append(zone)
        return tuple(found)


def clicks_of(key: str, words: list[str], verdict: Verdict) -> tuple[Click, ...]:
    """X,Y@TIME words as clicks. SettingsError names the word that is none."""
    matches = [CLICK.fullmatch(word) for word in words]
    for word, match in zip(words, matches, strict=True):
        if match is None:
            rules = f"{', '.join(RULES)} or " if key == "keep" else ""
            raise SettingsError(f"{key} {word!r}: choose {rules}X,Y@TIME (px of the picture, seconds)")
    points = (tuple(map(float, m.groups())) for m in matches if m)
    return tuple(Click(x, y, time_s, verdict) for x, y, time_s in points)


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
