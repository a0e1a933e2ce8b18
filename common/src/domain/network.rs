//! Networks of IP addresses, and which addresses belong to the public Internet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network: the addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    base: IpAddr,
    prefix: u32,
}

impl Network {
    const fn v4(octets: [u8; 4], prefix: u32) -> Self {
        let [a, b, c, d] = octets;
        Self {
            base: IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            prefix,
        }
    }

    const fn v6(first: u16, second: u16, third: u16, prefix: u32) -> Self {
        Self {
            base: IpAddr::V6(Ipv6Addr::new(first, second, third, 0, 0, 0, 0, 0)),
            prefix,
        }
    }

    /// The network of one address.
    pub(super) const fn of(address: IpAddr) -> Self {
        let prefix = match address {
            IpAddr::V4(_) => Ipv4Addr::BITS,
            IpAddr::V6(_) => Ipv6Addr::BITS,
        };
        Self {
            base: address,
            prefix,
        }
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let apart = base.to_bits() ^ address.to_bits();
                apart.leading_zeros() >= self.prefix
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let apart = base.to_bits() ^ address.to_bits();
                apart.leading_zeros() >= self.prefix
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = ();

    /// Reads an address, or an address and the length of its prefix.
    fn from_str(text: &str) -> Result<Self, ()> {
        let Some((base, prefix)) = text.split_once('/') else {
            return Ok(Self::of(text.parse().map_err(|_| ())?));
        };
        let whole = Self::of(base.parse().map_err(|_| ())?);
        let prefix = prefix.parse().map_err(|_| ())?;
        if prefix > whole.prefix {
            return Err(());
        }
        Ok(Self { prefix, ..whole })
    }
}

/// IPv4 networks that are not the public Internet, after IANA's registry of special-purpose addresses.
const NOT_PUBLIC_V4: [Network; 15] = [
    Network::v4([0, 0, 0, 0], 8),       // this network; 0.0.0.0 is this host
    Network::v4([10, 0, 0, 0], 8),      // private
    Network::v4([100, 64, 0, 0], 10),   // shared by carriers' customers
    Network::v4([127, 0, 0, 0], 8),     // loopback
    Network::v4([169, 254, 0, 0], 16),  // link-local, and clouds' metadata
    Network::v4([172, 16, 0, 0], 12),   // private
    Network::v4([192, 0, 0, 0], 24),    // protocol assignments
    Network::v4([192, 0, 2, 0], 24),    // documentation
    Network::v4([192, 88, 99, 0], 24),  // 6to4 relays
    Network::v4([192, 168, 0, 0], 16),  // private
    Network::v4([198, 18, 0, 0], 15),   // benchmarks
    Network::v4([198, 51, 100, 0], 24), // documentation
    Network::v4([203, 0, 113, 0], 24),  // documentation
    Network::v4([224, 0, 0, 0], 4),     // multicast
    Network::v4([240, 0, 0, 0], 4),     // reserved, and broadcast
];

/// The only part of IPv6 that is routed on the public Internet.
const GLOBAL_V6: Network = Network::v6(0x2000, 0, 0, 3);

/// What in that part is none of it.
const NOT_PUBLIC_V6: [Network; 4] = [
    Network::v6(0x2001, 0, 0, 23), // protocol assignments, Teredo among them
    Network::v6(0x2001, 0xdb8, 0, 32), // documentation
    Network::v6(0x2002, 0, 0, 16), // 6to4: any IPv4 address
    Network::v6(0x3fff, 0, 0, 20), // documentation
];

/// Addresses behind which a translator puts IPv4 addresses.
const NAT64: Network = Network::v6(0x64, 0xff9b, 0, 96);

/// The IPv4 address that an IPv6 address stands for, when it does.
pub(super) fn unwrapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) if NAT64.contains(address) => {
            let [.., a, b, c, d] = v6.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        IpAddr::V4(_) | IpAddr::V6(_) => address.to_canonical(),
    }
}

/// Whether an address belongs to the public Internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    let address = unwrapped(address);
    let within = |network: &Network| network.contains(address);
    match address {
        IpAddr::V4(_) => !NOT_PUBLIC_V4.iter().any(within),
        IpAddr::V6(_) => GLOBAL_V6.contains(address) && !NOT_PUBLIC_V6.iter().any(within),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn public(text: &str) -> bool {
        is_public(text.parse().unwrap())
    }

    #[test]
    fn addresses_of_the_internet_are_public() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.169.0.1",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450:4001::200e",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ] {
            assert!(public(address), "{address}");
        }
    }

    #[test]
    fn addresses_with_another_purpose_are_not() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::8.8.8.8",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::",
            "3fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!public(address), "{address}");
        }
    }

    #[test]
    fn a_network_is_an_address_or_has_a_prefix() {
        let contains = |network: &str, address: &str| {
            let network: Network = network.parse().unwrap();
            network.contains(address.parse().unwrap())
        };
        assert!(contains("10.1.0.0/16", "10.1.255.1"));
        assert!(!contains("10.1.0.0/16", "10.2.0.1"));
        assert!(contains("127.0.0.1", "127.0.0.1"));
        assert!(!contains("127.0.0.1", "127.0.0.2"));
        assert!(contains("0.0.0.0/0", "8.8.8.8"));
        assert!(!contains("0.0.0.0/0", "::1"));
        assert!(contains("fd00::/8", "fdff::1"));
        for wrong in [
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0/8",
            "x",
            "",
        ] {
            assert_eq!(wrong.parse::<Network>(), Err(()), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_refused_stays_refused_however_it_is_written(bits: u32) {
            let v4 = Ipv4Addr::from_bits(bits);
            let public = is_public(v4.into());
            prop_assert_eq!(is_public(v4.to_ipv6_mapped().into()), public);
            let nat64: Ipv6Addr = format!("64:ff9b::{v4}").parse().unwrap();
            prop_assert_eq!(is_public(nat64.into()), public);
            prop_assert!(!is_public(v4.to_ipv6_compatible().into()));
        }

        /// The standard library's own notions, as far as they are stable.
        #[test]
        fn nothing_public_is_special_to_the_standard_library(bits: u32) {
            let v4 = Ipv4Addr::from_bits(bits);
            let special = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast()
                || v4.is_unspecified() || v4.is_broadcast() || v4.is_documentation();
            prop_assert!(!(special && is_public(v4.into())));
        }

        #[test]
        fn nothing_public_is_special_to_the_standard_library_in_ipv6(bits: u128) {
            let v6 = Ipv6Addr::from_bits(bits);
            let special = v6.is_loopback() || v6.is_unspecified() || v6.is_multicast()
                || v6.is_unique_local() || v6.is_unicast_link_local();
            prop_assert!(!(special && is_public(v6.into())));
        }
    }
}
