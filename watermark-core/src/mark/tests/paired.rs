//! What paired draws promise: the candidates of the request's key, one of them served; the same text whatever drafts say; beside a layer of two
//! keys its candidates.

use super::{greenlist, marked, profile, scheme};
use crate::ErrorKind;
use crate::key::NodeKey;
use crate::mark::{MarkState, Marker, Session, SessionOptions};
use crate::paired::{Draw, RequestKey, RequestSecret};
use crate::profile::{AnyScheme, Beacon, Profile};

const VOCAB: u32 = 40;

fn row(step: usize) -> Vec<f32> {
    (0..VOCAB).map(|v| ((v as usize * 7 + step * 13) % 19) as f32 / 5.0).collect()
}

fn paired(schemes: &[(AnyScheme, usize)]) -> Profile {
    Profile { paired: Some("pairs".to_owned()), ..profile(VOCAB, &[2], schemes) }
}

fn marker(profile: Profile) -> Marker {
    Marker::new(profile, &NodeKey::root(b"pairs")).unwrap()
}

fn request(id: &str) -> SessionOptions {
    SessionOptions { request: Some(id.to_owned()), ..marked() }
}

fn key(profile: &Profile, id: &str) -> RequestKey {
    let layer = profile.paired_key(&NodeKey::root(b"pairs")).unwrap().unwrap();
    RequestSecret::new(&layer, id).key(profile.drawn_beacon().unwrap().as_ref())
}

fn generate(session: &mut Session, length: usize) {
    while session.generated().len() < length {
        let token = session.sample(&row(session.generated().len())).unwrap();
        session.accept(token).unwrap();
    }
}

/// Without another layer the candidates are those of the request's key over the row; another request draws others.
#[test]
fn candidates_are_the_requests() {
    for beacon in [Beacon::None, Beacon::Drawn([7; 32])] {
        let profile = Profile { beacon, ..paired(&[]) };
        let (marker, key) = (marker(profile.clone()), key(&profile, "ledger/test/5"));
        let mut session = marker.session(&request("ledger/test/5")).unwrap();
        generate(&mut session, 200);
        assert_eq!(session.mark_state(), MarkState::Marked);
        let ids: Vec<u32> = (0..VOCAB).collect();
        let mut other = 0;
        for (at, (&served, &withheld)) in session.generated().iter().zip(session.withheld()).enumerate() {
            let found = key.candidates(u32::try_from(at).unwrap(), &ids, &row(at)).unwrap();
            assert_eq!((found.served, Some(found.withheld)), (served, withheld));
            other += u32::from(found.served != found.withheld);
        }
        assert!(other > 100, "{other}");
        let mut another = marker.session(&request("ledger/test/6")).unwrap();
        generate(&mut another, 200);
        assert_ne!(another.generated(), session.generated());
    }
}

/// Given the key of a green list, what is served has the law that the list has left, jointly over positions: 50,000 requests, two tokens
/// of five each. Chi-square of 24 degrees of freedom; 59 has a chance of 1e-4. The withheld tokens of the first position have it too.
#[test]
fn what_is_served_has_the_law_given_all_other_keys() {
    let marker = marker(paired(&[(greenlist(), 1)]));
    let mut few = row(0);
    few.iter_mut().enumerate().for_each(|(at, logit)| {
        if !(5..10).contains(&at) {
            *logit = f32::NEG_INFINITY;
        }
    });
    let law = |generated: &[u32]| -> Vec<f64> {
        let mut session = marker.session(&request("ledger/test/law")).unwrap();
        generated.iter().for_each(|&token| session.accept(token).unwrap());
        let mut bent = few.clone();
        session.process(&mut bent).unwrap();
        let weights: Vec<f64> = bent.iter().map(|&logit| libm::exp(f64::from(logit))).collect();
        let total: f64 = weights.iter().sum();
        weights[5..10].iter().map(|weight| weight / total).collect()
    };
    let n = 50_000;
    let mut joint = [[0u32; 5]; 5];
    let mut withheld = [0u32; 5];
    for number in 0..n {
        let mut session = marker.session(&request(&format!("ledger/test/{number}"))).unwrap();
        // The green list needs a token before it bends a row.
        session.accept(7).unwrap();
        for _ in 0..2 {
            let token = session.sample(&few).unwrap();
            session.accept(token).unwrap();
        }
        let [_, first, second] = session.generated() else { panic!("three tokens") };
        joint[*first as usize - 5][*second as usize - 5] += 1;
        withheld[session.withheld()[1].unwrap() as usize - 5] += 1;
    }
    let square = |seen: u32, p: f64| {
        let expected = p * f64::from(n);
        (f64::from(seen) - expected).powi(2) / expected
    };
    let first = law(&[7]);
    let mut bends = 0.0f64;
    let mut chi_square = 0.0;
    for (token, (seen, p)) in (5..).zip(joint.iter().zip(&first)) {
        let second = law(&[7, token]);
        bends = second.iter().zip(&first).map(|(a, b)| (a - b).abs()).fold(bends, f64::max);
        chi_square += seen.iter().zip(&second).map(|(&seen, q)| square(seen, p * q)).sum::<f64>();
    }
    assert!(chi_square < 59.0, "{chi_square} {joint:?}");
    // The list is at work, or this would show nothing.
    assert!(bends > 0.1, "{bends}");
    let chi_square: f64 = withheld.iter().zip(&first).map(|(&seen, &p)| square(seen, p)).sum();
    assert!(chi_square < 23.6, "{chi_square} {withheld:?}");
}

