"""What a mark costs the users of a model, and what it shows: the same questions with and without it::

    python -m watermark_core.quality --model chat-7b --prompts prompts.jsonl --key master.key.json \\
      --profile chat.profile.json --profile other.profile.json --judge another-7b --out quality

For each profile, and for the model unmarked: how likely its answers are to another real model (`--judge`) and to the model itself, how
far the mark bends the distribution (KL), how much answers to one question differ, loops, length, tasks that a program can check, and how
many digits of log10 p a hundred tokens show. Differences from the unmarked model are paired by question and have 95 % intervals.

The folder `--out` keeps all answers; a run that is cut short goes on there. `quality.json` has every number, and a table is printed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from . import _quality_numbers as numbers
from . import _quality_tasks
from ._lib import Detector, InputError, Marker, ParameterError, __version__, node_key
from ._run_files import Progress, exit_code, written
from ._suspect_model import LocalModel, load, versions, vocabulary_of
from ._suspect_options import DTYPES

__all__ = ["Options", "generate", "measure"]

FORMAT = "watermark-quality/1"
UNMARKED = "unmarked"
# Answers of each profile along which the distribution is compared; each position is a whole row of logits.
_COMPARED = 40
# Longest answer to a task.
_TASK_TOKENS = 32


@dataclass(frozen=True, kw_only=True)
class Options:
    """How answers are made. Every answer follows from these, the model, the profile and the key."""

    temperature: float = 0.8
    top_p: float | None = 0.95
    max_tokens: int = 128
    #: Of so many questions ...
    repeated_prompts: int = 10
    #: ... so many answers each, for their variety.
    repeats: int = 20
    #: Tasks of each kind; 0 leaves them and the choices out.
    tasks: int = 100
    #: Decides the draws that no key decides, and the tasks.
    seed: int = 1
    batch_size: int = 16
    dtype: str = "auto"
    device: str | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ParameterError(f"temperature is {self.temperature}; it must be above 0: at 0 a model has one answer")
        for name, least in (("max_tokens", 1), ("repeated_prompts", 0), ("repeats", 2), ("tasks", 0), ("batch_size", 1)):
            if (value := getattr(self, name)) < least:
                raise ParameterError(f"{name} is {value}; it must be at least {least}")


@dataclass(frozen=True)
class Answer:
    """What a model generated: ids without the end of the text, and the text."""

    prompt_tokens: list[int]
    tokens: list[int]
    text: str
    #: Whether the model came to an end by itself.
    ended: bool
    #: As `Session.withheld`, of the tokens; none without paired draws.
    withheld: list[int | None]


def question(tokenizer: Any, text: str) -> list[int]:
    """The ids of a question up to where the answer begins: in the chat template of the tokenizer if it has one."""
    if getattr(tokenizer, "chat_template", None):
        turn = [{"role": "user", "content": text}]
        text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    return vocabulary_of(tokenizer).prompt_ids(text, special=True)


def generate(
    model: Any,
    tokenizer: Any,
    marker: Marker,
    questions: Sequence[str],
    *,
    seed: int,
    max_tokens: int,
    temperature: float = 1.0,
    top_p: float | None = None,
    marked: bool = True,
    requests: Sequence[str] | None = None,
) -> list[Answer]:
    """Answers to a batch of questions, by the model's own `generate` and our logits processor.

    Args:
        model, tokenizer: Of transformers; the model's rows have `marker.vocab_size` logits.
        seed: [0, 2^64); decides what no key decides.
        marked: False draws as the model would, by the same code.
        requests: Of a profile with paired draws, a number of its own for each answer.
    """
    import torch

    from .transformers import WatermarkLogitsProcessor

    prompts = [question(tokenizer, one) for one in questions]
    width = max(len(ids) for ids in prompts)
    end = _ends(model, tokenizer)
    pad = next(iter(end), 0)
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts], device=model.device)
    sampling = {"temperature": temperature, "top_p": top_p}
    processor = WatermarkLogitsProcessor(marker, seed=seed, marked=marked, sampling=sampling, requests=requests)
    # The processor applies temperature and truncation itself, and draws.
    plain = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0, "pad_token_id": pad}
    with torch.no_grad():
        output = model.generate(
            input_ids=ids, attention_mask=mask, do_sample=True, max_new_tokens=max_tokens, logits_processor=[processor], **plain
        )
    withheld = processor.withheld(output) if requests is not None else [[]] * len(prompts)
    answers = []
    for prompt, row, held in zip(prompts, output[:, width:].tolist(), withheld, strict=True):
        length = next((at for at, token in enumerate(row) if token in end), len(row))
        tokens = row[:length]
        text = tokenizer.decode(tokens, clean_up_tokenization_spaces=False)
        answers.append(Answer(prompt, tokens, text, length < len(row), held[:length]))
    return answers


def _ends(model: Any, tokenizer: Any) -> set[int]:
    end = model.generation_config.eos_token_id
    end = tokenizer.eos_token_id if end is None else end
    return set(end) if isinstance(end, list) else set() if end is None else {end}


def measure(
    model: str | os.PathLike[str],
    prompts: Sequence[str],
    out: str | os.PathLike[str],
    *,
    key: str | os.PathLike[str],
    profiles: Sequence[str | os.PathLike[str]],
    judge: str | os.PathLike[str] | None = None,
    quiet: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Asks a model the same questions under each profile and unmarked, and measures the answers.

    Args:
        model: As `watermark_core.suspect` takes it: a folder, a .gguf file or a name at Hugging Face.
        prompts: Questions, at least two; intervals need some two hundred.
        out: A folder for the answers and `quality.json`.
        key: A key at or above the profiles' paths.
        profiles: Files of profiles, each with a `name` of its own.
        judge: Another real model, which says how likely the answers are.
        options: Fields of `Options`.

    Returns:
        What `quality.json` holds. `nats` are means of -ln p per token of the model's own tokenizer, at temperature 1; `kl` is that of the
        marked from the unmarked distribution given the key, in nats per token, without temperature and truncation, layers that draw the
        token left out (over their key they change nothing); `digits` are -log10 p of all answers together, times 100 by their tokens.
    """
    run = _Run(os.fspath(model), prompts, pathlib.Path(out), os.fspath(key), profiles, Options(**options), quiet)
    return run.measure(None if judge is None else os.fspath(judge))


