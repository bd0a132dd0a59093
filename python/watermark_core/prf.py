"""The PRF `chacha20-v1`: (key, context, token) to a 32-bit word."""

from ._lib import ChaCha20V1, PrfKey

__all__ = ["ChaCha20V1", "PrfKey"]
