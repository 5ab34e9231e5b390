//! `Idempotency-Key`: a change that is asked for again, since its answer was lost on the way, is answered again and not done again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::refusal::{Refusal, code};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// That an answer is the one of an earlier request.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Keys that are remembered.
const KEYS_MAX: usize = 64;
const KEY_BYTES_MAX: usize = 128;
/// Of a request with a key: it is compared with the one before by its hash.
const BODY_BYTES_MAX: usize = 4 << 20;
/// Of an answer that is given again.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// Keys with what was answered, the oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Repeated(Arc<Mutex<VecDeque<Known>>>);

#[derive(Clone, Debug)]
struct Known {
    key: String,
    asked: [u8; 32],
    /// None until the first request is answered; the sender goes with one that leaves no answer to give again.
    answer: watch::Receiver<Option<Answer>>,
}

#[derive(Clone, Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

enum Place {
    First(watch::Sender<Option<Answer>>),
    Again(watch::Receiver<Option<Answer>>),
    Other,
}

/// Answers what was asked before; the rest goes on.
pub(super) async fn once(State(repeated): State<Repeated>, request: Request, next: Next) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let key = match request.headers().get(KEY).filter(|_| !is_read) {
        None => return next.run(request).await,
        Some(key) => key.to_str().ok().filter(|key| (1..=KEY_BYTES_MAX).contains(&key.len())).map(str::to_owned),
    };
    let Some(key) = key else {
        let error = format!("an Idempotency-Key is 1 to {KEY_BYTES_MAX} visible characters");
        return Refusal::new(code::UNREADABLE, error).of(StatusCode::BAD_REQUEST);
    };
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        let error = format!("a body with an Idempotency-Key is at most {BODY_BYTES_MAX} bytes");
        return Refusal::new(code::TOO_LARGE, error).of(StatusCode::PAYLOAD_TOO_LARGE);
    };
    let asked = Sha256::new().chain_update(head.method.as_str()).chain_update(head.uri.to_string()).chain_update(&body);
    match repeated.place(&key, asked.finalize().into()) {
        Place::Other => {
            let error = "this Idempotency-Key was used for something else";
            Refusal::new(code::KEY_REUSED, error).of(StatusCode::UNPROCESSABLE_ENTITY)
        }
        Place::Again(answer) => again(answer).await,
        Place::First(told) => {
            // The asker may hang up, and ask again with the same key.
            let answering = tokio::spawn(async move {
                let response = next.run(Request::from_parts(head, Body::from(body))).await;
                let (response, answer) = kept(response).await;
                match answer {
                    Some(answer) => drop(told.send_replace(Some(answer))),
                    None => repeated.forget(&key),
                }
                response
            });
            answering.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
        }
    }
}

impl Repeated {
    fn place(&self, key: &str, asked: [u8; 32]) -> Place {
        let mut known = self.known();
        if let Some(known) = known.iter().find(|known| known.key == key) {
            return if known.asked == asked { Place::Again(known.answer.clone()) } else { Place::Other };
        }
        while known.len() >= KEYS_MAX {
            known.pop_front();
        }
        let (told, answer) = watch::channel(None);
        known.push_back(Known { key: key.to_owned(), asked, answer });
        Place::First(told)
    }

    fn forget(&self, key: &str) {
        self.known().retain(|known| known.key != key);
    }

    fn known(&self) -> MutexGuard<'_, VecDeque<Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn again(mut answer: watch::Receiver<Option<Answer>>) -> Response {
    let answered = answer.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone());
    let Some(Answer { status, headers, body }) = answered else {
        let error = "the first request with this Idempotency-Key was not done; send it again";
        return Refusal::new(code::CONFLICT, error).of(StatusCode::CONFLICT);
    };
    let mut response = (status, body).into_response();
    *response.headers_mut() = headers;
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

/// An answer that can be given again: a document, of something that was done or will never be. Streams are not, nor what may be done the
/// next time.
async fn kept(response: Response) -> (Response, Option<Answer>) {
    let status = response.status();
    let may_change = status.is_server_error() || matches!(status, StatusCode::CONFLICT | StatusCode::REQUEST_TIMEOUT);
    let said = response.headers().get(header::CONTENT_TYPE).and_then(|said| said.to_str().ok());
    if may_change || said.is_none_or(|said| said != "application/json") {
        return (response, None);
    }
    let (head, body) = response.into_parts();
    let Ok(body) = to_bytes(body, ANSWER_BYTES_MAX).await else {
        let error = "the answer is too long to be remembered under an Idempotency-Key; what was asked for was done";
        return (Refusal::new(code::INTERNAL, error).of(StatusCode::INTERNAL_SERVER_ERROR), None);
    };
    let answer = Answer { status, headers: head.headers.clone(), body: body.clone() };
    (Response::from_parts(head, Body::from(body)), Some(answer))
}
