use std::time::Duration;
use super::network::Network;
use crate::Config;

#[test]
#[ignore]
fn look() {
    let n: u32 = std::env::var("N").map_or(1000, |n| n.parse().unwrap());
    let mut network = Network::new(std::env::var("SEED").map_or(1, |n| n.parse().unwrap()), Config::default());
    for peer in 0..n { network.add(); if peer > 0 { network.join(peer, &[0]); } }
    for tick in 0..40 {
        network.run(Duration::from_millis(500));
        let mut hist = [0; 7];
        let mut asym = 0;
        let mut passive = 0;
        for peer in 0..n {
            let ns = network.neighbours(peer);
            hist[ns.len().min(6)] += 1;
            asym += ns.iter().filter(|o| !network.neighbours(**o).contains(&peer)).count();
            passive += network.topic(peer).membership().remembered();
        }
        let mut seen = vec![0u32; n as usize]; let mut comps = vec![];
        for s in 0..n { if seen[s as usize] == 0 { let mut c = 0; let mut st = vec![s]; seen[s as usize] = 1; while let Some(p) = st.pop() { c += 1; for o in network.neighbours(p) { if seen[o as usize] == 0 { seen[o as usize] = 1; st.push(o); } } } comps.push(c); } }
        comps.sort(); comps.reverse();
        println!("t {:.1} hist {hist:?} asym {asym} passive/peer {:.1} comps {} {:?} downs {} events {}", (tick + 1) as f64 / 2.0, passive as f64 / n as f64, comps.len(), &comps[..comps.len().min(4)], network.downs, network.events);
    }
}

#[test]
#[ignore]
fn look_rounds() {
    for seed in [0, 1] {
        let mut network = Network::joined(seed, 1000, Config::default());
        let sender = network.rng.below(1000) as u32;
        let mut degree = 0;
        for peer in 0..1000 { degree += network.neighbours(peer).len(); }
        println!("t degree {}", degree);
        for _ in 0..12 {
            let r = network.round(&[sender], Duration::from_secs(5));
            println!("t hops {} red {:.3} took {:?}", r.hops, r.contents as f64 / 998.0 - 1.0, r.took);
        }
    }
}
