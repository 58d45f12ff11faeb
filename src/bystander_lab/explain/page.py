"""The summary for people: one page that needs nothing beside it, and its plots as files. Shows faces uncovered."""

from __future__ import annotations

import base64
import html
import io
import json
from pathlib import Path
from typing import Any

from bystander_lab.explain.faithful import FRACTIONS
from bystander_lab.explain.regions import REGIONS

COLOURS = ("#d1495b", "#8e5ea2", "#3e7cb1", "#9aa0a6", "#edae49", "#66a182", "#d9d9d9")  # as REGIONS
STYLE = """body{font:16px/1.5 sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem} img{max-width:100%}
figure{display:inline-block;width:30rem;margin:.5rem;vertical-align:top}"""


def write_page(folder: Path, name: str, report: dict[str, Any], examples: list[dict[str, Any]]) -> None:
    """``summary.json``, ``*.png`` and ``index.html``. OSError when the folder says no."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_text(json.dumps({"model": name, **report}, indent=1), encoding="utf-8")
    plots = {"evidence": evidence_plot(report), "curves": curves_plot(report), "randomisation": random_plot(report)}
    for key, png in plots.items():
        (folder / f"{key}.png").write_bytes(png)
    titles = {"evidence": "Where the positive evidence lies", "curves": "Deletion and insertion",
              "randomisation": "Maps of shuffled networks"}  # fmt: skip
    body = "".join(f"<h2>{titles[k]}</h2>{image(png, 'png', titles[k])}" for k, png in plots.items())
    shown = "".join(figure(reason, e) for reason, e in telling(examples))
    found = "".join(f"<p>{html.escape(p)}</p>" for p in findings(report))
    (folder / "index.html").write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>What the model looks at</title>'
        f"<style>{STYLE}</style><h1>What the model looks at</h1><p><strong>This page shows faces uncovered.</strong> "
        f"Model {html.escape(name)}, {report['faces']} faces.</p>{found}{body}<h2>Telling examples</h2>{shown}</html>",
        encoding="utf-8",
    )


def findings(report: dict[str, Any]) -> list[str]:
    """Sentences made of the figures, so that they cannot say more than these do."""
    best = recommended(report)
    if best is None:
        return [
            "No map was better than a random one at both deletion and insertion: nothing is said of what they show."
        ]
    way = label(best)
    lines = [] if report["told_right"] is None else [told(report)]
    lines.append(
        f"Of the ways tried, {way} did best against a random map: painting out what it names first lowers the area "
        f"under the probability by {best['deletion']['better_than_random_by']:.3f} (better for "
        f"{best['deletion']['faces_better']} of {best['faces']} faces), putting it back first raises it by "
        f"{best['insertion']['better_than_random_by']:.3f} ({best['insertion']['faces_better']} of {best['faces']})."
    )
    lines += [near(r, best) for r in report["faithfulness"] if r["method"] == "near the face"]
    lines += [said_of(r) for r in report["evidence"] if (r["method"], r["layer"]) == (best["method"], best["layer"])]
    if not report["faces_with_marked_regions"]:
        lines.append("No hand or microphone is marked in these pictures, so nothing can be said of them.")
    return lines


def told(report: dict[str, Any]) -> str:
    return f"{report['told_right']} of {report['faces']} faces were told as labelled."


def near(row: dict[str, Any], best: dict[str, Any]) -> str:
    pairs = ", ".join(f"{n} {best[n]['auc']:.3f} against {row[n]['auc']:.3f}" for n in ("deletion", "insertion"))
    return f"Beside taking what is nearest to the face first (areas; deletion: less is better): {pairs}."


def said_of(row: dict[str, Any]) -> str:
    share, even = row["share"], row["share_if_even"]
    parts = [f"{100 * share[n]:.0f} % on {n} ({100 * even[n]:.0f} % if spread evenly)" for n in REGIONS if even[n]]
    return (
        f"Positive evidence for {row['target']}: {', '.join(parts)}. The strongest place lies in the face's box for "
        f"{100 * row['pointing_game_face']:.0f} % of the faces, in face or body for "
        f"{100 * row['pointing_game_face_or_body']:.0f} %."
        if share["face"] is not None
        else f"No map had positive evidence for {row['target']}."
    )


def recommended(report: dict[str, Any]) -> dict[str, Any] | None:
    """The way with the largest gain over the random map; None where none gains on both curves."""
    rows = [r for r in report["faithfulness"] if r["method"] not in ("random", "near the face")]
    good = [r for r in rows if min(gains(r)) > 0]
    return max(good, key=lambda r: sum(gains(r)), default=None)


def gains(row: dict[str, Any]) -> tuple[float, float]:
    return row["deletion"]["better_than_random_by"], row["insertion"]["better_than_random_by"]


def label(row: dict[str, Any]) -> str:
    return row["method"] if row["layer"] == "-" else f"{row['method']} {row['layer']}"


def evidence_plot(report: dict[str, Any]) -> bytes:
    targets = sorted({r["target"] for r in report["evidence"]})
    fig, axes = figure_of(len(targets), max(3.0, 0.3 * len(report["evidence"]) / len(targets) + 1.5))
    for ax, target in zip(axes, targets, strict=True):
        rows = [r for r in report["evidence"] if r["target"] == target and r["share"]["face"] is not None]
        bars = [(label(r), r["share"]) for r in rows] + [("evenly spread", r["share_if_even"]) for r in rows[:1]]
        left = [0.0] * len(bars)
        for name, colour in zip(REGIONS, COLOURS, strict=True):
            values = [share[name] for _, share in bars]
            ax.barh([b for b, _ in bars], values, left=left, color=colour, label=name)
            left = [a + b for a, b in zip(left, values, strict=True)]
        ax.set(title=f"for {target}", xlabel="share of positive evidence", xlim=(0, 1))
        ax.invert_yaxis()
    axes[-1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return png_of(fig)


def curves_plot(report: dict[str, Any]) -> bytes:
    fig, axes = figure_of(2, 4.5)
    for ax, name in zip(axes, ("deletion", "insertion"), strict=True):
        for row in report["faithfulness"]:
            dashed = row["method"] in ("random", "near the face")
            ax.plot(
                FRACTIONS, row[name]["curve"], "--" if dashed else "-", label=f"{label(row)} {row[name]['auc']:.2f}"
            )
        ax.set(title=f"{name} (area below)", xlabel="share of the picture, strongest first", ylabel="probability")
        ax.legend(fontsize=6)
    return png_of(fig)


def random_plot(report: dict[str, Any]) -> bytes:
    fig, (ax,) = figure_of(1, 4)
    for row in report["randomisation"]:
        ax.plot(list(row["rank_correlation"]), list(row["rank_correlation"].values()), "o-", label=label(row))
    ax.set(title="likeness to the true map (1: the same, so it shows nothing learnt)", ylim=(-1, 1), xlabel="shuffled")
    if report["randomisation"]:
        ax.legend(fontsize=6)
    return png_of(fig)


def figure_of(columns: int, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    fig = Figure((6 * columns + 1.5, height), layout="constrained")
    return fig, fig.subplots(1, columns, squeeze=False)[0]


def png_of(fig: Any) -> bytes:
    out = io.BytesIO()
    fig.savefig(out, format="png", dpi=100)
    return out.getvalue()


def telling(examples: list[dict[str, Any]], each: int = 4) -> list[tuple[str, dict[str, Any]]]:
    """Faces told wrongly, those judged most by what lies elsewhere, and those judged most by the face."""
    wrong = [e for e in examples if e["told"] not in (e["role"], "face")][:each]
    rest = [e for e in examples if not any(e is w for w in wrong)]
    rest.sort(key=lambda e: e["shares"]["face"] + e["shares"]["body"])
    away, at = rest[:each], rest[each:][::-1][:each]
    groups = {"told wrongly": wrong, "least evidence on face and body": away, "most evidence on face and body": at}
    return [(reason, e) for reason, chosen in groups.items() for e in chosen]


def figure(reason: str, e: dict[str, Any]) -> str:
    words = f"{reason}: {e['name']}, labelled {e['role']}, told {e['told']}"
    return f"<figure>{image(e['jpeg'], 'jpeg', words)}<figcaption>{html.escape(words)}</figcaption></figure>"


def image(data: bytes, kind: str, words: str) -> str:
    return f'<img alt="{html.escape(words)}" src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'
