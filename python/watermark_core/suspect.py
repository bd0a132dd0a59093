"""A model of open weights, or behind an endpoint that gives prompt log-probabilities, run along texts: what could it have said at each
token? The file that this writes is what `watermark test-model --logprobs` reads::

    python -m watermark_core.suspect --model suspect-7b --texts answers.jsonl --out suspect.jsonl
    watermark test-model --profile chat.profile.json --key master.key.json --logprobs suspect.jsonl

or in a notebook::

    from watermark_core import suspect

    suspect.write("answers.jsonl", "suspect-7b", "suspect.jsonl", top=100)
    lines = suspect.score([{"prompt": "Why?", "text": "Because."}], (model, tokenizer))

The texts are the suspect's own answers to fresh prompts, one JSON object a line: `{"prompt": ..., "text": ...}`, or
`{"prompt_tokens": [...], "tokens": [...]}` where the model's tokenizer is the mark's own. Run an unmarked reference model along the very
same file: `OUT.about.json` says by digests which texts and which weights a file is of. (For `--reading` the input would have to be cut
where the mark's tokens end, which is not done here.)

Prompt and text become tokens each by itself, the prompt with the special tokens that the tokenizer begins with, so that the text's first
token begins at its byte 0. Every token of at least 2^-16 is kept, which is what the test can use, or the `top` likeliest of them. What a
model could say is written in pieces of text at bytes, by its own tokenizer; pieces that are no UTF-8 by themselves, and special tokens, are
left out. Where its tokenizer is known to be the mark's own (`tokenizer`, `same_tokenizer`), ids are written; in ids the test leaves out
what prompts say word for word, in pieces also what answers quote from them in another case, wrapped or escaped.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from . import _suspect_endpoint
from ._lib import InputError, ParameterError, __version__
from ._suspect_candidates import CONTINUES, ByNextToken, ByText
from ._run_files import Progress, exit_code, sha256, written
from ._suspect_model import LocalModel, load, load_tokenizer, read_tokenizer, versions, vocabulary_of
from ._suspect_options import APIS, DTYPES, Options
from ._suspect_pairs import Request, Scores, line_of_pairs, read_requests
from ._suspect_texts import Encoded, FastVocabulary, Row, Text, Vocabulary, line_of_ids, line_of_pieces, read_texts, take_texts

__all__ = ["Options", "score", "write", "write_pairs"]

FORMAT = "watermark-suspect/1"
# What vLLM gives unless it was started with more (--max-logprobs).
ENDPOINT_TOP = 20
# Batches among which texts of a like length are put together.
WINDOW = 16


class _Scorer(Protocol):
    about: dict[str, Any]
    reach: int
    size: int

    @property
    def vocabulary(self) -> Vocabulary: ...

    def predict(self, batch: Sequence[Encoded]) -> list[list[Row]]: ...

    def candidates(
        self, batch: Sequence[Encoded], wanted: Sequence[Mapping[int, tuple[int, int]]]
    ) -> list[dict[int, tuple[float, float]]]: ...


@dataclass
class _Run:
    """A model, the texts that it is run along, and what was left out on the way."""

    scorer: _Scorer
    #: The tokenizer of transformers, which has the chat template.
    tokenizer: Any
    as_ids: bool
    options: Options
    texts_left_out: int = 0
    tokens_left_out: int = 0
    tokens: int = 0
    changed: int = 0
    without_context: int = 0

    def lines(self, texts: Sequence[Text], written: int, progress: Progress) -> Iterator[list[str]]:
        """The lines after the first `written`, in order. Batches are the same wherever a run begins, and so is each digit."""
        window = self.options.batch_size * (1 if self.options.endpoint else WINDOW)
        for begin in range(0, len(texts), window):
            chunk = texts[begin : begin + window]
            encoded = [self._encode(text) for text in chunk]
            if begin + len(chunk) <= written:
                progress.skip(sum(text.size for text in chunk))
                continue
            lines = self._window(chunk, encoded, written - begin, begin, len(texts), progress)
            yield [lines[at] for at in range(max(written - begin, 0), len(chunk))]

    def _window(
        self, chunk: Sequence[Text], encoded: Sequence[Encoded], skip: int, begin: int, total: int, progress: Progress
    ) -> dict[int, str]:
        # Inputs of a like length share a batch, which has less padding.
        order = sorted(range(len(chunk)), key=lambda at: -len(encoded[at].ids))
        lines: dict[int, str] = {}
        for first in range(0, len(order), self.options.batch_size):
            batch = order[first : first + self.options.batch_size]
            size = sum(chunk[at].size for at in batch)
            if all(at < skip for at in batch):
                progress.skip(size)
                continue
            for at, rows in zip(batch, self.scorer.predict([encoded[at] for at in batch]), strict=True):
                lines[at] = self._line(chunk[at], encoded[at], rows)
            progress.advance(size, f"text {begin + min(first + len(batch), len(chunk))} of {total}")
        return lines

    def _encode(self, text: Text) -> Encoded:
        encoded = self._ids(text) if self.as_ids else self._pieces(text)
        if wrong := [token for token in encoded.ids if token >= self.scorer.size]:
            raise InputError(
                f"text {text.line}: token id {wrong[0]}, and the model has {self.scorer.size} tokens; is its tokenizer another?"
            )
        left_out = max(0, len(encoded.ids) - max(self.scorer.reach, encoded.begin))
        self.texts_left_out += left_out > 0
        self.tokens_left_out += left_out
        self.tokens += len(encoded.at)
        self.changed += encoded.changed
        self.without_context += encoded.begin == 0 and bool(encoded.at)
        return encoded

    def pair_lines(self, requests: Sequence[Request], written: int, progress: Progress) -> Iterator[list[str]]:
        """As `lines`, of both candidates of served answers."""
        for begin in range(0, len(requests), self.options.batch_size):
            batch = requests[begin : begin + self.options.batch_size]
            size = sum(request.size for request in batch)
            if begin + len(batch) <= written:
                progress.skip(size)
                continue
            lines = [line_of_pairs(*one) for one in zip(batch, self._candidates(batch), strict=True)]
            yield lines[max(written - begin, 0) :]
            progress.advance(size, f"request {begin + len(batch)} of {len(requests)}")

    def _candidates(self, batch: Sequence[Request]) -> list[Scores]:
        if not self.as_ids:
            before = self._by_text.left_out
            found = [self._by_text.score(request) for request in batch]
            self.tokens += sum(len(request.tokens) for request in batch)
            self.tokens_left_out += self._by_text.left_out - before
            self.texts_left_out += self._by_text.left_out > before
            return found
        encoded = [self._served(request) for request in batch]
        wanted = [
            {ready.begin + at: (first, second) for at, first, second in request.pairs()}
            for request, ready in zip(batch, encoded, strict=True)
        ]
        scored = self.scorer.candidates(encoded, wanted)
        return [{at - ready.begin: both for at, both in one.items()} for ready, one in zip(encoded, scored, strict=True)]

    @functools.cached_property
    def _mark(self) -> FastVocabulary:
        return vocabulary_of(read_tokenizer(pathlib.Path(str(self.options.tokenizer))))

    @functools.cached_property
    def _by_text(self) -> ByText:
        return ByText(cast(LocalModel, self.scorer), self._mark, self._prompt_of, self.options.batch_size)

    def _prompt_of(self, request: Request) -> list[int]:
        prompt = request.prompt or self._mark.decode(request.prompt_tokens)
        if self.options.chat:
            turn = Text(request.line, request.id, prompt, None, (), None)
            return self._fast().prompt_ids(self._templated(turn), special=False)
        return self._fast().prompt_ids(prompt, special=True)

    def _served(self, request: Request) -> Encoded:
        if wrong := [token for token in request.withheld if token is not None and token >= self.scorer.size]:
            raise InputError(f"line {request.line}: withheld token id {wrong[0]}, and the model has {self.scorer.size} tokens")
        return self._encode(Text(request.line, request.id, request.prompt, None, request.prompt_tokens, request.tokens))

    def _pieces(self, text: Text) -> Encoded:
        if text.text is None:
            raise InputError(
                f"text {text.line}: only ids, and it is not known that the model's tokenizer is the mark's own; give \"text\" too, or "
                "--same-tokenizer, or the mark's --tokenizer"
            )
        if text.prompt_tokens and not text.prompt:
            raise InputError(
                f'text {text.line}: its prompt is only ids, which are of another tokenizer than the model\'s; give "prompt" too'
            )
        if self.options.chat:
            return self._fast().encode(self._templated(text), text.text, special=False)
        return self.scorer.vocabulary.encode(text.prompt, text.text)

    def _ids(self, text: Text) -> Encoded:
        tokens = list(text.tokens) if text.tokens is not None else self._fast().text_ids(text.text or "")
        if self.options.chat:
            before = self._fast().prompt_ids(self._templated(text), special=False)
        elif text.prompt_tokens or not text.prompt:
            before = list(text.prompt_tokens) or (self._fast().prompt_ids("", special=True) if text.tokens is None else [])
        else:
            before = self._fast().prompt_ids(text.prompt, special=True)
        return Encoded([*before, *tokens], len(before), list(range(len(tokens))))

    def _templated(self, text: Text) -> str:
        if text.prompt_tokens:
            raise InputError(f"text {text.line}: prompt_tokens are read as they are; leave --chat out, or give the prompt as text")
        turns = [{"role": "user", "content": text.prompt}]
        return cast(str, self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))

    def _fast(self) -> FastVocabulary:
        return cast(FastVocabulary, self.scorer.vocabulary)

    def _line(self, text: Text, encoded: Encoded, rows: Sequence[Row]) -> str:
        if not self.as_ids:
            return line_of_pieces(text, encoded, rows, self.scorer.vocabulary)
        # The test leaves out what prompts say, and needs no special tokens of ours for that.
        prompt = text.prompt_tokens or (self._fast().prompt_ids(text.prompt, special=False) if text.prompt else ())
        return line_of_ids(text, prompt, encoded.ids[encoded.begin :], rows)

    def left_out(self) -> dict[str, int]:
        return {
            "tokens": self.tokens,
            "texts_left_out": self.texts_left_out,
            "tokens_left_out": self.tokens_left_out,
            "first_tokens_left_out": self.without_context,
            "tokens_changed": self.changed,
        }

    def warnings(self) -> list[str]:
        found = []
        if self.tokens_left_out:
            found.append(
                f"left out: {self.tokens_left_out} of {self.tokens} tokens, at the ends of {self.texts_left_out} texts that are longer, "
                f"with their prompts, than the {self.scorer.reach - 1} tokens that the model reads"
            )
        if self.without_context:
            found.append(f"left out: the first token of {self.without_context} texts, before which there is nothing to read")
        if self.changed:
            found.append(
                f"{self.changed} of {self.tokens} tokens stand for other characters than those of the text: the tokenizer normalises"
            )
        return found


def score(
    texts: Iterable[Mapping[str, Any]] | str | os.PathLike[str], model: str | os.PathLike[str] | tuple[Any, Any], **options: Any
) -> list[dict[str, Any]]:
    """What a model could have said along texts, in memory: the lines that `write` would write, as dicts.

    Args:
        texts: Dicts with prompt and text, or prompt_tokens and tokens; or the path of a JSONL file of them.
        model: A folder, a GGUF file, a name at Hugging Face or at `endpoint`; or a model of transformers with its tokenizer.
        options: Fields of `Options`.

    Raises:
        WatermarkError: A text, the model, an option or an answer of the endpoint cannot be used.
        ImportError: What runs the model is not installed.
    """
    run, _ = _open(model, Options(**options))
    taken = read_texts(texts) if isinstance(texts, str | os.PathLike) else take_texts(texts)
    lines = run.lines(taken, 0, Progress(sum(text.size for text in taken), "scored", silent=True))
    scored = [json.loads(line) for window in lines for line in window]
    for warning in run.warnings():
        print(warning, file=sys.stderr)
    return scored


def write(
    texts: str | os.PathLike[str],
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    quiet: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Runs a model along the texts of a file and writes what `watermark test-model --logprobs` reads: the command line's work.

    A run that was cut short goes on with the same call; one that was complete does nothing.

    Args:
        texts: JSONL file of texts with their prompts.
        model: A folder, a GGUF file, or a name at Hugging Face or at `endpoint`.
        out: The file to write; OUT.about.json says what it depends on.
        quiet: Say nothing on stderr.
        options: Fields of `Options`.

    Returns:
        What OUT.about.json holds: digests of the texts, of the weights and of the output, versions, options, counts.

    Raises:
        WatermarkError: As `score`; or the file is there and of another run.
        ImportError: What runs the model is not installed.
    """
    chosen = Options(**options)
    taken = read_texts(texts)
    progress = Progress(sum(text.size for text in taken), pathlib.Path(out).name, silent=quiet)
    progress.say(f"{len(taken)} texts{'' if chosen.endpoint else '; loading the model'}")
    run, about = _open(model, chosen)
    bound = {**about, "texts_sha256": sha256(texts), "texts": len(taken)}
    done, new = written(out, bound, "texts", lambda lines: run.lines(taken, lines, progress), run.left_out, progress)
    if new:
        for warning in run.warnings():
            progress.say(warning)
        progress.say(f"{out}: {len(taken)} texts, {run.tokens} tokens, {'ids of the mark' if run.as_ids else 'pieces of text'}")
    return done


