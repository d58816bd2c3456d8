# SPDX-License-Identifier: Apache-2.0
"""The classes of the simulated world: procedures, phases and instruments, each with one clinical sentence."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """A class: its key in files, the name that people use, and one clinical sentence on it."""

    key: str
    name: str
    description: str


PROCEDURES: tuple[Term, ...] = (
    Term(
        "phacoemulsification_surgery",
        "Phacoemulsification cataract surgery",
        "The cloudy lens is emulsified by ultrasound through a small corneal incision and replaced.",
    ),
    Term(
        "manual_small_incision_cataract_surgery",
        "Manual small-incision cataract surgery",
        "The whole nucleus is expressed through a self-sealing scleral tunnel and replaced by a lens.",
    ),
    Term(
        "phakic_lens_surgery",
        "Phakic intraocular lens surgery",
        "A thin collamer lens is placed between the iris and the clear natural lens to correct myopia.",
    ),
    Term(
        "trabeculectomy",
        "Trabeculectomy",
        "Under a scleral flap a fistula is opened so that aqueous drains and the pressure of the eye falls.",
    ),
    Term(
        "pars_plana_vitrectomy",
        "Pars plana vitrectomy",
        "The vitreous is cut and aspirated through trocars in the pars plana, by the light of a probe.",
    ),
    Term(
        "penetrating_keratoplasty",
        "Penetrating keratoplasty",
        "A full-thickness disc of diseased cornea is trephined out and a donor graft sutured in its place.",
    ),
    Term(
        "pterygium_surgery",
        "Pterygium surgery",
        "A wing of fibrovascular conjunctiva is dissected off the cornea and the bare sclera is covered.",
    ),
    Term(
        "intravitreal_injection_surgery",
        "Intravitreal drug injection",
        "A drug is injected into the vitreous through the pars plana with a fine needle.",
    ),
)

PHASES: tuple[Term, ...] = (
    Term("incision", "Incision", "A blade enters the anterior chamber through the peripheral cornea."),
    Term(
        "viscoelastic_injection",
        "Viscoelastic injection",
        "Clear viscoelastic gel is injected to fill and deepen the anterior chamber.",
    ),
    Term(
        "capsulorhexis",
        "Capsulorhexis",
        "A round opening is torn in the anterior capsule of the lens.",
    ),
    Term(
        "hydrodissection",
        "Hydrodissection",
        "A wave of fluid under the capsule separates the lens cortex from it, so that the nucleus turns.",
    ),
    Term(
        "phacoemulsification",
        "Phacoemulsification",
        "An ultrasonic probe grooves, cracks and aspirates the nucleus of the cataract.",
    ),
    Term(
        "nucleus_expression",
        "Nucleus expression",
        "The whole brown nucleus is brought into the anterior chamber and slid out through the tunnel.",
    ),
    Term(
        "irrigation_aspiration",
        "Irrigation and aspiration",
        "Remaining strands of lens cortex are aspirated from the capsular bag while fluid keeps it open.",
    ),
    Term(
        "lens_implantation",
        "Lens implantation",
        "A folded intraocular lens is injected into the capsular bag and unfolds there.",
    ),
    Term(
        "phakic_lens_implantation",
        "Phakic lens implantation",
        "A collamer lens is injected in front of the natural lens and its corners are tucked under the iris.",
    ),
    Term(
        "wound_hydration",
        "Wound hydration",
        "Fluid is injected into the corneal stroma so that the wound swells, whitens and seals.",
    ),
    Term(
        "scleral_flap_dissection",
        "Scleral flap dissection",
        "A partial-thickness flap of sclera is cut and lifted towards the limbus.",
    ),
    Term(
        "trephination",
        "Trephination",
        "A round blade is centred on the cornea and turned to cut out a disc.",
    ),
    Term(
        "graft_suturing",
        "Graft suturing",
        "The donor cornea is fixed to the host rim with radial nylon sutures.",
    ),
    Term(
        "pterygium_excision",
        "Pterygium excision",
        "A fleshy wing of conjunctiva is lifted and cut off the cornea and the sclera.",
    ),
    Term(
        "core_vitrectomy",
        "Core vitrectomy",
        "A cutter removes the central vitreous in the light of an endoilluminator.",
    ),
    Term(
        "intravitreal_injection",
        "Intravitreal injection",
        "A fine needle passes the pars plana and a drug is injected into the vitreous cavity.",
    ),
)

INSTRUMENTS: tuple[Term, ...] = (
    Term("keratome", "Keratome", "A flat diamond-shaped steel blade that cuts the corneal incision."),
    Term(
        "viscoelastic_cannula",
        "Viscoelastic cannula",
        "A bent cannula on a glass syringe of viscoelastic gel that fills the chamber.",
    ),
    Term("cystotome", "Cystotome", "A fine needle with a bent tip that punctures the anterior capsule."),
    Term(
        "capsulorhexis_forceps",
        "Capsulorhexis forceps",
        "Thin angled forceps that grasp and tear the flap of the anterior capsule.",
    ),
    Term(
        "hydrodissection_cannula",
        "Hydrodissection cannula",
        "A flat-tipped cannula on a syringe of saline that sends fluid under the capsule or into the wound.",
    ),
    Term(
        "phaco_probe",
        "Phacoemulsification probe",
        "A thick handpiece with a coloured silicone sleeve and a hollow titanium tip that vibrates.",
    ),
    Term(
        "irrigation_aspiration_handpiece",
        "Irrigation/aspiration handpiece",
        "A slim bent handpiece with a rounded tip and a small side port that irrigates and aspirates.",
    ),
    Term(
        "lens_injector",
        "Lens injector",
        "A wide plastic cartridge and plunger that push a folded lens into the eye.",
    ),
    Term("scissors", "Scissors", "Spring scissors with two crossing blades that cut tissue or suture."),
    Term(
        "needle_holder",
        "Needle holder",
        "Locking jaws that drive a curved needle with its suture through tissue.",
    ),
    Term("trephine", "Trephine", "A round blade with a ring-shaped handle that cuts a disc of cornea."),
    Term(
        "vitrector",
        "Vitrector",
        "A straight probe with a guillotine port near its blunt tip that cuts and aspirates vitreous.",
    ),
    Term("forceps", "Forceps", "Two-armed toothed forceps that hold and lift tissue."),
    Term("syringe", "Syringe", "A small marked syringe with a short fine needle that holds the drug."),
)
