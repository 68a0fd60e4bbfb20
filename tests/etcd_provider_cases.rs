//! What each version of APISIX makes of the endpoint's ways: its quirks one by one, and the few cases that it does not
//! survive by its own fault, each with what just happens.

#[path = "support/provider/mod.rs"]
mod provider;
mod support;

use std::time::Duration;

use apisix_mesh::{
    apisix::{Directory, Key},
    state::{Follower, State},
    store::Delta,
};
use provider::{
    link::{Cut, Weather},
    version::{self, V2_15, V3_3, V3_11, V3_14, V3_18, Version},
    worker::{Role, Worker},
    world::World,
};
use support::etcd::{route, upstream};

const ROLES: [Role; 2] = [Role::Gateway, Role::DataPlane];

fn put(key: Key, value: impl ToString) -> Delta {
    Delta { puts: vec![(key, format!(r#"{{"value":"{}"}}"#, value.to_string()).into())], deletes: vec![] }
}

fn delete(key: Key) -> Delta {
    Delta { puts: vec![], deletes: vec![key] }
}

/// Plays a case for each of these versions, and wants no fault in it.
fn each(versions: &[&'static Version], mut case: impl AsyncFnMut(&mut World)) {
    for &version in versions {
        provider::run(async {
            let mut world = World::new(version, 1);
            world.commit(&put(route("a"), "first"));
            case(&mut world).await;
            assert!(world.tally.faults.borrow().is_empty(), "{}: {:?}", version.name, world.tally.faults);
        });
    }
}

/// Two workers that have loaded all there is.
async fn start(world: &mut World) {
    ROLES.into_iter().for_each(|role| world.start(role));
    world.settle().await;
}

fn directory(worker: &Worker, name: &str) -> usize {
    worker.0.directories.iter().position(|directory| directory.key == format!("/apisix{name}")).unwrap()
}

fn value(worker: &Worker, name: &str, id: &str) -> Option<String> {
    let items = worker.0.directories[directory(worker, name)].items();
    items.get(id).map(|item| item.value.to_string())
}

fn conf_version(worker: &Worker, name: &str) -> u64 {
    worker.0.directories[directory(worker, name)].conf_version()
}

/// apisix#13917: a data plane asks for the revision to watch from only after its load.
#[test]
fn what_changes_between_the_load_and_the_watch_is_not_lost() {
    each(&version::ALL, async |world| {
        ROLES.into_iter().for_each(|role| world.start(role));
        world.rest().await;
        world.commit(&put(route("b"), "new"));
        world.commit(&delete(route("a")));
        world.settle().await;
        assert_eq!(world.tally.lost_windows.get(), 0);
    });
}

/// "No keys yet" is not "no keys".
#[test]
fn workers_wait_for_the_first_configuration_and_never_load_nothing() {
    each(&version::ALL, async |world| {
        world.start_with_nothing(1000);
        ROLES.into_iter().for_each(|role| world.start(role));
        world.pass(Duration::from_secs(300)).await;
        let shared = world.workers.iter().flat_map(|worker| &worker.0.directories);
        assert!(shared.into_iter().all(|directory| directory.needs_list()));
        world.commit(&put(upstream("u"), "first"));
        world.settle().await;
    });
}

/// Those that run keep what they have while the endpoint does not know yet.
#[test]
fn workers_keep_what_they_hold_until_a_new_life_knows_what_there_is() {
    each(&version::ALL, async |world| {
        start(world).await;
        world.start_with_nothing(1000);
        world.pass(Duration::from_secs(300)).await;
        for worker in &world.workers {
            assert_eq!(value(worker, "/routes", "a").unwrap(), r#"{"value":"first"}"#);
        }
        world.commit(&put(route("b"), "second"));
        world.settle().await;
    });
}

#[test]
fn an_endpoint_that_nobody_finds_is_found_when_it_is_there() {
    each(&version::ALL, async |world| {
        world.stop();
        ROLES.into_iter().for_each(|role| world.start(role));
        world.pass(Duration::from_secs(200)).await;
        world.start_with_what_was_kept();
        world.settle().await;
        world.stop();
        world.pass(Duration::from_secs(200)).await;
        world.start_with_what_was_kept();
        world.commit(&delete(route("a")));
        world.settle().await;
    });
}

/// lua-resty-etcd's reader gets its chunks whole, however the bytes come.
#[test]
fn bytes_one_at_a_time_in_both_directions_change_nothing() {
    each(&version::ALL, async |world| {
        world.network.weather.set(Weather { dribble: usize::MAX, ..Weather::default() });
        start(world).await;
        for value in 0..20 {
            world.commit(&put(route("a"), value));
            world.commit(&put(upstream(&value.to_string()), "x".repeat(50)));
        }
        world.settle().await;
        world.commit(&put(upstream("large"), "x".repeat(5000)));
        world.commit(&delete(route("a")));
        world.settle().await;
        assert_eq!(world.tally.reloads.get(), 0);
    });
}

/// A stream that ends anywhere, in the middle of a chunk's size or of an object, is taken up where it was.
#[test]
fn a_stream_cut_at_each_of_its_bytes_loses_nothing() {
    each(&[&V3_18], async |world| {
        world.start(Role::Gateway);
        world.settle().await;
        for within in 1..400 {
            let how = [Cut::Reset, Cut::Close, Cut::Silent][within % 3];
            world.network.links().iter().for_each(|link| link.doom(within, how));
            world.commit(&put(route("a"), within));
            world.settle().await;
        }
        assert!(world.network.cuts() > 200);
        assert_eq!(world.tally.reloads.get(), 0, "history was there");
    });
}

#[test]
fn a_restart_with_its_state_kept_costs_no_reload() {
    each(&[&V3_18, &V3_14, &V3_11], async |world| {
        start(world).await;
        world.commit(&put(route("b"), "last"));
        world.settle().await;
        for value in 0..5 {
            world.start_with_what_was_kept();
            world.settle().await;
            world.commit(&put(route("a"), value));
            world.settle().await;
        }
        assert_eq!(world.tally.reloads.get(), 0);
    });
}

/// What cannot be replayed is read again once, whole, and only then.
#[test]
fn what_history_has_forgotten_is_read_again_once() {
    each(&version::ALL, async |world| {
        world.remember(3);
        world.start_with_what_was_kept();
        start(world).await;
        let directories: usize = world.workers.iter().map(|worker| worker.0.directories.len()).sum();
        world.network.links().iter().for_each(|link| link.cut(Cut::Silent));
        for value in 0..10 {
            world.commit(&put(route("a"), value));
        }
        world.commit(&delete(route("a")));
        world.settle().await;
        world.pass(Duration::from_secs(300)).await;
        assert_eq!(world.tally.reloads.get() as usize, directories);
    });
}

/// Since 3.18 a reload of what did not change rebuilds no router; before, it does.
#[test]
fn a_reload_of_unchanged_objects_rebuilds_nothing_since_3_18() {
    let rebuilds = async |world: &mut World| {
        world.remember(1);
        world.start_with_what_was_kept();
        start(world).await;
        let before = conf_version(&world.workers[0], "/routes");
        world.network.links().iter().for_each(|link| link.cut(Cut::Silent));
        for value in 0..3 {
            world.commit(&put(upstream("u"), value));
        }
        world.settle().await;
        assert!(world.tally.reloads.get() > 0);
        conf_version(&world.workers[0], "/routes") - before
    };
    each(&[&V3_18], async |world| assert_eq!(rebuilds(world).await, 0));
    each(&[&V3_14, &V3_11], async |world| assert_eq!(rebuilds(world).await, 1));
}

/// 2.x has other names for two directories, and asks for no slash behind them: it finds ours, under longer ids.
#[test]
fn apisix_2_finds_ssls_under_its_own_name_for_them() {
    each(&[&V2_15], async |world| {
        world.commit(&put(Key::new(Directory::Ssls, "s"), "certificate"));
        start(world).await;
        assert_eq!(value(&world.workers[0], "/ssl", "/s").unwrap(), r#"{"value":"certificate"}"#);
        world.commit(&put(Key::new(Directory::Ssls, "s"), "renewed"));
        world.settle().await;
        assert_eq!(value(&world.workers[0], "/ssl", "/s").unwrap(), r#"{"value":"renewed"}"#);
        world.commit(&delete(Key::new(Directory::Ssls, "s")));
        world.settle().await;
        assert_eq!(value(&world.workers[0], "/ssl", "/s"), None);
    });
}

/// The revision of a directory in which nothing changes gets old where each has its own watch: it is read again when the
/// watch is made anew, every 30 s, once history no longer reaches back.
#[test]
fn a_quiet_directory_of_3_3_is_read_again_when_its_revision_is_forgotten() {
    each(&[&V3_3, &V2_15], async |world| {
        world.remember(5);
        world.start_with_what_was_kept();
        world.start(Role::Gateway);
        world.settle().await;
        let quiet = world.workers[0].0.directories.len() as u64 - 1;
        for value in 0..20 {
            world.commit(&put(route("a"), value));
            world.settle().await;
        }
        assert_eq!(world.tally.reloads.get(), 0);
        world.pass(Duration::from_secs(100)).await;
        assert_eq!(world.tally.reloads.get(), quiet);
    });
}

/// The clock was set back and nothing was kept: all that is told is told as new.
#[test]
fn revisions_that_go_back_are_followed_since_3_12() {
    each(&[&V3_18, &V3_14], async |world| {
        start(world).await;
        world.start_with_nothing(-3_600_000);
        world.commit(&put(route("b"), "first of the new life"));
        world.settle().await;
        for value in 0..5 {
            world.commit(&put(route("b"), value));
            world.settle().await;
        }
    });
}

/// APISIX up to 3.3 goes on from the highest revision that it ever saw in a directory, finds that it is still to come, and
/// reads the list again: always right, but 20 times in a second, until revisions are where they were.
#[test]
fn revisions_that_go_back_keep_3_3_reading_until_they_are_where_they_were() {
    each(&[&V3_3, &V2_15], async |world| {
        world.start(Role::Gateway);
        world.settle().await;
        let directories = world.workers[0].0.directories.len() as u64;
        world.start_with_nothing(-1500);
        world.commit(&put(route("b"), "first of the new life"));
        world.settle().await;
        let before = world.tally.reloads.get();
        world.pass(Duration::from_millis(300)).await;
        let reloads = world.tally.reloads.get() - before;
        assert!(reloads >= 3 * directories, "{reloads}");

        world.pass(Duration::from_secs(2)).await;
        world.commit(&put(route("b"), "past it"));
        world.pass(Duration::from_secs(1)).await;
        world.settle().await;
        let before = world.tally.reloads.get();
        world.pass(Duration::from_secs(100)).await;
        assert_eq!(world.tally.reloads.get(), before);
    });
}

/// APISIX 3.4 to 3.11 reads its lists again, but keeps the higher revision and drops all messages up to it: nothing that
/// an endpoint could send helps but revisions above it. What it drops until then is lost until it changes again.
#[test]
fn revisions_that_go_back_are_not_survived_by_3_11() {
    each(&[&V3_11], async |world| {
        world.start(Role::Gateway);
        world.settle().await;
        world.start_with_nothing(-10_000);
        world.commit(&put(route("b"), "first of the new life"));
        world.settle().await;
        let worker = expect_loss(world);

        let revision = world.commit(&put(route("b"), "dropped")).unwrap().revision;
        world.until(|| worker.delivered.get() == revision).await;
        world.pass(Duration::from_secs(300)).await;
        assert!(value(&world.workers[0], "/routes", "b").unwrap().contains("first of the new life"));

        world.commit_at(provider::world::WALL + 3_600_000, &put(route("c"), "arrives"));
        world.until(|| value(&world.workers[0], "/routes", "c").is_some()).await;
        assert!(value(&world.workers[0], "/routes", "b").unwrap().contains("first of the new life"));
        world.commit(&put(route("b"), "changes again"));
        world.until(|| world.is_up_to_date(&world.workers[0])).await;
    });
}

/// What the worker lacks from here on is APISIX's fault.
fn expect_loss(world: &World) -> std::rc::Rc<provider::worker::Shared> {
    let shared = world.workers[0].0.clone();
    shared.has_lost.set(true);
    shared
}

/// A clock set back to the very millisecond at which a key was written, to write it with something else: 3.18 takes it for
/// what it has. Revisions are times so that this does not happen; nothing else hinders it once the state is gone.
#[test]
fn the_same_millisecond_with_another_value_is_not_noticed_by_3_18() {
    let value_after = async |world: &mut World| {
        let at = world.commit(&put(route("a"), "old")).unwrap().revision;
        world.start(Role::Gateway);
        world.settle().await;
        world.commit(&put(upstream("u"), "later"));
        world.settle().await;
        let worker = expect_loss(world);
        world.start_with_nothing(0);
        world.commit_at(at, &put(route("a"), "new"));
        world.until(|| worker.start.get() == at).await;
        world.pass(Duration::from_secs(100)).await;
        assert_eq!(world.tally.reloads.get() as usize, worker.directories.len());
        value(&world.workers[0], "/routes", "a").unwrap()
    };
    each(&[&V3_14], async |world| assert_eq!(value_after(world).await, r#"{"value":"new"}"#));
    each(&[&V3_18], async |world| assert_eq!(value_after(world).await, r#"{"value":"old"}"#));
}

/// A watch that has something to tell from its start and dies without a word after `created`. APISIX 3.14 to 3.17 goes on
/// behind a revision that it read before such a watch, and would lose what was not told (apisix#13067); the endpoint gives
/// it none to go on behind.
#[test]
fn a_watch_that_is_silent_from_its_start_is_taken_up_where_it_was() {
    each(&version::ALL, async |world| {
        world.start(Role::Gateway);
        world.settle().await;
        world.network.silent_after.set(Some("\"created\":true"));
        world.network.links().iter().for_each(|link| link.cut(Cut::Close));
        world.commit(&put(route("b"), "written before the watch"));
        world.pass(Duration::from_secs(40)).await;
        assert!(!world.is_up_to_date(&world.workers[0]));
        world.network.silent_after.set(None);
        world.settle().await;
        assert_eq!(world.tally.lost_windows.get(), 0);
    });
}

/// Where the load at start failed, a directory whose first list is slow misses what others have read meanwhile: APISIX
/// since 3.4 clears messages that all directories have read, and asks only those that have begun to read. With the load
/// at start all have.
#[test]
fn a_slow_first_list_is_a_loss_since_3_4_where_the_load_at_start_failed() {
    each(&[&V3_18, &V3_14, &V3_11], async |world| {
        world.stop();
        world.start(Role::Gateway);
        world.pass(Duration::from_secs(2)).await;
        let routes = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, "/apisix/routes");
        *world.network.hold_answer_to.borrow_mut() = Some(format!(r#""key":"{routes}""#));
        world.start_with_what_was_kept();
        world.pass(Duration::from_secs(20)).await;
        let worker = world.workers[0].0.clone();
        let others = worker.directories.iter().filter(|directory| !directory.needs_list()).count();
        assert_eq!(others, worker.directories.len() - 1);
        for text in ["missed", "seen"] {
            let delta = Delta {
                puts: [put(route(text), text), put(upstream("u"), text)]
                    .map(|mut delta| delta.puts.remove(0))
                    .to_vec(),
                deletes: vec![],
            };
            world.commit(&delta);
            let others_have =
                || value(&world.workers[0], "/upstreams", "u").is_some_and(|value| value.contains(text));
            world.until(others_have).await;
        }
        world.network.links().iter().for_each(|link| link.resume());
        world.until(|| value(&world.workers[0], "/routes", "seen").is_some()).await;
        assert_eq!(value(&world.workers[0], "/routes", "missed"), None);
        assert_eq!(world.tally.lost_windows.get(), 1);
    });
}

/// The state as a process keeps it, in a directory, with the next process on the same one.
#[test]
fn a_host_that_comes_back_to_its_state_directory_goes_on_where_it_was() {
    each(&version::ALL, async |world| {
        let name = format!("apisix-mesh-provider-{}-{:p}", std::process::id(), world);
        let folder = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&folder);
        let state = State::new(&folder, "test");
        ROLES.into_iter().for_each(|role| world.start(role));
        for life in 0..4 {
            world.stop();
            let hold = state.try_hold().unwrap().expect("the life before has ended");
            let (store, _) = Follower::new(state.clone()).unwrap().take_over(&hold).unwrap();
            world.serve(store);
            let puts =
                (0..3).map(|id| (upstream(&id.to_string()), format!(r#"{{"life":{}}}"#, life * id).into()));
            world.commit_all(Delta { puts: puts.collect(), deletes: vec![] });
            world.settle().await;
            world.commit(&put(route("a"), life));
            world.settle().await;
        }
        std::fs::remove_dir_all(&folder).unwrap();
    });
}

/// A life that begins, with nothing kept, at just the revision that a worker watches from next: its first commit is told
/// as a change of what the worker holds, and not as all that there is. Revisions are times, a restart takes more than the
/// millisecond that this would need, and with the state kept there is a gap.
#[test]
fn a_life_that_begins_at_the_very_next_revision_hides_what_is_gone() {
    each(&version::ALL, async |world| {
        world.commit(&put(route("b"), "gone with the former life"));
        world.start(Role::Gateway);
        world.settle().await;
        let next = world.store.snapshot().revision() + 1;
        expect_loss(world);
        world.network.links().iter().for_each(|link| link.cut(Cut::Close));
        world.start_with_nothing(0);
        world.commit_at(next, &put(route("a"), "of the new life"));
        let has_new =
            |world: &World| value(&world.workers[0], "/routes", "a").is_some_and(|a| a.contains("new"));
        world.pass(Duration::from_secs(20)).await;
        world.until(|| has_new(world)).await;
        assert!(value(&world.workers[0], "/routes", "b").is_some());
        assert_eq!(world.tally.reloads.get(), 0);
    });
}

/// The state that was kept is older than what workers have seen (a full disk, a lost end), and the control plane answers
/// before they come back: the revision that they watch from is now in the past, but of another life.
#[test]
fn a_revision_that_only_a_former_life_had_is_not_gone_on_from() {
    each(&version::ALL, async |world| {
        world.commit(&put(route("b"), "kept"));
        world.start(Role::Gateway);
        world.settle().await;
        world.commit(&delete(route("b")));
        world.settle().await;
        world.network.links().iter().for_each(|link| link.cut(Cut::Close));
        world.start_without_the_last(1);
        world.commit(&put(route("c"), "of the new life"));
        world.settle().await;
    });
}

/// The state that was kept is further than what workers have seen, and nothing has changed since: they read it once, and
/// the revision that they are told to go on from is one that can be watched.
#[test]
fn workers_behind_what_was_kept_read_it_once() {
    each(&version::ALL, async |world| {
        start(world).await;
        let directories: usize = world.workers.iter().map(|worker| worker.0.directories.len()).sum();
        world.stop();
        world.commit(&put(route("b"), "kept, and seen by nobody"));
        world.start_with_what_was_kept();
        world.settle().await;
        world.pass(Duration::from_secs(100)).await;
        assert_eq!(world.tally.reloads.get() as usize, directories);
    });
}