def write_pairs(
    served: str | os.PathLike[str],
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    quiet: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Runs a model along answers that were served with paired draws and writes what it thinks of both candidates of each position: what
    `watermark pairs test` reads. It needs no key; resumed as `write`.

    Args:
        served: JSONL file as `watermark mark --ledger` writes it, in the order of the ledger.
        model: A folder, a GGUF file, or a name at Hugging Face or at `endpoint`. One whose tokenizer is not the mark's own (`tokenizer`,
            `same_tokenizer`) reads each candidate as text: a forward pass each.
        out: The file to write; OUT.about.json says what it depends on.
        quiet: Say nothing on stderr.
        options: Fields of `Options`.

    Returns:
        What OUT.about.json holds.

    Raises:
        WatermarkError: As `write`; also for an endpoint that gives log-probabilities of another tokenizer.
        ImportError: What runs the model is not installed.
    """
    chosen = Options(**options)
    requests = read_requests(served)
    progress = Progress(sum(request.size for request in requests), pathlib.Path(out).name, silent=quiet)
    progress.say(f"{len(requests)} requests; loading the model")
    if chosen.api in CONTINUES:
        return _write_next_tokens(requests, model, out, served, chosen, progress)
    run, about = _open(model, chosen)
    if not run.as_ids and (chosen.endpoint is not None or chosen.tokenizer is None):
        raise ParameterError(
            "candidates are ids of the mark's tokenizer: give it with --tokenizer, or --same-tokenizer if the model's is the same; an "
            "endpoint with another tokenizer can be asked what it says next: --api completions, or one of chat"
        )
    # What decides the scores: whether candidates were read as ids or as text, and of which mark.
    reads = {"format": "pairs", "reads": about["format"], "mark_sha256": _digest_of(chosen.tokenizer)}
    bound = {**about, **reads, "served_sha256": sha256(served), "requests": len(requests)}
    done, new = written(
        out,
        bound,
        "requests",
        lambda lines: run.pair_lines(requests, lines, progress),
        lambda: {"tokens": run.tokens, "tokens_left_out": run.tokens_left_out},
        progress,
    )
    if new:
        for warning in run.warnings():
            progress.say(f"{warning}; what has no scores counts as lost, unless the test counts --first-tokens only")
        progress.say(f"{out}: {len(requests)} requests")
    return done


def _digest_of(path: str | os.PathLike[str] | None) -> str | None:
    return None if path is None else hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def _write_next_tokens(
    requests: Sequence[Request],
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    served: str | os.PathLike[str],
    options: Options,
    progress: Progress,
) -> dict[str, Any]:
    if options.endpoint is None or options.tokenizer is None:
        raise ParameterError(f"--api {options.api} needs --endpoint, and the mark's --tokenizer to write what was served so far")
    mark = vocabulary_of(read_tokenizer(pathlib.Path(options.tokenizer)))
    client = _suspect_endpoint.Client(options.endpoint)
    asked = ByNextToken(client, str(model), mark, options.api, options.batch_size)

    def lines_after(written: int) -> Iterator[list[str]]:
        progress.skip(sum(request.size for request in requests[:written]))
        for at, request in enumerate(requests[written:], written + 1):
            yield [line_of_pairs(request, asked.score(request))]
            progress.advance(request.size, f"request {at} of {len(requests)}")

    bound = {
        "about": FORMAT,
        "model": asked.about,
        "tokenizer_sha256": hashlib.sha256(mark.canonical.encode()).hexdigest(),
        "format": "pairs",
        "reads": "next token",
        "versions": {"watermark_core": __version__},
        "served_sha256": sha256(served),
        "requests": len(requests),
    }
    done, new = written(out, bound, "requests", lines_after, dict, progress)
    if new:
        progress.say(f"{out}: {len(requests)} requests; of {asked.asked} positions it said one of both candidates at {asked.told}")
    return done


def _open(model: str | os.PathLike[str] | tuple[Any, Any], options: Options) -> tuple[_Run, dict[str, Any]]:
    """What runs, and what decides its lines."""
    own = options.model_tokenizer or (options.tokenizer if options.same_tokenizer else None)
    tokenizer: Any = None
    files: dict[str, Any] = {}
    if options.endpoint is not None:
        scorer: _Scorer = _endpoint(str(model), options, None if own is None else vocabulary_of(load_tokenizer(os.fspath(own))))
    else:
        if isinstance(model, tuple):
            loaded, tokenizer = model
        else:
            loaded, tokenizer, files = load(
                os.fspath(model), dtype=options.dtype, device=options.device, model_tokenizer=None if own is None else os.fspath(own)
            )
        scorer = LocalModel(
            loaded, vocabulary_of(tokenizer), temperature=options.temperature, top=options.top, max_length=options.max_length
        )
    if options.chat and not getattr(tokenizer, "chat_template", None):
        raise InputError("the model's tokenizer has no chat template; leave --chat out")
    as_ids = _same(scorer.vocabulary, options)
    fast = scorer.vocabulary if isinstance(scorer.vocabulary, FastVocabulary) else None
    if as_ids and fast is None:
        raise ParameterError("ids need the model's tokenizer; give it with --model-tokenizer")
    about = {
        "about": FORMAT,
        "model": {**files, **scorer.about},
        "tokenizer_sha256": None if fast is None else hashlib.sha256(fast.canonical.encode()).hexdigest(),
        "format": "ids" if as_ids else "pieces",
        "chat": options.chat,
        "temperature": options.temperature,
        "top": options.top if options.endpoint is None else options.top or ENDPOINT_TOP,
        "max_length": options.max_length,
        "versions": {"watermark_core": __version__} | ({} if options.endpoint else versions()),
    }
    return _Run(scorer, tokenizer, as_ids, options), about


def _endpoint(name: str, options: Options, vocabulary: FastVocabulary | None) -> _Scorer:
    client = _suspect_endpoint.Client(options.endpoint or "")
    top = options.top or ENDPOINT_TOP
    if options.api in CONTINUES:
        raise ParameterError(f"--api {options.api} gives no log-probabilities of texts; it is for --pairs")
    if options.api == "llama.cpp":
        return _suspect_endpoint.LlamaCpp(client, vocabulary, top=top, concurrency=options.batch_size, max_length=options.max_length)
    if vocabulary is None:
        raise ParameterError(
            "vLLM is asked in ids, because the texts that it gives for tokens depend on what stands before them; give the model's own "
            "tokenizer with --model-tokenizer"
        )
    return _suspect_endpoint.Vllm(client, name, vocabulary, top=top, concurrency=options.batch_size, max_length=options.max_length)


def _same(vocabulary: Vocabulary, options: Options) -> bool:
    """Whether the model's tokenizer is the mark's own."""
    if options.same_tokenizer or options.tokenizer is None:
        return options.same_tokenizer
    mark = vocabulary_of(read_tokenizer(pathlib.Path(options.tokenizer)))
    return isinstance(vocabulary, FastVocabulary) and vocabulary.equals(mark)


_EXAMPLES = """\
examples:
  python -m watermark_core.suspect --model suspect-7b --texts answers.jsonl --out suspect.jsonl
  python -m watermark_core.suspect --model base-7b --texts answers.jsonl --out reference.jsonl    # unmarked, the same texts
  python -m watermark_core.suspect --model suspect.Q4_1.gguf --model-tokenizer suspect-7b --texts answers.jsonl --out suspect.jsonl
  python -m watermark_core.suspect --model suspect-7b --chat --dtype bfloat16 --device cuda --batch-size 16 --top 200 ...
  python -m watermark_core.suspect --endpoint http://127.0.0.1:8000/v1 --model suspect --model-tokenizer suspect-7b ...
  python -m watermark_core.suspect --endpoint http://127.0.0.1:8080 --api llama.cpp ...
  watermark test-model --profile P --key K --logprobs suspect.jsonl
  python -m watermark_core.suspect --model suspect-7b --tokenizer tokenizer.json --pairs served.jsonl --out suspect.scores.jsonl
  watermark pairs test --profile P --key K --scores suspect.scores.jsonl --reference base.scores.jsonl served.jsonl
  python -m watermark_core.suspect --endpoint https://api.example.com/beta --api chat-prefix --model suspect --tokenizer tokenizer.json \\
    --pairs served.jsonl --out suspect.scores.jsonl

