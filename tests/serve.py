#!/usr/bin/env python3
"""The example server under load, killed and started again: 64 clients at once, marked by account, every whole answer in the ledger.

    serve.py --watermark target/release/watermark --server target/release/examples/serve
    serve.py ... --measure    # what paired draws cost under load, and nothing else

Needs the standard library only. Accounts `acme` and `bolt` are always marked; `cave` may opt out, and does in every other request.
While all clients ask, the server is killed (SIGKILL) and started again on the same port and ledger; clients ask again for what they
have not received whole. Afterwards every answer that a client has received whole is looked for in the ledger, under its account, and
every client's answers are tested for the mark of its account, of another account, and for none where it opted out.

With paired draws, all that again: what was served and withheld is in the list of requests whenever a client has an answer whole, what a kill
has cut off stands there without an answer, and the list becomes evidence that verifies.
"""

import argparse
import hashlib
import hmac
import http.client
import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

from steps import ROOT, check, check_no_leaks, done, run

CLIENTS = 64
ANSWERS = 6  # of each client
KILLS = (60, 180)  # whole answers after which the server is killed
PAIRED = 3  # answers of each client with paired draws
PAIRED_KILLS = (50,)
TOKENS = {"acme": "token-of-acme", "bolt": "token-of-bolt", "cave": "token-of-cave"}
QUESTION = "{} has {} pears and buys {} more. {} are bad. How many good pears are there?"
NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gil", "Hana")


class Server:
    """The example server; `kill` ends it without warning, `start` starts it on the same port again."""

    def __init__(self, command):
        self.command, self.address = command, "127.0.0.1:0"
        self.start()

    def start(self):
        command = [*self.command, "--listen", self.address]
        self.process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("ready: http://"):
            sys.exit(f"the server did not start: {line!r} {self.process.communicate()}")
        self.address = line.removeprefix("ready: http://").strip()

    def kill(self):
        self.process.kill()
        self.process.wait()


def ask(address, token, path, body, raw=None):
    """Status and body of one request."""
    connection = http.client.HTTPConnection(address, timeout=120)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    connection.request("POST", path, raw if raw is not None else json.dumps(body), headers)
    response = connection.getresponse()
    return response.status, response.read().decode()


def whole(path, stream, text):
    """An answer's text, or None if the end of the stream is missing."""
    if not stream:
        choice = json.loads(text)["choices"][0]
        return choice["message"]["content"] if "chat" in path else choice["text"]
    events = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    if not events or events[-1] != "[DONE]":
        return None
    choices = [json.loads(event)["choices"][0] for event in events[:-1]]
    return "".join(c["delta"].get("content", "") if "chat" in path else c["text"] for c in choices)


class Client(threading.Thread):
    """Asks until it has its answers; keeps (question, answer, marked)."""

    def __init__(self, number, server, progress, each=ANSWERS):
        super().__init__()
        self.each = each
        self.number, self.server, self.progress = number, server, progress
        self.account = sorted(TOKENS)[number % len(TOKENS)]
        self.answers, self.interrupted, self.wrong, self.times = [], 0, [], []

    def run(self):
        for i in range(self.each):
            n = self.number * self.each + i
            question = QUESTION.format(NAMES[n % len(NAMES)], 12 + n, 3 + n % 7, 2 + n % 5)
            chat, stream = n % 2 == 0, n % 3 != 0
            path = "/v1/chat/completions" if chat else "/v1/completions"
            marked = not (self.account == "cave" and i % 2)
            body = {"model": "teacher", "stream": stream, "temperature": 1.0, "max_tokens": 100}
            body |= {"messages": [{"role": "user", "content": question}]} if chat else {"prompt": question}
            body |= {} if marked else {"watermark": False}
            answer, began = None, time.monotonic()
            while answer is None:
                try:
                    status, text = ask(self.server.address, TOKENS[self.account], path, body)
                    if status != 200:
                        self.wrong.append((status, text))
                        return
                    answer = whole(path, stream, text)
                except (OSError, http.client.HTTPException):
                    pass
                if answer is None:
                    self.interrupted += 1
                    time.sleep(0.05)
            self.times.append(time.monotonic() - began)
            self.answers.append((question, answer, marked))
            self.progress.release()


def ledger_secret(key_file):
    """HKDF-Expand(node, "watermark-key-v1" 0 "ledger" 0, 32): one block of HMAC."""
    node = bytes.fromhex(json.loads(pathlib.Path(key_file).read_text())["node"])
    return hmac.digest(node, b"watermark-key-v1\0ledger\0\x01", "sha256")


