"""Why a face was taken for a subject or a bystander: what in the picture spoke for it, and how sure that answer is.

``why.why`` is the one function that the command, and whatever shows "Why?" on a page, calls. What comes out shows
faces uncovered; this package is of the lab and no part of it may be imported by the runtime.
"""

METHODS = ("gradcam", "gradcam++", "hirescam", "eigencam", "occlusion")
# A row of a detector's predictions is of one place. Grad-CAM averages gradients over the whole picture, so it also
# lights up whatever looks alike elsewhere; HiResCAM weighs each place by its own gradient.
METHOD = "hirescam"
TARGETS = ("interview", "background", "face")
# layers of YOLOv5 that give a map: stride in px and the levels of the head that they reach
LAYERS = {
    "4": (8, (0, 1, 2)),
    "6": (16, (0, 1, 2)),
    "9": (32, (0, 1, 2)),  # the backbone's last: each cell has seen half a picture
    "13": (16, (0, 1, 2)),
    "17": (8, (0, 1, 2)),  # 17, 20, 23: what the head of a level reads
    "20": (16, (1, 2)),
    "23": (32, (2,)),
}
