//! The routes that leave this machine's networks. A new default route may make every connection unusable, although all addresses
//! stay the same.

use std::{collections::BTreeSet, fs::File, io::Read};

/// The maximum length of a table that is read, in bytes. The file of the kernel has about 130 bytes per route.
const MAX_LENGTH: u64 = 64 * 1024;

/// RTF_GATEWAY of Linux: the route leads to a gateway.
const GATEWAY: u32 = 0x2;

/// The routes over gateways, as the kernel writes them. Empty if the system has no such tables.
pub(crate) fn list() -> BTreeSet<String> {
    let four = read("/proc/net/route");
    let six = read("/proc/net/ipv6_route");
    let four = four.lines().filter_map(v4);
    four.chain(six.lines().filter_map(v6)).collect()
}

fn read(path: &str) -> String {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_LENGTH).read_to_end(&mut text));
    match read {
        Ok(_) => String::from_utf8_lossy(&text).into_owned(),
        Err(_) => String::new(),
    }
}

/// Interface, destination, gateway, flags, counters, metric and mask. The counters change without a change of the route.
fn v4(line: &str) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [
        interface,
        destination,
        gateway,
        flags,
        _,
        _,
        metric,
        mask,
        ..,
    ] = fields[..]
    else {
        return None;
    };
    has_gateway(flags).then(|| [interface, destination, mask, gateway, metric].join(" "))
}

/// Destination, source, next hop, metric, counters, flags and interface.
fn v6(line: &str) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [
        destination,
        length,
        _,
        _,
        hop,
        metric,
        _,
        _,
        flags,
        interface,
    ] = fields[..]
    else {
        return None;
    };
    has_gateway(flags).then(|| [interface, destination, length, hop, metric].join(" "))
}

/// Whether the flags in hexadecimal have that of a gateway.
fn has_gateway(flags: &str) -> bool {
    u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & GATEWAY != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_routes_over_gateways_count_and_their_counters_do_not() {
        let header =
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";
        let route = |gateway: &str, flags: &str, used: u8| {
            format!("eth0\t00000000\t{gateway}\t{flags}\t0\t{used}\t0\t00000000\t0\t0\t0")
        };
        assert_eq!(v4(header), None);
        assert_eq!(v4(&route("00000000", "0001", 0)), None);
        let usual = v4(&route("010200C0", "0003", 0));
        assert_eq!(usual.as_deref(), Some("eth0 00000000 00000000 010200C0 0"));
        assert_eq!(v4(&route("010200C0", "0003", 9)), usual);
        assert_ne!(v4(&route("020200C0", "0003", 0)), usual);
        let costly = "eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0";
        assert_ne!(v4(costly), usual, "a route with another metric");
        let zero = "0".repeat(32);
        let six = |hop: &str, flags: &str, used: &str| {
            v6(&format!(
                "{zero} 00 {zero} 00 {hop} 00000400 00000001 {used} {flags}     eth0"
            ))
        };
        let hop = "20010db8000000000000000000000001";
        assert_eq!(six(&zero, "00200200", "00000000"), None);
        let usual = six(hop, "00450003", "00000000");
        assert_eq!(usual, Some(format!("eth0 {zero} 00 {hop} 00000400")));
        assert_eq!(six(hop, "00450003", "00000009"), usual);
    }
}
