//! Who may ask for what.
//!
//! On loopback reads are open to this machine, changes need the token. On the Unix socket the kernel says who asks. Anywhere else everything
//! needs the token. Reads are GET and HEAD: neither ever changes anything.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::refusal::{Refusal, code};
use super::token;
use crate::control::who::{Claimed, Who};

/// The header in which a client says whose it is. Nothing proves it.
pub const USER_HEADER: &str = "x-sluicebox-user";
/// Asked by whatever watches processes, from wherever it is.
const ALWAYS_OPEN: [&str; 2] = ["/livez", "/readyz"];

/// Who is at the other end of a connection; an extension of each of its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A process of this machine, over loopback TCP.
    Loopback,
    /// Anybody, over TLS.
    Remote,
    /// A process of this user, over the Unix socket.
    User {
        /// Its effective user id.
        uid: u32,
        /// Its name, if it has one.
        name: Option<String>,
    },
}

/// Who asked for the request.
#[derive(Clone, Debug)]
pub(super) struct Caller(pub(super) Who);

/// Whether the token was shown, or the kernel said who asks: an open read may be anybody's on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IsProven(pub(super) bool);

/// What requests are let in by.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    /// None: it could not be kept, so nobody has it.
    token: Option<Arc<str>>,
}

impl Gate {
    pub(super) fn new(token: Option<String>) -> Self {
        Self { token: token.map(Arc::from) }
    }

    /// Who asks, if they may, and whether that is more than a claim.
    fn admit(&self, peer: &Peer, method: &Method, path: &str, headers: &HeaderMap) -> Result<(Who, bool), Refused> {
        if headers.contains_key(header::ORIGIN) {
            return Err(refused(StatusCode::FORBIDDEN, code::FOREIGN, "requests with an Origin are refused"));
        }
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        let is_open = match peer {
            Peer::User { uid, name } => return Ok((of_user(*uid, name.as_deref())?, true)),
            Peer::Loopback if is_foreign(headers) => {
                return Err(refused(StatusCode::FORBIDDEN, code::FOREIGN, "requests with a foreign Host are refused"));
            }
            Peer::Loopback => is_read,
            Peer::Remote => is_read && ALWAYS_OPEN.contains(&path),
        };
        let token = self.check_token(headers);
        let has_token = token.is_ok();
        if !is_open {
            token?;
        }
        let claimed = headers.get(USER_HEADER).and_then(|name| Claimed::of(name.to_str().ok()?));
        Ok((Who::Api(claimed), has_token))
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        match (&self.token, given) {
            (Some(token), Some(given)) if token::same(token, given) => Ok(()),
            (None, _) => Err(refused(
                StatusCode::FORBIDDEN,
                code::NO_TOKEN,
                "this engine could not keep an admin token, so it takes no changes",
            )),
            _ => Err(refused(
                StatusCode::UNAUTHORIZED,
                code::NO_TOKEN,
                "this needs the admin token: Authorization: Bearer TOKEN",
            )),
        }
    }
}

type Refused = Box<(StatusCode, Refusal)>;

fn refused(status: StatusCode, code: &str, error: &str) -> Refused {
    Box::new((status, Refusal::new(code, error)))
}

/// Root may do anything on a machine anyhow.
fn of_user(uid: u32, name: Option<&str>) -> Result<Who, Refused> {
    if uid != 0 && uid != rustix::process::geteuid().as_raw() {
        let error = "this socket is for the user that the engine runs as, and for root";
        return Err(refused(StatusCode::FORBIDDEN, code::NO_TOKEN, error));
    }
    Ok(Who::user(uid, name))
}

/// Browsers are led to loopback addresses by foreign pages: those name a foreign host.
fn is_foreign(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    !(name == "localhost" || name.parse::<std::net::IpAddr>().is_ok())
}

/// Lets a request in, or says why not.
pub(super) async fn gate(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    // What did not come through a listener of ours is as a peer of this machine.
    let peer = request.extensions().get::<Peer>().cloned().unwrap_or(Peer::Loopback);
    match gate.admit(&peer, request.method(), request.uri().path(), request.headers()) {
        Ok((who, is_proven)) => {
            request.extensions_mut().insert(Caller(who));
            request.extensions_mut().insert(IsProven(is_proven));
            next.run(request).await
        }
        Err(refused) => {
            let (status, refusal) = *refused;
            refusal.of(status)
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<Caller>().cloned().unwrap_or(Caller(Who::Api(None))))
    }
}

