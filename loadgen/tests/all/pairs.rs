//! What a client of one transport publishes, those of every transport receive: once, and in order.

use std::time::Duration;

use loadgen::client::dialect::Draft;
use loadgen::client::{After, Client, Delivery, Event, Said, Setup, Visitor, visit};
use loadgen::result::variant::Transport;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::helper::{TestServer, beside, setup};

/// Of each way up.
const MESSAGES: usize = 30;
const DEADLINE: Duration = Duration::from_secs(60);

/// Reads so many messages, and whatever comes in the tenth of a second after them.
struct Reading {
    setup: Setup,
    count: usize,
    connected: oneshot::Sender<()>,
}

impl Visitor for Reading {
    type Output = JoinHandle<Vec<String>>;

    fn visit<C: Client>(self) -> Self::Output {
        tokio::spawn(async move {
            let mut events = Vec::new();
            let mut client = C::connect(&self.setup, &After::Latest, &mut events)
                .await
                .unwrap();
            self.connected.send(()).unwrap();
            let texts = |events: &[Event]| -> Vec<String> {
                let text = |event: &Event| match event {
                    Event::Message(Delivery {
                        said: Said::Text(text),
                        ..
                    }) => Some(text.clone()),
                    _ => None,
                };
                events.iter().filter_map(text).collect()
            };
            while texts(&events).len() < self.count {
                client.next(&mut events).await.unwrap();
            }
            let more = async {
                loop {
                    client.next(&mut events).await.unwrap();
                }
            };
            let _ = timeout(Duration::from_millis(100), more).await;
            texts(&events)
        })
    }
}

/// Publishes over the connection of a subscriber.
struct Writing<'a> {
    setup: Setup,
    drafts: &'a [Draft],
}

impl<'a> Visitor for Writing<'a> {
    type Output = std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

    fn visit<C: Client>(self) -> Self::Output {
        Box::pin(async move {
            let mut events = Vec::new();
            let mut client = C::connect(&self.setup, &After::Latest, &mut events)
                .await
                .unwrap();
            for draft in self.drafts {
                let (answer, mut answered) = oneshot::channel();
                client.publish(draft, answer).await.unwrap();
                while answered.is_empty() {
                    client.next(&mut events).await.unwrap();
                }
                answered.try_recv().unwrap().unwrap();
            }
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_publishes_all_others_receive_once_and_in_order() {
    // Taken where it may block; held to the end.
    let _turn = tokio::task::block_in_place(beside);
    let server = TestServer::start("");
    let setup = setup(server.addr, "pairs");
    let ways: Vec<Transport> = Transport::all()
        .filter(|transport| transport.properties().is_duplex)
        .collect();
    assert_eq!(ways, [Transport::Ws, Transport::Socketio]);
    let count = MESSAGES * (1 + ways.len());
    let mut readers = Vec::new();
    for transport in Transport::all() {
        let (connected, is_connected) = oneshot::channel();
        let reading = Reading {
            setup: setup.clone(),
            count,
            connected,
        };
        readers.push((transport, visit(transport, reading)));
        is_connected.await.unwrap();
    }
    let drafts = |way: &str| -> Vec<Draft> {
        let draft = |n: usize| Draft {
            text: format!("{way} {n}"),
            key: format!("{way}-{n}"),
        };
        (0..MESSAGES).map(draft).collect()
    };
    let mut sent: Vec<String> = Vec::new();
    for way in ways {
        let drafts = drafts(&way.to_string());
        sent.extend(drafts.iter().map(|draft| draft.text.clone()));
        let setup = setup.clone();
        let writing = visit(
            way,
            Writing {
                setup,
                drafts: &drafts,
            },
        );
        timeout(DEADLINE, writing).await.expect("it is published");
    }
    let mut publisher = loadgen::client::Http::connect(&setup, "").await.unwrap();
    for draft in drafts("post") {
        let path = "/messages?room=pairs".parse().unwrap();
        let body = format!(r#"{{"from":"test","text":"{}"}}"#, draft.text);
        publisher
            .publish(path, body, loadgen::client::Repeat::Never)
            .await
            .unwrap();
        sent.push(draft.text);
    }
    for (transport, reader) in readers {
        let received = timeout(DEADLINE, reader)
            .await
            .expect("all arrive")
            .unwrap();
        assert_eq!(received, sent, "{transport}");
    }
}
