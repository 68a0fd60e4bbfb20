//! The connection breaks after every byte there is, either way, and in every way that gRPC and HTTP/2 know: the client
//! comes back and has everything in the end.

#[path = "support/ads_server.rs"]
mod ads_server;
#[path = "support/small_mesh.rs"]
mod small_mesh;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use ads_server::{Acceptor, refused, response, serve};
use apisix_mesh::xds::{Mode, ResourceType, Source, SourceOptions, SourceState, backoff::BackoffOptions};
use small_mesh::{cluster, mesh};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
    time::timeout,
};
use tonic::{Code, Status};

/// Far above what any machine needs; reached only when the client is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// Clients at a time.
const AT_ONCE: usize = 16;

/// A source that tries again at once.
fn source(address: SocketAddr, mode: Mode) -> Source {
    let backoff = BackoffOptions { initial: Duration::from_millis(1), max: Duration::from_millis(4) };
    Source::new(&format!("grpc://{address}"), SourceOptions { mode, backoff, ..Default::default() }).unwrap()
}

/// Runs the source until its state is as wanted, which must come.
async fn reach(source: &mut Source, what: &str, reached: impl Fn(&SourceState) -> bool) {
    let status = source.status();
    let running = async {
        while !reached(&status.get()) {
            tokio::select! {
                _ = source.next() => {}
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
            }
        }
    };
    timeout(PATIENCE, running).await.unwrap_or_else(|_| panic!("{what}: {:?}", status.get()));
}

fn is_whole(state: &SourceState) -> bool {
    state.connected && state.types.values().all(|of_type| of_type.resources == 1)
}

/// A healthy control plane.
async fn plane() -> (SocketAddr, watch::Sender<Arc<ads_server::Resources>>) {
    let acceptor = Acceptor::bind("127.0.0.1:0").await.unwrap();
    let address = acceptor.address;
    let (sender, receiver) = watch::channel(Arc::new(mesh()));
    tokio::spawn(serve(acceptor, receiver, refused));
    (address, sender)
}

/// Which of the two ways a connection breaks.
#[derive(Clone, Copy, Debug)]
enum Way {
    ToClient,
    ToServer,
}

/// Passes so many bytes on.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, bytes: usize) {
    let mut buffer = vec![0; 4096];
    let mut left = bytes;
    while left > 0 {
        let room = buffer.len().min(left);
        match from.read(&mut buffer[..room]).await {
            Ok(n) if n > 0 && to.write_all(&buffer[..n]).await.is_ok() => left -= n,
            _ => return,
        }
    }
}

/// One connection through to the server, which ends when so many bytes went this way.
async fn forward(client: TcpStream, server: SocketAddr, way: Way, bytes: usize) {
    let server = TcpStream::connect(server).await.unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (down, up) = match way {
        Way::ToClient => (bytes, usize::MAX),
        Way::ToServer => (usize::MAX, bytes),
    };
    tokio::select! {
        () = pass(from_server, to_client, down) => {}
        () = pass(from_client, to_server, up) => {}
    }
}

/// A client whose first connection breaks and whose others do not has everything in the end. How many it took.
async fn connections_needed(server: SocketAddr, mode: Mode, way: Way, bytes: usize) -> usize {
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut source = source(proxy.local_addr().unwrap(), mode);
    let (sender, connections) = watch::channel(0);
    let forwarding = tokio::spawn(async move {
        let mut bytes = bytes;
        loop {
            let (client, _) = proxy.accept().await.unwrap();
            sender.send_modify(|count| *count += 1);
            forward(client, server, way, bytes).await;
            bytes = usize::MAX;
        }
    });
    reach(&mut source, &format!("{mode:?}, cut {way:?} after {bytes} bytes"), is_whole).await;
    forwarding.abort();
    *connections.borrow()
}

