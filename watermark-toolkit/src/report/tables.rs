use serde::Serialize;
use watermark_core::detect::{Verdict, Weights};
use watermark_core::evidence::PublicKey;
use watermark_core::evidence::bundle::{Bundle, ConditionName, ReferenceEvidence, SampleEvidence, Standing, Stopping};
use watermark_core::hex;
use watermark_core::model_test::MIXTURE_PARTS;

use super::Insight;
use super::draw::short;
use super::number::grouped;
use crate::evidence::ConditionFound;

/// Rows of one table; a bundle may hold more.
const MOST_ROWS: usize = 500;

/// A table whose first column names its rows.
#[derive(Serialize)]
pub(super) struct Table {
    caption: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    /// Whether its cells are numbers.
    numbers: bool,
    /// Whether it is long and needs little width.
    narrow: bool,
    /// Rows left out.
    more: usize,
}

impl Table {
    pub(super) fn new<const N: usize>(
        caption: &str,
        head: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) -> Self {
        let mut rows = rows.into_iter().map(Vec::from);
        Self {
            caption: caption.to_owned(),
            head: head.map(str::to_owned).to_vec(),
            rows: rows.by_ref().take(MOST_ROWS).collect(),
            numbers: false,
            narrow: false,
            more: rows.count(),
        }
    }

    pub(super) fn of_numbers(self) -> Self {
        Self { numbers: true, ..self }
    }
}

/// Suspect and controls with their names.
fn samples(bundle: &Bundle) -> impl Iterator<Item = (String, &SampleEvidence)> {
    bundle.samples().enumerate().map(|(at, sample)| {
        (format!("{} ({})", short(&sample.model), if at == 0 { "suspect" } else { "control" }), sample)
    })
}

/// What the verdict is conditioned on.
pub(super) fn conditions(conditions: &[ConditionFound]) -> Table {
    let rows = conditions.iter().map(|condition| {
        let standing = match condition.standing {
            Standing::Holds => "holds",
            Standing::Word => "somebody’s word",
            Standing::Fails => "contradicted",
        };
        [condition_name(condition.name).to_owned(), standing.to_owned(), condition.says.clone()]
    });
    Table::new("Conditions of the verdict", ["Condition", "Standing", "Why"], rows)
}

fn condition_name(name: ConditionName) -> &'static str {
    match name {
        ConditionName::KeyBound => "Key bound before the data",
        ConditionName::KeyNotGround => "Key and profile not fitted to known answers",
        ConditionName::PromptsFreeOfKey => "Prompts free of the key",
        ConditionName::TokensRecomputed => "Ids, counts and scores made from the texts again",
        ConditionName::ControlsBound => "Controls bound before",
        ConditionName::ReferencesBound => "References bound before",
        ConditionName::CollectionWitnessed => "Collection witnessed",
        ConditionName::RegisteredBeforeData => "Registered before the data",
        ConditionName::LedgerBound => "Candidates and accounts bound before",
        ConditionName::DrawsBlind => "Candidates drawn without the coins",
        ConditionName::EarlierAnalyses => "Analyses and commitments complete",
    }
}

pub(super) fn timeline(bundle: &Bundle, stamps: &[Option<String>; 2]) -> Table {
    let predicate = &bundle.statement.predicate;
    let given = &predicate.time_stamps;
    let stamp = |given: &Option<String>, at: usize| match (given, &stamps[at]) {
        (None, _) => "the signer’s own clock".to_owned(),
        (Some(_), None) => {
            "the signer’s own clock; a time stamp by others is in the bundle and was not checked here".to_owned()
        }
        (Some(_), Some(time)) => format!("a time stamp by others says {time}"),
    };
    let mut rows = vec![
        [bundle.head.signed_at.clone(), "The key was committed to".to_owned(), stamp(&given.head, 0)],
        [
            bundle.registration.registered_at.to_string(),
            "The test was registered".to_owned(),
            stamp(&given.registration, 1),
        ],
    ];
    for (name, sample) in samples(bundle) {
        rows.push(match &sample.collected {
            Some(times) => [
                format!("{} to {}", times.first, times.last),
                format!("Answers of {name} were collected"),
                "stated in the answer file".to_owned(),
            ],
            None => [
                "not stated".to_owned(),
                format!("Answers of {name} were collected"),
                "the signer’s word only".to_owned(),
            ],
        });
    }
    let signed = predicate.signed_at.to_string();
    rows.push([signed, "This evidence was signed".to_owned(), "the signer’s own clock".to_owned()]);
    Table::new("What happened when (UTC)", ["When", "What", "Who says so"], rows)
}

