//! `--dialer`: from rules to a dialer.

use node::Builder;

use crate::failure::Failure;

#[cfg(feature = "tcp")]
pub(crate) use with_tcp::rules;
#[cfg(not(feature = "tcp"))]
pub(crate) use without_tcp::rules;

/// A builder whose node will dial by the rules that were said, or as it likes where none were.
pub(crate) type Applied = Box<dyn Fn(Builder) -> Builder>;

#[cfg(feature = "tcp")]
mod with_tcp {
    use std::sync::Arc;

    use node::transport_tcp::{Dialer, DirectConfig, Resolver, RuleText, Rules};

    use super::{Applied, Failure};

    /// The dialer that follows these rules. `key` is where they were said.
    pub(crate) fn rules(key: &str, texts: &[String]) -> Result<Applied, Failure> {
        if texts.is_empty() {
            return Ok(Box::new(|builder| builder));
        }
        let mut rules = Vec::new();
        for text in texts {
            let rule = text.parse::<RuleText>();
            rules.push(rule.map_err(|error| {
                Failure::usage(format!("{key}: {error}")).with_picture(error.picture())
            })?);
        }
        let mut direct = DirectConfig::default();
        // Without one, names are an error and addresses are not.
        direct.resolver = Resolver::system().ok();
        let rules = Rules::from_texts(&rules, &direct);
        let rules: Arc<dyn Dialer> = Arc::new(rules.map_err(|error| {
            Failure::usage(format!(
                "{key}: an https proxy, and no certificate authorities: {error}"
            ))
        })?);
        Ok(Box::new(move |builder| builder.dialer(Arc::clone(&rules))))
    }
}

#[cfg(not(feature = "tcp"))]
mod without_tcp {
    use super::{Applied, Failure};

    /// There is nothing that could follow them.
    pub(crate) fn rules(key: &str, texts: &[String]) -> Result<Applied, Failure> {
        match texts {
            [] => Ok(Box::new(|builder| builder)),
            _ => Err(Failure::usage(format!("{key}: this build has no TCP"))),
        }
    }
}
