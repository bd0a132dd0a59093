use std::collections::{BTreeMap, HashMap};
use std::io::BufReader;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use watermark_lab::prompts::word_problems;
use watermark_toolkit::tokenizer::Tokenizer;
use watermark_toolkit::transcript::{Exchange, FaultKind, Reader};

use crate::server::{Reply, Server, chat, ok};
use crate::support::{Folder, ProcessOutput};

const TOKEN: &str = "sk-test/0123456789abcdef";

/// A folder with profile, key, API token and `n` prompts.
fn setup(n: usize) -> (Folder, Vec<String>) {
    let folder = Folder::new();
    folder.line("profile new --out p.json").expect(0);
    folder.line("keygen --out k.json").expect(0);
    folder.write("token", format!("{TOKEN}\n"));
    let prompts: Vec<String> = (0..n).map(|i| format!("prompt number {i}: {}", word_problems(3, n)[i])).collect();
    folder.write("prompts.txt", prompts.join("\n"));
    (folder, prompts)
}

fn probe(server: &Server, options: &str) -> String {
    format!(
        "probe --profile p.json --key k.json --endpoint {} --model suspect --prompts prompts.txt --api-key-file token {options}",
        server.base
    )
}

fn transcript(folder: &Folder, out: &str) -> Vec<Exchange> {
    let file = std::fs::File::open(folder.path(out).join("transcript.jsonl")).unwrap();
    Reader::new(BufReader::new(file)).unwrap().unwrap().collect::<anyhow::Result<_>>().unwrap()
}

/// Prompt -> answer.
fn answers(exchanges: &[Exchange]) -> BTreeMap<u64, (String, Option<String>)> {
    exchanges.iter().map(|exchange| (exchange.index, (exchange.prompt.clone(), exchange.response.clone()))).collect()
}

/// Nothing printed or written holds the token.
#[track_caller]
fn keeps_the_token(folder: &Folder, out: &str, run: &ProcessOutput) {
    for entry in std::fs::read_dir(folder.path(out)).unwrap() {
        let path = entry.unwrap().path();
        assert!(!std::fs::read_to_string(&path).unwrap().contains(TOKEN), "{}", path.display());
    }
    assert!(!run.stdout.contains(TOKEN) && !run.stderr.contains(TOKEN), "{run:?}");
}

fn number(prompt: &str) -> usize {
    prompt.strip_prefix("prompt number ").and_then(|rest| rest.split(':').next()).unwrap().parse().unwrap()
}

/// The answer of a deterministic model.
fn said(prompt: &str) -> String {
    format!("The answer to {} is {}.", prompt.len(), number(prompt) * 7)
}

