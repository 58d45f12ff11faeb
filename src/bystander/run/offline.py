"""A file's frames through the filter, as fast as the machine allows.

Decoding, detection (several frames at once, one thread each), covering and encoding overlap. Every queue is bounded, so
memory does not grow with length. A fault in any thread ends the run with its own traceback; nothing hangs.
"""

from __future__ import annotations

import math
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

from bystander.run.face_filter import Detect, FaceFilter
from bystander.run.plan import Look
from bystander.stages.cuts import CutDetector
from bystander.types import CoveredFrame, Detections, Frame, Reader, Writer

T = TypeVar("T")
R = TypeVar("R")
END = object()
ENCODE_AHEAD = 8  # covered frames waiting for the encoder


@dataclass(frozen=True, slots=True)
class OfflineSettings:
    detect_workers: int = 2  # frames detected side by side
    ahead: int = 4  # frames decoded and detected ahead of the encoder, per worker
    closer_every_s: float = 2.0  # between two closer looks of the analysis, within what is followed forwards and back


def ahead_of(source: Iterable[T], size: int) -> Generator[T, None, None]:
    """Run ``source`` in a thread of its own, at most ``size`` items ahead. Its exception is raised here."""
    slots: queue.Queue[object] = queue.Queue(size)
    stop = threading.Event()
    fault: list[BaseException] = []

    def put(item: object) -> bool:
        while not stop.is_set():
            try:
                slots.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in source:
                if not put(item):
                    return
        except BaseException as e:
            fault.append(e)
        finally:
            if isinstance(source, Generator):
                source.close()
            put(END)

    thread = threading.Thread(target=work, name="bystander-ahead", daemon=True)
    thread.start()
    try:
        while (item := slots.get()) is not END:
            yield item  # type: ignore[misc]
        if fault:
            raise fault[0]
    finally:
        stop.set()
        thread.join()


def detected(items: Iterable[T], work: Callable[[T], R], s: OfflineSettings) -> Iterator[tuple[T, R]]:
    """Each item with what ``work`` makes of it, in order; several are worked on at once."""
    with ThreadPoolExecutor(s.detect_workers, "bystander-detect") as pool:
        pending: deque[tuple[T, Future[R]]] = deque()
        for item in items:
            pending.append((item, pool.submit(work, item)))
            if len(pending) >= s.detect_workers * s.ahead:
                first, result = pending.popleft()
                yield first, result.result()
        for first, result in pending:
            yield first, result.result()


@dataclass(frozen=True, slots=True)
class Marked:
    """A frame on its way to the detector."""

    frame: Frame
    cut: bool  # another shot begins with it
    closer: bool  # it is worth a closer look


def marked(frames: Iterable[Frame], closer_every_s: float) -> Iterator[Marked]:
    """The frames in order; a closer look is due at the start of every shot and each ``closer_every_s`` after it."""
    cuts, last_s = CutDetector(), -math.inf
    for frame in frames:
        cut = cuts(frame)
        due = cut or frame.time_s - last_s >= closer_every_s
        last_s = frame.time_s if due else last_s
        yield Marked(frame, cut, due)


def looks(
    reader: Reader, face_filter: FaceFilter, closer: Detect, s: OfflineSettings
) -> Generator[tuple[Frame, Look], None, None]:
    """Each frame of the source with what is found in it, in order; ``closer`` looks where that is due."""

    def look(m: Marked) -> Look:
        found = face_filter.detect(m.frame)
        more = face_filter.detect(m.frame, closer) if m.closer else Detections.none()
        return Look(m.frame.pts, m.frame.time_s, None if more is None else found, m.cut, more or Detections.none())

    with closing(ahead_of(reader, s.detect_workers * s.ahead)) as frames:
        for m, seen in detected(marked(frames, s.closer_every_s), look, s):
            yield m.frame, seen


def covered_frames(reader: Reader, face_filter: FaceFilter, s: OfflineSettings) -> Generator[CoveredFrame, None, None]:
    """All frames of the source, covered, in order."""
    expected = 0
    with closing(ahead_of(reader, s.detect_workers * s.ahead)) as frames:
        for frame, found in detected(frames, face_filter.detect, s):
            for covered in face_filter.push(frame, found):
                expected = in_order(covered, expected)
                yield covered
    for covered in face_filter.flush():
        expected = in_order(covered, expected)
        yield covered


def in_order(covered: CoveredFrame, expected: int) -> int:
    """The next frame's index. AssertionError when a frame was lost or doubled on its way through the filter."""
    if covered.frame.index != expected:
        raise AssertionError(f"frame {covered.frame.index} leaves the filter where {expected} was due")
    return expected + 1


def run_offline(
    reader: Reader,
    writer: Writer,
    face_filter: FaceFilter,
    settings: OfflineSettings | None = None,
    on_frame: Callable[[CoveredFrame], None] = lambda _: None,
) -> None:
    """Cover the whole file: every frame written once, then ``writer.finish()``. On any fault ``writer.abort()``."""
    s = settings or OfflineSettings()
    try:
        with closing(ahead_of(covered_frames(reader, face_filter, s), ENCODE_AHEAD)) as frames:
            for covered in frames:
                with face_filter.meters.stage("encode"):
                    on_frame(covered)
                    writer.write(covered)
        writer.finish()
    except BaseException:
        writer.abort()
        raise
    finally:
        reader.close()
