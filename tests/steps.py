"""What the scripts beside this one share: programs that must end as expected, checks that are counted, a model served by llama.cpp,
and the search for secrets where none may be."""

import base64
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
printed = []
passed = 0


def run(*arguments, codes=(0,), stdin=None):
    """Standard output of a program that must end with one of `codes`."""
    done = subprocess.run([str(a) for a in arguments], capture_output=True, input=stdin)
    printed.extend([done.stdout, done.stderr])
    if done.returncode not in codes:
        words = [text.decode(errors="replace") for text in (done.stdout, done.stderr)]
        sys.exit(f"exit {done.returncode}, expected {codes}: {arguments}\n" + "\n".join(words))
    return done.stdout.decode()


def check(what, holds, detail):
    global passed
    if not holds:
        sys.exit(f"FAILED: {what}: {detail}")
    passed += 1
    print(f"ok: {what}", flush=True)


def done():
    print(f"{passed} passed, 0 failed")


class Served:
    """A laboratory model behind a port of this machine, until the block ends. Needs xllamacpp (PyPI)."""

    def __init__(self, gguf, name):
        command = [sys.executable, ROOT / "watermark-lab/serve.py", gguf, "--port", "0", "--alias", name, "--slots", "4"]
        self.process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        line = self.process.stdout.readline()
        if not line.startswith("ready: "):
            sys.exit(f"the server did not start: {line!r}")
        return line.removeprefix("ready: ").strip() + "/v1"

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def payload(envelope):
    """What a signed file says."""
    return json.loads(base64.b64decode(json.loads(envelope)["payload"]))


def secrets_in(value):
    """The 32 bytes of every key, seed and salt of a parsed file."""
    for name, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        if name in ("node", "seed", "salt") and isinstance(inner, str) and len(inner) == 64:
            yield bytes.fromhex(inner)
        yield from secrets_in(inner)


def forms(secret):
    """A secret as a program could print it."""
    for plain in (secret, secret.hex().encode(), secret.hex().upper().encode()):
        yield plain
        for skip in range(3):
            whole = plain[skip:]
            whole = whole[: len(whole) // 3 * 3]  # whole groups: what surrounds them does not change their letters
            yield from (base64.b64encode(whole), base64.urlsafe_b64encode(whole))


def check_no_leaks(folder, disclosed=()):
    """Nothing printed so far, and no file below the folder that others may read, holds a secret of the files that they may not."""
    files = [path for path in pathlib.Path(folder).rglob("*") if path.is_file()]
    private = [path for path in files if path.stat().st_mode & 0o077 == 0]
    secrets = set()
    for path in private:
        raw = path.read_bytes()
        try:
            secrets |= {*secrets_in(json.loads(raw))}
        except ValueError:
            secrets.add(raw.strip())  # a passphrase
    secrets -= {*disclosed, b""}
    for name, raw in [*((str(path), path.read_bytes()) for path in files if path not in private), ("output", b"\n".join(printed))]:
        found = [form for secret in secrets for form in forms(secret) if form in raw]
        if found:
            sys.exit(f"FAILED: a secret is in {name}")
    check(f"{len(secrets)} secrets in none of {len(files) - len(private)} files nor in what was printed", bool(secrets), "no secrets")