pub(super) fn registration(bundle: &Bundle) -> Table {
    let registered = &bundle.registration;
    let controls = if registered.controls.is_empty() {
        "none".to_owned()
    } else {
        registered.controls.iter().map(|name| short(name)).collect::<Vec<_>>().join(", ")
    };
    let references = if registered.references.is_empty() {
        "none".to_owned()
    } else {
        registered.references.iter().map(|reference| short(&reference.model)).collect::<Vec<_>>().join(", ")
    };
    let weights = match registered.weights {
        Weights::Sqrt => "the square root of how often a pair occurred",
        Weights::Expected => "the square root of how often a pair was expected",
        Weights::None => "every distinct pair once",
        Weights::Residual => "what the model wrote beyond what the references expect",
    };
    let stopping = match registered.stopping {
        Stopping::Fixed => "one answer to every prompt; the p-value decides",
        Stopping::EProcess => "collection may stop after any prompt; the e-value decides",
    };
    let count = grouped(registered.prompts.count);
    let asked = match &registered.prompts.draw {
        None => format!("{count} prompts that were chosen already, in a fixed order"),
        Some(draw) => format!(
            "{count} of a pool of {}, drawn by round {} of {}",
            grouped(draw.pool.count),
            draw.beacon.round,
            draw.beacon.source
        ),
    };
    let rows = [
        ("Suspect", registered.suspect.clone()),
        ("Controls", controls),
        ("References", references),
        ("Access", "answers, as text".to_owned()),
        ("Prompts", asked),
        ("Stopping rule", stopping.to_owned()),
        ("Weights", weights.to_owned()),
        ("Level of the verdict", format!("{:?}", registered.alpha)),
        ("Fresh keys to compare with", grouped(registered.resample.into())),
        ("Layer of the mark", registered.layer.clone()),
        ("Path of the key", registered.key.path.clone()),
        ("Its place", format!("leaf {} of {} committed keys", registered.key.index, registered.key.tree_size)),
    ];
    Table::new("What was registered", ["Field", "Value"], rows.map(|(name, value)| [name.to_owned(), value]))
}

pub(super) fn earlier(bundle: &Bundle) -> Table {
    let rows = (1_u64..).zip(&bundle.statement.predicate.earlier).map(|(at, earlier)| {
        let evidence = earlier.evidence_sha256.map_or_else(|| "none".to_owned(), |digest| digest.to_string());
        let verdict = earlier.verdict.map_or("nothing was run, says the signer", Verdict::as_str).to_owned();
        [at.to_string(), verdict, earlier.registration_sha256.to_string(), evidence]
    });
    let mut table = Table::new(
        "Earlier registered tests of this suspect",
        ["Test", "What came of it", "SHA-256 of its registration", "SHA-256 of its evidence"],
        rows,
    );
    if table.rows.is_empty() {
        table.rows.push(["none is named", "", "", ""].map(str::to_owned).to_vec());
    }
    table
}

pub(super) fn results(bundle: &Bundle) -> Table {
    let rows = samples(bundle).map(|(name, sample)| {
        let numbers = [sample.log10_p, sample.log10_p_distinct, sample.ln_e].map(|value| format!("{value:?}"));
        let [p, distinct, e] = numbers;
        [name, grouped(sample.records.count), grouped(sample.n_empty), grouped(sample.n_scored), p, distinct, e]
    });
    let head = ["Model", "Answers", "Without text", "Distinct pairs", "log10_p", "log10_p_distinct", "ln_e"];
    Table::new("The tests", head, rows).of_numbers()
}

pub(super) fn counts(bundle: &Bundle) -> Table {
    let rows = samples(bundle).map(|(name, sample)| {
        let [a, b, c, d, e] =
            [sample.tokens, sample.n_scored, sample.n_duplicate, sample.n_excluded, sample.n_short_context]
                .map(grouped);
        [name, a, b, c, d, e]
    });
    let head = ["Model", "tokens", "n_scored", "n_duplicate", "n_excluded", "n_short_context"];
    Table::new("What became of every token", head, rows).of_numbers()
}

