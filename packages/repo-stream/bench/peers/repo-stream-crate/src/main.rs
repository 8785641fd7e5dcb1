// The crate's side of the bench: a CAR path and a mode as arguments; for each line `run N` on stdin it walks the CAR N times
// and answers with one line of JSON, as bench/side.ts does. Modes: memory (bytes held), file (read each time), disk (spilled).
use repo_stream::{DiskBuilder, Driver, DriverBuilder};
use std::io::{BufRead, Write};
use std::time::Instant;

type Walked = (usize, usize);

/// The record processor of the crate's own benches: a record becomes its length.
fn length(block: Vec<u8>) -> Vec<u8> {
    usize::to_ne_bytes(block.len()).to_vec()
}

fn identity(block: Vec<u8>) -> Vec<u8> {
    block
}

fn bytes_of(data: &[u8], raw: bool) -> usize {
    if raw {
        return data.len();
    }
    data.try_into().map(usize::from_ne_bytes).unwrap_or(0)
}

async fn walk<R: tokio::io::AsyncRead + Unpin + Send + Sync + 'static>(
    reader: R,
    limit_mb: usize,
    raw: bool,
    spill: &str,
) -> Walked {
    let process = if raw { identity } else { length };
    let builder = DriverBuilder::new()
        .with_mem_limit_mb(limit_mb)
        .with_block_processor(process);
    let (mut records, mut bytes) = (0, 0);
    match builder.load_car(reader).await.expect("the CAR loads") {
        Driver::Memory(_commit, mut driver) => {
            while let Some(chunk) = driver.next_chunk(256).await.expect("the walk goes on") {
                for (_key, data) in chunk {
                    records += 1;
                    bytes += bytes_of(&data, raw);
                }
            }
        }
        Driver::Disk(paused) => {
            let store = DiskBuilder::new()
                .with_cache_size_mb(8)
                .open(spill.into())
                .await
                .expect("the store opens");
            let (_commit, mut driver) = paused.finish_loading(store).await.expect("it spills");
            while let Some(chunk) = driver.next_chunk(256).await.expect("the walk goes on") {
                for (_key, data) in chunk {
                    records += 1;
                    bytes += bytes_of(&data, raw);
                }
            }
        }
    }
    (records, bytes)
}

/// Processor time of the threads of this process in milliseconds, and its peak RSS in MiB.
fn usage() -> (f64, u64) {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let nanoseconds: u64 = threads
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|line| line.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()))
        .sum();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .and_then(|line| line.split_whitespace().nth(1))
        .and_then(|kb| kb.parse::<u64>().ok())
        .unwrap_or(0);
    (nanoseconds as f64 / 1e6, peak / 1024)
}

fn main() {
    let mut args = std::env::args().skip(1);
    let path = args.next().expect("a CAR path");
    let mode = args.next().expect("a mode");
    let spill = args.next().unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    // leaked on purpose: the spilling driver wants a reader that lives as long as the process
    let held: &'static [u8] = if mode == "memory" {
        Box::leak(std::fs::read(&path).expect("the CAR is readable").into_boxed_slice())
    } else {
        &[]
    };
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("stdin is text");
        let times: usize = line.trim_start_matches("run ").parse().unwrap_or(1);
        let (cpu_before, _) = usage();
        let started = Instant::now();
        let mut walked = (0, 0);
        for _ in 0..times {
            walked = runtime.block_on(async {
                match mode.as_str() {
                    "memory" => walk(held, 1 << 20, false, &spill).await,
                    "file" => walk(open(&path).await, 1 << 20, false, &spill).await,
                    _ => walk(open(&path).await, 16, true, &spill).await,
                }
            });
        }
        let ms = started.elapsed().as_secs_f64() * 1000.0 / times as f64;
        let (cpu_after, peak) = usage();
        let cpu = (cpu_after - cpu_before) / times as f64;
        println!(
            "{{\"ms\":{ms},\"cpuMs\":{cpu},\"records\":{},\"bytes\":{},\"peakRssMiB\":{peak}}}",
            walked.0, walked.1
        );
        std::io::stdout().flush().expect("stdout is open");
    }
}

async fn open(path: &str) -> tokio::io::BufReader<tokio::fs::File> {
    tokio::io::BufReader::new(tokio::fs::File::open(path).await.expect("the CAR opens"))
}
