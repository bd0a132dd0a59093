"""Marks on a device are those of the library, bit for bit. On the CPU here; the Triton kernel in Triton's interpreter."""

import gc
import hmac
import os
import pathlib
import pickle
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import watermark_core as w
from support import GREEN, GUMBEL, KEY, NODE, VOCAB, profile, vectors

try:
    import torch

    from watermark_core import _lib
    from watermark_core.torch import Sampler, _draw_key, chacha20_words
except ImportError:
    raise unittest.SkipTest("torch is not installed") from None


def inputs(*pairs):
    """Tensors of keys and nonces, of keys in hexadecimal digits with contexts."""
    keys = [[int.from_bytes(bytes.fromhex(key[at : at + 8]), "little") for at in range(0, 64, 8)] for key, _ in pairs]
    nonces = [w.prf.ChaCha20V1(key, len(context)).nonce(context) for key, context in pairs]
    return torch.tensor(keys), torch.tensor(nonces)


def logits(seed, rows):
    torch.manual_seed(seed)
    return 1.5 * torch.randn(rows, VOCAB)


class Words(unittest.TestCase):
    def test_vectors(self):
        cases = vectors("prf_chacha20_v1.json")
        self.assertGreater(len({len(case["context"]) for case in cases}), 4)
        for case in cases:
            # A vocabulary as large as the largest ids of the vectors is 2^24; the other words are in front.
            pairs = [(token, word) for token, word in zip(case["tokens"], case["words"], strict=True) if token < 1 << 18]
            words = chacha20_words(*inputs((case["key"], case["context"])), 1 + max(token for token, _ in pairs))
            for token, word in pairs:
                self.assertEqual(int(words[0, token]), word)

    def test_whole_vocabularies_of_several_rows(self):
        keys, contexts = ["11" * 32, "a7" * 32, "fe" * 32], [[1, 2, 16777215, 0], [9, 9, 9, 9], [5, 4, 3, 2]]
        key, nonce = inputs(*zip(keys, contexts, strict=True))
        for n in (1, 15, 16, 17, 1000, 32000):
            words = chacha20_words(key, nonce, n)
            for row, (text, context) in enumerate(zip(keys, contexts, strict=True)):
                self.assertEqual(words[row].tolist(), w.prf.ChaCha20V1(text, 4).words(context, range(n)))

    def test_the_kernel_in_triton_s_interpreter(self):
        program = (
            "import torch; from watermark_core._chacha20_triton import words; from watermark_core.torch import _chacha20_words\n"
            "torch.manual_seed(1); key, nonce = torch.randint(0, 1 << 32, (3, 8)), torch.randint(0, 1 << 32, (3, 3))\n"
            "first = torch.tensor([0, 1 << 21, 5])\n"
            "for n in (1, 16, 17, 5000): assert torch.equal(words(key, nonce, first, n), _chacha20_words(key, nonce, first, n)), n\n"
            "print('equal')"
        )
        try:
            import triton  # noqa: F401
        except ImportError:
            self.skipTest("Triton is not installed")
        environment = {**os.environ, "TRITON_INTERPRET": "1"}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
        self.assertEqual((done.stdout.strip(), done.returncode), ("equal", 0), done.stderr[-2000:])


class Keys(unittest.TestCase):
    @staticmethod
    def pseudonym(master, account):
        """HKDF of RFC 5869 by hand, down to the secret that names the accounts of path e, and under it."""
        key = hmac.digest(b"watermark-key-v1", master, "sha256")
        for info in (b"child\0e", b"child\0accounts", b"account\0" + account.encode()):
            key = hmac.digest(key, b"watermark-key-v1\0" + info + b"\1", "sha256")
        return key.hex()

    def test_the_key_is_handed_over_in_words_and_taken_back(self):
        layers = [{**GREEN, "name": "m-2", "per": "account"}, {**GUMBEL, "name": "l"}]
        node = w.NodeKey.root(b"m")
        for layer, account, scheme, width in (("l", None, "gumbel", 4), ("m-2", "alice", "greenlist", 1)):
            path = f"e/layer/{layer}"
            if account:
                path += f"/account/{self.pseudonym(b'm', account)}"
            prf = w.prf.ChaCha20V1(node.descend(path).prf_key(scheme, width), width)
            handed = torch.zeros(8, dtype=torch.int64)
            _lib.write_key_words(_lib.layer_prf(profile(*layers), node, layer, account), handed.numpy())
            context = [7] * width
            words = chacha20_words(handed.unsqueeze(0), torch.tensor([prf.nonce(context)]), 20)
            self.assertEqual(words[0].tolist(), prf.words(context, range(20)))
        with self.assertRaises(w.ParameterError):
            _lib.layer_prf(profile(*layers), node, "n")
        with self.assertRaises(w.InputError):
            _lib.layer_prf(profile(*layers), node, "m-2")
        for out in (torch.zeros(7, dtype=torch.int64), torch.zeros(9, dtype=torch.int64), torch.zeros(8)):
            with self.assertRaises((w.ParameterError, BufferError)):
                _lib.write_key_words(prf, out.numpy())
        sampler = Sampler(profile(), NODE, seeds=[3])
        keys = sampler._keys
        self.assertEqual(keys.shape, (4, 8))
        self.assertEqual(keys[:2].tolist(), [_draw_key(3), _draw_key(0)])
        self.assertTrue((keys != 0).any(1).all())
        del sampler
        gc.collect()
        self.assertTrue((keys == 0).all())

    def test_keys_in_every_form(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "k.json")
            file.write_text(KEY)
            file.chmod(0o600)
            batch = logits(1, 1)
            tokens = {int(Sampler(profile(), key, seeds=[1]).sample(batch)) for key in (file, str(file), NODE, w.NodeKey.from_file(file))}
            self.assertEqual(len(tokens), 1)
            file.chmod(0o644)
            with self.assertRaises(w.KeyFileError):
                Sampler(profile(), file, seeds=[1])


