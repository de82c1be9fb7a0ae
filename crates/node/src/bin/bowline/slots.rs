//! `bowline slots`: the slots that the running node has granted as a relay, and its relay terms.

use serde_json::Value;

use crate::{
    ask::{self, Question},
    cli::Slots,
    failure::Failure,
    output::Output,
};

const SLOTS: Question<'static> = Question {
    path: "/slots",
    body: None,
    unknown: "this node was built without relaying",
};

pub(crate) async fn run(args: Slots, output: Output) -> Result<(), Failure> {
    if !args.set.is_empty() {
        let mut terms = serde_json::Map::new();
        for term in &args.set {
            let (name, value) = parse(term)?;
            terms.insert(name, value);
        }
        let body = Some(&terms.into());
        let terms = ask::answer(&args.asking, &Question { body, ..SLOTS }).await?;
        return output.lines(&terms, || listed(&terms));
    }
    let answer = ask::answer(&args.asking, &SLOTS).await?;
    output.heading(|| row(&COLUMNS))?;
    for slot in answer["slots"].as_array().into_iter().flatten() {
        let text = |field: &str| slot[field].as_str().unwrap_or("-").to_owned();
        output.line(slot, || {
            let numbers = ["expires_s", "circuits", "bytes"].map(|field| slot[field].to_string());
            let [expires, circuits, bytes] = numbers;
            row(&[
                &text("peer_id"),
                &text("address"),
                &text("state"),
                &expires,
                &circuits,
                &bytes,
            ])
        })?;
    }
    Ok(())
}

const COLUMNS: [&str; 6] = [
    "peer",
    "IP address",
    "state",
    "seconds left",
    "circuits",
    "bytes",
];

fn row([peer, address, state, expires, circuits, bytes]: &[&str; 6]) -> String {
    format!("{peer:<52}  {address:<15}  {state:<7}  {expires:>12}  {circuits:>8}  {bytes:>12}")
}

fn listed(terms: &Value) -> Vec<String> {
    let terms = terms.as_object().into_iter().flatten();
    terms
        .map(|(name, value)| format!("{name} = {value}"))
        .collect()
}

fn parse(term: &str) -> Result<(String, Value), Failure> {
    let form = || {
        let problem = format!("'{term}' is not of the form TERM=VALUE, such as slots=64");
        Failure::usage(problem)
    };
    let (name, value) = term.split_once('=').ok_or_else(form)?;
    let parsed = serde_json::from_str(value).map_err(|_| {
        let problem = "is not a number, true, false or a pair such as [8, 0.5]";
        Failure::usage(format!("'{term}': '{value}' {problem}"))
    });
    Ok((name.to_owned(), parsed?))
}
