"""Generated clips: drawn colonoscopy-like video in the SUN-SEG folder layout.

These pictures are drawings for testing software. They are not medical data, and a score reached on
them says nothing about patients. They let the demo, the tests and a new user run everything
without the access-restricted data set.

How a frame is drawn: the bowel is a tube whose wall is a picture [along, around] of inward relief
and paint (``wall``). So is a polyp, unless it has a stalk (``polyp``); both make a ``case``. For
each direction around the lumen the relief is projected onto the image radius, and a running
minimum along the depth hides what lies behind a fold. What remains visible is unrolled from polar
to image coordinates and lit by a lamp at the ``camera`` (``projection``). A stalked polyp overhangs
the wall, which a relief cannot do; it is added as a lit ball on a stem (``stalk``). Runs of bad
frames come last (``disturbances``). ``clip`` makes a clip of this, ``dataset`` a data set of clips.

Everywhere here lengths are in tube radii, angles in radians and times in frames.
"""

from sali.data.synthetic.clip import draw_clip
from sali.data.synthetic.dataset import GENERATOR_VERSION, SyntheticSpec, generate

__all__ = ["GENERATOR_VERSION", "SyntheticSpec", "draw_clip", "generate"]