pairs: a model with another tokenizer, given the mark's --tokenizer, reads each candidate as text, a forward pass each. An endpoint with
log-probabilities of prompts (vllm, llama.cpp) must have the mark's tokenizer. One without any is asked for one token at each position with two
candidates, after what was served before it, and says one of them or neither: --api completions, or in a chat an assistant's message that the
model continues, chat-prefix ("prefix": true, as DeepSeek has it), chat-partial ("partial": true, as Kimi), chat-continue
(continue_final_message, as vLLM and SGLang).

texts, one JSON object a line; ids only where the model's tokenizer is the mark's own:
  {"prompt": ..., "text": ...}      {"prompt_tokens": [...], "tokens": [...]}      "id" is handed on

The texts are the suspect's own answers to prompts that it was not trained on. For a model that answers in turns of a chat use --chat, or
put its template into the prompts. Prompt and text become tokens each by itself; ids are read as they are.

A model with V tokens computes V * batch size * length numbers at once beside its weights. Of a text that is longer than
the model's context the first part is scored, and the rest has no choices.

A run that is cut short leaves OUT.part and OUT.state.json, and the same command goes on after the last whole line; the batch size may
be another one, which changes last digits. OUT.about.json, beside the finished file, has the digests of texts, weights and output.

The API token of an endpoint comes from the environment variable WATERMARK_API_KEY and is never written.