class Sampling(unittest.TestCase):
    def compare(self, layers, steps=120, rows=3, vocabulary=None, **options):
        """Tokens of a sampler and of sessions on the same rows."""
        made = profile(*layers)
        seeds = [4 + row for row in range(rows)]
        sampler = Sampler(made, NODE, seeds=seeds, **options)
        marker, sessions = w.Marker(made, NODE), []
        for row, seed in enumerate(seeds):
            account = options["accounts"][row] if "accounts" in options else None
            marked = options["marked"][row] if "marked" in options else True
            request = options["requests"][row] if "requests" in options else None
            sessions.append(marker.session(seed=seed, account=account, marked=marked, request=request))
        for step in range(steps):
            batch = logits(step, rows)
            batch[:, (torch.arange(VOCAB) % 7) == step % 7] = float("-inf")
            if vocabulary:  # few tokens: contexts repeat, and the special token 0 is among them
                batch[:, vocabulary:] = float("-inf")
            if step % 5 == 0:
                batch[0, 9] += 40.0  # certain
            tokens = sampler.sample(batch)
            self.assertEqual(tokens.tolist(), w.sample_batch(sessions, batch.numpy()))
            bent = batch.clone()
            w.process_batch(sessions, bent.numpy())
            self.assertTrue(torch.equal(sampler.process(batch), bent))
            if "requests" in options and step % 4:  # `process` has forgotten what was drawn
                sampler.sample(batch)
                w.sample_batch(sessions, batch.numpy())
            sampler.accept(tokens)
            for session, token in zip(sessions, tokens.tolist(), strict=True):
                session.accept(token)
        self.assertEqual(sampler.generated, [session.generated for session in sessions])
        self.assertEqual(sampler.withheld, [session.withheld for session in sessions])
        self.withheld = sampler.withheld
        return sampler.generated

    def test_tokens_are_those_of_sessions(self):
        wide = [{**GUMBEL, "width": 6}]
        hard = {key: value for key, value in GREEN.items() if key != "delta"} | {"hard": True, "width": 2}
        other = {**GREEN, "name": "second", "gamma": 0.25, "delta": 1.5, "width": 0}
        for layers in ((GREEN, GUMBEL), (GREEN,), (GUMBEL,), wide, (hard,), (other, GREEN, GUMBEL)):
            self.compare(layers)
            self.compare(layers, vocabulary=4)

    def test_accounts_and_unmarked_rows(self):
        layers = ({**GREEN, "per": "account"}, GUMBEL)
        generated = self.compare(layers, accounts=["alice", "bob", "alice"], marked=[True, True, False], steps=250)
        for account, found in (("alice", [True, False, False]), ("bob", [False, True, False])):
            detector = w.Detector(profile(layers[0]), NODE, account=account)
            self.assertEqual([detector.detect([row]).detected for row in generated], found)

    def test_paired_draws(self):
        pairs = {"name": "pairs", "scheme": "paired", "width": 0, "prf": "chacha20-v1"}
        requests = [f"ledger/2026-11/{row}" for row in range(3)]
        for layers in ((pairs,), (GREEN, pairs)):
            generated = self.compare(layers, requests=requests)
            known = [other is not None for other in self.withheld[1]]
            self.assertEqual(known, [step % 4 != 0 for step in range(120)])
            differ = sum(a != b for a, b in zip(generated[1], self.withheld[1], strict=True) if b is not None)
            self.assertGreater(differ, 60)
            self.compare(layers, requests=requests, vocabulary=4)
            self.compare(layers, requests=[*requests[:2], None], marked=[True, True, False])
            self.assertEqual(self.withheld[2], [])
        made = profile({**GREEN, "per": "account"}, pairs)
        Sampler(made, NODE, seeds=[1], accounts=["alice"], requests=["ledger/1/0"])
        for wrong in ({}, {"requests": [None]}, {"requests": ["ledger/1/0"] * 2}, {"requests": "ledger/1/0"}):
            with self.assertRaises(w.WatermarkError):
                Sampler(made, NODE, seeds=[1], accounts=["alice"], **wrong)
        with self.assertRaises(w.ParameterError):
            Sampler(profile(), NODE, seeds=[1], requests=["ledger/1/0"])

    def test_a_second_draw_has_words_of_its_own(self):
        key, nonce = inputs(("11" * 32, [1, 2, 3, 4]), ("11" * 32, [1, 2, 3, 4]))
        words = chacha20_words(key, nonce, 1000, torch.tensor([False, True]))
        self.assertEqual(words[0].tolist(), w.prf.ChaCha20V1("11" * 32, 4).words([1, 2, 3, 4], range(1000)))
        self.assertLess(int((words[0] == words[1]).sum()), 2)

    def test_a_boost_before_the_temperature_takes_two_calls(self):
        made = profile() | {"sampling": {"boost": "before_temperature", "min_temperature": 1.5}}
        sampler, session = Sampler(made, NODE, seeds=[4]), w.Marker(made, NODE).session(seed=4, temperature=0.2)
        self.assertEqual(session.raised["temperature"][1], 1.5)
        for step in range(60):
            batch = logits(step, 1)
            with self.assertRaises(w.InputError):
                sampler.sample(batch)
            tokens = sampler.draw(sampler.process(batch) / 1.5)
            self.assertEqual(tokens.tolist(), [session.sample(batch[0].numpy())])
            sampler.accept(tokens)
            session.accept(int(tokens[0]))

    def test_the_detector_finds_them(self):
        sampler = Sampler(profile(), NODE, seeds=range(4))
        for step in range(200):
            sampler.accept(sampler.sample(logits(step, 4)))
        self.assertTrue(w.Detector(profile(), NODE).detect(sampler.generated).detected)
        self.assertFalse(w.Detector(profile(), "5b" * 32).detect(sampler.generated).detected)

    def test_what_is_refused(self):
        sampler = Sampler(profile(), NODE, seeds=[1, 2])
        nan, full, none = logits(1, 2), logits(1, 2), logits(1, 2)
        nan[1, 3], full[1, 3], none[1] = float("nan"), float("inf"), float("-inf")
        shapes = ((logits(1, 3), "[3, 256]"), (logits(1, 2)[:, 1:], "255"))
        for given, says in ((nan, "row 1"), (full, "row 1"), (none, "row 1"), *shapes):
            for call in (sampler.sample, sampler.process):
                with self.assertRaises(w.InputError) as raised:
                    call(given)
                self.assertIn(says, str(raised.exception))
        for tokens, says in (([1], "2 rows"), ([1, VOCAB], "row 1"), ([-1, 1], "row 0")):
            with self.assertRaises(w.InputError) as raised:
                sampler.accept(tokens)
            self.assertIn(says, str(raised.exception))
        self.assertEqual(sampler.generated, [[], []])
        with self.assertRaises(w.ParameterError) as raised:
            Sampler(profile({"name": "p", "scheme": "permute_and_flip", "width": 2, "prf": "chacha20-v1"}), NODE, seeds=[1])
        self.assertIn("permute_and_flip", str(raised.exception))
        with self.assertRaises(w.InputError):
            Sampler(profile({**GREEN, "per": "account"}), NODE, seeds=[1])
        with self.assertRaises(w.ParameterError):
            Sampler(profile(), NODE, seeds=[1], accounts=["alice"])
        with self.assertRaises(w.InputError) as raised:
            sampler.sample(logits(1, 2).numpy())
        self.assertIn("ndarray", str(raised.exception))
        with self.assertRaises(TypeError):
            pickle.dumps(sampler)
        self.assertNotIn(NODE[:16], repr(sampler))

    def test_tensors_are_records(self):
        detector = w.Detector(profile(), NODE)
        ids = [5, 9, 17, 5]
        for given in (torch.tensor(ids), torch.tensor(ids[:1])):
            self.assertEqual(detector.detect([given]).to_dict(), detector.detect([given.tolist()]).to_dict())

    def test_half_precision_and_an_empty_batch(self):
        batch = logits(3, 2).bfloat16()
        tokens = Sampler(profile(), NODE, seeds=[1, 2]).sample(batch)
        sessions = [w.Marker(profile(), NODE).session(seed=seed) for seed in (1, 2)]
        self.assertEqual(tokens.tolist(), w.sample_batch(sessions, batch.float().numpy()))
        self.assertEqual(Sampler(profile(), NODE, seeds=[]).sample(torch.zeros(0, VOCAB)).tolist(), [])


if __name__ == "__main__":
    unittest.main()
