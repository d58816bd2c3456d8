# SPDX-License-Identifier: Apache-2.0
"""The instruments' shapes. Each is drawn in its own frame: the tip at the origin, the shaft along +x."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ophclip.corpus.simulate.painter import Colour, Painter, arc

REACH = 4.5  # length of a shaft: always out of the picture

STEEL = (150, 156, 166)
TITANIUM = (104, 128, 164)
GOLD = (186, 158, 96)
GLASS = (196, 214, 222)


@dataclass(frozen=True)
class Grip:
    """How an instrument is held at one time: `opening` of its jaws and the `push` of its plunger, 0 to 1."""

    opening: float = 0.0
    push: float = 0.0
    spin: float = 0.0


def draw_instrument(painter: Painter, instrument: str, grip: Grip) -> None:
    """Draw an instrument of the vocabulary, or the unlabelled "chopper", "light_pipe" or "sponge"."""
    _SHAPES[instrument](painter, grip)


def half_width(instrument: str) -> float:
    """Return the half width of an instrument's shaft, for its shadow, in limbus radii."""
    return _HALF_WIDTHS.get(instrument, 0.1)


def _tone(colour: Colour, gain: float) -> tuple[float, float, float]:
    red, green, blue = (min(255.0, part * gain) for part in colour[:3])
    return red, green, blue


def _rod(
    painter: Painter,
    start: float,
    stop: float,
    width: float,
    end_width: float,
    colour: Colour,
    dy: float = 0.0,
) -> None:
    """A round bar seen from the side: dark edges, a body and a streak of light."""
    for share, offset, gain in ((1.0, 0.0, 0.5), (0.78, -0.02, 1.0), (0.22, -0.2, 1.5)):
        a, b = width * share / 2, end_width * share / 2
        ya, yb = dy + offset * width, dy + offset * end_width
        outline = [(start, ya - a), (stop, yb - b), (stop, yb + b), (start, ya + a)]
        painter.polygon(outline, _tone(colour, gain))


def _bent(painter: Painter, points: list[tuple[float, float]], width: float, colour: Colour) -> None:
    painter.line(points, _tone(colour, 0.5), width)
    painter.line(points, colour, width * 0.65)
    painter.line(np.add(points, (0, -width * 0.18)), _tone(colour, 1.55), width * 0.2)


def _knurls(painter: Painter, start: float, stop: float, width: float, colour: Colour) -> None:
    for x in np.arange(start, stop, 0.12):
        painter.line([(x, -width / 2), (x, width / 2)], colour, 0.03)


def _keratome(painter: Painter, grip: Grip) -> None:
    _rod(painter, 1.35, REACH, 0.3, 0.34, (88, 62, 150))
    _rod(painter, 0.5, 1.4, 0.1, 0.14, STEEL)
    blade = [(0, 0), (0.3, -0.2), (0.62, -0.2), (0.74, -0.05), (0.74, 0.05), (0.62, 0.2), (0.3, 0.2)]
    painter.polygon(blade, (176, 184, 196))
    painter.polygon([(0, 0), (0.3, -0.2), (0.62, -0.2), (0.66, 0)], (238, 242, 248))
    painter.line([*blade, (0, 0)], (84, 90, 100), 0.015)


def _glass_syringe(painter: Painter, start: float, hub: Colour, fluid: Colour, push: float) -> None:
    painter.polygon([(start, -0.08), (start + 0.3, -0.16), (start + 0.3, 0.16), (start, 0.08)], hub)
    painter.line([(start + 0.06, -0.05), (start + 0.28, -0.1)], _tone(hub, 1.5), 0.03)
    barrel = [(start + 0.3, -0.25), (REACH, -0.25), (REACH, 0.25), (start + 0.3, 0.25)]
    painter.polygon(barrel, GLASS, 0.75)
    plunger = start + 1.9 - 0.9 * push
    painter.polygon(
        [(start + 0.36, -0.19), (plunger, -0.19), (plunger, 0.19), (start + 0.36, 0.19)], fluid, 0.8
    )
    painter.polygon(
        [(plunger, -0.22), (plunger + 0.12, -0.22), (plunger + 0.12, 0.22), (plunger, 0.22)], (30, 30, 34)
    )
    painter.line([(start + 0.35, -0.17), (REACH, -0.17)], (250, 252, 255), 0.04)
    painter.line(barrel, (120, 136, 146), 0.015)


