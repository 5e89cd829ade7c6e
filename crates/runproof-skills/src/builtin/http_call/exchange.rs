//! Performs one call or one probe: parameters in, hops, result out.

use jiff::Timestamp;
use reqwest::header::{
    ACCEPT, ACCEPT_LANGUAGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT,
};
use reqwest::{Method, Response, Url};
use runproof_engine::skill::{Attempt, AttemptResult, Dispatch, EffectClass, Failure, Probe};

use super::output::NoOutput;
use super::params::{Request, is_read};
use super::{COST_MICROCENTS, IDEMPOTENCY_KEY, MAX_OUTPUT_BYTES, codes, outcome, output, params};
use crate::attempt::{attempt, failure, not_done};
use crate::params::{Stage, sentence};
use crate::transport::{Fault, Outgoing, Transport};

/// Most redirects that are followed.
const MAX_HOPS: usize = 3;
/// Headers that may follow a redirect to another origin. Any other can hold a secret, whatever its name.
const HARMLESS_HEADERS: &[HeaderName] = &[ACCEPT, ACCEPT_LANGUAGE, USER_AGENT];
const OUR_NAME: &str = concat!("runproof/", env!("CARGO_PKG_VERSION"));

/// Performs the call.
pub(super) async fn invoke(transport: &Transport, dispatch: &Dispatch, class: EffectClass) -> Attempt {
    let (request, headers) = match prepare(dispatch) {
        Ok(prepared) => prepared,
        Err(message) => return not_done(failure(&codes::INVALID_PARAMS, message)),
    };
    match follow(transport, dispatch, &request, headers).await {
        Ok(response) => attempt(finish(response, &request, class).await, COST_MICROCENTS),
        Err(Stopped::Refused(result)) => attempt(*result, COST_MICROCENTS),
        Err(Stopped::Fault { fault, dispatched }) => {
            attempt(outcome::of_fault(&fault, class), if dispatched { COST_MICROCENTS } else { 0 })
        }
    }
}

/// Asks the receiver whether the call took effect. Anything but a clear answer is no answer.
pub(super) async fn probe(transport: &Transport, dispatch: &Dispatch) -> Probe {
    let Ok((request, headers)) = prepare(dispatch) else {
        return Probe::Unknown;
    };
    let Some(url) = &request.probe_url else {
        return Probe::Unknown;
    };
    let mut headers = headers_for(&request.url, url, headers);
    headers.remove(CONTENT_TYPE);
    let Ok(key) = HeaderValue::from_str(&dispatch.call().idempotency_key) else {
        return Probe::Unknown;
    };
    headers.insert(IDEMPOTENCY_KEY, key);
    let timeout = dispatch.call().timeout;
    let outgoing = Outgoing { method: Method::GET, url, headers, body: None, timeout };
    // Not every caller of a probe has a clock running beside it.
    tokio::time::timeout(timeout, ask(transport, outgoing)).await.unwrap_or(Probe::Unknown)
}

async fn ask(transport: &Transport, outgoing: Outgoing<'_>) -> Probe {
    let Ok(response) = transport.send(outgoing).await else {
        return Probe::Unknown;
    };
    match response.status().as_u16() {
        200..=299 => match output::of(response).await {
            Ok(output) => Probe::Done { output },
            Err(NoOutput::TooLarge | NoOutput::Fault(_)) => Probe::Unknown,
        },
        404 => Probe::NotDone,
        _ => Probe::Unknown,
    }
}

/// The request and all its headers, or what is wrong with the parameters.
fn prepare(dispatch: &Dispatch) -> Result<(Request, HeaderMap), String> {
    let (request, findings) = params::read(dispatch.params(), Stage::Resolved);
    let request = request.ok_or_else(|| sentence(&findings))?;
    let mut headers = request.headers.clone();
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(OUR_NAME));
    if !is_read(&request.method) {
        let key = HeaderValue::from_str(&dispatch.call().idempotency_key);
        headers.insert(IDEMPOTENCY_KEY, key.map_err(|_| "the idempotency key is not visible ASCII".to_owned())?);
    }
    Ok((request, headers))
}

/// Why there is no final response.
enum Stopped {
    /// A hop got no response; `dispatched` says whether any request can have been sent.
    Fault { fault: Fault, dispatched: bool },
    /// A redirect that is not followed.
    Refused(Box<AttemptResult>),
}