#: Lines of a file of answers, by the name of the profile.
_Answers = dict[str, list[dict[str, Any]]]


class _Run:
    def __init__(
        self,
        model: str,
        prompts: Sequence[str],
        out: pathlib.Path,
        key: str,
        profiles: Sequence[str | os.PathLike[str]],
        options: Options,
        quiet: bool,
    ) -> None:
        if len(prompts) < 2:
            raise InputError(f"{len(prompts)} prompts; intervals need at least two, and some two hundred to say anything")
        self.prompts, self.out, self.key, self.options, self.quiet = list(prompts), out, key, options, quiet
        self.profiles: dict[str, str] = {}
        for path in profiles:
            text = pathlib.Path(path).read_text(encoding="utf-8")
            name = _name(text, os.fspath(path))
            if name in self.profiles or name == UNMARKED:
                raise InputError(f"{os.fspath(path)}: its name is {name!r}, which another one has; profile new takes --name")
            self.profiles[name] = text
        if not self.profiles:
            raise ParameterError("no profile; without one there is nothing to compare")
        self.model, self.tokenizer, self.files = load(model, dtype=options.dtype, device=options.device, model_tokenizer=None)
        self.vocabulary = vocabulary_of(self.tokenizer)
        self.commitment = node_key(key).commitment(hashlib.sha256(FORMAT.encode()).digest()).hex()
        self.tasks, self.choices = _quality_tasks.tasks(options.tasks, options.seed), _quality_tasks.choices(options.seed)
        self._logits: list[list[tuple[list[int], list[int], Any]]] | None = None
        out.mkdir(parents=True, exist_ok=True)

    def measure(self, judge: str | None) -> dict[str, Any]:
        answers = {name: self._answers(name, "answers", self.prompts) for name in [UNMARKED, *self.profiles]}
        repeated = [one for one in self.prompts[: self.options.repeated_prompts] for _ in range(self.options.repeats)]
        many = {name: self._answers(name, "repeated", repeated) for name in answers} if repeated else {}
        asked = [task.question for task in self.tasks]
        done = {name: self._answers(name, "tasks", asked) for name in answers} if asked else {}
        nats = {"nats_own": {name: self._own(name, rows) for name, rows in answers.items()}}
        found = {name: self._found(name, answers, many, done) for name in answers}
        judged_by = None
        if judge is not None:
            # One model in memory at a time.
            self.model = None
            loaded, tokenizer, judged_by = load(judge, dtype=self.options.dtype, device=self.options.device, model_tokenizer=None)
            scorer = LocalModel(loaded, vocabulary_of(tokenizer))
            nats["nats_judge"] = {name: self._judged(scorer, name, rows) for name, rows in answers.items()}
        tokens = {name: [len(row["tokens"]) for row in rows] for name, rows in answers.items()}
        for kind, values in nats.items():
            for name in answers:
                found[name][kind] = numbers.compared(values[name], tokens[name], values[UNMARKED], tokens[UNMARKED])
        report = {
            "quality": FORMAT,
            "model": self.files,
            "judge": judged_by,
            "options": asdict(self.options),
            "prompts": len(self.prompts),
            "versions": {"watermark_core": __version__, **versions()},
            "profiles": found,
        }
        (self.out / "quality.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        return report

    def _bound(self, name: str, **more: Any) -> dict[str, Any]:
        """What decides every answer; of the key a commitment, which tells nothing of it."""
        own = {"profile": json.loads(self.profiles[name]), "key": self.commitment} if name != UNMARKED else {}
        return {"about": FORMAT, "model": self.files, **own, **more}

    def _marker(self, name: str) -> Marker:
        text = next(iter(self.profiles.values())) if name == UNMARKED else self.profiles[name]
        return Marker(json.loads(text), self.key)

    def _answers(self, name: str, what: str, questions: Sequence[str]) -> list[dict[str, Any]]:
        """Answers in a file of their own, whose lines are `detect`'s too."""
        options, out = self.options, self.out / f"{_file(name)}.{what}.jsonl"
        made = {key: getattr(options, key) for key in ("temperature", "top_p", "seed", "batch_size")} | {"max_tokens": self._longest(what)}
        bound = self._bound(name, answers=len(questions), questions_sha256=_digest(questions), **made)
        progress = Progress(len(questions), f"{name}, {what}", silent=self.quiet)
        written(out, bound, "answers", lambda there: self._lines(name, what, questions, there, progress), dict, progress)
        with open(out, encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def _longest(self, what: str) -> int:
        return min(self.options.max_tokens, _TASK_TOKENS) if what == "tasks" else self.options.max_tokens

    def _lines(self, name: str, what: str, questions: Sequence[str], there: int, progress: Progress) -> Iterator[list[str]]:
        """The lines after those that are there. Batches are the same wherever a run begins, and so is each draw."""
        options, marker = self.options, self._marker(name)
        progress.skip(there)
        for begin in range(there - there % options.batch_size, len(questions), options.batch_size):
            batch = questions[begin : begin + options.batch_size]
            paired = marker.has_paired_draws and name != UNMARKED
            requests = [f"quality/{what}/{begin + at}" for at in range(len(batch))] if paired else None
            answers = generate(
                self.model, self.tokenizer, marker, batch, seed=_seed(options.seed, what, begin), max_tokens=self._longest(what),
                temperature=options.temperature, top_p=options.top_p, marked=name != UNMARKED, requests=requests,
            )  # fmt: skip
            yield [_line(asked, answer) for asked, answer in zip(batch, answers, strict=True)][max(there - begin, 0) :]
            progress.advance(len(batch), f"answer {begin + len(batch)} of {len(questions)}")

    def _own(self, name: str, rows: Sequence[dict[str, Any]]) -> list[float]:
        """How likely the model itself, unmarked at temperature 1, finds each answer."""
        inputs = [(row["prompt_tokens"] + row["tokens"], len(row["prompt_tokens"])) for row in rows]
        return self._likelihoods(LocalModel(self.model, self.vocabulary), f"{name}, by the model itself", inputs)

    def _judged(self, scorer: LocalModel, name: str, rows: Sequence[dict[str, Any]]) -> list[float]:
        """How likely another model finds each answer, as plain text after its question."""
        inputs = []
        for row in rows:
            before = scorer.vocabulary.prompt_ids(row["prompt"] + "\n\n", special=True)
            inputs.append((before + scorer.vocabulary.text_ids(row["completion"]), len(before)))
        return self._likelihoods(scorer, f"{name}, by the judge", inputs)

    def _likelihoods(self, scorer: LocalModel, label: str, inputs: Sequence[tuple[list[int], int]]) -> list[float]:
        progress, size = Progress(len(inputs), label, silent=self.quiet), self.options.batch_size
        found: list[float] = []
        for begin in range(0, len(inputs), size):
            found += scorer.likelihoods(inputs[begin : begin + size])
            progress.advance(size, f"answer {len(found)} of {len(inputs)}")
        return found

    def _found(self, name: str, answers: _Answers, many: _Answers, done: _Answers) -> dict[str, Any]:
        rows = answers[name]
        lengths = [len(row["tokens"]) for row in rows]
        changed = [numbers.changed(row["tokens"], self.vocabulary.text_ids(row["completion"])) for row in rows]
        found: dict[str, Any] = {
            "tokens": numbers.mean(lengths),
            "ended": numbers.share([row["ended"] for row in rows]),
            "loops": numbers.share([numbers.loops(row["tokens"]) for row in rows]),
            "distinct_2": numbers.distinct([row["tokens"] for row in rows]),
            "kl": self._kl(name, rows),
            "digits": self._digits(name, rows),
            "retokenised": sum(changed) / max(sum(lengths), 1),
        }
        if many:
            groups = [many[name][at : at + self.options.repeats] for at in range(0, len(many[name]), self.options.repeats)]
            found["repeated"] = {
                "distinct_2": numbers.mean([numbers.distinct([row["tokens"] for row in group]) for group in groups]),
                "self_bleu": numbers.mean([numbers.self_bleu([row["completion"] for row in group]) for group in groups]),
            }
        if done:
            for kind in dict.fromkeys(task.kind for task in self.tasks):
                mine = [(task, row) for task, row in zip(self.tasks, done[name], strict=True) if task.kind == kind]
                found[kind] = numbers.share([task.right(row["completion"]) for task, row in mine])
            found["choice"] = self._choices(name)
        return found

    def _reweighting(self, name: str) -> Marker | None:
        """The layers of a profile that bend the distribution, at temperature 1; None if there are none."""
        if name == UNMARKED:
            return None
        profile = json.loads(self.profiles[name])
        alone = [Marker({**profile, "layers": [layer]}, self.key) for layer in profile["layers"]]
        bends = [not marker.chooses and not marker.has_paired_draws for marker in alone]
        layers = [layer for layer, kept in zip(profile["layers"], bends, strict=True) if kept]
        return Marker({**profile, "layers": layers}, self.key) if layers else None

    def _kl(self, name: str, rows: Sequence[dict[str, Any]]) -> float:
        """KL divergence of the marked from the unmarked distribution along marked answers, nats per token."""
        import torch

        marker = self._reweighting(name)
        if marker is None:
            return 0.0
        total, tokens = 0.0, 0
        for row in rows[:_COMPARED]:
            ids = torch.tensor([row["prompt_tokens"] + row["tokens"]], device=self.model.device)
            with torch.inference_mode():
                logits = self.model(input_ids=ids).logits[0, len(row["prompt_tokens"]) - 1 : -1].float().cpu()
            both = (rows.double().log_softmax(-1) for rows in (logits, _bend(marker, logits, row["tokens"])))
            for plain, bent in zip(*both, strict=True):
                kept = bent > -math.inf
                total += float((bent[kept].exp() * (bent[kept] - plain[kept])).sum())
            tokens += len(row["tokens"])
        return total / max(tokens, 1)

    def _choices(self, name: str) -> dict[str, Any]:
        """How often the marked distribution gives the right one of four ends the highest mean log-probability."""
        marker = self._reweighting(name)
        right = []
        for choice, ends in zip(self.choices, self._ends_of_choices(), strict=True):
            likelihoods = []
            for before, tokens, logits in ends:
                rows = logits if marker is None else _bend(marker, logits, tokens, before)
                ln_p = rows.double().log_softmax(-1)
                likelihoods.append(sum(float(row[token]) for row, token in zip(ln_p, tokens, strict=True)) / len(tokens))
            right.append(likelihoods.index(max(likelihoods)) == choice.right)
        return numbers.share(right)

    def _ends_of_choices(self) -> list[list[tuple[list[int], list[int], Any]]]:
        """Of each end of each choice what stands before it, its tokens, and the unmarked model's rows of logits [tokens, vocab_size]."""
        import torch

        if self._logits is None:
            self._logits = []
            for choice in self.choices:
                before = self.vocabulary.prompt_ids(choice.begin, special=True)
                ends = [self.vocabulary.text_ids(end) for end in choice.ends]
                longest = max(len(tokens) for tokens in ends)
                # What stands on the right is seen by nothing before it.
                ids = torch.tensor([before + tokens + [0] * (longest - len(tokens)) for tokens in ends], device=self.model.device)
                with torch.inference_mode():
                    rows = self.model(input_ids=ids).logits[:, len(before) - 1 : -1].float().cpu()
                self._logits.append([(before, tokens, row[: len(tokens)]) for tokens, row in zip(ends, rows, strict=True)])
        return self._logits

    def _digits(self, name: str, rows: Sequence[dict[str, Any]]) -> dict[str, float]:
        """Digits of log10 p in a hundred tokens, by layer; an unmarked model's stand under the first profile's key."""
        profile = next(iter(self.profiles.values())) if name == UNMARKED else self.profiles[name]
        if self._marker(name).has_paired_draws and len(json.loads(profile)["layers"]) == 1:
            return {}  # no text shows paired draws
        detector = Detector(json.loads(profile), self.key)
        records = [{"prompt_tokens": row["prompt_tokens"], "tokens": row["tokens"]} for row in rows]
        tokens = sum(len(row["tokens"]) for row in rows)
        return {finding.layer or "": -100 * finding.log10_p / max(tokens, 1) for finding in detector.detect(records, resample=0)}


def _bend(marker: Marker, logits: Any, tokens: Sequence[int], before: Sequence[int] = ()) -> Any:
    """Rows [n, vocab_size] of logits as the mark leaves them, each after the tokens before it."""
    session = marker.session(seed=0)
    for token in before:
        session.accept(token)
    rows = logits.clone()
    for row, token in zip(rows, tokens, strict=True):
        session.process(row.numpy())
        session.accept(token)
    return rows


def _line(asked: str, answer: Answer) -> str:
    ids = {"prompt_tokens": answer.prompt_tokens, "tokens": answer.tokens}
    return json.dumps({"prompt": asked, "completion": answer.text, **ids, "ended": answer.ended}, ensure_ascii=False)


def _name(profile: str, path: str) -> str:
    try:
        name = json.loads(profile).get("name")
    except (ValueError, RecursionError, AttributeError):
        name = None
    if not isinstance(name, str) or not name:
        raise InputError(f"{path}: not a profile with a name")
    return name


def _file(name: str) -> str:
    """A name of a file for a name of a profile, which may hold anything."""
    plain = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
    return plain if plain == name else f"{plain}-{_digest(name)[:8]}"


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=True).encode()).hexdigest()


