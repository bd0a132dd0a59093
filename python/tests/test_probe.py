"""A suspect behind a real socket: what it answers is marked, or not."""

import json
import pathlib
import tempfile
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import watermark_core as w
from support import GREEN, NODE, interrupted, lay, profile, text_of, write

TOKEN = "sk-test-0123456789"


class Suspect(BaseHTTPRequestHandler):
    """Answers prompt "p N" with the N-th text of the server."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, self.headers["Authorization"], asked))
        at = int(asked["messages"][0]["content"].split()[1])
        message = {"role": "assistant", "content": self.server.texts[at]}
        body = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Probe(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.profile, self.key = lay(self.folder, GREEN)

    def serve(self, **options):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Suspect)
        marker = w.Marker(profile(GREEN), NODE)
        server.texts = [text_of(write(seed, 60, marker, **options)) for seed in range(30)]
        server.seen = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return server

    def ask(self, server, out, **options):
        prompts = [f"p {at}" for at in range(len(server.texts))]
        address = f"http://127.0.0.1:{server.server_address[1]}/v1"
        options = {"profile": self.profile, "key": self.key, "round_size": 5, "api_key": TOKEN, **options}
        return w.probe(address, "suspect", prompts, self.folder / out, **options)

    def test_a_marked_suspect_is_detected_and_an_unmarked_one_is_not(self):
        server = self.serve()
        found = self.ask(server, "run", extra={"seed": 3}, temperature=0.5)
        self.assertEqual((found["verdict"], found["end"]), ("detected", "decided"))
        self.assertGreaterEqual(found["test"]["ln_e"], found["threshold_ln_e"])
        self.assertLess(found["answered"], 30)
        path, authorization, asked = server.seen[0]
        self.assertEqual((path, authorization), ("/v1/chat/completions", f"Bearer {TOKEN}"))
        self.assertEqual((asked["model"], asked["seed"], asked["temperature"]), ("suspect", 3, 0.5))
        self.assertEqual(json.loads((self.folder / "run" / "result.json").read_text()), found)
        for file in (self.folder / "run").iterdir():
            self.assertNotIn(TOKEN, file.read_text())
            self.assertNotIn(NODE, file.read_text())
        # The same call reads the transcript and asks nothing.
        n = len(server.seen)
        self.assertEqual(self.ask(server, "run", extra={"seed": 3}, temperature=0.5), found)
        self.assertEqual(len(server.seen), n)
        innocent = self.ask(self.serve(marked=False), "innocent")
        self.assertNotEqual(innocent["verdict"], "detected")

    def test_a_collection_for_somebody_else_has_no_verdict(self):
        found = self.ask(self.serve(), "neutral", profile=None, key=None)
        self.assertEqual((found["collection"], found["verdict"], found["answered"]), ("replicate", None, 30))

    def test_limits_and_mistakes(self):
        server = self.serve()
        self.assertEqual(self.ask(server, "few", max_requests=5, alpha=1e-300, futility=False)["end"], "budget")
        for says, options in [
            ("go together", {"key": None}),
            ("max_cost", {"max_cost": 1.0}),
            ("alpha", {"alpha": 2.0}),
            ("concurrency", {"concurrency": 0}),
            ("api is", {"api": "chats"}),
            ("API token", {"api_key": "short"}),
            ("\"model\"", {"extra": {"model": "other"}}),
            ("no layer", {"layer": "nothing"}),
        ]:
            with self.assertRaises(w.WatermarkError) as raised:
                self.ask(server, "bad", **options)
            self.assertIn(says, str(raised.exception))
            self.assertNotIn(TOKEN, str(raised.exception))
        with self.assertRaises(w.WatermarkError):
            w.probe("http://127.0.0.1:9/v1", "suspect", "one text", self.folder / "bad")

    def test_an_interrupt_leaves_a_run_that_goes_on(self):
        server = self.serve()
        slow = {"requests_per_minute": 600, "concurrency": 1, "alpha": 1e-300, "futility": False}
        with interrupted(0.3), self.assertRaises(KeyboardInterrupt):
            self.ask(server, "run", **slow)
        asked = len(server.seen)
        self.assertLess(asked, 30)
        found = self.ask(server, "run", **{**slow, "requests_per_minute": None})
        self.assertEqual((found["answered"], len(server.seen)), (30, 30))

    def test_progress(self):
        server, told = self.serve(), []
        found = self.ask(server, "run", progress=told.append, alpha=1e-300, futility=False)
        self.assertEqual({name: told[-1][name] for name in ("answered", "failed", "prompts")}, {"answered": 30, "failed": 0, "prompts": 30})
        self.assertEqual(told[-1]["ln_e"], found["test"]["ln_e"])

        def stop(state):
            raise ZeroDivisionError

        slow = {"requests_per_minute": 600, "concurrency": 1, "alpha": 1e-300, "futility": False}
        with self.assertRaises(ZeroDivisionError):
            self.ask(server, "stopped", progress=stop, **slow)
        self.assertLess(len(server.seen), 60)


if __name__ == "__main__":
    unittest.main()
