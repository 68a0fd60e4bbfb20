//! Ranges: of one key, of ten thousand, and of a hundred thousand as APISIX's master lists them at start.

use std::time::{Duration, Instant};

use crate::{
    client::Client,
    door::{Door, Span},
    measure::{Both, head, in_turn, show, show_usage},
    objects, size,
    system::{MARKERS, System},
};

/// What is asked for, how often in a round.
struct Question {
    name: String,
    span: Span,
    pairs: usize,
    times: usize,
}

/// Plays it with the smaller store.
pub fn play_small() {
    let (objects, rounds) = (size("KEYS", 10_000), size("ROUNDS", 20));
    head(&format!("range: a store of {objects} keys"));
    let one = Question {
        name: "one key".to_owned(),
        span: Span { from: objects::full_key(objects / 2), to: String::new() },
        pairs: 1,
        times: 500,
    };
    // The directory's marker is one more.
    let all =
        Question { name: format!("{objects} keys"), span: objects::routes(), pairs: objects + 1, times: 5 };
    play(objects, rounds, &[one, all]);
}

/// Plays it with the larger one.
pub fn play_large() {
    let (objects, rounds) = (size("MANY_KEYS", 100_000), size("ROUNDS", 20) / 2);
    head(&format!("first_list: a store of {objects} keys"));
    let pairs = objects + MARKERS;
    let name = format!("all {objects} keys");
    play(objects, rounds, &[Question { name, span: objects::everything(), pairs, times: 1 }]);
}

fn play(objects: usize, rounds: usize, questions: &[Question]) {
    let mut systems = System::both();
    systems.iter_mut().for_each(|system| system.load(objects));
    show_usage("loaded", systems.each_ref().map(System::usage));
    for question in questions {
        for door in Door::ALL {
            let times = ask(&mut systems, door, question, rounds);
            show(&format!("{}, {}", question.name, door.name()), &times);
        }
    }
    show_usage("after this", systems.each_ref().map(System::usage));
}

fn ask(systems: &mut Both<System>, door: Door, question: &Question, rounds: usize) -> Both<Vec<Duration>> {
    let mut clients = systems.each_ref().map(|system| Client::open(&system.address, door));
    // The first of all is to warm up.
    clients.iter_mut().for_each(|client| assert_eq!(client.range(&question.span), question.pairs));
    in_turn(systems, rounds, |which, _| {
        let ask_once = |_| {
            let began = Instant::now();
            let pairs = clients[which].range(&question.span);
            let took = began.elapsed();
            assert_eq!(pairs, question.pairs);
            took
        };
        (0..question.times).map(ask_once).collect()
    })
}
