//! Answers every request with success and forgets it: the least that a broker
//! could do, so that the generator's own limit can be measured.

mod kafka;

use crate::target::Speech;
use crate::threads;
use crate::wire::{Codec, Request, take_frame};
use clap::Args;
use kafka::KafkaReplies;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::TcpStream;

#[derive(Args, Clone, Debug)]
pub struct SinkArgs {
    #[arg(long, value_enum, default_value_t = Speech::Remoting)]
    pub protocol: Speech,
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: String,
    /// The core that serves
    #[arg(long)]
    pub core: Option<usize>,
    /// Send every byte back instead
    #[arg(long, conflicts_with = "protocol")]
    pub echo: bool,
}

impl SinkArgs {
    pub fn run(&self) -> io::Result<()> {
        let listener = TcpListener::bind(crate::admin::resolve(&self.listen)?)?;
        println!("ready {}", listener.local_addr()?);
        if let Some(core) = self.core {
            threads::pin(core)?;
        }
        let answer = match self.protocol {
            _ if self.echo => Answer::Echo,
            Speech::Remoting => Answer::Success,
            Speech::Kafka => Answer::Kafka { refuse: None },
        };
        serve(listener, answer)
    }
}

/// What a sink does with a request.
#[derive(Clone, Copy)]
pub enum Answer {
    Success,
    Echo,
    /// Every n-th request gets this code.
    RefuseEvery(u64, i32),
    /// Success in Kafka's protocol, but for every n-th produce request, which gets this code.
    Kafka {
        refuse: Option<(u64, i16)>,
    },
}

/// Writes the answers to all whole requests.
enum AnyReplies {
    Remoting(Box<Replies>),
    Kafka(KafkaReplies),
}

impl AnyReplies {
    fn new(answer: Answer) -> io::Result<AnyReplies> {
        Ok(match answer {
            Answer::Kafka { refuse } => AnyReplies::Kafka(KafkaReplies::new(refuse)?),
            answer => AnyReplies::Remoting(Box::new(Replies::new(answer))),
        })
    }

    fn write(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            AnyReplies::Remoting(replies) => replies.write(input, output),
            AnyReplies::Kafka(replies) => replies.write(input, output),
        }
    }
}

/// Serves on a thread of its own until the process ends; returns where.
pub fn spawn(answer: Answer) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    threads::spawn("sink", None, move || serve(listener, answer))?;
    Ok(addr)
}

fn serve(listener: TcpListener, answer: Answer) -> io::Result<()> {
    threads::ring_runtime()?.block_on(async {
        let listener = tokio_uring::net::TcpListener::from_std(listener);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio_uring::spawn(async move {
                // A client that goes away ends only its own connection.
                let _ = answer_all(Rc::new(stream), answer).await;
            });
        }
    })
}

const READ_BYTES: usize = 256 * 1024;

async fn answer_all(stream: Rc<TcpStream>, answer: Answer) -> io::Result<()> {
    let (mut input, mut filled) = (vec![0; READ_BYTES], 0);
    let mut output = Vec::new();
    let mut replies = AnyReplies::new(answer)?;
    loop {
        let (read, slice) = stream.read(input.slice(filled..)).await;
        input = slice.into_inner();
        let count = read?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        output.clear();
        let used = replies.write(&input[..filled], &mut output)?;
        input.copy_within(used..filled, 0);
        filled -= used;
        if filled == input.len() {
            input.resize(2 * filled, 0);
        }
        if !output.is_empty() {
            let (written, back) = stream.write_all(output).await;
            written?;
            output = back;
        }
    }
}

struct Replies {
    answer: Answer,
    seen: u64,
    json: Vec<u8>,
    json_opaque_at: usize,
    binary: Vec<u8>,
    binary_opaque_at: usize,
}

impl Replies {
    fn new(answer: Answer) -> Replies {
        let reply = Request::new(0)
            .ext("queueId", 0)
            .ext("TRACE_ON", true)
            .ext("MSG_REGION", "DefaultRegion")
            .ext("msgId", "7F00000100002A9F0000000000000000")
            .ext("queueOffset", 0);
        let json = reply.encode(Codec::Json, 1_000_000_000);
        let binary = reply.encode(Codec::Binary, 0);
        Replies {
            answer,
            seen: 0,
            json: json.bytes,
            json_opaque_at: json.opaque_at,
            binary: binary.bytes,
            binary_opaque_at: binary.opaque_at,
        }
    }

    /// Appends the answers to all whole requests; returns how many bytes these were.
    fn write(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<usize> {
        let mut used = 0;
        while let Some(frame) = take_frame(&input[used..]).map_err(io::Error::other)? {
            let bytes = &input[used..used + frame.len];
            used += frame.len;
            self.seen += 1;
            match self.answer {
                Answer::Echo => output.extend_from_slice(bytes),
                Answer::Success | Answer::Kafka { .. } => {
                    self.succeed(frame.codec, frame.header, output)?
                }
                Answer::RefuseEvery(n, code) if self.seen.is_multiple_of(n) => {
                    let header = crate::wire::Header::parse(frame.codec, frame.header)
                        .map_err(io::Error::other)?;
                    let refusal = Request::new(code).encode(Codec::Json, header.opaque);
                    output.extend_from_slice(&refusal.bytes);
                }
                Answer::RefuseEvery(..) => self.succeed(frame.codec, frame.header, output)?,
            }
        }
        Ok(used)
    }

    fn succeed(&mut self, codec: u8, header: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        let from = output.len();
        if codec == Codec::Binary.byte() {
            output.extend_from_slice(&self.binary);
            let opaque = header.get(5..9).ok_or(io::ErrorKind::InvalidData)?;
            output[from + self.binary_opaque_at..][..4].copy_from_slice(opaque);
            return Ok(());
        }
        // Our own sends end like this, so the digits' place is known.
        let at = header.len().checked_sub(OPAQUE_FROM_END).ok_or(io::ErrorKind::InvalidData)?;
        output.extend_from_slice(&self.json);
        output[from + self.json_opaque_at..][..10].copy_from_slice(&header[at..at + 10]);
        Ok(())
    }
}

const OPAQUE_FROM_END: usize =
    "1000000000,\"serializeTypeCurrentRPC\":\"JSON\",\"version\":479}".len();
