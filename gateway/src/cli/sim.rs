//! `tollgate sim`: the scripted provider as a server of its own.

use super::{Ended, Sim};
use tollgate_providers::sim;

pub fn run(args: &Sim) -> Result<(), Ended> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|why| Ended::failed(format!("cannot start: {why}")))?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(args.listen)
            .await
            .map_err(|why| Ended::usage(format!("cannot listen on {}: {why}", args.listen)))?;
        let address = listener.local_addr().map_err(|why| Ended::failed(why.to_string()))?;
        println!("sim: http://{address}/v1 (truth log: http://{address}/sim/truth)");
        sim::serve(listener, sim::SimOptions::default())
            .await
            .map_err(|why| Ended::failed(format!("the scripted provider ended: {why}")))
    })
}
