# SPDX-License-Identifier: Apache-2.0
"""What surgery leaves on the eye's surface: wounds, blood, flaps, sutures, trocars; and the lamp's light."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ophclip.corpus.simulate.painter import Painter, arc, blob, circle, polar, ragged
from ophclip.corpus.simulate.state import EyeState
from ophclip.corpus.simulate.style import Style

BLOOD = (150, 16, 18)
SUTURES = 16
GRAFT_RADIUS = 0.69
MOST_DROPS = 14


def draw_surface(canvas: Painter, style: Style, state: EyeState) -> None:
    """Draw everything that lies on the cornea and the sclera."""
    _pterygium(canvas, style, state)
    _trocars(canvas, style, state)
    _flap(canvas, style, state)
    _incision(canvas, style, state)
    _expressed_nucleus(canvas, style, state)
    _graft(canvas, style, state)
    _hydrated_wound(canvas, style, state)
    _injection_bead(canvas, style, state)


def draw_reflexes(canvas: Painter, style: Style, state: EyeState) -> None:
    """Draw the lamp's reflexes on the wet cornea; they stay put while the eye moves a little."""
    sway = 0.03 * np.array([np.sin(state.time_s * 2.1), np.cos(state.time_s * 1.7)])
    rng = np.random.default_rng(style.texture_seed + 4)
    lamp, size = rng.uniform(-0.3, 0.3, 2) + sway, rng.uniform(0.05, 0.1)
    for _ in range(style.lights):  # the bulbs of one lamp: side by side
        place = (float(lamp[0]), float(lamp[1]))
        for spread, alpha in ((2.6, 0.1), (1.6, 0.25), (1.0, 1.0)):
            canvas.disc(place, size * spread, (255, 255, 251), alpha)
        lamp = lamp + polar(float(rng.uniform(2.2, 3.4)) * size, float(rng.uniform(0, 6.28)))
        size *= rng.uniform(0.6, 1.0)


def _frame(angle: float) -> tuple[np.ndarray, np.ndarray]:
    return polar(1.0, angle), polar(1.0, angle + np.pi / 2)


def _blood(canvas: Painter, seed: int, centre: np.ndarray, spread: float, count: int) -> None:
    for outline, alpha in _spatter(seed, spread)[:count]:
        canvas.polygon(outline + centre, BLOOD, alpha)


@lru_cache(maxsize=8)
def _spatter(seed: int, spread: float) -> list[tuple[np.ndarray, float]]:
    rng = np.random.default_rng(seed)
    return [
        (blob(rng, rng.normal(0, spread, 2), rng.uniform(0.03, 0.11)), float(rng.uniform(0.3, 0.7)))
        for _ in range(MOST_DROPS)
    ]


def _incision(canvas: Painter, style: Style, state: EyeState) -> None:
    done = state.done.get("incision", 0.0)
    if done <= 0.15:
        return
    half = 0.17 * min(1.0, done * 1.5)
    for radius, colour, width in ((0.95, (64, 44, 44), 0.035), (0.9, (226, 222, 216), 0.02)):
        canvas.line(arc((0, 0), radius, style.wound_angle - half, style.wound_angle + half, 8), colour, width)
    if style.redness > 0.35:
        _blood(canvas, style.texture_seed + 5, polar(1.06, style.wound_angle), 0.06, int(5 * done))


def _hydrated_wound(canvas: Painter, style: Style, state: EyeState) -> None:
    done = state.done.get("wound_hydration", 0.0)
    if done <= 0:
        return
    for radius, alpha in ((0.3, 0.35), (0.2, 0.45)):
        place = polar(0.84, style.wound_angle)
        canvas.disc(
            (float(place[0]), float(place[1])),
            radius * min(1.0, 0.4 + done),
            (224, 230, 234),
            alpha * min(1.0, 0.3 + done),
        )


