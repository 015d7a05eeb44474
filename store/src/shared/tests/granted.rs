//! Grants and overrides that one gateway was asked for: on all gateways, once, until they end, whatever becomes of the store
//! or of a gateway.

use tollgate_core::limits::amendment::What;

use super::*;

const HOUR_MS: i64 = 3_600_000;

fn granted(id: &str, more: i64, until_ms: i64) -> Arc<Amendment> {
    Arc::new(Amendment {
        id: id.into(),
        rule: "month".into(),
        scope: Some("month".into()),
        unit: Unit::Tokens,
        what: What::Grant(more),
        made_ms: now_ms(),
        until_ms,
        revoked_ms: None,
        by: "operator-token".into(),
        reason: "a test".into(),
    })
}

fn hourly(id: &str, more: i64) -> Arc<Amendment> {
    granted(id, more, now_ms() + HOUR_MS)
}

fn revoked(one: &Arc<Amendment>) -> Arc<Amendment> {
    Arc::new(Amendment { revoked_ms: Some(now_ms()), ..Amendment::clone(one) })
}

async fn three(server: &Server) -> [Arc<SharedLedger>; 3] {
    [node("a", server.port).await, node("b", server.port).await, node("c", server.port).await]
}

/// The limit as this node counts with it.
async fn limit(node: &SharedLedger, rule: &Arc<Rule>) -> u64 {
    node.standing(&[claim(rule, 0)], 0).await[0].limit
}

