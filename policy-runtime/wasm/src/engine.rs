//! The engine: which parts of WebAssembly are on, how instances are made, and its clock.
//!
//! One engine serves the process. It is made when the first component is compiled, so who has no Wasm pays nothing.

use std::time::Duration;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Result};

/// How often a guest's thread looks at its CPU time.
const TICK: Duration = Duration::from_millis(2);
/// The stack of a guest: deep enough for interpreters, and a part of what a thread has.
const STACK_BYTES: usize = 512 << 10;
/// Decisions at the same time: each takes a thread, and there are as many of these as cores. Slots are addresses, not
/// memory.
const INSTANCES_MAX: u32 = 128;
/// Core instances, memories and tables of all components under way; one component is made of several.
const PARTS_MAX: u32 = 8 * INSTANCES_MAX;
/// No memory is larger, whatever `limits.memory` says: the manifest's own bound.
const MEMORY_BYTES_MAX: usize = 1 << 30;
const TABLE_ELEMENTS_MAX: usize = 100_000;
const INSTANCE_BYTES_MAX: usize = 1 << 20;
/// Pages that are zeroed rather than given back, where the kernel cannot say which were touched.
const RESIDENT_BYTES: usize = 64 << 10;

pub fn engine() -> Result<Engine> {
    let engine = Engine::new(&config())?;
    let clock = engine.weak();
    let tick = move || {
        while let Some(engine) = clock.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    };
    std::thread::Builder::new().name("wasm-clock".to_owned()).spawn(tick)?;
    Ok(engine)
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        // The bits of a NaN are the one thing that differs between machines.
        .cranelift_nan_canonicalization(true)
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(STACK_BYTES)
        .wasm_component_model(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false)
        .native_unwind_info(false)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
    config
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(INSTANCES_MAX)
        .total_core_instances(PARTS_MAX)
        .total_memories(INSTANCES_MAX)
        .total_tables(PARTS_MAX)
        .max_memory_size(MEMORY_BYTES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_core_instance_size(INSTANCE_BYTES_MAX)
        .max_component_instance_size(INSTANCE_BYTES_MAX)
        .linear_memory_keep_resident(RESIDENT_BYTES)
        .table_keep_resident(RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto);
    pool
}