exit codes: 0 = written, or was complete; 2 = an error, or interrupted (the same command goes on).
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m watermark_core.suspect",
        description="Run a model along texts and write what it could say at each token, for `watermark test-model --logprobs`; or along answers "
        "served with paired draws, for `watermark pairs test`.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", metavar="MODEL", help="folder of weights, .gguf file or name at Hugging Face; with --endpoint the name there")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--texts", metavar="FILE", help="texts with their prompts, JSONL")
    what.add_argument("--pairs", metavar="FILE", help="answers served with paired draws, JSONL: score both candidates of each position")
    add("--out", metavar="FILE", required=True, help="file to write")
    add("--tokenizer", metavar="FILE", help="the mark's tokenizer.json: ids are written if the model has the same, else pairs are read as text")
    add("--same-tokenizer", action="store_true", help="the model's tokenizer is the mark's own: write ids")
    add("--model-tokenizer", metavar="PATH", help="the model's own tokenizer where it is not beside the weights, or is better than GGUF's")
    add("--chat", action="store_true", help="put each prompt into the model's chat template, as one turn of a user")
    add("--dtype", choices=DTYPES, default="auto", help="precision of the weights in memory (default: that of the files)")
    add("--device", metavar="NAME", help="as torch names it, for example cpu or cuda:1 (default: a GPU if there is one)")
    add("--temperature", type=float, default=1.0, metavar="T", help="divides the logits (default: 1)")
    add("--top", type=int, metavar="N", help="keep the N likeliest tokens of each position (default: all of at least 2^-16; endpoints: 20)")
    add("--max-length", type=int, metavar="N", help="most tokens that the model reads at once (default: what its configuration says)")
    add("--batch-size", type=int, default=8, metavar="N", help="inputs at a time, or requests under way (default: 8)")
    add("--endpoint", metavar="URL", help="base address of a server: of prompt log-probabilities, or for pairs of any that continues a text")
    add("--api", choices=APIS, default="vllm", metavar="API", help=f"what the server is: {', '.join(APIS)} (default: vllm)")
    add("--quiet", action="store_true", help="say nothing but errors")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    if given["model"] is None and not (given["endpoint"] and given["api"] == "llama.cpp"):
        parser.error("--model is missing: a folder of weights, a .gguf file, or the name at --endpoint")
    texts, served, model, out = given.pop("texts"), given.pop("pairs"), given.pop("model"), given.pop("out")
    call, inputs = (write, texts) if served is None else (write_pairs, served)
    return exit_code(lambda: call(inputs, model or "", out, **given))


if __name__ == "__main__":
    sys.exit(main())
