//! The agent's command line: `serve` for the installer, `probe` for the check of a finished cluster.

use std::io;
use std::process::ExitCode;

use qiji_agent::probe;
use qiji_agent::root::Root;

const USAGE: &str = "usage: qiji-agent [--root DIR] serve
       qiji-agent probe serve [--port PORT]
       qiji-agent probe resolve NAME [--server ADDRESS]
       qiji-agent probe get URL
       qiji-agent --version";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["serve"] => serve(Root::host()),
        ["--root", folder, "serve"] => serve(Root::at(*folder)),
        ["probe", "serve"] => probe::serve(8080),
        ["probe", "serve", "--port", port] => match port.parse() {
            Ok(port) => probe::serve(port),
            Err(_) => return usage(),
        },
        ["probe", "resolve", name] => probe::print_addresses(name, None),
        ["probe", "resolve", name, "--server", server] => probe::print_addresses(name, Some(server)),
        ["probe", "get", url] => probe::print_page(url),
        ["--version"] => {
            println!("qiji-agent {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        _ => return usage(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("qiji-agent: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn serve(root: Root) -> io::Result<()> {
    let result = qiji_agent::serve::serve(root, io::stdin().lock(), io::stdout());
    if let Err(fault) = result {
        eprintln!("qiji-agent: {fault}");
        std::process::exit(1);
    }
    // Threads of requests may still be on their way; nobody waits for them.
    std::process::exit(0)
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}
