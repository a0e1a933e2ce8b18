//! Where callbacks may go: anywhere on the public Internet, and elsewhere only to what the operator names.
//!
//! A caller of the API chooses the address; without these rules it could make the workers call services that only they
//! can reach.

use std::net::{IpAddr, Ipv4Addr};

use url::{Host, Url};

use super::network::{Network, is_public, unwrapped};

/// The longest callback address, in characters.
pub(super) const MAX_URL_CHARS: usize = 2_000;

/// Why an address cannot be called back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// It is none that callbacks are made to.
    #[error("must be an absolute http or https address of at most 2000 characters")]
    NoAddress,
    /// It holds a user name or a password.
    #[error("must not hold a login; callbacks are signed instead")]
    Login,
    /// It is, or leads to, no address of the public Internet.
    #[error("must lead to a public address, or to a host that CALLBACK_ALLOWED_HOSTS names")]
    NotPublic,
}

/// What `CALLBACK_ALLOWED_HOSTS` names beside the public Internet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallbackTargets {
    names: Vec<String>,
    networks: Vec<Network>,
}

impl CallbackTargets {
    /// What [`Self::parse`] accepts.
    pub const ACCEPTS: &'static str = "must be host names, addresses or networks such as \
         hooks.internal,10.1.2.3,10.1.0.0/16, separated by commas";

    /// Reads a list of names, addresses and networks; `None` when it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut targets = Self::default();
        for entry in text.split(',').map(str::trim) {
            if let Ok(network) = entry.parse() {
                targets.networks.push(network);
                continue;
            }
            match Host::parse(entry) {
                Ok(Host::Domain(name)) if !name.contains('*') => {
                    targets.names.push(without_dot(&name).to_owned());
                }
                Ok(Host::Ipv6(address)) => targets.networks.push(Network::of(address.into())),
                Ok(Host::Domain(_) | Host::Ipv4(_)) | Err(_) => return None,
            }
        }
        Some(targets)
    }

    /// Whether `url` can be called back, as far as its text says; see [`Self::allow`] for what it resolves to.
    ///
    /// # Errors
    /// Why it never can.
    pub fn check(&self, url: &Url) -> Result<(), NotAllowed> {
        check_form(url)?;
        match url.host() {
            Some(Host::Ipv4(address)) => self.must_allow("", address.into()),
            Some(Host::Ipv6(address)) => self.must_allow("", address.into()),
            // Resolvers need not ask anybody what these are.
            Some(Host::Domain(name)) if is_local(name) => {
                self.must_allow(name, Ipv4Addr::LOCALHOST.into())
            }
            Some(Host::Domain(_)) => Ok(()),
            None => Err(NotAllowed::NoAddress),
        }
    }

    /// Whether `address`, to which `name` was resolved, may be called.
    #[must_use]
    pub fn allow(&self, name: &str, address: IpAddr) -> bool {
        is_public(address)
            || self.names.iter().any(|allowed| {
                let name = without_dot(name);
                allowed.eq_ignore_ascii_case(name)
            })
            || self
                .networks
                .iter()
                .any(|network| network.contains(unwrapped(address)) || network.contains(address))
    }

    fn must_allow(&self, name: &str, address: IpAddr) -> Result<(), NotAllowed> {
        if self.allow(name, address) {
            Ok(())
        } else {
            Err(NotAllowed::NotPublic)
        }
    }
}

/// Whether `url` is one that callbacks are made to, wherever it leads.
pub(super) fn check_form(url: &Url) -> Result<(), NotAllowed> {
    if url.as_str().len() > MAX_URL_CHARS
        || !matches!(url.scheme(), "http" | "https")
        || url.port() == Some(0)
        || url.host_str().is_none_or(|host| host.len() > 253)
    {
        return Err(NotAllowed::NoAddress);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(NotAllowed::Login);
    }
    Ok(())
}

/// Host and port: what may be slow or out of order as a whole, and all of a callback's address that logs may hold.
#[must_use]
pub fn callback_target(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}:{port}", without_dot(host))
}

