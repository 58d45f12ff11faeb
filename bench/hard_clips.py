"""Short films that are hard to cover, made from still portraits, with exact truth.

Portraits go in; out come films of 640x360 px with the true box of every face in every frame, in the format of
``--tracks`` of ``bystander audit``. The same portraits give the same pictures. Faces are placed in a world that a
camera looks at, so that their boxes are known without looking for them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from fractions import Fraction

import av
import cv2
import numpy as np

WIDTH, HEIGHT = 640, 360  # px of the picture
WORLD = 1600, 900  # px of the world; at zoom 1 the camera sees WIDTH x HEIGHT of it
FPS, SECONDS = 25, 3.0
VISIBLE = 0.5  # a face counts while so much of it is inside the picture and not behind anything
BLUR_STEPS = 5  # pictures that are averaged while the shutter is open
Keys = tuple[tuple[float, ...], ...]  # (time in s, value, ...) in order; straight lines between


@dataclass(frozen=True)
class Portrait:
    """A head with its surroundings, and where the face is."""

    rgb: np.ndarray  # (h, w, 3) uint8
    face: tuple[float, float, float, float]  # px in ``rgb``: forehead to chin

    @property
    def alpha(self):
        """(h, w) float32: an ellipse that fades out, so that no straight edge tells where the head is."""
        h, w = self.rgb.shape[:2]
        y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in (h, w))
        return np.clip((1 - np.hypot(x[None], y[:, None])) / 0.15, 0, 1)


@dataclass(frozen=True)
class Actor:
    portrait: int
    path: Keys  # time, x, y of the face's middle in world px, height of the face in world px


@dataclass(frozen=True)
class Scene:
    """One shot. Times count from its start."""

    actors: tuple[Actor, ...]  # the farthest first
    camera: Keys = ((0, WORLD[0] / 2, WORLD[1] / 2, 1),)  # time, x, y of the middle in world px, zoom
    shake: float = 0.0  # px of the picture, amplitude
    shutter: float = 0.0  # share of the time between two frames for which it is open
    light: Keys = ((0, 1),)  # time, factor on the light
    pillar: Keys | None = None  # time, x of the middle in px of the picture: something that passes in front
    seed: int = 0  # of the background


@dataclass(frozen=True)
class Clip:
    name: str
    shots: tuple[tuple[float, Scene], ...]  # start in s, shot
    times: tuple[float, ...] = field(default=tuple(i / FPS for i in range(round(FPS * SECONDS))))  # s, of each frame

    def at(self, time_s):
        """The shot at this time, and the time in it."""
        start, scene = [shot for shot in self.shots if shot[0] <= time_s + 1e-9][-1]
        return scene, time_s - start


PILLAR_PX = 90
MIDDLE = (800.0, 450.0)


def still(portrait, x, y, height):
    return Actor(portrait, ((0, x, y, height),))


def clips():
    """All of them, by what makes them hard."""
    x, y = MIDDLE
    two = (still(1, x - 110, y - 30, 44), still(0, x + 90, y + 10, 80))
    row = tuple(still(k, 420 + 150 * k, y + (-40, 20, 50)[k % 3], (40, 60, 90)[k % 3]) for k in range(6))
    whip = ((0, 520, y, 1), (1.2, 520, y, 1), (1.5, 1080, y, 1), (3, 1080, y, 1))
    walk = (Actor(0, ((0, x - 260, y, 56), (3, x + 260, y, 56))), Actor(2, ((0, x + 220, y, 70), (3, x - 220, y, 70))))
    enter = (
        Actor(
            3, ((0, x - 380, y - 60, 64), (1, x - 200, y - 60, 64), (2, x - 200, y - 60, 64), (3, x - 400, y - 60, 64))
        ),
        Actor(1, ((0, x + 120, y + 260, 90), (1.5, x + 120, y + 60, 90), (3, x + 120, y + 270, 90))),
        Actor(2, ((0, x + 420, y, 50), (3, x + 190, y - 20, 50))),
    )
    runner = (Actor(0, ((0, x - 300, y, 60), (1, x + 280, y - 20, 60), (2, x - 280, y, 60), (3, x + 300, y, 60))),)
    dark = ((0, 1), (0.8, 1), (0.9, 0.25), (1.6, 0.25), (1.64, 2.2), (2.2, 2.2), (2.6, 0.6))
    made = (
        Clip("pan", ((0, Scene(row, ((0, 480, y, 1), (3, 1120, y, 1)))),)),
        Clip("zoom", ((0, Scene(two, ((0, x, y, 0.45), (1.5, x, y, 2.6), (3, x, y, 0.45)))),)),
        Clip("shake", ((0, Scene(two, shake=14, shutter=0.5)),)),
        Clip("whip pan", ((0, Scene(row, whip, shutter=0.5)),)),
        Clip("motion blur", ((0, Scene(runner, shutter=0.9)),)),
        Clip("occluder", ((0, Scene(two, pillar=((0, -60), (1.5, 700), (3, -60)))),)),
        Clip("edge", ((0, Scene(enter)),)),
        Clip("crossing", ((0, Scene(walk)),)),
        Clip("light", ((0, Scene(two, light=dark)),)),
        Clip("cuts", tuple((float(k), Scene((still(k, x - 170 + 60 * k, y - 40 + 30 * k, (50, 90, 38)[k]),
                                             still(k + 1, x + 170 - 40 * k, y + 20, 60)), seed=k)) for k in range(3))),
        Clip("10 fps", ((0, Scene(walk, shake=6)),), tuple(i / 10 for i in range(30))),
        Clip("vfr", ((0, Scene((*two, *runner), shake=4)),), uneven()),
    )  # fmt: skip
    return {c.name: c for c in made}


def uneven():
    """Frame times between 20 and 200 ms apart, as a phone or a screen recording has them; multiples of 1 ms."""
    steps = (0.02, 0.033, 0.04, 0.2, 0.033, 0.066, 0.04, 0.1)
    times = np.cumsum([0, *(steps[i % len(steps)] for i in range(60))])
    return tuple(round(float(t), 3) for t in times if t < SECONDS)


def value(keys, time_s):
    """The values at a time, along straight lines between the keys."""
    table = np.array(keys, float)
    return [float(np.interp(time_s, table[:, 0], column)) for column in table.T[1:]]


def view(scene, time_s):
    """World px -> picture px: scale and shift. Shaking is a sum of two waves that have no common period."""
    cx, cy, zoom = value(scene.camera, time_s)
    sway = [scene.shake * (np.sin(time_s * a) + 0.6 * np.sin(time_s * b)) for a, b in ((23.0, 61.0), (29.0, 47.0))]
    return zoom, WIDTH / 2 - cx * zoom + sway[0], HEIGHT / 2 - cy * zoom + sway[1]


def placed(actor, portrait, scene, time_s):
    """Portrait px -> picture px: scale and shift."""
    x, y, height = value(actor.path, time_s)
    x1, y1, x2, y2 = portrait.face
    zoom, left, top = view(scene, time_s)
    scale = zoom * height / (y2 - y1)
    return scale, zoom * x + left - scale * (x1 + x2) / 2, zoom * y + top - scale * (y1 + y2) / 2


def background(seed):
    """(h, w, 3) RGB uint8: cloudy colours, fine grain, and bars like windows and posts."""
    rng = np.random.default_rng(seed)
    w, h = WORLD
    picture = np.full((h, w, 3), 110, np.float32)
    for cells, strength in ((5, 60), (20, 30), (90, 22), (400, 14)):
        noise = rng.uniform(-1, 1, (cells * h // w + 1, cells, 3)).astype(np.float32)
        picture += strength * cv2.resize(noise, (w, h), interpolation=cv2.INTER_LINEAR)
    for _ in range(40):
        x, y, a, b = (int(v) for v in rng.integers((0, 0, 10, 10), (w, h, 120, 160)))
        cv2.rectangle(picture, (x, y), (x + a, y + b), [float(v) for v in rng.integers(40, 200, 3)], -1)
    return np.clip(picture, 0, 255).astype(np.uint8)


def sharp(scene, time_s, portraits, behind):
    """(HEIGHT, WIDTH, 3) RGB uint8 at one moment, in plain light."""
    picture = moved(behind, view(scene, time_s), (0, 0, WIDTH, HEIGHT), cv2.BORDER_REFLECT)
    for actor in scene.actors:
        portrait = portraits[actor.portrait % len(portraits)]
        how = placed(actor, portrait, scene, time_s)
        if window := window_of(portrait, how):
            x1, y1, x2, y2 = window
            mask = moved(portrait.alpha, how, window)[..., None]
            patch = picture[y1:y2, x1:x2]
            patch[...] = patch * (1 - mask) + moved(portrait.rgb, how, window) * mask
    if scene.pillar:
        a, b = pillar(scene, time_s)
        picture[:, a:b] = (70 + 20 * np.sin(np.arange(HEIGHT) / 9)).astype(np.uint8)[:, None, None]
    return picture


def pillar(scene, time_s):
    """Its left and right edge, px of the picture."""
    x = value(scene.pillar, time_s)[0]
    return (int(np.clip(round(x + d), 0, WIDTH)) for d in (-PILLAR_PX / 2, PILLAR_PX / 2))


def window_of(portrait, how):
    """The part of the picture that a portrait touches, px; None where it touches none."""
    (scale, left, top), (h, w) = how, portrait.rgb.shape[:2]
    x1, y1 = max(0, int(np.floor(left))), max(0, int(np.floor(top)))
    x2, y2 = min(WIDTH, int(np.ceil(left + scale * w))), min(HEIGHT, int(np.ceil(top + scale * h)))
    return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None


def moved(image, how, window, border=cv2.BORDER_CONSTANT):
    """The image scaled and shifted, as far as the window shows it; shrunk by areas, so that it is not ragged."""
    scale, left, top = how
    x1, y1, x2, y2 = window
    sx = sy = 1.0
    if scale < 1:
        size = [max(1, round(n * scale)) for n in image.shape[1::-1]]
        sx, sy = (a / b for a, b in zip(size, image.shape[1::-1], strict=True))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    ax, ay = scale / sx, scale / sy  # pixels' middles lie half a pixel from their corners
    matrix = np.array([[ax, 0, left - x1 + ax / 2 - 0.5], [0, ay, top - y1 + ay / 2 - 0.5]])
    return cv2.warpAffine(image, matrix, (x2 - x1, y2 - y1), flags=cv2.INTER_LINEAR, borderMode=border)


def picture_at(clip, index, portraits, behind):
    """(HEIGHT, WIDTH, 3) RGB uint8. ``behind``: background by seed."""
    scene, time_s = clip.at(clip.times[index])
    step = clip.times[1] - clip.times[0]
    moments = [time_s]
    if scene.shutter:
        moments = time_s + step * scene.shutter * (np.arange(BLUR_STEPS) / (BLUR_STEPS - 1) - 0.5)
    total = sum(sharp(scene, t, portraits, behind[scene.seed]).astype(np.float32) for t in moments)
    light = value(scene.light, time_s)[0]
    return np.clip(np.round(total * (light / len(moments))), 0, 255).astype(np.uint8)


def truth_at(clip, index, portraits):
    """Actor's number -> box in px, of the faces to be seen in a frame, cut at the picture's edge."""
    scene, time_s = clip.at(clip.times[index])
    found, front = {}, np.zeros((HEIGHT, WIDTH), bool)  # what is nearer than the next face
    if scene.pillar:
        a, b = pillar(scene, time_s)
        front[:, a:b] = True
    for number, actor in reversed(list(enumerate(scene.actors))):
        portrait = portraits[actor.portrait % len(portraits)]
        how = placed(actor, portrait, scene, time_s)
        whole = face_box(portrait, how)
        inside = np.clip(whole, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
        x1, y1, x2, y2 = (round(v) for v in inside)
        hidden = front[y1:y2, x1:x2].mean() if x2 > x1 and y2 > y1 else 1.0
        if area(inside) / area(whole) * (1 - hidden) >= VISIBLE:
            found[number] = tuple(round(float(v), 2) for v in inside)
        if window := window_of(portrait, how):
            a, b, c, d = window
            front[b:d, a:c] |= moved(portrait.alpha, how, window) > 0.5
    return found


def face_box(portrait, how):
    """Where the face is in the picture, px, not cut at its edges."""
    scale, left, top = how
    x1, y1, x2, y2 = portrait.face
    return scale * x1 + left, scale * y1 + top, scale * x2 + left, scale * y2 + top


def area(box):
    return (box[2] - box[0]) * (box[3] - box[1])


def truth(clip, portraits):
    """The true tracks, as docs/audit.md describes them. A person of another shot is another person."""
    tracks = {}
    for i, time_s in enumerate(clip.times):
        shot = sum(start <= time_s + 1e-9 for start, _ in clip.shots)
        for number, box in truth_at(clip, i, portraits).items():
            tracks.setdefault((shot, number), {})[str(i)] = box
    people = [{"id": k, "role": "background", "boxes": b} for k, (_, b) in enumerate(sorted(tracks.items()), 1)]
    return {"w": WIDTH, "h": HEIGHT, "frames": len(clip.times), "tracks": people}


def write(clip, path, portraits):
    """The film at ``path`` (MP4) and its truth beside it (.json)."""
    behind = {scene.seed: background(scene.seed) for _, scene in clip.shots}
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"crf": "16", "preset": "veryfast"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        for i, time_s in enumerate(clip.times):
            frame = av.VideoFrame.from_ndarray(picture_at(clip, i, portraits, behind), format="rgb24")
            frame.pts, frame.time_base = round(time_s * 1000), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode())
    path.with_suffix(".json").write_text(json.dumps(truth(clip, portraits)))
    return path