/// Beside a layer of two keys its draws are the candidates, where it has a context that it has not used; the coin is the request's.
#[test]
fn a_layer_of_two_keys_draws_the_candidates() {
    let dual = scheme("gumbel_dual_key", &[("alpha", 0.5)]);
    let profile = paired(&[(dual, 2)]);
    let alone = Profile { paired: None, ..profile.clone() };
    let key = key(&profile, "1");
    let [mut session, mut plain] = [(marker(profile), request("1")), (marker(alone), marked())]
        .map(|(marker, options)| marker.session(&options).unwrap());
    let ids: Vec<u32> = (0..VOCAB).collect();
    let (mut of_layer, mut ordinary) = (0, 0);
    for at in 0..300 {
        let served = session.sample(&row(at)).unwrap();
        let drawn = plain.sample(&row(at)).unwrap();
        session.accept(served).unwrap();
        let withheld = session.withheld()[at].unwrap();
        if plain.mark_state() == MarkState::Marked {
            // Whichever key the plain session draws under, its token is one of the two.
            assert!(drawn == served || drawn == withheld, "{at}");
            of_layer += 1;
        } else {
            let found = key.candidates(u32::try_from(at).unwrap(), &ids, &row(at)).unwrap();
            assert_eq!((found.served, found.withheld), (served, withheld));
            ordinary += 1;
        }
        plain.accept(served).unwrap();
    }
    assert!(of_layer > 100 && ordinary > 10, "{of_layer} {ordinary}");
    let coins = (0..300).filter(|&at| key.coin(at) == Draw::Second).count();
    assert!((110..190).contains(&coins), "{coins}");
}

/// Drafts change neither text nor what is withheld; what is taken back is drawn again.
#[test]
fn drafts_and_rollback_change_nothing() {
    let dual = scheme("gumbel_dual_key", &[("alpha", 0.5)]);
    let kinds: [&[(AnyScheme, usize)]; 3] = [&[], &[(greenlist(), 1)], &[(dual, 2)]];
    for schemes in kinds {
        let marker = marker(paired(schemes));
        let mut plain = marker.session(&request("7")).unwrap();
        generate(&mut plain, 120);
        let mut drafted = marker.session(&request("7")).unwrap();
        let mut accepted = 0;
        while drafted.generated().len() < 120 {
            let at = drafted.generated().len();
            for i in 0..3 {
                drafted.draft(&row(at + i)).unwrap();
            }
            let rows: Vec<f32> = (0..=3).flat_map(|i| row(at + i)).collect();
            accepted += drafted.verify(&rows).unwrap() - 1;
        }
        assert_eq!(drafted.generated()[..120], plain.generated()[..120]);
        assert_eq!(drafted.withheld()[..120], plain.withheld()[..120]);
        // The draft model is the target, so all of its tokens hold.
        assert!(accepted >= 90, "{accepted}");
        let (text, withheld) = (plain.generated().to_vec(), plain.withheld().to_vec());
        plain.rollback(50);
        assert_eq!(plain.withheld().len(), 70);
        generate(&mut plain, 120);
        assert_eq!((plain.generated(), plain.withheld()), (text.as_slice(), withheld.as_slice()));
        // A copy is another answer, which has no request.
        assert!(plain.fork().withheld().is_empty());
        // A token that was not drawn shows nothing.
        let drawn = plain.sample(&row(120)).unwrap();
        plain.accept((drawn + 1) % VOCAB).unwrap();
        assert_eq!(plain.withheld()[120], None);
        // Nor does one that the engine drew after `process`, even where it is the one that was drawn before.
        let drawn = plain.sample(&row(121)).unwrap();
        plain.process(&mut row(121)).unwrap();
        plain.accept(drawn).unwrap();
        assert_eq!(plain.withheld()[121], None);
        plain.reset();
        assert!(plain.withheld().is_empty());
    }
}

#[test]
fn requests_are_named_where_they_are_needed() {
    let kind =
        |marker: &Marker, options: &SessionOptions| marker.session(options).map(|_| ()).map_err(|error| error.kind());
    let with = marker(paired(&[(greenlist(), 1)]));
    let without = marker(profile(VOCAB, &[], &[(greenlist(), 1)]));
    assert_eq!(kind(&with, &request("1")), Ok(()));
    assert_eq!(kind(&with, &marked()), Err(ErrorKind::MissingInput));
    assert_eq!(kind(&with, &request("")), Err(ErrorKind::InvalidParameter));
    assert_eq!(kind(&without, &request("1")), Err(ErrorKind::InvalidParameter));
    // An unmarked session draws no pairs, whoever asks.
    let unmarked = SessionOptions { marked: false, ..marked() };
    assert_eq!(
        (kind(&with, &unmarked), kind(&with, &SessionOptions { marked: false, ..request("1") })),
        (Ok(()), Ok(()))
    );
    let awaiting = Profile { beacon: Beacon::Awaited, ..paired(&[]) };
    assert_eq!(Marker::new(awaiting, &NodeKey::root(b"pairs")).unwrap_err().kind(), ErrorKind::MissingInput);
    // At temperature 0 both candidates are the same, and nothing is marked.
    let mut options = request("1");
    options.sampling.temperature = 0.0;
    let mut greedy = marker(paired(&[])).session(&options).unwrap();
    generate(&mut greedy, 20);
    assert_eq!(greedy.mark_state(), MarkState::Greedy);
    assert!(greedy.generated().iter().zip(greedy.withheld()).all(|(token, withheld)| *withheld == Some(*token)));
}
