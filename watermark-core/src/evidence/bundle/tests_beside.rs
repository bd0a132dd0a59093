#![allow(clippy::unwrap_used, reason = "tests")]
use base64ct::{Base64, Encoding};
use serde_json::Value;

use super::tests::{PROFILE, signed, statement_beside};
use super::*;
use crate::ErrorKind;
use crate::detect::Weights;

/// Each rule about references by its code.
#[test]
fn codes_beside_references() {
    let beside = || statement_beside(PROFILE, None, None, &[9, 11]);
    let code = |change: &dyn Fn(&mut Statement)| {
        let mut statement = beside();
        change(&mut statement);
        verify(&signed(&statement.payload().unwrap())).faults.first().map(|fault| fault.code)
    };
    assert_eq!(code(&|_| ()), None);
    let names: Vec<ConditionName> = beside().predicate.conditions.iter().map(|condition| condition.name).collect();
    assert_eq!(names, ConditionName::OF_ANSWERS);
    fn models(statement: &mut Statement) -> &mut Vec<ReferenceEvidence> {
        &mut statement.predicate.references.as_mut().unwrap().models
    }
    fn residuals(statement: &mut Statement) -> &mut ResidualsEvidence {
        statement.predicate.suspect.residuals.as_mut().unwrap()
    }
    assert_eq!(code(&|s| s.predicate.suspect.residuals = None), Some(Code::Registered));
    assert_eq!(code(&|s| s.predicate.references = None), Some(Code::Registered));
    assert_eq!(code(&|s| models(s)[0].model = "another".to_owned()), Some(Code::Registered));
    assert_eq!(code(&|s| s.subject[3].digest.sha256 = Digest([1; 32])), Some(Code::Registered));
    assert_eq!(code(&|s| s.predicate.suspect.stopped = true), Some(Code::Registered));
    assert_eq!(code(&|s| models(s)[1].records = s.predicate.suspect.records), Some(Code::Subject));
    assert_eq!(code(&|s| residuals(s).mixture[0] += 1), Some(Code::Tally));
    assert_eq!(code(&|s| residuals(s).mixture = vec![16]), Some(Code::Tally));
    assert_eq!(code(&|s| residuals(s).classes[0].weight -= 1), Some(Code::Tally));
    assert_eq!(code(&|s| residuals(s).classes.reverse()), Some(Code::Tally));
    assert_eq!(code(&|s| residuals(s).classes[0].pairs = 0), Some(Code::Schema));
    assert_eq!(code(&|s| s.predicate.suspect.log10_p -= 1.0), Some(Code::Tail));
    assert_eq!(code(&|s| s.predicate.references.as_mut().unwrap().log10_p -= 1.0), Some(Code::Tail));
    fn expected(statement: &mut Statement) -> &mut Vec<ExpectedEvidence> {
        &mut statement.predicate.references.as_mut().unwrap().expected
    }
    assert_eq!(code(&|s| expected(s)[0].log10_p -= 1.0), Some(Code::Tail));
    assert_eq!(code(&|s| expected(s)[2].log10_p = 0.25), Some(Code::Tail));
    assert_eq!(code(&|s| expected(s)[0].classes[0].pairs = 0), Some(Code::Schema));
    // The audit of a reference that leans cannot be left out.
    assert_eq!(code(&|s| expected(s).truncate(1)), Some(Code::Tally));
    assert_eq!(code(&|s| models(s)[0].n_prompts = 4), Some(Code::Tally));
    // A control's mixture is the suspect's.
    let own_mixture = |s: &mut Statement| {
        let mixture = &mut s.predicate.controls[0].residuals.as_mut().unwrap().mixture;
        *mixture = if mixture[0] == 16 { vec![15, 1] } else { vec![16, 0] };
    };
    assert_eq!(code(&own_mixture), Some(Code::Tally));
    assert_eq!(code(&|s| s.predicate.references.as_mut().unwrap().agree = false), Some(Code::Verdict));

    // Residual weights and references go together, in a test whose size is fixed.
    let registered = |change: &dyn Fn(&mut Registration)| {
        let envelope: Value = serde_json::from_slice(&beside().predicate.registration.bytes().unwrap()).unwrap();
        let payload = Base64::decode_vec(envelope["payload"].as_str().unwrap()).unwrap();
        let mut registration: Registration = serde_json::from_slice(&payload).unwrap();
        change(&mut registration);
        registration.payload().map_err(|error| error.kind())
    };
    assert!(registered(&|_| ()).is_ok());
    let refused: [&dyn Fn(&mut Registration); 6] = [
        &|r| r.weights = Weights::Sqrt,
        &|r| r.references.clear(),
        &|r| r.stopping = Stopping::EProcess,
        &|r| r.references[1].model = "suspect".to_owned(),
        &|r| r.references[1].sha256 = r.references[0].sha256,
        &|r| {
            let one = r.references[0].clone();
            r.references =
                (0..17).map(|at| RegisteredReference { model: at.to_string(), sha256: Digest([at; 32]) }).collect();
            r.references[0] = one;
        },
    ];
    for change in refused {
        assert_eq!(registered(change), Err(ErrorKind::InvalidEvidence));
    }
}