def _flap(canvas: Painter, style: Style, state: EyeState) -> None:
    done = state.done.get("scleral_flap_dissection", 0.0)
    if done <= 0:
        return
    out, across = _frame(style.wound_angle)
    bed = np.array(
        [
            out * 1.0 - across * 0.42,
            out * 1.0 + across * 0.42,
            out * 1.72 + across * 0.42,
            out * 1.72 - across * 0.42,
        ]
    )
    peeled = np.array(
        [
            out * 0.98 - across * 0.6,
            out * 0.98 + across * 0.6,
            out * 1.95 + across * 0.66,
            out * 1.95 - across * 0.66,
        ]
    )
    peeled = ragged(style.texture_seed, peeled, 0.035)
    canvas.polygon(peeled, (232, 206, 196), 0.85)
    canvas.polygon(peeled, (190, 90, 84), 0.25)
    canvas.line(peeled, (190, 100, 94), 0.022, closed=True)
    canvas.polygon(bed, (186, 158, 158))
    canvas.line(bed[1:], (120, 22, 22), 0.035)
    canvas.line([tuple(bed[3]), tuple(bed[0])], (120, 22, 22), 0.035)
    lift = 1.72 - 1.1 * min(1.0, done)
    top = np.array(
        [
            out * 1.0 - across * 0.42,
            out * 1.0 + across * 0.42,
            out * lift + across * 0.46,
            out * lift - across * 0.46,
        ]
    )
    canvas.polygon(top + 0.04, (70, 44, 44), 0.4)
    canvas.polygon(top, (242, 226, 214))
    canvas.line(top, (166, 120, 112), 0.02, closed=True)
    _blood(canvas, style.texture_seed + 6, out * 1.5, 0.3, int(4 + 10 * done))


def _expressed_nucleus(canvas: Painter, style: Style, state: EyeState) -> None:
    done = state.done.get("nucleus_expression", 0.0)
    if not 0 < done < 1:
        return
    out, across = _frame(style.wound_angle)
    centre = out * 1.75 * float(np.clip((done - 0.1) / 0.8, 0, 1))
    ellipse = circle((0, 0), 0.46, 28)
    squeeze = 1 - 0.25 * np.exp(-(((np.linalg.norm(centre) - 1) / 0.3) ** 2))
    outline = ellipse[:, :1] * out + ellipse[:, 1:] * across * squeeze + centre
    amber = np.array((196, 160, 84)) * (1 - style.lens_density) + np.array((134, 74, 26)) * style.lens_density
    canvas.polygon(outline + 0.06, (30, 16, 14), 0.4)
    canvas.polygon(outline, (amber * 0.7).tolist())
    canvas.polygon((outline - centre) * 0.8 + centre - 0.02, amber.tolist())
    canvas.polygon((outline - centre) * 0.42 + centre - 0.06, np.minimum(amber * 1.3, 255).tolist(), 0.7)
    canvas.line(outline, (70, 40, 22), 0.025, closed=True)


def _graft(canvas: Painter, style: Style, state: EyeState) -> None:
    cut = state.done.get("trephination", 0.0)
    sewn = state.done.get("graft_suturing", 0.0)
    if state.procedure == "penetrating_keratoplasty":
        if cut < 1:
            canvas.disc((0, 0), 0.7, (196, 198, 196), 0.5)  # the scarred host
        if cut > 0.25:
            turn = 2 * np.pi * min(1.0, cut)
            canvas.line(arc((0, 0), GRAFT_RADIUS, 0, turn, 40), (58, 40, 40), 0.045)
            canvas.line(arc((0, 0), GRAFT_RADIUS - 0.03, 0, turn, 40), (222, 224, 222), 0.02)
        if cut >= 1:
            canvas.disc((0, 0), GRAFT_RADIUS - 0.02, (170, 190, 200), 0.16)
        for index in range(int(np.ceil(SUTURES * sewn))):
            angle = style.wound_angle + 2.4 * index
            canvas.line([tuple(polar(0.55, angle)), tuple(polar(0.85, angle))], (18, 18, 44), 0.028)
            canvas.disc((float(polar(0.86, angle)[0]), float(polar(0.86, angle)[1])), 0.025, (14, 14, 30))


