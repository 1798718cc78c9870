//! `qiji-hosts`: test hosts by hand.
//!
//! - `qiji-hosts hold netns|nspawn COUNT` starts hosts and holds them until its standard input ends. It prints how long the
//!   start took, the site's folder, and how to enter each host.
//! - `qiji-hosts missing netns|nspawn` lists what the machine lacks; exit status 1 where it lacks something.
//! - `qiji-hosts sweep` removes what killed owners left.

use std::error::Error;
use std::io::Read;
use std::process::ExitCode;
use std::time::Instant;

use qiji_hosts::{HostSpec, HostsError, Kind, Testbed, TestbedSpec, requirements, sweep};

const USAGE: &str = "usage: qiji-hosts hold netns|nspawn COUNT | missing netns|nspawn | sweep";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match (words.as_slice(), words.get(1).and_then(|word| kind(word))) {
        (["hold", _, count], Some(kind)) => hold(kind, count),
        (["missing", _], Some(kind)) => missing(kind),
        (["sweep"], _) => sweep().map(|sites| println!("removed: {}", sites.join(", "))).map_err(Into::into),
        _ => Err(USAGE.into()),
    };
    done.map_or_else(
        |error| {
            eprintln!("{error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn kind(word: &str) -> Option<Kind> {
    match word {
        "netns" => Some(Kind::Netns),
        "nspawn" => Some(Kind::Nspawn),
        _ => None,
    }
}

fn missing(kind: Kind) -> Result<(), Box<dyn Error>> {
    let lacks = requirements(kind);
    if lacks.is_empty() { Ok(()) } else { Err(HostsError::Missing(lacks).into()) }
}

fn hold(kind: Kind, count: &str) -> Result<(), Box<dyn Error>> {
    let mut spec = TestbedSpec::new("hold", "10.20.1.0/24".parse()?);
    for number in 1..=count.parse::<u8>()? {
        spec = spec.host(HostSpec::new(&format!("n{number}"), format!("10.20.1.{number}/24").parse()?, kind));
    }
    let start = Instant::now();
    let testbed = Testbed::start(&spec)?;
    println!("{count} hosts in {:.2} s, site in {}", start.elapsed().as_secs_f64(), testbed.dir().display());
    for host in testbed.hosts() {
        println!("{} {}: nsenter -t {} -m -u -i -n -p -C", host.name(), host.address(), host.pid()?);
    }
    std::io::stdin().read_to_end(&mut Vec::new())?;
    println!("{}", testbed.escaped()?);
    let start = Instant::now();
    testbed.stop()?;
    println!("removed in {:.2} s", start.elapsed().as_secs_f64());
    Ok(())
}
