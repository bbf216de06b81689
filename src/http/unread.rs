use std::{
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    web::{Bytes, Payload},
};

/// The body of an answer that is given before the request's own body was read.
///
/// The HTTP library waits without limit for the rest of a chunked body that nobody holds any more, and closes
/// the connection behind the answer while somebody does. So the answer holds it.
struct Unread {
    answer: BoxBody,
    _request: Payload,
}

impl MessageBody for Unread {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().answer).poll_next(cx)
    }
}

/// An answer behind which the connection is closed if the request's body was not read to its end.
pub fn closing(response: HttpResponse, request: Payload) -> HttpResponse {
    response.map_body(|_, answer| Unread { answer, _request: request }.boxed())
}
