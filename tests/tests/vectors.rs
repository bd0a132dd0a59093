//! The shared vectors (made by `vectors/oracle.py`) through the public API.
#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "tests")]

use serde_json::{Value, json};
use watermark_core::detect::{LayerDetector, Weights};
use watermark_core::evidence::canonical::to_canonical;
use watermark_core::evidence::commitment::KeyLeaf;
use watermark_core::evidence::merkle::{self, Frontier};
use watermark_core::key::{NodeKey, PrfKey, fresh_keys};
use watermark_core::paired::{Draw, RequestSecret, Signs};
use watermark_core::prf::ChaCha20V1;
use watermark_core::scheme::{Blocks, Greenlist, Gumbel, Mcmark, Scheme, Tournament};
use watermark_tests::{close, ids, text, vectors};

fn hex(value: &Value) -> Vec<u8> {
    let digits = text(value);
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
}

fn key(value: &Value) -> PrfKey {
    PrfKey::from_hex(text(value)).unwrap()
}

#[test]
fn derive() {
    let vector = vectors("derive.json");
    let root = NodeKey::root(&hex(&vector["master"]));
    assert_eq!(root.secret().to_vec(), hex(&vector["root"]));
    let nodes = vector["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 5);
    for row in nodes {
        let node = root.descend(&text(&row["path"]).parse().unwrap()).unwrap();
        assert_eq!(node.secret().to_vec(), hex(&row["node"]));
        let salt = hex(&row["salt"]).try_into().unwrap();
        assert_eq!(node.commitment(&salt).to_vec(), hex(&row["commitment"]));
        for prf in row["prf"].as_array().unwrap() {
            let width = usize::try_from(prf["width"].as_u64().unwrap()).unwrap();
            let derived = ChaCha20V1::new(&node.prf_key(text(&prf["scheme"]), width).unwrap(), width).unwrap();
            let expected = ChaCha20V1::new(&key(&prf["key"]), width).unwrap();
            // The key itself is not readable, so compare what it does.
            let context = vec![1; width];
            assert_eq!(
                derived.context_words(derived.context(&context).unwrap().unwrap()),
                expected.context_words(expected.context(&context).unwrap().unwrap())
            );
        }
    }
}

#[test]
fn prf_chacha20_v1() {
    let rows = vectors("prf_chacha20_v1.json");
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 42);
    for row in rows {
        let tokens = ids(&row["context"]);
        let prf = ChaCha20V1::new(&key(&row["key"]), tokens.len()).unwrap();
        let context = prf.context(&tokens).unwrap().unwrap();
        let words: Vec<u32> = ids(&row["tokens"]).iter().map(|&t| prf.word(context, t).unwrap()).collect();
        assert_eq!(words, ids(&row["words"]));
        let mut bulk = Vec::new();
        prf.words(ids(&row["tokens"]).into_iter().map(|t| (context, t)), &mut bulk).unwrap();
        assert_eq!(bulk, words);
        assert_eq!(prf.context_words(context)[..3], ids(&row["context_words"])[..]);
    }
}

#[test]
fn scores() {
    let vector = vectors("scores.json");
    for row in vector["gumbel_q32"].as_array().unwrap() {
        let word = u32::try_from(row[0].as_u64().unwrap()).unwrap();
        assert_eq!(Gumbel.score_q32(word), row[1].as_u64().unwrap(), "{word}");
    }
    for row in vector["green_threshold"].as_array().unwrap() {
        let scheme = Greenlist::new(text(&row[0]).parse().unwrap(), 2.0).unwrap();
        assert_eq!(u64::from(scheme.threshold()), row[1].as_u64().unwrap());
    }
    for row in vector["tournament_bits_30"].as_array().unwrap() {
        let word = u32::try_from(row[0].as_u64().unwrap()).unwrap();
        for depth in 1..=30u32 {
            let ones = text(&row[1]).bytes().take(depth as usize).filter(|&b| b == b'1').count() as u64;
            assert_eq!(Tournament::new(depth).unwrap().score(word), ones);
        }
    }
}

/// The detector of a row of `detect.json`, and where its statistic is.
fn detector(row: &Value) -> (LayerDetector, &str) {
    let (scheme, statistic) = match text(&row["scheme"]) {
        "gumbel" => (Scheme::Gumbel(Gumbel), "sum_q32"),
        "greenlist" => (Scheme::Greenlist(Greenlist::new(text(&row["gamma"]).parse().unwrap(), 2.0).unwrap()), "green"),
        _ => {
            let depth = u32::try_from(row["depth"].as_u64().unwrap()).unwrap();
            (Scheme::Tournament(Tournament::new(depth).unwrap()), "ones")
        }
    };
    let width = usize::try_from(row["width"].as_u64().unwrap()).unwrap();
    (LayerDetector::from_prf_key(scheme, width, &key(&row["key"])).unwrap(), statistic)
}

