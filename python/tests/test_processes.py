"""Threads and forks."""

import multiprocessing
import os
import sys
import threading
import unittest
import warnings

import watermark_core as w
from support import NODE, profile, rows, write


def detect_into(connection, detector, records):
    connection.send(detector.detect(records).to_dict())
    connection.close()


class Processes(unittest.TestCase):
    def test_threads_share_a_marker_and_a_detector(self):
        marker, detector = w.Marker(profile(), NODE), w.Detector(profile(), NODE)
        expected = [write(seed, 60, marker) for seed in range(8)]
        report = detector.detect(expected).to_dict()
        got, errors = [None] * 8, []

        def run(seed):
            try:
                got[seed] = write(seed, 60, marker)
                if detector.detect(expected).to_dict() != report:
                    errors.append("another report")
            except Exception as error:  # noqa: BLE001
                errors.append(error)

        threads = [threading.Thread(target=run, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual((got, errors), (expected, []))

    def test_others_run_while_rust_works(self):
        # Nobody is interrupted within a minute, so the other thread gets its turn only if the lock is given away.
        detector = w.Detector(profile(), NODE)
        tally = detector.tally()
        tally.add(write(1, 200))
        before = sys.getswitchinterval()
        sys.setswitchinterval(60)
        try:
            # Where the other thread was quicker than the call, or a busy machine gave it no core, nothing was shown.
            shown = any(self.turns(lambda: detector.report(tally, resample=20_000)) == (0, 1) for _ in range(20))
        finally:
            sys.setswitchinterval(before)
        self.assertTrue(shown)

    def turns(self, call):
        """How often another thread got its turn before and during a call."""
        go, turns = threading.Event(), []

        def take_a_turn():
            go.wait()
            turns.append(1)

        thread = threading.Thread(target=take_a_turn)
        thread.start()
        go.set()
        without = len(turns)
        call()
        during = len(turns)
        thread.join()
        return without, during

    def test_a_session_belongs_to_one_thread_at_a_time(self):
        # Two threads on one session: each call either works or says so; nothing is torn.
        session = w.Marker(profile(), NODE).session(seed=1)
        some, unexpected = rows(1, 1)[0], []

        def run():
            for _ in range(300):
                try:
                    session.sample(some)
                except RuntimeError:
                    pass
                except Exception as error:  # noqa: BLE001
                    unexpected.append(error)

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(unexpected, [])
        self.assertEqual(session.generated, [])

    @unittest.skipUnless(hasattr(os, "fork"), "needs fork")
    def test_a_forked_child_has_threads_of_its_own(self):
        detector, records = w.Detector(profile(), NODE), [write(seed, 100) for seed in range(4)]
        expected = detector.detect(records).to_dict()  # the parent's threads are running now
        context = multiprocessing.get_context("fork")
        children = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of any fork beside threads
            for _ in range(3):
                receiving, sending = context.Pipe(duplex=False)
                child = context.Process(target=detect_into, args=(sending, detector, records))
                child.start()
                sending.close()
                children.append((child, receiving))
        for child, receiving in children:
            self.assertTrue(receiving.poll(120), "the child hangs")
            self.assertEqual(receiving.recv(), expected)
            child.join()
            self.assertEqual(child.exitcode, 0)
        self.assertEqual(detector.detect(records).to_dict(), expected)

    def test_a_marker_is_not_sent_to_a_spawned_child(self):
        context = multiprocessing.get_context("spawn")
        child = context.Process(target=detect_into, args=(None, w.Detector(profile(), NODE), []))
        with self.assertRaises(TypeError) as raised:
            child.start()
        self.assertIn("make it anew", str(raised.exception))


if __name__ == "__main__":
    unittest.main()
