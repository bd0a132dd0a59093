//! A client who turns the temperature down to 0, or top-p, switches a green list off that boosts after the temperature, and does not
//! where it boosts before (papers/sampling). Here at a size that an ordinary run can pay; measured were -0.1, -0.1 and
//! -48.1 greedy, and 0.0, -0.8 and -68.5 at top-p .3.
#![allow(clippy::unwrap_used, reason = "tests")]

use watermark_core::mark::Sampling;
use watermark_core::profile::Boost;
use watermark_radioactivity::lab::{Lab, SAMPLING};
use watermark_radioactivity::sampling::{Setting, cell};

#[test]
fn a_boost_before_the_temperature_survives_low_temperatures() {
    let folder = std::env::temp_dir().join(format!("watermark-attacks-sampling-{}", std::process::id()));
    let lab = Lab::new(folder.clone()).unwrap();
    let log10_p = |setting, sampling| cell(&lab, setting, sampling, 9, 40).unwrap().log10_p;
    let (after, before) = (Setting::Greenlist(Boost::AfterTemperature), Setting::Greenlist(Boost::BeforeTemperature));
    let greedy = Sampling { temperature: 0.0, ..SAMPLING };
    let narrow = Sampling { top_p: Some(0.3), ..SAMPLING };
    for sampling in [greedy, narrow] {
        let [unmarked, after, before] = [Setting::Unmarked, after, before].map(|setting| log10_p(setting, sampling));
        assert!(unmarked > -3.0 && after > -3.0 && before < -20.0, "{sampling:?}: {unmarked} {after} {before}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}
