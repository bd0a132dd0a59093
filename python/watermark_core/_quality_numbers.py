"""Numbers about answers, with 95 % intervals."""

from __future__ import annotations

import difflib
import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

_RESAMPLED = 1000
_Z = 1.96


def mean(values: Sequence[float]) -> dict[str, float]:
    """Mean of independent values, by the normal law."""
    middle = sum(values) / len(values)
    spread = math.sqrt(sum((value - middle) ** 2 for value in values) / max(len(values) - 1, 1) / len(values))
    return {"value": middle, "low": middle - _Z * spread, "high": middle + _Z * spread}


def share(hits: Sequence[bool]) -> dict[str, float]:
    """Share of hits, by Wilson's score interval."""
    n, p = len(hits), sum(hits) / len(hits)
    middle = (p + _Z * _Z / (2 * n)) / (1 + _Z * _Z / n)
    half = _Z / (1 + _Z * _Z / n) * math.sqrt(p * (1 - p) / n + _Z * _Z / (4 * n * n))
    # Rounding must not leave 0 and 1 outside.
    return {"value": p, "low": min(p, max(0.0, middle - half)), "high": max(p, min(1.0, middle + half)), "n": n}


def per_token(ln_p: Sequence[float], tokens: Sequence[float]) -> float:
    """Mean of -ln p per token over all answers together."""
    return -sum(ln_p) / max(sum(tokens), 1)


def compared(ln_p: Sequence[float], tokens: Sequence[int], plain: Sequence[float], plain_tokens: Sequence[int]) -> dict[str, Any]:
    """Nats per token, and what they are more than those of the unmarked answers to the same questions: by a bootstrap over questions."""
    draw, n = random.Random("bootstrap"), len(ln_p)
    differences = []
    for _ in range(_RESAMPLED):
        taken = draw.choices(range(n), k=n)
        of = [[values[at] for at in taken] for values in (ln_p, tokens, plain, plain_tokens)]
        differences.append(per_token(of[0], of[1]) - per_token(of[2], of[3]))
    differences.sort()
    value = per_token(ln_p, tokens)
    low, high = differences[round(0.025 * (_RESAMPLED - 1))], differences[round(0.975 * (_RESAMPLED - 1))]
    return {"value": value, "more": {"value": value - per_token(plain, plain_tokens), "low": low, "high": high}}


def distinct(answers: Sequence[Sequence[int]], n: int = 2) -> float:
    """Different runs of n tokens, as a share of all."""
    runs = [tuple(tokens[at : at + n]) for tokens in answers for at in range(len(tokens) - n + 1)]
    return len(set(runs)) / max(len(runs), 1)


def loops(tokens: Sequence[int], run: int = 8, times: int = 3) -> bool:
    """Whether an answer says the same run of tokens so often."""
    return max(Counter(tuple(tokens[at : at + run]) for at in range(len(tokens) - run + 1)).values(), default=0) >= times


def changed(tokens: Sequence[int], again: Sequence[int]) -> int:
    """How many of an answer's tokens the tokenizer does not make again of its text, in their order."""
    blocks = difflib.SequenceMatcher(None, tokens, again, autojunk=False).get_matching_blocks()
    return len(tokens) - sum(block.size for block in blocks)


def self_bleu(texts: Sequence[str]) -> float:
    """Mean BLEU of each answer against the others to the same question, 0 to 1: lower is more varied."""
    from sacrebleu.metrics import BLEU

    bleu = BLEU(effective_order=True)
    scores = [bleu.sentence_score(text, [other for at, other in enumerate(texts) if at != own]).score for own, text in enumerate(texts)]
    return float(sum(scores)) / (100 * len(scores))
