"""The families of hair styles: what each may look like, as ranges that a style is drawn from.

A family names only what differs from the defaults of HairStyle. (low, high): uniform between; a list: one of it; anything
else: that value. Lengths are metres, angles degrees.
"""

# The tables below are read line by line.
# ruff: noqa: E501

from __future__ import annotations

from typing import Any

Ranges = dict[str, Any]

_SHORT: Ranges = {
    "count": 2100, "steps": 6, "width": (0.0045, 0.0065), "top": (0.03, 0.05), "front": (0.03, 0.05), "side": (0.012, 0.022),
    "back": (0.015, 0.025), "hold": 0.08, "gravity": 0.2, "lift": (0.5, 0.9), "volume": (0.006, 0.014), "flyaway": 0.03,
    "clump": (0.2, 0.5), "nape": (0, 8),
}  # fmt: skip
_FADED: Ranges = _SHORT | {"side": 0.004, "back": 0.005, "fade": (0.2, 0.8), "stubble": 1.0, "opacity": (0.55, 0.9)}
_MEDIUM: Ranges = {
    "count": 1350, "steps": 9, "width": (0.007, 0.010), "top": (0.16, 0.2), "front": (0.14, 0.2), "side": (0.10, 0.15), "back": (0.1, 0.15),
    "hold": (0.08, 0.14), "lift": (0.15, 0.4), "volume": (0.012, 0.022), "open_face": (1.2, 3.5),
    "cling": (0.08, 0.3), "fringe_side": [0.0, 0.0, -0.5, 0.9],
}  # fmt: skip
_LONG: Ranges = {
    "count": 900, "steps": 13, "width": (0.009, 0.013), "top": (0.38, 0.46), "front": (0.36, 0.44), "side": (0.30, 0.40),
    "back": (0.28, 0.38), "hold": (0.09, 0.15), "lift": (0.1, 0.3), "volume": (0.012, 0.022), "open_face": (1.2, 3.5),
    "cling": (0.12, 0.45), "fringe_side": [0.0, 0.0, -0.5, 0.9],
}  # fmt: skip
_TIED: Ranges = {
    "count": 740, "steps": 11, "width": (0.007, 0.010), "top": 0.32, "front": 0.34, "side": 0.28, "back": 0.28, "lift": (0.05, 0.25),
    "volume": (0.003, 0.010), "gravity": 0.0, "hold": 9.0, "hug": (0.35, 0.6), "ragged": 0.0, "flyaway": (0.02, 0.07), "bend": 0.008,
    "tie_width": (0.010, 0.015), "clump": 0.0,
}  # fmt: skip
_COILS: Ranges = {
    "form": "coils", "texture": "coily", "count": 3500, "width": (0.010, 0.014), "opacity": 1.0, "stubble": 1.0, "clump": 0.0,
}  # fmt: skip