#[test]
fn every_fault_is_survived_and_every_prompt_accounted_for() {
    let (folder, prompts) = setup(14);
    let server = Server::start(|request| {
        let whole = chat(&said(&request.prompt));
        match (number(&request.prompt), request.before) {
            (0, 0) => Reply::Whole(429, "Retry-After: 1\r\n".to_owned(), "slow down".to_owned()),
            (1, 0) => Reply::Whole(500, String::new(), "{\"error\": {}}".to_owned()),
            (2, 0) => Reply::Cut(whole),
            (3, 0) => ok("{\"choices\": [{\"mess".to_owned()),
            (4, 0) => Reply::Stall(whole, Duration::from_secs(3)),
            (5, _) => Reply::Whole(400, String::new(), format!("{{\"error\": \"bad key {TOKEN}\"}}")),
            (6, _) => ok(chat(&"x".repeat(9 << 20))),
            (7, _) => ok(chat(&format!("Your token is {TOKEN}."))),
            (12, _) => ok(chat(&format!("Your token is {TOKEN}.")).replace("sk-test/", "\\u0073k-test\\/")),
            (8, 0) => Reply::Nothing,
            (9, 0) => ok("{\"error\": {\"message\": \"overloaded\"}}".to_owned()),
            (10, 0) => ok("data: {\"choices\": [{\"index\": 0, \"delta\": {\"content\": \"cut\"}}]}\n\n".to_owned()),
            (11, 0) => Reply::Whole(503, "Retry-After: Mon, 23 Nov 2020 10:00:00 GMT\r\n".to_owned(), String::new()),
            _ => ok(whole),
        }
    });
    let line = probe(&server, "--out run --timeout 1 --max-retries 3 --round-size 14 --json");
    let run = folder.line(&line).expect(1);
    keeps_the_token(&folder, "run", &run);
    let exchanges = transcript(&folder, "run");
    assert_eq!(exchanges.len(), 14);
    let by_index: HashMap<u64, &Exchange> = exchanges.iter().map(|exchange| (exchange.index, exchange)).collect();
    for (index, prompt) in prompts.iter().enumerate() {
        let exchange = by_index[&(index as u64)];
        assert_eq!(&exchange.prompt, prompt);
        assert_eq!(exchange.request["messages"][0]["content"], prompt.as_str());
        let errors: Vec<_> = exchange.attempts.iter().map(|attempt| (attempt.status, attempt.error)).collect();
        use FaultKind::{Connection, InvalidAnswer, Status, Timeout, TooLarge};
        let good = (Some(200), None);
        let expected = match index {
            0 => vec![(Some(429), Some(Status)), good],
            1 => vec![(Some(500), Some(Status)), good],
            2 | 8 => vec![(None, Some(Connection)), good],
            3 | 9 | 10 => vec![(Some(200), Some(InvalidAnswer)), good],
            4 => vec![(None, Some(Timeout)), good],
            5 => vec![(Some(400), Some(Status))],
            6 => vec![(None, Some(TooLarge))],
            11 => vec![(Some(503), Some(Status)), good],
            _ => vec![good],
        };
        assert_eq!(errors, expected, "prompt {index}");
        let failed = matches!(index, 5 | 6);
        assert_eq!((exchange.failure.is_some(), exchange.response.is_some()), (failed, !failed), "prompt {index}");
    }
    for echo in [7, 12] {
        assert!(by_index[&echo].response.as_ref().unwrap().contains("Your token is [redacted]."));
    }
    // The server asked for a second, of everybody.
    let times: Vec<Instant> =
        server.requests().iter().filter(|request| number(&request.prompt) == 0).map(|request| request.at).collect();
    assert!(times[1] - times[0] >= Duration::from_millis(990), "{:?}", times[1] - times[0]);
    // Authorization is where the token belongs, and nowhere else.
    for request in server.requests() {
        assert!(request.head.contains(&format!("Bearer {TOKEN}")) && request.path == "/v1/chat/completions");
        assert!(!request.body.to_string().contains(TOKEN));
    }
    let result = &run.json()[0];
    let tokenizer = Tokenizer::embedded().unwrap();
    let tokens: usize = exchanges
        .iter()
        .filter_map(|exchange| exchange.response.as_ref())
        .map(|body| {
            serde_json::from_str::<Value>(body).unwrap()["choices"][0]["message"]["content"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .map(|text| tokenizer.encode(&text).unwrap().len())
        .sum();
    assert_eq!(result["completion_tokens"], tokens, "our count, not the server's");
    assert_eq!([&result["answered"], &result["failed"], &result["requests"]], [12, 2, 23]);
    assert_eq!([&result["verdict"], &result["end"]], ["not_detected", "prompts"]);

    // A finished run is only read again.
    let (before, n) = (folder.read("run/result.json"), server.requests().len());
    folder.line(&line).expect(1);
    assert_eq!((folder.read("run/result.json"), server.requests().len()), (before, n));
}

#[test]
fn streams_and_logprobs() {
    let (folder, prompts) = setup(6);
    let server = Server::start(|request| {
        assert_eq!(
            [&request.body["stream"], &request.body["logprobs"], &request.body["top_logprobs"]],
            [&json!(true), &json!(true), &json!(2)]
        );
        assert_eq!([&request.body["top_k"], &request.body["seed"]], [50, 1]);
        let mut body = String::new();
        for word in said(&request.prompt).split_inclusive(' ') {
            let token = json!({"token": word, "logprob": -1.5, "top_logprobs": [{"token": "x", "logprob": -0.5}]});
            let event =
                json!({"choices": [{"index": 0, "delta": {"content": word}, "logprobs": {"content": [token]}}]});
            body += &format!("data: {event}\n\n");
        }
        body += "data: [DONE]\n\n";
        Reply::Whole(200, "Content-Type: text/event-stream\r\n".to_owned(), body)
    });
    let mut arguments: Vec<String> =
        probe(&server, "--out run --stream --logprobs 2 --extra").split(' ').map(str::to_owned).collect();
    arguments.push("{\"top_k\": 50, \"seed\": 1}".to_owned());
    folder.run(&arguments).expect(1);
    let exchanges = transcript(&folder, "run");
    assert_eq!(exchanges.len(), 6);
    for exchange in &exchanges {
        use watermark_toolkit::transcript::{Api, answer};
        let answer = answer::parse(Api::Chat, exchange.response.as_ref().unwrap()).unwrap();
        assert_eq!(answer.text, said(&prompts[exchange.index as usize]));
        let bytes: Vec<u8> = answer.positions.iter().flat_map(|position| position.bytes.clone()).collect();
        assert_eq!(bytes, answer.text.into_bytes());
        let logprobs = answer.positions.iter().map(|position| [position.logprob, position.top[0].logprob]);
        assert_eq!(logprobs.collect::<Vec<_>>(), vec![[-1.5, -0.5]; answer.positions.len()]);
    }
}

/// kill -9 while answers arrive: what was answered is kept and not asked again, and the same exchanges come out.
#[cfg(unix)]
#[test]
fn a_killed_run_goes_on() {
    let (folder, _) = setup(24);
    let server = Server::start(|request| {
        std::thread::sleep(Duration::from_millis(40));
        ok(chat(&said(&request.prompt)))
    });
    let options = "--concurrency 3 --round-size 8 --no-futility";
    folder.line(&probe(&server, &format!("--out whole {options}"))).expect(1);
    let asked = server.requests().len();
    assert_eq!(asked, 24);

    let line = probe(&server, &format!("--out run {options}"));
    let mut child =
        folder.command(line.split_whitespace()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let path = folder.path("run/transcript.jsonl");
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::fs::read_to_string(&path).map_or(0, |text| text.lines().count()) < 11 {
        assert!(Instant::now() < deadline, "no answers");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // A line that the kill may have cut, for certain.
    let text = std::fs::read_to_string(&path).unwrap();
    let whole: Vec<&str> = text.split_inclusive('\n').filter(|line| line.ends_with('\n')).collect();
    std::fs::write(&path, whole.concat() + &whole[9][..whole[9].len() / 2]).unwrap();
    let kept = transcript(&folder, "run");
    assert_eq!(kept.len(), whole.len() - 1);
    assert!(kept.len() >= 10 && kept.len() < 24, "{}", kept.len());

    let before = server.requests().len();
    folder.line(&line).expect(1);
    assert_eq!(server.requests().len() - before, 24 - kept.len(), "answered prompts are not asked again");
    let (run, uninterrupted) = (transcript(&folder, "run"), transcript(&folder, "whole"));
    assert_eq!(answers(&run), answers(&uninterrupted));
    assert_eq!(run.len(), 24);
    assert_eq!(run[..kept.len()], kept[..], "what was written stays");
    let result = |out: &str| {
        let mut result: Value = serde_json::from_str(&folder.read(&format!("{out}/result.json"))).unwrap();
        result["transcript_sha256"] = Value::Null;
        result
    };
    assert_eq!(result("run"), result("whole"));
}

/// SIGINT: answers under way are kept, exit code 2, and the same command goes on.
#[cfg(unix)]
#[test]
fn an_interrupted_run_finishes_what_is_under_way() {
    let (folder, _) = setup(12);
    let server = Server::start(|request| {
        std::thread::sleep(Duration::from_millis(150));
        ok(chat(&said(&request.prompt)))
    });
    let line = probe(&server, "--out run --concurrency 2 --round-size 6 --no-futility");
    let child = folder.command(line.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.requests().len() < 3 {
        assert!(Instant::now() < deadline, "no requests");
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    folder.ended(child).fails_with(&["interrupted", "the same command goes on"]);
    let asked = server.requests().len();
    assert!(asked < 12);
    assert_eq!(transcript(&folder, "run").len(), asked, "every request that was sent is in the transcript");
    assert!(!folder.path("run/result.json").exists());
    folder.line(&line).expect(1);
    assert_eq!((transcript(&folder, "run").len(), server.requests().len()), (12, 12));
}

#[test]
fn a_run_that_cannot_work_ends_at_once_and_says_why() {
    let (folder, _) = setup(20);
    let other = Server::start(|request| ok(chat(&said(&request.prompt))));
    for (status, says) in [(401, "API token"), (403, "API token"), (404, "--model"), (307, "redirect")] {
        let location = format!("Location: {}/chat/completions\r\n", other.base);
        let server = Server::start(move |_| Reply::Whole(status, location.clone(), format!("no access with {TOKEN}")));
        let out = format!("out{status}");
        let run = folder.line(&probe(&server, &format!("--out {out} --concurrency 2")));
        keeps_the_token(&folder, &out, &run);
        run.fails_with(&[says, &status.to_string()]);
        assert!(server.requests().len() <= 2, "{status}: {}", server.requests().len());
        assert!(transcript(&folder, &out).is_empty());
    }
    assert!(other.requests().is_empty(), "a redirect must not be followed");
}

#[test]
fn too_many_failures_end_a_run_which_can_go_on() {
    let (folder, _) = setup(20);
    let broken = |request: &crate::server::Request| number(&request.prompt) % 3 == 1 && request.before == 0;
    let server = Server::start(move |request| {
        if broken(request) {
            Reply::Whole(422, String::new(), "no".to_owned())
        } else {
            ok(chat(&said(&request.prompt)))
        }
    });
    let line = probe(&server, "--out run --round-size 10 --concurrency 1 --no-futility");
    // 1, 4 and 7 of the first ten: more than 20 %.
    folder.line(&line).fails_with(&["3 prompts of round 0 failed", "20 %", "HTTP status 422"]);
    // The answer after the third failure may have been under way.
    assert!(transcript(&folder, "run").len() <= 9);
    // Round 1 has 10, 13, 16 and 19.
    folder.line(&line).fails_with(&["prompts of round 1 failed"]);
    folder.line(&line).expect(1);
    let exchanges = transcript(&folder, "run");
    // 19 alone is no reason to end; it fails in the last run, unless it was under way in the one before.
    assert!(answers(&exchanges).iter().all(|(&index, (_, answer))| answer.is_some() || index == 19));
    assert_eq!((answers(&exchanges).len(), server.requests().len()), (20, exchanges.len()));
}

#[test]
fn budgets_bind() {
    let (folder, _) = setup(12);
    let server = Server::start(|request| ok(chat(&said(&request.prompt))));
    let ask = |options: &str| {
        let line = probe(&server, &format!("--round-size 3 --no-futility --json {options}"));
        folder.line(&line).expect(1).json()[0].clone()
    };
    // Two rounds fit into eight requests; a larger budget goes on.
    let result = ask("--out requests --max-requests 8");
    assert_eq!([&result["end"], &result["rounds"], &result["requests"]], [&json!("budget"), &json!(2), &json!(6)]);
    let result = ask("--out requests --max-requests 100");
    assert_eq!([&result["end"], &result["rounds"], &result["requests"]], [&json!("prompts"), &json!(4), &json!(12)]);

    let result = ask("--out tokens --max-tokens 20 --max-completion-tokens 130");
    assert_eq!(result["end"], "budget");
    let spent = result["completion_tokens"].as_u64().unwrap();
    assert!(spent <= 130 && spent + 60 > 130, "{spent}");

    let result = ask("--out cost --max-tokens 20 --max-cost 0.002 --price-prompt 10 --price-completion 10");
    assert_eq!(result["end"], "budget");
    let cost = result["cost"].as_f64().unwrap();
    let tokens = result["prompt_tokens"].as_f64().unwrap() + result["completion_tokens"].as_f64().unwrap();
    assert!(cost > 0.0 && cost <= 0.002 && (cost - tokens * 1e-5).abs() < 1e-12, "{cost}");

    let before = server.requests().len();
    folder
        .line(&probe(&server, "--round-size 3 --out none --max-requests 2"))
        .fails_with(&["first round of 3 prompts"]);
    assert_eq!(server.requests().len(), before);

    // Retries count: after ten answers there are three tries of the eleventh.
    let failing = Server::start(|request| match number(&request.prompt) {
        10 => Reply::Whole(500, String::new(), String::new()),
        _ => ok(chat(&said(&request.prompt))),
    });
    folder
        .line(&probe(&failing, "--round-size 12 --out retries --max-requests 13 --max-retries 9 --concurrency 1"))
        .expect(1);
    assert_eq!(failing.requests().len(), 13);

    let paced = Server::start(|request| ok(chat(&said(&request.prompt))));
    folder.line(&probe(&paced, "--out paced --requests-per-minute 1200")).expect(1);
    let times: Vec<Instant> = paced.requests().iter().map(|request| request.at).collect();
    assert!(times[11] - times[0] >= Duration::from_millis(11 * 50 - 20), "{:?}", times[11] - times[0]);
}

#[test]
fn a_folder_of_another_run_is_refused() {
    let (folder, _) = setup(4);
    let server = Server::start(|request| ok(chat(&said(&request.prompt))));
    folder.line(&probe(&server, "--out run")).expect(1);
    let whole = folder.read("run/transcript.jsonl");
    folder
        .line(&probe(&server, "--out run --max-tokens 64 --top-p 0.9"))
        .fails_with(&["max_tokens was 128, now 64", "top_p was null, now 0.9"]);
    folder.write("prompts.txt", "another prompt");
    folder.line(&probe(&server, "--out run")).fails_with(&["prompts_sha256"]);
    assert_eq!(folder.read("run/transcript.jsonl"), whole);
    let (folder, _) = setup(4);
    let first = whole.find("The answer").unwrap();
    let mut changed = whole;
    changed.replace_range(first..first + 3, "No ");
    std::fs::create_dir(folder.path("run")).unwrap();
    folder.write("run/transcript.jsonl", changed);
    folder.line(&probe(&server, "--out run")).fails_with(&["transcript.jsonl", "line 2", "changed"]);
    folder.write("run/transcript.jsonl", "my notes");
    folder.line(&probe(&server, "--out run")).fails_with(&["line 1", "left as it is"]);
    assert_eq!(folder.read("run/transcript.jsonl"), "my notes");
    folder.line(&probe(&server, "--out .")).fails_with(&["not empty"]);
    for (extra, says) in [("{\"n\":2}", "\"n\""), ("[]", "JSON object")] {
        folder.line(&probe(&server, &format!("--out new --extra {extra}"))).fails_with(&[says]);
    }
    folder
        .line(&probe(&server, &format!("--out new --extra {{\"user\":\"{TOKEN}\"}}")))
        .fails_with(&["contain the API token"]);
    let url = server.base.replace("http://", "http://user:secret@");
    let line = probe(&server, "--out new").replace(&server.base, &url);
    folder.line(&line).fails_with(&["WATERMARK_API_KEY"]);
    assert!(!folder.path("new").exists());
}

/// A served model that is marked is found before all prompts are asked, by its key only; a replicate without a key asks
/// everything and says nothing.
#[test]
fn a_marked_model_decides_early() {
    let (folder, prompts) = setup(48);
    folder.line("keygen --out wrong.json").expect(0);
    folder
        .line("mark --profile p.json --key k.json --prompts prompts.txt --max-tokens 60 --seed 5 --out marked.jsonl")
        .expect(0);
    let marked: HashMap<String, String> = prompts
        .iter()
        .zip(folder.read("marked.jsonl").lines())
        .map(|(prompt, line)| {
            let line: Value = serde_json::from_str(line).unwrap();
            (prompt.clone(), line["completion"].as_str().unwrap().to_owned())
        })
        .collect();
    let server = Server::start(move |request| {
        assert_eq!(request.path, "/v1/completions");
        ok(json!({"choices": [{"index": 0, "text": marked[&request.prompt], "finish_reason": "length"}]}).to_string())
    });
    let line = probe(&server, "--api completions --round-size 8 --json");
    let result = folder.line(&format!("{line} --out run")).expect(0).json()[0].clone();
    let test = &result["test"];
    assert_eq!([&result["verdict"], &result["end"], &test["layer"]], ["detected", "decided", "distillation"]);
    assert_eq!([&test["verdict"], &test["decided_by"]], ["detected", "ln_e"]);
    assert!(test["ln_e"].as_f64() >= result["threshold_ln_e"].as_f64());
    // The transcript alone gives the same test, to the byte; with another layer it is another one.
    let test_model = "test-model --profile p.json --key k.json --answers run/transcript.jsonl --json";
    let offline = folder.line(&format!("{test_model} --layer distillation")).expect(0);
    assert!(folder.line(&format!("{line} --out run")).expect(0).stdout.contains(offline.stdout.trim_end()));
    assert_eq!(folder.line(&format!("{test_model} --layer provenance")).json()[0]["layer"], "provenance");
    assert!(result["answered"].as_u64().unwrap() < 48, "{result}");
    let wrong = line.replace("k.json", "wrong.json");
    let result = folder.line(&format!("{wrong} --out wrong")).expect(1).json()[0].clone();
    assert_eq!(result["verdict"], "not_detected");
    assert_eq!((&result["end"], &result["answered"]), (&json!("futile"), &json!(24)));

    let n = server.requests().len();
    let neutral = line.replace("--profile p.json --key k.json", "--replicate");
    let result = folder.line(&format!("{neutral} --out neutral")).expect(0).json()[0].clone();
    assert_eq!([&result["verdict"], &result["test"], &result["profile_sha256"]], [&Value::Null; 3]);
    assert_eq!([&result["answered"], &result["collection"]], [&json!(48), &json!("replicate")]);
    assert_eq!(server.requests().len() - n, 48);
    let opened = folder.line(&test_model.replace("run/", "neutral/")).expect(0).json();
    assert_eq!(opened[0]["collection"], "replicated without the key");
    assert_eq!([&opened[0]["decided_by"], &opened[0]["verdict"]], ["log10_p", "detected"]);
    // A replicate that ends early may have been ended for what it showed.
    let kept: Vec<String> =
        folder.read("neutral/transcript.jsonl").lines().take(17).map(|line| format!("{line}\n")).collect();
    folder.write("cut.jsonl", kept.concat());
    let cut = folder.line(&test_model.replace("run/transcript.jsonl", "cut.jsonl")).json();
    assert_eq!([&cut[0]["decided_by"], &cut[0]["rounds"]], [&json!("ln_e"), &json!(2)]);
    folder.line(&format!("{test_model} --answers cut.jsonl")).fails_with(&["is a transcript", "test it alone"]);
    // A compressed one is not taken for other records; its chain is checked, and fails, as it stands.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, kept.concat().as_bytes()).unwrap();
    folder.write("cut.jsonl.gz", gzip.finish().unwrap());
    folder.line(&test_model.replace("run/transcript.jsonl", "cut.jsonl.gz")).fails_with(&["cut.jsonl.gz", "line 1"]);
    // Another layer or level would be another test.
    folder.line(&format!("{line} --alpha 0.5 --out run")).fails_with(&["test was", "alpha"]);
    folder.line(&format!("{line} --layer provenance --out run")).fails_with(&["test was", "provenance"]);
    folder.line(&format!("{line} --out neutral")).fails_with(&["collection was \"replicate\", now \"provider\""]);
    // The token can come from the environment.
    let line = line.replace(" --api-key-file token", "");
    let command = |token: &str| {
        let mut command = folder.command(format!("{line} --out environment").split_whitespace());
        folder.ended(
            command.env("WATERMARK_API_KEY", token).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap(),
        )
    };
    command("two words").fails_with(&["WATERMARK_API_KEY", "one word"]);
    keeps_the_token(&folder, "environment", &command(TOKEN).expect(0));
    assert!(server.requests().last().unwrap().head.contains(&format!("Bearer {TOKEN}")));
}

/// Beside a reference, whose answers another run collected without a key, the probe looks after 1, 2, 4 rounds; `test-model` gives the same
/// for the transcript.
#[test]
fn a_probe_beside_a_reference() {
    let (folder, prompts) = setup(64);
    let mark = "mark --profile p.json --key k.json --prompts prompts.txt --max-tokens 60";
    let served = |options: &str, file: &str| -> Server {
        folder.line(&format!("{mark} {options} --out {file}")).expect(0);
        let answers = folder.json_lines(file).into_iter().map(|line| line["completion"].as_str().unwrap().to_owned());
        let answers: HashMap<String, String> = prompts.iter().cloned().zip(answers).collect();
        Server::start(move |request| {
            ok(json!({"choices": [{"index": 0, "text": answers[&request.prompt], "finish_reason": "length"}]})
                .to_string())
        })
    };
    let (suspect, unmarked) = (served("--seed 5", "marked.jsonl"), served("--seed 6 --unmarked", "base.jsonl"));
    let collect = format!(
        "probe --replicate --endpoint {} --model base --prompts prompts.txt --api-key-file token --api completions --out base",
        unmarked.base
    );
    folder.line(&collect).expect(0);
    let line = probe(&suspect, "--api completions --round-size 8 --json --out run");
    let beside = format!("{line} --reference base/transcript.jsonl");
    let result = folder.line(&beside).expect(0).json()[0].clone();
    assert_eq!([&result["verdict"], &result["end"]], ["detected", "decided"]);
    let (test, rounds) = (&result["test"], result["rounds"].as_u64().unwrap());
    assert!(matches!(rounds, 1 | 2 | 4), "{rounds}");
    assert_eq!((&test["weights"], test["looks"]["rounds"].as_u64()), (&json!("residual"), Some(rounds)));
    assert_eq!(test["references"][0]["shows"], "answers");
    let offline = "test-model --profile p.json --key k.json --layer distillation --answers run/transcript.jsonl --json";
    let again = folder.line(&format!("{offline} --reference base/transcript.jsonl")).expect(0).json()[0].clone();
    assert_eq!([&again["log10_p"], &again["verdict"]], [&test["log10_p"], &test["verdict"]]);
    // The reference is fixed with the first answer.
    folder.line(&line).fails_with(&["transcript.jsonl"]);
    folder
        .line(&line.replace("--out run", "--out new --reference run/transcript.jsonl"))
        .fails_with(&["another model"]);
    folder.line(&line.replace("--out run", "--out other --reference prompts.txt")).fails_with(&["prompts.txt"]);
    let text = folder
        .line(&line.replace("--json --out run", "--out again --reference base/transcript.jsonl"))
        .expect(0)
        .stdout;
    assert!(text.contains("log10 p over all looks decides at -6.00."), "{text}");
}
