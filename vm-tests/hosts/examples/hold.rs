//! Starts hosts and holds them until its standard input ends: `hold KIND COUNT`, KIND being `netns` or `nspawn`.
//!
//! For looking around by hand. Prints how long the start took, the site's folder, and how to enter each host.

use std::io::Read;
use std::time::Instant;

use qiji_hosts::{HostSpec, Kind, Testbed, TestbedSpec};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let kind = if arguments.next().as_deref() == Some("nspawn") { Kind::Nspawn } else { Kind::Netns };
    let count: u8 = arguments.next().unwrap_or_else(|| "2".to_owned()).parse()?;
    let mut spec = TestbedSpec::new("hold", "10.20.1.0/24".parse()?);
    for number in 1..=count {
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