FAMILY_RANGES: dict[str, Ranges] = {
    # No hair, little hair
    "bald": {"form": "bald", "shaved": 1.0, "opacity": 0.0},
    "shaved": {"form": "cropped", "top": (0.0008, 0.0016), "opacity": (0.25, 0.5), "shaved": 1.0, "recess": (-2, 14), "stubble": 1.0},
    "buzz": {"form": "cropped", "top": (0.002, 0.006), "opacity": (0.8, 0.97), "recess": (-2, 10), "stubble": 1.0},
    "horseshoe": _SHORT | {"ring": (0.045, 0.075), "front": 0.012, "top": 0.02, "count": 2000, "soft": 0.014, "shaved": 0.7},
    "thinning": _SHORT | {"thin": (0.45, 0.75), "top": (0.02, 0.04), "recess": (6, 16), "front_line": (2, 9), "opacity": (0.2, 0.4),
                          "back_comb": (0, 0.6), "shaved": 0.5, "flyaway": 0.08},
    "receding": _SHORT | {"recess": (14, 26), "front_line": (3, 10), "peak": (0, 6), "back_comb": (0.3, 1.0), "shaved": 0.4},
    "comb_over": _SHORT | {"thin": (0.3, 0.6), "top": (0.09, 0.12), "front": (0.09, 0.12), "part": [-0.05, 0.05], "across": (1.2, 1.6),
                           "lift": 0.05, "volume": 0.004, "hug": 0.5, "hold": 0.3, "opacity": 0.3, "recess": (6, 16), "shaved": 0.5},
    # Short
    "crew_cut": _SHORT | {"top": (0.016, 0.026), "front": (0.018, 0.03), "side": (0.006, 0.011), "back": (0.007, 0.012), "forward": (0.3, 0.8),
                          "lift": (0.9, 1.3)},
    "caesar": _SHORT | {"front": (0.028, 0.036), "top": (0.028, 0.036), "forward": (1.1, 1.6), "lift": (0.2, 0.4), "fringe_cut": (0.056, 0.068)},
    "ivy_league": _SHORT | {"part": [-0.032, 0.032], "across": (0.7, 1.0), "front": (0.04, 0.06), "back_comb": (0.0, 0.4), "lift": (0.2, 0.4), "hug": 0.1},
    "side_part": _SHORT | {"part": [-0.038, 0.038], "across": (1.0, 1.4), "top": (0.06, 0.085), "front": (0.07, 0.1), "lift": (0.3, 0.6),
                           "hug": 0.15, "hold": 0.2},
    "taper": _SHORT | {"part": [-0.036, 0.036], "across": (0.7, 1.3), "top": (0.035, 0.06), "front": (0.04, 0.075), "side": (0.005, 0.009),
                       "back": (0.004, 0.008), "fade": (0.0, 0.5), "lift": (0.2, 0.45), "hug": 0.2, "volume": (0.004, 0.009), "back_comb": (0.0, 0.5),
                       "nape": (-2, 5), "soft": (0.015, 0.026), "stubble": 0.35, "opacity": (0.85, 0.96), "hold": 0.15},
    "slick_back": _SHORT | {"back_comb": 1.6, "top": (0.09, 0.12), "front": (0.1, 0.14), "side": (0.05, 0.07), "back": 0.05, "lift": 0.25,
                            "hug": 0.4, "hold": 0.5, "steps": 9, "count": 1500, "volume": (0.004, 0.010), "clump": 0.6},
    "quiff": _FADED | {"front": (0.07, 0.09), "top": (0.05, 0.065), "back_comb": (0.9, 1.3), "front_lift": (1.3, 1.8), "hold": 0.5, "bend": 0.018,
                       "toward_middle": 0.3, "lift_length": 0.03, "gravity": 0.1, "hug": 0.10, "volume": (0.022, 0.030), "clump": 0.45, "clumps": 160},
    "pompadour": _SHORT | {"front": (0.10, 0.13), "top": (0.09, 0.11), "back_comb": 1.6, "front_lift": (1.2, 1.7), "bend": 0.018, "hold": 0.6,
                           "toward_middle": 0.3, "lift_length": 0.03, "gravity": 0.2, "hug": 0.12, "clump": 0.4, "clumps": 200,
                           "side": (0.03, 0.045), "steps": 9, "count": 1350, "volume": (0.028, 0.036)},
    "fade_crop": _FADED | {"forward": (0.8, 1.4), "front": (0.03, 0.045), "top": (0.025, 0.04), "clump": (0.5, 0.8), "fringe_cut": (0.052, 0.066)},
    "undercut": _FADED | {"top": (0.11, 0.15), "front": (0.13, 0.17), "part": [-0.045, 0.045], "across": 1.4, "back_comb": (0.3, 0.7),
                          "fade": (0.85, 1.0), "steps": 9, "count": 1350, "hold": 0.14, "gravity": 0.6, "width": 0.007, "open_face": 1.5, "hug": 0.12},
    "mohawk": _FADED | {"strip": (0.018, 0.030), "top": (0.06, 0.11), "front": (0.06, 0.10), "back": (0.05, 0.08), "lift": 3.0, "lift_length": 0.5,
                        "gravity": 0.0, "upright": 1.0, "fade": 1.0, "clump": (0.3, 0.7)},
    "faux_hawk": _SHORT | {"toward_middle": (0.9, 1.3), "top": (0.045, 0.06), "front": (0.05, 0.065), "lift": (1.0, 1.6), "lift_length": 0.08,
                           "gravity": 0.0, "clump": (0.5, 0.8)},
    "spiky": _SHORT | {"lift": 2.2, "lift_length": 0.2, "gravity": 0.0, "clump": 0.95, "clumps": (110, 220), "top": (0.045, 0.075),
                       "front": (0.045, 0.07), "side": (0.02, 0.035), "disorder": 0.35},
    "messy_short": _SHORT | {"disorder": (0.7, 1.0), "top": (0.05, 0.075), "front": (0.05, 0.08), "lift": (0.8, 1.3), "clump": (0.5, 0.8),
                             "side": (0.02, 0.035), "back": 0.03, "texture": ["straight", "wavy"], "fringe_cut": 0.035},
    "flat_top": _SHORT | {"top": 0.075, "front": 0.075, "flat": (0.135, 0.15), "lift": 0.9, "lift_length": 0.5, "gravity": 0.0, "upright": 3.0,
                          "side": 0.008, "back": 0.008, "fade": 0.7, "texture": "coily", "stubble": 1.0, "count": 2100},
    "bowl_cut": _MEDIUM | {"fringe": 0.9, "radial": 1.0, "fringe_cut": (0.024, 0.036), "cut": (-0.03, 0.0), "volume": 0.012, "top": 0.24, "front": 0.18, "gravity": 1.3,
                           "lift": 0.15, "open_face": 0.0, "nape": 10.0, "ragged": 0.04, "clump": 0.1},
    "forward_fringe": _SHORT | {"top": (0.06, 0.085), "front": (0.09, 0.13), "forward": (0.8, 1.3), "fringe": (1.0, 1.6), "fringe_side": [0.0, -0.6, 0.9],
                                "fringe_cut": (0.03, 0.052), "lift": (0.15, 0.4), "gravity": 0.8, "hold": 0.2, "steps": 8, "texture": ["straight", "wavy"],
                                "count": 1700, "width": 0.0065},
    "pixie": _SHORT | {"top": (0.07, 0.09), "front": (0.08, 0.1), "part": [-0.03, 0.03], "across": 0.7, "forward": 0.6, "side": (0.04, 0.055),
                       "back": (0.035, 0.05), "hug": 0.2, "hold": 0.2, "fringe_cut": (0.03, 0.045), "fringe": (0.0, 1.0), "fringe_side": 0.8, "steps": 8, "count": 1500, "width": 0.0065},
    "short_curls": _SHORT | {"texture": "curly", "top": (0.07, 0.10), "front": (0.07, 0.10), "side": (0.04, 0.06), "back": (0.04, 0.06),
                             "curl": (0.006, 0.010), "wavelength": (0.022, 0.034), "roundness": 1.0, "count": 900, "steps": 14, "width": 0.008,
                             "radial": 0.6, "lift": 1.3, "volume": 0.02, "fringe_cut": 0.045, "clump": 0.5},
    "curly_top_fade": _FADED | {"texture": "curly", "top": (0.06, 0.09), "front": (0.07, 0.09), "curl": (0.006, 0.009), "wavelength": (0.02, 0.03),
                                "roundness": 1.0, "count": 900, "steps": 14, "width": 0.008, "lift": 1.6, "forward": 0.6, "fringe_cut": 0.045},
    # Medium
    "bob": _MEDIUM | {"part": [-0.03, 0.0, 0.03], "across": 1.2, "cut": (-0.09, -0.06), "ragged": 0.05, "top": 0.26, "front": 0.26, "side": 0.2, "back": 0.18},
    "bob_fringe": _MEDIUM | {"fringe": 1.6, "fringe_cut": (0.028, 0.042), "cut": (-0.09, -0.055), "ragged": 0.04, "radial": 0.8, "top": 0.26, "front": 0.16,
                             "side": 0.2, "back": 0.18},
    "inverted_bob": _MEDIUM | {"part": [-0.035, 0.035], "across": 1.2, "cut": (-0.055, -0.03), "slant": (0.35, 0.6), "ragged": 0.05, "top": 0.28,
                               "front": 0.28, "side": 0.22, "back": 0.14},
    "lob_wavy": _MEDIUM | {"part": [-0.02, 0.0, 0.02], "across": 1.2, "texture": "wavy", "cut": (-0.15, -0.12), "curl": (0.007, 0.012),
                           "wavelength": (0.06, 0.09), "top": 0.33, "front": 0.33, "side": 0.28, "back": 0.25, "steps": 13, "count": 920},
    "curtains": _MEDIUM | {"part": [-0.006, 0.006], "across": 1.0, "top": (0.13, 0.16), "front": (0.13, 0.17), "side": (0.06, 0.09), "back": (0.06, 0.09),
                           "front_lift": 0.2, "open_face": 0.6, "forward": 0.5, "radial": 0.3, "clump": 0.5},
    "shag": _MEDIUM | {"fringe": 1.0, "fringe_cut": (0.025, 0.04), "ragged": 0.3, "top": (0.15, 0.2), "texture": "wavy", "curl": 0.006, "wavelength": 0.07,
                       "side": 0.18, "back": 0.22, "clump": 0.6, "radial": 0.7, "disorder": 0.4},
    "mullet": _SHORT | {"back": (0.16, 0.22), "steps": 10, "count": 1200, "fringe_cut": 0.045, "disorder": 0.3, "clump": 0.5, "width": 0.007, "forward": 0.5,
                        "gravity": 0.9, "lift": 0.4, "hold": 0.06},
    "wolf_cut": _MEDIUM | {"fringe": 0.8, "fringe_cut": 0.03, "ragged": 0.35, "back": (0.24, 0.3), "side": 0.2, "disorder": 0.5, "clump": 0.7,
                           "texture": "wavy", "radial": 0.6, "steps": 12, "count": 980},
    "wavy_medium_man": _MEDIUM | {"back_comb": 1.0, "part": [-0.02, 0.02], "across": 0.6, "texture": "wavy", "curl": 0.006, "wavelength": 0.06,
                                  "side": (0.09, 0.12), "back": (0.05, 0.08), "front_lift": 0.8, "clump": 0.5},
    "curly_bob": _MEDIUM | {"texture": "curly", "curl": (0.009, 0.014), "wavelength": (0.028, 0.042), "roundness": 1.0, "count": 560, "steps": 20,
                            "width": 0.012, "part": [-0.02, 0.02], "across": 0.8, "lift": 1.0, "volume": 0.035, "cut": (-0.1, -0.06), "clump": 0.4,
                            "top": 0.22, "front": 0.2},
    # Long
    "long_straight": _LONG | {"part": (-0.012, 0.012), "across": 1.3},
    "long_side_part": _LONG | {"part": [-0.04, 0.04], "across": 1.3, "front_lift": 0.5},
    "long_fringe": _LONG | {"fringe": 1.6, "fringe_cut": (0.028, 0.04), "radial": 0.8, "front": 0.17},
    "long_swept_fringe": _LONG | {"fringe": (0.8, 1.4), "fringe_side": (0.8, 1.5), "fringe_cut": (0.015, 0.04), "radial": 0.7, "front": (0.17, 0.24),
                                  "ragged": 0.3, "texture": ["straight", "wavy"]},
    "long_layers": _LONG | {"part": [-0.025, 0.0, 0.025], "across": 1.2, "ragged": 0.35, "top": 0.30, "front": 0.28, "side": 0.26, "texture": "wavy"},
    "long_waves": _LONG | {"part": [-0.03, 0.0, 0.03], "across": 1.2, "texture": "wavy", "curl": (0.010, 0.018), "wavelength": (0.08, 0.13), "steps": 15,
                           "count": 850, "volume": 0.026},
    "long_curls": _LONG | {"part": [-0.03, 0.0, 0.03], "across": 1.0, "texture": "curly", "curl": (0.009, 0.014), "wavelength": (0.032, 0.05),
                           "roundness": 1.0, "steps": 27, "count": 430, "width": 0.014, "volume": 0.034, "lift": 0.8},
    "long_swept_back": _LONG | {"back_comb": 1.5, "front_lift": 0.8, "hug": 0.2, "ragged": 0.15},
    "long_messy_man": _LONG | {"part": (-0.015, 0.015), "across": 1.0, "top": 0.28, "front": 0.27, "side": 0.22, "back": 0.24, "texture": "wavy", "curl": 0.007,
                               "wavelength": 0.08, "disorder": 0.3, "ragged": 0.25, "clump": 0.6},
    "one_shoulder": _LONG | {"part": [-0.035, 0.035], "across": 1.2, "sweep": [-1.0, 1.0]},
    # Tied
    "low_ponytail": _TIED | {"tie": "tail", "tie_height": (-40, -28), "tail": (0.18, 0.3), "part": [0.0, -0.03, 0.03], "across": 0.5},
    "high_ponytail": _TIED | {"tie": "tail", "tie_height": (38, 58), "tail": (0.24, 0.36), "texture": ["straight", "wavy"]},
    "mid_ponytail_curly": _TIED | {"tie": "tail", "tie_height": (-5, 25), "tail": (0.16, 0.26), "texture": "curly", "curl": 0.010, "wavelength": 0.035,
                                   "tail_width": (0.05, 0.075)},
    "side_ponytail": _TIED | {"tie": "tail", "tie_height": (-28, -5), "tie_turn": [-55, 55], "tail": (0.18, 0.28), "part": [-0.03, 0.03], "across": 0.4},
    "low_bun": _TIED | {"tie": "bun", "tie_height": (-35, -18), "knot": (0.018, 0.028), "part": [0.0, -0.03, 0.03], "across": 0.5},
    "top_knot": _TIED | {"tie": "bun", "tie_height": (66, 84), "knot": (0.026, 0.036)},
    "messy_bun": _TIED | {"tie": "bun", "tie_height": (30, 75), "knot": (0.038, 0.05), "mess": (0.5, 0.9), "texture": ["wavy", "curly"], "flyaway": 0.14,
                          "volume": 0.014},
    "ballet_bun": _TIED | {"tie": "ring", "tie_height": (15, 50), "knot": (0.024, 0.034), "volume": 0.003, "flyaway": 0.01},
    "man_bun": _TIED | {"tie": "bun", "tie_height": (35, 60), "knot": (0.022, 0.03), "half": (25, 40), "side": 0.004, "back": 0.005, "fade": 1.0,
                        "stubble": 1.0, "opacity": 0.7},
    "half_up": _LONG | {"tie": "tail", "count": 600, "half": (18, 32), "tie_height": (20, 40), "tail": (0.14, 0.2), "hug": 0.1, "texture": ["straight", "wavy"],
                        "tie_width": 0.010},
    "pigtails": _TIED | {"tie": "tail", "ties": 2, "tie_height": (-20, 25), "tie_turn": (60, 75), "tail": (0.16, 0.3), "part": 0.0},
    "space_buns": _TIED | {"tie": "bun", "ties": 2, "tie_height": (48, 60), "tie_turn": (70, 95), "knot": (0.026, 0.034), "part": 0.0},
    "single_braid": _TIED | {"tie": "braid", "tie_height": (-38, -20), "tail": (0.22, 0.34), "tail_width": (0.018, 0.026)},
    "side_braid": _TIED | {"tie": "braid", "tie_height": (-38, -25), "tie_turn": [-50, 50], "tail": (0.2, 0.3), "tail_width": (0.02, 0.028),
                           "part": [-0.03, 0.03], "across": 0.5, "flyaway": 0.1},
    "twin_braids": _TIED | {"tie": "braid", "ties": 2, "tie_height": (-38, -24), "tie_turn": (48, 62), "tail": (0.2, 0.34), "tail_width": (0.015, 0.022), "part": 0.0},
    "crown_braid": _TIED | {"tie": "halo", "tail_width": (0.014, 0.020), "part": [0.0, 0.03], "across": 0.3},
    "updo": _TIED | {"tie": "bun", "tie_height": (-5, 25), "knot": (0.03, 0.042), "mess": (0.25, 0.5), "volume": 0.02, "lift": 0.5, "texture": "wavy"},
    "bantu_knots": {"form": "knots", "texture": "coily", "knot": (0.015, 0.021), "count": (14, 26), "opacity": 0.75, "stubble": 1.0},
    # Coils, locs, braids
    "afro_short": _COILS | {"top": (0.012, 0.022), "width": 0.008},
    "afro_medium": _COILS | {"top": (0.035, 0.055)},
    "afro_large": _COILS | {"top": (0.07, 0.11), "width": (0.013, 0.018), "part": [0.0, 0.0, 0.03]},
    "afro_tapered": _COILS | {"top": (0.045, 0.07), "side_share": (0.15, 0.4)},
    "afro_puff": _TIED | {"tie": "puff", "tie_height": (35, 70), "knot": (0.055, 0.08), "texture": "coily", "volume": 0.004},
    "twists": {"form": "locs", "texture": "plait", "count": (110, 150), "top": (0.05, 0.09), "thickness": (0.0045, 0.006), "steps": 12, "lift": 1.4,
               "opacity": 0.85, "stubble": 1.0, "gravity": 0.8, "volume": 0.01, "disorder": 0.5},
    "locs": {"form": "locs", "texture": "coily", "count": (100, 140), "radial": 1.0, "top": (0.2, 0.34), "thickness": (0.0045, 0.0065), "steps": 18, "lift": 0.9,
             "opacity": 0.85, "stubble": 1.0, "volume": 0.018, "open_face": 2.0, "part": [-0.02, 0.02], "across": 0.6, "hold": 0.08},
    "box_braids": {"form": "locs", "texture": "plait", "count": (130, 170), "radial": 1.0, "top": (0.3, 0.4), "thickness": (0.0035, 0.0048), "steps": 16, "lift": 0.5,
                   "opacity": 0.8, "stubble": 1.0, "volume": 0.02, "open_face": 2.0, "part": [-0.02, 0.0, 0.02], "across": 0.7, "hold": 0.08},
    "cornrows": {"form": "rows", "texture": "plait", "count": (9, 14), "thickness": (0.0045, 0.0065), "tail": (0.0, 0.03), "opacity": (0.2, 0.45), "stubble": 1.0},
    # The pack's own meshes, cut and warped
    **{f"pack_{name}": {"form": "pack", "mesh": name, "opacity": 0.9} for name in (
        "afro01", "bob01", "bob02", "braid01", "long01", "ponytail01", "short01", "short02", "short03", "short04")},
    "pack_spliced": {"form": "pack", "mesh": "", "opacity": 0.9},
}  # fmt: skip

