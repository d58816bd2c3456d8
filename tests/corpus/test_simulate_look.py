# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ophclip.corpus.simulate.instruments import Grip, draw_instrument
from ophclip.corpus.simulate.painter import Painter
from ophclip.corpus.simulate.procedures import IDLE, Segment, Timeline, Use, draw_timeline
from ophclip.corpus.simulate.render import FPS, Renderer
from ophclip.corpus.simulate.scripts import SCRIPTS
from ophclip.corpus.simulate.style import Style, draw_style
from ophclip.corpus.simulate.vocabulary import INSTRUMENTS, PROCEDURES

Frame = NDArray[np.uint8]
PHACO = "phacoemulsification_surgery"
MSICS = "manual_small_incision_cataract_surgery"
WIDTH = 96
FINGERS_IN_SIGHT = 3  # a texture seed with which a hand holds the instruments


def plain_style(procedure: str, seed: int = 3) -> Style:
    """A look in which two frames differ only by what is asked about."""
    style = draw_style(np.random.default_rng(seed), procedure)
    return replace(
        style,
        noise=0.0,
        mask="none",
        overlay="",
        has_clock=False,
        darkness=0.0,
        redness=0.5,
        limbus_width=0.3,
    )


def at_rest(procedure: str, done_before: tuple[str, ...]) -> Frame:
    timeline = Timeline(procedure, 4.0, (Segment(IDLE, 0.0, 4.0, ()),), done_before)
    return Renderer(timeline, plain_style(procedure), WIDTH).frame(12)


def at_work(
    procedure: str, phase: str, instruments: tuple[str, ...], hidden: frozenset[str] = frozenset()
) -> Frame:
    uses = tuple(Use(instrument, 0.0, 4.0) for instrument in instruments)
    timeline = Timeline(procedure, 4.0, (Segment(phase, 0.0, 4.0, uses),))
    return Renderer(timeline, plain_style(procedure), WIDTH, hidden=hidden).frame(2 * FPS)


def changed_share(first: Frame, second: Frame) -> float:
    """The share of pixels that differ clearly."""
    return float((cv2.absdiff(first, second).max(axis=2) > 24).mean())


@pytest.mark.parametrize(("width", "height"), [(64, 48), (160, 120), (200, 150), (320, 240)])
def test_frames_are_rgb_pictures_of_the_width_asked_for_and_three_quarters_of_its_height(
    width: int, height: int
) -> None:
    timeline = draw_timeline(np.random.default_rng(0), PHACO, 1.0)
    frames = list(Renderer(timeline, plain_style(PHACO), width).frames())
    assert len(frames) == FPS
    for frame in frames:
        assert frame.shape == (height, width, 3)
        assert frame.dtype == np.uint8


def test_a_frame_depends_on_its_time_alone() -> None:
    timeline, style = (
        draw_timeline(np.random.default_rng(1), PHACO, 2.0),
        draw_style(np.random.default_rng(1), PHACO),
    )
    in_order = list(Renderer(timeline, style, WIDTH, 5).frames())
    alone = Renderer(timeline, style, WIDTH, 5)
    for index in (20, 3, 11):
        np.testing.assert_array_equal(alone.frame(index), in_order[index])


def test_another_seed_moves_the_camera_otherwise() -> None:
    timeline = Timeline(PHACO, 4.0, (Segment(IDLE, 0.0, 4.0, ()),))
    first, other = (Renderer(timeline, plain_style(PHACO), WIDTH, seed).frame(10) for seed in (0, 1))
    assert changed_share(first, other) > 0.02


@pytest.mark.parametrize("procedure", [term.key for term in PROCEDURES])
def test_the_picture_is_alive_while_nothing_is_done(procedure: str) -> None:
    timeline = Timeline(procedure, 4.0, (Segment(IDLE, 0.0, 4.0, ()),))
    renderer = Renderer(timeline, plain_style(procedure), WIDTH)
    assert 0.001 < changed_share(renderer.frame(0), renderer.frame(12)) < 0.6


