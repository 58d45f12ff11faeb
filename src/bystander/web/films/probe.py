"""A process of its own: is this a film, and which? ``python -m bystander.web.films.probe FILE MAX_SECONDS``.

Told by decoding, never by a name. Prints one JSON line: ``info``, or ``error`` with a code that pages translate.
Formats that lead to other files or addresses (playlists, lists of files) are not opened.
"""

from __future__ import annotations

import sys
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from bystander.errors import InputError
from bystander.media.reader import FileReader, open_reader
from bystander.media.writer import FORMATS, holds
from bystander.web.films.tell import tell

# FFmpeg's names; all of them keep their pictures in the file itself
KNOWN = ("mov", "matroska", "avi", "mpegts", "mpeg", "mpegvideo", "flv", "asf", "ogg", "mxf", "gxf", "rm", "wtv", "dv",
         "h264", "hevc", "av1", "obu", "ivf", "m4v", "gif", "nut", "yuv4mpegpipe")  # fmt: skip
# and what is told apart from no film at all: sound, pictures, text
TOLD = ("mp3", "wav", "flac", "aac", "ac3", "aiff", "caf", "image2", "png_pipe", "jpeg_pipe", "webp_pipe", "bmp_pipe",
        "tiff_pipe", "tty")  # fmt: skip
PLAYED_SOUND = frozenset(("aac", "mp3", "opus", "flac"))  # by browsers, in an MP4
PIXELS = 8192 * 4608


class NoFilm(Exception):
    """``code`` for pages, one sentence for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def main(argv: list[str]) -> int:
    try:
        found = probe(Path(argv[0]), float(argv[1]))
    except NoFilm as e:
        tell("error", code=e.code, message=str(e))
        return 2
    tell("info", **found)
    return 0


def probe(path: Path, max_seconds: float) -> dict[str, Any]:
    """``info`` for the owner, ``inner`` for the jobs. NoFilm with what is wrong."""
    kind = format_of(path)
    try:
        with closing(open_reader(path)) as reader:
            return about(reader, kind, max_seconds)
    except InputError as e:
        if "audio only" in str(e):
            raise NoFilm("audio_only", "There is sound in this file but no picture; choose a film.") from e
        if "codec is unknown" in str(e):
            raise NoFilm("unsupported", "This film's picture format is unknown here; convert it to H.264.") from e
        raise NoFilm("not_a_film", "Not one picture in this file can be read; it is damaged or no film.") from e


def format_of(path: Path) -> str:
    """FFmpeg's name of the container. NoFilm for what is none of those we know."""
    wrong = NoFilm("not_a_film", "This is not a film that can be read here; choose an MP4, MOV, MKV, WebM or AVI file.")
    try:
        options = {"format_whitelist": ",".join((*KNOWN, *TOLD)), "protocol_whitelist": "file"}
        with av.open(f"file:{path}", options=options, metadata_errors="replace") as container:
            names, pictures = container.format.name.split(","), len(container.streams.video)
            sounds = len(container.streams.audio)
    except (av.FFmpegError, OSError, ValueError) as e:
        raise wrong from e
    if not pictures and sounds:
        raise NoFilm("audio_only", "There is sound in this file but no picture; choose a film.")
    if names[0].endswith("_pipe") or names[0] == "image2":
        raise NoFilm("still_picture", "This is a picture, not a film; use bystander file for pictures.")
    known = next((n for n in names if n in KNOWN), None)
    if known is None or not pictures:
        raise wrong
    return names[0]


def about(reader: FileReader, kind: str, max_seconds: float) -> dict[str, Any]:
    info = reader.info
    if info.width * info.height > PIXELS:
        raise NoFilm("too_many_pixels", f"{info.width}x{info.height} px are too many; scale the film down first.")
    frames, duration_s = measured(reader)
    if duration_s > max_seconds:
        raise NoFilm("too_long", f"The film lasts {duration_s / 60:.1f} minutes; {max_seconds / 60:g} are allowed. "
                     "Cut it into parts.")  # fmt: skip
    audio = [s.codec_context.name for s in reader.container.streams.audio if s.codec_context]
    tracks = [*reader.container.streams.audio, *reader.container.streams.subtitles]
    suffix = suffix_for([s.codec_context.name if s.codec_context else "" for s in tracks])
    turned = info.rotation_deg % 180 != 0
    first = reader.first
    playable_sound = set(audio) <= PLAYED_SOUND
    h264 = reader.stream.codec_context.name == "h264" and first.format.name in ("yuv420p", "yuvj420p")
    return {
        "info": {
            "width": info.height if turned else info.width, "height": info.width if turned else info.height,
            "duration_s": round(duration_s, 3), "fps": round(info.fps or frames / max(duration_s, 1e-3), 3),
            "frames": frames, "audio": bool(audio),
        },
        "inner": {
            "rotation": info.rotation_deg, "suffix": suffix, "sound": audio,
            "source_plays": kind == "mov" and h264 and playable_sound,
            "covered_plays": suffix == ".mp4" and playable_sound,
        },
    }  # fmt: skip


def measured(reader: FileReader) -> tuple[int, float]:
    """Number of packets with a picture and the time they span: what the header states may be wrong."""
    frames, first, last = 0, None, Fraction(0)
    with av.open(f"file:{reader.path}") as container:
        for packet in packets(container, reader.stream.index):
            stamp = packet.pts if packet.pts is not None else packet.dts
            if packet.size == 0:
                continue
            frames += 1
            if stamp is not None and packet.time_base:
                at = stamp * packet.time_base
                first = at if first is None else min(first, at)
                last = max(last, at + (packet.duration or 0) * packet.time_base)
    fps = reader.info.fps or 25
    return frames, float(last - first) if first is not None and last > first else frames / fps


def packets(container: Any, index: int) -> Any:
    """Packets of one stream until the end or the first damage."""
    try:
        yield from container.demux(container.streams[index])
    except (av.FFmpegError, OSError):
        return


def suffix_for(codecs: list[str]) -> str:
    """The kind of file that holds all of the source's sound and subtitles. NoFilm where none does."""
    for suffix in (".mp4", ".mkv"):
        if all(holds(FORMATS[suffix], codec) for codec in codecs):
            return suffix
    names = ", ".join(sorted(set(codecs)))
    raise NoFilm("sound_unsupported", f"Sound or subtitles of this film ({names}) cannot be kept; convert them first.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
