//! `--dialer`: a dialer built from rules.

use node::Builder;

use crate::failure::Failure;

#[cfg(feature = "tcp")]
pub(crate) use with_tcp::rules;
#[cfg(not(feature = "tcp"))]
pub(crate) use without_tcp::rules;

/// Sets the dialer of a builder to the rules. Without rules, the builder keeps its default dialer.
pub(crate) type Applied = Box<dyn Fn(Builder) -> Builder>;

#[cfg(feature = "tcp")]
mod with_tcp {
    use std::sync::Arc;

    use node::transport_tcp::{Dialer, DirectConfig, RuleText, Rules};

    use super::{Applied, Failure};

    /// The dialer that follows these rules. `key` names the setting that contains the rules.
    pub(crate) fn rules(key: &str, texts: &[String]) -> Result<Applied, Failure> {
        if texts.is_empty() {
            return Ok(Box::new(|builder| builder));
        }
        let mut rules = Vec::new();
        for text in texts {
            let rule = text.parse::<RuleText>();
            rules.push(rule.map_err(|error| {
                Failure::usage(format!("{key}: {error}")).with_excerpt(error.picture())
            })?);
        }
        let rules = Rules::from_texts(&rules, &DirectConfig::default());
        let rules: Arc<dyn Dialer> = Arc::new(rules.map_err(|error| {
            let cause = node::error_chain(&error);
            Failure::usage(format!(
                "{key}: an https proxy needs this machine's certificate authorities: {cause}"
            ))
        })?);
        Ok(Box::new(move |builder| builder.dialer(Arc::clone(&rules))))
    }
}

#[cfg(not(feature = "tcp"))]
mod without_tcp {
    use super::{Applied, Failure};

    /// Refuses every rule: a build without TCP has no dialer.
    pub(crate) fn rules(key: &str, texts: &[String]) -> Result<Applied, Failure> {
        match texts {
            [] => Ok(Box::new(|builder| builder)),
            _ => Err(Failure::usage(format!(
                "{key}: this build of bowline has no TCP and does not support dialing rules"
            ))),
        }
    }
}
