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