def _seed(seed: int, what: str, begin: int) -> int:
    """A seed for each batch. The same for every profile: where no key decides, all draw alike."""
    return int(_digest([seed, what, begin])[:15], 16)


def _with(number: dict[str, float] | None, places: int) -> str:
    return "-" if number is None else f"{number['value']:.{places}f}"


def _interval(number: dict[str, float] | None) -> str:
    return "-" if number is None else f"{number['value']:.2f} [{number['low']:.2f}, {number['high']:.2f}]"


def table(report: dict[str, Any]) -> str:
    """What `measure` found as a table in Markdown, a row for each profile."""
    rows = [{"": name, **_cells(one)} for name, one in report["profiles"].items()]
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(one: dict[str, Any]) -> dict[str, str]:
    judge, repeated = one.get("nats_judge"), one.get("repeated", {})
    return {
        "nats, judge": _with(judge, 3),
        "more than unmarked": _interval(judge and judge["more"]),
        "nats, own": _with(one["nats_own"], 3),
        "KL": f"{one['kl']:.3f}",
        "distinct-2": _interval(repeated.get("distinct_2")),
        "self-BLEU": _interval(repeated.get("self_bleu")),
        "loops": _interval(one["loops"]),
        "tokens": _with(one["tokens"], 0),
        **{kind: _interval(one.get(kind)) for kind in ("copy", "sum", "json", "choice")},
        "digits in 100 tokens": ", ".join(f"{layer} {digits:.1f}" for layer, digits in one["digits"].items()) or "-",
    }