/// Within the second that is promised, on a machine that may be busy.
async fn all_have(nodes: &[Arc<SharedLedger>], rule: &Arc<Rule>, most: u64, why: &str) {
    let begun = std::time::Instant::now();
    for node in nodes {
        while limit(node, rule).await != most {
            assert!(begun.elapsed() < Duration::from_secs(5), "{why}: {} and not {most}", limit(node, rule).await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    println!("{why}: {:?}", begun.elapsed());
}

/// The store is there again.
pub(super) async fn amended(node: &SharedLedger, one: &Arc<Amendment>) {
    for _ in 0..1_000 {
        match node.amend(one.clone(), 0).await {
            Err(Undone::Away | Undone::Unsaid(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            done => return done.unwrap(),
        }
    }
    panic!("the store is away: {:?}", node.state());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_counts_on_all_gateways_until_one_of_them_revokes_it() {
    let Some(server) = Server::start() else { return };
    let nodes = three(&server).await;
    let [a, b, c] = &nodes;
    let rule = monthly(100);
    a.held(1, &[claim(&rule, 100)]).await.unwrap();
    assert_eq!(b.held(2, &[claim(&rule, 1)]).await.unwrap_err().limit, 100);
    let grant = hourly("g", 50);
    amended(c, &grant).await;
    all_have(&nodes, &rule, 150, "a grant").await;
    let held = b.held(3, &[claim(&rule, 30)]).await.unwrap();
    assert_eq!((held[0].limit, held[0].remaining), (150, 20));
    let refused = a.held(4, &[claim(&rule, 21)]).await.unwrap_err();
    assert_eq!((refused.limit, refused.retry_after_ms.is_some()), (150, true), "{refused:?}");
    all_rest(&nodes).await;
    for node in &nodes {
        assert_eq!(node.amendments(), vec![grant.clone()], "every gateway lists it");
        assert_eq!(node.desk.local.amendments(), vec![grant.clone()], "and has it in its own journal");
        let (rules, keep) = ([rule.clone()], |_: &Rule, _: &str| true);
        let listing = Listing { rules: &rules, keep: &keep, after: "", count: 10 };
        let listed = node.balances(listing, 0).await.unwrap();
        let told: Vec<_> = listed.iter().map(|of| (&*of.scope, of.standing.limit, of.standing.held)).collect();
        assert_eq!(told, [("month", 150, 130)]);
    }
    amended(a, &revoked(&grant)).await;
    all_have(&nodes, &rule, 100, "revoked").await;
    assert!(b.held(5, &[claim(&rule, 1)]).await.is_err());
    // What comes again for it does nothing.
    amended(b, &grant).await;
    all_have(&nodes, &rule, 100, "and not brought back by a repetition").await;
    assert_eq!(server.ask(&["HLEN", "{tollgate}:amendments"]), ":1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_asks_the_store_is_let_in_by_a_grant_that_its_gateway_has_not_heard_of() {
    let Some(server) = Server::start() else { return };
    let [a, b, _] = three(&server).await;
    let rule = monthly(100);
    a.held(1, &[claim(&rule, 100)]).await.unwrap();
    for n in 1..=20u32 {
        amended(&a, &hourly(&format!("g{n}"), 10)).await;
        b.held(HoldId::from(n) + 1, &[claim(&rule, 10)]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_ends_by_the_clock_of_the_store_and_what_was_leased_under_it_is_not_spent() {
    let Some(server) = Server::start() else { return };
    let nodes = three(&server).await;
    let rule = monthly(1_000);
    let until_ms = nodes[0].time_ms(0) + 2_000;
    amended(&nodes[0], &granted("g", 100_000, until_ms)).await;
    all_have(&nodes, &rule, 101_000, "a grant that ends").await;
    for (id, node) in (1..).zip(&nodes) {
        node.held(id, &[claim(&rule, 500)]).await.unwrap();
        assert!(node.free("month") > 500, "{}", node.free("month"));
    }
    eventually(|| nodes[0].time_ms(0) >= until_ms).await;
    for (id, node) in (11..).zip(&nodes) {
        let refused = node.held(id, &[claim(&rule, 1)]).await.unwrap_err();
        assert_eq!((refused.limit, node.free("month")), (1_000, 0), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_below_stops_what_is_leased_and_the_last_one_counts() {
    let Some(server) = Server::start() else { return };
    let nodes = three(&server).await;
    let [a, b, c] = &nodes;
    let rule = monthly(100_000);
    a.held(1, &[claim(&rule, 10)]).await.unwrap();
    assert!(a.free("month") > 100);
    let set = |id: &str, what| Arc::new(Amendment { what, scope: None, ..Amendment::clone(&hourly(id, 0)) });
    amended(b, &set("stop", What::Override(0))).await;
    all_have(&nodes, &rule, 0, "an override").await;
    let refused = a.held(2, &[claim(&rule, 1)]).await.unwrap_err();
    assert_eq!((refused.limit, refused.retry_after_ms), (0, None), "{refused:?}");
    assert!(a.extend(1, 1, tokens(1), 0).await.is_err(), "nor is more held for a call under way");
    a.settle(1, tokens(10), 0).await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    amended(c, &set("some", What::Override(30))).await;
    all_have(&nodes, &rule, 30, "another").await;
    a.held(3, &[claim(&rule, 20)]).await.unwrap();
    assert!(b.held(4, &[claim(&rule, 1)]).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_store_is_told_again_by_who_knows() {
    let Some(server) = Server::start() else { return };
    let nodes = three(&server).await;
    let rule = monthly(100);
    amended(&nodes[0], &hourly("a", 50)).await;
    let back = hourly("b", 7);
    amended(&nodes[1], &back).await;
    amended(&nodes[2], &revoked(&back)).await;
    all_have(&nodes, &rule, 150, "before").await;
    server.ask(&["FLUSHALL"]);
    eventually(|| nodes.iter().all(|node| node.state() != State::Open)).await;
    eventually(|| nodes.iter().all(|node| node.state() == State::Open)).await;
    eventually(|| server.ask(&["HLEN", "{tollgate}:amendments"]) == ":2").await;
    // One that comes only now hears of them there.
    let late = node("d", server.port).await;
    assert_eq!(late.amendments(), nodes[0].amendments());
    amended(&late, &hourly("d", 1)).await;
    all_have(&nodes, &rule, 151, "and it goes on").await;
    nodes[0].held(1, &[claim(&rule, 151)]).await.unwrap();
    assert!(late.held(2, &[claim(&rule, 1)]).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_lost_its_tail_is_told_again() {
    let Some(server) = Server::start() else { return };
    let nodes = three(&server).await;
    let rule = monthly(100);
    let old = hourly("old", 1);
    amended(&nodes[0], &old).await;
    amended(&nodes[1], &hourly("new", 50)).await;
    amended(&nodes[2], &revoked(&old)).await;
    all_have(&nodes, &rule, 150, "before").await;
    // As a replica has it that heard of the first change alone, and takes the place of its primary.
    server.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    eventually(|| nodes.iter().all(|node| node.state() == State::Away)).await;
    server.ask(&["REPLICAOF", "NO", "ONE"]);
    let text = serde_json::to_string(&*old).unwrap();
    for words in [
        &["HDEL", "{tollgate}:amendments", "new"][..],
        &["HDEL", "{tollgate}:amendments:numbers", "new"],
        &["HSET", "{tollgate}:amendments", "old", &text],
        &["HSET", "{tollgate}:amendments:numbers", "old", "1"],
        &["HSET", "{tollgate}:epoch", "amended", "1"],
    ] {
        server.ask(words);
    }
    eventually(|| nodes.iter().all(|node| node.state() == State::Open)).await;
    let late = node("d", server.port).await;
    eventually(|| late.amendments() == nodes[0].amendments()).await;
    all_have(&[late], &rule, 150, "to one that was not there").await;
    all_have(&nodes, &rule, 150, "after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_was_away_hears_what_was_changed_and_brings_nothing_back() {
    let Some(server) = Server::start() else { return };
    let rule = monthly(100);
    let memory = Arc::new(MemoryLedger::default());
    let (a, b) = (node("a", server.port).await, node_on(memory.clone(), "b", server.port).await);
    let (old, kept) = (hourly("old", 50), hourly("kept", 3));
    amended(&a, &old).await;
    amended(&a, &kept).await;
    all_have(&[a.clone(), b.clone()], &rule, 153, "both").await;
    eventually(|| memory.amendments().len() == 2).await;
    b.close(Duration::from_secs(1)).await;
    amended(&a, &revoked(&old)).await;
    amended(&a, &hourly("new", 1)).await;
    let b = node_on(memory.clone(), "b", server.port).await;
    assert_eq!((limit(&b, &rule).await, limit(&a, &rule).await), (104, 104));
    eventually(|| memory.amendments() == a.amendments()).await;
    // All that is left is one journal.
    a.close(Duration::from_secs(1)).await;
    b.close(Duration::from_secs(1)).await;
    server.ask(&["FLUSHALL"]);
    let (b, c) = (node_on(memory, "b", server.port).await, node("c", server.port).await);
    all_have(&[b, c], &rule, 104, "from a journal").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_answers_are_lost_all_gateways_agree_and_what_was_told_as_done_is_done() {
    let Some(server) = Server::start() else { return };
    let nodes = three(&server).await;
    let rule = monthly(100);
    let (mut done, mut undone) = (Vec::new(), Vec::new());
    for n in 0..40usize {
        let one = hourly(&format!("g{n}"), 1 << (n % 20));
        let (node, asked) = (nodes[n % 3].clone(), one.clone());
        let asked = tokio::spawn(async move { node.amend(asked, 0).await });
        tokio::time::sleep(Duration::from_micros(n as u64 * 40)).await;
        server.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        match asked.await.unwrap() {
            Ok(()) => done.push(one),
            Err(Undone::Away) => undone.push(one),
            Err(Undone::Unsaid(id)) => println!("nobody knows of {id}"),
            Err(other) => panic!("{other}"),
        }
    }
    eventually(|| nodes.iter().all(|node| node.state() == State::Open)).await;
    amended(&nodes[0], &hourly("last", 1 << 20)).await;
    eventually(|| nodes.iter().all(|node| node.amendments() == nodes[0].amendments())).await;
    let known = nodes[1].amendments();
    println!("{} done, {} not, {} known", done.len(), undone.len(), known.len());
    assert!(done.iter().all(|one| known.contains(one)), "what was told as done");
    assert!(!undone.iter().any(|one| known.contains(one)), "what was told as not done");
    let sum: i64 = known.iter().map(|one| if let What::Grant(more) = one.what { more } else { 0 }).sum();
    all_have(&nodes, &rule, 100 + sum as u64, "each counts once").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_answer_takes_nothing_by_halves() {
    let Some(server) = Server::start() else { return };
    let nodes = three(&server).await;
    let rule = monthly(100);
    server.stand_still();
    let one = hourly("g", 50);
    let begun = std::time::Instant::now();
    let why = nodes[0].amend(one.clone(), 0).await.unwrap_err();
    assert!(begun.elapsed() < CHANGE_MAX, "it is told soon: {:?}", begun.elapsed());
    assert!(matches!(&why, Undone::Unsaid(id) if &**id == "g"), "it lies with the store, who knows: {why}");
    assert!(why.to_string().contains("--id g"), "{why}");
    eventually(|| nodes[1].state() == State::Away).await;
    assert_eq!(nodes[1].amend(hourly("h", 7), 0).await, Err(Undone::Away), "this one never left");
    assert!(nodes.iter().all(|node| node.amendments().is_empty()), "none acts by it before the store has it");
    server.go_on();
    eventually(|| nodes.iter().all(|node| node.state() == State::Open)).await;
    amended(&nodes[1], &one).await;
    all_have(&nodes, &rule, 150, "once, asked for twice and at two gateways").await;
    assert!(nodes.iter().all(|node| node.amendments() == vec![one.clone()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_of_several_gateways_at_once_all_count_and_of_one_id_the_first() {
    let Some(server) = Server::start() else { return };
    let nodes = three(&server).await;
    let rule = monthly(100);
    let mut asked = Vec::new();
    for n in 0..60usize {
        let (node, one) = (nodes[n % 3].clone(), hourly(&format!("g{n}"), 10));
        asked.push(tokio::spawn(async move { amended(&node, &one).await }));
    }
    for asked in asked {
        asked.await.unwrap();
    }
    all_have(&nodes, &rule, 700, "sixty").await;
    assert!(nodes.iter().all(|node| node.amendments() == nodes[0].amendments()));
    for round in 0..10 {
        let id = format!("same{round}");
        let ask = |n: usize| {
            let (node, one) = (nodes[n].clone(), hourly(&id, 1_000 * (n as i64 + 1)));
            tokio::spawn(async move { node.amend(one, 0).await })
        };
        let mut won = 0;
        for asked in [0, 1, 2].map(ask) {
            match asked.await.unwrap() {
                Ok(()) => won += 1,
                Err(Undone::Taken(taken)) => assert_eq!(&*taken, &*id),
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(won, 1, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_room_for_as_many_as_one_ledger_has() {
    let Some(server) = Server::start() else { return };
    let memory = Arc::new(MemoryLedger::default());
    let until_ms = now_ms() + HOUR_MS;
    for n in 0..4_095 {
        memory.amend(granted(&format!("g{n}"), 1, until_ms), now_ms()).await.unwrap();
    }
    let begun = std::time::Instant::now();
    let a = node_on(memory, "a", server.port).await;
    println!("told in {:?}", begun.elapsed());
    let begun = std::time::Instant::now();
    let b = node("b", server.port).await;
    println!("heard in {:?}", begun.elapsed());
    let rule = monthly(100);
    assert_eq!((limit(&a, &rule).await, limit(&b, &rule).await), (4_195, 4_195));
    let last = hourly("last", 5);
    amended(&b, &last).await;
    assert_eq!(a.amend(hourly("more", 1), 0).await, Err(Undone::Full(4_096)));
    // What ended makes room.
    amended(&b, &revoked(&last)).await;
    amended(&a, &hourly("more", 1)).await;
    all_have(&[a, b], &rule, 4_196, "another in the place of one that ended").await;
}
