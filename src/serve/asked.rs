//! Health as a neighbour sees it: this very machine asks the port. For container runtimes, whose images have no shell.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::redirect::Policy;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks `/-/healthy`, or with `ready` `/-/ready`, of the daemon that listens at this address. `Err`: why it is not.
///
/// Nothing is proven to whoever answers and nothing is believed of him but his status, so that his certificate is not looked at:
/// it is for other names than this address.
pub async fn is_well(listen: SocketAddr, tls: bool, ready: bool) -> Result<(), String> {
    let (scheme, path) = (if tls { "https" } else { "http" }, if ready { "/-/ready" } else { "/-/healthy" });
    let url = format!("{scheme}://{}{path}", here(listen));
    let client = reqwest::Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .timeout(PATIENCE)
        .tls_danger_accept_invalid_certs(true)
        .build()
        .map_err(|_| "no client can be made".to_owned())?;
    match client.get(url).send().await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(format!("{path} is answered with {}", answer.status().as_u16())),
        Err(error) if error.is_timeout() => {
            Err(format!("{path} is not answered within {} s", PATIENCE.as_secs()))
        }
        Err(_) => Err(format!("nobody answers at {}", here(listen))),
    }
}

/// Where this machine reaches what listens there: everywhere includes here.
fn here(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everywhere_is_asked_here() {
        for (listen, asked) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("127.0.0.2:1", "127.0.0.2:1"),
            ("10.1.2.3:1", "10.1.2.3:1"),
        ] {
            assert_eq!(here(listen.parse().expect("an address")).to_string(), asked);
        }
    }
}