pub(super) fn sums(bundle: &Bundle) -> Table {
    let rows = samples(bundle).map(|(name, sample)| {
        [
            name,
            sample.score.0.to_string(),
            sample.statistic.0.to_string(),
            sample.weight.0.to_string(),
            sample.stopped.to_string(),
        ]
    });
    Table::new("Sums over the pairs", ["Model", "score", "statistic", "weight", "stopped"], rows).of_numbers()
}

pub(super) fn decision(bundle: &Bundle) -> Table {
    let predicate = &bundle.statement.predicate;
    let fresh = &predicate.resampling;
    let exceedances = format!("{} of {}", grouped(fresh.at_least), grouped(fresh.keys));
    let rows = [
        ("decided_by", predicate.decided_by.as_str().to_owned()),
        ("log10 p that decides", format!("{:?}", bundle.conclusion().log10_p)),
        ("log10 of the level", format!("{:?}", bundle.registration.level().log10())),
        ("Fresh keys at least as strong", exceedances),
        ("Seed of the fresh keys", fresh.seed.to_string()),
        ("resampling_agrees", predicate.resampling_agrees.to_string()),
        ("controls_agree", predicate.controls_agree.to_string()),
        ("answers_present", predicate.answers_present.to_string()),
        ("Committed keys, by which the level is divided", predicate.family.size.to_string()),
        ("exclusion_agrees", predicate.exclusion_agrees.to_string()),
        (
            "references.agree",
            predicate.references.as_ref().map_or_else(
                || "no references".to_owned(),
                |found| format!("{}: log10 p of leaning away from the key {:?}", found.agree, found.log10_p),
            ),
        ),
        ("verdict", predicate.verdict.as_str().to_owned()),
    ];
    Table::new("How the verdict follows", ["Number", "Value"], rows.map(|(name, value)| [name.to_owned(), value]))
}

pub(super) fn rules(bundle: &Bundle) -> Table {
    let rules = &bundle.statement.predicate.rules;
    let rows = [
        ("Context", &rules.context),
        ("Repeats", &rules.dedup),
        ("Not counted", &rules.exclusion),
        ("Filter", &rules.filter),
    ];
    Table::new("What counts", ["Rule", "In words"], rows.map(|(name, value)| [name.to_owned(), value.clone()]))
}

pub(super) fn layer(bundle: &Bundle) -> Table {
    use watermark_core::scheme::Scheme;
    let (layer, info) = (&bundle.layer, &bundle.profile.tokenizer);
    let mut rows = vec![
        ("Profile", bundle.profile.name.clone()),
        ("Layer", layer.name.clone()),
        ("Scheme", layer.scheme.name().to_owned()),
        ("Context width in tokens", layer.width.to_string()),
        ("PRF", "chacha20-v1".to_owned()),
        ("Tokenizer SHA-256", hex::encode(&info.sha256)),
        ("vocab_size", grouped(info.vocab_size.into())),
    ];
    if let Some(Scheme::Greenlist(scheme)) = layer.scheme.own() {
        rows.insert(3, ("gamma (share of the list by chance)", format!("{:?}", scheme.gamma())));
    }
    Table::new("The mark", ["Field", "Value"], rows.into_iter().map(|(name, value)| [name.to_owned(), value]))
}

/// Distinct pairs by how often they occurred, one table a model.
pub(super) fn classes(bundle: &Bundle) -> Vec<Table> {
    let class_table = |(name, sample): (String, &SampleEvidence)| {
        let rows = sample.classes.iter().map(|class| [class.count, class.pairs].map(grouped)).zip(&sample.classes);
        let rows = rows.map(|([count, pairs], class)| [count, pairs, class.score.0.to_string()]);
        let table = Table::new(&format!("Classes of {name}"), ["count", "pairs", "score"], rows).of_numbers();
        Table { narrow: true, ..table }
    };
    let residual_table = |(name, sample): (String, &SampleEvidence)| {
        let classes = &sample.residuals.as_ref()?.classes;
        let rows =
            classes.iter().map(|class| [class.weight.to_string(), grouped(class.pairs), class.score.0.to_string()]);
        let caption = format!("Classes of {name} beyond the references, by weight in units of 1 / 65,536");
        Some(Table { narrow: true, ..Table::new(&caption, ["weight", "pairs", "score"], rows).of_numbers() })
    };
    // Each is as long as a page: those of many controls are in the bundle.
    let beyond = samples(bundle).take(9).filter_map(residual_table);
    beyond.chain(samples(bundle).take(9).map(class_table)).collect()
}

