"""Tasks that a small model can do, with answers that a program can check."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_WORDS = (
    "river stone garden window bottle yellow paper silver summer orange dinner market pencil ladder basket carpet engine forest "
    "island jacket kitchen lemon mirror needle office planet rabbit school ticket valley winter bridge candle doctor finger guitar"
).split()
_NAMES = "Anna Ben Carla David Emma Frank Grace Henry Irene Jack Kate Leo Maria Noah Olga Peter Rosa Sam Tina Victor".split()
_CAPITALS = (
    "France Paris, Italy Rome, Spain Madrid, Germany Berlin, Japan Tokyo, China Beijing, Russia Moscow, Egypt Cairo, Greece Athens, "
    "Portugal Lisbon, Austria Vienna, Poland Warsaw, Hungary Budapest, Sweden Stockholm, Norway Oslo, Finland Helsinki, Denmark Copenhagen, "
    "Ireland Dublin, Turkey Ankara, Iran Tehran, Iraq Baghdad, Kenya Nairobi, Cuba Havana, Peru Lima, Chile Santiago, Canada Ottawa, "
    "Australia Canberra, Thailand Bangkok, Vietnam Hanoi, Ukraine Kyiv"
)
_OPPOSITES = (
    "hot cold, big small, up down, left right, day night, black white, fast slow, old young, rich poor, happy sad, hard soft, open closed, "
    "full empty, early late, strong weak, light dark, high low, long short, wet dry, clean dirty, near far, loud quiet, thick thin, "
    "true false, win lose, buy sell, push pull, first last, inside outside, before after"
)


@dataclass(frozen=True)
class Task:
    """A question and what a right answer is."""

    kind: str
    question: str
    right: Callable[[str], bool]


@dataclass(frozen=True)
class Choice:
    """The beginning of a text and four ends, of which `right` is the index of the right one."""

    begin: str
    ends: Sequence[str]
    right: int


def tasks(count: int, seed: int) -> list[Task]:
    """`count` tasks of each kind: a sentence to repeat, a sum to say, a JSON object to write."""
    draw = random.Random(f"tasks {seed}")
    return [make(draw) for make in (_copy, _sum, _object) for _ in range(count)]


def _copy(draw: random.Random) -> Task:
    shown, words = (" ".join(draw.sample(_WORDS, 5)) for _ in range(2))
    return Task("copy", f"Words: {shown}\nCopy: {shown}\n\nWords: {words}\nCopy:", lambda answer: words in answer)


def _sum(draw: random.Random) -> Task:
    a, b = draw.randint(1, 9), draw.randint(1, 9)
    return Task("sum", f"2 + 3 = 5\n6 + 1 = 7\n{a} + {b} =", lambda answer: str(a + b) in re.findall(r"\d+", answer))


def _object(draw: random.Random) -> Task:
    name, age = draw.choice(_NAMES), draw.randint(18, 70)
    return Task(
        "json",
        f'Paul is 41 years old: {{"name": "Paul", "age": 41}}\nWrite the same JSON for {name}, who is {age} years old.',
        lambda answer: _first_object(answer) == {"name": name, "age": age},
    )


def _first_object(answer: str) -> object:
    begin = answer.find("{")
    try:
        found, _ = json.JSONDecoder().raw_decode(answer, max(begin, 0))
    except (ValueError, RecursionError):
        return None
    if isinstance(found, dict) and isinstance(age := found.get("age"), str) and age.isdigit():
        found["age"] = int(age)
    return found


def choices(seed: int) -> list[Choice]:
    """Sixty facts, each with the ends of three others beside its own."""
    draw, found = random.Random(f"choices {seed}"), []
    for form, pairs in (("The capital of {} is", _CAPITALS), ("The opposite of {} is", _OPPOSITES)):
        known = [pair.rsplit(" ", 1) for pair in pairs.split(", ")]
        for subject, end in known:
            ends = [end, *draw.sample([other for _, other in known if other not in (end, subject)], 3)]
            draw.shuffle(ends)
            found.append(Choice(form.format(subject), [" " + one for one in ends], ends.index(end)))
    return found