#[test]
fn detect() {
    let rows = vectors("detect.json");
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 8);
    for row in rows {
        let (layer, statistic) = detector(row);
        let mut tally = layer.tally();
        for doc in row["docs"].as_array().unwrap() {
            layer.add(&mut tally, &[], &ids(doc)).unwrap();
        }
        let finding = layer.finding(&tally).unwrap();
        assert_eq!(finding.n_scored, row["n"].as_u64().unwrap());
        let expected = row[statistic].as_str().map_or_else(|| row[statistic].to_string(), str::to_owned);
        assert_eq!(finding.statistic.to_string(), expected);
        assert!(close(finding.log10_p, text(&row["log10_p"]).parse().unwrap()));
        match row.get("ln_e") {
            Some(ln_e) => assert!(close(finding.ln_e.unwrap(), text(ln_e).parse().unwrap())),
            // The oracle has no e-value for tournaments; `stats` tests ours.
            None => assert!(finding.ln_e.unwrap().is_finite()),
        }
    }
}

/// Blocks, favoured blocks and code decisions: word * l >> 32 of the token's and of the context's words.
#[test]
fn decisions() {
    let rows = vectors("decisions.json");
    for row in rows.as_array().unwrap() {
        let context = ids(&row["context"]);
        let prf = ChaCha20V1::new(&key(&row["key"]), context.len()).unwrap();
        let place = prf.context(&context).unwrap().unwrap();
        let words = prf.context_words(place);
        let blocks = Blocks::from_gamma(1.0 / row["l"].as_f64().unwrap()).unwrap();
        assert_eq!(u64::from(blocks.containing(words[0])), row["favoured_block"].as_u64().unwrap());
        assert_eq!((u64::from(words[1]) * 4096) >> 32, row["position_of_4096"].as_u64().unwrap());
        assert_eq!(words[2] < 1 << 31, row["pilot_at_0.5"].as_bool().unwrap());
        let tokens = ids(&row["tokens"]);
        let got: Vec<u32> = tokens.iter().map(|&token| blocks.containing(prf.word(place, token).unwrap())).collect();
        assert_eq!(got, ids(&row["blocks"]));
        // The detector comes to the same: a pair is a hit iff its block is the favoured one.
        let scheme = Scheme::Mcmark(Mcmark::new(blocks.gamma()).unwrap());
        let layer = LayerDetector::from_prf_key(scheme, context.len(), &key(&row["key"])).unwrap();
        for (&token, &block) in tokens.iter().zip(&got) {
            let mut tally = layer.tally();
            layer.add(&mut tally, &[], &[&context[..], &[token]].concat()).unwrap();
            let hits = layer.finding(&tally).unwrap().statistic;
            assert_eq!(hits, u128::from(block == blocks.containing(words[0])));
        }
    }
}

#[test]
fn resample_keys() {
    let vector = vectors("resample_keys.json");
    let expected = vector["keys"].as_array().unwrap();
    let keys: Vec<PrfKey> = fresh_keys(&hex(&vector["seed"]), 5).collect();
    assert_eq!(keys.len(), expected.len());
    for (got, expected) in keys.iter().zip(expected) {
        let word = |key: &PrfKey| {
            let prf = ChaCha20V1::new(key, 0).unwrap();
            prf.context_words(prf.context(&[]).unwrap().unwrap())
        };
        assert_eq!(word(got), word(&key(expected)));
    }
}

/// The vector excludes pairs of the record's own prompt, so the tally is the plain detector's.
#[test]
fn weighted() {
    for row in vectors("weighted.json").as_array().unwrap() {
        let scheme = Scheme::Greenlist(Greenlist::new(text(&row["gamma"]).parse().unwrap(), 2.0).unwrap());
        let layer = LayerDetector::from_prf_key(scheme, 1, &key(&row["key"])).unwrap();
        let mut tally = layer.tally();
        for record in row["records"].as_array().unwrap() {
            layer.add(&mut tally, &ids(&record["prompt_tokens"]), &ids(&record["tokens"])).unwrap();
        }
        let totals = &row["totals"];
        assert_eq!(tally.n_scored(), totals["scored"].as_u64().unwrap());
        assert_eq!(tally.n_duplicate(), totals["duplicate"].as_u64().unwrap());
        assert_eq!(tally.n_excluded(), totals["excluded"].as_u64().unwrap());
        assert_eq!(tally.n_short_context(), totals["short_context"].as_u64().unwrap());
        let plain = layer.finding(&tally).unwrap();
        assert_eq!(plain.statistic, u128::from(row["green"].as_u64().unwrap()));
        assert!(close(plain.log10_p, text(&row["log10_p_distinct"]).parse().unwrap()));
        let finding = layer.finding_with(&tally, Weights::Sqrt).unwrap();
        assert_eq!(finding.statistic.to_string(), text(&row["statistic_sqrt"]));
        assert!(close(finding.log10_p, text(&row["log10_p_sqrt"]).parse().unwrap()));
    }
}

#[test]
fn merkle_rfc9162() {
    let rows = vectors("merkle_rfc9162.json");
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 8);
    for row in rows {
        let leaves = row["leaves"].as_array().unwrap().iter().map(|leaf| merkle::leaf_hash(&hex(leaf)));
        let leaves: Vec<merkle::Hash> = leaves.collect();
        assert_eq!(merkle::root(&leaves).to_vec(), hex(&row["root"]));
        let mut frontier = Frontier::new();
        leaves.iter().for_each(|leaf| frontier.append(*leaf));
        assert_eq!(frontier.root().to_vec(), hex(&row["root"]));
    }
}