fn is_local(name: &str) -> bool {
    let name = without_dot(name);
    name == "localhost" || name.ends_with(".localhost")
}

fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(allowed: &str, url: &str) -> Result<(), NotAllowed> {
        let targets = match allowed {
            "" => CallbackTargets::default(),
            list => CallbackTargets::parse(list).unwrap(),
        };
        targets.check(&url.parse().unwrap())
    }

    #[test]
    fn what_cannot_be_called_is_refused_by_its_text() {
        for (url, why) in [
            ("ftp://example.com/", NotAllowed::NoAddress),
            ("http://example.com:0/", NotAllowed::NoAddress),
            ("https://u:p@example.com/", NotAllowed::Login),
            ("https://u@example.com/", NotAllowed::Login),
            ("http://127.0.0.1/", NotAllowed::NotPublic),
            ("http://2130706433/", NotAllowed::NotPublic),
            ("http://0x7f.1/", NotAllowed::NotPublic),
            ("http://0177.0.0.1:80/", NotAllowed::NotPublic),
            ("http://１２７.0.0.1/", NotAllowed::NotPublic),
            (
                "http://169.254.169.254/latest/meta-data",
                NotAllowed::NotPublic,
            ),
            ("http://[::1]/", NotAllowed::NotPublic),
            ("http://[::ffff:10.0.0.1]/", NotAllowed::NotPublic),
            ("http://localhost:8200/", NotAllowed::NotPublic),
            ("http://LocalHost./", NotAllowed::NotPublic),
            ("http://a.localhost/", NotAllowed::NotPublic),
        ] {
            assert_eq!(check("", url), Err(why), "{url}");
        }
        let long = format!("https://example.com/{}", "x".repeat(2_000));
        assert_eq!(check("", &long), Err(NotAllowed::NoAddress));
        for url in [
            "https://example.com/hook?token=1",
            "http://8.8.8.8/",
            "http://[2606:4700::1]:8080/",
            "http://notlocalhost/",
        ] {
            assert_eq!(check("", url), Ok(()), "{url}");
        }
    }

    #[test]
    fn what_the_operator_names_is_allowed_and_nothing_else() {
        assert_eq!(check("127.0.0.1", "http://127.0.0.1:9/"), Ok(()));
        assert_eq!(check("127.0.0.1", "http://[::ffff:127.0.0.1]/"), Ok(()));
        assert_eq!(check("127.0.0.1", "http://localhost/"), Ok(()));
        assert_eq!(check("localhost", "http://localhost/"), Ok(()));
        assert_eq!(
            check("localhost", "http://127.0.0.1/"),
            Err(NotAllowed::NotPublic)
        );
        assert_eq!(check("[::1], 10.0.0.0/8", "http://[::1]/"), Ok(()));
        assert_eq!(check("::1 ,10.0.0.0/8", "http://10.200.0.1/"), Ok(()));
        let targets = CallbackTargets::parse("Hooks.Internal.,bücher.example").unwrap();
        let private: IpAddr = "10.0.0.1".parse().unwrap();
        assert!(targets.allow("hooks.internal", private));
        assert!(targets.allow("HOOKS.internal.", private));
        assert!(targets.allow("xn--bcher-kva.example", private));
        assert!(!targets.allow("evil-hooks.internal", private));
        assert!(!targets.allow("a.hooks.internal", private));
        assert!(targets.allow("anything.example", "8.8.8.8".parse().unwrap()));
    }

    #[test]
    fn a_list_of_anything_else_is_none() {
        for list in [
            "a,,b",
            "",
            "http://a",
            "a:80",
            "*.a",
            "10.0.0.0/33",
            "10.1/8",
            "a b",
            "10.1",
        ] {
            assert_eq!(CallbackTargets::parse(list), None, "{list}");
        }
    }

    #[test]
    fn a_target_is_host_and_port() {
        let target = |url: &str| callback_target(&url.parse().unwrap());
        assert_eq!(target("https://Example.com./x?secret=1"), "example.com:443");
        assert_eq!(target("http://[::1]:81"), "[::1]:81");
    }
}
