"""ChaCha20 words of whole vocabularies in one Triton kernel; imported where Triton is installed and logits are on CUDA."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

__all__ = ["words"]

_BLOCKS = 128  # of 16 words each, per program


@triton.jit
def _rotate(x, bits: tl.constexpr):
    return (x << bits) | (x >> (32 - bits))


@triton.jit
def _quarter(a, b, c, d):
    a = a + b
    d = _rotate(d ^ a, 16)
    c = c + d
    b = _rotate(b ^ c, 12)
    a = a + b
    d = _rotate(d ^ a, 8)
    c = c + d
    b = _rotate(b ^ c, 7)
    return a, b, c, d


@triton.jit
def _word(pointer, zero):
    return zero + tl.load(pointer).to(tl.uint32)


@triton.jit
def _kernel(key, nonce, first, out, n, BLOCKS: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    blocks = tl.program_id(1) * BLOCKS + tl.arange(0, BLOCKS)
    counter = blocks.to(tl.uint32) + tl.load(first + row).to(tl.uint32)
    zero = counter ^ counter
    i0, i1, i2, i3 = zero + 0x61707865, zero + 0x3320646E, zero + 0x79622D32, zero + 0x6B206574
    key += row * 8
    i4, i5, i6, i7 = _word(key, zero), _word(key + 1, zero), _word(key + 2, zero), _word(key + 3, zero)
    i8, i9, i10, i11 = _word(key + 4, zero), _word(key + 5, zero), _word(key + 6, zero), _word(key + 7, zero)
    nonce += row * 3
    i13, i14, i15 = _word(nonce, zero), _word(nonce + 1, zero), _word(nonce + 2, zero)
    x0, x1, x2, x3, x4, x5, x6, x7 = i0, i1, i2, i3, i4, i5, i6, i7
    x8, x9, x10, x11, x12, x13, x14, x15 = i8, i9, i10, i11, counter, i13, i14, i15
    for _ in range(10):
        x0, x4, x8, x12 = _quarter(x0, x4, x8, x12)
        x1, x5, x9, x13 = _quarter(x1, x5, x9, x13)
        x2, x6, x10, x14 = _quarter(x2, x6, x10, x14)
        x3, x7, x11, x15 = _quarter(x3, x7, x11, x15)
        x0, x5, x10, x15 = _quarter(x0, x5, x10, x15)
        x1, x6, x11, x12 = _quarter(x1, x6, x11, x12)
        x2, x7, x8, x13 = _quarter(x2, x7, x8, x13)
        x3, x4, x9, x14 = _quarter(x3, x4, x9, x14)
    at = blocks * 16
    out += row * n + at
    tl.store(out, (x0 + i0).to(tl.int64), mask=at < n)
    tl.store(out + 1, (x1 + i1).to(tl.int64), mask=at + 1 < n)
    tl.store(out + 2, (x2 + i2).to(tl.int64), mask=at + 2 < n)
    tl.store(out + 3, (x3 + i3).to(tl.int64), mask=at + 3 < n)
    tl.store(out + 4, (x4 + i4).to(tl.int64), mask=at + 4 < n)
    tl.store(out + 5, (x5 + i5).to(tl.int64), mask=at + 5 < n)
    tl.store(out + 6, (x6 + i6).to(tl.int64), mask=at + 6 < n)
    tl.store(out + 7, (x7 + i7).to(tl.int64), mask=at + 7 < n)
    tl.store(out + 8, (x8 + i8).to(tl.int64), mask=at + 8 < n)
    tl.store(out + 9, (x9 + i9).to(tl.int64), mask=at + 9 < n)
    tl.store(out + 10, (x10 + i10).to(tl.int64), mask=at + 10 < n)
    tl.store(out + 11, (x11 + i11).to(tl.int64), mask=at + 11 < n)
    tl.store(out + 12, (x12 + counter).to(tl.int64), mask=at + 12 < n)
    tl.store(out + 13, (x13 + i13).to(tl.int64), mask=at + 13 < n)
    tl.store(out + 14, (x14 + i14).to(tl.int64), mask=at + 14 < n)
    tl.store(out + 15, (x15 + i15).to(tl.int64), mask=at + 15 < n)


def words(key: torch.Tensor, nonce: torch.Tensor, first: torch.Tensor, n: int) -> torch.Tensor:
    """As `watermark_core.torch.chacha20_words`, with the first block of each row, int64 [rows]."""
    out = torch.empty((key.shape[0], n), dtype=torch.int64, device=key.device)
    programs = triton.cdiv(triton.cdiv(n, 16), _BLOCKS)
    if out.numel():
        _kernel[(key.shape[0], programs)](key.contiguous(), nonce.contiguous(), first.contiguous(), out, n, BLOCKS=_BLOCKS)
    return out
