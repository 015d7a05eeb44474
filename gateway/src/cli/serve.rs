//! `tollgate`: runs the gateway until it is told to stop, and says how to make the first call.

use super::{Ended, Serve};
use crate::start;

pub fn run(args: &Serve) -> Result<(), Ended> {
    start::log();
    let config = start::config(&args.places)?;
    let threads = args.threads.or(config.edge.threads);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads.get());
    }
    let runtime = builder.enable_all().build().map_err(|why| Ended::failed(format!("cannot start: {why}")))?;
    runtime.block_on(start::serve(config, args))
}
