"""An audit -> one self-contained HTML page: figures, a timeline as SVG, the worst moments.

Every picture on it is of the covered film, so that the page shows nobody whom that film does not show.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from html import escape

import cv2

from bystander.audit.judge import Moment, Story
from bystander.audit.result import Audit, hits, spans

WIDTH, ROW, LEFT = 900, 16, 110  # px of the drawing: time axis, a person's row, names
MOST_ROWS = 60
COLOURS = {(False, "background"): "#9bb7a4", (True, "background"): "#c8102e", (False, "interview"): "#e2a33b",
           (True, "interview"): "#5b86c4", (False, "either"): "#cccccc", (True, "either"): "#cccccc"}  # fmt: skip
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1040px; margin: 2em auto; padding: 0 1em; color: #222 }
h1 { font-size: 1.4em } h2 { font-size: 1.1em; margin-top: 2em }
.ok { color: #19703a } .bad { color: #c8102e }
td { padding: .1em 1.5em .1em 0 } td:nth-child(2) { text-align: right; font-variant-numeric: tabular-nums }
figure { display: inline-block; margin: 0 .8em .8em 0; vertical-align: top } figcaption { font-size: 12px; color: #555 }
.key span { display: inline-block; width: 1em; height: .8em; margin: 0 .3em 0 1.2em }
svg text { font: 11px system-ui, sans-serif; fill: #555 }
"""


def page(audit: Audit) -> str:
    """The page's HTML."""
    outcome = "passed" if audit.passed else "not passed"
    notes = "".join(f"<li>{escape(n)}</li>" for n in audit.notes)
    moments = "".join(figure(m) for m in audit.verdict.moments) or "<p>No bystander can be seen.</p>"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>bystander audit: {escape(audit.covered.name)}</title>
<style>{STYLE}</style></head><body>
<h1>{escape(audit.covered.name)}: <span class="{"ok" if audit.passed else "bad"}">{outcome}</span></h1>
<p>Compared with {escape(audit.original.name)}, picture by picture.</p>
<table>{"".join(rows(audit))}</table>
<ul>{notes}</ul>
<h2>Who can be seen when</h2>
{timeline(audit)}
<h2>The worst moments</h2>
{moments}
</body></html>
"""


def rows(audit: Audit) -> Iterator[str]:
    f = audit.figures
    lines = [
        ("bystanders' face-frames exposed", f"{f.exposed_pct:.2f} %", f"{f.exposed} of {f.faces}"),
        ("allowed", f"{audit.max_exposed_pct:g} %", ""),
        ("longest time that one of them can be seen", f"{f.longest_ms:.0f} ms", f"{f.longest} frames"),
        ("bystanders exposed at least once", f"{f.people_exposed}", f"of {f.people}"),
        (
            "subjects' face-frames covered",
            f"{f.subject_covered_pct:.2f} %",
            f"{f.subject_covered} of {f.subject_faces}",
        ),
        ("covered without a face near", f"{f.stray_pct:.2f} %", "of the picture"),
        (
            f"face-frames under {audit.min_side:g} px exposed",
            f"{f.small_exposed}",
            f"of {f.small_faces}, counted apart",
        ),
    ]
    for name, value, rest in lines:
        yield f"<tr><td>{escape(name)}</td><td>{value}</td><td>{escape(rest)}</td></tr>"


def timeline(audit: Audit) -> str:
    """One row a person, those exposed first, time to the right."""
    people = sorted((s for s in audit.verdict.stories if s.steps), key=rank)
    shown, end_s = people[:MOST_ROWS], max(audit.duration_s, 1e-9)
    height = ROW * len(shown) + 24
    parts = [f'<svg viewBox="0 0 {LEFT + WIDTH + 20} {height}" width="100%" role="img" aria-label="timeline">']
    for k in range(6):
        x = LEFT + WIDTH * k / 5
        parts.append(f'<line x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{height - 18}" stroke="#e5e5e5"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 4}" text-anchor="middle">{end_s * k / 5:.1f} s</text>')
    for n, story in enumerate(shown):
        name = f"{'subject' if story.person.role == 'interview' else 'person'} {story.person.id}"
        parts.append(f'<text x="0" y="{ROW * n + 12}">{escape(name)}</text>')
        # exposed ones last and never thinner than a pixel: a single frame of a long film must be seen
        for a, b, state in sorted(spans(story.steps, audit.frame_s), key=lambda s: s[2]):
            width = max(1.5, WIDTH * (b - a) / end_s)
            parts.append(
                f'<rect x="{LEFT + WIDTH * a / end_s:.1f}" y="{ROW * n + 2}" width="{width:.1f}" height="{ROW - 4}" '
                f'fill="{COLOURS[state, story.person.role]}"><title>{a:.2f} to {b:.2f} s</title></rect>'
            )
    parts.append("</svg>")
    if len(people) > len(shown):
        parts.append(f"<p>{len(people) - len(shown)} more people are in the JSON.</p>")
    return "".join(parts) + key()


def key() -> str:
    names = {"covered": (False, "background"), "exposed": (True, "background"),
             "subject, sharp": (True, "interview"), "subject, covered": (False, "interview")}  # fmt: skip
    return '<p class="key">' + "".join(
        f'<span style="background:{COLOURS[k]}"></span>{name}' for name, k in names.items()
    ) + "</p>"  # fmt: skip


def rank(story: Story) -> tuple[int, int, int]:
    bystander = story.person.role == "background"
    return (0 if bystander and hits(story.steps) else 1 if story.person.role == "interview" else 2,
            -hits(story.steps), story.person.id)  # fmt: skip


def figure(moment: Moment) -> str:
    data = base64.b64encode(cv2.imencode(".jpg", moment.crop)[1].tobytes()).decode()
    text = f"person {moment.person}, {moment.time_s:.2f} s, {moment.size:.0f} px"
    return f'<figure><img src="data:image/jpeg;base64,{data}" alt=""><figcaption>{text}</figcaption></figure>'