@pytest.mark.parametrize(
    ("procedure", "before", "phase"),
    [
        (PHACO, (), "incision"),
        (PHACO, (), "capsulorhexis"),
        (PHACO, ("capsulorhexis",), "phacoemulsification"),
        (PHACO, ("phacoemulsification",), "irrigation_aspiration"),
        (PHACO, ("phacoemulsification", "irrigation_aspiration"), "lens_implantation"),
        (PHACO, ("incision",), "wound_hydration"),
        (MSICS, ("capsulorhexis",), "nucleus_expression"),
        (MSICS, ("nucleus_expression",), "irrigation_aspiration"),
        ("phakic_lens_surgery", (), "phakic_lens_implantation"),
        ("trabeculectomy", (), "scleral_flap_dissection"),
        ("penetrating_keratoplasty", (), "trephination"),
        ("penetrating_keratoplasty", ("trephination",), "graft_suturing"),
        ("pterygium_surgery", (), "pterygium_excision"),
        ("pterygium_surgery", ("pterygium_excision",), "graft_suturing"),
        ("intravitreal_injection_surgery", (), "intravitreal_injection"),
    ],
)
def test_what_a_phase_did_to_the_eye_stays_visible(
    procedure: str, before: tuple[str, ...], phase: str
) -> None:
    assert changed_share(at_rest(procedure, before), at_rest(procedure, (*before, phase))) > 0.002


def test_a_phase_changes_the_eye_little_by_little() -> None:
    segments = (Segment("capsulorhexis", 0.0, 8.0, ()), Segment(IDLE, 8.0, 9.0, ()))
    renderer = Renderer(Timeline(PHACO, 9.0, segments), plain_style(PHACO), WIDTH)
    untouched = Renderer(Timeline(PHACO, 9.0, (Segment(IDLE, 0.0, 9.0, ()),)), plain_style(PHACO), WIDTH)
    shares = [changed_share(renderer.frame(k * FPS), untouched.frame(k * FPS)) for k in (0, 3, 6)]
    assert shares[0] == 0.0
    assert 0.0 < shares[1] < shares[2]


WORK = sorted(
    {
        (procedure, step.phase, tool)
        for procedure, script in SCRIPTS.items()
        for step in script
        for hands in step.hands
        for hand in hands
        for tool in hand
    }
)


@pytest.mark.parametrize(("procedure", "phase", "instrument"), WORK)
def test_an_instrument_at_work_is_seen(procedure: str, phase: str, instrument: str) -> None:
    shown = at_work(procedure, phase, (instrument,))
    hidden = at_work(procedure, phase, (instrument,), frozenset({instrument}))
    assert changed_share(shown, hidden) > 0.01


def test_hiding_one_instrument_leaves_the_other() -> None:
    both = ("scissors", "forceps")
    neither = at_work("pterygium_surgery", "pterygium_excision", both, frozenset(both))
    for hidden in both:
        one = at_work("pterygium_surgery", "pterygium_excision", both, frozenset({hidden}))
        assert changed_share(one, neither) > 0.01


def test_an_instrument_is_gone_some_time_after_its_use() -> None:
    segments = (
        Segment("incision", 0.0, 2.0, (Use("keratome", 0.0, 2.0),)),
        Segment(IDLE, 2.0, 6.0, ()),
    )
    timeline, style = Timeline(PHACO, 6.0, segments), plain_style(PHACO)
    shown, without = (
        Renderer(timeline, style, WIDTH, hidden=hidden)
        for hidden in (frozenset[str](), frozenset({"keratome"}))
    )
    assert changed_share(shown.frame(FPS), without.frame(FPS)) > 0.01
    np.testing.assert_array_equal(shown.frame(4 * FPS), without.frame(4 * FPS))


def test_an_instrument_moves_while_it_works() -> None:
    still = Timeline(PHACO, 4.0, (Segment("incision", 0.0, 4.0, ()),))
    for term in INSTRUMENTS:
        uses = (Use(term.key, 0.0, 4.0),)
        renderer = Renderer(
            Timeline(PHACO, 4.0, (Segment("incision", 0.0, 4.0, uses),)), plain_style(PHACO), WIDTH
        )
        empty = Renderer(still, plain_style(PHACO), WIDTH)
        masks = [cv2.absdiff(renderer.frame(k), empty.frame(k)).max(axis=2) > 24 for k in (12, 21)]
        assert (masks[0] != masks[1]).mean() > 0.001, term.key


def test_every_instrument_has_a_shape_of_its_own() -> None:
    drawings = {}
    for term in INSTRUMENTS:
        canvas = np.full((120, 160, 3), 128, np.uint8)
        draw_instrument(Painter(canvas, np.array([[36.0, 0, 20], [0, 36.0, 60]])), term.key, Grip())
        drawings[term.key] = canvas
    for first, second in itertools.combinations(drawings, 2):
        assert changed_share(drawings[first], drawings[second]) > 0.02, (first, second)


