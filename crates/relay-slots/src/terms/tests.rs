use super::*;

#[test]
fn a_term_replaces_its_value_and_all_terms_can_be_applied_again() {
    let (mut caps, mut table) = (Caps::default(), TableConfig::default());
    let terms = Terms {
        slots: Some(7),
        heartbeat_s: Some(0.0),
        circuit_data: Some(0),
        connect_of_peer: Some((3, 0.5).into()),
        reserve_of_subnet: Some((9, 0.0).into()),
        ..Terms::default()
    };
    terms.apply(&mut caps, &mut table).unwrap();
    assert_eq!(
        (caps.slots, table.heartbeat, table.circuit_data),
        (7, None, None)
    );
    assert_eq!(caps.circuits, Caps::default().circuits);
    let half_a_second = Rate::new(3, Duration::from_millis(500));
    assert_eq!(caps.rates.connect_of_peer, Some(half_a_second));
    assert_eq!(caps.rates.reserve_of_subnet, None);

    let (mut same, mut config) = (Caps::default(), TableConfig::default());
    let all = Terms::of(&caps, &table);
    all.apply(&mut same, &mut config).unwrap();
    assert_eq!((same, config), (caps, table));
}

#[test]
fn a_value_out_of_bounds_is_named_and_changes_nothing() {
    let (mut caps, mut table) = (Caps::default(), TableConfig::default());
    for value in [0.0, 0.999, -1.0, f64::NAN, 86_400.1, 1e9] {
        let terms = Terms {
            slots: Some(7),
            ttl_s: Some(value),
            ..Terms::default()
        };
        let error = terms.apply(&mut caps, &mut table).unwrap_err();
        assert!(error.to_string().starts_with("ttl_s: "), "{error}");
        assert_eq!((&caps, &table), (&Caps::default(), &TableConfig::default()));
    }
    for (value, least) in [(86_400.0, 1.0), (1.0, 1.0)] {
        let terms = Terms {
            ttl_s: Some(value),
            ..Terms::default()
        };
        terms.apply(&mut caps, &mut table).unwrap();
        assert!(table.ttl.as_secs_f64() >= least);
    }
    let terms = Terms {
        connect_of_peer: Some((1, -0.1).into()),
        slots: Some(7),
        ttl_s: Some(5.0),
        ..Terms::default()
    };
    let before = (caps.clone(), table.clone());
    let error = terms.apply(&mut caps, &mut table).unwrap_err();
    assert_eq!(error.name, "connect_of_peer");
    assert_eq!((caps, table), before);
}

#[cfg(feature = "serde")]
mod json {
    use crate::{Caps, Slot, SlotState, TableConfig, Terms};
    use serde_json::json;

    #[test]
    fn all_terms_have_the_names_and_the_order_of_the_fields() {
        let terms = Terms::of(&Caps::default(), &TableConfig::default());
        let expected = json!({
            "slots": 128, "slots_per_peer": 1, "slots_per_ipv4": 8, "slots_per_ipv4_24": 16,
            "slots_per_ipv6_64": 8, "slots_per_ipv6_56": 8, "slots_per_ipv6_48": 16,
            "slots_per_asn": 32, "circuits": 1024, "circuits_to_peer": 16,
            "circuits_from_peer": 16, "circuits_from_subnet_to_peer": 4, "exempt_private": true,
            "reserve_of_peer": [8, 10.0], "reserve_of_subnet": [32, 1.0],
            "renew_of_peer": [8, 10.0],
            "connect_of_peer": [16, 1.0], "connect_of_subnet": [64, 0.25],
            "ttl_s": 3600.0, "grace_s": 60.0, "heartbeat_s": 30.0, "answer_s": 10.0,
            "opening_s": 30.0, "circuit_duration_s": 120.0, "circuit_data": 131_072,
            "max_buckets": 65_536,
        });
        let text = serde_json::to_string(&terms).unwrap();
        assert_eq!(text, expected.to_string());
        let again: Terms = serde_json::from_str(&text).unwrap();
        assert_eq!(again, terms);
    }

    #[test]
    fn an_unknown_name_is_refused() {
        let unknown = serde_json::from_value::<Terms>(json!({"slot": 1})).unwrap_err();
        assert!(
            unknown.to_string().contains("unknown field `slot`"),
            "{unknown}"
        );
    }

    #[test]
    fn a_slot_is_a_row_of_the_listing() {
        let row = json!({
            "peer_id": "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA",
            "address": "192.0.2.1", "state": "grace", "expires_s": 59, "circuits": 2,
            "bytes": 1234,
        });
        let slot: Slot = serde_json::from_value(row.clone()).unwrap();
        assert_eq!(slot.state, SlotState::Grace);
        assert_eq!(serde_json::to_string(&slot).unwrap(), row.to_string());
        let nowhere = Slot {
            address: None,
            ..slot
        };
        let text = serde_json::to_string(&nowhere).unwrap();
        assert!(text.contains(r#""address":null"#), "{text}");
    }
}