/// The nodes of `derive.json`, committed to with the digest of their path in place of a profile's.
#[test]
fn merkle_keys() {
    let (vector, derive) = (vectors("merkle_keys.json"), vectors("derive.json"));
    let root = NodeKey::root(&hex(&derive["master"]));
    let nodes = derive["nodes"].as_array().unwrap();
    let expected = vector["leaves"].as_array().unwrap();
    assert_eq!(nodes.len(), expected.len());
    let mut hashes = Vec::new();
    for (row, expected) in nodes.iter().zip(expected) {
        let node = root.descend(&text(&row["path"]).parse().unwrap()).unwrap();
        let profile_sha256 = serde_json::from_str::<Value>(text(expected)).unwrap()["profile_sha256"].clone();
        let profile_sha256 = hex(&profile_sha256).try_into().unwrap();
        let leaf = KeyLeaf::new(&node, &hex(&row["salt"]).try_into().unwrap(), profile_sha256, None, None);
        assert_eq!(String::from_utf8(to_canonical(&leaf).unwrap()).unwrap(), text(expected));
        hashes.push(leaf.hash().unwrap());
    }
    assert_eq!(merkle::root(&hashes).to_vec(), hex(&vector["root"]));
}

/// Request secrets, leaves and keys, words, coins and candidates of both draws, and the tails of signs.
#[test]
fn paired() {
    let vector = vectors("paired.json");
    let bytes32 = |value: &Value| -> [u8; 32] { hex(value).try_into().unwrap() };
    let number = |value: &Value| u32::try_from(value.as_u64().unwrap()).unwrap();
    let mut positions = 0;
    for epoch in vector["epochs"].as_array().unwrap() {
        let node = NodeKey::root(&hex(&epoch["master"])).descend(&text(&epoch["path"]).parse().unwrap()).unwrap();
        let layer = node.prf_key("paired", 0).unwrap();
        let beacon = Some(bytes32(&epoch["beacon"])).filter(|beacon| *beacon != [0; 32]);
        let requests = epoch["requests"].as_array().unwrap();
        let ledger = text(&requests[0]["id"]).rsplit_once('/').unwrap().0;
        let mut tree = Frontier::default();
        for i in 0..epoch["planned"].as_u64().unwrap() {
            tree.append(merkle::leaf_hash(&RequestSecret::new(&layer, &format!("{ledger}/{i}")).leaf()));
        }
        assert_eq!(tree.root(), bytes32(&epoch["root"]));
        for request in requests {
            let secret = RequestSecret::new(&layer, text(&request["id"]));
            assert_eq!((secret.bytes(), secret.leaf()), (&bytes32(&request["secret"]), bytes32(&request["leaf"])));
            let key = RequestSecret::from_bytes(bytes32(&request["secret"]).into()).key(beacon.as_ref());
            assert_eq!(key.answer_coin() as u64, request["answer_coin"].as_u64().unwrap());
            let seeds = [Draw::First, Draw::Second].map(|draw| json!(key.answer_seed(draw)));
            assert_eq!(json!(seeds), request["answer_seeds"]);
            for row in request["positions"].as_array().unwrap() {
                let at = number(&row["position"]);
                let law: Vec<(u32, f64)> = serde_json::from_value(row["ln_p"].clone()).unwrap();
                let (ids, logits): (Vec<u32>, Vec<f32>) = law.iter().map(|&(id, ln_p)| (id, ln_p as f32)).unzip();
                let words = [Draw::First, Draw::Second]
                    .map(|draw| ids.iter().map(|&id| key.word(at, draw, id).unwrap()).collect::<Vec<_>>());
                assert_eq!(json!(words), row["words"]);
                assert_eq!(key.coin(at) as u64, row["coin"].as_u64().unwrap());
                let found = key.candidates(at, &ids, &logits).unwrap();
                assert_eq!((found.served, found.withheld), (number(&row["served"]), number(&row["withheld"])));
                positions += 1;
            }
        }
    }
    assert_eq!(positions, 45);
    for row in vector["tails"].as_array().unwrap() {
        let weights: Vec<i64> = serde_json::from_value(row["weights"].clone()).unwrap();
        let signs: Vec<i64> = serde_json::from_value(row["signs"].clone()).unwrap();
        let mut tally = Signs::default();
        weights.iter().zip(&signs).for_each(|(weight, sign)| tally.add(weight * sign));
        let found = tally.test();
        assert_eq!((found.n, found.wins), (weights.len() as u64, row["wins"].as_u64().unwrap()));
        let expected = |name: &str| text(&row[name]).parse::<f64>().unwrap();
        assert!(close(found.log10_p_wins, expected("log10_p_sign")), "{row}");
        assert!(close(found.log10_p, expected("log10_p_weighted")), "{row}");
    }
}
