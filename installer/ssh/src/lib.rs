//! SSH to the hosts of a site: connecting under held host keys, running commands as streams, and bringing the agent there.
//!
//! Flow: [`Session::connect`] reaches a host, holds its key against the site's pin or [`KnownHosts`] and logs in; [`push_agent`]
//! puts the agent's binary there unless it is there already, starts it as root and gives back its streams; [`remove_agent`] takes
//! away the agent's folder at the very end.
//!
//! Guarantees: nothing is sent to a host whose key does not hold; no secret is in an argument, a message or a log.

mod auth;
mod error;
mod exec;
mod known;
mod push;
mod secret;
mod session;

pub use auth::{Auth, Passphrases, Passwords};
pub use error::SshError;
pub use exec::{Channel, Exit, Status};
pub use known::KnownHosts;
pub use push::{AgentBinary, AgentChannel, Become, push_agent, remove_agent, start_agent_there};
pub use secret::Secret;
pub use session::{Session, Target};
