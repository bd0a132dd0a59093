"""A server on this machine answers as vLLM and llama.cpp do, with a model of random weights behind it, and in every wrong way."""

import contextlib
import copy
import http.server
import io
import json
import os
import pathlib
import random
import sys
import threading
import unittest
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import watermark_core as w
from suspect_models import BYTES, MODEL, RECORDS, STANDS, TOKENIZER, Case, direct, parts
from watermark_core import _suspect_endpoint, _suspect_model, suspect


class Server(http.server.BaseHTTPRequestHandler):
    """vLLM and llama.cpp as far as they are asked, with the model of this file behind them."""

    protocol_version = "HTTP/1.1"
    requests = []
    #: Statuses to answer with before anything else, and an answer in place of the right one.
    faults, answer = [], None

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).requests.append((self.path, dict(self.headers), body))
        if type(self).faults:
            return self.reply(type(self).faults.pop(), b"no, says " + self.headers.get("Authorization", "nobody").encode())
        if self.answer is not None:
            return self.reply(200, self.answer)
        made = {"/v1/completions": self.vllm, "/v1/chat/completions": self.vllm, "/completion": self.llama_cpp, "/tokenize": self.tokenize}[self.path](body)
        self.reply(200, json.dumps(made).encode())

    def reply(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status == 307:
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

    @staticmethod
    def top(row, n):
        return sorted(range(BYTES.get_vocab_size()), key=lambda token: -row[token])[:n]

    def vllm(self, body):
        ids = body["prompt"]
        listed = [None]
        for at, row in enumerate(direct(MODEL, ids, 1)):
            # The token that stands there is always among them.
            shown = dict.fromkeys([ids[at + 1], *self.top(row, body["prompt_logprobs"])])
            listed.append({str(token): {"logprob": row[token], "rank": 1, "decoded_token": "?"} for token in shown})
        return {"choices": [{"index": 0, "text": "x", "prompt_logprobs": listed, "finish_reason": "length"}]}

    def llama_cpp(self, body):
        ids = body["prompt"]
        row = direct(MODEL, [*ids, 0], len(ids))[0]
        top = [self.piece(token) | {"logprob": row[token]} for token in self.top(row, body["n_probs"])]
        return {"content": "x", "truncated": False, "completion_probabilities": [{**top[0], "top_logprobs": top}]}

    def piece(self, token):
        value = STANDS[token] or b""
        return {"id": token, "token": value.decode(errors="replace"), "bytes": list(value)}

    def tokenize(self, body):
        ids = BYTES.encode(body["content"], add_special_tokens=body["add_special"]).ids
        tokens = []
        for token in ids[:-1] if body["add_special"] else ids:
            value = bytes(self.piece(token)["bytes"])
            try:
                piece = value.decode() or BYTES.id_to_token(token)
            except UnicodeDecodeError:
                piece = list(value)
            tokens.append({"id": token, "piece": piece})
        return {"tokens": tokens}


class Endpoint(Case):
    def setUp(self):
        super().setUp()
        Server.requests, Server.faults, Server.answer = [], [], None
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.url = f"http://127.0.0.1:{server.server_port}"
        self.tokenizer = self.folder / "own.json"
        BYTES.save(str(self.tokenizer))
        self.waits = self.enterContext(mock.patch.object(_suspect_endpoint.time, "sleep"))

    def vllm(self, records=RECORDS, **options):
        return suspect.score(records, "m", endpoint=f"{self.url}/v1", model_tokenizer=self.tokenizer, **options)

    def llama_cpp(self, records=RECORDS, **options):
        return suspect.score(records, "", endpoint=self.url, api="llama.cpp", **options)

    def test_both_say_what_the_model_says(self):
        expected = suspect.score(RECORDS, (MODEL, TOKENIZER), top=20)
        self.same(self.vllm(), expected)
        self.assertEqual({path for path, _, _ in Server.requests}, {"/v1/completions"})
        self.same(self.llama_cpp(), expected)
        self.same(self.llama_cpp(model_tokenizer=self.tokenizer, batch_size=1), expected)
        whole = suspect.score(RECORDS, (MODEL, TOKENIZER), top=20, same_tokenizer=True)
        ids = self.vllm(same_tokenizer=True)
        self.assertEqual([record["tokens"] for record in ids], [record["tokens"] for record in whole])
        self.assertEqual(
            [[token for token, _ in row] for record in ids for row in record["choices"]],
            [[token for token, _ in row] for record in whole for row in record["choices"]],
        )

    def served(self, lines):
        file = self.folder / "served.jsonl"
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return file, self.folder / "scores.jsonl"

    def test_candidates_have_the_probabilities_that_the_model_gives(self):
        """Likely or not: what is not among the likeliest tokens is asked for by itself."""
        tokens = BYTES.encode(" The cat sat on the mat.", add_special_tokens=False).ids
        withheld = [(token * 11 + 50) % 330 + 3 for token in tokens]
        line = {"request": "ledger/test/0", "prompt_tokens": [0, 20, 30], "tokens": tokens, "withheld": withheld}
        file, out = self.served([line])
        expected = direct(MODEL, [0, 20, 30, *tokens], 3)
        for options in (
            {"endpoint": f"{self.url}/v1", "model_tokenizer": self.tokenizer, "top": 2},
            {"endpoint": self.url, "api": "llama.cpp", "model_tokenizer": self.tokenizer, "top": 2},
        ):
            Server.requests.clear()
            suspect.write_pairs(file, "m", out, same_tokenizer=True, quiet=True, **options)
            (scored,) = [json.loads(text) for text in out.read_text().splitlines()]
            self.assertEqual([at for at, *_ in scored["scores"]], [at for at, (a, b) in enumerate(zip(tokens, withheld, strict=True)) if a != b])
            for at, first, second, *scores in scored["scores"]:
                for token, score in zip((first, second), scores, strict=True):
                    self.assertAlmostEqual(score / 65536, expected[at][token], delta=2e-5)
            self.assertGreater(len(Server.requests), len(tokens) // 2)
            for name in ("scores.jsonl", "scores.jsonl.about.json"):
                (self.folder / name).unlink()

    def test_what_an_endpoint_says_next(self):
        """It says one of both, or neither; how it is told to go on is in what is sent."""
        tokens = BYTES.encode("The cat sat on", add_special_tokens=False).ids
        pieces = [BYTES.decode([token]) for token in tokens]
        others = BYTES.encode("a dog mat Zug Stunden", add_special_tokens=False).ids[: len(tokens)]
        withheld = [other if other != token else 4 for token, other in zip(tokens, others, strict=False)]
        lines = [
            {"request": f"ledger/test/{number}", "prompt": "What?", "tokens": tokens[: len(withheld)], "withheld": withheld} for number in range(2)
        ]
        file, out = self.served(lines)
        begun = {"".join(pieces[:at]): at for at in range(len(withheld))}
        for api in ("completions", "chat-prefix", "chat-partial", "chat-continue"):
            Server.requests.clear()

            def says(body, api=api):
                last = None if api == "completions" else body["messages"][-1]
                so_far = body["prompt"].removeprefix("What?") if last is None else last["content"] if last["role"] == "assistant" else ""
                at = begun[so_far]
                # Served, withheld, neither, nothing.
                said = [pieces[at], BYTES.decode([withheld[at]]), "§", ""][at % 4]
                # One server repeats what it goes on from.
                said = so_far + said if api == "chat-prefix" and said else said
                return {"choices": [{"text": said} if last is None else {"message": {"role": "assistant", "content": said}}]}

            with mock.patch.object(Server, "vllm", lambda _, body, says=says: says(body)):
                suspect.write_pairs(file, "m", out, tokenizer=self.tokenizer, endpoint=f"{self.url}/v1", api=api, quiet=True)
            told = 0
            for line in map(json.loads, out.read_text().splitlines()):
                for at, first, _, *scores in line["scores"]:
                    served_first = first == tokens[at]
                    told += at % 4 < 2
                    expected = [0, 0] if at % 4 > 1 else [0, -65536] if served_first == (at % 4 == 0) else [-65536, 0]
                    self.assertEqual(scores, expected, (api, at))
            self.assertGreater(told, 3)
            bodies = [body for _, _, body in Server.requests]
            self.assertEqual(len(bodies), 2 * len(withheld))
            self.assertTrue(all(body["max_tokens"] == 1 and body["temperature"] == 0 for body in bodies))
            if api != "completions":
                whole = [body for body in bodies if len(body["messages"]) == 2]
                flag = {"chat-prefix": "prefix", "chat-partial": "partial"}.get(api)
                self.assertTrue(all(body["messages"][1][flag] is True if flag else body["continue_final_message"] is True for body in whole))
                self.assertFalse(any("continue_final_message" in body for body in bodies if len(body["messages"]) == 1))
            for name in ("scores.jsonl", "scores.jsonl.about.json"):
                (self.folder / name).unlink()
        Server.answer = b'{"choices": [{"text": "nothing of it"}]}'
        long, out = self.served([{**lines[0], "request": f"ledger/test/{number}"} for number in range(200)])
        self.raises(w.InputError, "check --api", suspect.write_pairs, long, "m", out, tokenizer=self.tokenizer, endpoint=f"{self.url}/v1", api="completions", quiet=True)
        for path in self.folder.glob("scores.jsonl*"):
            path.unlink()
        file, out = self.served(lines)
        Server.answer = b'{"choices": [{}]}'
        self.raises(w.InputError, "check --api", suspect.write_pairs, file, "m", out, tokenizer=self.tokenizer, endpoint=f"{self.url}/v1", api="completions", quiet=True)

    def test_long_texts(self):
        text = {"prompt": "the cat", "text": " the dog saw the mat and the cat"}
        before, _ = parts(BYTES, text)
        with contextlib.redirect_stderr(io.StringIO()):
            self.assertEqual(len(self.vllm([text], max_length=9)[0]["positions"]), 8 - len(before))
            self.assertEqual(len(Server.requests[-1][2]["prompt"]), 8)
            self.assertEqual(len(self.llama_cpp([text], max_length=9)[0]["positions"]), 9 - len(before))
        self.assertEqual(max(len(body["prompt"]) for path, _, body in Server.requests if path == "/completion"), 8)

    def test_a_file_and_the_api_token(self):
        texts, out = self.folder / "texts.jsonl", self.folder / "out.jsonl"
        texts.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
        secret, said = "sk-not-for-anybody", io.StringIO()
        with mock.patch.dict(os.environ, {"WATERMARK_API_KEY": secret}), contextlib.redirect_stderr(said):
            command = ["--endpoint", f"{self.url}/v1", "--model", "m", "--model-tokenizer", str(self.tokenizer)]
            command += ["--texts", str(texts), "--out", str(out)]
            Server.faults = [401]
            self.assertEqual(suspect.main(command), 2)
            Server.faults = [503, 429]
            self.assertEqual(suspect.main(command), 0)
        self.assertIn("check the API token in WATERMARK_API_KEY; no, says Bearer [redacted]", said.getvalue())
        self.assertEqual({headers["Authorization"] for _, headers, _ in Server.requests}, {f"Bearer {secret}"})
        shown = said.getvalue() + "".join(path.read_text() for path in self.folder.iterdir())
        self.assertNotIn(secret, shown)
        about = json.loads((self.folder / "out.jsonl.about.json").read_text())
        self.assertEqual(about["model"], {"api": "vllm", "endpoint": f"{self.url}/v1", "name": "m"})
        self.assertEqual(about["top"], 20)
        with mock.patch.dict(os.environ, {"WATERMARK_API_KEY": "two words"}):
            self.raises(w.ParameterError, "one word", self.vllm)

    def test_addresses_and_options_that_cannot_be_used(self):
        for url in ("ftp://a", "http://u:p@a/v1", "http://a/v1?key=1", "http://", "127.0.0.1:80"):
            self.raises(w.ParameterError, "--endpoint", suspect.score, RECORDS, "m", endpoint=url, api="llama.cpp")
        self.raises(w.ParameterError, "--model-tokenizer", suspect.score, RECORDS, "m", endpoint=self.url)
        self.raises(w.ParameterError, "--model-tokenizer", self.llama_cpp, same_tokenizer=True)
        self.raises(w.ParameterError, "temperature", self.llama_cpp, temperature=0.5)
        self.raises(w.ParameterError, "chat", self.llama_cpp, chat=True)

    def test_refusals(self):
        for status, says in [(307, "redirects are not followed"), (404, "check --endpoint"), (400, "HTTP 400")]:
            Server.faults = [status] * 50
            self.raises(w.InputError, says, self.vllm, RECORDS[:1])
            self.assertEqual(len(Server.faults), 49)
        Server.faults = [500] * 50
        self.raises(w.InputError, "tried 6 times", self.vllm, RECORDS[:1])
        self.assertEqual([call.args[0] for call in self.waits.call_args_list], [0.5, 1, 2, 4, 8])
        Server.faults = []
        with mock.patch.object(_suspect_endpoint, "_MAX_ANSWER", 1000):
            self.raises(w.InputError, "more than 1000 bytes", self.vllm, RECORDS[:1])
        self.raises(w.InputError, "no answer", suspect.score, RECORDS, "m", endpoint="http://127.0.0.1:9", api="llama.cpp")

    def test_answers_that_are_none(self):
        entry = lambda value: {"choices": [{"prompt_logprobs": [None, {"5": value}]}]}  # noqa: E731
        row = lambda value: {"completion_probabilities": [{"top_logprobs": [value]}]}  # noqa: E731
        vllm = [
            ({}, "choices"), ({"choices": []}, "no prompt_logprobs"), ({"choices": [{}]}, "no prompt_logprobs"),
            ({"choices": [{"prompt_logprobs": [None]}]}, "of 1 tokens for 2"),
            ({"choices": [{"prompt_logprobs": [None] * 3}]}, "at most 2"),
            ({"choices": [{"prompt_logprobs": [None, None]}]}, "not an object"), (entry(-1), "no object"), (entry({}), "no number"),
            (entry({"logprob": 0.5}), "0.5"), (entry({"logprob": "-1"}), "no number"), (entry({"logprob": True}), "no number"),
            (entry({"logprob": -(10**400)}), "inf"), ({"choices": [{"prompt_logprobs": [None, {"-5": {"logprob": -1}}]}]}, "token id"),
        ]  # fmt: skip
        client = _suspect_endpoint.Client(self.url)
        fast = _suspect_model.vocabulary_of(BYTES)
        asked = _suspect_endpoint.Vllm(client, "m", fast, top=20, concurrency=1, max_length=None)
        for answer, says in vllm:
            self.raises(w.InputError, says, asked.read, answer, 2)
        served = _suspect_endpoint.LlamaCpp(client, None, top=2, concurrency=1, max_length=None)
        good = {"id": 5, "logprob": -1.0, "bytes": [97]}
        for answer, says in [
            ({}, "completion_probabilities"), ({"completion_probabilities": []}, "no completion_probabilities"),
            ({"truncated": True}, "larger context"), (row(3), "else than objects"),
            (row({**good, "id": "5"}), "token id"), (row({**good, "logprob": None}), "no number"),
            (row({**good, "bytes": [256]}), "0 to 255"), (row({**good, "bytes": None}), "bytes"), (row({**good, "logprob": 1e9}), "1e+09"),
            ({"completion_probabilities": [{"top_logprobs": [good] * 3}]}, "at most 2"),
        ]:  # fmt: skip
            self.raises(w.InputError, says, served.read, answer, 2)
        self.assertEqual(served.read(row(good), 2), [(5, -1.0)])
        for raw in (b"", b"[]", b"{", b'{"a": NaN}', b'{"a": -Infinity}', b"\xff", b"[" * 100_000, b"<html>"):
            Server.answer = raw
            self.raises(w.InputError, "JSON", self.vllm, RECORDS[:1])
            self.raises(w.InputError, "JSON", self.llama_cpp, RECORDS[:1])
        Server.answer = json.dumps({"tokens": [{"id": 3, "piece": "other"}]}).encode()
        self.raises(w.InputError, "do not make up the text", self.llama_cpp, RECORDS[:1])

    def test_any_damage_is_an_error_or_a_row(self):
        """Two thousand answers with one value replaced: what comes out is a row that the program reads, or an error of ours."""
        client = _suspect_endpoint.Client(self.url)
        fast = _suspect_model.vocabulary_of(BYTES)
        vllm = _suspect_endpoint.Vllm(client, "m", fast, top=4, concurrency=1, max_length=None)
        llama_cpp = _suspect_endpoint.LlamaCpp(client, None, top=4, concurrency=1, max_length=None)
        token = {"logprob": -1.5, "rank": 2, "decoded_token": "a"}
        of_vllm = {"choices": [{"index": 0, "prompt_logprobs": [None, {"4": token, "9": token}, {"7": token}]}]}
        listed = {
            "id": 4,
            "token": "a",
            "bytes": [97],
            "logprob": -0.5,
            "top_logprobs": [{"id": 9, "token": "b", "bytes": [98], "logprob": -1.0}],
        }
        of_llama_cpp = {"content": "a", "truncated": False, "completion_probabilities": [listed]}
        strange = [None, True, 0, -1, 3.5, 10**400, -(10**400), 1e308, "", "x", "5", [], {}, [[]], {"5": {}}, [None] * 50, -1e-9, 2**63]
        draw, errors = random.Random(5), 0
        for _ in range(1000):
            of_both = (
                (of_vllm, lambda made: [vllm._row(row) for row in vllm.read(made, 3)]),
                (of_llama_cpp, lambda made: [llama_cpp._row(llama_cpp.read(made, 4))]),
            )
            for answer, read in of_both:
                made = copy.deepcopy(answer)
                places = list(self.places(made))
                holder, name = draw.choice(places)
                holder[name] = draw.choice(strange)
                try:
                    rows = read(made)
                except w.InputError:
                    errors += 1
                    continue
                for row in rows:
                    self.assertLessEqual(len(row), 4)
                    for one, ln_p in row:
                        self.assertTrue(type(one) is int and 0 <= one < 1 << 24 and _suspect_model.FLOOR <= ln_p <= 0)
        self.assertGreater(errors, 500)

    def places(self, value):
        for name, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
            yield value, name
            if isinstance(inner, dict | list):
                yield from self.places(inner)


if __name__ == "__main__":
    unittest.main()
