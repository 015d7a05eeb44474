//! Is a provider there? Asked only where that was wanted, and without any secret.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use tollgate_providers::Provider;
use tollgate_providers::client::client;

use super::Finding;

/// One provider has so long to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// By so much a clock may differ from a provider's: signatures are refused from some minutes on.
const CLOCK_S_MAX: i64 = 60;

/// One finding for each provider, and one more where its clock shows another time.
pub async fn providers(list: &[Provider]) -> Vec<Finding> {
    let mut found = Vec::new();
    for provider in list {
        match ask(provider).await {
            Ok((status, date)) => {
                found.push(Finding::ok("reach", format!("`{}` answers ({status})", provider.name)));
                found.extend(date.and_then(|date| clock(provider, date)));
            }
            Err(why) => found.push(Finding::fail(
                "reach",
                format!("`{}` cannot be reached: {why}", provider.name),
                "look at `base_url`, DNS, routes and firewalls; proxies of the environment are not used",
            )),
        }
    }
    found
}

/// Whatever it answers, it is there.
async fn ask(provider: &Provider) -> Result<(u16, Option<jiff::Timestamp>), String> {
    let url = provider.address()?;
    let client = client(ANSWER_MAX).map_err(|why| why.to_string())?;
    let request = Request::head(url).body(Full::new(Bytes::new())).map_err(|why| why.to_string())?;
    let answer = tokio::time::timeout(ANSWER_MAX, client.request(request)).await;
    let answer = answer.map_err(|_| format!("no answer within {} s", ANSWER_MAX.as_secs()))?;
    let answer = answer.map_err(|why| if why.is_connect() { "no connection" } else { "the connection broke" })?;
    let date = answer.headers().get(header::DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()).map(|date| date.timestamp());
    Ok((answer.status().as_u16(), date))
}

fn clock(provider: &Provider, date: jiff::Timestamp) -> Option<Finding> {
    let apart_s = date.as_second() - jiff::Timestamp::now().as_second();
    (apart_s.abs() > CLOCK_S_MAX).then(|| {
        let told = format!("it is {} s off that of `{}`", apart_s.abs(), provider.name);
        Finding::warn("clock", told, "set the clock by NTP: periods of budgets, tokens and signatures go by it")
    })
}
