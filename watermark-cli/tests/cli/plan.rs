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
    folder.line("plan --share 0.001").fails_with(&["outside what was measured"]);
    folder.line("plan --alpha 0").fails_with(&["alpha is 0; it must be between 0 and 1"]);
    folder.line("plan --access answers --plot power.svg").expect(0);
    assert!(folder.read("power.svg").contains("share 0.5"));
    folder.line("plan --access answers --plot power.svg").fails_with(&["not overwritten"]);
}
