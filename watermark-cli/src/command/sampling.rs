use watermark_core::profile::{Boost, Layer, Profile, SamplingPolicy};

/// What a new profile holds its clients' requests to.
#[derive(clap::Args)]
pub(crate) struct SamplingArgs {
    /// Where the boost of the distillation layer is applied
    ///
    /// After the temperature T, in logits before it, a boost of delta is worth T delta, so that a client who turns the temperature down
    /// turns the mark off. Before the temperature it is worth delta at any temperature, greedy decoding takes green tokens too, and
    /// top-p cuts what has been boosted. That costs likelihood below T = 1. papers/sampling has both measured.
    /// Schemes that keep the model's distribution (mcmark, dipmark, tournament, sta1) can only act after it. [default:
    /// before_temperature where the layer has a boost (greenlist, adfp), else after_temperature]
    #[arg(long, value_enum, value_name = "PLACE")]
    boost: Option<Place>,
    /// Raise lower temperatures to this one in marked answers, temperature 0 included
    ///
    /// The provenance layer draws the token and has nothing to draw from at temperature 0: this floor is what keeps its mark. A client
    /// who asks for less gets what the floor gives, and the session says that it was raised.
    #[arg(long, value_name = "T")]
    min_temperature: Option<f64>,
    /// Raise a lower top-p to this one in marked answers
    ///
    /// A top-p of .3 often leaves one token, which no key can change. Neither top-k nor min-p then leaves fewer tokens than this top-p
    /// does. Greedy decoding is a matter of --min-temperature.
    #[arg(long, value_name = "P")]
    min_top_p: Option<f64>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum Place {
    /// On what temperature and truncation leave
    AfterTemperature,
    /// On the model's own logits
    BeforeTemperature,
}

impl SamplingArgs {
    /// The policy of a profile with these layers, if it is not what a profile without one means.
    pub(crate) fn policy(&self, layers: &[Layer]) -> Option<SamplingPolicy> {
        let boost = match self.boost {
            Some(Place::AfterTemperature) => Boost::AfterTemperature,
            Some(Place::BeforeTemperature) => Boost::BeforeTemperature,
            None if layers.iter().any(|layer| layer.scheme.boosts()) => Boost::BeforeTemperature,
            None => Boost::AfterTemperature,
        };
        let policy = SamplingPolicy { boost, min_temperature: self.min_temperature, min_top_p: self.min_top_p };
        (policy != SamplingPolicy::default()).then_some(policy)
    }
}

/// What the profile's policy, or the lack of one, means for a client's request, a line each.
pub(crate) fn meaning(profile: &Profile) -> Vec<String> {
    let SamplingPolicy { boost, min_temperature, min_top_p } = profile.sampling.unwrap_or_default();
    let first = boost == Boost::BeforeTemperature;
    let boosting = profile.layers.iter().find(|layer| layer.scheme.boosts()).map(|layer| {
        let place = if first {
            "before the temperature, so greedy answers are marked"
        } else {
            "after the temperature, with which it fades"
        };
        format!("boost of {}: {place}", layer.name)
    });
    let temperature = match min_temperature {
        Some(floor) => format!("raised to {floor} where a request is below it"),
        None if first => "free; at 0 a layer that draws the token leaves no mark".to_owned(),
        None => "free; at 0 no layer leaves a mark".to_owned(),
    };
    let top_p = match min_top_p {
        Some(floor) => format!("raised to {floor} where a request is below it; top-k and min-p leave no fewer tokens"),
        None => "free; where it, top-k or min-p leave one token, no layer after them leaves a mark".to_owned(),
    };
    boosting.into_iter().chain([format!("temperature: {temperature}"), format!("top-p: {top_p}")]).collect()
}
