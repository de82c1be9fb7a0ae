//! `bowline peers --candidates`: the peers that the running node may dial to join or rejoin its network.

use serde_json::Value;

use crate::{
    ask::{self, Question},
    cli::Asking,
    failure::Failure,
    output::Output,
};

const CANDIDATES: Question<'static> = Question {
    path: "/candidates",
    body: None,
    unknown: "the admin endpoint does not support this query: is it the admin endpoint of a Bowline node?",
};

pub(crate) async fn run(asking: Asking, output: Output) -> Result<(), Failure> {
    let answer = ask::answer(&asking, &CANDIDATES).await?;
    output.heading(|| row(&COLUMNS))?;
    for candidate in answer["candidates"].as_array().into_iter().flatten() {
        output.line(candidate, || describe(candidate))?;
    }
    Ok(())
}

const COLUMNS: [&str; 7] = [
    "peer",
    "state",
    "origins",
    "dials",
    "in flight",
    "next dial in s",
    "addresses",
];

fn describe(candidate: &Value) -> String {
    let joined = |field: &str| {
        let texts = candidate[field].as_array().into_iter().flatten();
        let texts: Vec<&str> = texts.filter_map(Value::as_str).collect();
        texts.join(",")
    };
    let state = match (&candidate["connected"], &candidate["lost"]) {
        (Value::Bool(true), _) => "connected",
        (_, Value::Bool(true)) => "lost",
        _ => "-",
    };
    let next = candidate["next_ms"].as_f64();
    let next = next.map_or_else(|| "-".to_owned(), |millis| format!("{:.1}", millis / 1e3));
    row(&[
        candidate["peer"].as_str().unwrap_or("-"),
        state,
        &joined("origins"),
        &candidate["dials"].to_string(),
        &candidate["in_flight"].to_string(),
        &next,
        &joined("addresses"),
    ])
}

fn row([peer, state, origins, dials, in_flight, next, addresses]: &[&str; 7]) -> String {
    format!(
        "{peer:<52}  {state:<9}  {origins:<12}  {dials:>6}  {in_flight:>9}  {next:>14}  {addresses}"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_has_the_state_the_next_dial_and_all_addresses_of_a_candidate() {
        let words = |candidate: Value| {
            let line = describe(&candidate);
            line.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let mut candidate = json!({
            "peer": "12D3KooWGzxzKZYveHXtpG6AsrUJBcWxHBFS2HsEoGTxrMLvKXtf",
            "addresses": ["/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.2/tcp/1"],
            "origins": ["list", "saved"],
            "connected": false, "lost": true, "dials": 7, "in_flight": 2, "next_ms": 1300,
        });
        let id = candidate["peer"].as_str().unwrap_or_default().to_owned();
        let peer = id.as_str();
        let addresses = "/ip4/192.0.2.1/tcp/1,/ip4/192.0.2.2/tcp/1";
        let lost = [peer, "lost", "list,saved", "7", "2", "1.3", addresses];
        assert_eq!(words(candidate.clone()), lost);
        candidate["connected"] = true.into();
        candidate["next_ms"] = Value::Null;
        let connected = [peer, "connected", "list,saved", "7", "2", "-", addresses];
        assert_eq!(words(candidate.clone()), connected);
        candidate["connected"] = false.into();
        candidate["lost"] = false.into();
        candidate["peer"] = Value::Null;
        let other = ["-", "-", "list,saved", "7", "2", "-", addresses];
        assert_eq!(words(candidate), other);
    }
}
