//! An ordered fallback: the next route only while those before it are down.

use std::{sync::Arc, time::Duration};

use hickory_resolver::proto::rr::RecordType;
use tokio::time::Instant;
use transport_tcp::{
    Balance, BalanceConfig, DialContext, DialError, DialStage, Dialer, DirectConfig, Fallback,
    Fault, Matcher, Retry, RetryConfig, RuleText, Rules, Socks5,
};

use crate::support::{
    hole::Port,
    names::{Names, a},
    proxy::{Network, Socks, ahoy, at, context, dial, echo, listen, silent},
    scripted::{Outcome, Scripted},
};

const TARGET: &str = "/ip4/192.0.2.7/tcp/80";

fn fallback(routes: &[&Scripted]) -> Fallback {
    Fallback::new(
        routes
            .iter()
            .map(|route| -> Arc<dyn Dialer> { Arc::new((*route).clone()) }),
    )
}

#[tokio::test(start_paused = true)]
async fn the_next_route_is_tried_only_when_this_one_is_down() {
    for (outcome, falls) in [
        (Outcome::Open, false),
        (Outcome::Way, true),
        (Outcome::Foreign, true),
        // A refusal, a misconfiguration and the target's own failure are not for another route to mend.
        (Outcome::Policy, false),
        (Outcome::Setup, false),
        (Outcome::NoResolver, false),
        (Outcome::Target, false),
        (Outcome::NoAddress, false),
        (Outcome::Unresolved, false),
    ] {
        let (first, second) = (Scripted::new(outcome), Scripted::new(Outcome::Open));
        let dialed = dial(&fallback(&[&first, &second]), TARGET).await;
        assert_eq!(second.dials().len(), usize::from(falls), "{outcome:?}");
        let succeeds = falls || outcome == Outcome::Open;
        assert_eq!(dialed.is_ok(), succeeds, "{outcome:?}");
        if let Err(error) = dialed {
            let target = TARGET.parse().unwrap();
            assert_eq!(error.fault(), outcome.error(&target).fault());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_that_used_up_the_dials_time_leaves_none_for_the_next() {
    let routes = [Outcome::Silence, Outcome::Open].map(Scripted::new);
    let error = dial(&fallback(&[&routes[0], &routes[1]]), TARGET).await;
    assert!(matches!(error, Err(DialError::NoRoute { .. })));
    assert!(routes[1].dials().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_among_several_failures_ends_the_dial() {
    let direct = Scripted::new(Outcome::Open);
    let balanced = |outcomes: [Outcome; 2]| -> Arc<dyn Dialer> {
        let ways = outcomes.map(|outcome| -> Arc<dyn Dialer> { Arc::new(Scripted::new(outcome)) });
        Arc::new(Balance::new(ways, BalanceConfig::default()))
    };
    let retried = |inner| Arc::new(Retry::new(inner, RetryConfig::default().with_attempts(2)));
    for (outcomes, falls) in [
        ([Outcome::Way, Outcome::Way], true),
        ([Outcome::Way, Outcome::Setup], false),
    ] {
        for first in [balanced(outcomes), retried(balanced(outcomes))] {
            let before = direct.dials().len();
            let dialer = Fallback::new([first, Arc::new(direct.clone())]);
            assert_eq!(dial(&dialer, TARGET).await.is_ok(), falls);
            assert_eq!(direct.dials().len() - before, usize::from(falls));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn when_every_route_is_down_each_is_named() {
    let routes = [(); 3].map(|()| Scripted::new(Outcome::Way));
    let dialer = fallback(&[&routes[0], &routes[1], &routes[2]]);
    let error = dial(&dialer, TARGET).await.unwrap_err();
    let DialError::NoRoute { routes: ways, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!((ways.len(), error.fault()), (3, Fault::Route));
    let none = dial(&Fallback::new([]), TARGET).await.unwrap_err();
    assert!(matches!(none, DialError::NoRoute { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_silent_proxy_leaves_half_of_the_time_to_the_next_route() {
    let network = Network::default();
    network.add("192.0.2.1:1080", silent());
    let proxy = Socks5::new(at("192.0.2.1:1080")).through(network);
    let direct = Scripted::new(Outcome::Open);
    let dialer = Fallback::new([Arc::new(proxy) as Arc<dyn Dialer>, Arc::new(direct.clone())]);
    let begun = Instant::now();
    let cx = DialContext::new(begun + Duration::from_secs(10));
    let stream = dialer.dial(&TARGET.parse().unwrap(), &cx).await;
    ahoy(&mut stream.unwrap()).await;
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_check_passes_if_one_of_the_routes_is_up() {
    let up = || Scripted::new(Outcome::Open);
    let down = || Scripted::new(Outcome::Way);
    for (routes, passes, asked) in [
        ([up(), down()], true, [1, 0]),
        ([down(), up()], true, [1, 1]),
        ([down(), down()], false, [1, 1]),
    ] {
        let dialer = fallback(&[&routes[0], &routes[1]]);
        assert_eq!(dialer.check(&context()).await.is_ok(), passes);
        assert_eq!([routes[0].checks().len(), routes[1].checks().len()], asked);
    }
    Fallback::new([]).check(&context()).await.unwrap();
}

#[tokio::test]
async fn while_the_proxy_is_up_no_name_is_asked_of_this_machines_name_servers() {
    let names = Names::serve([("peer.example", vec![a([127, 0, 0, 1])])].into()).await;
    let network = Network::default();
    let socks = Socks::onward(network.clone());
    network.add("192.0.2.1:1080", socks.service());
    let proxy = Socks5::new(at("192.0.2.1:1080")).through(network.clone());
    let dialer = Fallback::new([Arc::new(proxy) as Arc<dyn Dialer>, Arc::new(names.direct())]);
    // A name that the proxy does not reach, and what no proxy can resolve.
    for target in ["/dns4/peer.example/tcp/80", "/dnsaddr/peer.example"] {
        let error = dial(&dialer, target).await.unwrap_err();
        assert_ne!(error.fault(), Fault::Route, "{error}");
        assert!(names.asked().is_empty());
    }
    // Once it is down, "else directly" means that they are.
    network.remove("192.0.2.1:1080");
    drop(dial(&dialer, "/dns4/peer.example/tcp/80").await);
    assert_eq!(names.asked(), [("peer.example".to_owned(), RecordType::A)]);
}

#[tokio::test]
async fn a_rule_says_by_the_proxy_else_directly_and_a_refusal_before_it_holds() {
    let (port, address) = (Port::new(), listen(echo()).await);
    let texts = [
        "cidr=127.0.0.2 refuse".to_owned(),
        format!(
            "* via socks5://127.0.0.1:{} reach=0.2 else direct",
            port.number()
        ),
    ];
    let texts = texts.map(|text| text.parse::<RuleText>().unwrap());
    let rules = Rules::from_texts(&texts, &DirectConfig::default()).unwrap();
    let target = format!("/ip4/127.0.0.1/tcp/{}", address.port());
    drop(port);
    ahoy(&mut dial(&rules, &target).await.unwrap()).await;
    assert!(
        !rules.is_direct(&target.parse().unwrap()),
        "the proxy comes first"
    );
    let refused = dial(&rules, "/ip4/127.0.0.2/tcp/1").await.unwrap_err();
    assert!(matches!(refused, DialError::Refused { .. }));
}

#[tokio::test]
async fn a_rule_inside_the_first_route_is_not_bypassed_by_the_second() {
    let rules = Rules::new().refuse("no", Matcher::any());
    let direct = Scripted::new(Outcome::Open);
    let dialer = Fallback::new([Arc::new(rules) as Arc<dyn Dialer>, Arc::new(direct.clone())]);
    let error = dial(&dialer, TARGET).await.unwrap_err();
    assert!(matches!(error, DialError::Refused { .. }) && direct.dials().is_empty());
    assert_eq!(error.stage(), DialStage::Choose);
}
