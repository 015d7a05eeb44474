//! Networks from which a key is taken: `10.0.0.0/8`, `2001:db8::/32`, or one address.

// `core::net` holds addresses as values; nothing here opens a socket.
use core::net::IpAddr;

/// A network. An IPv4 address and the same one written as IPv6 (`::ffff:10.0.0.1`) are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    bits: u128,
    /// Of 128; an IPv4 network has 96 more than it is written with.
    prefix: u8,
}

impl Cidr {
    pub fn parse(text: &str) -> Result<Cidr, String> {
        let wrong = || format!("`{text}` is no network: write `10.0.0.0/8`, `2001:db8::/32`, or one address");
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let plain = |length: &&str| length.len() <= 3 && length.bytes().all(|b| b.is_ascii_digit());
        let length = match length {
            Some(length) => Some(length).filter(plain).and_then(|l| l.parse::<u8>().ok()).ok_or_else(wrong)?,
            None => whole,
        };
        if length > whole {
            return Err(wrong());
        }
        let cidr = Cidr { bits: bits(address), prefix: length + (128 - whole) };
        // Most often a typing mistake, and never what is meant.
        match cidr.bits & !cidr.mask() {
            0 => Ok(cidr),
            _ => Err(format!(
                "`{text}` has bits behind its prefix: write `{}`",
                Cidr { bits: cidr.bits & cidr.mask(), ..cidr }
            )),
        }
    }

    /// Is the whole other network in this one?
    pub fn covers(&self, other: &Cidr) -> bool {
        self.prefix <= other.prefix && other.bits & self.mask() == self.bits
    }

    /// A text that is no address is in no network.
    pub fn contains(&self, address: &str) -> bool {
        address.parse::<IpAddr>().is_ok_and(|address| bits(address) & self.mask() == self.bits)
    }

    fn mask(&self) -> u128 {
        u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0)
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped().to_bits(),
        IpAddr::V6(six) => six.to_bits(),
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let address = core::net::Ipv6Addr::from_bits(self.bits);
        match address.to_ipv4_mapped().filter(|_| self.prefix >= 96) {
            Some(four) => write!(f, "{four}/{}", self.prefix - 96),
            None => write!(f, "{address}/{}", self.prefix),
        }
    }
}

impl serde::Serialize for Cidr {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Cidr {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        Cidr::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        for (network, address, inside, why) in [
            ("10.0.0.0/8", "10.255.0.1", true, "inside"),
            ("10.0.0.0/8", "11.0.0.1", false, "beside"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true, "the same address in the longer form"),
            ("10.0.0.0/8", "2001:db8::1", false, "the other family"),
            ("192.0.2.7", "192.0.2.7", true, "one address"),
            ("192.0.2.7/32", "192.0.2.8", false, "and no other"),
            ("0.0.0.0/0", "203.0.113.9", true, "all of IPv4"),
            ("0.0.0.0/0", "2001:db8::1", false, "and no IPv6"),
            ("::/0", "2001:db8::1", true, "everything"),
            ("2001:db8::/32", "2001:db8:ffff::1", true, "IPv6"),
            ("::1", "", false, "no address"),
            ("::1", "localhost", false, "a name"),
        ] {
            assert_eq!(Cidr::parse(network).unwrap().contains(address), inside, "{network} {address}: {why}");
        }
    }

    #[test]
    fn what_is_no_network_is_told_with_what_would_be_one() {
        for (text, told) in [
            ("10.0.0.1/8", "write `10.0.0.0/8`"),
            ("2001:db8::1/32", "write `2001:db8::/32`"),
            ("10.0.0.0/33", "is no network"),
            ("10.0.0.0/+8", "is no network"),
            ("10.0.0.0/", "is no network"),
            ("10.0.0/8", "is no network"),
            ("example.org", "is no network"),
        ] {
            let why = Cidr::parse(text).unwrap_err();
            assert!(why.contains(told), "{text}: {why}");
        }
        for text in ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32", "::/0"] {
            assert_eq!(Cidr::parse(text).unwrap().to_string(), text);
        }
    }
}