def _viscoelastic_cannula(painter: Painter, grip: Grip) -> None:
    _glass_syringe(painter, 0.95, (38, 176, 160), (206, 236, 232), grip.push)
    _bent(painter, [(0, 0.05), (0.25, -0.03), (0.55, 0.0), (1.0, 0.0)], 0.085, STEEL)


def _hydrodissection_cannula(painter: Painter, grip: Grip) -> None:
    _glass_syringe(painter, 0.85, (224, 96, 150), (214, 222, 240), grip.push)
    _bent(painter, [(0, 0.14), (0.16, 0.02), (0.9, 0.0)], 0.07, STEEL)
    painter.polygon([(-0.02, 0.1), (0.08, 0.05), (0.1, 0.15), (0.01, 0.2)], (206, 212, 222))


def _cystotome(painter: Painter, grip: Grip) -> None:
    _rod(painter, 1.25, REACH, 0.24, 0.28, (236, 132, 36))
    painter.polygon([(0.95, -0.05), (1.3, -0.14), (1.3, 0.14), (0.95, 0.05)], (250, 170, 70))
    _bent(painter, [(0.02, 0.16), (0.06, 0.02), (0.5, -0.03), (1.0, 0.0)], 0.06, STEEL)


def _capsulorhexis_forceps(painter: Painter, grip: Grip) -> None:
    gap = 0.02 + 0.06 * grip.opening
    for side in (-1.0, 1.0):
        arm = [(0, side * gap + 0.1), (0.1, side * gap), (0.9, side * (gap + 0.05)), (1.7, side * 0.17)]
        _bent(painter, arm, 0.06, TITANIUM)
        _rod(painter, 1.6, REACH, 0.13, 0.16, TITANIUM, dy=side * 0.17)


def _phaco_probe(painter: Painter, grip: Grip) -> None:
    _rod(painter, 1.25, REACH, 0.5, 0.56, (168, 172, 178))
    _knurls(painter, 1.7, 2.6, 0.5, (70, 74, 80))
    _rod(painter, 0.95, 1.3, 0.3, 0.46, (52, 56, 64))
    _rod(painter, 0.2, 1.0, 0.2, 0.28, (40, 120, 214))
    _rod(painter, 0.03, 0.24, 0.1, 0.11, STEEL)
    painter.polygon([(0.0, 0.05), (0.08, -0.05), (0.12, 0.05)], (44, 46, 52))


def _irrigation_aspiration(painter: Painter, grip: Grip) -> None:
    _rod(painter, 1.5, REACH, 0.3, 0.34, (176, 184, 188))
    _knurls(painter, 1.6, 1.9, 0.28, (74, 160, 84))
    _rod(painter, 0.36, 1.55, 0.17, 0.22, (88, 196, 92))
    _bent(painter, [(0.02, 0.06), (0.16, 0.0), (0.45, 0.0)], 0.11, STEEL)
    painter.disc((0.02, 0.06), 0.06, (206, 212, 220))
    painter.disc((0.07, 0.02), 0.024, (30, 32, 36))


