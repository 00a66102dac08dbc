use super::*;
use crate::answer::BODY;
use crate::cursor::After;

fn name(text: &str) -> RoomName {
    RoomName::new(text).unwrap()
}

fn rooms(max: usize) -> Rooms {
    Rooms::new(
        max,
        Retention {
            messages: 8,
            bytes: 1024,
        },
        &Memory::new(usize::MAX),
    )
}

/// As many messages of 100 bytes.
async fn fill(rooms: &Rooms, room: &str, messages: usize) {
    for _ in 0..messages {
        let draft = Draft {
            from: "ann".into(),
            text: "x".repeat(100),
            key: None,
        };
        rooms.append(&name(room), &draft).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_room_that_nobody_uses_goes_after_its_rest_and_one_that_is_used_never() {
    let rooms = rooms(8);
    rooms
        .read(&name("rests"), After::Latest, MAX_BATCH)
        .await
        .unwrap();
    let subscription = rooms
        .subscribe(&name("watched"), After::Latest)
        .await
        .unwrap();
    let polled = rooms
        .read(&name("polled"), After::Latest, MAX_BATCH)
        .await
        .unwrap()
        .cursor;
    for _ in 0..10 {
        let again = rooms
            .read(&name("polled"), After::Latest, MAX_BATCH)
            .await
            .unwrap()
            .cursor;
        assert_eq!(polled, again, "a poll is a use");
        tokio::time::advance(REST / 9).await;
        rooms.tidy();
    }
    assert_eq!(
        subscription.cursor(),
        rooms
            .read(&name("watched"), After::Latest, MAX_BATCH)
            .await
            .unwrap()
            .cursor
    );
    assert_eq!(
        rooms.usage().rooms,
        2,
        "the one that is watched and the one that is polled"
    );
    tokio::time::advance(10 * REST).await;
    rooms.tidy();
    drop(subscription);
    tokio::time::advance(REST - Duration::from_millis(1)).await;
    rooms.tidy();
    assert_eq!(
        rooms.usage().rooms,
        1,
        "its rest begins when the last subscriber leaves"
    );
    tokio::time::advance(Duration::from_millis(1)).await;
    rooms.tidy();
    assert_eq!(rooms.usage().rooms, 0);
}

#[tokio::test(start_paused = true)]
async fn when_memory_is_short_the_fullest_rooms_lose_their_oldest_messages_and_the_others_none() {
    let memory = Memory::new(200_000);
    let rooms = Rooms::new(
        8,
        Retention {
            messages: 1000,
            bytes: 1 << 20,
        },
        &memory,
    );
    fill(&rooms, "small", 10).await;
    fill(&rooms, "large", 100).await;
    fill(&rooms, "larger", 150).await;
    let other = memory.messages.hold(92_000 - memory.used());
    let [small, large, larger] =
        ["small", "large", "larger"].map(|room| rooms.get(&name(room)).unwrap());
    let held = [&small, &large, &larger].map(|log| log.memory());
    rooms.shed();
    assert!(
        memory.used() <= 75_000 && memory.used() > 74_000,
        "a quarter is free: {}",
        memory.used()
    );
    assert_eq!(small.memory(), held[0]);
    assert!(
        large.memory().abs_diff(larger.memory()) < 500,
        "the larger ones keep the same"
    );
    assert_eq!(
        rooms.usage().shed as usize,
        250 - large.retained().messages - larger.retained().messages
    );
    assert_eq!(
        larger.read(After::Oldest, MAX_BATCH).cursor.seq,
        150,
        "the newest stay"
    );

    drop(other);
    drop((small, large, larger));
    tokio::time::advance(SHORT_REST).await;
    rooms.tidy();
    assert_eq!(
        (rooms.usage().rooms, memory.used()),
        (0, 0),
        "after a shortage they rest for a shorter time"
    );
}

#[tokio::test(start_paused = true)]
async fn however_fast_they_come_no_message_is_refused_while_older_ones_can_go() {
    let memory = Memory::new(200_000);
    let rooms = Rooms::new(
        8,
        Retention {
            messages: 10_000,
            bytes: 1 << 20,
        },
        &memory,
    );
    // Not a moment passes meanwhile.
    fill(&rooms, "fast", 5_000).await;
    assert!(rooms.usage().shed > 4_000);
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_place_even_so_is_refused_and_counted() {
    let memory = Memory::new(20_000);
    let rooms = Rooms::new(
        8,
        Retention {
            messages: 1000,
            bytes: 1 << 20,
        },
        &memory,
    );
    let other = memory.messages.hold(10_000);
    let draft = Draft {
        from: "ann".into(),
        text: "x".into(),
        key: Some("k".into()),
    };
    let error = rooms.append(&name("a"), &draft).await.unwrap_err();
    assert!(error.to_json().contains("--memory"), "{error:?}");
    assert_eq!(memory.refused(), 1);
    drop(other);
    assert!(
        !rooms.append(&name("a"), &draft).await.unwrap().duplicate,
        "its key was not taken"
    );
}

#[tokio::test(start_paused = true)]
async fn merged_ranges_are_counted_and_go_within_a_second_unless_somebody_still_reads_them() {
    let memory = Memory::new(1 << 20);
    let rooms = Rooms::new(
        8,
        Retention {
            messages: 1000,
            bytes: 1 << 20,
        },
        &memory,
    );
    fill(&rooms, "a", 100).await;
    let messages = memory.used();
    let batch = rooms
        .read(&name("a"), After::Oldest, MAX_BATCH)
        .await
        .unwrap();
    let range = rooms.encode(&batch, &BODY).unwrap();
    drop(batch);
    assert!(memory.used() - messages >= range.len());
    rooms.tidy();
    assert!(
        memory.used() - messages >= range.len(),
        "it is still being written"
    );
    drop(range);
    assert_eq!(memory.used(), messages);
}

#[test]
fn a_share_takes_from_those_who_have_most() {
    assert_eq!(share(&[10, 500, 200], 310), 150);
    assert_eq!(share(&[10, 500, 200], 710), usize::MAX);
    assert_eq!(share(&[10, 500, 200], 0), 0);
    assert_eq!(share(&[], 0), usize::MAX);
}

#[tokio::test(start_paused = true)]
async fn at_the_cap_only_a_rested_room_without_subscriber_goes() {
    let rooms = rooms(2);
    let kept = rooms.get(&name("watched")).unwrap();
    let _subscription = kept.subscribe(After::Latest);
    rooms.get(&name("rests")).unwrap();
    assert!(rooms.get(&name("one more")).is_err());

    tokio::time::advance(REST).await;
    rooms.get(&name("one more")).unwrap();
    assert!(Arc::ptr_eq(&kept, &rooms.get(&name("watched")).unwrap()));
    assert!(
        rooms.get(&name("rests")).is_err(),
        "it went, and its place is taken"
    );
    assert_eq!(rooms.usage().rooms, 2);
}

#[tokio::test(start_paused = true)]
async fn a_room_that_comes_back_has_another_epoch() {
    let rooms = rooms(1);
    let before = rooms
        .read(&name("a"), After::Latest, MAX_BATCH)
        .await
        .unwrap()
        .cursor;
    tokio::time::advance(REST).await;
    rooms.get(&name("b")).unwrap();
    tokio::time::advance(REST).await;
    assert_ne!(
        before,
        rooms
            .read(&name("a"), After::Latest, MAX_BATCH)
            .await
            .unwrap()
            .cursor
    );
}

#[tokio::test(start_paused = true)]
async fn a_room_whose_subscriber_has_just_left_is_still_in_use() {
    let rooms = rooms(1);
    let log = rooms.get(&name("watched")).unwrap();
    let subscriptions = [log.subscribe(After::Latest), log.subscribe(After::Latest)];
    tokio::time::advance(3 * REST).await;
    drop(subscriptions);
    tokio::time::advance(REST - Duration::from_secs(1)).await;
    assert!(
        rooms.get(&name("one more")).is_err(),
        "who was cut off may come back"
    );
    assert!(Arc::ptr_eq(&log, &rooms.get(&name("watched")).unwrap()));
    tokio::time::advance(REST).await;
    rooms.get(&name("one more")).unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_lobby_always_has_a_place_and_keeps_it() {
    let rooms = rooms(1);
    let _subscription = rooms
        .get(&name("watched"))
        .unwrap()
        .subscribe(After::Latest);
    let lobby = rooms.get(&name(LOBBY)).unwrap();
    for _ in 0..3 {
        tokio::time::advance(REST).await;
        assert!(rooms.get(&name("one more")).is_err());
    }
    assert!(Arc::ptr_eq(&lobby, &rooms.get(&name(LOBBY)).unwrap()));
}

#[tokio::test(start_paused = true)]
async fn the_lobby_takes_no_place_of_another_room() {
    let rooms = rooms(2);
    for room in [LOBBY, "one", "two"] {
        rooms.get(&name(room)).unwrap();
    }
    assert!(rooms.get(&name("three")).is_err());
}

#[tokio::test(start_paused = true)]
async fn rooms_of_one_large_message_that_are_never_left_keep_no_room_from_others() {
    let memory = Memory::new(200_000);
    let rooms = Rooms::new(
        100,
        Retention {
            messages: 1000,
            bytes: 1 << 20,
        },
        &memory,
    );
    let large = Draft {
        from: "ann".into(),
        text: "x".repeat(9_000),
        key: None,
    };
    let all: Vec<_> = (0..30).map(|n| name(&n.to_string())).collect();
    for room in &all {
        rooms.append(room, &large).await.unwrap();
        rooms.get(&all[0]).unwrap();
    }
    let first = rooms.get(&all[0]).unwrap();
    assert_eq!(
        (first.retained().messages, rooms.memory.refused()),
        (0, 0),
        "the newest went, too"
    );
    let cursor = first.read(After::Latest, MAX_BATCH).cursor;
    assert_eq!(cursor.seq, 1, "what is gone still counts");
    let told = first
        .read(
            After::Cursor(crate::cursor::Cursor { seq: 0, ..cursor }),
            MAX_BATCH,
        )
        .gap
        .unwrap();
    assert_eq!((told.missed, told.cursor), (Some(1), cursor));
    assert_eq!(rooms.append(&all[0], &large).await.unwrap().cursor.seq, 2);
}