/// Sends the request and follows its redirects to the final response.
async fn follow(
    transport: &Transport,
    dispatch: &Dispatch,
    request: &Request,
    mut headers: HeaderMap,
) -> Result<Response, Stopped> {
    let mut url = request.url.clone();
    let timeout = dispatch.call().timeout;
    for hop in 0..=MAX_HOPS {
        let (method, body) = (request.method.clone(), request.body.clone());
        let outgoing = Outgoing { method, url: &url, headers: headers.clone(), body, timeout };
        let response = transport.send(outgoing).await.map_err(|fault| {
            let dispatched = hop > 0 || fault.may_have_been_sent();
            Stopped::Fault { fault, dispatched }
        })?;
        let Some(location) = redirect(&response, request) else {
            return Ok(response);
        };
        let next = next_url(&url, location).map_err(|problem| {
            let message = format!("host `{}` answered {} {problem}", host(&url), response.status().as_u16());
            refused(failure(&codes::REDIRECT_REFUSED, message))
        })?;
        headers = headers_for(&url, &next, headers);
        url = next;
    }
    let message = format!("more than {MAX_HOPS} redirects, the last to host `{}`", host(&url));
    Err(refused(failure(&codes::TOO_MANY_REDIRECTS, message)))
}

fn refused(failure: Failure) -> Stopped {
    Stopped::Refused(Box::new(AttemptResult::Failed(failure)))
}

/// The location to go on to, when the response is a redirect that this request follows.
fn redirect<'r>(response: &'r Response, request: &Request) -> Option<&'r HeaderValue> {
    let status = response.status().as_u16();
    let wanted = request.expect.as_ref().is_some_and(|codes| codes.contains(&status));
    let redirects = matches!(status, 301 | 302 | 303 | 307 | 308);
    if !redirects || wanted || !request.follow_redirects {
        return None;
    }
    response.headers().get(LOCATION)
}

fn next_url(url: &Url, location: &HeaderValue) -> Result<Url, &'static str> {
    let location = location.to_str().map_err(|_| "with a location that is not text")?;
    let mut next = url.join(location).map_err(|_| "with a location that is not a URL")?;
    next.set_fragment(None);
    match (url.scheme(), next.scheme()) {
        ("http", "http" | "https") | ("https", "https") => {}
        ("https", "http") => return Err("to a URL without TLS"),
        _ => return Err("to a URL that is not http or https"),
    }
    if !next.username().is_empty() || next.password().is_some() {
        return Err("to a URL with a user name or password");
    }
    Ok(next)
}

/// The headers that may go on to `next`: all to the same origin, the harmless ones to another.
fn headers_for(url: &Url, next: &Url, mut headers: HeaderMap) -> HeaderMap {
    if url.origin() == next.origin() {
        return headers;
    }
    HARMLESS_HEADERS.iter().filter_map(|name| headers.remove(name).map(|value| (name.clone(), value))).collect()
}

/// Judges the final response and reads its body.
async fn finish(response: Response, request: &Request, class: EffectClass) -> AttemptResult {
    let status = response.status().as_u16();
    let host = host(response.url());
    if !accepts(request, status) {
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|value| outcome::retry_after(value, Timestamp::now()));
        return outcome::of_status(status, &host, class, retry_after);
    }
    match output::of(response).await {
        Ok(output) => AttemptResult::Done { output },
        Err(NoOutput::Fault(fault)) => outcome::of_fault(&fault, class),
        // Whatever the call did, it did: the answer was an acceptable status.
        Err(NoOutput::TooLarge) => {
            let message =
                format!("host `{host}` answered {status} with more than can be recorded ({MAX_OUTPUT_BYTES} bytes)");
            AttemptResult::Failed(failure(&codes::BODY_TOO_LARGE, message))
        }
    }
}

fn accepts(request: &Request, status: u16) -> bool {
    match &request.expect {
        Some(codes) => codes.contains(&status),
        None if matches!(request.method, Method::GET | Method::HEAD) => (200..=399).contains(&status),
        // Nobody follows this redirect, so what the caller asked for was not answered.
        None => (200..=299).contains(&status),
    }
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}