def test_every_trait_of_the_look_varies_between_videos() -> None:
    looks = [draw_style(np.random.default_rng(seed), "pterygium_surgery") for seed in range(80)]
    for trait in fields(Style):
        assert len({getattr(look, trait.name) for look in looks}) > 1, trait.name


OTHER_LOOKS = {
    "rotation": 1.3,
    "mirrored": True,
    "limbus_width": 0.36,
    "centre": (0.4, -0.3),
    "aim": 0.5,
    "iris": (30.0, 160.0, 90.0),
    "drape": (220.0, 40.0, 160.0),
    "glove": (20.0, 60.0, 20.0),
    "redness": 1.0,
    "lens_density": 1.0,
    "pupil": 0.4,
    "wound_angle": 2.0,
    "cast": (1.3, 0.8, 0.7),
    "gamma": 1.6,
    "saturation": 0.2,
    "noise": 14.0,
    "vignette": 0.9,
    "darkness": 0.7,
    "mask": "circle",
    "overlay": "OR 2",
    "has_clock": True,
    "lights": 3,
    "texture_seed": 99,
}


@pytest.mark.parametrize("trait", OTHER_LOOKS)
def test_every_trait_of_the_look_shows_in_the_picture(trait: str) -> None:
    style = replace(
        plain_style(PHACO),
        mirrored=False,
        centre=(0.0, 0.0),
        texture_seed=FINGERS_IN_SIGHT,
        rotation=0.0,
        limbus_width=0.2,
        wound_angle=0.0,
        pupil=0.7,
        lens_density=0.0,
        redness=0.0,
        lights=1,
        saturation=1.0,
        gamma=1.0,
        vignette=0.1,
    )
    segments = (Segment("phacoemulsification", 0.0, 9.0, (Use("phaco_probe", 0.0, 9.0),)),)
    timeline = Timeline(PHACO, 9.0, segments, ("incision",))
    changes = {trait: OTHER_LOOKS[trait]}
    usual, other = (
        Renderer(timeline, look, WIDTH, 1).frame(20) for look in (style, replace(style, **changes))
    )
    assert changed_share(usual, other) > 0.001


@pytest.mark.parametrize(
    ("procedure", "done_before", "phase", "tools", "changes"),
    [
        (PHACO, ("phacoemulsification",), IDLE, (), {"reflex": (240.0, 120.0, 20.0)}),
        ("trabeculectomy", (), "scleral_flap_dissection", ("keratome", "forceps"), {"side_angle": 3.0}),
        (PHACO, (), "incision", ("keratome",), {"tremor": 12.0}),
    ],
)
def test_traits_of_the_lens_and_of_the_hands_show_where_they_are_seen(
    procedure: str,
    done_before: tuple[str, ...],
    phase: str,
    tools: tuple[str, ...],
    changes: dict[str, float | tuple[float, float, float]],
) -> None:
    uses = tuple(Use(tool, 0.0, 4.0) for tool in tools)
    timeline = Timeline(procedure, 4.0, (Segment(phase, 0.0, 4.0, uses),), done_before)
    style = plain_style(procedure)
    usual, other = (
        Renderer(timeline, look, WIDTH, 1).frame(20) for look in (style, replace(style, **changes))
    )
    assert changed_share(usual, other) > 0.001


def test_rare_looks_are_further_out() -> None:
    usual, rare = (
        [draw_style(np.random.default_rng(seed), PHACO, rare=is_rare) for seed in range(300)]
        for is_rare in (False, True)
    )
    assert np.std([look.rotation for look in rare]) > np.std([look.rotation for look in usual])
    assert np.std([np.log(look.gamma) for look in rare]) > 1.2 * np.std(
        [np.log(look.gamma) for look in usual]
    )
    masked = [sum(look.mask != "none" for look in looks) / len(looks) for looks in (usual, rare)]
    assert masked[1] > 2 * masked[0]


def test_pupils_are_wide_where_the_lens_is_worked_on_and_narrow_elsewhere() -> None:
    def pupils(procedure: str) -> list[float]:
        return [draw_style(np.random.default_rng(seed), procedure).pupil for seed in range(30)]

    assert min(pupils(PHACO)) > max(pupils("trabeculectomy"))