def _lens_injector(painter: Painter, grip: Grip) -> None:
    _rod(painter, 1.3, REACH, 0.52, 0.56, (70, 110, 178))
    wings = [(0.95, -0.52), (1.45, -0.56), (1.5, -0.2), (1.5, 0.2), (1.45, 0.56), (0.95, 0.52)]
    painter.polygon(wings, (112, 146, 202), 0.85)
    nozzle = [(0.0, 0.09), (0.12, -0.13), (0.8, -0.24), (1.35, -0.28), (1.35, 0.28), (0.8, 0.24)]
    painter.polygon(nozzle, (186, 206, 226), 0.8)
    lens = 1.1 - 0.9 * grip.push
    painter.polygon(
        [(lens - 0.2, -0.07), (lens + 0.2, -0.1), (lens + 0.2, 0.1), (lens - 0.2, 0.07)], (236, 226, 150)
    )
    painter.line([(lens + 0.2, 0), (1.6, 0)], (60, 62, 72), 0.06)
    painter.line([*nozzle, nozzle[0]], (84, 104, 134), 0.02)
    painter.line([(0.14, -0.09), (0.85, -0.18)], (250, 252, 255), 0.03)


def _scissors(painter: Painter, grip: Grip) -> None:
    spread = 0.05 + 0.33 * grip.opening
    for side in (-1.0, 1.0):
        turn = side * spread
        tip = np.array((0.75, 0)) + np.array((-np.cos(turn), np.sin(turn))) * 0.78
        root = np.array((0.75, 0)) + np.array((np.sin(turn), np.cos(turn))) * 0.1
        other = np.array((0.75, 0)) - np.array((np.sin(turn), np.cos(turn))) * 0.07
        painter.polygon([tuple(tip), tuple(root), tuple(other)], (200, 206, 214))
        painter.line([tuple(tip), tuple(other)], (76, 82, 92), 0.02)
        handle = [(0.75, 0), (1.3, -side * (0.1 + spread * 0.5)), (REACH, -side * (0.34 + spread))]
        _bent(painter, [(float(x), float(y)) for x, y in handle], 0.15, STEEL)
    painter.disc((0.75, 0), 0.085, (90, 96, 104))
    painter.disc((0.74, -0.015), 0.045, (222, 226, 232))


def _needle_holder(painter: Painter, grip: Grip) -> None:
    thread = arc((-0.1, 0.35), 0.35, -1.4, 1.0, 10) + np.stack([np.linspace(0, 1.2, 10), np.zeros(10)], 1)
    painter.line(thread, (30, 34, 70), 0.02)
    gap = 0.03 + 0.1 * grip.opening
    for side in (-1.0, 1.0):
        painter.polygon(
            [(0, 0), (0.0, side * 0.07), (0.5, side * (0.1 + gap)), (0.5, side * 0.01)], (140, 132, 112)
        )
        _rod(painter, 0.45, REACH, 0.16, 0.22, GOLD, dy=side * (0.1 + gap * 0.7))
        _knurls(painter, 1.4, 2.4, 0.5, (116, 92, 46))
    needle = arc((0.06, 0.0), 0.26, grip.spin + 0.2, grip.spin + 3.0, 14)
    painter.line(needle, (40, 42, 48), 0.045)
    painter.line(needle, (210, 214, 222), 0.015)


def _trephine(painter: Painter, grip: Grip) -> None:
    _rod(painter, 0.85, REACH, 0.26, 0.36, (160, 166, 176))
    for radius, gain, width in ((0.78, 0.45, 0.22), (0.78, 1.0, 0.16), (0.74, 1.6, 0.035), (0.67, 0.4, 0.02)):
        painter.ring((0, 0), radius, _tone((150, 156, 168), gain), width)
    for spoke in range(4):
        angle = grip.spin + spoke * np.pi / 2
        ray = np.array((np.cos(angle), np.sin(angle)))
        painter.line([tuple(ray * 0.14), tuple(ray * 0.68)], (60, 64, 72), 0.055)
        painter.line([tuple(ray * 0.14), tuple(ray * 0.68)], (214, 218, 226), 0.02)
    painter.ring((0, 0), 0.14, (190, 60, 50), 0.06)


def _vitrector(painter: Painter, grip: Grip) -> None:
    _rod(painter, 1.55, REACH, 0.42, 0.5, (232, 234, 236))
    _rod(painter, 1.35, 1.6, 0.2, 0.36, (212, 60, 60))
    _rod(painter, 0.0, 1.4, 0.085, 0.1, (118, 124, 134))
    port = 0.03 * grip.opening
    painter.polygon([(0.06, -0.05), (0.16 - port, -0.05), (0.16 - port, 0.01), (0.06, 0.01)], (12, 12, 14))


