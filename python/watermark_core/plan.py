"""How many tokens, prompts, money and minutes a test of a suspect model needs, or what a budget can show.

Interpolates curves measured in the laboratory (papers/radioactivity); beyond what was measured it says so. Larger models learn from
more data: take the order of magnitude, and plan twice as much.
"""

from ._lib import plan_needs as needs
from ._lib import plan_shows as shows

__all__ = ["needs", "shows"]
