"""YOLOv5 (the v6/v7 architecture) in plain PyTorch: p, n and s, any number of classes.

Images ``(b, 3, h, w)`` RGB 0-1 go in, h and w multiples of 32. In training mode the three raw heads come out,
``(b, anchors, h/stride, w/stride, 5 + classes)`` each; in evaluation mode decoded predictions
``(b, n, 5 + classes)``: cx, cy, w, h in input px, objectness, class scores 0-1.

Parameter names follow the published models (github.com/ultralytics/yolov5, models/yolov5n.yaml), so a published
state dict loads key for key. Layer ``i`` of that file is ``model.i`` here.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bystander.stages.detector import INTERVIEW
from bystander_lab.widerface import DataError

STRIDES = (8, 16, 32)
# depth, width multipliers: n and s as published; p ("pico") has half of n's channels, for machines with one slow core
SIZES = {"p": (0.33, 0.125), "n": (0.33, 0.25), "s": (0.33, 0.50)}
FACE = ("face",)
# k-means over 7,917 augmented faces at 352 px (anchors.py) gave sides from 4x6 to 77x97 px at a mean best IoU of 0.78;
# spread upward at the same aspect, because in use (640 px) large faces are larger than in training pictures
FACE_ANCHORS = (
    ((5, 6), (8, 10), (12, 15)),
    ((18, 23), (27, 35), (43, 54)),
    ((68, 86), (110, 140), (180, 230)),
)


class Conv(nn.Module):
    def __init__(self, c_in: int, c_out: int, k: int = 1, s: int = 1, p: int | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, k, s, k // 2 if p is None else p, bias=False)
        self.bn = nn.BatchNorm2d(c_out, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, c: int, shortcut: bool) -> None:
        super().__init__()
        self.cv1 = Conv(c, c, 1)
        self.cv2 = Conv(c, c, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class C3(nn.Module):
    """Cross-stage partial block with three convolutions."""

    def __init__(self, c_in: int, c_out: int, n: int, shortcut: bool = True) -> None:
        super().__init__()
        c = c_out // 2
        self.cv1 = Conv(c_in, c)
        self.cv2 = Conv(c_in, c)
        self.cv3 = Conv(2 * c, c_out)
        self.m = nn.Sequential(*(Bottleneck(c, shortcut) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class SPPF(nn.Module):
    """Spatial pyramid pooling: three 5x5 pools in a row see 5, 9 and 13 cells."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.cv1 = Conv(c_in, c_in // 2)
        self.cv2 = Conv(c_in * 2, c_out)
        self.m = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.cv1(x)
        a = self.m(x)
        b = self.m(a)
        return self.cv2(torch.cat((x, a, b, self.m(b)), 1))


class Role(nn.Module):
    """What tells roles at one level: a face's own features there, what is around it, and the picture as a whole.

    Starts undecided: the last weights are zero.
    """

    def __init__(self, channels: int, around: int, overall: int, outputs: int) -> None:
        super().__init__()
        self.near = Conv(channels + around, around)
        self.far = nn.Conv2d(overall, around, 1, bias=False)
        self.mix = Conv(around, around, 3)
        self.last = nn.Conv2d(around, outputs, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, features: Tensor, around: Tensor, overall: Tensor) -> Tensor:
        near = self.near(torch.cat((features, around), 1))  # (b, around, h, w)
        return self.last(self.mix(near + self.far(overall)))  # (b, outputs, h, w)