def read_prompts(path: str | os.PathLike[str]) -> list[str]:
    """One question a line, or JSON lines with `prompt`, `question` or `text`."""
    prompts = []
    for number, line in enumerate(pathlib.Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        prompt: object = line
        if line.lstrip().startswith("{"):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                raise InputError(f"{os.fspath(path)}, line {number}: begins like JSON and is none") from None
            prompt = next((row[name] for name in ("prompt", "question", "text") if name in row), None)
        if not isinstance(prompt, str) or not prompt.strip():
            raise InputError(f"{os.fspath(path)}, line {number}: no prompt, question or text in it")
        prompts.append(prompt)
    return prompts


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m watermark_core.quality",
        description="Ask a model the same questions under each profile and unmarked, and measure what the marks cost and show.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default, add = Options(), parser.add_argument
    add("--model", metavar="MODEL", required=True, help="folder of weights, .gguf file or name at Hugging Face")
    add("--prompts", metavar="FILE", required=True, help="a question a line, or JSONL with prompt, question or text; some two hundred")
    add("--profile", metavar="FILE", required=True, action="append", dest="profiles", help="of the model's tokenizer (repeatable)")
    add("--key", metavar="FILE", required=True, help="a key at or above the profiles' paths")
    add("--out", metavar="DIR", required=True, help="folder for answers and quality.json; the same command goes on there")
    add("--judge", metavar="MODEL", help="another real model that says how likely the answers are")
    add("--temperature", type=float, metavar="T", default=default.temperature, help="%(default)s")
    add("--top-p", type=float, metavar="P", default=default.top_p, help="%(default)s")
    add("--max-tokens", type=int, metavar="N", default=default.max_tokens, help="longest answer (default: %(default)s)")
    add("--repeated-prompts", type=int, metavar="N", default=default.repeated_prompts, help="asked several times (default: %(default)s)")
    add("--repeats", type=int, metavar="N", default=default.repeats, help="how often (default: %(default)s)")
    add("--tasks", type=int, metavar="N", default=default.tasks, help="tasks of each kind; 0 leaves them out (default: %(default)s)")
    add("--seed", type=int, metavar="N", default=default.seed, help="of the draws that no key decides (default: %(default)s)")
    add("--batch-size", type=int, metavar="N", default=default.batch_size, help="answers at a time (default: %(default)s)")
    add("--dtype", choices=DTYPES, default=default.dtype, help="precision of the weights in memory (default: that of the files)")
    add("--device", metavar="NAME", help="as torch names it (default: a GPU if there is one)")
    add("--quiet", action="store_true", help="say nothing but errors and the table")
    return parser


_EPILOG = """\
columns: nats are means of -ln p per token, by the judge (a plain text after its question) and by the model itself unmarked; KL is how far
the marked distribution is from the unmarked one given the key, in nats per token at temperature 1; distinct-2 and self-BLEU are of several
answers to one question (more and less of them is more varied); loops are answers that say the same eight tokens three times; copy, sum,
json are tasks that the answer must do right, choice is a fact by likelihood under the marked distribution; digits are of log10 p.
Brackets are 95 % intervals.

exit codes: 0 = measured; 2 = an error, or interrupted (the same command goes on).
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    given = vars(_parser().parse_args(arguments))
    model, prompts, out = given.pop("model"), given.pop("prompts"), given.pop("out")
    return exit_code(lambda: print(table(measure(model, read_prompts(prompts), out, **given))))


if __name__ == "__main__":
    sys.exit(main())
