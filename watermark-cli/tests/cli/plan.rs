use crate::support::Folder;

/// What is measured is planned, more evidence needs fewer tokens, and nothing is extrapolated.
#[test]
fn tokens_power_and_budgets() {
    let folder = Folder::new();
    let plan =
        "plan --share 1 --share 0.5 --json --tokens-per-answer 100 --price-completion 10 --answers-per-minute 30";
    let lines = folder.line(plan).expect(0).json();
    // reading has no fixed sample
    assert_eq!(lines.len(), 7 * 2);
    let median = |line: &serde_json::Value| line["tokens_median"].as_u64().unwrap_or(u64::MAX);
    for pair in lines.chunks(2) {
        assert!(median(&pair[0]) <= median(&pair[1]), "{pair:?}");
        let tokens = [&pair[0]["tokens_median"], &pair[0]["tokens_80"], &pair[0]["tokens_95"]].map(|n| n.as_u64());
        assert!(tokens.is_sorted() && tokens[0].is_some(), "{pair:?}");
        let prompts = pair[0]["prompts_80"].as_f64().unwrap();
        assert!((pair[0]["cost_80"].as_f64().unwrap() - prompts * 1e-3).abs() < 1e-9);
        assert!((pair[0]["minutes_80"].as_f64().unwrap() - prompts / 30.0).abs() < 1e-9);
    }
    // Stricter levels and more tests in the family need more.
    let median_with = |more: &str| {
        median(&folder.line(&format!("plan --access answers --share 1 --json {more}")).expect(0).json()[0])
    };
    assert!(median_with("") < median_with("--alpha 1e-12") && median_with("") < median_with("--family 24000"));
    let small = folder.line("plan --access answers --share 0.1 --json").expect(0).json();
    assert!(small[0]["tokens_80"]["more_than"].as_u64().is_some(), "{small:?}");
    let budget = folder.line("plan --access reading --budget-tokens 7000 --json").expect(0).json();
    let share = budget[0]["share_80"].as_f64().unwrap();
    assert!(share > 0.2 && share < 0.75, "{budget:?}");

    // A layer that was measured, and one that was not.
    folder.line("profile new --distillation mcmark --provenance none --out mcmark.json").expect(0);
    assert!(median_with("--profile mcmark.json") > median_with(""));
    folder.line("profile new --distillation tournament --provenance none --out tournament.json").expect(0);
    folder.line("plan --profile tournament.json").fails_with(&["was not measured"]);
    folder.line("plan --profile mcmark.json --reference base").fails_with(&["beside references only the green list"]);
    folder.line("plan --share 0.001").fails_with(&["outside what was measured"]);
    folder.line("plan --alpha 0").fails_with(&["alpha is 0; it must be between 0 and 1"]);
    folder.line("plan --access answers --plot power.svg").expect(0);
    assert!(folder.read("power.svg").contains("share 0.5"));
    folder.line("plan --access answers --plot power.svg").fails_with(&["not overwritten"]);
}

/// Beside a reference a test shows small shares in fewer tokens: in fewest beside the model that wrote the marked answers.
#[test]
fn beside_references() {
    let folder = Folder::new();
    let plan = |more: &str| folder.line(&format!("plan --json {more}")).expect(0).json();
    let median = |line: &serde_json::Value| line["tokens_median"].as_u64().unwrap_or(u64::MAX);
    let of = |reference: &str| plan(&format!("--access answers --share 0.2 --reference {reference}")).remove(0);
    let [base, teacher, answers] = ["base", "teacher", "answers"].map(of);
    assert_eq!([&teacher["reference"], &teacher["sample"]], ["teacher", "fixed"]);
    assert!(median(&teacher) < median(&base) && median(&base) < u64::MAX, "{teacher} {base}");
    assert!(median(&answers) < u64::MAX, "{answers}");
    assert!(plan("--access answers --share 0.2")[0]["reference"].is_null());
    let kinds: std::collections::BTreeSet<String> =
        plan("--reference teacher").iter().map(|line| line["access"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["answers", "logprobs", "weights"]);
    let shows = plan("--reference base --access answers --budget-tokens 20000").remove(0);
    assert!(shows["share_80"].as_f64().unwrap() <= 0.5, "{shows}");
    let table = folder.line("plan --reference teacher").expect(0);
    assert!(table.stdout.contains("beside our own model without marks"), "{table:?}");
    folder.line("plan --reference teacher --access reading").fails_with(&["was not measured"]);
}
