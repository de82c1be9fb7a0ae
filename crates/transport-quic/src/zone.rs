//! IPv6 zones (RFC 4007): the network interface to which an address belongs.

/// The index of the interface that a zone names, by its name or by the index itself. `None`: this machine has no such
/// interface.
pub(crate) fn index(zone: &str) -> Option<u32> {
    if let Ok(index) = zone.parse::<u32>() {
        return Some(index).filter(|index| *index > 0);
    }
    let interfaces = if_addrs::get_if_addrs().ok()?;
    let named = interfaces.into_iter().find(|of| of.name == zone)?;
    named.index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_the_name_of_an_interface_or_its_index() {
        let interfaces = if_addrs::get_if_addrs().unwrap();
        let loopback = interfaces.into_iter().find(|of| of.is_loopback()).unwrap();
        assert!(loopback.index.is_some());
        assert_eq!(index(&loopback.name), loopback.index);
        assert_eq!(index("7"), Some(7));
        for missing in ["", "0", "-1", "no such interface"] {
            assert_eq!(index(missing), None);
        }
    }
}