class Context(nn.Module):
    """A second look at the whole picture, at half its size, that may learn: who is meant is seldom seen on the face.

    The layers are those of the detector down to its finest features, and start as copies of them. A fifth of the
    detector's time.
    """

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.model = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(b, 3, h, w) -> what is around each place (b, c, h/16, w/16), and the whole picture (b, c', 1, 1)."""
        _, top, small = pyramid(self.model, F.avg_pool2d(x, 2), like)
        return small, top.mean((2, 3), keepdim=True)


def like(x: Tensor, other: Tensor) -> Tensor:
    """``x`` without the row or column that doubling added: half a picture's side need not be a multiple of 32."""
    return x[..., : other.shape[-2], : other.shape[-1]]


class Detect(nn.Module):
    """One 1x1 convolution a level; anchors are kept in cells of their level, as published.

    For roles, the classes come from layers of their own, and the published convolutions stay those of a face
    detector: boxes and objectness cannot change while roles are learnt.
    """

    anchors: Tensor

    def __init__(self, classes: int, channels: tuple[int, int, int], anchors_px: Any, *, roles: bool) -> None:
        super().__init__()
        around, overall, _ = channels  # of the context's two outputs
        px = torch.tensor(anchors_px, dtype=torch.float32)  # (levels, anchors, 2)
        self.register_buffer("anchors", px / torch.tensor(STRIDES).view(-1, 1, 1))
        a, own = px.shape[1], len(FACE) if roles else classes
        self.m = nn.ModuleList(nn.Conv2d(c, (5 + own) * a, 1) for c in channels)
        self.role = nn.ModuleList(Role(c, around, overall, classes * a) for c in channels) if roles else None
        for conv, stride in zip(self.m, STRIDES, strict=True):
            bias = conv.bias.data.view(a, -1)  # start from about 8 objects a 640 px picture
            bias[:, 4] += math.log(8 / (640 / stride) ** 2)
            bias[:, 5:] += math.log(0.6 / (own - 0.99999))

    def forward(self, features: list[Tensor], context: tuple[Tensor, Tensor] | None = None) -> list[Tensor] | Tensor:
        heads = [self.split(conv(x)) for conv, x in zip(self.m, features, strict=True)]
        if self.role and context:
            small, overall = context
            around = (F.interpolate(small, scale_factor=2.0), small, F.max_pool2d(small, 2))  # strides 8, 16, 32
            roles = [self.split(r(x, a, overall)) for r, x, a in zip(self.role, features, around, strict=True)]
            heads = [torch.cat((face[..., :5], role), -1) for face, role in zip(heads, roles, strict=True)]
        return heads if self.training else torch.cat([self.decode(i, head) for i, head in enumerate(heads)], 1)

    def split(self, y: Tensor) -> Tensor:
        """(b, a * o, h, w) -> (b, a, h, w, o)."""
        b, _, h, w = y.shape
        return y.view(b, self.anchors.shape[1], -1, h, w).permute(0, 1, 3, 4, 2)

    def decode(self, level: int, raw: Tensor) -> Tensor:
        """(b, a, h, w, o) logits -> (b, a*h*w, o) predictions in input px."""
        b, a, h, w, o = raw.shape
        y = raw.float().sigmoid()
        rows = torch.arange(h, device=raw.device, dtype=torch.float32).view(1, 1, h, 1)
        cols = torch.arange(w, device=raw.device, dtype=torch.float32).view(1, 1, 1, w)
        stride = STRIDES[level]
        anchors = self.anchors[level].view(1, a, 1, 1, 2) * stride
        cx = (y[..., 0] * 2 - 0.5 + cols) * stride
        cy = (y[..., 1] * 2 - 0.5 + rows) * stride
        wh = (y[..., 2:4] * 2) ** 2 * anchors
        return torch.cat((cx[..., None], cy[..., None], wh, y[..., 4:]), -1).reshape(b, -1, o)


def top_down(depth: float, width: float) -> list[nn.Module]:
    """Layers 0 to 17: the backbone, and the pyramid down to its finest features."""
    c1, c2, c3, c4, c5 = channels_of(width)

    def rep(n: int) -> int:
        return max(round(n * depth), 1)

    return [
        Conv(3, c1, 6, 2, 2),  # 0
        Conv(c1, c2, 3, 2),
        C3(c2, c2, rep(3)),
        Conv(c2, c3, 3, 2),
        C3(c3, c3, rep(6)),  # 4: stride 8
        Conv(c3, c4, 3, 2),
        C3(c4, c4, rep(9)),  # 6: stride 16
        Conv(c4, c5, 3, 2),
        C3(c5, c5, rep(3)),
        SPPF(c5, c5),  # 9: stride 32
        Conv(c5, c4),  # 10
        nn.Upsample(scale_factor=2),
        nn.Identity(),  # 12: concatenated with 6
        C3(2 * c4, c4, rep(3), shortcut=False),
        Conv(c4, c3),  # 14
        nn.Upsample(scale_factor=2),
        nn.Identity(),  # 16: concatenated with 4
        C3(2 * c3, c3, rep(3), shortcut=False),  # 17
    ]


def channels_of(width: float) -> tuple[int, ...]:
    return tuple(math.ceil(c * width / 8) * 8 for c in (64, 128, 256, 512, 1024))


def pyramid(
    m: nn.ModuleList, x: Tensor, fit: Callable[[Tensor, Tensor], Tensor] = lambda x, _: x
) -> tuple[Tensor, Tensor, Tensor]:
    """Layers 0 to 17 -> the outputs of 14, 10 and 17. ``fit`` trims what was doubled to what it is joined with."""
    for layer in m[:5]:
        x = layer(x)
    p3 = x
    p4 = m[6](m[5](p3))
    top = m[10](m[9](m[8](m[7](p4))))
    lateral = m[14](m[13](torch.cat((fit(m[11](top), p4), p4), 1)))
    small = m[17](torch.cat((fit(m[15](lateral), p3), p3), 1))
    return lateral, top, small


class YOLOv5(nn.Module):
    def __init__(self, depth: float, width: float, names: tuple[str, ...] = FACE, anchors: Any = FACE_ANCHORS) -> None:
        super().__init__()
        self.names = tuple(names)
        _, _, c3, c4, c5 = channels_of(width)
        n, roles = max(round(3 * depth), 1), INTERVIEW in names
        self.model = nn.ModuleList(
            [
                *top_down(depth, width),
                Conv(c3, c3, 3, 2),  # 18
                nn.Identity(),  # 19: concatenated with 14
                C3(2 * c3, c4, n, shortcut=False),  # 20
                Conv(c4, c4, 3, 2),
                nn.Identity(),  # 22: concatenated with 10
                C3(2 * c4, c5, n, shortcut=False),  # 23
                Detect(len(names), (c3, c4, c5), anchors, roles=roles),  # 24
            ]
        )
        self.context = Context(top_down(depth, width)) if roles else None

    def forward(self, x: Tensor) -> list[Tensor] | Tensor:
        m = self.model
        lateral, top, small = pyramid(m, x)
        medium = m[20](torch.cat((m[18](small), lateral), 1))
        large = m[23](torch.cat((m[21](medium), top), 1))
        return m[24]([small, medium, large], self.context(x) if self.context else None)


def yolov5(size: str, names: tuple[str, ...] = FACE, anchors: Any = FACE_ANCHORS) -> YOLOv5:
    """YOLOv5 of one of ``SIZES``. KeyError for another one."""
    depth, width = SIZES[size]
    return YOLOv5(depth, width, names, anchors)


def load_checkpoint(path: Path) -> tuple[YOLOv5, dict[str, Any]]:
    """The averaged weights of a training checkpoint as a model in evaluation mode, and the checkpoint itself.

    Only tensors and plain values are unpickled. OSError, KeyError or RuntimeError when the file does not fit.
    """
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    model = yolov5(checkpoint["size"], tuple(checkpoint["names"]))
    model.load_state_dict(checkpoint["ema"])
    return model.eval(), checkpoint


def open_checkpoint(path: Path) -> tuple[YOLOv5, dict[str, Any]]:
    """``load_checkpoint`` with DataError for a file that is not a training checkpoint. OSError when missing."""
    try:
        return load_checkpoint(path)
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, RuntimeError) as e:
        raise DataError(f"{path}: not a checkpoint that bystander-lab train wrote ({type(e).__name__})") from e
