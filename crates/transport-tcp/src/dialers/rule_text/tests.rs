use super::*;
use crate::{HostKind, Rules};

fn read(text: &str) -> RuleText {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// The rule's only route.
fn only(rule: &RuleText) -> &Route {
    match &rule.action {
        Action::Dial(routes) if routes.len() == 1 => &routes[0],
        other => panic!("{other:?}"),
    }
}

/// The problem and its character.
fn problem(text: &str) -> (usize, String) {
    let error = text.parse::<RuleText>().unwrap_err();
    (error.column(), error.problem().to_owned())
}

#[test]
fn the_examples_mean_what_they_say() {
    let rule = read("suffix=.onion via socks5://127.0.0.1:9050");
    assert_eq!(rule.matcher, Matcher::any().suffix("onion"));
    let Route::Via(ways, options) = only(&rule) else {
        panic!("{rule:?}");
    };
    assert_eq!(*options, Options::default());
    let [way] = &**ways else { panic!("{ways:?}") };
    assert_eq!(way[0].scheme, Scheme::Socks5);
    assert_eq!(way[0].address.authority(), "127.0.0.1:9050");
    assert_eq!(
        only(&read("cidr=10.0.0.0/8 direct")),
        &Route::Direct(vec![])
    );
    assert_eq!(read("* refuse").action, Action::Refuse);
    assert_eq!(read("* refuse").matcher, Matcher::any());
}

#[test]
fn conditions_are_lists_and_all_of_them_count() {
    let id = "12D3KooWJRSrypvnpHgc6ZAgyCni4KcSmbV7uGRaMw5LgMKT18fq";
    let rule = read(&format!(
        "cidr=10.0.0.0/8,fd00::/8,192.0.2.1 port=80,4000-4100 kind=ip4,ip6 peer={id} direct"
    ));
    let matcher = Matcher::any()
        .cidr("10.0.0.0/8".parse().unwrap())
        .cidr("fd00::/8".parse().unwrap())
        .cidr("192.0.2.1/32".parse().unwrap())
        .ports(80..=80)
        .ports(4000..=4100)
        .kind(HostKind::Ip4)
        .kind(HostKind::Ip6)
        .peer(id.parse().unwrap());
    assert_eq!(rule.matcher, matcher);
}

#[test]
fn ways_chains_and_options_are_told_apart() {
    let rule = read(
        "* via socks5://a.example:1 then http://[::1]:2 or https://c.example:3 \
         retry=2 warm=4 reach=1.5 handshake=3",
    );
    let Route::Via(ways, options) = only(&rule) else {
        panic!("{rule:?}");
    };
    let shown: Vec<Vec<_>> = ways
        .iter()
        .map(|way| {
            way.iter()
                .map(|hop| (hop.scheme, hop.address.authority()))
                .collect()
        })
        .collect();
    let hop = |scheme, text: &str| (scheme, text.to_owned());
    assert_eq!(
        shown,
        [
            vec![
                hop(Scheme::Socks5, "a.example:1"),
                hop(Scheme::Http, "[::1]:2")
            ],
            vec![hop(Scheme::Https, "c.example:3")],
        ]
    );
    assert_eq!((options.retry, options.warm), (Some(2), Some(4)));
    assert_eq!(options.reach, Some(Duration::from_millis(1_500)));
    assert_eq!(options.handshake, Some(Duration::from_secs(3)));
}

#[test]
fn uplinks_are_addresses_or_interfaces() {
    let rule = read("* direct from 192.0.2.1 or eth0");
    let uplinks = vec![
        Uplink::Address("192.0.2.1".parse().unwrap()),
        Uplink::Interface("eth0".into()),
    ];
    assert_eq!(only(&rule), &Route::Direct(uplinks));
}

#[test]
fn else_separates_routes_and_options_belong_to_the_route_before_them() {
    let rule = read(
        "* via socks5://a.example:1 or socks5://b.example:2 retry=2 else via http://c.example:3 \
         else direct from eth0",
    );
    let Action::Dial(routes) = &rule.action else {
        panic!("{rule:?}");
    };
    let [Route::Via(first, options), Route::Via(second, none), last] = &**routes else {
        panic!("{routes:?}");
    };
    assert_eq!((first.len(), options.retry), (2, Some(2)));
    assert_eq!((second.len(), *none), (1, Options::default()));
    let uplinks = vec![Uplink::Interface("eth0".into())];
    assert_eq!(last, &Route::Direct(uplinks));
}

#[test]
fn credentials_may_hold_escapes_and_at_signs() {
    for (text, user, password) in [
        ("* via socks5://u:p@127.0.0.1:1", "u", "p"),
        ("* via http://u:a:b@127.0.0.1:1", "u", "a:b"),
        ("* via http://u:a@b@127.0.0.1:1", "u", "a@b"),
        ("* via http://%75%3A:%40%20@127.0.0.1:1", "u:", "@ "),
    ] {
        let rule = read(text);
        let Route::Via(ways, _) = only(&rule) else {
            panic!("{text}");
        };
        let expected = Some((user.to_owned(), password.to_owned()));
        assert_eq!(ways[0][0].credentials, expected, "{text}");
    }
}

#[test]
fn an_error_points_at_the_character() {
    for (text, column, part) in [
        (
            "",
            1,
            "'*' or a condition such as cidr=10.0.0.0/8 is missing",
        ),
        ("direct", 1, "'direct' is not '*' or a condition"),
        (
            "cidr=10.0.0.0/99 direct",
            6,
            "'10.0.0.0/99' is not a network",
        ),
        ("cidr=10.0.0.0/8,x direct", 17, "'x' is not a network"),
        (
            "sufix=.onion direct",
            1,
            "'sufix' is not cidr, suffix, kind, port or peer",
        ),
        ("suffix= direct", 8, "suffix has an empty value"),
        ("suffix=. direct", 8, "'.' is not a name"),
        ("suffix=a://b:c@d direct", 8, "'a://b:c@d' is not a name"),
        ("kind=ip5 direct", 6, "'ip5' is not ip4, ip6, dns or onion"),
        ("port=1-99999 direct", 8, "'99999' is not a port"),
        ("port=0 direct", 6, "'0' is not a port"),
        ("peer=me direct", 6, "'me' is not a peer id"),
        ("*", 2, "'direct', 'via' or 'refuse' is missing"),
        ("* drop", 3, "'drop' is not 'direct', 'via' or 'refuse'"),
        ("* refuse now", 10, "'now' does not belong here"),
        ("* direct else", 14, "'direct' or 'via' is missing"),
        (
            "* direct else refuse",
            15,
            "'refuse' is not 'direct' or 'via'",
        ),
        ("* refuse else direct", 10, "'else' does not belong here"),
        ("* direct from", 14, "an address or an interface is missing"),
        (
            "* direct from a/b",
            15,
            "'a/b' is no address and no interface",
        ),
        (
            "* via",
            6,
            "a proxy such as socks5://127.0.0.1:1080 is missing",
        ),
        ("* via 127.0.0.1:1", 7, "a proxy begins with socks5://"),
        (
            "* via socks4://127.0.0.1:1",
            7,
            "'socks4' is not socks5, http or https",
        ),
        (
            "* via socks5://127.0.0.1",
            16,
            "a proxy's address is HOST:PORT",
        ),
        ("* via socks5://127.0.0.1:x", 26, "'x' is not a port"),
        (
            "* via socks5://::1:1080",
            16,
            "an IPv6 address stands in brackets",
        ),
        (
            "* via socks5://[::g]:1",
            16,
            "'[::g]' is not an address in brackets",
        ),
        ("* via socks5://a b:1", 16, "a proxy's address is HOST:PORT"),
        ("* via socks5://a/b:1", 16, "'a/b' is not a host"),
        (
            "* via socks5://u@127.0.0.1:1",
            16,
            "a user without a password",
        ),
        (
            "* via socks5://u:@127.0.0.1:1",
            18,
            "the password is not of 1 to 255 bytes",
        ),
        (
            "* via http://u:%ff@127.0.0.1:1",
            16,
            "the password is not text",
        ),
        ("* via socks5://a:1 then", 24, "a proxy such as"),
        (
            "* via socks5://a:1 retry=0",
            26,
            "'0' is not a number from 1 to 100",
        ),
        (
            "* via socks5://a:1 retry=1 retry=2",
            28,
            "retry is said twice",
        ),
        (
            "* via socks5://a:1 reach=NaN",
            26,
            "'NaN' is not a number of seconds",
        ),
        (
            "* via socks5://a:1 speed=9",
            20,
            "'speed' is not retry, warm, reach or handshake",
        ),
    ] {
        let (at, problem) = problem(text);
        assert!(problem.starts_with(part), "{text}: {problem}");
        assert_eq!(at, column, "{text}: {problem}");
    }
}

#[test]
fn the_caret_stands_under_the_character_even_behind_wide_ones() {
    let error = "suffix=bücher.example  vla"
        .parse::<RuleText>()
        .unwrap_err();
    let picture = "  suffix=bücher.example  vla\n                         ^";
    assert_eq!(error.picture(), picture);
    assert_eq!(
        error.to_string(),
        "rule 'suffix=bücher.example  vla', character 24: 'vla' is not 'direct', 'via' or 'refuse'"
    );
}

#[test]
fn a_password_is_shown_nowhere() {
    let rule = read("* via socks5://user:secret@127.0.0.1:1 then http://u:secret@127.0.0.1:2");
    let wrong = "* via socks5://user:secret@127.0.0.1:1 them".parse::<RuleText>();
    let wrong = wrong.unwrap_err();
    let wrong = format!("{wrong}{}", wrong.picture());
    let rules = Rules::from_texts(std::slice::from_ref(&rule), &Default::default()).unwrap();
    for shown in [
        rule.to_string(),
        format!("{rule:?}"),
        format!("{rules:?}"),
        wrong,
    ] {
        assert!(!shown.contains("secret"), "{shown}");
    }
}

#[test]
fn every_rule_that_can_be_read_can_be_built() {
    for text in [
        "* direct",
        "* direct from 127.0.0.1 or lo",
        "* via socks5://a.example:1 or http://u:p@127.0.0.1:2 retry=3 warm=2 reach=1 handshake=1",
        "* via socks5://127.0.0.1:1 then http://127.0.0.1:2 then socks5://b.example:3 warm=1",
        "* via socks5://127.0.0.1:1 else direct",
        "* direct from lo else via socks5://127.0.0.1:1 retry=2 else direct",
        "* refuse",
    ] {
        Rules::from_texts(&[read(text)], &Default::default()).unwrap();
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic_and_the_caret_is_always_inside(text in ".{0,80}") {
        if let Err(error) = text.parse::<RuleText>() {
            assert!(error.column() <= text.chars().count() + 1);
            let _ = error.to_string();
        }
    }

    #[test]
    fn words_of_the_grammar_in_any_order_do_not_either(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "*", "cidr=10.0.0.0/8", "port=1-", "via", "then", "or", "else", "direct", "from", "refuse",
                "socks5://a:1", "http://u:p@[::1]:2", "https://ü:1", "retry=1", "warm=", ",", "=", "@", "://",
            ]),
            0..8,
        )
    ) {
        let text = words.join(" ");
        if let Err(error) = text.parse::<RuleText>() {
            assert!(error.column() <= text.chars().count() + 1);
            let _ = error.to_string();
        }
    }
}

#[test]
fn a_peer_of_a_rule_may_be_spelled_as_a_cid() {
    let id = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
    let cid = "bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe";
    let rule = |peer: &str| format!("peer={peer} direct").parse::<RuleText>().unwrap();
    assert_eq!(rule(cid).matcher, rule(id).matcher);
}
