//! What a start takes from the profile that `ringmq probe` has left beside the data.

use std::path::Path;

use tracing::{info, warn};

use crate::base::transfer::TransferRules;
use crate::probe::{Decision, FlushDecision, Host, Ignored, PROFILE_FILE, Profile};

/// What `auto` does, and which way durable writes go if that was measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Profiled {
    pub rules: TransferRules,
    pub flush: Option<FlushDecision>,
}

impl Profiled {
    /// The profile of a directory, or what is built in; says which.
    pub fn load(directory: &Path) -> Self {
        let path = directory.join(PROFILE_FILE);
        let command = format!("ringmq probe --data-dir {}", directory.display());
        let loaded = Host::of(directory)
            .map_err(Ignored::Unreadable)
            .and_then(|here| Profile::load(directory, &here));
        match loaded {
            Ok(profile) => {
                let Decision { rules, flush, .. } = profile.decide();
                info!(profile = %path.display(), ?rules, "`auto` decides from the profile");
                Self { rules, flush }
            }
            Err(Ignored::Missing) => {
                info!(
                    "`auto` decides by built-in rules: nothing was measured here; `{command}` \
                     does so while no broker runs"
                );
                Self::default()
            }
            Err(why) => {
                warn!(
                    "the profile {} is not used: {why}; `auto` decides by built-in rules. \
                     `{command}` measures again while no broker runs",
                    path.display()
                );
                Self::default()
            }
        }
    }
}
