# SPDX-License-Identifier: Apache-2.0
"""The course of each procedure: its steps in order, how long, how surely, and what each hand may hold."""

from __future__ import annotations

from dataclasses import dataclass

Hand = tuple[str, ...]  # instruments that one hand takes after each other


@dataclass(frozen=True)
class Step:
    """A phase of a script; `hands` lists alternatives, each a tuple of one or two hands."""

    phase: str
    weight: float  # relative length
    hands: tuple[tuple[Hand, ...], ...]
    probability: float = 1.0


_INCISION = Step("incision", 5, ((("keratome",),), (("keratome",), ("forceps",))))
_VISCO = Step("viscoelastic_injection", 5, ((("viscoelastic_cannula",),),))
_RHEXIS = Step(
    "capsulorhexis",
    8,
    (
        (("cystotome", "capsulorhexis_forceps"),),
        (("capsulorhexis_forceps",),),
        (("cystotome",),),
    ),
)
_HYDRO = Step("hydrodissection", 5, ((("hydrodissection_cannula",),),))
_CORTEX = Step("irrigation_aspiration", 7, ((("irrigation_aspiration_handpiece",),),))
_LENS = Step("lens_implantation", 7, ((("lens_injector",),),))
_SEAL = Step("wound_hydration", 5, ((("hydrodissection_cannula",),),))
_SUTURES = Step("graft_suturing", 10, ((("needle_holder",), ("forceps",)), (("needle_holder",),)))
_INJECTION = Step("intravitreal_injection", 8, ((("syringe",),), (("syringe",), ("forceps",))))


def _maybe(step: Step, probability: float) -> Step:
    return Step(step.phase, step.weight, step.hands, probability)


SCRIPTS: dict[str, tuple[Step, ...]] = {
    "phacoemulsification_surgery": (
        _INCISION,
        _VISCO,
        _RHEXIS,
        _maybe(_HYDRO, 0.85),
        Step("phacoemulsification", 9, ((("phaco_probe",),),)),
        _CORTEX,
        _maybe(_VISCO, 0.5),
        _LENS,
        _maybe(_CORTEX, 0.4),
        _SEAL,
    ),
    "manual_small_incision_cataract_surgery": (
        _INCISION,
        _maybe(_VISCO, 0.6),
        _RHEXIS,
        _maybe(_HYDRO, 0.7),
        Step(
            "nucleus_expression",
            9,
            ((("viscoelastic_cannula",), ("forceps",)), (("hydrodissection_cannula",), ("forceps",))),
        ),
        _CORTEX,
        _LENS,
        _maybe(_SEAL, 0.7),
    ),
    "phakic_lens_surgery": (
        _maybe(_INCISION, 0.8),
        _VISCO,
        Step(
            "phakic_lens_implantation",
            10,
            ((("lens_injector",),), (("lens_injector", "viscoelastic_cannula"),)),
        ),
        _maybe(_CORTEX, 0.7),
        _maybe(_SEAL, 0.8),
    ),
    "trabeculectomy": (
        Step(
            "scleral_flap_dissection",
            10,
            ((("keratome",), ("forceps",)), (("keratome", "scissors"), ("forceps",))),
        ),
        _maybe(_INCISION, 0.7),
        Step("scleral_flap_dissection", 8, ((("scissors",), ("forceps",)),), 0.7),
        _maybe(_SEAL, 0.7),
    ),
    "pars_plana_vitrectomy": (
        _maybe(_INCISION, 0.4),
        Step("core_vitrectomy", 11, ((("vitrector",),),)),
        _maybe(_INJECTION, 0.6),
        Step("core_vitrectomy", 9, ((("vitrector",),),), 0.6),
    ),
    "penetrating_keratoplasty": (
        Step("trephination", 9, ((("trephine",),), (("trephine", "scissors"),))),
        _maybe(_VISCO, 0.6),
        _SUTURES,
        _maybe(_SEAL, 0.5),
    ),
    "pterygium_surgery": (
        Step(
            "pterygium_excision",
            11,
            ((("scissors",), ("forceps",)), (("keratome", "scissors"), ("forceps",))),
        ),
        Step("graft_suturing", 8, ((("needle_holder",), ("forceps",)),), 0.8),
    ),
    "intravitreal_injection_surgery": (
        _maybe(_INCISION, 0.35),
        _INJECTION,
        _maybe(_INJECTION, 0.5),
    ),
}
