use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What an endpoint does with a request.
pub enum Reaction {
    /// It says this, and waits for the next request.
    Say(String),
    /// It reads the request and closes the connection.
    Close,
    /// It resets the connection without reading the request.
    Reset,
    /// It says this, and then letters for as long as they are taken.
    Endless(&'static str),
    /// It says this, and then a letter now and then.
    Drip(&'static str),
}

/// A yes without a body.
pub const YES: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// A real endpoint that reacts by the request's number on its connection, counted from 0.
pub struct Endpoint {
    address: SocketAddr,
    /// For each connection, how many requests came.
    seen: Arc<Mutex<Vec<usize>>>,
    /// How many letters were taken.
    taken: Arc<Mutex<usize>>,
    accepting: JoinHandle<()>,
}

impl Endpoint {
    /// One that reacts like this.
    pub async fn start(react: impl Fn(usize) -> Reaction + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, taken) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let (react, hits, letters) = (Arc::new(react), Arc::clone(&seen), Arc::clone(&taken));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (react, hits, letters) = (Arc::clone(&react), Arc::clone(&hits), Arc::clone(&letters));
                let number = {
                    let mut hits = hits.lock().unwrap();
                    hits.push(0);
                    hits.len() - 1
                };
                tokio::spawn(async move { serve(stream, number, react.as_ref(), &hits, &letters).await });
            }
        });
        Self { address, seen, taken, accepting }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// For each connection, how many requests came.
    pub fn seen(&self) -> Vec<usize> {
        self.seen.lock().unwrap().clone()
    }

    /// How many letters were taken of an answer without end.
    pub fn taken(&self) -> usize {
        *self.taken.lock().unwrap()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(
    stream: TcpStream,
    number: usize,
    react: &(impl Fn(usize) -> Reaction + Sync),
    seen: &Mutex<Vec<usize>>,
    taken: &Mutex<usize>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    for nth in 0.. {
        stream.fill_buf().await.ok().filter(|bytes| !bytes.is_empty())?;
        seen.lock().unwrap()[number] += 1;
        match react(nth) {
            Reaction::Reset => return stream.into_inner().set_zero_linger().ok(),
            Reaction::Close => return read(&mut stream).await,
            Reaction::Say(answer) => {
                read(&mut stream).await?;
                stream.write_all(answer.as_bytes()).await.ok()?;
            }
            Reaction::Endless(head) => {
                read(&mut stream).await?;
                stream.write_all(head.as_bytes()).await.ok()?;
                loop {
                    stream.write_all(&[b'x'; 1024]).await.ok()?;
                    *taken.lock().unwrap() += 1024;
                }
            }
            Reaction::Drip(head) => {
                read(&mut stream).await?;
                stream.write_all(head.as_bytes()).await.ok()?;
                loop {
                    stream.write_all(b"x").await.ok()?;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
    None
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<()> {
    let (mut line, mut length) = (String::new(), 0);
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line).await.ok().filter(|&read| read > 0)?;
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
    }
    stream.read_exact(&mut vec![0; length]).await.ok().map(|_| ())
}