def _pterygium(canvas: Painter, style: Style, state: EyeState) -> None:
    if state.procedure != "pterygium_surgery":
        return
    done = state.done.get("pterygium_excision", 0.0)
    out, across = _frame(style.wound_angle)
    if done > 0.15:
        bare = arc((0, 0), 1.0, style.wound_angle - 0.5, style.wound_angle + 0.5, 8)
        patch = np.concatenate([bare, [out * 1.9 + across * 0.7, out * 1.9 - across * 0.7]])
        patch = ragged(style.texture_seed, patch, 0.014)
        canvas.polygon(patch, (240, 230, 222))
        canvas.line(patch, (196, 96, 90), 0.03, closed=True)
        _blood(canvas, style.texture_seed + 7, out * 1.45, 0.3, int(12 * done))
    if done < 1:
        head = 0.42 + 1.0 * done
        wing = np.array(
            [
                out * head,
                out * (head + 0.5) + across * 0.3,
                out * 2.2 + across * 0.62,
                out * 2.2 - across * 0.62,
                out * (head + 0.5) - across * 0.3,
            ]
        )
        wing = ragged(style.texture_seed + 1, wing, 0.018)
        canvas.polygon(wing + 0.05, (90, 30, 30), 0.35)
        canvas.polygon(wing, (214, 112, 104), 0.92)
        for share in (-0.3, -0.1, 0.12, 0.32):
            canvas.line(
                [tuple(out * (head + 0.1)), tuple(out * 2.1 + across * share * 1.6)], (170, 30, 34), 0.025
            )
        canvas.disc((float(wing[0][0]), float(wing[0][1])), 0.1, (236, 200, 190))
    sewn = state.done.get("graft_suturing", 0.0)
    if sewn > 0:
        graft = np.array(
            [
                out * 1.03 - across * 0.5,
                out * 1.03 + across * 0.5,
                out * 1.85 + across * 0.62,
                out * 1.85 - across * 0.62,
            ]
        )
        canvas.polygon(graft, (236, 190, 178), 0.85)
        rim = np.concatenate([graft, graft[:1]])
        at = np.linspace(0, 3.999, 12)[: int(np.ceil(12 * sewn))]
        for position in at:
            index, share = int(position), position % 1
            spot = rim[index] * (1 - share) + rim[index + 1] * share
            canvas.line([tuple(spot * 0.94), tuple(spot * 1.06)], (20, 20, 50), 0.03)


def _trocars(canvas: Painter, style: Style, state: EyeState) -> None:
    if state.procedure != "pars_plana_vitrectomy":
        return
    for angle in (style.wound_angle, style.side_angle, style.wound_angle + np.pi * 0.9):
        place = polar(1.36, angle)
        centre = (float(place[0]), float(place[1]))
        canvas.disc((centre[0] + 0.03, centre[1] + 0.04), 0.16, (60, 40, 40), 0.4)
        canvas.disc(centre, 0.15, (236, 190, 40))
        canvas.disc(centre, 0.07, (60, 50, 30))
    line = arc(
        tuple(polar(2.0, style.wound_angle + np.pi * 0.9)),
        0.66,
        style.wound_angle - 0.4,
        style.wound_angle + 1.6,
        10,
    )
    canvas.stroke(line, (206, 220, 226), 0.12, 0.7)


def _injection_bead(canvas: Painter, style: Style, state: EyeState) -> None:
    done = state.done.get("intravitreal_injection", 0.0)
    if state.procedure == "pars_plana_vitrectomy" or done <= 0.2:
        return
    place = polar(1.4, style.wound_angle)
    canvas.disc((float(place[0]), float(place[1])), 0.05 + 0.08 * done, (170, 30, 28), 0.65)
    canvas.disc((float(place[0]) - 0.03, float(place[1]) - 0.03), 0.03, (255, 240, 236))
