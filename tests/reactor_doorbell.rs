//! Waking a parked ring from other threads.

mod reactor_common;

use reactor_common::*;
use ringmq::reactor::{Completion, Doorbell, Ring, RingConfig, Wait};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Instant;

const FOREVER: Wait = Wait::SpinThenPark { spin: std::time::Duration::ZERO, at_most: Some(LIMIT) };

#[test]
fn a_doorbell_wakes_a_parked_ring() {
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let bell = ring.doorbell();
    let (parked, when_parked) = sync_channel(1);
    let ringing = thread::spawn(move || {
        when_parked.recv().unwrap();
        bell.ring();
    });
    let started = Instant::now();
    let mut out = Vec::new();
    let mut asked = 0;
    let has_mail = || {
        asked += 1;
        // Asked first before parking, then once more after the announcement.
        if asked == 2 {
            parked.send(()).unwrap();
        }
        false
    };
    ring.turn(FOREVER, has_mail, &mut out).unwrap();
    ringing.join().unwrap();
    assert!(matches!(out[..], [Completion::Rung]), "{out:?}");
    assert!(started.elapsed() < LIMIT);
}

#[test]
fn a_bell_rung_while_the_receiver_is_awake_costs_nothing() {
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let bell = ring.doorbell();
    ring.turn(Wait::Never, || false, &mut Vec::new()).unwrap();
    (0..100).for_each(|_| bell.ring());
    let mut out = Vec::new();
    ring.turn(Wait::Never, || false, &mut out).unwrap();
    assert!(out.is_empty(), "{out:?}");
}

#[test]
fn mail_put_down_before_parking_is_found() {
    let mut ring = Ring::new(RingConfig::default()).unwrap();
    let started = Instant::now();
    // Nobody rings; the mail comes between the two looks.
    let mut looks = 0;
    let has_mail = || {
        looks += 1;
        looks == 2
    };
    ring.turn(FOREVER, has_mail, &mut Vec::new()).unwrap();
    assert!(started.elapsed() < LIMIT);
}

/// Passes a number to and fro between two parked rings; a lost wake-up would show as a
/// turn that takes the whole limit.
#[test]
fn no_wake_up_is_lost() {
    const ROUNDS: u64 = 20_000;
    let boxes: Arc<[AtomicU64; 2]> = Arc::default();
    let (bells, take_bells) = (sync_channel::<Doorbell>(1), sync_channel::<Doorbell>(1));
    let side = |mine: usize, send_bell: std::sync::mpsc::SyncSender<Doorbell>, peer| {
        let boxes = boxes.clone();
        move || {
            let mut ring = Ring::new(RingConfig::default()).unwrap();
            send_bell.send(ring.doorbell()).unwrap();
            let peer: std::sync::mpsc::Receiver<Doorbell> = peer;
            let peer = peer.recv().unwrap();
            let mut out = Vec::new();
            for round in 1..=ROUNDS {
                if mine == 0 {
                    boxes[1].store(round, Ordering::Release);
                    peer.ring();
                }
                let arrived = || boxes[mine].load(Ordering::Acquire) >= round;
                while !arrived() {
                    let started = Instant::now();
                    ring.turn(FOREVER, arrived, &mut out).unwrap();
                    assert!(started.elapsed() < LIMIT, "a wake-up was lost in round {round}");
                    out.clear();
                }
                if mine == 1 {
                    boxes[0].store(round, Ordering::Release);
                    peer.ring();
                }
            }
            assert!(ring.counters().parks > ROUNDS / 100, "it was awake all the time");
        }
    };
    let other = thread::spawn(side(1, bells.0, take_bells.1));
    side(0, take_bells.0, bells.1)();
    other.join().unwrap();
}
