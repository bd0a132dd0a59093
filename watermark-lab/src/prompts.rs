//! Word problems from the project's own templates.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const NAMES: &[&str] = &[
    "Ada", "Ben", "Clara", "Dario", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kiri", "Lena", "Milo", "Nadia",
    "Oskar", "Paula", "Quentin", "Rosa", "Samir", "Tilda", "Uma", "Viktor", "Wanda", "Yusuf", "Zoe", "Amir", "Bianca",
    "Carlos", "Daphne", "Emil",
];

const THINGS: &[&str] = &[
    "apples",
    "pencils",
    "marbles",
    "stickers",
    "books",
    "cookies",
    "shells",
    "stamps",
    "cards",
    "flowers",
    "eggs",
    "candles",
    "toys",
    "oranges",
    "tickets",
    "buttons",
    "muffins",
    "coins",
    "balloons",
    "bracelets",
];

const PLACES: &[&str] = &[
    "the market",
    "school",
    "the fair",
    "the library",
    "the bakery",
    "the park",
    "a yard sale",
    "the beach",
    "the farm",
    "the museum",
    "camp",
    "the pet shop",
];

/// `{a}` `{b}` are names, `{t}` `{u}` things, `{p}` a place, `{n}` `{m}` `{k}` numbers.
const TEMPLATES: &[&str] = &[
    "{a} has {n} {t}. {b} gives {a} {m} more, and then {a} loses {k} of them at {p}. How many {t} does {a} have now?",
    "{a} buys {m} boxes of {t} at {p}. Each box holds {n} {t}. {a} gives {k} {t} to {b}. How many {t} are left?",
    "{a} sells {t} for ${m} each at {p}. On Monday {a} sells {n} of them and on Tuesday {k}. How much money does {a} make?",
    "{a} reads {n} pages a day and {b} reads {m} pages a day. How many pages do they read together in {k} days?",
    "There are {n} {t} on a table at {p}. {a} takes {k} and {b} takes twice as many. How many {t} stay on the table?",
    "{a} is {n} years old. {b} is {k} years older than {a}. In {m} years, how old will they be together?",
    "{a} walks {k} miles to {p} every day and the same way back. How many miles does {a} walk in {m} days?",
    "A bag of {t} costs ${k}. {a} buys {m} bags and pays with ${n}00. How much change does {a} get?",
    "{a} collects {n} {t} in spring, {m} more than that in summer, and {k} in autumn. How many {t} is that in all?",
    "{a} shares {n}0 {t} equally among {k} friends at {p} and keeps the rest. If {b} is one of the friends, how many {t} does {b} get?",
    "{a} bakes {n} {t} an hour for {k} hours and {b} bakes {m} an hour for the same time. How many more does {a} bake than {b}?",
    "A train to {p} has {k} cars with {n} seats each. {m} seats are empty. How many people are on the train?",
    "{a} earns ${n} an hour and works {k} hours a day. After {m} days, {a} buys {t} for $20. How much money is left?",
    "{a} plants {k} rows of {n} flowers near {p}. {m} of the flowers do not grow. How many flowers grow?",
    "{a} had {n} {t} and twice as many {u}. After giving {k} of each to {b}, how many things does {a} have?",
    "Every week {a} saves ${m} and {b} saves ${k}. They want to buy a game for ${n}0. How many weeks must they save?",
];

/// `n` word problems, the same for the same seed and different for different ones. A seed has some 10^9 to draw from;
/// the same problem may still occur twice.
#[must_use]
pub fn word_problems(seed: u64, n: usize) -> Vec<String> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut below = |n: usize| (rng.next_u64() % n as u64) as usize;
    let mut problems = Vec::with_capacity(n);
    for _ in 0..n {
        let template = TEMPLATES[below(TEMPLATES.len())];
        let (a, t) = (below(NAMES.len()), below(THINGS.len()));
        // Another name and another thing, never the same one twice.
        let b = (a + 1 + below(NAMES.len() - 1)) % NAMES.len();
        let u = (t + 1 + below(THINGS.len() - 1)) % THINGS.len();
        problems.push(
            template
                .replace("{a}", NAMES[a])
                .replace("{b}", NAMES[b])
                .replace("{t}", THINGS[t])
                .replace("{u}", THINGS[u])
                .replace("{p}", PLACES[below(PLACES.len())])
                .replace("{n}", &(12 + below(60)).to_string())
                .replace("{m}", &(4 + below(9)).to_string())
                .replace("{k}", &(2 + below(6)).to_string()),
        );
    }
    problems
}

/// What the models are asked: the format of their training data. A question that has it already stays as it is.
#[must_use]
pub fn prompt_text(question: &str) -> String {
    if question.starts_with("Question: ") && question.ends_with("\nAnswer:") {
        return question.to_owned();
    }
    format!("Question: {question}\nAnswer:")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn deterministic_complete_and_mostly_distinct() {
        let problems = word_problems(1, 3000);
        assert_eq!(problems, word_problems(1, 3000));
        assert_ne!(problems, word_problems(2, 3000));
        assert!(problems.iter().all(|problem| !problem.contains(['{', '}']) && problem.ends_with('?')));
        assert!(problems.iter().collect::<HashSet<_>>().len() > 2950);
    }
}