FAMILIES: tuple[str, ...] = tuple(FAMILY_RANGES)
HELD_OUT_FAMILIES: tuple[str, ...] = ("pompadour", "inverted_bob", "messy_bun", "side_braid", "twists")
"""Kept from training, for evaluation: a short one, a medium one, a tied one, a braid and a textured one."""

# Plausibility beside 1 for everybody: (women, men). What is not named is (1, 1).
_SEX: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("bald", "shaved", "horseshoe", "receding", "comb_over", "crew_cut", "caesar", "ivy_league", "flat_top", "fade_crop", "taper"), (0.03, 1.0)),
    **dict.fromkeys(("buzz", "thinning", "mohawk", "man_bun", "quiff", "pompadour", "undercut", "side_part", "spiky", "faux_hawk"), (0.12, 1.0)),
    **dict.fromkeys(("wavy_medium_man", "long_messy_man", "curly_top_fade"), (0.15, 1.0)),
    # Seen from the front, a man's pony tail, braid or bun is short hair combed back, and most men with that front have no such back:
    # when every fifth of them had one, the model gave tails and hair down the neck to short-haired men.
    **dict.fromkeys(("bob", "bob_fringe", "inverted_bob", "pixie", "pigtails", "space_buns", "ballet_bun", "crown_braid", "updo"), (1.0, 0.02)),
    **dict.fromkeys(("high_ponytail", "side_ponytail", "low_bun", "messy_bun", "half_up", "twin_braids", "side_braid", "single_braid"), (1.0, 0.04)),
    **dict.fromkeys(("low_ponytail", "top_knot", "pack_braid01", "pack_ponytail01", "afro_puff", "bantu_knots"), (1.0, 0.12)),
    **dict.fromkeys(("long_fringe", "long_swept_fringe", "long_layers", "long_waves", "long_side_part", "one_shoulder", "lob_wavy", "curly_bob", "mid_ponytail_curly"), (1.0, 0.08)),
    **dict.fromkeys(("long_straight", "long_curls", "long_swept_back", "wolf_cut", "shag", "pack_long01", "pack_bob01", "pack_bob02", "bowl_cut"), (1.0, 0.3)),
    **dict.fromkeys(("mullet", "pack_spliced"), (0.4, 0.6)),
}  # fmt: skip
# Hair that is long behind and hardly shows in a photo from the front, where it looks like a short cut. When these were as common as they
# are, the model gave tails, manes and buns to everybody with short hair: what a photo does not show must be rare.
_HIDDEN: dict[str, float] = {
    **dict.fromkeys(("low_ponytail", "high_ponytail", "mid_ponytail_curly", "single_braid", "pack_braid01", "pack_ponytail01"), 0.05),
    **dict.fromkeys(("low_bun", "ballet_bun", "updo", "man_bun"), 0.08),
    **dict.fromkeys(("long_swept_back", "pack_long01", "pack_spliced"), 0.3),
}  # fmt: skip
_OFFICE = {
    **dict.fromkeys(("taper", "crew_cut", "side_part", "ivy_league", "receding", "bald", "horseshoe", "thinning", "buzz", "shaved", "slick_back"), 2.0),
    **dict.fromkeys(("mohawk", "spiky", "faux_hawk", "mullet", "wolf_cut", "shag", "space_buns", "pigtails", "flat_top", "undercut", "long_messy_man", "bowl_cut"), 0.15),
}  # fmt: skip
_LOSS = ("bald", "horseshoe", "thinning", "receding", "comb_over")
_COILED = (
    "afro_short",
    "afro_medium",
    "afro_large",
    "afro_tapered",
    "afro_puff",
    "twists",
    "locs",
    "box_braids",
    "cornrows",
    "bantu_knots",
    "flat_top",
)
_YOUNG = (
    "space_buns",
    "pigtails",
    "mohawk",
    "wolf_cut",
    "mullet",
    "spiky",
    "twin_braids",
    "undercut",
    "fade_crop",
    "faux_hawk",
)


