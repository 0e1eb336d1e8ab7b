//! The higher of any two layers counts, for every option.

use ha_config::{Builder, Config, Preset, Profile, Source};

use crate::cases::{CASES, Case};

/// Something that can say a value of one option.
#[derive(Clone, Debug)]
enum Layer {
    Program,
    Preset(Preset),
    Profile(Profile),
    File,
    Environment,
    CommandLine,
}

impl Layer {
    fn rank(&self) -> usize {
        match self {
            Self::Program => 0,
            Self::Preset(_) => 1,
            Self::Profile(_) => 2,
            Self::File => 3,
            Self::Environment => 4,
            Self::CommandLine => 5,
        }
    }

    /// Every layer that can speak of this option.
    fn of(case: &Case) -> Vec<Self> {
        let sets = |settings: &[(&str, &str)]| settings.iter().any(|(name, _)| *name == case.name);
        let presets = Preset::ALL.iter().filter(|preset| sets(preset.settings())).map(|preset| Self::Preset(*preset));
        let profiles =
            Profile::ALL.iter().filter(|profile| sets(profile.settings())).map(|profile| Self::Profile(*profile));
        let program = matches!(case.name, "HA_PRESET" | "HA_PROFILE").then_some(Self::Program);
        let texts = [Self::File, Self::Environment, Self::CommandLine];
        program.into_iter().chain(presets).chain(profiles).chain(texts).collect()
    }

    fn say(&self, builder: Builder, case: &Case, value: &str) -> Builder {
        let option = case.option();
        match self {
            Self::Program if case.name == "HA_PRESET" => builder.preset(value.parse().unwrap()),
            Self::Program => builder.profile(value.parse().unwrap()),
            Self::Preset(preset) => builder.preset(*preset),
            Self::Profile(profile) => builder.profile(*profile),
            Self::File => builder.with_toml("ha.toml", format!("{} = '{value}'", option.dotted())),
            Self::Environment => builder.with_variables([(case.name, value)]),
            Self::CommandLine => builder.set(case.name, value),
        }
    }

    fn is_source(&self, source: &Source) -> bool {
        match (self, source) {
            (Self::Preset(one), Source::Preset(other)) => one == other,
            (Self::Profile(one), Source::Profile(other)) => one == other,
            (Self::Program, Source::Program)
            | (Self::File, Source::File { .. })
            | (Self::Environment, Source::Environment { .. })
            | (Self::CommandLine, Source::CommandLine { .. }) => true,
            _ => false,
        }
    }
}

#[test]
fn the_higher_of_any_two_layers_counts() {
    let mut pairs = 0;
    for case in CASES {
        let companions =
            || case.with.iter().fold(Config::builder(), |builder, (name, value)| builder.set(*name, *value));
        for low in Layer::of(case) {
            for high in Layer::of(case).into_iter().filter(|high| high.rank() > low.rank()) {
                for [below, above] in [case.values, [case.values[1], case.values[0]]] {
                    // The order of the calls must not matter.
                    let builder = low.say(high.say(companions(), case, above), case, below);
                    let config = builder.build().unwrap_or_else(|problems| panic!("{}: {problems}", case.name));
                    let source = config.source(case.name);
                    assert!(high.is_source(&source), "{}: {low:?} {high:?}: {source}", case.name);
                    if high.rank() >= Layer::File.rank() {
                        assert_eq!(case.shown(&config), above, "{}: {low:?} {high:?}", case.name);
                    }
                    pairs += 1;
                }
            }
        }
    }
    assert!(pairs > CASES.len() * 6, "every option has at least three pairs, both ways: {pairs}");
}

#[test]
fn every_layer_counts_above_the_default() {
    for case in CASES {
        for layer in Layer::of(case) {
            let companions =
                case.with.iter().fold(Config::builder(), |builder, (name, value)| builder.set(*name, *value));
            let config = layer.say(companions, case, case.values[0]).build().unwrap();
            assert!(layer.is_source(&config.source(case.name)), "{}: {layer:?}", case.name);
        }
    }
}

#[test]
fn the_preset_may_come_from_any_layer_and_stays_below_them_all() {
    for builder in [
        Config::preset(Preset::FullHa),
        Config::builder().with_toml("ha.toml", "ha.preset = 'full_ha'"),
        Config::builder().with_variables([("HA_PRESET", "full_ha")]),
        Config::builder().flag("--preset", "HA_PRESET", "full_ha"),
    ] {
        let config = builder.with_toml("other.toml", "ha.min_nodes = 2").build().unwrap();
        assert_eq!(config.source("HA_QUORUM_SIZE"), Source::Preset(Preset::FullHa));
        assert_eq!(config.ha.min_nodes, 2);
    }
}

#[test]
fn a_preset_of_a_higher_layer_replaces_the_lower_one_entirely() {
    let config = Config::preset(Preset::Distributed).with_variables([("HA_PRESET", "development")]).build().unwrap();
    assert_eq!(config.ha.preset, Some(Preset::Development));
    assert_eq!(config.ha.min_nodes, 1);
    assert!(!config.replication.enabled);
}

#[test]
fn of_two_files_or_two_sets_the_later_counts() {
    let config = Config::builder()
        .with_toml("a.toml", "cluster.port = 1\nhttp.port = 1")
        .with_toml("b.toml", "cluster.port = 2")
        .set("HTTP_ADDRESS", "::1")
        .set("http.address", "127.0.0.2")
        .build()
        .unwrap();
    assert_eq!((config.cluster.port, config.http.port), (2, 1));
    assert_eq!(config.source("CLUSTER_PORT").to_string(), "file b.toml line 1");
    assert_eq!(config.http.address.to_string(), "127.0.0.2");
}