def _forceps(painter: Painter, grip: Grip) -> None:
    gap = 0.02 + 0.16 * grip.opening
    for side in (-1.0, 1.0):
        arm = [
            (0.02, side * gap * 0.6),
            (0.45, side * (gap + 0.07)),
            (1.3, side * (0.2 + gap * 0.5)),
            (REACH, side * 0.3),
        ]
        _bent(painter, arm, 0.13, (172, 172, 164))
        painter.line([(0.0, side * gap * 0.6), (0.06, side * (gap * 0.6 - 0.06))], (58, 60, 64), 0.04)


def _syringe(painter: Painter, grip: Grip) -> None:
    _rod(painter, 0.0, 0.7, 0.035, 0.05, STEEL)
    painter.polygon([(0.62, -0.07), (0.95, -0.15), (0.95, 0.15), (0.62, 0.07)], (244, 206, 40))
    barrel = [(0.95, -0.24), (REACH, -0.24), (REACH, 0.24), (0.95, 0.24)]
    painter.polygon(barrel, (240, 242, 246), 0.92)
    for index, x in enumerate(np.arange(1.05, 3.2, 0.11)):
        painter.line([(x, 0.22), (x, 0.0 if index % 5 == 0 else 0.1)], (20, 22, 30), 0.022)
    stop = 2.1 - 0.9 * grip.push
    painter.polygon([(stop, -0.22), (stop + 0.16, -0.22), (stop + 0.16, 0.22), (stop, 0.22)], (24, 24, 28))
    painter.line(barrel, (150, 156, 166), 0.02)


def _chopper(painter: Painter, grip: Grip) -> None:
    _rod(painter, 1.2, REACH, 0.16, 0.2, STEEL)
    _bent(painter, [(0.03, 0.12), (0.05, 0.0), (1.25, 0.0)], 0.06, STEEL)


def _light_pipe(painter: Painter, grip: Grip) -> None:
    _rod(painter, 1.3, REACH, 0.26, 0.3, (60, 64, 72))
    _rod(painter, 0.0, 1.35, 0.07, 0.09, (140, 146, 156))
    painter.disc((0, 0), 0.05, (255, 255, 246))


def _sponge(painter: Painter, grip: Grip) -> None:
    painter.polygon([(0, 0), (0.55, -0.26), (0.7, 0.0), (0.55, 0.26)], (246, 244, 238))
    painter.polygon([(0, 0), (0.25, -0.12), (0.25, 0.12)], (226, 150, 140), 0.3 + 0.6 * grip.push)
    _rod(painter, 0.66, REACH, 0.1, 0.1, (226, 226, 220))


_SHAPES: dict[str, Callable[[Painter, Grip], None]] = {
    "keratome": _keratome,
    "viscoelastic_cannula": _viscoelastic_cannula,
    "cystotome": _cystotome,
    "capsulorhexis_forceps": _capsulorhexis_forceps,
    "hydrodissection_cannula": _hydrodissection_cannula,
    "phaco_probe": _phaco_probe,
    "irrigation_aspiration_handpiece": _irrigation_aspiration,
    "lens_injector": _lens_injector,
    "scissors": _scissors,
    "needle_holder": _needle_holder,
    "trephine": _trephine,
    "vitrector": _vitrector,
    "forceps": _forceps,
    "syringe": _syringe,
    "chopper": _chopper,
    "light_pipe": _light_pipe,
    "sponge": _sponge,
}

_HALF_WIDTHS = {
    "phaco_probe": 0.24,
    "lens_injector": 0.27,
    "viscoelastic_cannula": 0.2,
    "hydrodissection_cannula": 0.2,
    "syringe": 0.2,
    "vitrector": 0.16,
    "keratome": 0.16,
    "scissors": 0.2,
    "forceps": 0.22,
    "needle_holder": 0.2,
    "capsulorhexis_forceps": 0.18,
}