impl<S: Sync> FromRequestParts<S> for IsProven {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<IsProven>().copied().unwrap_or(IsProven(false)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn asks(peer: &Peer, method: Method, path: &str, headers: &[(header::HeaderName, &str)]) -> Result<String, u16> {
        let gate = Gate::new(Some(TOKEN.to_owned()));
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().expect("header"))).collect();
        gate.admit(peer, &method, path, &headers).map(|(who, _)| who.to_string()).map_err(|refused| refused.0.as_u16())
    }

    #[test]
    fn foreign_hosts_and_origins_are_refused() {
        let of = |host: &str| asks(&Peer::Loopback, Method::GET, "/v1/status", &[(header::HOST, host)]);
        for own in ["localhost:13131", "localhost", "127.0.0.1:13131", "[::1]:13131", "[::1]"] {
            assert_eq!(of(own), Ok("api".to_owned()), "{own}");
        }
        for foreign in ["evil.example:13131", "evil.example", "", "localhost.evil.example"] {
            assert_eq!(of(foreign), Err(403), "{foreign}");
        }
        let user = Peer::User { uid: 0, name: None };
        for peer in [Peer::Loopback, Peer::Remote, user] {
            let bearer = format!("Bearer {TOKEN}");
            let headers = [
                (header::HOST, "127.0.0.1"),
                (header::AUTHORIZATION, bearer.as_str()),
                (header::ORIGIN, "http://127.0.0.1:13131"),
            ];
            assert_eq!(asks(&peer, Method::GET, "/v1/status", &headers), Err(403), "{peer:?}");
        }
    }

    #[test]
    fn who_needs_the_token_for_what() {
        let bearer = format!("Bearer {TOKEN}");
        let with = [(header::HOST, "localhost"), (header::AUTHORIZATION, bearer.as_str())];
        let without = [(header::HOST, "localhost")];
        let wrong = [(header::HOST, "localhost"), (header::AUTHORIZATION, "Bearer 0123456789abcdee")];
        let may = |peer: &Peer, method: Method, path: &str| {
            assert!(asks(peer, method.clone(), path, &with).is_ok());
            assert_eq!(
                asks(peer, method.clone(), path, &without).is_ok(),
                asks(peer, method.clone(), path, &wrong).is_ok()
            );
            asks(peer, method, path, &without).map(|_| ())
        };
        assert_eq!(may(&Peer::Loopback, Method::GET, "/v1/status"), Ok(()));
        assert_eq!(may(&Peer::Loopback, Method::HEAD, "/v1/status"), Ok(()));
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
            assert_eq!(may(&Peer::Loopback, method.clone(), "/v1/swap"), Err(401));
            assert_eq!(may(&Peer::Remote, method, "/livez"), Err(401));
        }
        assert_eq!(may(&Peer::Remote, Method::GET, "/v1/status"), Err(401));
        assert_eq!(may(&Peer::Remote, Method::GET, "/livez"), Ok(()));
        assert_eq!(may(&Peer::Remote, Method::GET, "/readyz"), Ok(()));
    }

    #[test]
    fn on_the_socket_the_user_is_who_asks() {
        let own = rustix::process::geteuid().as_raw();
        let user = |uid, name: Option<&str>| Peer::User { uid, name: name.map(str::to_owned) };
        let claims = [(header::HeaderName::from_static(USER_HEADER), "mallory")];
        let asked = |peer: &Peer| asks(peer, Method::POST, "/v1/swap", &claims);
        assert_eq!(asked(&user(own, Some("alice"))), Ok("api (alice)".to_owned()), "proven, whatever is claimed");
        assert_eq!(asked(&user(own, None)), Ok(format!("api (uid {own})")));
        assert!(asked(&user(0, Some("root"))).is_ok());
        assert_eq!(asked(&user(own + 1, Some("root"))), Err(403));
    }
}
