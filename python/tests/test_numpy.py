"""The same with numpy: zero copies, both precisions, strides. Skipped where numpy is not installed."""

import unittest

import watermark_core as w
from support import GREEN, NODE, VOCAB, profile, rows, write

try:
    import numpy as np
except ImportError:
    raise unittest.SkipTest("numpy is not installed") from None


def logits(seed, n):
    return np.array([list(row) for row in rows(seed, n)], dtype=np.float32)


class Numpy(unittest.TestCase):
    def setUp(self):
        self.marker = w.Marker(profile(), NODE)

    def sessions(self, n):
        made = [self.marker.session(seed=seed) for seed in range(n)]
        for at, session in enumerate(made):
            session.accept(at + 1)
        return made

    def test_rows_are_those_of_the_standard_library(self):
        session = self.marker.session(seed=3)
        for row in logits(4, 60):
            session.accept(session.sample(row))
        self.assertEqual(session.generated, write_with(self.marker, 3, rows(4, 60)))
        self.assertTrue(all(type(token) is int for token in session.generated))

    def test_process_changes_the_array_itself(self):
        array = logits(5, 3)
        before = array.copy()
        session = w.Marker(profile(GREEN), NODE).session(seed=1)
        session.accept(9)
        session.process(array[1])  # a view
        self.assertTrue((array[[0, 2]] == before[[0, 2]]).all())
        shift = np.unique(np.round(array[1] - before[1], 3))
        self.assertEqual(len(shift), 2)

    def test_half_precision(self):
        # Small integers are the same numbers in both precisions.
        single = np.round(logits(6, 4))
        half = single.astype(np.float16)
        a, b = self.sessions(4), self.sessions(4)
        self.assertEqual(w.sample_batch(a, half), w.sample_batch(b, single))
        self.assertEqual([s.sample(r) for s, r in zip(a, half, strict=True)], w.sample_batch(b, single))
        w.process_batch(a, half)
        w.process_batch(b, single)
        self.assertEqual(half.dtype, np.float16)
        np.testing.assert_allclose(half.astype(np.float32), single, rtol=2e-3)

    def test_batches_with_gaps_between_rows(self):
        wide = np.zeros((5, VOCAB + 64), dtype=np.float32)
        wide[:, :VOCAB] = logits(7, 5)
        view, packed = wide[:, :VOCAB], np.ascontiguousarray(wide[:, :VOCAB])
        self.assertFalse(view.flags.c_contiguous)
        self.assertEqual(w.sample_batch(self.sessions(5), view), w.sample_batch(self.sessions(5), packed))
        self.assertEqual(w.sample_batch(self.sessions(2), view[::2][:2]), w.sample_batch(self.sessions(2), packed[::2][:2]))
        w.process_batch(self.sessions(5), view)
        w.process_batch(self.sessions(5), packed)
        self.assertTrue((view == packed).all())
        self.assertTrue((wide[:, VOCAB:] == 0).all())
        self.assertEqual(w.sample_batch([], np.zeros((0, VOCAB), dtype=np.float32)), [])

    def test_arrays_that_are_no_rows(self):
        session = self.marker.session(seed=1)
        batch = np.zeros((2, VOCAB), dtype=np.float32)
        unaligned = np.frombuffer(bytes(4 * VOCAB + 1), dtype=np.uint8)[1:].view(np.float32)
        for call, given in [
            (session.sample, batch[0].astype(np.float64)),
            (session.sample, batch[0].astype(np.int32)),
            (session.sample, batch[0].astype(">f4")),
            (session.sample, batch),
            (session.sample, np.float32(1)),
            (session.sample, np.zeros(2 * VOCAB, dtype=np.float32)[::2]),
            (session.sample, batch[0][::-1]),
            (session.sample, unaligned),
            (session.sample, np.array([None] * VOCAB)),
            (lambda given: w.sample_batch(self.sessions(2), given), batch[0]),
            (lambda given: w.sample_batch(self.sessions(2), given), np.asfortranarray(batch)),
            (lambda given: w.sample_batch(self.sessions(2), given), batch[::-1]),
            (lambda given: w.sample_batch(self.sessions(2), given), np.broadcast_to(batch[0], (2, VOCAB))),
            (lambda given: w.process_batch(self.sessions(2), given), np.broadcast_to(batch[0], (2, VOCAB))),
            (session.verify, batch[:, :-1]),
        ]:
            with self.assertRaises(w.InputError):
                call(given)
            session.reset()
        frozen = batch.copy()
        frozen.flags.writeable = False
        w.sample_batch(self.sessions(2), frozen)
        with self.assertRaises(w.InputError) as raised:
            w.process_batch(self.sessions(2), frozen)
        self.assertIn("read-only", str(raised.exception))

    def test_token_ids(self):
        detector, text = w.Detector(profile(), NODE), write(2, 100)
        expected = detector.detect([text], resample=0).to_dict()
        for kind in (np.uint16, np.int32, np.uint32, np.int64, np.uint64):
            array = np.array(text, dtype=kind)
            spread = np.repeat(array, 2)[::2]
            for given in (array, spread, list(array)):
                self.assertEqual(detector.detect([given], resample=0).to_dict(), expected)
        self.assertEqual(len(detector.detect(np.array([text, text]), per_record=True, resample=0).per_record), 4)
        for given in (np.array([-1]), np.array([1.0]), np.array([[1]]), np.array([1 << 40]), np.array([True])):
            with self.assertRaises(w.InputError):
                detector.detect([given])
        tokens = np.array([3, 4], dtype=np.int64)
        session = self.marker.session(seed=1)
        session.accept(tokens[0])
        self.assertEqual(session.generated, [3])


def write_with(marker, seed, some):
    session = marker.session(seed=seed)
    for row in some:
        session.accept(session.sample(row))
    return session.generated


if __name__ == "__main__":
    unittest.main()