def served(folder, key_file, clients):
    """For every whole answer of `clients`, how many entries of the ledger are of it and its account."""
    secret = ledger_secret(key_file)
    entries = [json.loads(line) for line in (folder / "entries.jsonl").read_text().splitlines()]
    salts = {a: hmac.digest(secret, b"account\0" + a.encode(), "sha256") for a in TOKENS}
    pseudonyms = {a: hashlib.sha256(b"watermark-account-v1\0" + salt + a.encode()).hexdigest() for a, salt in salts.items()}
    found = {}
    answers = {(c.account, answer) for c in clients for _, answer, _ in c.answers}
    for entry in entries:
        salt = hmac.digest(secret, b"answer\0" + entry["index"].to_bytes(8, "little"), "sha256")
        before = hashlib.sha256(b"watermark-answer-v1\0" + salt)
        for account, answer in answers:
            if entry["account"] != pseudonyms[account]:
                continue
            digest = before.copy()
            digest.update(answer.encode())
            if digest.hexdigest() == entry["answer"]:
                found[account, answer] = found.get((account, answer), 0) + 1
    return len(entries), answers, found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--watermark", type=pathlib.Path, required=True)
    parser.add_argument("--server", type=pathlib.Path, required=True)
    parser.add_argument("--measure", action="store_true")
    args = parser.parse_args()
    watermark = args.watermark.resolve()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        master, profile = folder / "master.key.json", folder / "lab.profile.json"
        run(watermark, "keygen", "--out", master)
        policy = ["--boost", "after_temperature", "--min-top-p", "0.5"]
        run(watermark, "profile", "new", "--per-account", "provenance", *policy, "--out", profile)
        run(watermark, "key", "export", "--key", master, "--path", "ledger/1", "--out", folder / "ledger.key.json")
        digest = {account: hashlib.sha256(token.encode()).hexdigest() for account, token in TOKENS.items()}
        accounts = {digest[a]: {"account": a, "may_opt_out": a == "cave"} for a in TOKENS}
        (folder / "accounts.json").write_text(json.dumps(accounts))
        command = [args.server.resolve(), "--profile", profile, "--key", master, "--accounts", folder / "accounts.json"]
        command += ["--ledger", folder / "ledger", "--ledger-key", folder / "ledger.key.json"]
        if args.measure:
            return measure(watermark, folder, command)
        server = Server(command)
        refused(server.address)
        clients = ask_all(server, KILLS)
        entries, answers, found = served(folder / "ledger", folder / "ledger.key.json", clients)
        missing = [one for one in answers if not found.get(one)]
        check(f"every whole answer is among the {entries} entries of the ledger, under its account", not missing, len(missing))
        marked_everywhere(watermark, folder, ["--profile", profile, "--key", master], clients)
        paired(watermark, folder, command)
        check_no_leaks(folder)
    done()


