//! The figures of all parts, read at each scrape.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use crate::part::Part;

/// Asks the parts for their figures.
pub(super) struct Figures(pub(super) Vec<Arc<dyn Part>>);

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|part| part.name()))
            .finish()
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for figure in self.0.iter().flat_map(|part| part.figures()) {
            let kind = match figure.is_counter {
                true => MetricType::Counter,
                false => MetricType::Gauge,
            };
            let metric = encoder.encode_descriptor(figure.name, figure.help, None, kind)?;
            match figure.is_counter {
                true => ConstCounter::new(figure.value).encode(metric)?,
                false => {
                    let value = i64::try_from(figure.value).unwrap_or(i64::MAX);
                    ConstGauge::new(value).encode(metric)?;
                }
            }
        }
        Ok(())
    }
}