/// The references beside the suspect; `None` for a test without any.
pub(super) fn references(bundle: &Bundle) -> Option<Table> {
    let predicate = &bundle.statement.predicate;
    let (references, residuals) = (predicate.references.as_ref()?, predicate.suspect.residuals.as_ref()?);
    // Where one reference has all the share, the mixture's number is its own.
    let (first, each) = references.expected.split_first()?;
    let mut own = each.iter().chain(each.is_empty().then_some(first));
    let rows = references.models.iter().zip(&residuals.mixture).map(|(reference, share)| {
        let ReferenceEvidence { model, records, n_prompts, n_empty, tokens } = reference;
        let [answers, prompts, empty, tokens] = [records.count, *n_prompts, *n_empty, *tokens].map(grouped);
        let own = if *share > 0 { own.next() } else { None };
        let lean = own.map_or_else(|| "-".to_owned(), |own| format!("{:.2}", own.log10_p));
        [short(model), answers, prompts, empty, tokens, format!("{share} of {MIXTURE_PARTS}"), lean]
    });
    let head = [
        "Reference",
        "Answers",
        "To prompts",
        "Without text",
        "tokens",
        "Share of what is expected",
        "log10 p of its lean",
    ];
    Some(Table::new("Unmarked models beside the suspect", head, rows).of_numbers())
}

/// Fresh keys in order of strength, at some ranks.
pub(super) fn fresh_keys(insight: &Insight) -> Option<Table> {
    let mut sorted = insight.fresh_log10_p.clone();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let at = |percent: usize| sorted[last * percent / 100];
    let rows = [("strongest", 0), ("1 %", 1), ("10 %", 10), ("median", 50), ("90 %", 90), ("weakest", 100)];
    let rows = rows.map(|(name, percent)| [name.to_owned(), format!("{:?}", at(percent))]);
    Some(
        Table::new("log10_p under the fresh keys (recomputed from the answers)", ["Rank", "log10_p"], rows)
            .of_numbers(),
    )
}

pub(super) fn files(bundle: &Bundle) -> Table {
    let tested = samples(bundle).map(|(name, sample)| (name, &sample.records, sample.collection.as_str()));
    let references = bundle.references().iter();
    let references =
        references.map(|one| (format!("{} (reference)", short(&one.model)), &one.records, "bound by its digest"));
    let subjects = bundle.statement.subject.iter().zip(tested.chain(references));
    let rows = subjects.map(|(subject, (name, records, collection))| {
        [
            name,
            subject.name.clone(),
            subject.digest.sha256.to_string(),
            records.sha256.to_string(),
            collection.to_owned(),
        ]
    });
    let head = ["Model", "Answer file", "Its SHA-256", "SHA-256 of its records file", "Collection"];
    Table::new("Answer files", head, rows)
}

pub(super) fn digests(bundle: &Bundle) -> Table {
    let (registered, predicate) = (&bundle.registration, &bundle.statement.predicate);
    let mut rows = vec![
        ("Profile".to_owned(), registered.profile_sha256.to_string()),
        ("Signed head of the key commitments".to_owned(), registered.key.head_sha256.to_string()),
        (format!("Root of the {} key commitments", grouped(bundle.head.size)), hex::encode(&bundle.head.root)),
        (
            format!("Commitment to the key, at index {}", grouped(registered.key.index)),
            predicate.key.leaf.commitment.to_string(),
        ),
        ("Root of the prompts".to_owned(), predicate.prompts.root.to_string()),
    ];
    for (name, sample) in samples(bundle) {
        rows.push((format!("Root of the records of {name}"), sample.records.root.to_string()));
        rows.push((format!("Root of the prompts of {name}"), sample.prompts_root.to_string()));
    }
    for reference in bundle.references() {
        let name = short(&reference.model);
        rows.push((format!("Root of the records of {name} (reference)"), reference.records.root.to_string()));
    }
    Table::new("Digests", ["Of what", "SHA-256"], rows.into_iter().map(|(name, value)| [name, value]))
}

pub(super) fn signers(bundle: &Bundle) -> Table {
    let rows = ["Evidence", "Registration", "Key commitments"].into_iter().zip(&bundle.signers);
    let rows = rows.map(|(what, key): (_, &PublicKey)| [what.to_owned(), key.to_hex()]);
    Table::new("Who signed (Ed25519 public keys)", ["What", "Public key"], rows)
}
