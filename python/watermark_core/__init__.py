"""Keyed statistical watermarks of language models.

`watermark_core.spark.scan` looks for marks in a DataFrame of any size.
"""

from ._lib import WatermarkError, __version__

__all__ = ["WatermarkError", "__version__"]
