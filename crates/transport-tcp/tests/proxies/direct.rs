//! `Direct` asks nobody for what nobody may be asked for.

use hickory_resolver::proto::rr::RecordType;
use transport_tcp::DialError;

use crate::support::{
    names::{Names, Zone, a, dnsaddr},
    proxy::{dial, echo, listen},
};

#[tokio::test]
async fn names_of_onion_services_are_refused_and_no_name_server_hears_of_them() {
    let zone: Zone = [("x.onion", vec![a([127, 0, 0, 1])])].into();
    let names = Names::serve(zone).await;
    for address in [
        "/dns/x.onion/tcp/80",
        "/dns4/x.ONION/tcp/80",
        "/dns6/a.b.x.onion./tcp/80",
        "/dns4/onion/tcp/80",
        "/dnsaddr/x.onion",
        "/dnsaddr/X.Onion.",
    ] {
        let error = dial(&names.direct(), address).await.unwrap_err();
        let refused = matches!(error, DialError::Unsupported { .. });
        assert!(refused, "{address}: {error}");
    }
    assert_eq!(names.asked(), []);
}

#[tokio::test]
async fn nor_where_a_name_server_itself_speaks_of_them() {
    let port = listen(echo()).await.port();
    let records = vec![
        dnsaddr("/dns4/x.onion/tcp/80"),
        dnsaddr("/dnsaddr/y.onion"),
        dnsaddr("/onion3/vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd:80"),
        dnsaddr(&format!("/ip4/127.0.0.1/tcp/{port}")),
    ];
    let names = Names::serve([("_dnsaddr.net.example", records)].into()).await;
    let stream = dial(&names.direct(), "/dnsaddr/net.example").await.unwrap();
    assert_eq!(stream.remote_addr().unwrap().port(), port);
    let asked = [("_dnsaddr.net.example".to_owned(), RecordType::TXT)];
    assert_eq!(names.asked(), asked);
}

#[tokio::test]
async fn an_address_in_a_names_place_is_not_asked_for() {
    let port = listen(echo()).await.port();
    let names = Names::serve(Zone::new()).await;
    let address = format!("/dns4/127.0.0.1/tcp/{port}");
    dial(&names.direct(), &address).await.unwrap();
    assert_eq!(names.asked(), []);
}

#[tokio::test]
async fn nor_is_one_of_the_other_family_anything_to_dial() {
    let names = Names::serve(Zone::new()).await;
    for address in ["/dns6/127.0.0.1/tcp/1", "/dns4/::1/tcp/1"] {
        let error = dial(&names.direct(), address).await.unwrap_err();
        assert!(matches!(error, DialError::Resolve { .. }), "{error}");
        assert!(!error.is_worth_retrying());
    }
    assert_eq!(names.asked(), []);
}
