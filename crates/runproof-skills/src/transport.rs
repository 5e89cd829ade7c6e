//! Makes one HTTP request, and says of every failure whether the request can have been sent.
//!
//! Follows no redirect, repeats nothing, keeps no connection and judges no status: that is the skill's.
//! Addresses are judged by [`Egress`] after resolution, and the connection goes to the addresses that were judged.

mod fault;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, Response, Url};
use rustls::{ClientConfig, RootCertStore};
use url::Host;

use crate::egress::Egress;
pub(crate) use fault::Fault;

/// Longest time for resolving, connecting and the TLS handshake together.
const MAX_CONNECT_TIME: Duration = Duration::from_secs(10);

/// What all requests of a process share: the allow-list and the TLS configuration.
pub(crate) struct Transport {
    egress: Arc<Egress>,
    tls: ClientConfig,
    has_roots: bool,
}

/// One request, ready to be sent.
pub(crate) struct Outgoing<'a> {
    /// Method.
    pub(crate) method: Method,
    /// `http` or `https`.
    pub(crate) url: &'a Url,
    /// All headers except those that HTTP itself sets.
    pub(crate) headers: HeaderMap,
    /// Body; `None` sends none.
    pub(crate) body: Option<Vec<u8>>,
    /// Timeout of the whole attempt; connecting gets less.
    pub(crate) timeout: Duration,
}

impl Transport {
    /// Loads the certificate roots and the TLS defaults of ring.
    pub(crate) fn new(egress: Egress) -> Result<Self, rustls::Error> {
        // rustls-native-certs, by the rustls authors and already below reqwest: an operator's own authority and
        // SSL_CERT_FILE count, which a compiled-in list such as webpki-roots would pass over.
        let mut roots = RootCertStore::empty();
        let (added, _unusable) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { egress: Arc::new(egress), tls, has_roots: added > 0 })
    }

    /// Sends a request and returns when the head of the response is there.
    pub(crate) async fn send(&self, outgoing: Outgoing<'_>) -> Result<Response, Fault> {
        let host = outgoing.url.host_str().unwrap_or_default().to_owned();
        let port = outgoing.url.port_or_known_default().unwrap_or_default();
        if outgoing.url.scheme() == "https" && !self.has_roots {
            return Err(Fault::Tls { host, reason: "no certificate roots on this machine".to_owned() });
        }
        // reqwest asks the resolver about names only, so an address in the URL is judged here.
        if let Some(address) = literal(outgoing.url) {
            self.egress.judge(&host, address, port).map_err(Fault::Denied)?;
        }
        let client = self.client(port, connect_time(outgoing.timeout)).map_err(|_| Fault::Setup)?;
        let mut request = client.request(outgoing.method, outgoing.url.clone()).headers(outgoing.headers);
        if let Some(body) = outgoing.body {
            request = request.body(body);
        }
        request.send().await.map_err(|error| Fault::of(&error, &host))
    }

    /// A client for one request. One per request, because the judgement depends on the port, which a resolver is not
    /// told, and because connections are not kept: a receiver that closes a kept connection in the moment of a POST
    /// would make the outcome unknown, and a kept connection would escape the judgement of the next call.
    fn client(&self, port: u16, connect_time: Duration) -> Result<Client, reqwest::Error> {
        Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .dns_resolver(JudgedResolver { egress: Arc::clone(&self.egress), port })
            .connect_timeout(connect_time)
            .pool_max_idle_per_host(0)
            .http1_only()
            .no_proxy()
            .referer(false)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .build()
    }
}

/// A tenth less than the attempt may take, so that a connection which never came about is reported as such before the
/// engine gives up on the attempt and cannot know how far it got.
fn connect_time(timeout: Duration) -> Duration {
    timeout.saturating_sub(timeout / 10).min(MAX_CONNECT_TIME)
}

fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
    }
}

/// Resolves through the operating system and hands on only the addresses that may be reached at this port.
struct JudgedResolver {
    egress: Arc<Egress>,
    port: u16,
}

impl Resolve for JudgedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (egress, port) = (Arc::clone(&self.egress), self.port);
        Box::pin(async move {
            let host = name.as_str();
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
            let permitted = egress.permitted(host, &addresses)?;
            let addresses: Addrs = Box::new(permitted.into_iter());
            Ok(addresses)
        })
    }
}