async fn survives_a_cut_after_every_byte(mode: Mode, way: Way) {
    let (server, _sender) = plane().await;
    let mut first = 0;
    loop {
        let clients: JoinSet<usize> =
            (first..first + AT_ONCE).map(|bytes| connections_needed(server, mode, way, bytes)).collect();
        first += AT_ONCE;
        // The cut comes after all that matters.
        if clients.join_all().await.contains(&1) {
            break;
        }
    }
    assert!(first > 200, "all of a first synchronisation in {first} bytes {way:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn delta_survives_a_cut_after_every_byte_to_the_client() {
    survives_a_cut_after_every_byte(Mode::Delta, Way::ToClient).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delta_survives_a_cut_after_every_byte_to_the_server() {
    survives_a_cut_after_every_byte(Mode::Delta, Way::ToServer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_of_the_world_survives_a_cut_after_every_byte_to_the_client() {
    survives_a_cut_after_every_byte(Mode::Sotw, Way::ToClient).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_of_the_world_survives_a_cut_after_every_byte_to_the_server() {
    survives_a_cut_after_every_byte(Mode::Sotw, Way::ToServer).await;
}

/// The last configuration stays in force, whatever ends the stream and however often.
#[tokio::test]
async fn points_26_32_every_end_of_a_stream_leads_to_another() {
    let mut acceptor = Acceptor::bind("127.0.0.1:0").await.unwrap();
    let mut source = source(acceptor.address, Mode::Sotw);
    let status = source.status();
    let running = tokio::spawn(async move {
        loop {
            source.next().await;
        }
    });
    let codes = [
        Code::Cancelled,
        Code::Unknown,
        Code::DeadlineExceeded,
        Code::ResourceExhausted,
        Code::Aborted,
        Code::Internal,
        Code::Unavailable,
        Code::DataLoss,
        Code::Unimplemented,
    ];
    for code in codes {
        let session = acceptor.session().await;
        let whole = response(ResourceType::Cluster, "v", vec![cluster("a", "1s")]);
        session.responses.send(Ok(whole)).await.unwrap();
        session.responses.send(Err(Status::new(code, "go away"))).await.unwrap();
        timeout(PATIENCE, session.responses.closed()).await.expect("the stream ends");
    }
    // The server ends its half without a word.
    let session = acceptor.session().await;
    assert_eq!(status.get().types["cluster"].resources, 1);
    drop(session.responses);
    let _again = timeout(PATIENCE, acceptor.session()).await.expect("another stream");
    assert_eq!(status.get().types["cluster"].resources, 1);
    running.abort();
}

/// HTTP/2's own ways to end: GOAWAY without a reason and with one, and the stream alone reset.
const FAREWELLS: [&[u8]; 3] = [
    b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0",
    b"\0\0\x08\x07\0\0\0\0\0\x7f\xff\xff\xff\0\0\0\x0b",
    b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08",
];

/// An empty SETTINGS frame, with which a server begins.
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

#[tokio::test]
async fn point_32_a_server_that_says_goaway_each_time_is_tried_until_it_stays() {
    const ROUNDS: usize = 30;
    let (server, _sender) = plane().await;
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut source = source(proxy.local_addr().unwrap(), Mode::Delta);
    let forwarding = tokio::spawn(async move {
        for farewell in FAREWELLS.iter().cycle().take(ROUNDS) {
            let (mut client, _) = proxy.accept().await.unwrap();
            client.write_all(&[SETTINGS, farewell].concat()).await.unwrap();
            client.shutdown().await.unwrap();
            // Until the client has understood.
            let mut rest = Vec::new();
            let _ = client.read_to_end(&mut rest).await;
        }
        loop {
            let (client, _) = proxy.accept().await.unwrap();
            forward(client, server, Way::ToClient, usize::MAX).await;
        }
    });
    reach(&mut source, "after every farewell", is_whole).await;
    forwarding.abort();
}

/// Nothing waits for what came before to be dealt with, and everything is answered, in order (2, 3, 34).
#[tokio::test]
async fn points_2_34_pushes_that_come_faster_than_they_are_dealt_with_are_all_answered_and_the_newest_wins() {
    const PUSHES: usize = 5_000;
    let mut acceptor = Acceptor::bind("127.0.0.1:0").await.unwrap();
    let mut source = source(acceptor.address, Mode::Sotw);
    let status = source.status();
    let running = tokio::spawn(async move {
        loop {
            source.next().await;
        }
    });
    let mut session = acceptor.session().await;
    let responses = session.responses.clone();
    let pushing = tokio::spawn(async move {
        for push in 1..=PUSHES {
            let seconds = format!("{push}s");
            let push = response(ResourceType::Cluster, &push.to_string(), vec![cluster("a", &seconds)]);
            responses.send(Ok(push)).await.unwrap();
        }
    });
    let mut answered = 0;
    while answered < PUSHES {
        let request = session.requests.message().await.unwrap().unwrap();
        if request.type_url == ResourceType::Cluster.type_url() && !request.response_nonce.is_empty() {
            answered += 1;
            assert_eq!((request.response_nonce, request.error_detail), (answered.to_string(), None));
        }
    }
    pushing.await.unwrap();
    assert_eq!(status.get().types["cluster"].version, PUSHES.to_string());
    running.abort();
}
