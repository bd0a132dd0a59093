"""Paired draws of one request: the words of both draws, the candidates, and which of them is served.

Sessions draw with these (`Marker.session(request=...)`); this is for whoever computes draws elsewhere, or again.
"""

from ._lib import RequestKey, request_key

__all__ = ["RequestKey", "request_key"]