def ask_all(server, kills, each=ANSWERS):
    """All clients at once, `each` answers a client; the server is killed and started again after so many whole answers, and in the end."""
    progress = threading.Semaphore(0)
    clients = [Client(number, server, progress, each) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    got = 0
    for kill in kills:
        while got < kill:
            if not progress.acquire(timeout=300):
                sys.exit("FAILED: no answer for 300 s")
            got += 1
        server.kill()
        server.start()
    for client in clients:
        client.join()
    server.kill()
    wrong = [client.wrong for client in clients if client.wrong]
    check("every request was answered", not wrong, wrong[:3])
    n = sum(len(client.answers) for client in clients)
    interrupted = sum(client.interrupted for client in clients)
    check(
        f"{CLIENTS} clients at once: {n} whole answers; {interrupted} requests cut off by {len(kills)} kills",
        n == CLIENTS * each and bool(interrupted) == bool(kills),
        (n, interrupted),
    )
    return clients


def with_pairs(watermark, folder, command):
    """The server's command with a profile that has paired draws, and that profile."""
    master, profile = folder / "master.key.json", folder / "pairs.profile.json"
    run(watermark, "profile", "new", "--provenance", "none", "--pairs", "--out", profile)
    run(watermark, "key", "export", "--key", master, "--path", "ledger/1/requests", "--out", folder / "requests.key.json")
    command = [profile if word == folder / "lab.profile.json" else word for word in command]
    return [*command, "--requests", folder / "requests", "--requests-key", folder / "requests.key.json", "--requests-name", "ledger/1"], profile


def decoder():
    """What tokens of the embedded tokenizer stand for: byte-level BPE, so each character of a piece is a byte."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in shown]
    of = {chr(byte): byte for byte in shown} | {chr(256 + n): byte for n, byte in enumerate(others)}
    vocabulary = json.loads((ROOT / "watermark-toolkit/embedded/tokenizer.json").read_text())["model"]["vocab"]
    pieces = {token: bytes(of[character] for character in piece) for piece, token in vocabulary.items() if token}
    return lambda tokens: b"".join(pieces[token] for token in tokens).decode(errors="replace")


def paired(watermark, folder, command):
    """The server with paired draws beside a token mark."""
    command, profile = with_pairs(watermark, folder, command)
    key = ["--profile", profile, "--key", folder / "master.key.json"]
    run(watermark, "key", "signing", "--out", folder / "signing.key.json")
    sign = ["--signing-key", folder / "signing.key.json"]
    # Requests that a kill cuts off have numbers too.
    planned = 2 * CLIENTS * PAIRED
    run(watermark, "key", "commit", *key[2:], "--profile", profile, "--requests", f"ledger/1={planned}", *sign, "--out", folder / "commitment")
    clients = ask_all(Server(command), PAIRED_KILLS, PAIRED)
    ledger = ["--ledger", folder / "requests"]
    # What is opened and not closed is entered when the ledger is opened again.
    Server(command).kill()
    run(watermark, "ledger", "head", *ledger, *sign)
    lines = [json.loads(line) for line in (folder / "requests" / "served.jsonl").read_text().splitlines()]
    check("requests are numbered without a gap", [line["request"] for line in lines] == [f"ledger/1/{n}" for n in range(len(lines))], len(lines))
    entries = (folder / "requests" / "entries.jsonl").read_text().splitlines()
    text, wanted = decoder(), sum(marked for client in clients for _, _, marked in client.answers)
    found = {(line["account"], text(line["tokens"])) for line in lines}
    lost = [answer for c in clients for _, answer, marked in c.answers if marked and (c.account, answer) not in found]
    cut = sum(not line["tokens"] for line in lines)
    interrupted = sum(client.interrupted for client in clients)
    check(f"{wanted} whole answers are among {len(lines)} requests, {cut} of which have no answer", not lost and wanted <= len(lines) == len(entries) and cut <= interrupted, (lost[:2], cut))
    opted = [answer for c in clients for _, answer, marked in c.answers if not marked]
    check(f"{len(opted)} answers that opted out are no requests", opted and not [a for a in opted if len(a) > 40 and ("cave", a) in found], len(opted))
    two = sum(b is not None and a != b for line in lines for a, b in zip(line["tokens"], line["withheld"], strict=True))
    check(f"{two} positions have two different candidates", two > 5 * wanted, two)
    evidence(watermark, folder, key, sign)


def evidence(watermark, folder, key, sign):
    """The list as evidence against a model that never saw it: it verifies, and detects nothing."""
    served = folder / "requests" / "served.jsonl"
    for model in ("teacher", "base"):
        run(watermark, "pairs", "score", "--model", model, "--out", folder / f"{model}.jsonl", served)
    head = sorted((folder / "requests" / "heads").glob("*.json"))[-1]
    commitment = folder / "commitment" / "head.json"
    time.sleep(1.1)  # a registration comes after what it names, in whole seconds
    run(watermark, "pairs", "register", "--suspect", "base", "--control", "teacher", *key[:2], "--head", commitment, "--ledger-head", head, *sign, "--out", folder / "registration.json")
    files = ["--scores", folder / "base.jsonl", "--controls", folder / "teacher.jsonl"]
    given = ["--ledger", folder / "requests", "--ledger-key", folder / "requests.key.json", "--ledger-head", head]
    run(watermark, "pairs", "evidence", "--registration", folder / "registration.json", *key, "--head", commitment, *given, *files, *sign, "--out", folder / "evidence", served, codes=(0, 1))
    data = [word for file in (folder / "evidence" / "list.jsonl", folder / "base.jsonl", folder / "teacher.jsonl") for word in ("--data", file)]
    told = run(watermark, "verify", folder / "evidence" / "evidence.json", *data, codes=(0, 1))
    check("evidence from the list verifies, and detects nothing", told.startswith("integrity    holds") and "result       not_detected" in told, told)


def measure(watermark, folder, command):
    """Times of whole answers and tokens a second under load, three rounds each way in turn."""
    plain = folder / "plain.profile.json"
    run(watermark, "profile", "new", "--provenance", "none", "--out", plain)
    without = [plain if word == folder / "lab.profile.json" else word for word in command]
    commands = {"without": without, "with paired draws": with_pairs(watermark, folder, command)[0]}
    for round_ in range(3):
        for name, words in commands.items():
            began = time.monotonic()
            clients = ask_all(Server(words), (), 4)
            wall = time.monotonic() - began
            times = sorted(t for client in clients for t in client.times)
            characters = sum(len(answer) for client in clients for _, answer, _ in client.answers)
            print(f"round {round_ + 1}, {name}: p50 {times[len(times) // 2]:.2f} s, p99 {times[int(len(times) * 0.99)]:.2f} s, {characters / wall:.0f} characters/s", flush=True)


def refused(address):
    """What may not be had, and what is said of it."""
    body = {"model": "teacher", "prompt": "Ada has 3 pears."}
    for what, token, change, status in [
        ("no token", None, {}, 401),
        ("a foreign token", "token-of-nobody", {}, 401),
        ("an account opts out that may not", TOKENS["acme"], {"watermark": False}, 403),
        ("greedy decoding", TOKENS["acme"], {"temperature": 0}, 400),
        ("several answers", TOKENS["acme"], {"n": 2}, 400),
        ("a stop sequence", TOKENS["acme"], {"stop": ["x"]}, 400),
        ("top_p out of range", TOKENS["acme"], {"top_p": 2.0}, 400),
        ("a prompt that does not fit", TOKENS["acme"], {"prompt": "pear " * 2000}, 400),
        ("another model", TOKENS["acme"], {"model": "gpt"}, 404),
    ]:
        got = ask(address, token, "/v1/completions", body | change)
        check(f"refused with {status}: {what}", got[0] == status and json.loads(got[1])["error"]["message"], got)
    got = ask(address, TOKENS["acme"], "/v1/completions", None, raw="{" * (2 << 20))
    check("refused with 413: a body of 2 MB", got[0] == 413, got)
    got = ask(address, TOKENS["cave"], "/v1/completions", body | {"temperature": 0, "watermark": False})
    check("an account that may opts out, and gets a greedy answer", got[0] == 200, got)
    for asked, raised in ((0.1, {"top_p": {"from": 0.1, "to": 0.5}}), (0.9, None)):
        got = ask(address, TOKENS["acme"], "/v1/completions", body | {"top_p": asked})
        check(f"top-p {asked}: the answer says what was raised", got[0] == 200 and json.loads(got[1]).get("raised") == raised, got)


def marked_everywhere(watermark, folder, key, clients):
    """Tests the answers of every client on their own, and all of each account under each account's key."""

    def log10_p(name, answers, account):
        path = folder / f"{name}.jsonl"
        lines = [json.dumps({"prompt": f"Question: {question}\nAnswer:", "completion": answer}) for question, answer in answers]
        path.write_text("\n".join(lines) + "\n")
        printed = run(watermark, "detect", *key, "--account", account, "--resample", 0, "--json", path, codes=(0, 1))
        return {line["layer"]: line["log10_p"] for line in map(json.loads, printed.splitlines())}

    weakest = max(
        min(log10_p(f"client-{c.number}", [(q, a) for q, a, marked in c.answers if marked], c.account).values()) for c in clients
    )
    check(f"the answers of each client are marked: log10 p at most {weakest:.1f}", weakest < -6, weakest)
    for account in TOKENS:
        mine = [(q, a) for c in clients if c.account == account for q, a, marked in c.answers if marked]
        p = {other: log10_p(f"{account}-under-{other}", mine, other) for other in TOKENS}
        check(f"{account}: log10 p {p[account]}", max(p[account].values()) < -20, p)
        others = min(p[other]["provenance"] for other in TOKENS if other != account)
        check(f"{account}: not under other accounts' keys: log10 p {others:.1f}", others > -6, p)
    unmarked = [(q, a) for c in clients for q, a, marked in c.answers if not marked]
    p = log10_p("opted-out", unmarked, "cave")
    check(f"{len(unmarked)} answers that opted out are unmarked: log10 p {p}", min(p.values()) > -6, p)


if __name__ == "__main__":
    main()