# How often people wear a style against a usual one. Photos show ordinary hair, and so must most of what a model learns from.
_POPULAR: dict[str, float] = {
    **dict.fromkeys(("crew_cut", "side_part", "ivy_league", "taper", "long_straight", "long_side_part", "long_layers", "long_waves", "pixie"), 3.0),
    **dict.fromkeys(("bald", "bob", "lob_wavy", "low_ponytail", "forward_fringe", "long_swept_fringe"), 2.5),
    **dict.fromkeys(("buzz", "fade_crop", "messy_short", "bob_fringe", "long_fringe", "low_bun", "high_ponytail"), 2.0),
    **dict.fromkeys(("shaved", "caesar", "slick_back", "receding", "thinning", "quiff", "curtains", "short_curls", "curly_bob", "long_curls"), 1.5),
    **dict.fromkeys(("updo", "half_up", "top_knot", "wavy_medium_man", "horseshoe"), 1.3),
    **dict.fromkeys(("wolf_cut", "man_bun", "faux_hawk", "side_ponytail", "twin_braids", "mullet", "spiky", "crown_braid"), 0.6),
    **dict.fromkeys(("mohawk", "space_buns", "pigtails", "bantu_knots", "flat_top", "bowl_cut", "pack_spliced"), 0.35),
}  # fmt: skip


def family_weights(*, female: bool, years: float, african: float, formal: bool = False) -> dict[str, float]:
    """How plausible each family is for somebody; never zero. `african`: share of African descent; formal: dressed in a suit."""
    weights = {}
    for name in FAMILIES:
        weight = _SEX.get(name, (1.0, 1.0))[0 if female else 1] * _POPULAR.get(name, 1.0) * _HIDDEN.get(name, 1.0)
        if formal:
            weight *= _OFFICE.get(name, 1.0)
        if name in _LOSS:
            weight *= 0.25 + 1.6 * min(max((years - 25) / 40, 0.0), 1.0)
        if name in _YOUNG:
            weight *= 1.0 if years < 40 else 0.25
        if name in _COILED:
            weight *= 0.08 + 3.0 * african
        elif african > 0.5 and name not in ("bald", "shaved", "buzz"):
            weight *= 0.45
        if name in ("pack_bob01", "pack_bob02", "pack_short03"):
            weight *= 0.4  # they hang over one eye
        weights[name] = weight
    return weights
