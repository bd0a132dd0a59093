"""Rows of torch tensors in memory of the host, by DLPack: float32, float16 and bfloat16, without a copy."""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import watermark_core as w
from support import GREEN, NODE, VOCAB, profile

try:
    import torch
except ImportError:
    raise unittest.SkipTest("torch is not installed") from None

FORMATS = (torch.float32, torch.float16, torch.bfloat16)


def logits(seed, rows):
    torch.manual_seed(seed)
    # Small integers are the same numbers in every format.
    return torch.round(2 * torch.randn(rows, VOCAB))


class Host(unittest.TestCase):
    def setUp(self):
        self.marker = w.Marker(profile(), NODE)

    def sessions(self, n, marker=None):
        made = [(marker or self.marker).session(seed=seed) for seed in range(n)]
        for at, session in enumerate(made):
            session.accept(at + 1)
        return made

    def test_tokens_are_those_of_numpy(self):
        single = logits(1, 5)
        expected = w.sample_batch(self.sessions(5), single.numpy())
        for format in FORMATS:
            rows = single.to(format)
            self.assertEqual(w.sample_batch(self.sessions(5), rows), expected, format)
            self.assertEqual([session.sample(row) for session, row in zip(self.sessions(5), rows, strict=True)], expected)
            ids = list(range(VOCAB))
            self.assertEqual([session.sample_among(ids, row) for session, row in zip(self.sessions(5), rows, strict=True)], expected)
            session = self.sessions(1)[0]
            drafts = [session.draft(rows[0]), session.draft(rows[1])]
            self.assertEqual(len(drafts), 2)
            self.assertEqual(session.verify(rows[:3])[0], expected[0])

    def test_a_tensor_is_changed_in_place(self):
        marker = w.Marker(profile(GREEN), NODE)
        for format in FORMATS:
            rows = logits(2, 4).to(format)
            before = rows.clone()
            expected = before.float().clone().numpy()
            w.process_batch(self.sessions(4, marker), expected)
            w.process_batch(self.sessions(4, marker), rows)
            self.assertEqual(rows.dtype, format)
            torch.testing.assert_close(rows.float(), torch.from_numpy(expected), rtol=2e-2 if format == torch.bfloat16 else 2e-3, atol=0)
            one = before.clone()
            self.sessions(3, marker)[2].process(one[2])
            self.assertTrue(torch.equal(one[2], rows[2]))
            self.assertTrue(torch.equal(one[[0, 1, 3]], before[[0, 1, 3]]))

    def test_rows_apart_and_views(self):
        wide = torch.zeros(5, VOCAB + 64, dtype=torch.bfloat16)
        wide[:, 32:-32] = logits(3, 5).to(torch.bfloat16)
        view = wide[:, 32:-32]
        self.assertEqual(w.sample_batch(self.sessions(5), view), w.sample_batch(self.sessions(5), view.contiguous()))
        w.process_batch(self.sessions(5), view)
        self.assertTrue((wide[:, :32] == 0).all() and (wide[:, -32:] == 0).all())
        self.assertEqual(w.sample_batch([], torch.zeros(0, VOCAB)), [])

    def test_tensors_that_are_no_rows(self):
        session = self.marker.session(seed=1)
        rows = logits(4, 2)
        for says, call, given in [
            ("float32", session.sample, rows[0].double()),
            ("float32", session.sample, rows[0].int()),
            ("dimension", session.sample, rows),
            ("dimension", session.sample, torch.tensor(1.0)),
            ("contiguous", session.sample, torch.zeros(2 * VOCAB)[::2]),
            ("contiguous", lambda given: w.sample_batch(self.sessions(2), given), rows.t().contiguous().t()),
            ("contiguous", lambda given: w.process_batch(self.sessions(2), given), rows[:1].expand(2, VOCAB)),
            ("require", session.sample, torch.zeros(VOCAB, requires_grad=True)),
            ("DLPack", session.sample, torch.zeros(VOCAB).to_sparse()),
            ("device", session.sample, torch.zeros(VOCAB, device="meta")),
        ]:
            with self.assertRaises(w.InputError) as raised:
                call(given)
            self.assertIn(says, str(raised.exception))
            session.reset()

    def test_what_is_no_tensor_of_this_process(self):
        class Shows:
            def __init__(self, device, capsule):
                self.device, self.capsule = device, capsule

            def __dlpack_device__(self):
                return self.device

            def __dlpack__(self, **_):
                return self.capsule

        session = self.marker.session(seed=1)
        used = torch.zeros(VOCAB).__dlpack__()
        torch.from_dlpack(used)  # a capsule may be used once
        for says, given in [("of a device", Shows((2, 0), None)), ("DLPack", Shows((1, 0), None)), ("DLPack", Shows((1, 0), used)), ("DLPack", Shows("cpu", None))]:
            with self.assertRaises(w.InputError) as raised:
                session.sample(given)
            self.assertIn(says, str(raised.exception))
        # From before DLPack 1.0: no argument, and the older structure.
        old = Shows((1, 0), logits(5, 1)[0].__dlpack__())
        self.assertEqual(session.sample(old), session.sample(logits(5, 1)[0]))

    def test_what_is_shown_is_given_back(self):
        class Shows:
            def __dlpack_device__(self):
                return (1, 0)

            def __dlpack__(self, **_):
                return capsule

        session, capsule = self.marker.session(seed=1), logits(6, 1)[0].__dlpack__()
        count = sys.getrefcount(capsule)
        tokens = {session.sample(Shows()) for _ in range(10)}
        self.assertEqual(sys.getrefcount(capsule), count)
        # Its destructor calls torch's deleter, since nobody has taken it over.
        self.assertEqual(tokens, {session.sample(torch.from_dlpack(capsule))})


if __name__ == "__main__":
    unittest.main()
