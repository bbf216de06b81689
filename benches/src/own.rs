//! Peers of our own: how fast the HTTP library is by itself, and how fast with Redis right behind it. They are processes
//! of this program, built as Noah is.

use std::path::PathBuf;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, http::Method, web};
use anyhow::{Context, Result};
use redis::aio::MultiplexedConnection;

use crate::{VALUE, script::Call};

fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// Answers [`VALUE`] to everything, once a body was read.
pub async fn handler(port: u16) -> Result<()> {
    let answer = |_: web::Bytes| async { HttpResponse::Ok().content_type("application/octet-stream").body(VALUE) };
    let server = HttpServer::new(move || App::new().default_service(web::to(answer)));
    Ok(server.workers(workers()).bind(("127.0.0.1", port))?.run().await?)
}

struct Upstream {
    connection: MultiplexedConnection,
    call: Call,
}

/// A GET becomes an HGET of the record's data, a PUT the script with the path and the body in it.
pub async fn proxy(port: u16, redis: &str, call: PathBuf) -> Result<()> {
    let call: Call = serde_json::from_slice(&std::fs::read(call)?)?;
    let connection = redis::Client::open(redis)?.get_multiplexed_async_connection().await?;
    let upstream = web::Data::new(Upstream { connection, call });
    let server = HttpServer::new(move || {
        let answer = |upstream: web::Data<Upstream>, request: HttpRequest, body: web::Bytes| async move {
            match ask(&upstream, &request, &body).await {
                Ok(response) => response,
                Err(error) => HttpResponse::BadGateway().body(format!("{error:#}")),
            }
        };
        App::new().app_data(upstream.clone()).default_service(web::to(answer))
    });
    Ok(server.workers(workers()).bind(("127.0.0.1", port))?.run().await?)
}

async fn ask(upstream: &Upstream, request: &HttpRequest, body: &[u8]) -> Result<HttpResponse> {
    let path = request.path();
    if path == "/" {
        return Ok(HttpResponse::Ok().finish());
    }
    let mut connection = upstream.connection.clone();
    if request.method() == Method::PUT {
        let number = path.rsplit('/').next().context("a path has an end")?;
        let _: redis::Value = upstream.call.with(number, body).query_async(&mut connection).await?;
        return Ok(HttpResponse::Ok().content_type("application/json").body(r#"{"result":"success"}"#));
    }
    let key = format!("{{noah}}:r:{}", path.trim_start_matches('/'));
    let value: Option<Vec<u8>> = redis::cmd("HGET").arg(key).arg("f:data").query_async(&mut connection).await?;
    Ok(match value {
        Some(value) => HttpResponse::Ok().content_type("application/octet-stream").body(value),
        None => HttpResponse::NotFound().finish(),
    })
}
