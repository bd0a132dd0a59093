"""Marking without numpy: rows are arrays of the standard library."""

import array
import copy
import json
import pathlib
import pickle
import tempfile
import unittest

import watermark_core as w
from support import GREEN, GUMBEL, KEY, NODE, VOCAB, profile, rows, write
from watermark_core._lib import has_account_layer


class Marking(unittest.TestCase):
    def test_profiles_and_keys_in_every_form(self):
        expected = write(1, 40)
        with tempfile.TemporaryDirectory() as folder:
            key, file = pathlib.Path(folder, "k.json"), pathlib.Path(folder, "p.json")
            key.write_text(KEY)
            key.chmod(0o600)
            file.write_text(json.dumps(profile()))
            for given in (profile(), json.dumps(profile()), file, str(file)):
                for opens in (NODE, key, str(key), w.NodeKey.from_file(key), w.NodeKey.from_file(key).descend("e")):
                    self.assertEqual(write(1, 40, w.Marker(given, opens)), expected)
            self.assertEqual(json.loads(w.Marker(file, key).profile)["layers"], profile()["layers"])

    def test_sampling_marks_and_an_unmarked_session_does_not(self):
        detector = w.Detector(profile(), NODE)
        report = detector.detect([write(seed, 300) for seed in range(3)])
        self.assertTrue(report.detected)
        self.assertLess(max(finding.log10_p for finding in report), -6)
        self.assertFalse(detector.detect([write(seed, 300, marked=False) for seed in range(3)]).detected)

    def test_process_is_the_reweighting_half(self):
        # At temperature 1 without truncation a green list adds delta to half of the logits, and leaves -inf where it was.
        session = w.Marker(profile(GREEN), NODE).session(seed=1)
        session.accept(7)
        (row,) = rows(3, 1)
        row[5] = float("-inf")
        changed = array.array("f", row)
        self.assertIsNone(session.process(changed))
        self.assertEqual(session.mark_state, "marked")
        shifts = {round(after - before, 3) for after, before in zip(changed, row, strict=True) if before > float("-inf")}
        self.assertEqual(len(shifts), 2)
        self.assertAlmostEqual(max(shifts) - min(shifts), 2.0, places=3)
        self.assertEqual(changed[5], float("-inf"))

    def test_sampling_parameters(self):
        (row,) = rows(4, 1)
        best = max(range(VOCAB), key=row.__getitem__)
        marker = w.Marker(profile(), NODE)
        for options in ({"temperature": 0.0}, {"top_k": 1}, {"top_p": 1e-9}, {"min_p": 1.0}):
            session = marker.session(seed=2, **options)
            self.assertEqual(session.sample(row), best)
        for options in ({"temperature": -1.0}, {"top_k": 0}, {"top_p": 0.0}, {"min_p": 2.0}, {"temperature": float("nan")}):
            with self.assertRaises(w.ParameterError):
                marker.session(seed=2, **options)

    def test_sample_among_is_sample_with_the_rest_at_minus_infinity(self):
        session = w.Marker(profile(), NODE).session(seed=3)
        for row in rows(5, 30):
            ids = [9, 3, 77, 200, 5]
            masked = array.array("f", [float("-inf")] * VOCAB)
            for token in ids:
                masked[token] = row[token]
            token = session.sample_among(ids, array.array("f", [row[i] for i in ids]))
            self.assertEqual(token, session.sample(masked))
            session.accept(token)

    def test_a_sampling_policy_raises_requests(self):
        policy = {"boost": "after_temperature", "min_temperature": 0.5, "min_top_p": 0.75}
        held, free = w.Marker(profile() | {"sampling": policy}, NODE), w.Marker(profile(), NODE)
        self.assertEqual((held.marks_greedy, free.marks_greedy), (True, False))
        session = held.session(seed=1, temperature=0.0, top_p=0.25)
        self.assertEqual(session.raised, {"temperature": (0.0, 0.5), "top_p": (0.25, 0.75)})
        self.assertEqual(session.fork().raised, session.raised)
        self.assertEqual(held.session(seed=1, top_p=0.5).raised, {"top_p": (0.5, 0.75)})
        for options in ({}, {"temperature": 0.5, "top_p": 0.75}, {"temperature": 0.0, "marked": False}):
            self.assertEqual(held.session(seed=1, **options).raised, {})
        raised = write(1, 100, held, temperature=0.0, top_p=0.25)
        self.assertEqual(raised, write(1, 100, free, temperature=0.5, top_p=0.75))
        self.assertNotEqual(raised, write(1, 100, free, temperature=0.0))
        for wrong in ({}, {"boost": "never"}, policy | {"min_top_p": 0}, policy | {"min_top_k": 3}):
            with self.assertRaises(w.ProfileError):
                w.Marker(profile() | {"sampling": wrong}, NODE)

    def test_a_boost_before_the_temperature_marks_greedy_answers(self):
        marker = w.Marker(profile(GREEN) | {"sampling": {"boost": "before_temperature"}}, NODE)
        self.assertTrue(marker.marks_greedy)
        detector = w.Detector(profile(GREEN), NODE)
        for options, found in (({}, True), ({"marked": False}, False)):
            texts = [write(seed, 200, marker, temperature=0.0, **options) for seed in range(3)]
            self.assertEqual(detector.detect(texts).detected, found)
        self.assertFalse(detector.detect([write(seed, 200, w.Marker(profile(GREEN), NODE), temperature=0.0) for seed in range(3)]).detected)

    def test_rollback_fork_and_reset(self):
        session = w.Marker(profile(), NODE).session(seed=6)
        drawn = []
        some = rows(6, 40)
        for row in some:
            drawn.append(session.sample(row))
            session.accept(drawn[-1])
        fork = session.fork()
        session.rollback(25)
        self.assertEqual(session.generated, drawn[:15])
        for row in some[15:]:
            session.accept(session.sample(row))
        self.assertEqual(session.generated, drawn)
        self.assertEqual(fork.generated, drawn)
        session.reset()
        self.assertEqual(session.generated, [])
        self.assertEqual(session.sample(some[0]), drawn[0])

    def test_room_has_a_limit(self):
        session = w.Marker(profile(), NODE).session(seed=1)
        session.reserve(1000)
        for tokens in (1 << 40, 10**18, 1 << 62):
            with self.assertRaises(w.ParameterError):
                session.reserve(tokens)

    def test_states(self):
        session = w.Marker(profile(GUMBEL), NODE).session(seed=1)
        (row,) = rows(1, 1)
        self.assertEqual(session.mark_state, "off")
        session.sample(row)
        self.assertEqual(session.mark_state, "no_context")
        for token in (1, 2, 3, 4):
            session.accept(token)
        session.sample(row)
        self.assertEqual(session.mark_state, "marked")
        for token in (1, 2, 3, 4, 1, 2, 3, 4):
            session.accept(token)
        session.sample(row)
        self.assertEqual(session.mark_state, "repeated")
        self.assertEqual(session.vocab_size, VOCAB)
        session.reserve(1000)

    def test_a_marker_says_what_its_profile_does(self):
        both, green = w.Marker(profile(), NODE), w.Marker(profile(GREEN), NODE)
        self.assertEqual([both.vocab_size, both.chooses, both.has_account_layer], [VOCAB, True, False])
        engine = {"name": "provenance", "engine": "vllm", "algorithm": "gumbel", "context_width": 4}
        self.assertEqual([green.chooses, w.Marker(profile(engine), NODE).chooses], [False, True])
        per_account = profile(GREEN | {"per": "account"})
        self.assertTrue(w.Marker(per_account, NODE).has_account_layer)
        self.assertEqual([has_account_layer(made) for made in (per_account, json.dumps(per_account), profile())], [True, True, False])

    def test_errors_are_sticky_until_reset(self):
        session = w.Marker(profile(), NODE).session(seed=1)
        (row,) = rows(1, 1)
        self.assertIsNone(session.error)
        bad = array.array("f", row)
        bad[17] = float("nan")
        for _ in range(2):
            with self.assertRaises(w.InputError) as raised:
                session.sample(bad if session.error is None else row)
            self.assertIn("token 17", str(raised.exception))
        self.assertIsInstance(session.error, w.InputError)
        with self.assertRaises(w.InputError):
            session.accept(1)
        session.reset()
        session.accept(session.sample(row))
        with self.assertRaises(w.InputError):
            session.accept(VOCAB)

    def test_buffers_that_are_no_row(self):
        marker = w.Marker(profile(), NODE)
        (row,) = rows(1, 1)
        for given, says in [
            (list(row), "list"),
            (array.array("d", row), "'d'"),
            (row.tobytes(), "'B'"),
            (memoryview(row).cast("B").cast("f", (2, VOCAB // 2)), "2"),
            (memoryview(array.array("f", [0.0] * 2 * VOCAB))[::2], "contiguous"),
            (array.array("f", row[:-1]), str(VOCAB - 1)),
            (array.array("f"), "0 logits"),
        ]:
            with self.assertRaises(w.InputError) as raised:
                marker.session(seed=1).sample(given)
            self.assertRegex(str(raised.exception), says.replace("'", "[\"']"))
        with self.assertRaises(w.InputError) as raised:
            marker.session(seed=1).process(memoryview(row).toreadonly())
        self.assertIn("read-only", str(raised.exception))
        marker.session(seed=1).sample(memoryview(row).toreadonly())

    def test_batches_are_sessions_one_by_one(self):
        marker = w.Marker(profile(), NODE)
        n, steps = 5, 12
        alone = [marker.session(seed=seed) for seed in range(n)]
        together = [marker.session(seed=seed) for seed in range(n)]
        for step in range(steps):
            some = rows(100 + step, n)
            flat = array.array("f", b"".join(row.tobytes() for row in some))
            batch = memoryview(flat).cast("B").cast("f", (n, VOCAB))
            tokens = w.sample_batch(together, batch)
            self.assertEqual(tokens, [session.sample(row) for session, row in zip(alone, some, strict=True)])
            w.process_batch(together, batch)
            for session, row in zip(alone, some, strict=True):
                session.process(row)
            self.assertEqual(flat.tobytes(), b"".join(row.tobytes() for row in some))
            for session, other, token in zip(alone, together, tokens, strict=True):
                session.accept(token)
                other.accept(token)

    def test_a_row_of_a_batch_fails_alone(self):
        marker = w.Marker(profile(), NODE)
        sessions = [marker.session(seed=seed) for seed in range(3)]
        some = rows(9, 3)
        expected = [marker.session(seed=seed).sample(row) for seed, row in enumerate(some)]
        some[1][0] = float("inf")
        batch = memoryview(array.array("f", b"".join(row.tobytes() for row in some))).cast("B").cast("f", (3, VOCAB))
        with self.assertRaises(w.InputError) as raised:
            w.sample_batch(sessions, batch)
        self.assertIn("row 1", str(raised.exception))
        self.assertEqual([session.error is None for session in sessions], [True, False, True])
        self.assertEqual([sessions[0].sample(some[0]), sessions[2].sample(some[2])], [expected[0], expected[2]])
        with self.assertRaises(RuntimeError) as twice:
            w.sample_batch([sessions[0], sessions[2], sessions[0]], batch)
        self.assertIn("sessions[2]", str(twice.exception))
        with self.assertRaises(w.InputError):
            w.sample_batch(sessions[:1], batch)

    def test_drafts_give_the_text_without_drafts(self):
        marker = w.Marker(profile(), NODE)
        plain, drafting = marker.session(seed=4), marker.session(seed=4)
        some = rows(11, 24)
        for row in some:
            plain.accept(plain.sample(row))
        at = 0
        while at + 3 < len(some):
            drafting.draft(some[at])
            drafting.draft(rows(500 + at, 1)[0])  # a draft model that is wrong
            drafting.propose(7)
            target = array.array("f", b"".join(row.tobytes() for row in some[at : at + 4]))
            emitted = drafting.verify(memoryview(target).cast("B").cast("f", (4, VOCAB)))
            self.assertGreaterEqual(len(emitted), 1)
            self.assertEqual(drafting.generated[at:], emitted)
            at += len(emitted)
        self.assertEqual(drafting.generated, plain.generated[:at])
        drafting.draft(some[0])
        with self.assertRaises(w.ParameterError):
            drafting.sample(some[0])

    def test_a_proxy(self):
        layer = {"name": "l", "scheme": "adfp", "gamma": 0.5, "lambda": 1.0, "width": 1, "prf": "chacha20-v1"}
        session = w.Marker(profile(layer), NODE).session(seed=1)
        session.accept(3)
        (row,) = rows(1, 1)
        session.set_proxy(array.array("f", [1 / VOCAB] * VOCAB))
        session.sample(row)
        session.accept(4)
        with self.assertRaises(w.InputError):
            session.sample(row)

    def test_paired_draws(self):
        pairs = {"name": "pairs", "scheme": "paired", "width": 0, "prf": "chacha20-v1"}
        marker = w.Marker(profile(GREEN, pairs), NODE)
        given = rows(5, 101)
        session, again = (marker.session(seed=seed, request="ledger/test/1") for seed in (1, 2))
        for _ in range(100):
            token = session.sample(given[len(session.generated)])
            session.accept(token)
            again.accept(again.sample(given[len(again.generated)]))
        # Every draw follows from the request, whatever the seed; the coin gave one of two candidates.
        self.assertEqual((session.generated, session.withheld), (again.generated, again.withheld))
        self.assertGreater(sum(a != b for a, b in zip(session.generated, session.withheld)), 30)
        session.accept((session.sample(given[len(session.generated)]) + 1) % 255 + 1)
        self.assertIsNone(session.withheld[-1])
        other = marker.session(seed=1, request="ledger/test/2")
        other.accept(other.sample(given[0]))
        self.assertEqual(len(other.withheld), 1)
        with self.assertRaisesRegex(w.WatermarkError, "name the request"):
            marker.session(seed=1)
        with self.assertRaisesRegex(w.WatermarkError, "no paired draws"):
            w.Marker(profile(GREEN), NODE).session(seed=1, request="1")

    def test_accounts(self):
        marker = w.Marker(profile({**GREEN, "per": "account"}), NODE)
        with self.assertRaises(w.InputError) as raised:
            marker.session(seed=1)
        self.assertIn("account", str(raised.exception))
        text = write(1, 400, marker, account="alice")
        accounts = profile({**GREEN, "per": "account"})
        self.assertTrue(w.Detector(accounts, NODE, account="alice").detect([text]).detected)
        self.assertFalse(w.Detector(accounts, NODE, account="bob").detect([text]).detected)
        # Where no layer has a key per account, naming one would decide nothing.
        marker = w.Marker(profile(), NODE)
        for call in (lambda: marker.session(seed=1, account="alice"), lambda: w.Detector(profile(), NODE, account="alice")):
            with self.assertRaises(w.ParameterError) as raised:
                call()
            self.assertIn("leave it out", str(raised.exception))
        with self.assertRaises(w.ParameterError):
            w.Marker(accounts, NODE).session(seed=1, account="")

    def test_numbers_out_of_range_are_errors_of_the_package(self):
        marker = w.Marker(profile(), NODE)
        session = marker.session(seed=1)
        calls = (
            lambda: marker.session(seed=-1),
            lambda: marker.session(seed=1 << 64),
            lambda: marker.session(seed=1, top_k=-1),
            lambda: session.accept(-1),
            lambda: session.rollback(-1),
            lambda: w.Detector(profile(), NODE).detect([], resample=-1),
        )
        for call in calls:
            with self.assertRaises(w.ParameterError) as raised:
                call()
            self.assertIn("negative or too large", str(raised.exception))
        with self.assertRaises(TypeError):
            marker.session(seed=1.5)
        self.assertIsNone(session.error)


class Secrets(unittest.TestCase):
    def test_nothing_shows_a_key(self):
        marker = w.Marker(profile(), NODE)
        objects = [marker, marker.session(seed=1), w.Detector(profile(), NODE), w.Detector(profile(), NODE).tally()]
        key = w.NodeKey.root(bytes.fromhex(NODE))
        objects += [key, key.prf_key("gumbel", 4), w.prf.ChaCha20V1(NODE, 2)]
        for each in objects:
            self.assertNotIn(NODE[:16], repr(each) + str(each))
            self.assertFalse(hasattr(each, "__dict__"))
            for refused in (pickle.dumps, copy.copy, copy.deepcopy):
                with self.assertRaises(TypeError) as raised:
                    refused(each)
                self.assertIn("make it anew", str(raised.exception))

    def test_errors_name_what_is_wrong_and_no_secret(self):
        text = json.dumps(profile())
        for error, arguments, says in [
            (w.ProfileError, ({}, NODE), "profile"),
            (w.ProfileError, (text.replace("profile/1", "profile/2"), NODE), "profile/2"),
            (w.ProfileError, ({**profile(), "more": 1}, NODE), "more"),
            (w.ProfileError, (NODE, profile()), "profile comes first"),
            (w.ProfileError, ("/nowhere/p.json", NODE), "/nowhere/p.json"),
            (w.KeyFileError, (profile(), "/nowhere/k.json"), "/nowhere/k.json"),
            (w.KeyFileError, (profile(), NODE[:-1]), "64 hexadecimal"),
            (w.KeyFileError, (profile(), NODE + "5a"), "64 hexadecimal"),
            (w.KeyFileError, (profile(), KEY), "64 hexadecimal"),
            (w.KeyFileError, (profile(), w.NodeKey.root(b"m").descend("other")), "other"),
            (TypeError, (profile(), 7), "int"),
            (TypeError, (7, NODE), "int"),
        ]:
            for kind in (w.Marker, w.Detector):
                with self.assertRaises(error) as raised:
                    kind(*arguments)
                self.assertIn(says, str(raised.exception))
                self.assertNotIn(NODE[:16], str(raised.exception))
        with self.assertRaises(w.ParameterError) as raised:
            w.PrfKey.from_hex(NODE[:-1])
        self.assertNotIn(NODE[:16], str(raised.exception))
        for subclass in (w.ProfileError, w.KeyFileError, w.ParameterError, w.InputError, w.EvidenceError):
            self.assertTrue(issubclass(subclass, w.WatermarkError) and issubclass(subclass, ValueError))


if __name__ == "__main__":
    unittest.main()
