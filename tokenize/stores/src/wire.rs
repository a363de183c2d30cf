//! The HTTP client of this crate, as the one that `object_store` sends its signed requests with: so that object stores have
//! the same time-outs as everything else, and no second client comes into the programs.
//!
//! Each call blocks until there is an answer, and its body blocks until there are bytes. That is right here, because every
//! request has its own thread, which waits for it anyway.

use std::fmt;
use std::future::poll_fn;
use std::io::Read;
use std::pin::{Pin, pin};
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body::{Body, Frame};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use ureq::http::{Request, StatusCode};
use ureq::{Agent, BodyReader};

use crate::remote::PIECE;
use crate::retry::{Failure, Retry};
use crate::web;

/// Services that give credentials to machines in a cloud. Elsewhere nothing answers there.
const METADATA_HOSTS: [&str; 4] = [
    "169.254.169.254",
    "169.254.170.2",
    "metadata",
    "metadata.google.internal",
];

/// Makes [`HttpClient`]s of our own client.
#[derive(Clone)]
pub(crate) struct Connector(Agent);

impl Connector {
    pub fn new(retry: &Retry) -> Self {
        Self(web::agent(retry))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let url = request.uri().to_string();
        let (parts, body) = request.into_parts();
        let metadata = parts
            .uri
            .host()
            .is_some_and(|host| METADATA_HOSTS.contains(&host));
        let body = collect(body).await?;
        let answer = match body.is_empty() && !["POST", "PUT"].contains(&parts.method.as_str()) {
            true => self.send(Request::from_parts(parts, ()), metadata),
            false => self.send(Request::from_parts(parts, &body[..]), metadata),
        };
        let answer = answer.map_err(|e| match metadata {
            true => failed(Failure::lasting(
                format!("no credentials are in the environment, and {url} gives none: {e}"),
                "set the variables of the object store, or for public data the one that turns signatures off",
            )),
            false => failed(web::broken(&e, &url)),
        })?;
        if let Some(failure) = web::passing(answer.status(), answer.headers(), &url) {
            return Err(failed(failure));
        }
        if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            let cause = "it is shorter".to_owned();
            return Err(failed(Failure::Changed { cause }));
        }
        Ok(answer.map(|body| HttpResponseBody::new(Blocking(Mutex::new(body.into_reader())))))
    }
}

impl Connector {
    fn send(
        &self,
        request: Request<impl ureq::AsSendBody>,
        metadata: bool,
    ) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let config = self.0.configure_request(request);
        let request = match metadata {
            // they are near, or nowhere
            true => config.timeout_connect(Some(Duration::from_secs(2))).build(),
            false => config.build(),
        };
        self.0.run(request)
    }
}

/// A failure on its way through `object_store`, which is not to do anything about it.
fn failed(failure: Failure) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, failure)
}

async fn collect(body: HttpRequestBody) -> Result<Bytes, HttpError> {
    let mut body = pin!(body);
    let mut pieces = Vec::new();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        pieces.extend(frame?.into_data());
    }
    Ok(match pieces.len() {
        1 => pieces.remove(0),
        _ => pieces.concat().into(),
    })
}

/// A body whose polls wait for the network. The mutex, which nobody contends for, makes it shareable as bodies must be.
struct Blocking(Mutex<BodyReader<'static>>);

impl Body for Blocking {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let mut piece = vec![0; PIECE];
        let reader = self.0.get_mut().expect("no thread has panicked in it");
        Poll::Ready(match reader.read(&mut piece) {
            Ok(0) => None,
            Ok(count) => {
                piece.truncate(count);
                Some(Ok(Frame::data(piece.into())))
            }
            Err(e) => Some(Err(failed(Failure::passing(format!(
                "the connection was cut off: {e}"
            ))))),
        })
    }
}
