//! A store that was emptied counts what is used and held, and nothing beside: whatever it was told, and by whom first.

use super::*;

/// It has been told by all of them, and leases again.
async fn again(server: &Server, nodes: &[Arc<SharedLedger>]) {
    server.ask(&["FLUSHALL"]);
    eventually(|| nodes.iter().all(|node| node.state() != State::Open)).await;
    eventually(|| nodes.iter().all(|node| node.state() == State::Open)).await;
}

/// What is left, to the last token: this much fits, and one more does not.
async fn left(node: &SharedLedger, claimed: &Arc<Rule>, id: HoldId, left: u64, why: &str) {
    let more = node.held(id, &[claim(claimed, left + 1)]).await;
    assert!(more.is_err(), "{why}: more than {left} is left");
    node.held(id, &[claim(claimed, left)]).await.unwrap_or_else(|told| panic!("{why}: {left} are not left: {told:?}"));
    node.void(id, 0).await;
    node.rest().await;
}

/// Each of three has seen a third of the budget held by each of the others. Then all calls end, for less than was held, and
/// nobody hears of it before the store is emptied.
#[tokio::test(flavor = "multi_thread")]
async fn slices_that_were_given_back_are_not_counted_after_a_loss() {
    let Some(server) = Server::start() else { return };
    let nodes = [node("a", server.port).await, node("b", server.port).await, node("c", server.port).await];
    let spans = Window::Sliding { span_ms: 365 * 86_400_000 };
    for (first, rule) in [(0, monthly(1_000)), (100, rule("span", Unit::Tokens, 1_000, spans))] {
        let claims = [claim(&rule, 300)];
        let mut used = 0;
        for turn in 0..3u128 {
            for (n, node) in nodes.iter().enumerate() {
                let worst = [Claim { worst: (1_000 - used) / 3, ..claims[0].clone() }];
                node.held(first + turn * 10 + n as HoldId, &worst).await.unwrap();
            }
            all_rest(&nodes).await;
            for (n, node) in nodes.iter().enumerate() {
                node.settle(first + turn * 10 + n as HoldId, tokens(30), 0).await;
                used += 30;
            }
            again(&server, &nodes).await;
            all_rest(&nodes).await;
            println!("{}: {used} used, emptied {} times", rule.name, turn + 1);
            left(
                &nodes[turn as usize],
                &rule,
                first + turn * 10 + 9,
                1_000 - used,
                "used and held, and nothing beside",
            )
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_that_a_gateway_forgot_is_told_from_its_journal() {
    let Some(server) = Server::start() else { return };
    let nodes = [node("a", server.port).await, node("b", server.port).await];
    let rule = monthly(100);
    nodes[0].held(1, &[claim(&rule, 10)]).await.unwrap();
    nodes[0].settle(1, tokens(10), 0).await;
    // As long ago as nobody remembers: it stands in the journal alone.
    nodes[1].desk.local.hold(2, &[claim(&rule, 60)], now_ms()).await.unwrap();
    nodes[1].desk.local.settle(2, tokens(60), now_ms()).await;
    again(&server, &nodes).await;
    left(&nodes[0], &rule, 3, 30, "10 and 60 are used").await;
}

/// What calls hold through a loss is told each time, and is taken once.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_through_a_loss_counts_once() {
    let Some(server) = Server::start() else { return };
    let nodes = [node("a", server.port).await, node("b", server.port).await];
    let rule = monthly(1_000);
    nodes[0].held(1, &[claim(&rule, 400)]).await.unwrap();
    nodes[1].held(2, &[claim(&rule, 500)]).await.unwrap();
    for id in 3..6 {
        again(&server, &nodes).await;
        all_rest(&nodes).await;
        left(&nodes[0], &rule, id, 100, "400 and 500 are held").await;
    }
    nodes[0].settle(1, tokens(400), 0).await;
    nodes[1].settle(2, tokens(1), 0).await;
    again(&server, &nodes).await;
    all_rest(&nodes).await;
    left(&nodes[1], &rule, 6, 599, "401 are used").await;
}
